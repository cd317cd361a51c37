"""Run a long experiment of a chapter and keep its results: python tools/long_run.py module.function

The results go to dlbook/runs/function.npz. A run that was interrupted goes on where it was.
"""

import hashlib
import importlib
import inspect
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pooch

from dlbook.long_runs import load_state, save_run

RUNS = Path(__file__).resolve().parent.parent / "dlbook" / "runs"


def main(name: str) -> None:
    module, _, function = name.rpartition(".")
    if not module:
        sys.exit(f"long_run: NAME should be module.function, not {name!r}")
    run = getattr(importlib.import_module(f"dlbook.{module}"), function)
    checkpoint = Path(pooch.os_cache("dlbook")) / "runs" / f"{function}.npz"
    start = time.perf_counter()
    results = run(path=checkpoint)
    arrays = {key: value for key, value in results.items() if isinstance(value, np.ndarray)}
    about = {key: value for key, value in results.items() if key not in arrays}
    # what several sittings took is in the checkpoints
    sittings = [load_state(file)["seconds"] for file in checkpoint.parent.glob(f"{function}*.npz")]
    seconds = max(sum(sittings), time.perf_counter() - start)
    save_run(RUNS / f"{function}.npz", arrays, provenance(name, run, seconds) | about)
    print(f"{name}: {seconds / 60:.1f} min, {RUNS.name}/{function}.npz")


def provenance(name, run, seconds) -> dict:
    return {
        "run": name,
        "source": hashlib.sha256(inspect.getsource(run).encode()).hexdigest(),
        "minutes": round(seconds / 60, 1),
        "device": "CPU",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": version("torch").split("+")[0],
    }


if __name__ == "__main__":
    main(sys.argv[1])
