"""Speed of the recurrent layers against PyTorch and against the usual textbook code.

Forward and backward of one layer, float32, one thread each. PyTorch hands its LSTM, and only that
one, to oneDNN, whose products use AVX-512 where the processor has it. NumPy's OpenBLAS chooses its
kernels itself, and may choose those for AVX2 ("Haswell") on the same processor; so the LSTM is also
measured without oneDNN, and the kernels are named. OPENBLAS_CORETYPE=SkylakeX chooses others.
"""

import math
import statistics

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from timing import REPEATS, turns

from dlbook.gated import GRU, LSTM
from dlbook.recurrent import RNN

SHAPES = [(32, 32, 64, 128), (64, 64, 128, 256)]  # time, batch, input_size, hidden_size
LAYERS = {
    "RNN tanh": (RNN, torch.nn.RNN, {}),
    "RNN relu": (RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
    "RNN tanh, 2 layers, both directions": (
        RNN,
        torch.nn.RNN,
        {"num_layers": 2, "bidirectional": True},
    ),
    "LSTM": (LSTM, torch.nn.LSTM, {}),
    "LSTM, torch without oneDNN": (LSTM, torch.nn.LSTM, {}),
    "GRU": (GRU, torch.nn.GRU, {}),
}


class TextbookRNN:
    """A step as an object of its own: two products forward and four backward, in float64."""

    def __init__(self, inputs, hidden):
        rng, bound = np.random.default_rng(0), 1 / math.sqrt(hidden)
        self.Wx = rng.uniform(-bound, bound, (inputs, hidden))
        self.Wh = rng.uniform(-bound, bound, (hidden, hidden))
        self.b = np.zeros(hidden)

    def forward(self, x):
        h = np.zeros((x.shape[1], len(self.b)))
        self.steps, ys = [], []
        for x_t in x:
            h_next = np.tanh(h @ self.Wh + x_t @ self.Wx + self.b)
            self.steps.append((x_t, h, h_next))
            h = h_next
            ys.append(h)
        return np.stack(ys)

    def backward(self, dy):
        self.dWx, self.dWh = np.zeros_like(self.Wx), np.zeros_like(self.Wh)
        self.db, dh, dxs = np.zeros_like(self.b), 0, []
        for dy_t, (x_t, h, h_next) in zip(dy[::-1], self.steps[::-1], strict=True):
            dz = (dy_t + dh) * (1 - h_next**2)
            self.db += dz.sum(axis=0)
            self.dWh += h.T @ dz
            self.dWx += x_t.T @ dz
            dh = dz @ self.Wh.T
            dxs.append(dz @ self.Wx.T)
        return np.stack(dxs[::-1])


def contestants(layer, module, shape, textbook=None):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    dy = np.ones_like(layer(x)[0])
    x_torch, dy_torch = torch.tensor(x, requires_grad=True), torch.tensor(dy)

    def ours():
        layer(x)
        layer.backward(dy)

    def theirs():
        x_torch.grad = None
        module.zero_grad()
        module(x_torch)[0].backward(dy_torch)

    def usual():
        textbook.forward(x)
        textbook.backward(dy)

    return {"ours": ours, "torch": theirs} | ({"textbook": usual} if textbook else {})


def main():
    torch.set_num_threads(1)
    threadpool_limits(1)
    kernels = {i["architecture"] for i in threadpool_info() if i["internal_api"] == "openblas"}
    print(f"float32, 1 thread, medians of {REPEATS} turns; kernels of NumPy: {', '.join(kernels)}")
    width = 22 + max(map(len, LAYERS))
    print(f"{'forward and backward':{width}}{'ours':>9}{'torch':>12}{'ratio':>8}{'textbook':>10}")
    ratios = []
    for name, (ours, theirs, options) in LAYERS.items():
        for steps, batch, inputs, hidden in SHAPES:
            layer = ours(inputs, hidden, rng=np.random.default_rng(0), **options)
            textbook = TextbookRNN(inputs, hidden) if name == "RNN tanh" else None
            module = theirs(inputs, hidden, **options)
            torch.backends.mkldnn.enabled = "without oneDNN" not in name
            median = turns(contestants(layer, module, (steps, batch, inputs), textbook))
            ratios.append(median["ours"] / median["torch"])
            mine, other = (1e3 * median[key] for key in ("ours", "torch"))
            row = f"{name} {(steps, batch, inputs, hidden)}"
            print(f"{row:{width}}{mine:6.2f} ms{other:9.2f} ms{ratios[-1]:8.2f}", end="")
            print(f"{median['textbook'] / median['ours']:8.1f} ×" if textbook else "")
    print(f"{'geometric mean':{width + 21}}{statistics.geometric_mean(ratios):8.2f}")


if __name__ == "__main__":
    main()
