"""The checks are tested too: one planted fault for each thing that they look at.

Each faulty layer breaks one line of the contract, and the check must say which. The right layers
beside them must pass, whatever they are: random, with several inputs, with integers, without any
parameter or with a parameter whose gradient is zero.
"""

import numpy as np
import pytest
import torch
from layer_cases import labels, rng

from dlbook.checks import check_gradients, check_layer, check_loss, check_same_as_torch
from dlbook.layers import (
    Buffer,
    Layer,
    Linear,
    Parameter,
    ReLU,
    Sigmoid,
    SoftmaxWithLoss,
    expect_shape,
)

X = rng(5).normal(size=(4, 3))


class Square(Layer):
    """A right layer with a parameter, y = a x², for the faults to start from."""

    def __init__(self):
        self.a = Parameter(np.array(1.5))

    def forward(self, x):
        expect_shape(x, (...,), "Square: x")
        self.save(x)
        return self.a.data.astype(x.dtype) * x**2

    def backward(self, dy):
        (x,) = self.saved()
        expect_shape(dy, x.shape, "Square: dy")
        self.a.grad += (dy * x**2).sum()
        return 2 * self.a.data.astype(x.dtype) * x * dy


class ChangesX(Square):
    def forward(self, x):
        y = super().forward(x)
        x[...] = 0
        return y


class ChangesSavedX(Square):
    def backward(self, dy):
        (x,) = self.saved()
        self.save(x)
        dx = super().backward(dy)
        x[...] = 0
        return dx


class ChangesDy(Square):
    def backward(self, dy):
        dy *= 1  # writes, although the values stay
        return super().backward(dy)


class LosesDtype(Square):
    def forward(self, x):
        return super().forward(x).astype(np.float64)


class KeepsOwnDtype(Square):
    def forward(self, x):
        return super().forward(x).astype(self.a.data.dtype)


class LosesShape(Square):
    def backward(self, dy):
        return super().backward(dy).ravel()


class LosesDtypeOfDx(Square):
    def backward(self, dy):
        return super().backward(dy).astype(np.float64)


class ServesTwice(Square):
    def saved(self):
        values = super().saved()
        self.save(*values)
        return values


class Stretches(Square):
    def backward(self, dy):
        (x,) = self.saved()
        self.a.grad += (dy * x**2).sum()
        return 2 * self.a.data.astype(x.dtype) * x * dy


class Overwrites(Square):
    def backward(self, dy):
        self.a.grad[...] = 0
        return super().backward(dy)


class WrongDx(Square):
    def backward(self, dy):
        return super().backward(dy) * 1.001


class WrongGrad(Square):
    def backward(self, dy):
        before = self.a.grad.copy()
        dx = super().backward(dy)
        self.a.grad[...] = before + 1.001 * (self.a.grad - before)
        return dx


class NanGrad(Square):
    def backward(self, dy):
        return super().backward(dy) * np.nan


class WrongInFloat32(Square):
    def forward(self, x):
        y = super().forward(x)
        return y * 0 if x.dtype == np.float32 else y


class TrustsTheMemoryOrder(Square):
    def forward(self, x):
        super().forward(x)
        return self.a.data.astype(x.dtype) * x.ravel(order="K").reshape(x.shape) ** 2


class KeepsTheFirstX(Square):
    def save(self, x):
        self.first = getattr(self, "first", x)
        super().save(self.first)


FAULTS = {
    ChangesX: "forward should not write into an argument",
    ChangesSavedX: "backward should not write into an argument",
    ChangesDy: "backward should not write into an argument",
    LosesDtype: "y should be float32 as x is, not float64",
    KeepsOwnDtype: "y should be float64 as x is, not float32",
    LosesShape: r"dx should be \(4, 3\) float32, not \(12,\) float32",
    LosesDtypeOfDx: r"dx should be \(4, 3\) float32, not \(4, 3\) float64",
    ServesTwice: "a second backward should raise RuntimeError",
    Stretches: "backward should refuse a dy of another shape",
    Overwrites: r"backward should add to a\.grad",
    WrongDx: r"dx at \(\d, \d\) should be",
    WrongGrad: r"a\.grad at \(\) should be",
    NanGrad: "float32 and float64 should agree",
    WrongInFloat32: "float32 and float64 should agree",
    TrustsTheMemoryOrder: "float32 and float64 should agree",
    KeepsTheFirstX: r"dx at \(\d, \d\) should be",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_check_layer_sees(fault):
    with pytest.raises(AssertionError, match=f"{fault.__name__}: {FAULTS[fault]}"):
        check_layer(fault(), X)


def test_a_right_layer_passes_and_stays_as_it_is():
    layer, x = Square(), X.copy()
    layer.a.grad[...] = 7
    assert check_layer(layer, x) <= 1e-6
    assert layer.a.data == 1.5 and layer.a.grad == 7 and np.array_equal(x, X)
    assert x.flags.writeable


class Dropout(Layer):
    def __init__(self):
        self.rng = rng(3)

    def forward(self, x):
        mask = self.rng.random(x.shape) < 0.5
        self.save(mask)
        return x * mask

    def backward(self, dy):
        (mask,) = self.saved()
        expect_shape(dy, mask.shape, "Dropout: dy")
        return dy * mask


class Embedding(Layer):
    def __init__(self):
        self.weight = Parameter(rng(4).normal(size=(6, 2)))

    def forward(self, x):
        expect_shape(x, ("batch", "time"), "Embedding: x", kind="integers")
        self.save(x)
        return self.weight.data[x]

    def backward(self, dy):
        (x,) = self.saved()
        expect_shape(dy, (*x.shape, 2), "Embedding: dy")
        np.add.at(self.weight.grad, x, dy)


class Product(Layer):
    """Two inputs, and two gradients in a tuple."""

    def forward(self, x, y):
        self.save(x, y)
        return x * y

    def backward(self, dz):
        x, y = self.saved()
        expect_shape(dz, x.shape, "Product: dz")
        return dz * y, dz * x


class Center(Layer):
    """A layer after a shift that it takes out again: the gradient of the shift is exactly zero."""

    def __init__(self):
        self.shift = Parameter(rng(2).normal(size=3))

    def forward(self, x):
        self.save(x.shape)
        z = x + self.shift.data.astype(x.dtype)
        return z - z.mean(axis=0)

    def backward(self, dy):
        (shape,) = self.saved()
        expect_shape(dy, shape, "Center: dy")
        dz = dy - dy.mean(axis=0)
        self.shift.grad += dz.sum(axis=0)
        return dz


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (Dropout(), [X]),
        (Embedding(), [np.array([[0, 5, 5], [1, 0, 2]])]),
        (Product(), [X, X[::-1].copy()]),
        *((Center(), [rng(seed).normal(size=(20, 3))]) for seed in range(20)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer) else "",
)
def test_every_kind_of_layer_can_be_checked(layer, inputs):
    assert check_layer(layer, *inputs) <= 1e-6


def test_second_input_counts():
    class HalfWrong(Product):
        def backward(self, dz):
            dx, dy = super().backward(dz)
            return dx, 2 * dy

    with pytest.raises(AssertionError, match=r"HalfWrong: dx\[1\] at"):
        check_layer(HalfWrong(), X, X[::-1].copy())


# ---- losses


class WrongMean(SoftmaxWithLoss):
    def backward(self):
        return super().backward() * 2


class ChangesPrediction(SoftmaxWithLoss):
    def forward(self, prediction, target):
        value = super().forward(prediction, target)
        prediction *= 1
        return value


class ChangesTarget(SoftmaxWithLoss):
    def forward(self, prediction, target):
        value = super().forward(prediction, target)
        target += 0
        return value


class NoFloat(SoftmaxWithLoss):
    def forward(self, prediction, target):
        return np.float64(super().forward(prediction, target))


class LossOfOtherDtype(SoftmaxWithLoss):
    def backward(self):
        return super().backward().astype(np.float64)


class KeepsFirstTarget(SoftmaxWithLoss):
    def save(self, p, target):
        self.first = getattr(self, "first", target)
        super().save(p, self.first)


LOSS_FAULTS = {
    WrongMean: r"gradient at \(\d, \d\) should be",
    ChangesPrediction: "forward should not write into an argument",
    ChangesTarget: "forward should not write into an argument",
    NoFloat: "value should be a float, not",
    LossOfOtherDtype: "gradient should be .* float32, not .* float64",
    KeepsFirstTarget: r"gradient at \(\d, \d\) should be",
}


@pytest.mark.parametrize("fault", LOSS_FAULTS, ids=lambda fault: fault.__name__)
def test_check_loss_sees(fault):
    with pytest.raises(AssertionError, match=f"{fault.__name__}: {LOSS_FAULTS[fault]}"):
        check_loss(fault(), X, labels(X.shape))


def test_check_loss_sees_a_second_backward():
    class Twice(SoftmaxWithLoss):
        def saved(self):
            values = super().saved()
            self.save(*values)
            return values

    with pytest.raises(AssertionError, match="Twice: a second backward should raise"):
        check_loss(Twice(), X, labels(X.shape))


# ---- PyTorch


def test_check_same_as_torch_sees_each_difference():
    nn = torch.nn

    class OtherOutput(ReLU):
        def forward(self, x):
            return super().forward(x) + 1e-9

    class OtherDx(ReLU):
        def backward(self, dy):
            return super().backward(dy) * (1 + 1e-9)

    class OtherGrad(Linear):
        def backward(self, dy):
            dx = super().backward(dy)
            self.bias.grad += 1e-9
            return dx

    linear = Linear(3, 2, rng=rng())
    cases = [
        (OtherOutput(), nn.ReLU(), "OtherOutput: output differs"),
        (OtherDx(), nn.ReLU(), r"OtherDx: dx\[0\] differs"),
        (OtherGrad(3, 2, rng=rng()), nn.Linear(3, 2), r"OtherGrad: bias\.grad differs"),
        (linear, nn.Linear(3, 2, bias=False), "Linear: parameters"),
        (linear, nn.Linear(3, 4), r"Linear: parameters .*\(2, 3\).*not .*\(4, 3\)"),
    ]
    for layer, module, said in cases:
        with pytest.raises(AssertionError, match=said):
            check_same_as_torch(layer, module, X)


class RunningMean(Square):
    """A layer with a running mean as its buffer."""

    def __init__(self, share=0.5):
        super().__init__()
        self.share = share
        self.mean = Buffer(np.zeros(3))

    def forward(self, x):
        self.mean.data += self.share * (x.mean(axis=0) - self.mean.data)
        return super().forward(x)


class RunningMeanTwin(torch.nn.Module):
    def __init__(self, name="mean", start=0.0):
        super().__init__()
        self.a = torch.nn.Parameter(torch.ones(()))
        self.register_buffer(name, torch.full((3,), start))

    def forward(self, x):
        self.mean += 0.5 * (x.detach().mean(0) - self.mean)
        return self.a * x**2


def test_check_same_as_torch_compares_buffers():
    layer = RunningMean()
    layer.mean.data[:] = 7
    twin = RunningMeanTwin(start=3.0)
    assert check_same_as_torch(layer, twin, X) <= 1e-10
    assert layer.mean.data.tolist() == [7, 7, 7] and twin.mean.tolist() == [3, 3, 3]
    with pytest.raises(AssertionError, match="RunningMean: mean differs from PyTorch"):
        check_same_as_torch(RunningMean(0.6), twin, X)
    with pytest.raises(AssertionError, match=r"RunningMean: parameters .*mean.* not .*average"):
        check_same_as_torch(layer, RunningMeanTwin("average"), X)


def test_check_same_as_torch_copies_into_copies():
    layer, module = Linear(3, 2, rng=rng()), torch.nn.Linear(3, 2)
    before = module.weight.detach().clone()
    assert check_same_as_torch(layer, module, 1e5 * X) <= 1e-10  # relative to large values
    assert torch.equal(module.weight, before) and module.weight.dtype == torch.float32
    assert layer.weight.data.dtype == np.float32 and not layer.weight.grad.any()


def test_check_same_as_torch_keeps_the_mode():
    class Double(Layer):
        def forward(self, x):
            self.save(2 if self.training else 1)
            return x * (2 if self.training else 1)

        def backward(self, dy):
            (factor,) = self.saved()
            return dy * factor

    class Twin(torch.nn.Module):
        def forward(self, x):
            return x * (2 if self.training else 1)

    assert check_same_as_torch(Double(), Twin(), X) == 0
    assert check_same_as_torch(Double().eval(), Twin(), X) == 0


# ---- gradients


def test_check_gradients_limits():
    exact = 3 * X**2
    assert check_gradients(lambda x: (x**3).sum(), X, exact) <= 1e-7
    with pytest.raises(AssertionError, match=r"gradient should have shape \(4, 3\), not \(12,\)"):
        check_gradients(lambda x: (x**3).sum(), X, exact.ravel())
    for wrong in (exact * (1 + 2e-6), exact + np.nan, exact + np.inf):
        with pytest.raises(AssertionError, match=r"gradient at \(0, 0\) should be"):
            check_gradients(lambda x: (x**3).sum(), X, wrong)
    assert check_gradients(lambda x: (x**3).sum(), X, exact * 1.01, tolerance=0.02) > 0.009


def test_check_gradients_allows_for_cancellation():
    """A sum of ±1e4 that cancels: the rounding is that of the parts, and `scale` says so."""
    big = 1e4 * rng(1).normal(size=50)

    def f(x):
        return ((big * (1 + x)).sum() - big.sum()) - (big * x).sum()

    zero = np.zeros(1)
    assert check_gradients(f, zero, zero, scale=abs(big).sum()) <= 1e-6


def test_empty_inputs():
    assert check_gradients(lambda x: x.sum(), np.zeros((0, 3)), np.zeros((0, 3))) == 0
    assert check_layer(Sigmoid(), np.zeros((0, 3))) == 0
