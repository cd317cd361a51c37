"""Speed of the normalizing layers against PyTorch and against the usual textbook code.

Forward and backward on float32 in training mode. NumPy computes elementwise functions on one
thread, so the ratio that counts is that to PyTorch on one thread; the last column shows what it
gains from all of them.
"""

import statistics

import numpy as np
import torch
from timing import REPEATS, both_ways, turns

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
    nn, everyone = torch.nn, torch.get_num_threads()
    cases = [
        ("BatchNorm1d", BatchNorm1d(256), nn.BatchNorm1d(256), (128, 256)),
        ("BatchNorm1d", BatchNorm1d(1000), nn.BatchNorm1d(1000), (1000, 1000)),
        ("BatchNorm1d", BatchNorm1d(32), nn.BatchNorm1d(32), (64, 32, 64)),
        ("BatchNorm2d", BatchNorm2d(16), nn.BatchNorm2d(16), (128, 16, 32, 32)),
        ("BatchNorm2d", BatchNorm2d(64), nn.BatchNorm2d(64), (128, 64, 16, 16)),
        ("LayerNorm", LayerNorm(256), nn.LayerNorm(256), (128, 256)),
        ("LayerNorm", LayerNorm(128), nn.LayerNorm(128), (32, 64, 128)),
        ("LayerNorm", LayerNorm(1000), nn.LayerNorm(1000), (1000, 1000)),
    ]
    print(f"float32, medians of {REPEATS} turns; torch on 1 thread, and on {everyone}")
    print(f"{'forward and backward':34}{'ours':>8}{'torch':>12}{'ratio':>8}", end="")
    print(f"{'textbook':>10}{f'torch, {everyone}':>14}")
    ratios = []
    for name, layer, twin, shape in cases:
        contestants = both_ways(layer, twin, shape)
        torch.set_num_threads(everyone)
        parallel = turns({"torch": contestants["torch"]})["torch"]
        torch.set_num_threads(1)
        median = turns(contestants)
        ratios.append(median["ours"] / median["torch"])
        ours, theirs = (1e3 * median[key] for key in ("ours", "torch"))
        row = f"{f'{name} {shape}':34}{ours:6.2f} ms{theirs:9.2f} ms{ratios[-1]:7.2f}"
        slower = ""
        if name == "BatchNorm1d" and len(shape) == 2:
            slower = f"{textbook_seconds(shape) / median['ours']:.1f} ×"
        print(f"{row}{slower:>10}{1e3 * parallel:11.2f} ms")
    print(f"{'geometric mean':54}{statistics.geometric_mean(ratios):7.2f}")


if __name__ == "__main__":
    main()
