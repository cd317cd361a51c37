"""One entry for every public layer, loss and node: how to make one, its twin, and inputs.

A new layer without an entry fails tests/test_layers.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn as nn

from dlbook import activations, layers, losses


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels(prediction_shape: tuple) -> np.ndarray:
    return rng(1).integers(0, prediction_shape[1], prediction_shape[0])


def places(prediction_shape: tuple) -> np.ndarray:
    batch, classes, *rest = prediction_shape
    return rng(1).integers(0, classes, (batch, *rest))


def numbers(prediction_shape: tuple) -> np.ndarray:
    return rng(2).normal(size=prediction_shape)


class TorchMaxout(nn.Module):
    """What `torch.nn` lacks: the twin of Maxout."""

    def __init__(self, in_features, out_features, num_pieces):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_pieces, out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(num_pieces, out_features))

    def forward(self, x):
        z = torch.einsum("poi,...i->...po", self.weight, x) + self.bias
        return z.max(dim=-2).values


SHAPES = [(4, 3), (1,), (0, 3), (2, 3, 4, 5)]  # for what works on each number by itself


class Case(NamedTuple):
    make: Callable  # class → instance; takes the class, so that a mutant can be made too
    twin: Callable  # () → torch.nn.Module
    shapes: list[tuple]  # of the inputs to try; the first is small, for gradient checks
    scale: float = 1.0  # standard deviation of the inputs
    targets: Callable | None = None  # for a loss: shape of the prediction → target


LAYERS = {
    layers.Linear: [
        Case(
            lambda cls: cls(3, 2, rng=rng()),
            lambda: nn.Linear(3, 2),
            [(5, 3), (1, 3), (3,), (0, 3), (2, 4, 3), (2, 1, 3, 3)],
        ),
        Case(
            lambda cls: cls(4, 4, rng=rng()),
            lambda: nn.Linear(4, 4),
            [(2, 4), (64, 4), (4, 4, 4)],
        ),
    ],
    layers.ReLU: [Case(lambda cls: cls(), nn.ReLU, [(4, 3), (1,), (0, 3), (2, 3, 4, 5)])],
    layers.Sigmoid: [
        Case(lambda cls: cls(), nn.Sigmoid, [(4, 3), (1,), (0, 3), (2, 3, 4, 5)]),
        Case(lambda cls: cls(), nn.Sigmoid, [(4, 3)], scale=10),
    ],
    layers.Flatten: [
        Case(lambda cls: cls(), nn.Flatten, [(2, 3, 2), (3, 1), (1, 2, 3, 4), (0, 2, 3)])
    ],
    activations.Tanh: [
        Case(lambda cls: cls(), nn.Tanh, SHAPES),
        Case(lambda cls: cls(), nn.Tanh, [(4, 3)], scale=10),
    ],
    activations.LeakyReLU: [
        Case(lambda cls: cls(), nn.LeakyReLU, SHAPES),
        Case(lambda cls: cls(0.3), lambda: nn.LeakyReLU(0.3), SHAPES),
    ],
    activations.ELU: [
        Case(lambda cls: cls(), nn.ELU, SHAPES),
        Case(lambda cls: cls(0.3), lambda: nn.ELU(0.3), SHAPES),
        Case(lambda cls: cls(), nn.ELU, [(4, 3)], scale=10),
    ],
    activations.GELU: [
        Case(lambda cls: cls(), nn.GELU, SHAPES),
        Case(lambda cls: cls("tanh"), lambda: nn.GELU("tanh"), SHAPES),
    ],
    activations.Softmax: [
        Case(lambda cls: cls(), lambda: nn.Softmax(-1), SHAPES),
        Case(lambda cls: cls(1), lambda: nn.Softmax(1), [(2, 3, 4), (4, 3)], scale=3),
        Case(lambda cls: cls(0), lambda: nn.Softmax(0), [(2, 3, 4)]),
    ],
    activations.Maxout: [
        Case(
            lambda cls: cls(3, 2, 4, rng=rng()),
            lambda: TorchMaxout(3, 2, 4),
            [(5, 3), (1, 3), (3,), (0, 3), (2, 4, 3), (2, 1, 3, 3)],
        ),
        Case(lambda cls: cls(3, 3, 3, rng=rng()), lambda: TorchMaxout(3, 3, 3), [(3, 3)]),
    ],
    layers.Sequential: [
        Case(
            lambda cls: cls(
                layers.Linear(3, 4, rng=rng(1)), layers.Sigmoid(), layers.Linear(4, 2, rng=rng(2))
            ),
            lambda: nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2)),
            [(5, 3), (1, 3), (2, 4, 3)],
        )
    ],
}

LOSSES = {
    layers.SoftmaxWithLoss: [
        Case(lambda cls: cls(), nn.CrossEntropyLoss, [(6, 4), (1, 2), (50, 10)], targets=labels),
        Case(
            lambda cls: cls(),
            nn.CrossEntropyLoss,
            [(6, 4), (1, 2), (50, 10)],
            targets=lambda shape: rng(2).dirichlet(np.ones(shape[1]), shape[0]),
        ),
        # large logits: only the shifted softmax survives them
        Case(lambda cls: cls(), nn.CrossEntropyLoss, [(6, 4)], scale=1000, targets=labels),
    ],
    losses.MSELoss: [
        Case(lambda cls: cls(), nn.MSELoss, [(4, 3), (1,), (2, 3, 4, 5)], targets=numbers),
    ],
    losses.CrossEntropyLoss: [
        Case(lambda cls: cls(), nn.CrossEntropyLoss, [(6, 4), (1, 2), (2, 3, 5)], targets=places),
        Case(
            lambda cls: cls([0.5, 1, 3], label_smoothing=0.1),
            lambda: nn.CrossEntropyLoss(torch.tensor([0.5, 1, 3]), label_smoothing=0.1),
            [(2, 3, 4), (6, 3), (2, 3, 2, 2)],
            targets=places,
        ),
        Case(
            lambda cls: cls([0.5, 1, 3], label_smoothing=0.1),
            lambda: nn.CrossEntropyLoss(torch.tensor([0.5, 1, 3]), label_smoothing=0.1),
            [(2, 3, 4), (6, 3)],
            targets=lambda shape: np.moveaxis(
                rng(2).dirichlet(np.ones(shape[1]), (shape[0], *shape[2:])), -1, 1
            ),
        ),
        Case(lambda cls: cls(), nn.CrossEntropyLoss, [(6, 4)], scale=1000, targets=places),
    ],
    losses.BCEWithLogitsLoss: [
        Case(
            lambda cls: cls(),
            nn.BCEWithLogitsLoss,
            [(4, 3), (1,), (2, 3, 4, 5)],
            targets=lambda shape: rng(2).uniform(size=shape),
        ),
        Case(
            lambda cls: cls(),
            nn.BCEWithLogitsLoss,
            [(4, 3)],
            scale=1000,
            targets=lambda shape: rng(2).integers(0, 2, shape).astype(float),
        ),
    ],
    losses.HingeLoss: [
        Case(lambda cls: cls(), nn.MultiMarginLoss, [(6, 4), (1, 2), (50, 10)], targets=labels),
        Case(
            lambda cls: cls(0.3),
            lambda: nn.MultiMarginLoss(margin=0.3),
            [(6, 4)],
            targets=labels,
        ),
    ],
}

# Nodes with two inputs of one shape, and what PyTorch calls them.
NODES = {layers.Add: "add", layers.Multiply: "mul"}

ABSTRACT = {layers.Node, layers.Layer, layers.Loss}
