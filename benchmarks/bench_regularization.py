"""Speed of dropout against PyTorch, and what dropout costs in a training step.

Forward and backward on 1e6 float32 elements; and a step of a 784–256–10 network, batch 128, with
dropout after the hidden layer and without it: whoever expects dropout to save time, look here.
"""

import statistics

import numpy as np
import torch
from timing import both_ways, turns

from dlbook.layers import Linear, ReLU, Sequential
from dlbook.losses import CrossEntropyLoss
from dlbook.optimizers import SGD
from dlbook.regularization import Dropout

SHAPE = (1000, 1000)


def step(*middle):
    rng = np.random.default_rng(0)
    network = Sequential(Linear(784, 256, rng=rng), ReLU(), *middle, Linear(256, 10, rng=rng))
    loss, optimizer = CrossEntropyLoss(), SGD(network.parameters(), 0.01)
    x = rng.random((128, 784), dtype=np.float32)
    t = rng.integers(0, 10, 128)

    def run():
        loss(network(x), t)
        optimizer.zero_grad()
        network.backward(loss.backward())
        optimizer.step()

    return run


def main():
    torch.set_num_threads(1)
    ratios = []
    print(f"{'forward and backward':24}{'ours ms':>9}{'torch ms':>10}{'ratio':>8}")
    for p in (0.1, 0.5):
        layer = Dropout(p, rng=np.random.default_rng(0))
        medians = turns(both_ways(layer, torch.nn.Dropout(p), SHAPE))
        ratios.append(medians["ours"] / medians["torch"])
        ours, theirs = (1e3 * medians[name] for name in ("ours", "torch"))
        print(f"Dropout({p}){'':12}{ours:9.2f}{theirs:10.2f}{ratios[-1]:8.2f}")
    print(f"{'geometric mean':43}{statistics.geometric_mean(ratios):8.2f}")
    rng = np.random.default_rng(0)
    medians = turns({"without": step(), "with": step(Dropout(0.5, rng=rng))}, repeats=200)
    print(f"\na training step with dropout takes {medians['with'] / medians['without']:.2f} times")
    print("as long as one without")


if __name__ == "__main__":
    main()
