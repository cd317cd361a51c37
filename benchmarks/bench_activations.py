"""Speed of the activations against PyTorch and against the usual textbook code.

Forward and backward on 1e6 float32 elements.
"""

import math
from functools import partial

import numpy as np
import torch
from timing import table, turns

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
    nn = torch.nn
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
    table(cases, {name: partial(textbook_seconds, layer) for name, layer in textbook.items()})


if __name__ == "__main__":
    main()
