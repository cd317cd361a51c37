"""Make the environment: `python tools/setup_env.py FOLDER [CONSTRAINTS]`.

FOLDER/ready is written last, so an interrupted install is never taken for a complete one.
No newer syntax than Python 3.6 has: one that is too old must still be able to say so.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GIGABYTES = 3  # what an environment takes with torch's build for CPUs, and some air


def fail(message):
    sys.exit("dlbook: " + message)


def expect_python():
    with open(os.path.join(ROOT, "pyproject.toml"), encoding="utf-8") as file:
        wanted = re.search(r'requires-python = ">=(\d+\.\d+)"', file.read()).group(1)
    found = "{}.{}".format(*sys.version_info)
    if sys.version_info[:2] < tuple(int(part) for part in wanted.split(".")):
        fail(
            f"Python {wanted} or newer is needed, and {sys.executable} is {found}: "
            "name another one with make PYTHON=..."
        )


def expect_venv():
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        package = "python{}.{}-venv".format(*sys.version_info)
        fail(f"Python's venv module is missing (on Debian: apt-get install {package})")


def expect_disk(folder):
    import shutil

    parent = os.path.dirname(os.path.abspath(folder))
    free = shutil.disk_usage(parent).free / 1e9
    if free < GIGABYTES:
        fail(f"{GIGABYTES} GB of free disk are needed, and {parent} has {free:.1f}")


def install(folder, constraints):
    import venv

    started, ready = os.path.join(folder, "started"), os.path.join(folder, "ready")
    print(f"dlbook: installing into {folder}, once; this takes some minutes")
    sys.stdout.flush()
    venv.create(folder, with_pip=True, symlinks=os.name != "nt", clear=os.path.exists(started))
    open(started, "w").close()
    python = os.path.join(folder, "Scripts" if os.name == "nt" else "bin", "python")
    command = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    command += ["-c", constraints] if constraints else []
    if subprocess.call([*command, "-e", ROOT + "[dev]"]):
        os.remove(started)  # pip has undone what it began: nothing to clear next time
        fail("the packages could not be installed, for the reason that pip gives above")
    os.replace(started, ready)


if __name__ == "__main__":
    expect_python()
    expect_venv()
    expect_disk(sys.argv[1])
    install(sys.argv[1], "".join(sys.argv[2:]))
