"""Speed of the activations against PyTorch and against the usual textbook code.

Forward and backward on 1e6 float32 elements. NumPy computes elementwise functions on one thread,
so the ratio that counts is that to PyTorch on one thread; the last column shows what it gains from
all of them.
"""

import math
import statistics

import numpy as np
import torch
from timing import REPEATS, both_ways, turns

from dlbook.activations import ELU, GELU, LeakyReLU, Maxout, ReLU, Sigmoid, Softmax, Tanh

SHAPE = (1000, 1000)


class TorchMaxout(torch.nn.Module):
    """The same in PyTorch: one affine map for all pieces, then the largest."""

    def __init__(self, in_features, out_features, num_pieces):
        super().__init__()
        self.linear = torch.nn.Linear(in_features, num_pieces * out_features)
        self.pieces = num_pieces

    def forward(self, x):
        return self.linear(x).unflatten(-1, (self.pieces, -1)).max(dim=-2).values


class TextbookGELU:
    """One number after the other, in Python."""

    def forward(self, x):
        self.x = x
        return np.array([[v * math.erfc(-v / 2**0.5) / 2 for v in row] for row in x])

    def backward(self, dy):
        slopes = [[self.slope(v) for v in row] for row in self.x]
        return dy * np.array(slopes)

    def slope(self, v):
        return math.erfc(-v / 2**0.5) / 2 + v * math.exp(-v * v / 2) / (2 * math.pi) ** 0.5


class TextbookSoftmax:
    """A row at a time, and its Jacobian as a matrix."""

    def forward(self, x):
        self.y = np.array([np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in x])
        return self.y

    def backward(self, dy):
        return np.array(
            [(np.diag(p) - np.outer(p, p)) @ d for p, d in zip(self.y, dy, strict=True)]
        )


def textbook_seconds(layer) -> float:
    x = np.random.default_rng(0).normal(size=SHAPE)
    contestants = {"textbook": lambda: (layer.forward(x), layer.backward(np.ones(SHAPE)))}
    return turns(contestants, repeats=1)["textbook"]


def main():
    nn, everyone = torch.nn, torch.get_num_threads()
    rng = np.random.default_rng(0)
    cases = {
        "ReLU": (ReLU(), nn.ReLU(), SHAPE),
        "Sigmoid": (Sigmoid(), nn.Sigmoid(), SHAPE),
        "Tanh": (Tanh(), nn.Tanh(), SHAPE),
        "LeakyReLU": (LeakyReLU(), nn.LeakyReLU(), SHAPE),
        "ELU": (ELU(), nn.ELU(), SHAPE),
        "GELU": (GELU(), nn.GELU(), SHAPE),
        "GELU, approximate='tanh'": (GELU("tanh"), nn.GELU("tanh"), SHAPE),
        "Softmax, rows of 1000": (Softmax(), nn.Softmax(-1), SHAPE),
        "Maxout 100→100, 2 pieces": (
            Maxout(100, 100, 2, rng=rng),
            TorchMaxout(100, 100, 2),
            (5000, 100),
        ),
    }
    textbook = {"GELU": TextbookGELU(), "Softmax, rows of 1000": TextbookSoftmax()}
    print(f"float32, medians of {REPEATS} turns; torch on 1 thread, and on {everyone}")
    print(
        f"{'forward and backward':26}{'ours':>8}{'torch':>12}{'ratio':>8}{'textbook':>10}", end=""
    )
    print(f"{f'torch, {everyone}':>14}")
    ratios = []
    for name, case in cases.items():
        contestants = both_ways(*case)
        torch.set_num_threads(everyone)
        parallel = turns({"torch": contestants["torch"]})["torch"]
        torch.set_num_threads(1)
        median = turns(contestants)
        ratios.append(median["ours"] / median["torch"])
        ours, theirs = (1e3 * median[key] for key in ("ours", "torch"))
        row = f"{name:26}{ours:6.2f} ms{theirs:9.2f} ms{ratios[-1]:7.2f}"
        slower = ""
        if name in textbook:
            slower = f"{textbook_seconds(textbook[name]) / median['ours']:.0f} ×"
        print(f"{row}{slower:>10}{1e3 * parallel:11.2f} ms")
    print(f"{'geometric mean':46}{statistics.geometric_mean(ratios):7.2f}")


if __name__ == "__main__":
    main()
