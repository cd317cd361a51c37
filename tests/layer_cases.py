"""One entry for every public layer, loss and node: how to make one, its twin, and inputs.

A new layer without an entry fails tests/test_layers.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn as nn

from dlbook import activations, layers, losses, normalization, regularization


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


class TorchDropout(nn.Module):
    """`torch.nn.Dropout` with marks from NumPy: ours, from the same seed, drops the same."""

    def __init__(self, p):
        super().__init__()
        self.p, self.marks = p, rng()

    def forward(self, x):
        kept = self.marks.random(tuple(x.shape), dtype=np.float32) >= self.p
        return torch.where(torch.tensor(kept), x / (1 - self.p), 0)


class TorchPenalized(nn.Module):
    """Mean squared error plus ½ λ ‖W‖² of a layer that stays as it is."""

    def __init__(self, strength):
        super().__init__()
        weight = layers.Linear(3, 2, rng=rng()).weight.data
        self.paid = strength / 2 * float((weight.astype(float) ** 2).sum())

    def forward(self, prediction, target):
        return nn.functional.mse_loss(prediction, target) + self.paid


def used(layer):
    """The layer with another state than that of the start."""
    for item in layer.parameters():
        item.data[...] = rng(3).uniform(0.5, 2, item.data.shape)
    for _, item in layer.named_buffers():
        item.data[...] = 4 if item.data.ndim == 0 else rng(4).uniform(0.5, 2, item.data.shape)
    return layer


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
    regularization.Dropout: [
        Case(lambda cls: cls(0.3, rng=rng()), lambda: TorchDropout(0.3), SHAPES),
        Case(lambda cls: cls(rng=rng()), lambda: TorchDropout(0.5), [(4, 3)]),
        Case(lambda cls: cls(0.0, rng=rng()), lambda: nn.Dropout(0.0), SHAPES[:1]),
        Case(lambda cls: cls(0.3, rng=rng()).eval(), lambda: nn.Dropout(0.3).eval(), SHAPES),
    ],
    normalization.BatchNorm1d: [
        Case(lambda cls: cls(3), lambda: nn.BatchNorm1d(3), [(5, 3), (4, 3, 2), (1, 3, 5)]),
        Case(
            lambda cls: used(cls(3, eps=0.1, momentum=None)),
            lambda: nn.BatchNorm1d(3, eps=0.1, momentum=None),
            [(5, 3), (4, 3, 2), (3, 3, 3)],
        ),
        Case(
            lambda cls: used(cls(3)).eval(),
            lambda: nn.BatchNorm1d(3).eval(),
            [(5, 3), (1, 3), (0, 3), (4, 3, 2)],
        ),
        Case(
            lambda cls: used(cls(4, momentum=0.3, affine=False)),
            lambda: nn.BatchNorm1d(4, momentum=0.3, affine=False),
            [(4, 4), (5, 4, 2)],
            scale=10,
        ),
        Case(
            lambda cls: used(cls(2, track_running_stats=False)).eval(),
            lambda: nn.BatchNorm1d(2, track_running_stats=False).eval(),
            [(5, 2), (3, 2, 4)],
        ),
    ],
    normalization.BatchNorm2d: [
        Case(lambda cls: cls(3), lambda: nn.BatchNorm2d(3), [(2, 3, 2, 4), (1, 3, 2, 2)]),
        Case(
            lambda cls: used(cls(2, eps=0.1, momentum=0.3)),
            lambda: nn.BatchNorm2d(2, eps=0.1, momentum=0.3),
            [(3, 2, 2, 2), (5, 2, 1, 1)],
        ),
        Case(
            lambda cls: used(cls(3)).eval(),
            lambda: nn.BatchNorm2d(3).eval(),
            [(2, 3, 2, 4), (1, 3, 1, 1), (0, 3, 2, 2)],
        ),
        Case(
            lambda cls: cls(3, affine=False, track_running_stats=False),
            lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False),
            [(2, 3, 2, 4)],
        ),
    ],
    normalization.LayerNorm: [
        Case(
            lambda cls: used(cls(3)), lambda: nn.LayerNorm(3), [(4, 3), (3,), (0, 3), (2, 3, 4, 3)]
        ),
        Case(
            lambda cls: used(cls((3, 4), eps=0.1)).eval(),
            lambda: nn.LayerNorm((3, 4), eps=0.1).eval(),
            [(2, 3, 4), (3, 4), (2, 2, 3, 4), (0, 3, 4)],
        ),
        Case(
            lambda cls: used(cls(5, elementwise_affine=False)),
            lambda: nn.LayerNorm(5, elementwise_affine=False),
            [(4, 5), (2, 3, 5)],
            scale=10,
        ),
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
    regularization.Penalized: [
        Case(
            lambda cls: cls(
                losses.MSELoss(), layers.Linear(3, 2, rng=rng()), regularization.l2_penalty, 0.3
            ),
            lambda: TorchPenalized(0.3),
            [(4, 2), (1,)],
            targets=numbers,
        ),
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
