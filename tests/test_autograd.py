"""The tape of chapter 15 against PyTorch's, and the bridge between the two."""

import copy
import itertools

import numpy as np
import pytest
import torch
from book import PACKAGE, code_length
from layer_cases import LAYERS

from dlbook import autograd
from dlbook.autograd import Tensor, record, tape
from dlbook.bridge import TorchLayer, TorchTrainer, copy_parameters, pick_device
from dlbook.layers import Flatten, Linear, ReLU, Sequential, SoftmaxWithLoss
from dlbook.optimizers import SGD
from dlbook.training import (
    Checkpoint,
    EarlyStopping,
    LearningRateSchedule,
    Trainer,
    fit,
)

TOLERANCE = 1e-10


def rng(seed=0):
    return np.random.default_rng(seed)


def same_as_torch(f, g, *arrays):
    """Whether value and gradients of f, on tensors of ours, are those of g, on PyTorch's."""
    before = [a.copy() for a in arrays]
    ours = [Tensor(a) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, y_torch = f(*ours), g(*theirs)
    assert y.data.shape == tuple(y_torch.shape)
    np.testing.assert_allclose(y.data, y_torch.detach().numpy(), rtol=TOLERANCE, atol=TOLERANCE)
    dy = rng(9).normal(size=y.data.shape)
    y.backward(dy)
    y_torch.backward(torch.tensor(dy))
    for a, b, start in zip(ours, theirs, before, strict=True):
        wanted = np.zeros(a.data.shape) if b.grad is None else b.grad.numpy()
        assert a.grad.shape == a.data.shape and a.grad.dtype == a.data.dtype
        np.testing.assert_allclose(a.grad, wanted, rtol=TOLERANCE, atol=TOLERANCE)
        assert np.array_equal(a.data, start)


SHAPES = [(), (1,), (3,), (2, 3), (1, 3), (2, 1), (0, 3), (4, 2, 3), (4, 1, 3), (2, 1, 1)]


def fit_together(shape, other):
    try:
        np.broadcast_shapes(shape, other)
    except ValueError:
        return False
    return True


PAIRS = [pair for pair in itertools.product(SHAPES, SHAPES) if fit_together(*pair)]
BINARY = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
}


@pytest.mark.parametrize("sign", BINARY)
@pytest.mark.parametrize(("shape", "other"), PAIRS, ids=str)
def test_arithmetic_with_broadcasting(sign, shape, other):
    x, y = rng(1).uniform(0.5, 2, shape), rng(2).uniform(0.5, 2, other)
    f = BINARY[sign]
    same_as_torch(f, f, x, y)
    same_as_torch(lambda x: f(x, y), lambda x: f(x, torch.tensor(y)), x)
    same_as_torch(lambda y: f(x, y), lambda y: f(torch.tensor(x), y), y)
    same_as_torch(lambda x: f(x, x), lambda x: f(x, x), x)


UNARY = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "tanh": lambda x: x.tanh(),
    "relu": lambda x: x.relu() + (x - 1.1).relu(),
    "negative": lambda x: -x,
    "numbers": lambda x: 2 * x + 1 - 3 / x + (1 - x) / 2,
    **{f"** {n}": lambda x, n=n: x**n for n in (2, 3, 0.5, -1, -2.5, 1, 0)},
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_functions_of_one_array(name, shape):
    same_as_torch(UNARY[name], UNARY[name], rng(1).uniform(0.5, 2, shape))


@pytest.mark.parametrize(
    ("dtype", "x", "y"),
    [(np.float16, 1, 300), (np.float32, 1e30, 1e20), (np.float32, 1e-30, 1e-30)],
)
def test_a_quotient_does_not_square_its_divisor(dtype, x, y):
    x, y = Tensor(np.array(x, dtype)), Tensor(np.array(y, dtype))
    (x / y).backward()
    wanted = -float(x.data) / float(y.data) ** 2
    np.testing.assert_allclose(float(y.grad), wanted, rtol=2e-2 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("n", [2, np.int64(2), np.float64(2), np.float32(0.5), np.int8(-1)])
def test_an_exponent_is_any_number_and_leaves_the_dtype(n):
    x = np.array([1.5, 2.0], np.float32)
    leaf = Tensor(x)
    y = leaf**n
    y.sum().backward()
    assert y.data.dtype == leaf.grad.dtype == np.float32
    np.testing.assert_allclose(leaf.grad, float(n) * x.astype(float) ** (float(n) - 1), rtol=1e-6)


def test_relu_passes_nothing_on_at_zero():
    same_as_torch(lambda x: x.relu(), lambda x: x.relu(), np.array([-1.0, 0, -0.0, 2]))


def test_powers_at_zero():
    for n in (0, 1, 2, 3.0):
        same_as_torch(lambda x, n=n: x**n, lambda x, n=n: x**n, np.array([0.0, 1, -2]))


@pytest.mark.parametrize(
    ("shape", "other"),
    [
        *[((n, k), (k, m)) for n, k, m in itertools.product((1, 2, 5), (1, 3), (1, 4))],
        ((0, 3), (3, 2)),
        ((2, 0), (0, 2)),
        ((6, 2, 3), (6, 3, 4)),
        ((6, 2, 3), (3, 4)),
        ((2, 3), (6, 3, 4)),
        ((6, 1, 2, 3), (5, 3, 4)),
        ((1, 2, 3), (6, 3, 4)),
        ((7, 6, 2, 3), (7, 1, 3, 2)),
    ],
    ids=str,
)
def test_matrix_products(shape, other):
    x, y = rng(1).normal(size=shape), rng(2).normal(size=other)
    same_as_torch(lambda x, y: x @ y, lambda x, y: x @ y, x, y)
    same_as_torch(lambda y: x @ y, lambda y: torch.tensor(x) @ y, y)
    same_as_torch(lambda x: x @ y, lambda x: x @ torch.tensor(y), x)
    if x.ndim == y.ndim == 2:
        same_as_torch(lambda x, y: y.T @ x.T, lambda x, y: y.mT @ x.mT, x, y)


AXES = [None, 0, 1, -1, (0, 1), (0, -1), (0, 1, 2)]


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 3, 1), (5, 1, 2)], ids=str)
def test_reductions(name, axis, keepdims, shape):
    whole = axis if axis is not None else tuple(range(len(shape)))
    theirs = "amax" if name == "max" else name
    for x in (rng(1).normal(size=shape), rng(1).integers(0, 2, shape) * 1.0):  # with ties
        same_as_torch(
            lambda x: getattr(x, name)(axis=axis, keepdims=keepdims),
            lambda x: getattr(x, theirs)(dim=whole, keepdim=keepdims),
            x,
        )


def test_reductions_of_nothing():
    for name in ("sum", "mean"):
        same_as_torch(
            lambda x, name=name: getattr(x, name)(axis=1),
            lambda x, name=name: getattr(x, name)(dim=1),
            np.zeros((0, 3)),
        )


INDICES = [
    2,
    slice(1, 3),
    slice(None, None, 2),
    (slice(None), 1),
    (..., 0),
    (None, 1),
    np.array([2, 0, 2, 2]),
    ([0, 3, 0], [1, 1, 1]),
    (slice(None), np.array([[0, 0], [2, 1]])),
    np.array([True, False, True, True]),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing(index):
    index_torch = torch.tensor(index) if isinstance(index, np.ndarray) else index
    x = rng(1).normal(size=(4, 3, 2))
    same_as_torch(lambda x: x[index], lambda x: x[index_torch], x)
    same_as_torch(lambda x: x[index] * x[index], lambda x: x[index_torch] ** 2, x)


@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, -1), (-1,), (1, 24, 1), (2, 3, 4)], ids=str)
def test_reshape(shape):
    x = rng().normal(size=(2, 3, 4))
    same_as_torch(lambda x: x.reshape(*shape), lambda x: x.reshape(shape), x)
    same_as_torch(lambda x: x.reshape(shape), lambda x: x.reshape(shape), x)


@pytest.mark.parametrize(
    "axes", [*itertools.permutations(range(3)), (-1, 0, 1), (1, -1, -3)], ids=str
)
def test_transpose(axes):
    x = rng().normal(size=(2, 3, 4))
    same_as_torch(lambda x: x.transpose(*axes), lambda x: x.permute(axes), x)
    same_as_torch(lambda x: x.transpose(axes), lambda x: x.permute(axes), x)
    same_as_torch(lambda x: x.T, lambda x: x.permute(2, 1, 0), x)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept(dtype):
    for f in [
        *UNARY.values(),
        lambda x: x @ x.T,
        lambda x: x.max(axis=0),
        lambda x: x.mean(),
        lambda x: x[0],
    ]:
        x = Tensor(rng().uniform(0.5, 2, (2, 3)).astype(dtype))
        y = f(x)
        assert y.data.dtype == dtype
        y.sum().backward()
        assert x.grad.dtype == dtype


def test_module_is_at_most_120_lines():
    assert code_length((PACKAGE / "autograd.py").read_text(encoding="utf-8")) <= 120
    assert set(autograd.__all__) == {"Tensor", "record", "tape"}


def test_leaves_accumulate_and_computed_tensors_do_not():
    x = Tensor([1.0, 2.0])
    for times in (1, 2, 3):
        y = (x * x).sum()
        y.backward()
        assert x.grad.tolist() == [2.0 * times, 4.0 * times] and y.grad is None


def test_gradients_are_no_views_of_each_other():
    x, y = Tensor(np.ones(3)), Tensor(np.ones(3))
    dy = np.ones(3)
    (x + y).backward(dy)
    x.grad[...] = 7
    assert y.grad.tolist() == dy.tolist() == [1, 1, 1]
    z = Tensor(np.ones(3))
    z.backward(dy)
    z.grad[...] = 7
    assert dy.tolist() == [1, 1, 1]


def test_shared_values_receive_every_use():
    def f(x):
        a = x * x + x
        b = a.exp() * a + x
        return (a * b + b / a + a).sum()

    same_as_torch(f, f, rng(3).uniform(0.2, 0.9, (3, 2)))


def test_order_is_topological_and_visits_once():
    x = Tensor(1.0)
    y = x
    for _ in range(60):  # 2**60 paths
        y = y + y
    order = tape(y)
    place = {id(tensor): i for i, tensor in enumerate(order)}
    assert len(order) == len(place) == 61
    assert all(place[id(a)] < place[id(b)] for b in order for a, _ in b.edges)
    y.backward()
    assert x.grad == 2.0**60


def test_long_tapes_need_no_recursion():
    x = Tensor(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1e-3
    y.backward()
    assert x.grad == 1
    del y


def test_tape_serves_once_and_then_changes_nothing():
    x = Tensor([1.0, 2.0])
    shared = x * 3
    first, second = shared.sum(), (shared * x).sum()
    first.backward()
    before = x.grad.copy()
    for end in (first, second, shared.sum()):
        with pytest.raises(RuntimeError, match="compute it again"):
            end.backward()
    assert np.array_equal(x.grad, before)


def test_constants_leave_no_edge():
    x = Tensor(np.ones((2, 2)))
    assert [len((x * np.ones(2)).edges), len((2 * x).edges), len((x * x).edges)] == [1, 1, 2]
    assert not record(np.ones(2), (np.ones(2), lambda dy: dy)).edges
    assert isinstance(np.ones((2, 2)) + x, Tensor) and isinstance(np.float64(2) * x, Tensor)


def test_leaf_is_a_copy():
    array = np.ones(2)
    x = Tensor(array)
    x.data[...] = 5
    assert array.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: Tensor([1, 2]), "data should be floats, not int64"),
        (lambda x: Tensor("one"), "data should be floats"),
        (lambda x: x.backward(), r"shape \(2, 3\) needs dy"),
        (lambda x: (x * 1).backward(np.ones(3)), r"dy should have shape \(2, 3\), not \(3,\)"),
        (lambda x: x**x, "exponent should be a number, not Tensor"),
        (lambda x: x @ np.ones(3), "reshape vectors first"),
        (lambda x: np.ones(2) @ x, "reshape vectors first"),
    ],
)
def test_errors(call, said):
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match=said):
        call(x)
    assert not x.grad.any()


@pytest.mark.parametrize(
    ("wanted", "got"), [((3,), (5,)), ((3, 1), (3,)), ((2, 3), (3, 2)), ((1,), ()), ((3,), (1,))]
)
def test_a_gradient_that_cannot_come_from_broadcasting(wanted, got):
    x = Tensor(np.ones(wanted))
    with pytest.raises(ValueError, match="record: the gradient of an input"):
        record(np.float64(1), (x, lambda dy: np.ones(got))).backward()
    assert not x.grad.any()


def test_transpose_refuses_axes_that_are_not_there():
    for axes in [(0, 1, 5), (0,), (0, 0, 1)]:
        with pytest.raises((ValueError, IndexError)):
            Tensor(np.ones((2, 3, 4))).transpose(*axes)


def test_what_python_must_refuse():
    x = Tensor(np.ones(3))
    with pytest.raises(TypeError):
        x[0] = 1
    with pytest.raises(TypeError):
        np.exp(x)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 64, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_network_has_the_bits_of_the_layers(batch, dtype):
    network = Sequential(Linear(20, 33, rng=rng()), ReLU(), Linear(33, 5, rng=rng()))
    for p in network.parameters():
        p.data = rng(4).normal(size=p.data.shape).astype(dtype)
        p.grad = np.zeros_like(p.data)
    x, t = rng(5).normal(size=(batch, 20)).astype(dtype), np.eye(5)[rng(6).integers(0, 5, batch)]
    t, loss = t.astype(dtype), SoftmaxWithLoss()
    value = loss(network(x), t)
    dx = network.backward(loss.backward())
    W1, b1, W2, b2 = tensors = [Tensor(p.data) for p in network.parameters()]
    x = Tensor(x)
    z = (x @ W1.T + b1).relu() @ W2.T + b2
    shifted = z.data - z.data.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    L = record(-(t * log_p).sum() / batch, (z, lambda dy: dy * ((np.exp(log_p) - t) / batch)))
    assert abs(L.data - value) < 1e-5
    L.backward()
    assert np.array_equal(x.grad, dx)
    for a, b in zip(tensors, network.parameters(), strict=True):
        assert np.array_equal(a.grad, b.grad)


# ---- the bridge


def pair(dropout=0.0):
    network = Sequential(Linear(4, 8, rng=rng()), ReLU(), Linear(8, 3, rng=rng(1)))
    middle = [torch.nn.Dropout(dropout)] if dropout else []
    layers = [torch.nn.Linear(4, 8), torch.nn.ReLU(), *middle, torch.nn.Linear(8, 3)]
    module = torch.nn.Sequential(*layers)
    if not dropout:
        copy_parameters(network, module)
    return network, module


def batches(dtype=np.float32):
    x = rng(2).normal(size=(60, 4)).astype(dtype)
    t = (x @ rng(3).normal(size=(4, 3))).argmax(axis=1)
    return [(x[i : i + 20], t[i : i + 20]) for i in (0, 20, 40)]


def torch_trainer(module, **options):
    sgd = torch.optim.SGD(module.parameters(), lr=0.1, momentum=options.pop("momentum", 0.0))
    return TorchTrainer(module, torch.nn.CrossEntropyLoss(), sgd, **options)


def test_pick_device():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device() == torch.device(
        "cuda"
        if torch.cuda.is_available()
        else "mps"
        if torch.backends.mps.is_available()
        else "cpu"
    )
    for absent in ("cuda:99", "tpu", ""):
        with pytest.raises(ValueError, match=r"is not here, only .*cpu"):
            pick_device(absent)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copy_parameters_there_and_back(dtype):
    network, module = pair()
    module = module.to(dtype)
    copy_parameters(network, module)
    assert all(p.dtype == dtype for p in module.parameters())
    back = copy.deepcopy(network)
    for p in back.parameters():
        p.data[...] = 0
    copy_parameters(module, back)
    for a, b in zip(network.parameters(), back.parameters(), strict=True):
        assert np.array_equal(a.data, b.data) and a.data is not b.data
    module[0].weight.data += 1
    assert not np.array_equal(back.layers[0].weight.data, module[0].weight.detach().numpy())


def test_copy_parameters_changes_all_or_nothing():
    network, module = pair()
    wider = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    for source, target in [(network, wider), (wider, network), (module, wider), (network, ReLU())]:
        before = copy.deepcopy(target.state_dict())
        with pytest.raises(ValueError, match=r"copy_parameters: [02]\.(weight|bias) is"):
            copy_parameters(source, target)
        after = target.state_dict()
        assert all(np.array_equal(np.asarray(after[n]), np.asarray(before[n])) for n in before)
    with pytest.raises(ValueError, match="a layer or a module, not"):
        copy_parameters(network, {})


def test_copy_parameters_of_batch_norm():
    normalization = pytest.importorskip("dlbook.normalization")
    ours, theirs = normalization.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    theirs(torch.randn(8, 3))
    copy_parameters(theirs, ours)
    assert np.array_equal(ours.running_mean.data, theirs.running_mean.numpy())
    other = torch.nn.BatchNorm1d(3)
    copy_parameters(ours, other)
    assert torch.equal(other.running_var, theirs.running_var) and other.num_batches_tracked == 1


def inputs_of(case) -> tuple:
    shape = case.shapes[0]
    return case.inputs(shape) if case.inputs else (case.scale * rng(7).normal(size=shape),)


def is_floats(values) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "f"


def maps_one_array_to_one(cls, case) -> bool:
    """Whether a case is a `TorchLayer`'s: it knows neither states nor indices."""
    inputs = inputs_of(case)
    return len(inputs) == 1 and is_floats(inputs[0]) and is_floats(case.make(cls)(*inputs))


CASES = [
    pytest.param(cls, case, id=f"{cls.__name__}-{i}")
    for cls, cases in LAYERS.items()
    for i, case in enumerate(cases)
    if maps_one_array_to_one(cls, case)
]


def test_most_layers_can_be_used_in_pytorch():
    assert {Linear, ReLU, Sequential} <= {case.values[0] for case in CASES} and len(CASES) > 40


@pytest.mark.parametrize(("cls", "case"), CASES)
def test_any_layer_in_pytorch(cls, case):
    layer = case.make(cls)
    module, twin = TorchLayer(copy.deepcopy(layer)).double(), case.twin().double()
    if getattr(layer, "rng", None) is not None:
        pytest.skip("a random layer has no twin")
    copy_parameters(layer, twin)
    (x,) = inputs_of(case)
    ours, theirs = (torch.tensor(x, requires_grad=True) for _ in range(2))
    y, wanted = module(ours), twin(theirs)
    torch.testing.assert_close(y, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    dy = torch.tensor(rng(8).normal(size=tuple(y.shape)))
    y.backward(dy)
    wanted.backward(dy)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=TOLERANCE, atol=TOLERANCE)


def test_torch_layer_learns_in_place_and_twice():
    layer = Linear(4, 4, rng=rng())
    module = TorchLayer(layer)
    twin = torch.nn.Linear(4, 4)
    copy_parameters(layer, twin)
    x = torch.randn(5, 4)
    for m in (module, twin):
        sgd = torch.optim.SGD(m.parameters(), lr=0.1)
        for _ in range(3):
            sgd.zero_grad()
            loss = (m(m(x)) ** 2).mean()
            loss.backward(retain_graph=True)
            loss.backward()
            sgd.step()
    np.testing.assert_allclose(
        layer.weight.data, twin.weight.detach().numpy(), rtol=1e-4, atol=1e-6
    )


def test_torch_layer_follows_train_and_eval_and_saves():
    layer = Sequential(Flatten(), Linear(4, 2, rng=rng()))
    module = TorchLayer(layer).eval()
    module(torch.randn(3, 2, 2))
    assert not layer.layers[0].training
    module.train()(torch.randn(3, 2, 2))
    assert layer.layers[0].training
    other = TorchLayer(Sequential(Flatten(), Linear(4, 2, rng=rng(5))))
    other.load_state_dict(module.state_dict())
    x = torch.randn(3, 2, 2)
    assert torch.equal(other(x), module(x))


def test_torch_layer_has_the_mode_of_its_layer_and_carries_buffers():
    normalization = pytest.importorskip("dlbook.normalization")
    assert not TorchLayer(normalization.BatchNorm1d(3).eval()).training
    module, twin = TorchLayer(normalization.BatchNorm1d(3)), torch.nn.BatchNorm1d(3)
    x = torch.tensor(rng(1).normal(2, 3, (8, 3)), dtype=torch.float32)
    for m in (module, twin):
        m(x), m(2 * x)
    other = TorchLayer(normalization.BatchNorm1d(3))
    other.load_state_dict(module.state_dict())
    for m in (module, other):
        torch.testing.assert_close(m.eval()(x), twin.eval()(x), rtol=1e-4, atol=1e-5)
    assert module.buffer2 == other.buffer2 == 2


def test_torch_layer_and_trainer_take_bfloat16_and_any_strides():
    module = TorchLayer(Linear(4, 3, rng=rng()))
    x = torch.ones(2, 4, dtype=torch.bfloat16, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert y.dtype == torch.float32 and x.grad.dtype == torch.bfloat16 and x.grad.any()
    mixed = torch.nn.Sequential(torch.nn.Linear(4, 4), TorchLayer(Linear(4, 3, rng=rng())))
    data = [(x[::-1], t) for x, t in batches()]
    trainer = torch_trainer(mixed, autocast_dtype=torch.bfloat16)
    assert len(fit(trainer, data, epochs=2).history["loss"]) == 2


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_same_history_as_trainer_in_float64(clip_norm):
    network, module = pair()
    for p in network.parameters():
        p.data, p.grad = p.data.astype(float), p.grad.astype(float)
    clip = {} if clip_norm is None else {"clip_norm": clip_norm}
    ours = Trainer(network, SoftmaxWithLoss(), SGD(network.parameters(), lr=0.1), **clip)
    theirs = torch_trainer(module.double(), **clip)
    data = batches(np.float64)
    first, second = (fit(trainer, data, data[:1], epochs=5) for trainer in (ours, theirs))
    assert first.history.keys() == second.history.keys()
    for name, values in first.history.items():
        np.testing.assert_allclose(values, second.history[name], rtol=1e-9)


def test_a_resumed_run_has_the_bits_of_one_that_was_not_broken_off(tmp_path):
    def trainer():
        torch.manual_seed(1)
        _, module = pair(dropout=0.5)
        adam = torch.optim.Adam(module.parameters(), lr=0.01)
        return TorchTrainer(module, torch.nn.CrossEntropyLoss(), adam)

    data, path = batches(), tmp_path / "run"
    whole = fit(trainer(), data, data[:1], epochs=6)
    fit(trainer(), data, data[:1], epochs=3, callbacks=[Checkpoint(path)])
    torch.manual_seed(99)
    resumed = fit(
        trainer(), data, data[:1], epochs=6, callbacks=[Checkpoint(path)], resume_from=path
    )
    assert resumed.history == whole.history and resumed.trainer.steps == whole.trainer.steps == 18
    for a, b in zip(
        whole.trainer.model.parameters(), resumed.trainer.model.parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_a_resumed_run_with_a_random_layer_of_ours(tmp_path):
    regularization = pytest.importorskip("dlbook.regularization")

    def trainer(seed):
        torch.manual_seed(1)
        dropout = TorchLayer(regularization.Dropout(0.5, rng=rng(seed)))
        return torch_trainer(torch.nn.Sequential(dropout, torch.nn.Linear(4, 3)))

    data, path = batches(), tmp_path / "run"
    whole = fit(trainer(1), data, epochs=6)
    fit(trainer(1), data, epochs=3, callbacks=[Checkpoint(path)])
    resumed = fit(trainer(2), data, epochs=6, callbacks=[Checkpoint(path)], resume_from=path)
    assert resumed.history == whole.history


def test_a_checkpoint_of_another_model_changes_nothing(tmp_path):
    data, path = batches(), tmp_path / "run"
    fit(torch_trainer(pair()[1]), data, epochs=1, callbacks=[Checkpoint(path)])
    other = torch_trainer(torch.nn.Linear(4, 3))
    before = copy.deepcopy(other.model.state_dict())
    with pytest.raises(ValueError, match="another run"):
        fit(other, data, epochs=2, callbacks=[Checkpoint(path)], resume_from=path)
    assert all(torch.equal(a, before[n]) for n, a in other.model.state_dict().items())


def test_callbacks_serve_both_trainers():
    schedule = LearningRateSchedule(lambda step: 0.5**step)
    stopping = EarlyStopping(patience=0, min_delta=10.0, restore_best_weights=True)
    trainer, data = torch_trainer(pair()[1], momentum=0.9), batches()
    run = fit(trainer, data, data[:1], epochs=9, callbacks=[schedule, stopping])
    assert run.epoch == 2 and trainer.optimizer.param_groups[0]["lr"] == 0.1
    again = trainer.eval_step(*data[0])["loss"]
    assert again == pytest.approx(run.history["val_loss"][0], rel=1e-6)


@pytest.mark.parametrize("lr", [1e38, float("inf")])
def test_overflow_puts_the_last_good_parameters_back(lr):
    _, module = pair()
    trainer = torch_trainer(module)
    trainer.optimizer.param_groups[0]["lr"] = lr
    with pytest.raises(FloatingPointError, match=r"step .*largest gradient is that of [02]"):
        fit(trainer, batches(), epochs=3)
    assert all(torch.isfinite(p).all() for p in module.parameters())
    x = np.full((2, 4), np.nan, np.float32)
    with pytest.raises(FloatingPointError, match="the loss is nan in step 1"):
        torch_trainer(pair()[1]).train_step(x, np.array([0, 1]))


def test_overflow_goes_back_by_one_step_only():
    _, module = pair()
    trainer, data = torch_trainer(module), batches()
    fit(trainer, data, epochs=2)
    before = copy.deepcopy(module.state_dict())
    trainer.optimizer.param_groups[0]["lr"] = 1e38
    with pytest.raises(FloatingPointError, match=r"in step 8|after step 7"):
        fit(trainer, data, epochs=1)
    assert all(torch.equal(a, before[n]) for n, a in module.state_dict().items())


def test_eval_step_changes_nothing():
    _, module = pair(dropout=0.5)
    trainer, (x, t) = torch_trainer(module), batches()[0]
    before = copy.deepcopy(module.state_dict())
    assert trainer.eval_step(x, t) == trainer.eval_step(x, t) and module.training
    assert all(torch.equal(a, before[n]) for n, a in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_autocast_and_bad_arguments():
    _, module = pair()
    data = batches()
    plain = fit(torch_trainer(copy.deepcopy(module)), data, epochs=10).history["loss"]
    mixed = fit(
        torch_trainer(copy.deepcopy(module), autocast_dtype=torch.bfloat16), data, epochs=10
    )
    np.testing.assert_allclose(mixed.history["loss"], plain, atol=0.02)
    assert mixed.history["loss"] != plain
    with pytest.raises(ValueError, match=r"torch\.bfloat16 or None, not torch\.float16"):
        torch_trainer(module, autocast_dtype=torch.float16)
    with pytest.raises(ValueError, match="t should have 3 rows, as x has, not 2"):
        torch_trainer(module).train_step(np.zeros((3, 4), np.float32), np.zeros(2, int))


def test_metrics_losses_and_dtypes_of_a_regression():
    module = torch.nn.Linear(4, 1)
    sgd = torch.optim.SGD(module.parameters(), lr=0.05)
    metrics = {"worst": lambda prediction, t: abs(prediction - t).max()}
    trainer = TorchTrainer(module, torch.nn.MSELoss(), sgd, metrics=metrics, device="cpu")
    x = rng().normal(size=(8, 4))  # float64, as the targets are; the module is float32
    logs = [trainer.train_step(x, x[:, :1]) for _ in range(30)]
    assert logs[0].keys() == {"loss", "worst"} and logs[-1]["loss"] < logs[0]["loss"] / 2
    assert all(type(value) is float for value in logs[0].values())
