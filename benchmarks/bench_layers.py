"""Speed of the hand-written layers against PyTorch and against the usual textbook code.

`make bench` prints ratios measured in one run: below 1 means that ours is faster than the other.
The machine is noisy, so the contestants take turns and the median counts. float32, forward and
backward, all on the same number of threads.
"""

import math
import statistics

import numpy as np
import torch
from timing import REPEATS, both_ways, turns

from dlbook.layers import Flatten, Linear, ReLU, Sequential, Sigmoid, SoftmaxWithLoss

rng = np.random.default_rng(0)


class TextbookSigmoid:
    """As it stands in many notes: one number after the other, in Python."""

    def forward(self, x):
        self.y = np.array([[1 / (1 + math.exp(-v)) for v in row] for row in x])
        return self.y

    def backward(self, dy):
        return dy * self.y * (1 - self.y)


class TextbookLinear:
    """One example after the other, and a sum of outer products."""

    def __init__(self, weight, bias):
        self.weight, self.bias = weight.astype(float), bias.astype(float)

    def forward(self, x):
        self.x = x
        return np.array([self.weight @ row + self.bias for row in x])

    def backward(self, dy):
        self.dW = sum(np.outer(d, row) for d, row in zip(dy, self.x, strict=True))
        self.db = sum(dy)
        return np.array([self.weight.T @ d for d in dy])


def step_of_a_network():
    """One training step of the 784–256–10 network on a batch of 128, without the optimizer."""
    net = Sequential(Linear(784, 256, rng=rng), ReLU(), Linear(256, 10, rng=rng))
    loss = SoftmaxWithLoss()
    x = rng.normal(size=(128, 784)).astype(np.float32)
    labels = rng.integers(0, 10, 128)
    nn = torch.nn
    twin = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    x_torch, labels_torch = torch.tensor(x), torch.tensor(labels)

    def ours():
        for p in net.parameters():
            p.grad[...] = 0
        loss(net(x), labels)
        net.backward(loss.backward())

    def theirs():
        twin.zero_grad()
        nn.functional.cross_entropy(twin(x_torch), labels_torch).backward()

    return {"ours": ours, "torch": theirs}


def main():
    nn = torch.nn
    linear = Linear(784, 256, rng=rng)
    cases = {
        "step of 784–256–10, batch 128": step_of_a_network(),
        "Linear 784→256, batch 128": both_ways(linear, nn.Linear(784, 256), (128, 784)),
        "ReLU, 1e6 elements": both_ways(ReLU(), nn.ReLU(), (1000, 1000)),
        "Sigmoid, 1e6 elements": both_ways(Sigmoid(), nn.Sigmoid(), (1000, 1000)),
        "Flatten, 128×28×28": both_ways(Flatten(), nn.Flatten(), (128, 28, 28)),
    }
    textbook = {
        "Linear 784→256, batch 128": TextbookLinear(linear.weight.data, linear.bias.data),
        "Sigmoid, 1e6 elements": TextbookSigmoid(),
    }
    print(f"{torch.get_num_threads()} threads, float32, medians of {REPEATS} turns")
    print(f"{'forward and backward':32}{'ours':>9}{'torch':>10}{'ratio':>8}{'textbook':>11}")
    ratios = []
    for name, contestants in cases.items():
        median = turns(contestants)
        ratios.append(median["ours"] / median["torch"])
        ours, theirs = (1e3 * median[key] for key in ("ours", "torch"))
        row = f"{name:32}{ours:6.2f} ms{theirs:7.2f} ms{ratios[-1]:8.2f}"
        if name in textbook:
            row += f"{textbook_time(textbook[name], name) / median['ours']:9.0f} ×"
        print(row)
    print(f"{'geometric mean':51}{statistics.geometric_mean(ratios):8.2f}")


def textbook_time(layer, name) -> float:
    shape, out = ((128, 784), (128, 256)) if "Linear" in name else ((1000, 1000), (1000, 1000))
    x, dy = rng.normal(size=shape), np.ones(out)
    return turns({"textbook": lambda: (layer.forward(x), layer.backward(dy))}, repeats=3)[
        "textbook"
    ]


if __name__ == "__main__":
    main()
