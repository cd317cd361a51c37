"""Execute notebooks and store what their cells show: `make record`, or record.py [notebook …].

An output is rewritten only where it differs beyond the tolerance of the test (outputs.py), so a
second run changes no file. Without CUDA the cells that need it keep what they have. A notebook is
written whole or, after an error, not at all. Its metadata say what it ran on.
"""

import argparse
import copy
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cells
import nbformat
import outputs
from execnb.nbio import nb2str
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbdev.clean import clean_nb
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

BOOK = Path(__file__).resolve().parents[1] / "nbs"
CELL_TIMEOUT = 600  # seconds


class RecordError(Exception):
    """A notebook that cannot be recorded; the message says which cell and why."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: the whole book")
    paths = parser.parse_args().notebooks or sorted(
        path for path in BOOK.rglob("*.ipynb") if not path.parent.name.startswith(".")
    )
    for path in paths:
        try:
            print(f"{os.path.relpath(path)}: {record(path)}", flush=True)
        except FileNotFoundError:
            sys.exit(f"{path}: there is no such notebook")
        except KeyboardInterrupt:
            sys.exit(f"interrupted; not written: {os.path.relpath(path)}")
        except RecordError as error:
            sys.exit(f"{os.path.relpath(path)}: {error}\nnot written: {os.path.relpath(path)}")


def record(path):
    """Execute one notebook, write it if need be, and say what was done."""
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    needing_gpu = cells.needing_gpu(notebook)
    skipped = needing_gpu if needing_gpu and not cells.has_cuda() else {}
    executed, seconds = execute(notebook, path, skipped)

    rewritten = set()
    for number, (cell, new) in enumerate(
        zip(cells.code_cells(notebook), cells.code_cells(executed), strict=True), 1
    ):
        stored = outputs.canonical(cell.outputs)
        if number not in skipped and not keeps(cell, stored, new.outputs):
            stored = outputs.canonical(new.outputs)
            rewritten.add(number)
        cell.outputs = [nbformat.from_dict(output) for output in stored]

    on_gpu = {} if skipped else needing_gpu
    stamp(notebook, seconds, rewritten, on_gpu)
    after = cleaned(notebook)
    if after != before:
        write(path, after)
    said = [f"{len(rewritten)} outputs rewritten" if after != before else "unchanged"]
    said += [f"kept {len(skipped)} cells that need CUDA"] if skipped else []
    return ", ".join([*said, f"{seconds:.1f} s"])


def keeps(cell, stored, new):
    """Whether what is stored still stands."""
    if stored and "nbval-ignore-output" in cells.tags(cell):  # timings, which are not compared
        return [kind for kind, _ in outputs.parts(stored)] == [k for k, _ in outputs.parts(new)]
    return not outputs.difference(stored, new, cells.tolerance(cell))


def execute(notebook, path, skipped):
    """An executed copy of the notebook, and how many seconds it took."""
    executed = copy.deepcopy(notebook)
    os.environ.pop("MPLBACKEND", None)  # else the kernel would draw no figure
    kernel = AsyncKernelManager(
        kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager()
    )
    client = NotebookClient(
        executed,
        km=kernel,
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    headings = iter(cells.headings(executed))
    number, start = 0, time.monotonic()
    with client.setup_kernel(cleanup_kc=True, stderr=subprocess.DEVNULL):
        for index, cell in enumerate(executed.cells):
            if cell.cell_type != "code":
                continue
            number, heading = number + 1, next(headings)
            if number in skipped:
                continue
            place = f"cell {number} “{heading}”"
            cell.outputs = []
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                trace = outputs.clean(str(error))
                raise RecordError(f"{place}: {error.ename}: {error.evalue}\n{trace}") from None
            except (CellTimeoutError, DeadKernelError) as error:
                raise RecordError(f"{place}: {str(error).splitlines()[0]}") from None
            refuse_stray(cell, place)
    return executed, time.monotonic() - start


def refuse_stray(cell, place):
    """Warnings are meant or mended: what goes to stderr needs the tag `stderr`."""
    for output in outputs.canonical(cell.outputs):
        if output.get("name") == "stderr" and "stderr" not in cells.tags(cell):
            text = output["text"].rstrip()
            raise RecordError(
                f"{place} writes to stderr: mend it, or tag the cell `stderr`\n{text}"
            )
    errors = [output for output in cell.outputs if output["output_type"] == "error"]
    if "raises-exception" in cells.tags(cell) and not errors:
        raise RecordError(f"{place} is tagged `raises-exception` and raises nothing")


def stamp(notebook, seconds, rewritten, on_gpu):
    """Write what the notebook ran on, if an output, the code or a version has changed since."""
    provenance = notebook.metadata.setdefault("dlbook", {})
    today = datetime.date.today().isoformat()
    ran = {"python": platform.python_version(), **versions("numpy", "torch")}
    ran["source"] = cells.source_digest(notebook)
    old = provenance.get("recorded", {})
    if rewritten or any(old.get(key) != value for key, value in ran.items()):
        place = {"cpu": cpu_name(), "cores": os.cpu_count()}
        provenance["recorded"] = {"date": today, **ran, **place, "seconds": round(seconds, 1)}
    if on_gpu:
        import torch

        card = {"device": torch.cuda.get_device_name(0), **versions("torch")}
        old = provenance.get("gpu", {})
        if rewritten & on_gpu.keys() or any(old.get(key) != card[key] for key in card):
            provenance["gpu"] = {"date": today, **card}


def versions(*names):
    found = {}
    for name in names:
        try:
            found[name] = version(name).split("+")[
                0
            ]  # a build's name, as in 2.13.0+cpu, is no version
        except PackageNotFoundError:
            pass
    return found


def cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def cleaned(notebook):
    """The notebook as text, in the form that `nbdev_clean` leaves alone (see settings.ini)."""
    plain = json.loads(nbformat.writes(notebook))
    clean_nb(
        plain,
        allowed_metadata_keys=["dlbook"],
        allowed_cell_metadata_keys=["tags"],
        clean_ids=False,
    )
    return nb2str(plain)


def write(path, text):
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
