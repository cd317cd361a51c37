"""Speed of `Trainer` against PyTorch, and how long the chapter's network learns Fashion-MNIST.

`make bench` prints ratios measured in one run: below 1 means that ours is faster than the other.
The contestants take turns and the median counts. float32, on the same number of threads. The
trainer does more than PyTorch's usual loop: it keeps a copy of the last good state, looks
whether all parameters are finite, and computes the accuracy.
"""

import time

import numpy as np
import torch
from timing import turns

from dlbook.data import DataLoader, load_fashion_mnist, split
from dlbook.layers import Flatten, Linear, ReLU, Sequential
from dlbook.losses import CrossEntropyLoss
from dlbook.optimizers import Adam, cosine_decay
from dlbook.training import LearningRateSchedule, Trainer, fit

rng = np.random.default_rng(0)


def network():
    layers = [Linear(784, 256, rng=rng), ReLU(), Linear(256, 10, rng=rng)]
    return Sequential(Flatten(), *layers)


def training_step(batch=128):
    """Forward, backward and Adam for the 784–256–10 network, with and without the trainer."""
    nn = torch.nn
    ours, bare = network(), network()
    twin = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    trainer = Trainer(ours, CrossEntropyLoss(), Adam(ours.parameters()))
    loss, optimizer, adam = (
        CrossEntropyLoss(),
        Adam(bare.parameters()),
        torch.optim.Adam(twin.parameters()),
    )
    x, labels = rng.random((batch, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, batch)
    x_torch, labels_torch = torch.tensor(x), torch.tensor(labels)

    def loop():
        optimizer.zero_grad()
        loss(bare(x), labels)
        bare.backward(loss.backward())
        optimizer.step()

    def theirs():
        adam.zero_grad()
        nn.functional.cross_entropy(twin(x_torch), labels_torch).backward()
        adam.step()

    return {"Trainer": lambda: trainer.train_step(x, labels), "loop": loop, "torch": theirs}


def clothes():
    """Seconds and validation accuracy of the chapter's run, in float32."""
    rest, held = split(load_fashion_mnist()[0], 1500, rng=np.random.default_rng(0))
    model = network()
    trainer = Trainer(model, CrossEntropyLoss(), Adam(model.parameters(), 4e-3))
    loader = DataLoader(rest, 128, shuffle=True, rng=rng)
    schedule = LearningRateSchedule(lambda k: cosine_decay(k, steps=12 * len(loader)))
    start = time.perf_counter()
    run = fit(trainer, loader, DataLoader(held, 500), epochs=12, callbacks=[schedule])
    return time.perf_counter() - start, run.history["val_accuracy"][-1]


def main():
    print(f"{torch.get_num_threads()} threads, float32, medians")
    for batch in (64, 128):
        median = turns(training_step(batch))
        row = "".join(f"{name} {1e3 * t:.2f} ms, " for name, t in median.items())
        print(f"step, batch {batch:3}: {row}ratio {median['Trainer'] / median['torch']:.2f}")
    seconds, accuracy = clothes()
    print(f"12 epochs on 8,500 clothes: {seconds:.1f} s, validation accuracy {accuracy:.1%}")


if __name__ == "__main__":
    main()
