"""Speed of the hand-written optimizers against PyTorch and against the usual textbook code.

`make bench` prints ratios measured in one run: below 1 means that ours is faster than the other.
The contestants take turns and the median counts. float32, on the same number of threads.
"""

import statistics

import numpy as np
import torch
from timing import turns

from dlbook.layers import Linear, Parameter, ReLU, Sequential, SoftmaxWithLoss
from dlbook.optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSProp

OPTIM = torch.optim
rng = np.random.default_rng(0)


def one_step(method, twin_class, **options):
    """A step over 1e6 parameters, half of them in a matrix and half in a vector."""
    start = [rng.normal(size=shape) for shape in [(1000, 500), (500_000,)]]
    ours = [Parameter(a) for a in start]
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in ours]
    for p, q in zip(ours, theirs, strict=True):
        p.grad[...] = rng.normal(size=p.data.shape)
        q.grad = torch.tensor(p.grad)
    return {"ours": method(ours, 1e-4).step, "torch": twin_class(theirs, lr=1e-4, **options).step}


def training_step():
    """Forward, backward and Adam for the 784–256–10 network on a batch of 128."""
    net = Sequential(Linear(784, 256, rng=rng), ReLU(), Linear(256, 10, rng=rng))
    nn = torch.nn
    twin = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    loss, optimizer, adam = SoftmaxWithLoss(), Adam(net.parameters()), OPTIM.Adam(twin.parameters())
    x = rng.normal(size=(128, 784)).astype(np.float32)
    labels = rng.integers(0, 10, 128)
    x_torch, labels_torch = torch.tensor(x), torch.tensor(labels)

    def ours():
        optimizer.zero_grad()
        loss(net(x), labels)
        net.backward(loss.backward())
        optimizer.step()

    def theirs():
        adam.zero_grad()
        nn.functional.cross_entropy(twin(x_torch), labels_torch).backward()
        adam.step()

    return {"ours": ours, "torch": theirs}


class TextbookAdam:
    """As it stands in many notes: a new array for every intermediate result."""

    def __init__(self):
        self.w, self.g = rng.normal(size=(2, 10**6)).astype(np.float32)
        self.m, self.v, self.k = np.zeros_like(self.w), np.zeros_like(self.w), 0

    def step(self):
        self.k += 1
        self.m = 0.9 * self.m + (1 - 0.9) * self.g
        self.v = 0.999 * self.v + (1 - 0.999) * self.g**2
        m, v = self.m / (1 - 0.9**self.k), self.v / (1 - 0.999**self.k)
        self.w = self.w - 1e-4 * m / (np.sqrt(v) + 1e-8)


def main():
    ball = {"momentum": 0.9}
    cases = {
        "training step of 784–256–10, Adam": training_step(),
        "SGD": one_step(SGD, OPTIM.SGD),
        "Momentum": one_step(Momentum, OPTIM.SGD, **ball),
        "Nesterov": one_step(Nesterov, OPTIM.SGD, **ball, nesterov=True),
        "AdaGrad": one_step(AdaGrad, OPTIM.Adagrad),
        "RMSProp": one_step(RMSProp, OPTIM.RMSprop),
        "Adam": one_step(Adam, OPTIM.Adam) | {"textbook": TextbookAdam().step},
        "AdamW": one_step(AdamW, OPTIM.AdamW),
    }
    print(f"{torch.get_num_threads()} threads, float32, medians; a step over 1e6 parameters")
    print(f"{'':34}{'ours':>9}{'torch':>10}{'ratio':>8}{'textbook':>11}")
    ratios = []
    for name, contestants in cases.items():
        median = turns(contestants)
        ours, theirs = (1e3 * median[key] for key in ("ours", "torch"))
        ratios.append(ours / theirs)
        row = f"{name:34}{ours:6.2f} ms{theirs:7.2f} ms{ratios[-1]:8.2f}"
        if "textbook" in median:
            row += f"{median['textbook'] / median['ours']:9.1f} ×"
        print(row)
    print(f"{'geometric mean':53}{statistics.geometric_mean(ratios):8.2f}")


if __name__ == "__main__":
    main()
