"""Same gradients in, same parameters out as torch.optim; states that come back exactly."""

import io

import numpy as np
import pytest
import torch

from dlbook.layers import Parameter
from dlbook.optimizers import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    RMSProp,
    clip_grad_norm,
    clip_grad_value,
    cosine_decay,
    linear_warmup,
    step_decay,
)

OPTIM = torch.optim
CASES = {
    "SGD": (SGD, {"lr": 0.1}, OPTIM.SGD, {}),
    "SGD-decay": (SGD, {"lr": 0.1, "weight_decay": 0.2}, OPTIM.SGD, {}),
    "Momentum": (Momentum, {"lr": 0.1, "momentum": 0.8}, OPTIM.SGD, {}),
    "Nesterov": (Nesterov, {"lr": 0.1, "momentum": 0.8}, OPTIM.SGD, {"nesterov": True}),
    "AdaGrad": (AdaGrad, {"lr": 0.1, "eps": 1e-3}, OPTIM.Adagrad, {}),
    "RMSProp": (RMSProp, {"lr": 0.1, "alpha": 0.9, "eps": 1e-3}, OPTIM.RMSprop, {}),
    "Adam": (Adam, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}, OPTIM.Adam, {}),
    "AdamW": (AdamW, {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.2}, OPTIM.AdamW, {}),
}
DEFAULTS = {
    "Momentum": (Momentum, {}, OPTIM.SGD, {"momentum": 0.9}),
    "AdaGrad": (AdaGrad, {}, OPTIM.Adagrad, {}),
    "RMSProp": (RMSProp, {}, OPTIM.RMSprop, {}),
    "SGD": (SGD, {}, OPTIM.SGD, {}),
    "Adam": (Adam, {}, OPTIM.Adam, {}),
    "AdamW": (AdamW, {}, OPTIM.AdamW, {}),
    "Nesterov": (Nesterov, {}, OPTIM.SGD, {"momentum": 0.9, "nesterov": True}),
}
SHAPES = [(4, 3), (5,), (), (2, 0)]
METHODS = [SGD, Momentum, Nesterov, AdaGrad, RMSProp, Adam, AdamW]


def parameters(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.normal(size=shape), dtype=dtype) for shape in SHAPES]


def fill(ours, rng):
    for p in ours:
        scale = 10.0 ** rng.integers(-3, 3, p.data.shape) * rng.integers(0, 2, p.data.shape)
        p.grad[...] = rng.normal(size=p.data.shape) * scale


def run_both(case, dtype, steps=70):
    """The two lists of parameters after the same gradients; the rate changes on the way."""
    method, options, twin_class, extra = case
    ours = parameters(dtype)
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in ours]
    optimizer, twin = method(ours, **options), twin_class(theirs, **options, **extra)
    rng = np.random.default_rng(1)
    for k in range(steps):
        if k == steps // 2:
            optimizer.lr /= 3
            twin.param_groups[0]["lr"] /= 3
        fill(ours, rng)
        for p, q in zip(ours, theirs, strict=True):
            q.grad = torch.tensor(p.grad)
        optimizer.step()
        twin.step()
    return [p.data for p in ours], [q.detach().numpy() for q in theirs]


@pytest.mark.parametrize("case", [*CASES.values(), *DEFAULTS.values()])
def test_same_parameters_as_torch_in_float64(case):
    for ours, theirs in zip(*run_both(case, np.float64), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_same_parameters_as_torch_in_float32(case):
    """Seventy steps of rounding in seven digits: 1e-5 of the largest number on the way."""
    for ours, theirs in zip(*run_both(case, np.float32), strict=True):
        assert ours.dtype == np.float32
        scale = max(1.0, abs(theirs).max(initial=0))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("method", METHODS)
def test_blocks_and_layout_change_nothing(method):
    results = []
    for block, order in [(1, "C"), (7, "F"), (2**16, "C")]:
        p = Parameter(np.array(np.arange(12.0).reshape(4, 3), order=order), dtype=np.float64)
        optimizer = method([p], 0.1)
        optimizer.block = block
        kept, rng = p.data, np.random.default_rng(2)
        for _ in range(5):
            p.grad = rng.normal(size=(4, 3))
            grad = p.grad.copy()
            optimizer.step()
            assert np.array_equal(p.grad, grad) and p.data is kept
        results.append(p.data)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


@pytest.mark.parametrize("method", METHODS)
def test_a_state_comes_back_exactly(method):
    ours = parameters(np.float32)
    optimizer, rng = method(ours, 0.1), np.random.default_rng(3)
    for _ in range(4):
        fill(ours, rng)
        optimizer.step()
    optimizer.lr = 0.037
    file = io.BytesIO()
    np.savez(file, **optimizer.state_dict())
    file.seek(0)
    again = parameters(np.float32)
    for p, q in zip(ours, again, strict=True):
        q.data[...] = p.data
    fresh = method(again, 0.5)
    fresh.load_state_dict(dict(np.load(file)))
    assert (fresh.lr, fresh.steps) == (0.037, 4)
    for _ in range(4):
        fill(ours, rng)
        for p, q in zip(ours, again, strict=True):
            q.grad[...] = p.grad
        optimizer.step()
        fresh.step()
    assert all(np.array_equal(p.data, q.data) for p, q in zip(ours, again, strict=True))


def test_a_state_is_a_copy_both_ways():
    ours = parameters()
    optimizer = Momentum(ours, 0.1)
    state = optimizer.state_dict()
    fill(ours, np.random.default_rng(0))
    optimizer.step()
    assert not state["0.momentum_buffer"].any()
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    optimizer.step()
    assert not np.array_equal(state["0.momentum_buffer"], optimizer.state[0]["momentum_buffer"])


def broken_states(state):
    buffer = "1.exp_avg_sq"
    yield {name: value for name, value in state.items() if name != buffer}
    yield {**state, "9.exp_avg": np.zeros(2)}
    yield {**state, buffer: np.zeros(4)}
    yield {**state, buffer: state[buffer].astype(np.float32)}
    for steps in (-1, 1.5, "3", None, np.zeros(2, int)):
        yield {**state, "steps": steps}
    for lr in (-1.0, float("nan"), float("inf"), None):
        yield {**state, "lr": lr}


def test_a_state_loads_all_or_nothing():
    ours = parameters()
    optimizer = Adam(ours, 0.1)
    fill(ours, np.random.default_rng(0))
    optimizer.step()
    other = Adam(parameters(), 0.3)
    before = other.state_dict()
    for broken in broken_states(optimizer.state_dict()):
        with pytest.raises(ValueError, match=r"load_state_dict|Optimizer: lr"):
            other.load_state_dict(broken)
        after = other.state_dict()
        assert after.keys() == before.keys()
        assert all(np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("method", METHODS)
def test_bad_arguments_are_refused(method):
    p = Parameter(np.ones(2))
    half = Parameter(np.ones(2), dtype=np.float16)
    for bad in ([], [p, p], [np.ones(2)], [half]):
        with pytest.raises(ValueError, match="Optimizer: parameters"):
            method(bad, 0.1)
    for lr in (-0.1, float("nan"), float("inf"), "fast", None):
        with pytest.raises(ValueError, match="Optimizer: lr"):
            method([p], lr)
        optimizer = method([p], 0.1)
        optimizer.lr = lr  # by a schedule gone wrong
        with pytest.raises(ValueError, match="Optimizer: lr"):
            optimizer.step()
        assert p.data.tolist() == [1, 1] and optimizer.steps == 0


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (SGD, {"weight_decay": -1}),
        (Momentum, {"momentum": 1.0}),
        (Nesterov, {"momentum": -0.1}),
        (AdaGrad, {"eps": -1e-8}),
        (RMSProp, {"alpha": 1.0}),
        (Adam, {"betas": (0.9, 1.0)}),
        (Adam, {"betas": (-0.1, 0.9)}),
        (AdamW, {"weight_decay": float("nan")}),
    ],
)
def test_bad_options_are_refused(method, options):
    with pytest.raises(ValueError, match=f"Optimizer: {next(iter(options))[:4]}"):
        method([Parameter(np.ones(2))], 0.1, **options)


def test_a_replaced_array_is_noticed_before_anything_moves():
    ours = parameters(np.float32)
    optimizer = Adam(ours, 0.1)
    fill(ours, np.random.default_rng(0))
    ours[1].data = ours[1].data.astype(np.float64)
    before = [p.data.copy() for p in ours]
    with pytest.raises(RuntimeError, match="Adam: parameter 1 should be float32"):
        optimizer.step()
    assert optimizer.steps == 0
    assert all(np.array_equal(p.data, b) for p, b in zip(ours, before, strict=True))


def test_zero_grad():
    ours = parameters()
    fill(ours, np.random.default_rng(0))
    SGD(iter(ours), 0.1).zero_grad()
    assert not any(p.grad.any() for p in ours)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("limit", [0.1, 1.0, 1e9])
def test_clipping_is_that_of_torch(dtype, limit):
    tools = torch.nn.utils
    for clip, twin in [
        (clip_grad_norm, tools.clip_grad_norm_),
        (clip_grad_value, tools.clip_grad_value_),
    ]:
        ours = parameters(dtype)
        fill(ours, np.random.default_rng(4))
        theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in ours]
        for p, q in zip(ours, theirs, strict=True):
            q.grad = torch.tensor(p.grad)
        got, wanted = clip(iter(ours), limit), twin(theirs, limit)
        assert (got is None) == (wanted is None)
        if got is not None:
            assert abs(got - float(wanted)) < 1e-6 * got
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-6)


def test_clipping_of_extremes():
    p = Parameter(np.zeros(2))
    assert clip_grad_norm([p], 1.0) == 0 and not p.grad.any()
    p.grad[...] = 1e30  # its square is beyond float32
    assert abs(clip_grad_norm([p], 1.0) / (2**0.5 * 1e30) - 1) < 1e-6
    assert abs(np.linalg.norm(p.grad) - 1) < 1e-5
    p.grad[...] = [np.inf, 1]
    assert clip_grad_norm([p], 1.0) == np.inf and p.grad.tolist() == [np.inf, 1]
    for clip in (clip_grad_norm, clip_grad_value):
        with pytest.raises(ValueError, match="positive"):
            clip([p], 0.0)


def test_schedules_at_their_ends():
    assert [step_decay(k, every=10) for k in (0, 9)] == [1, 1]
    assert step_decay(20, every=10, gamma=0.5) == 0.25
    assert cosine_decay(0, steps=10) == 1 and cosine_decay(10, steps=10) == 0
    assert abs(cosine_decay(5, steps=10) - 0.5) < 1e-15 and cosine_decay(99, steps=10) == 0
    assert [linear_warmup(k, steps=4) for k in (0, 1, 3, 50)] == [0.25, 0.5, 1, 1]
    assert linear_warmup(0, steps=0) == 1
