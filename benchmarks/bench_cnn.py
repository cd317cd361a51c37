"""Speed of a training step of LeNet against PyTorch: forward and backward, float32, batch 50."""

import numpy as np
import torch
from timing import table
from torch import nn

from dlbook.cnn import lenet


def twin() -> nn.Sequential:
    first = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    last = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*first, *second, *last)


def main():
    torch.manual_seed(0)
    sizes = {50: (50, 1, 28, 28), 200: (200, 1, 28, 28)}
    cases = {
        f"lenet, batch {n}": (lenet(rng=np.random.default_rng(0)), twin(), shape)
        for n, shape in sizes.items()
    }
    table(cases, {})


if __name__ == "__main__":
    main()
