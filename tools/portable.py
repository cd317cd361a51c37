"""Compare the notebooks under other processors and thread counts: `make portable`.

Trained numbers depend on the order of additions, which depends on the processor and the number of
threads. What the book shows must not: each row of the table is one run of the test in one such
setting. Arguments are passed on to pytest; default: nbs.
"""

import os
import platform
import re
import subprocess
import sys
import time

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MATRIX = {
    "native": {},
    "OPENBLAS_CORETYPE=Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "OPENBLAS_CORETYPE=Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "ATEN_CPU_CAPABILITY=default": {"ATEN_CPU_CAPABILITY": "default"},
    "1 thread": dict.fromkeys(THREADS, "1"),
    "2 threads": dict.fromkeys(THREADS, "2"),
}


def main():
    arguments = sys.argv[1:] or ["nbs"]
    table, failed = [], False
    for name, settings in MATRIX.items():
        if "CORETYPE" in name and platform.machine() not in ("x86_64", "AMD64"):
            table.append(f"{name:28}  not run: for x86 only")
            continue
        print(f"--- {name}", flush=True)
        start = time.monotonic()
        run = subprocess.run(
            # one notebook at a time, on all cores unless the row says otherwise
            [sys.executable, "-m", "pytest", "--nbval", "-q", "--numprocesses=0", *arguments],
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = re.findall(r"notebook cells: .*", run.stdout)
        bad = re.findall(r"(?m)^(?:FAILED|ERROR) (.+)$", run.stdout)
        verdict = f"{len(bad)} cells FAIL" if run.returncode else "holds"
        table.append(f"{name:28}  {verdict:14}  {time.monotonic() - start:6.1f} s")
        failed |= run.returncode != 0
        print(run.stdout if run.returncode else "\n".join(said), flush=True)
    print("\n".join(["", *table]))
    sys.exit(failed)


if __name__ == "__main__":
    main()
