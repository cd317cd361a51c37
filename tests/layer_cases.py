"""One entry for every public layer, loss and node: how to make one, its twin, and inputs.

A new layer without an entry fails tests/test_layers.py.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn as nn

from dlbook import (
    activations,
    convolution,
    gated,
    language,
    layers,
    losses,
    normalization,
    recurrent,
    regularization,
    residual,
    trees,
    windows,
)
from dlbook import memory as long_memory


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


class TorchResidual(nn.Module):
    """The sum that torch.nn writes into each network: the twin of Residual."""

    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


class TorchCharLSTM(nn.Module):
    """What `torch.nn` lacks: the twin of CharLSTM, with 6 tokens."""

    def __init__(self):
        super().__init__()
        self.embedding, self.net = nn.Embedding(6, 3), nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 6)

    def forward(self, x):
        return self.head(self.net(self.embedding(x))[0]).movedim(1, 2)


class TorchReadout(nn.Module):
    """What `torch.nn` lacks: the twin of Readout."""

    def __init__(self, net, hidden_size, out_features, *, last_only=False):
        super().__init__()
        self.net, self.head, self.last_only = net, nn.Linear(hidden_size, out_features), last_only

    def forward(self, x):
        y, _ = self.net(x)
        return self.head(y[:, -1]) if self.last_only else self.head(y).movedim(1, 2)


class TorchPenalized(nn.Module):
    """Mean squared error plus ½ λ ‖W‖² of a layer that stays as it is."""

    def __init__(self, strength):
        super().__init__()
        weight = layers.Linear(3, 2, rng=rng()).weight.data
        self.paid = strength / 2 * float((weight.astype(float) ** 2).sum())

    def forward(self, prediction, target):
        return nn.functional.mse_loss(prediction, target) + self.paid


class TorchLeakyRNN(nn.Module):
    """What `torch.nn` lacks: the twin of LeakyRNN."""

    def __init__(self, input_size, hidden_size, learn_alpha=False):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.zeros(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(1, hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.logit = (nn.Parameter if learn_alpha else nn.Buffer)(torch.zeros(hidden_size))

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[1], len(self.bias)) if h is None else h[0]
        y, alpha = [], torch.sigmoid(self.logit)
        for x_t in x:
            v = torch.tanh(x_t @ self.weight_ih.T + h @ self.weight_hh[0].T + self.bias)
            h = alpha * h + (1 - alpha) * v
            y.append(h)
        return torch.stack(y), h[None]


class TorchSkipRNN(nn.Module):
    """What `torch.nn` lacks: the twin of SkipRNN."""

    def __init__(self, input_size, hidden_size, delays):
        super().__init__()
        self.delays = delays
        self.weight_ih = nn.Parameter(torch.zeros(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(len(delays), hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x, past=None):
        first = x.new_zeros(max(self.delays), x.shape[1], len(self.bias))
        h = list(first if past is None else past)
        for x_t in x:
            z = x_t @ self.weight_ih.T + self.bias
            for delay, weight in zip(self.delays, self.weight_hh, strict=True):
                z = z + h[-delay] @ weight.T
            h.append(torch.tanh(z))
        return torch.stack(h[len(first) :]), torch.stack(h[len(x) :])


class TorchRecursiveNet(nn.Module):
    """What `torch.nn` lacks: the twin of RecursiveNet, with a stack, one tree at a time."""

    def __init__(self, num_embeddings, hidden_size, output_size):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(num_embeddings, hidden_size))
        self.weight = nn.Parameter(torch.zeros(hidden_size, 2 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.readout = nn.Linear(hidden_size, output_size)

    def forward(self, x):
        roots = [self.root(row) for row in x.tolist()]
        return self.readout(torch.stack([*roots, self.bias])[:-1])

    def root(self, row):
        stack = []
        for code in row:
            if code >= 0:
                stack.append(self.embedding[code])
            elif code == trees.COMBINE:
                right, left = stack.pop(), stack.pop()
                stack.append(torch.tanh(self.weight @ torch.cat([left, right]) + self.bias))
        return stack.pop()


class TorchReadHead(nn.Module):
    """What `torch.nn` lacks: the twin of ReadHead."""

    def forward(self, x, memory):
        attention = nn.functional.scaled_dot_product_attention
        return attention(x, memory, memory, scale=1.0)


def random_trees(shape: tuple) -> np.ndarray:
    """A batch of random trees over the tokens 0 to 4, the last of them a single token."""

    def tree(leaves):
        if leaves == 1:
            return int(draw.integers(5))
        left = int(draw.integers(1, leaves))
        return tree(left), tree(leaves - left)

    draw, (batch, length) = rng(8), shape
    sizes = [*draw.integers(2, length, batch - 1), 1]
    return trees.postfix([tree(int(size)) for size in sizes])


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
    inputs: Callable | None = None  # shape → tuple of inputs in float64; by default one array


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
        Case(
            lambda cls: cls(3, 2, bias=False, rng=rng()),
            lambda: nn.Linear(3, 2, bias=False),
            [(5, 3), (3,), (2, 4, 3)],
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
    long_memory.LeakyRNN: [
        Case(
            lambda cls: cls(3, 4, [0.1, 0.5, 0.9, 0.99], learn_alpha=True, rng=rng()),
            lambda: TorchLeakyRNN(3, 4, learn_alpha=True),
            [(5, 2, 3), (1, 1, 3), (3, 0, 3)],
        ),
        Case(
            lambda cls: cls(3, 4, rng=rng()),
            lambda: TorchLeakyRNN(3, 4),
            [(5, 2, 3), (4, 4, 3)],
            inputs=lambda shape: (rng(7).normal(size=shape), rng(8).normal(size=(1, shape[1], 4))),
        ),
    ],
    long_memory.SkipRNN: [
        Case(
            lambda cls: cls(3, 4, (1, 3), rng=rng()),
            lambda: TorchSkipRNN(3, 4, (1, 3)),
            [(6, 2, 3), (1, 1, 3), (3, 0, 3)],
        ),
        Case(
            lambda cls: cls(3, 4, (2, 5), rng=rng()),
            lambda: TorchSkipRNN(3, 4, (2, 5)),
            [(8, 2, 3), (2, 4, 3)],
            inputs=lambda shape: (rng(7).normal(size=shape), rng(8).normal(size=(5, shape[1], 4))),
        ),
    ],
    long_memory.RecursiveNet: [
        Case(
            lambda cls: cls(5, 3, 2, rng=rng()),
            lambda: TorchRecursiveNet(5, 3, 2),
            [(4, 6), (2, 9)],
            inputs=lambda shape: (random_trees(shape),),
        ),
    ],
    long_memory.ReadHead: [
        Case(
            lambda cls: cls(),
            TorchReadHead,
            [(2, 3, 4), (3, 1, 2), (0, 2, 4), (2, 0, 4)],
            inputs=lambda shape: (
                rng(7).normal(size=shape),
                rng(8).normal(size=(shape[0], 5, shape[2])),
            ),
        ),
    ],
    convolution.Conv1d: [
        Case(
            lambda cls: cls(2, 3, 3, rng=rng()),
            lambda: nn.Conv1d(2, 3, 3),
            [(2, 2, 5), (1, 2, 3), (0, 2, 4)],
        ),
        Case(
            lambda cls: cls(2, 6, 2, 2, 1, 2, 2, False, rng=rng()),
            lambda: nn.Conv1d(2, 6, 2, 2, 1, 2, 2, False),
            [(2, 2, 6)],
        ),
    ],
    convolution.Conv2d: [
        Case(
            lambda cls: cls(2, 3, 3, rng=rng()),
            lambda: nn.Conv2d(2, 3, 3),
            [(2, 2, 4, 5), (1, 2, 3, 3), (0, 2, 4, 4)],
        ),
        Case(
            lambda cls: cls(2, 6, (3, 2), (1, 2), (2, 1), (2, 1), 2, False, rng=rng()),
            lambda: nn.Conv2d(2, 6, (3, 2), (1, 2), (2, 1), (2, 1), 2, False),
            [(2, 2, 4, 5)],
        ),
    ],
    convolution.ConvTranspose2d: [
        Case(
            lambda cls: cls(2, 3, 3, rng=rng()),
            lambda: nn.ConvTranspose2d(2, 3, 3),
            [(2, 2, 3, 2), (1, 2, 1, 1), (0, 2, 3, 3)],
        ),
        Case(
            lambda cls: cls(2, 4, (2, 3), (3, 2), (1, 2), (1, 0), 2, False, 2, rng=rng()),
            lambda: nn.ConvTranspose2d(2, 4, (2, 3), (3, 2), (1, 2), (1, 0), 2, False, 2),
            [(2, 2, 3, 4)],
        ),
    ],
    windows.MaxPool2d: [
        Case(
            lambda cls: cls(2), lambda: nn.MaxPool2d(2), [(2, 3, 4, 5), (1, 1, 2, 2), (0, 2, 3, 3)]
        ),
        Case(
            lambda cls: cls((3, 2), (1, 2), (1, 0)),
            lambda: nn.MaxPool2d((3, 2), (1, 2), (1, 0)),
            [(2, 2, 5, 4)],
        ),
        Case(
            lambda cls: cls(3, 2, 1, return_indices=True),
            lambda: nn.MaxPool2d(3, 2, 1, return_indices=True),
            [(2, 2, 5, 4)],
        ),
    ],
    windows.AvgPool2d: [
        Case(
            lambda cls: cls(2), lambda: nn.AvgPool2d(2), [(2, 3, 4, 5), (1, 1, 2, 2), (0, 2, 3, 3)]
        ),
        Case(
            lambda cls: cls((3, 2), (1, 2), 1, count_include_pad=False),
            lambda: nn.AvgPool2d((3, 2), (1, 2), 1, count_include_pad=False),
            [(2, 2, 5, 4)],
        ),
    ],
    windows.MaxUnpool2d: [
        Case(
            lambda cls: cls((2, 3)),
            lambda: nn.MaxUnpool2d((2, 3)),
            [(2, 3, 4, 9), (1, 1, 2, 3), (0, 2, 4, 3)],
            inputs=lambda shape: windows.MaxPool2d((2, 3), return_indices=True)(
                rng(7).normal(size=shape)
            ),
        ),
    ],
    windows.Upsample: [
        Case(
            lambda cls: cls(scale_factor=2),
            lambda: nn.Upsample(scale_factor=2),
            [(2, 3, 2, 3), (1, 1, 1, 1), (0, 2, 3, 3)],
        ),
        Case(
            lambda cls: cls((5, 2), mode="bilinear"),
            lambda: nn.Upsample((5, 2), mode="bilinear"),
            [(2, 2, 3, 4)],
        ),
    ],
    residual.Residual: [
        Case(
            lambda cls: cls(layers.Linear(3, 3, rng=rng())),
            lambda: TorchResidual(nn.Linear(3, 3)),
            [(5, 3), (1, 3), (3,), (0, 3), (2, 4, 3)],
        ),
        Case(
            lambda cls: cls(layers.Linear(3, 2, rng=rng(1)), layers.Linear(3, 2, rng=rng(2))),
            lambda: TorchResidual(nn.Linear(3, 2), nn.Linear(3, 2)),
            [(5, 3), (1, 3), (0, 3), (2, 4, 3)],
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
    recurrent.Embedding: [
        Case(
            lambda cls: cls(6, 5, rng=rng()),
            lambda: nn.Embedding(6, 5),
            [(4, 3), (7,), (2, 3, 4), (0, 3)],
            inputs=lambda shape: (rng(7).integers(0, 6, shape),),
        ),
    ],
    recurrent.RNN: [
        Case(
            lambda cls: cls(3, 4, rng=rng()),
            lambda: nn.RNN(3, 4),
            [(5, 2, 3), (1, 1, 3), (2, 3, 3)],
        ),
        Case(
            lambda cls: cls(3, 4, 2, "relu", False, True, True, rng=rng()),
            lambda: nn.RNN(3, 4, 2, "relu", bias=False, batch_first=True, bidirectional=True),
            [(2, 5, 3)],
            inputs=lambda shape: (rng(7).normal(size=shape), rng(8).normal(size=(4, shape[0], 4))),
        ),
    ],
    gated.LSTM: [
        Case(
            lambda cls: cls(3, 4, rng=rng()),
            lambda: nn.LSTM(3, 4),
            [(5, 2, 3), (1, 1, 3), (2, 3, 3), (2, 0, 3)],
        ),
        Case(
            lambda cls: cls(3, 4, 2, False, True, True, rng=rng()),
            lambda: nn.LSTM(3, 4, 2, bias=False, batch_first=True, bidirectional=True),
            [(2, 5, 3)],
            scale=3,
            inputs=lambda shape: (
                rng(7).normal(size=shape),
                tuple(rng(8).normal(size=(2, 4, shape[0], 4))),
            ),
        ),
    ],
    gated.GRU: [
        Case(
            lambda cls: cls(3, 4, rng=rng()),
            lambda: nn.GRU(3, 4),
            [(5, 2, 3), (1, 1, 3), (2, 3, 3), (2, 0, 3)],
        ),
        Case(
            lambda cls: cls(3, 4, 2, False, True, True, rng=rng()),
            lambda: nn.GRU(3, 4, 2, bias=False, batch_first=True, bidirectional=True),
            [(2, 5, 3)],
            scale=3,
            inputs=lambda shape: (rng(7).normal(size=shape), rng(8).normal(size=(4, shape[0], 4))),
        ),
    ],
    gated.Readout: [
        Case(
            lambda cls: cls(gated.GRU(3, 4, batch_first=True, rng=rng()), 2, rng=rng(1)),
            lambda: TorchReadout(nn.GRU(3, 4, batch_first=True), 4, 2),
            [(2, 3, 3), (1, 1, 3)],
        ),
        Case(
            lambda cls: cls(
                gated.LSTM(3, 4, batch_first=True, rng=rng()), 2, last_only=True, rng=rng(1)
            ),
            lambda: TorchReadout(nn.LSTM(3, 4, batch_first=True), 4, 2, last_only=True),
            [(2, 3, 3), (1, 1, 3)],
        ),
    ],
    language.NextWord: [
        Case(
            lambda cls: cls(6, 3, rng=rng()),
            lambda: nn.Sequential(OrderedDict(embedding=nn.Embedding(6, 3), head=nn.Linear(3, 6))),
            [(5,), (1,)],
            inputs=lambda shape: (rng(7).integers(0, 6, shape),),
        ),
    ],
    language.CharLSTM: [
        Case(
            lambda cls: cls(6, 3, 4, rng=rng()),
            TorchCharLSTM,
            [(2, 5), (1, 1)],
            inputs=lambda shape: (rng(7).integers(0, 6, shape),),
        ),
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

ABSTRACT = {layers.Node, layers.Layer, layers.Loss, recurrent.Recurrent}
