"""How the benchmarks measure: the contestants take turns, and the median counts.

The machines are noisy. Whatever slows one call slows its neighbours as well, so that a ratio of
medians from one run is worth more than two times from two runs.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

REPEATS = 60


def turns(contestants: dict[str, Callable], repeats: int = REPEATS) -> dict[str, float]:
    """Median time of each contestant in seconds, one call of each in turn."""
    times = {name: [] for name in contestants}
    for i in range(repeats + 5):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if i >= 5:  # the first ones warm up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def both_ways(layer, module, shape: tuple) -> dict[str, Callable]:
    """Forward and backward of a layer and of its twin on one float32 input."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x_torch = torch.tensor(x, requires_grad=True)
    dy = np.ones_like(layer(x))
    dy_torch = torch.tensor(dy)

    def ours():
        layer(x)
        layer.backward(dy)

    def theirs():
        x_torch.grad = None
        module.zero_grad()
        module(x_torch).backward(dy_torch)

    return {"ours": ours, "torch": theirs}
