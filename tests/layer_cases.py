"""One entry for every public layer, loss and node: how to make one, its twin, and inputs.

A new layer without an entry fails tests/test_layers.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch.nn as nn

from dlbook import layers


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels(prediction_shape: tuple) -> np.ndarray:
    return rng(1).integers(0, prediction_shape[1], prediction_shape[0])


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
}

# Nodes with two inputs of one shape, and what PyTorch calls them.
NODES = {layers.Add: "add", layers.Multiply: "mul"}

ABSTRACT = {layers.Node, layers.Layer, layers.Loss}
