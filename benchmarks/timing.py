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


def turns(
    contestants: dict[str, Callable], repeats: int = REPEATS, clock: Callable = time.process_time
) -> dict[str, float]:
    """Median time of each contestant in seconds, one call of each in turn.

    The clock is that of the processor: on one thread it does not count the turns of other programs.
    """
    times = {name: [] for name in contestants}
    for i in range(repeats + 5):
        for name, run in contestants.items():
            start = clock()
            run()
            if i >= 5:  # the first ones warm up
                times[name].append(clock() - start)
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


def table(cases: dict[str, tuple], textbook: dict[str, Callable]) -> None:
    """Print a row for each case, name → (layer, twin, shape), and the geometric mean of the ratios.

    The ratio is that to PyTorch on one thread, because NumPy computes elementwise functions on one;
    the last column shows what PyTorch gains from all. textbook: name → function that returns the
    seconds of the usual code.
    """
    everyone, width = torch.get_num_threads(), 2 + max(map(len, cases))
    print(f"float32, medians of {REPEATS} turns; torch on 1 thread, and on {everyone}")
    print(f"{'forward and backward':{width}}{'ours':>9}{'torch':>12}{'ratio':>8}", end="")
    print(f"{'textbook':>10}{f'torch, {everyone}':>14}")
    ratios = []
    for name, case in cases.items():
        contestants = both_ways(*case)
        torch.set_num_threads(everyone)
        parallel = turns({"torch": contestants["torch"]}, clock=time.perf_counter)["torch"]
        torch.set_num_threads(1)
        median = turns(contestants)
        ratios.append(median["ours"] / median["torch"])
        ours, theirs = (1e3 * median[key] for key in ("ours", "torch"))
        slower = f"{textbook[name]() / median['ours']:.1f} ×" if name in textbook else ""
        print(f"{name:{width}}{ours:6.2f} ms{theirs:9.2f} ms{ratios[-1]:8.2f}", end="")
        print(f"{slower:>10}{1e3 * parallel:11.2f} ms")
    print(f"{'geometric mean':{width + 21}}{statistics.geometric_mean(ratios):8.2f}")
