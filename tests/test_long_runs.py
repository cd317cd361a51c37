"""Results of long runs: small, with their provenance, and begun again with the same losses."""

import importlib
import inspect

import numpy as np
import pytest
from book import PACKAGE

from dlbook.long_runs import load_run

RUNS = sorted((PACKAGE / "runs").glob("*.npz"))
FACTS = {"run", "source", "minutes", "device", "python", "numpy", "torch", "seed", "steps"}
FIRST = 3  # steps that are run again


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_long_run_says_where_it_came_from(path):
    arrays, about = load_run(path.stem)
    assert path.stat().st_size <= 2e6
    assert about.keys() >= FACTS and about["run"].endswith(f".{path.stem}")
    assert all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f")


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_the_first_steps_of_a_long_run_come_out_again(path):
    kept, about = load_run(path.stem)
    module, _, function = about["run"].rpartition(".")
    run = getattr(importlib.import_module(f"dlbook.{module}"), function)
    assert {"path", "steps"} <= inspect.signature(run).parameters.keys()
    again = run(steps=FIRST)
    losses = [name for name in kept if name.startswith("losses")]
    assert losses and all(len(kept[name]) > FIRST for name in losses)
    for name in losses:
        np.testing.assert_allclose(again[name][:FIRST], kept[name][:FIRST], rtol=1e-3)
