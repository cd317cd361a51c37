"""Speed of convolution and pooling against PyTorch and against the usual textbook code.

Forward and backward on float32, on one thread. NumPy's products are those of its BLAS library,
which may not know a new processor and take kernels with fewer numbers at a time than it could:
`OPENBLAS_CORETYPE=SkylakeX` gives it AVX-512, and `ONEDNN_MAX_CPU_ISA=AVX2` takes it from PyTorch.
Where the environment pins one of the two, a comparison says little: unset it.
"""

import os
from functools import partial

import numpy as np
import torch
from timing import table, turns

from dlbook.convolution import AvgPool2d, Conv1d, Conv2d, ConvTranspose2d, MaxPool2d, Upsample

rng = np.random.default_rng(0)


class TextbookConvolution:
    """All columns of the batch at once, in float64; the gradient scatters them back.

    Loops over the places in the kernel, as in Saito 2016, Deep Learning from Scratch, chapter 7.
    """

    def __init__(self, weight, bias, padding):
        self.weight, self.bias, self.p = weight.astype(float), bias.astype(float), padding

    def forward(self, x):
        out, channels, k, _ = self.weight.shape
        x = np.pad(x, [(0, 0), (0, 0), (self.p, self.p), (self.p, self.p)])
        self.shape = x.shape
        rows, columns = x.shape[2] - k + 1, x.shape[3] - k + 1
        col = np.zeros((len(x), channels, k, k, rows, columns))
        for i in range(k):
            for j in range(k):
                col[:, :, i, j] = x[:, :, i : i + rows, j : j + columns]
        self.col = col.transpose(0, 4, 5, 1, 2, 3).reshape(len(x) * rows * columns, -1)
        y = np.dot(self.col, self.weight.reshape(out, -1).T) + self.bias
        return y.reshape(len(x), rows, columns, out).transpose(0, 3, 1, 2)

    def backward(self, dy):
        out, channels, k, _ = self.weight.shape
        batch, _, rows, columns = dy.shape
        dy = dy.transpose(0, 2, 3, 1).reshape(-1, out)
        self.db = np.sum(dy, axis=0)
        self.dW = np.dot(self.col.T, dy)
        col = np.dot(dy, self.weight.reshape(out, -1))
        col = col.reshape(batch, rows, columns, channels, k, k).transpose(0, 3, 4, 5, 1, 2)
        dx = np.zeros(self.shape)
        for i in range(k):
            for j in range(k):
                dx[:, :, i : i + rows, j : j + columns] += col[:, :, i, j]
        return dx[:, :, self.p : dx.shape[2] - self.p, self.p : dx.shape[3] - self.p]


def textbook_seconds(layer, shape) -> float:
    textbook = TextbookConvolution(layer.weight.data, layer.bias.data, layer.padding[0])
    x = rng.normal(size=shape)
    dy = np.ones_like(textbook.forward(x))
    contestants = {"textbook": lambda: (textbook.forward(x), textbook.backward(dy))}
    return turns(contestants, repeats=5)["textbook"]


def main():
    nn = torch.nn
    named = {
        "Conv2d (100, 1, 28, 28) → 30, k5": (Conv2d, (1, 30, 5), {}, (100, 1, 28, 28)),
        "Conv2d (128, 16, 32, 32) → 32, k3 p1": (
            *(Conv2d, (16, 32, 3), {"padding": 1}),
            (128, 16, 32, 32),
        ),
        "Conv2d (128, 64, 16, 16) → 64, k3 p1": (
            *(Conv2d, (64, 64, 3), {"padding": 1}),
            (128, 64, 16, 16),
        ),
        "Conv1d (64, 16, 256) → 32, k5": (Conv1d, (16, 32, 5), {}, (64, 16, 256)),
        "ConvTranspose2d (64, 32, 16, 16) → 16, k4 s2": (
            *(ConvTranspose2d, (32, 16, 4, 2, 1), {}),
            (64, 32, 16, 16),
        ),
        "MaxPool2d(2) (128, 16, 32, 32)": (MaxPool2d, (2,), {}, (128, 16, 32, 32)),
        "MaxPool2d(3, 2, 1) (128, 16, 32, 32)": (MaxPool2d, (3, 2, 1), {}, (128, 16, 32, 32)),
        "AvgPool2d(2) (128, 16, 32, 32)": (AvgPool2d, (2,), {}, (128, 16, 32, 32)),
        "Upsample 2 × (64, 16, 16, 16)": (Upsample, (None, 2), {}, (64, 16, 16, 16)),
    }
    cases, textbook = {}, {}
    for name, (kind, arguments, options, shape) in named.items():
        source = {"rng": rng} if "Conv" in name else {}
        layer = kind(*arguments, **options, **source)
        cases[name] = layer, getattr(nn, kind.__name__)(*arguments, **options), shape
        if kind is Conv2d:
            textbook[name] = partial(textbook_seconds, layer, shape)
    for name in ("OPENBLAS_CORETYPE", "ONEDNN_MAX_CPU_ISA"):
        print(f"{name}={os.environ.get(name, '(chosen by the library)')}")
    table(cases, textbook)


if __name__ == "__main__":
    main()
