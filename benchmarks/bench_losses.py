"""Speed of the hand-written losses against PyTorch and against the usual textbook code.

Ratios measured in one run, in turns: below 1 means that ours is faster. float32, forward and
backward on a million elements, all on the same number of threads.
"""

import math
import statistics

import numpy as np
import torch
from timing import turns

from dlbook.losses import BCEWithLogitsLoss, CrossEntropyLoss, HingeLoss, MSELoss

REPEATS = 60
SHAPE = (10_000, 100)
rng = np.random.default_rng(0)


def both_ways(loss, module, prediction, target):
    """Forward and backward of a loss and of its twin."""
    prediction_torch = torch.tensor(prediction, requires_grad=True)
    target_torch = torch.tensor(target)

    def ours():
        loss(prediction, target)
        loss.backward()

    def theirs():
        prediction_torch.grad = None
        module(prediction_torch, target_torch).backward()

    return {"ours": ours, "torch": theirs}


def textbook_mse(y, t):
    """One number after the other, in Python."""
    value = sum((a - b) ** 2 for a, b in zip(y.flat, t.flat, strict=True)) / y.size
    return value, np.array([2 * (a - b) / y.size for a, b in zip(y.flat, t.flat, strict=True)])


def textbook_cross_entropy(z, labels):
    """One example after the other."""
    value, dz = 0.0, np.zeros_like(z)
    for r, c in enumerate(labels):
        p = np.exp(z[r]) / np.exp(z[r]).sum()
        value -= math.log(p[c] + 1e-7) / len(z)
        p[c] -= 1
        dz[r] = p / len(z)
    return value, dz


def main():
    nn = torch.nn
    logits, numbers = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    labels = rng.integers(0, SHAPE[1], SHAPE[0])
    answers = rng.integers(0, 2, SHAPE).astype(np.float32)
    cases = {
        "MSELoss": both_ways(MSELoss(), nn.MSELoss(), logits, numbers),
        "CrossEntropyLoss": both_ways(CrossEntropyLoss(), nn.CrossEntropyLoss(), logits, labels),
        "BCEWithLogitsLoss": both_ways(
            BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(), logits, answers
        ),
        "HingeLoss": both_ways(HingeLoss(), nn.MultiMarginLoss(), logits, labels),
    }
    textbook = {
        "MSELoss": lambda: textbook_mse(logits, numbers),
        "CrossEntropyLoss": lambda: textbook_cross_entropy(logits, labels),
    }
    print(f"{torch.get_num_threads()} threads, float32, medians of {REPEATS} turns")
    print(f"{'10,000 × 100 elements':32}{'ours':>9}{'torch':>10}{'ratio':>8}{'textbook':>11}")
    ratios = []
    for name, contestants in cases.items():
        median = turns(contestants, REPEATS)
        ratios.append(median["ours"] / median["torch"])
        ours, theirs = (1e3 * median[key] for key in ("ours", "torch"))
        row = f"{name:32}{ours:6.2f} ms{theirs:7.2f} ms{ratios[-1]:8.2f}"
        if name in textbook:
            slow = turns({"textbook": textbook[name]}, repeats=2)["textbook"]
            row += f"{slow / median['ours']:9.0f} ×"
        print(row)
    print(f"{'geometric mean':51}{statistics.geometric_mean(ratios):8.2f}")


if __name__ == "__main__":
    main()
