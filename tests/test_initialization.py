"""Fans and draws over many shapes; activation_stats on networks that chapter 10 does not show."""

import copy
import math

import numpy as np
import pytest
import torch

from dlbook.activations import Softmax, Tanh
from dlbook.initialization import (
    activation_stats,
    calculate_gain,
    fans,
    he_normal,
    initialize,
    orthogonal,
    stats_table,
    xavier_normal,
    xavier_uniform,
)
from dlbook.layers import Layer, Linear, ReLU, Sequential, Sigmoid, SoftmaxWithLoss

INIT = torch.nn.init
DRAWS = [xavier_uniform, xavier_normal, he_normal, orthogonal]
SIZES = (1, 2, 3, 5, 8)
SHAPES = [
    *((m, n) for m in SIZES for n in SIZES),
    *((m, n, k, k) for m in SIZES for n in SIZES for k in (1, 3, 4)),
    *((m, n, k) for m in SIZES for n in SIZES for k in (1, 7)),
]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_fans_are_those_of_torch():
    for shape in SHAPES:
        assert fans(shape) == INIT._calculate_fan_in_and_fan_out(torch.empty(shape))
        assert fans(list(np.array(shape))) == fans(shape)
    assert fans(torch.empty(4, 3).shape) == (3, 4)


@pytest.mark.parametrize("shape", [(), (5,), [5], 5, (0, 3), (3, 0), (4, -1), (3, 3, 0)])
@pytest.mark.parametrize("draw", DRAWS)
def test_shapes_that_are_refused(draw, shape):
    with pytest.raises(ValueError, match=r"fans: shape should have .*, not [(]"):
        draw(shape, rng=rng())


@pytest.mark.parametrize("gain", [0, -1, math.nan, math.inf, np.ones(2)])
@pytest.mark.parametrize("draw", DRAWS)
def test_gains_that_are_refused(draw, gain):
    with pytest.raises(
        ValueError, match=f"^{draw.__name__}: gain should be a positive number, not"
    ):
        draw((4, 3), rng=rng(), gain=gain)


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_are_float32_repeat_and_scale(draw):
    for shape in SHAPES[::4]:
        w = draw(shape, rng=rng(), gain=1.0)
        assert w.shape == shape and w.dtype == np.float32 and w.flags.writeable
        assert np.array_equal(w, draw(shape, rng=rng(), gain=1.0))
        assert np.allclose(3 * w, draw(shape, rng=rng(), gain=3.0), rtol=1e-6)
    assert not np.array_equal(draw((4, 3), rng=rng()), draw((4, 3), rng=rng(1)))


TWINS = {
    "xavier_uniform": (xavier_uniform, INIT.xavier_uniform_, {}),
    "xavier_normal": (xavier_normal, INIT.xavier_normal_, {}),
    "xavier_gain": (xavier_uniform, INIT.xavier_uniform_, {"gain": 5 / 3}),
    "he": (he_normal, lambda w: INIT.kaiming_normal_(w, nonlinearity="relu"), {}),
}


@pytest.mark.parametrize("shape", [(400, 100), (100, 400), (64, 16, 5, 5), (50, 40, 20)])
@pytest.mark.parametrize("name", TWINS)
def test_draws_have_the_size_and_shape_of_those_of_torch(name, shape):
    ours, theirs, options = TWINS[name]
    torch.manual_seed(0)
    w = ours(shape, rng=rng(), **options).astype(float)
    twin = theirs(torch.empty(shape), **options).numpy().astype(float)
    limit = 4 * math.sqrt(2) / math.sqrt(2 * w.size)  # both have a sampling error
    assert abs(w.std() / twin.std() - 1) < limit
    assert abs(w.mean()) < 4 * w.std() / math.sqrt(w.size)
    kurtosis = [((v / v.std()) ** 4).mean() for v in (w, twin)]  # 3 if normal, 1.8 if uniform
    assert abs(kurtosis[0] - kurtosis[1]) < 0.15
    if "uniform" in name:
        assert abs(abs(w).max() / abs(twin).max() - 1) < 1e-3


def test_he_can_keep_the_gradient_instead():
    w = he_normal((400, 100), rng=rng(), mode="fan_out")
    assert abs(w.std() / math.sqrt(2 / 400) - 1) < 0.02
    with pytest.raises(ValueError, match="mode should be 'fan_in' or 'fan_out', not 'both'"):
        he_normal((4, 3), rng=rng(), mode="both")


@pytest.mark.parametrize("shape", [s for s in SHAPES if max(s) > 1])
def test_orthogonal_rows_or_columns(shape):
    w = orthogonal(shape, rng=rng(), gain=2.0).reshape(shape[0], -1).astype(float)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    assert abs(gram - 4 * np.eye(len(gram))).max() < 1e-5


def test_orthogonal_matrices_are_uniform():
    """The trace of a uniform one has mean 0 and variance 1; without the signs it has not."""
    source = rng()
    traces = [np.trace(orthogonal((3, 3), rng=source)) for _ in range(4000)]
    assert abs(np.mean(traces)) < 0.07 and abs(np.var(traces) - 1) < 0.1


def test_gains():
    names = ["linear", "sigmoid", "tanh", "relu", "leaky_relu"]
    assert all(math.isclose(calculate_gain(n), INIT.calculate_gain(n)) for n in names)
    assert calculate_gain("leaky_relu", 0) == calculate_gain("relu")
    with pytest.raises(ValueError, match=r"nonlinearity should be one of linear, .*, not 'gelu'"):
        calculate_gain("gelu")


# ---- activation_stats


class Residual(Layer):
    """y = x + f(x), a layer with a layer inside."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)

    def backward(self, dy):
        return dy + self.inner.backward(dy)


class Noise(Layer):
    """A layer with a generator, which a measurement must not advance."""

    def __init__(self, source):
        self.rng, self.seen = source, 0

    def forward(self, x):
        self.seen += self.training
        return x + self.rng.normal(size=x.shape)

    def backward(self, dy):
        return dy


class WithState(Linear):
    """Returns a tuple, as recurrent layers do."""

    def forward(self, x):
        y = super().forward(x)
        return y, y[-1]


class Both(Layer):
    """Two layers in a list; the second gets the output of the first without its state."""

    def __init__(self, *layers):
        self.parts = list(layers)

    def forward(self, x):
        return self.parts[1](self.parts[0](x)[0])

    def backward(self, dy):
        return self.parts[0].backward(self.parts[1].backward(dy))


def network():
    r = rng(3)
    inner = Sequential(Linear(6, 6, rng=r), Tanh(), Sequential(Linear(6, 6, rng=r), Sigmoid()))
    return Sequential(Linear(4, 6, rng=r), ReLU(), Residual(inner), Noise(r), Linear(6, 3, rng=r))


X, T = rng(1).normal(size=(50, 4)), rng(2).integers(0, 3, 50)


def test_rows_are_in_the_order_of_the_signal_and_right():
    net = network()
    rows = activation_stats(net, X, SoftmaxWithLoss(), T)
    names = ["0", "1", "2.inner.0", "2.inner.1", "2.inner.2.0", "2.inner.2.1", "2", "3", "4"]
    assert [row.name for row in rows] == names
    assert [row.layer for row in rows][:3] == ["Linear", "ReLU", "Linear"]
    loss, twin = SoftmaxWithLoss(), copy.deepcopy(net)
    y = [X]
    for layer in twin.layers:
        y.append(layer(y[-1]))
    loss(y[-1], T)
    dy = [loss.backward()]
    for layer in reversed(twin.layers):
        dy.append(layer.backward(dy[-1]))
    top = [row for row in rows if "." not in row.name]
    for row, values, gradient in zip(top, y[1:], dy[-2::-1], strict=True):
        assert row.mean == values.mean() and row.std == values.std()
        assert row.zeros == (values == 0).mean()
        assert row.grad_std == gradient.std() and row.grad_zeros == (gradient == 0).mean()


def test_nothing_is_changed():
    net, loss = network().eval(), SoftmaxWithLoss()
    for p in net.parameters():
        p.grad[...] = 7
    y = net(X)
    before = copy.deepcopy((net, loss))
    x = X.copy()
    first = activation_stats(net, x, loss, T)
    assert activation_stats(net, x, loss, T) == first
    now, old = net.layers[3].rng, before[0].layers[3].rng
    assert now.bit_generator.state == old.bit_generator.state and net.layers[3].seen == 0
    assert np.array_equal(x, X) and not net.training
    assert all("forward" not in vars(layer) for layer in [net, *net.layers])
    for p, q in zip(net.parameters(), before[0].parameters(), strict=True):
        assert np.array_equal(p.data, q.data) and np.array_equal(p.grad, q.grad)
    net.backward(np.ones_like(y))  # what it saved before is still there
    with pytest.raises(RuntimeError):
        loss.backward()


def test_a_layer_in_two_places_gets_two_rows():
    shared = Tanh()
    rows = activation_stats(Sequential(shared, Sequential(shared), shared), X)
    assert [row.name for row in rows] == ["0"] * 3
    assert rows[0].std > rows[1].std > rows[2].std


def test_tuples_lists_and_single_layers():
    model = Both(WithState(4, 5, rng=rng()), ReLU())
    rows = activation_stats(model, X)
    assert [(r.name, r.layer) for r in rows][:2] == [("parts.0", "WithState"), ("parts.1", "ReLU")]
    assert [r.name for r in activation_stats(Tanh(), X)] == ["Tanh"]
    assert activation_stats(Sequential(), X) == []


def test_saturation_is_one_percent_of_the_range():
    x = np.array([[-9.0, 0, 9, math.atanh(0.979), math.atanh(0.981)]])
    assert activation_stats(Tanh(), x)[0].saturated == 3 / 5
    assert activation_stats(Sigmoid(), 2 * x)[0].saturated == 3 / 5  # tanh x = 2σ(2x) − 1
    assert math.isnan(activation_stats(Softmax(), x)[0].saturated)
    assert activation_stats(Softmax(), x, bounds={Softmax: (0, 1)})[0].saturated > 0.5


def test_a_broken_network_is_measured_all_the_same():
    net = network()
    net.layers[0].weight.data[...] = np.inf
    with np.errstate(all="ignore"):  # the layers' own
        rows = activation_stats(net, abs(X))
    assert rows[0].mean == math.inf and math.isnan(rows[0].std)
    assert "inf" in stats_table(rows) and "nan" in stats_table(rows)


def test_small_dtypes_and_integers():
    for dtype in (np.float16, np.float32):
        assert activation_stats(network(), X.astype(dtype))[0].std > 0
    tiny = np.full((4, 3), 1e-30, dtype=np.float32)
    tiny[0] = -tiny[0]
    assert 0 < activation_stats(ReLU(), tiny)[0].std < 1e-29  # its square is 0 in float32


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((torch.nn.ReLU(), X), r"model should be a Layer, not ReLU\(\)"),
        ((ReLU, X), "model should be a Layer, not <class"),
        ((ReLU(), [[1.0]]), "x should be an array of examples, not list"),
        ((ReLU(), np.zeros((0, 4))), r"x should be an array of examples, not shape \(0, 4\)"),
        ((ReLU(), np.array(1.0)), r"not shape \(\)"),
        ((ReLU(), X, T), "loss should be a Loss, not array"),
        ((ReLU(), X, SoftmaxWithLoss()), "loss and t should be given together"),
        ((ReLU(), X, None, T), "loss and t should be given together"),
        ((Sequential(ReLU(), Linear(5, 2, rng=rng())), X), r"Linear: x should have shape \(..., 5"),
    ],
)
def test_what_activation_stats_refuses(arguments, said):
    with pytest.raises(ValueError, match=said):
        activation_stats(*arguments)


def test_the_table_has_a_line_for_each_row():
    lines = stats_table(activation_stats(network(), X)).splitlines()
    assert len(lines) == 10 and lines[0].split()[:4] == ["name", "layer", "mean", "std"]
    assert len({len(line) for line in lines}) == 1


# ---- initialize


def test_initialize_changes_weights_only():
    net = network()
    for p in net.parameters():
        p.data[...] = 5
    assert initialize(net, he_normal, rng=rng()) is net
    for name, p in net.named_parameters():
        assert (p.data == 5).all() == name.endswith("bias")
        assert p.data.dtype == np.float32
    with pytest.raises(ValueError, match=r"values for 0.weight should have shape \(6, 4\), not"):
        initialize(net, lambda shape, rng: np.zeros(3), rng=rng())
    with pytest.raises(ValueError, match="model should be a Layer, not 3"):
        initialize(3, he_normal, rng=rng())
