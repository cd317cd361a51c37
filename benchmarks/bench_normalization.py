"""Speed of the normalizing layers against PyTorch and against the usual textbook code.

Forward and backward on float32 in training mode.
"""

from functools import partial

import numpy as np
import torch
from timing import table, turns

from dlbook.normalization import BatchNorm1d, BatchNorm2d, LayerNorm


class TextbookBatchNorm:
    """Every step of the derivation as an expression of its own, in float64."""

    def __init__(self, features):
        self.gamma, self.beta = np.ones(features), np.zeros(features)

    def forward(self, x):
        self.u = x - x.mean(axis=0)
        self.std = np.sqrt((self.u**2).mean(axis=0) + 1e-5)
        self.normal = self.u / self.std
        return self.gamma * self.normal + self.beta

    def backward(self, dy):
        d_gamma, d_beta = (self.normal * dy).sum(axis=0), dy.sum(axis=0)
        d_normal = self.gamma * dy
        d_u = d_normal / self.std
        d_std = -((d_normal * self.u) / (self.std * self.std)).sum(axis=0)
        d_u += 2 / len(dy) * self.u * (0.5 * d_std / self.std)
        return d_u - d_u.sum(axis=0) / len(dy), d_gamma, d_beta


def textbook_seconds(shape) -> float:
    layer, x = TextbookBatchNorm(shape[1]), np.random.default_rng(0).normal(size=shape)
    contestants = {"textbook": lambda: (layer.forward(x), layer.backward(np.ones(shape)))}
    return turns(contestants, repeats=10)["textbook"]


def main():
    nn = torch.nn
    cases = [
        (BatchNorm1d(256), nn.BatchNorm1d(256), (128, 256)),
        (BatchNorm1d(1000), nn.BatchNorm1d(1000), (1000, 1000)),
        (BatchNorm1d(32), nn.BatchNorm1d(32), (64, 32, 64)),
        (BatchNorm2d(16), nn.BatchNorm2d(16), (128, 16, 32, 32)),
        (BatchNorm2d(64), nn.BatchNorm2d(64), (128, 64, 16, 16)),
        (LayerNorm(256), nn.LayerNorm(256), (128, 256)),
        (LayerNorm(128), nn.LayerNorm(128), (32, 64, 128)),
        (LayerNorm(1000), nn.LayerNorm(1000), (1000, 1000)),
    ]
    textbook = {
        f"BatchNorm1d {shape}": partial(textbook_seconds, shape)
        for shape in [(128, 256), (1000, 1000)]
    }
    table({f"{type(case[0]).__name__} {case[2]}": case for case in cases}, textbook)


if __name__ == "__main__":
    main()
