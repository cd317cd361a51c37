"""Sweeps for chapter 11: dropout in every dtype and mode, penalties, shifts, and bad arguments."""

import copy

import numpy as np
import pytest
import torch

from dlbook.layers import Flatten, Linear, Parameter, ReLU, Sequential
from dlbook.losses import CrossEntropyLoss, MSELoss
from dlbook.optimizers import SGD
from dlbook.regularization import (
    Dropout,
    Penalized,
    ensemble_mean,
    l1_penalty,
    l2_penalty,
    random_shift,
    soft_threshold,
    weight_parameters,
)
from dlbook.training import Trainer


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- dropout


@pytest.mark.parametrize("p", [0, 0.0, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (4, 3), (2, 3, 4, 5), (0, 3)])
def test_dropout_keeps_dtype_and_repeats_its_mask(p, dtype, shape):
    layer = Dropout(p, rng=rng())
    x = rng(1).normal(size=shape).astype(dtype)
    before = x.copy()
    y = layer(x)
    dx = layer.backward(np.ones(shape, dtype))
    assert y.dtype == dx.dtype == dtype and y.shape == dx.shape == shape
    assert np.array_equal(x, before) and not np.shares_memory(x, y)
    assert np.array_equal(y == 0, dx == 0)
    np.testing.assert_allclose(y, x * dx, rtol=2e-3 if dtype == np.float16 else 1e-6)
    if p == 0:
        assert np.array_equal(y, x)


@pytest.mark.parametrize("p", [0.03, 0.3, 0.7, 0.97])
def test_dropout_drops_the_share_that_torch_drops(p):
    ones = np.ones(400_000, dtype=np.float32)
    y = Dropout(p, rng=rng())(ones)
    values = np.unique(torch.nn.Dropout(p)(torch.tensor(ones)).numpy())
    np.testing.assert_allclose(np.unique(y), values, rtol=1e-6)
    assert abs((y == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / ones.size)


def test_dropout_marks_are_independent():
    y = Dropout(0.5, rng=rng())(np.ones((20_000, 8))) / 2
    assert abs(np.corrcoef(y.T) - np.eye(8)).max() < 0.04
    assert abs(np.corrcoef(y[:-1, 0], y[1:, 0])[0, 1]) < 0.04


@pytest.mark.parametrize("p", [1, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_dropout_refuses_p(p):
    with pytest.raises(ValueError, match=r"Dropout: p should be from 0 to below 1, not"):
        Dropout(p, rng=rng())


def test_dropout_in_eval_draws_nothing_and_passes_on():
    layer = Dropout(0.5, rng=rng()).eval()
    x = rng(1).normal(size=(3, 2))
    assert np.array_equal(layer(x), x) and np.array_equal(layer.backward(x), x)
    assert layer.rng.random() == rng().random()
    with pytest.raises(RuntimeError):
        layer.backward(x)


def test_dropout_without_overflow():
    with np.errstate(all="raise"):
        y = Dropout(0.5, rng=rng())(np.array([1000.0, -1000.0, 0.0] * 10, dtype=np.float32))
    assert set(np.unique(y)) <= {-2000, 0, 2000}


def test_a_network_with_dropout_is_deterministic_in_eval_and_not_in_training():
    network = Sequential(Linear(4, 9, rng=rng()), ReLU(), Dropout(0.5, rng=rng()))
    x = rng(1).normal(size=(5, 4))
    assert not np.array_equal(network(x), network(x))
    network.eval()
    assert np.array_equal(network(x), network(x))


# ---- penalties


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_penalties_against_torch(dtype):
    arrays = [rng(i).normal(size=shape) for i, shape in enumerate([(3, 4), (5,), ()])]
    for penalty, theirs in [
        (l1_penalty, lambda w: 0.3 * w.abs().sum()),
        (l2_penalty, lambda w: 0.15 * (w**2).sum()),
    ]:
        parameters = [Parameter(a, dtype=dtype) for a in arrays]
        for p in parameters:
            p.grad[...] = 2
        value = penalty(iter(parameters), 0.3)
        tensors = [torch.tensor(p.data, requires_grad=True) for p in parameters]
        total = sum(map(theirs, tensors))
        total.backward()
        assert type(value) is float and value == pytest.approx(total.item(), rel=1e-5)
        for p, w in zip(parameters, tensors, strict=True):
            assert p.grad.dtype == dtype
            np.testing.assert_allclose(p.grad - 2, w.grad.numpy(), rtol=1e-5, atol=1e-6)
        before = copy.deepcopy(parameters)
        assert penalty(parameters, 0.3, add_gradient=False) == value
        for p, q in zip(parameters, before, strict=True):
            assert np.array_equal(p.grad, q.grad) and np.array_equal(p.data, q.data)


def test_l1_has_slope_zero_at_zero():
    p = Parameter(np.zeros(3))
    assert l1_penalty([p], 1.0) == 0 and not p.grad.any()


@pytest.mark.parametrize("strength", [-1, float("nan"), float("inf")])
def test_strengths_are_refused(strength):
    for call in (
        lambda: l1_penalty([], strength),
        lambda: l2_penalty([], strength),
        lambda: soft_threshold(np.ones(2), strength),
        lambda: Penalized(MSELoss(), ReLU(), l2_penalty, strength),
    ):
        with pytest.raises(ValueError, match="strength should be a number of at least 0"):
            call()


def test_weights_pay_and_biases_do_not():
    network = Sequential(Flatten(), Linear(4, 3, rng=rng()), ReLU(), Linear(3, 2, rng=rng()))
    network.scale = Sequential()
    network.scale.weight = Parameter(np.ones(3))  # like the factor of a normalization layer
    network.table = Sequential()
    network.table.bias = Parameter(np.ones((3, 2)))  # two axes, and still no weight
    assert [p.data.shape for p in weight_parameters(network)] == [(3, 4), (2, 3)]


def test_a_shared_weight_pays_once():
    first, second = Linear(3, 3, rng=rng()), Linear(3, 3, rng=rng())
    second.weight = first.weight
    (paying,) = weight_parameters(Sequential(first, ReLU(), second))
    assert paying is first.weight


def test_a_trainer_with_a_penalized_loss_decays_weights_like_sgd():
    x, t = rng(1).normal(size=(6, 4)), rng(2).integers(0, 3, 6)
    networks = [Linear(4, 3, rng=rng()) for _ in range(2)]
    for network in networks:
        network.weight = Parameter(network.weight.data, dtype=np.float64)
        network.bias = Parameter(np.ones(3), dtype=np.float64)
    priced = Penalized(CrossEntropyLoss(), networks[0], l2_penalty, 0.4)
    trainer = Trainer(networks[0], priced, SGD(networks[0].parameters(), 0.1))
    optimizers = [
        SGD([networks[1].weight], 0.1, weight_decay=0.4),
        SGD([networks[1].bias], 0.1),
    ]
    loss = CrossEntropyLoss()
    for _ in range(10):
        logs = trainer.train_step(x, t)
        trainer.eval_step(x, t)  # must leave no gradient behind
        for optimizer in optimizers:
            optimizer.zero_grad()
        paid = l2_penalty([networks[1].weight], 0.4, add_gradient=False)
        assert logs["loss"] == pytest.approx(loss(networks[1](x), t) + paid)
        networks[1].backward(loss.backward())
        for optimizer in optimizers:
            optimizer.step()
        for ours, theirs in zip(*(n.parameters() for n in networks), strict=True):
            np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-12)
    assert trainer.eval_step(x, t)["loss"] == pytest.approx(loss(networks[1](x), t))


def test_soft_threshold_against_torch():
    a = rng().normal(size=(50, 4))
    for strength in (0, 0.5, 3):
        theirs = torch.nn.functional.softshrink(torch.tensor(a), strength).numpy()
        np.testing.assert_allclose(soft_threshold(a, strength), theirs, atol=1e-15)
        assert np.array_equal(soft_threshold(a, strength) == 0, theirs == 0)
    assert soft_threshold(a.astype(np.float32), 0.5).dtype == np.float32


# ---- shifts and ensembles


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_random_shift_moves_each_image_by_one_of_all_shifts(dtype):
    x = np.zeros((4000, 2, 9, 7), dtype)
    x[:, 0, 4, 3], x[:, 1, 4, 3] = 1, 2
    before = x.copy()
    y = random_shift(x, 2, rng=rng())
    assert y.dtype == dtype and y.shape == x.shape and np.array_equal(x, before)
    assert np.array_equal(y[:, 1], 2 * y[:, 0]) and (y[:, 0].sum(axis=(1, 2)) == 1).all()
    places, counts = np.unique(np.argwhere(y[:, 0])[:, 1:], axis=0, return_counts=True)
    assert len(places) == 25 and places.min(axis=0).tolist() == [2, 1]
    assert abs(counts - 160).max() < 60
    y[...] = 5  # the result is the caller's own
    assert np.array_equal(x, before)


def test_random_shift_at_the_edges():
    x = rng().normal(size=(3, 1, 4, 4))
    assert np.array_equal(random_shift(x, 0, rng=rng()), x)
    assert random_shift(x, 9, rng=rng()).shape == x.shape
    assert random_shift(x[:0], 2, rng=rng()).shape == (0, 1, 4, 4)
    with pytest.raises(ValueError, match="random_shift: x should have shape"):
        random_shift(x[0], 1, rng=rng())
    with pytest.raises(ValueError, match="random_shift: largest should be at least 0, not -1"):
        random_shift(x, -1, rng=rng())


def test_ensemble_mean():
    x = np.ones((2, 3), dtype=np.float32)
    mean = ensemble_mean((lambda x, k=k: k * x for k in (1, 2, 6)), x)
    assert np.array_equal(mean, 3 * x) and mean.dtype == np.float32
    with pytest.raises(ValueError, match="ensemble_mean: members should be at least one"):
        ensemble_mean([], x)
