"""What the chapter on normalization leaves open: grids of shapes, extreme inputs, planted bugs."""

import itertools
import math

import numpy as np
import pytest
import torch
from layer_cases import LAYERS, rng
from mutants import mutants
from test_layers import array, survives

from dlbook import normalization
from dlbook.checks import check_layer, check_same_as_torch
from dlbook.layers import Linear, Sequential
from dlbook.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    LayerNorm,
    pca_whitening,
    standardize,
    zca_whitening,
)


def concrete(base: type) -> type:
    """A class that can be made, of an abstract batch normalization or of a mutant of it."""
    return type("BatchNorm1d", (base,), {"forward": lambda self, x: base.forward(self, x)})


def make(base: type):
    """The constructor with the defaults of BatchNorm1d."""

    def build(features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        return concrete(base)(features, eps, momentum, affine, track_running_stats)

    return build


def judge(base: type) -> None:
    for cls in (BatchNorm1d, BatchNorm2d):
        for case in LAYERS[cls]:
            for shape in case.shapes:
                check_same_as_torch(case.make(make(base)), case.twin(), array(shape, case.scale))
                if 0 not in shape:
                    check_layer(case.make(make(base)), array(shape, case.scale))


def test_every_mutant_of_batch_normalization_is_caught(record_property):
    judge(normalization._BatchNorm)
    planted = list(mutants(normalization._BatchNorm))
    survivors = [place for place, mutant in planted if survives(lambda m=mutant: judge(m))]
    assert len(planted) > 20 and survivors == []
    record_property("planted bugs caught", len(planted))


GRID = list(
    itertools.product(
        [(2, 1), (7, 3), (64, 5), (3, 4, 1), (2, 3, 9), (3, 2, 1, 4), (1, 4, 3, 3)],
        [0.1, 0.5, 1.0, 0.0, None],
        [True, False],
    )
)


@pytest.mark.parametrize(("shape", "momentum", "affine"), GRID)
def test_batch_norm_follows_torch_through_training_and_after(shape, momentum, affine):
    kind = "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    options = {"momentum": momentum, "affine": affine}
    ours = getattr(normalization, kind)(shape[1], **options)
    theirs = getattr(torch.nn, kind)(shape[1], **options).double()
    for _, buffer in ours.named_buffers():
        floats = buffer.data.dtype.kind == "f"
        buffer.data = buffer.data.astype(float if floats else buffer.data.dtype)
    for seed in range(4):
        x = rng(seed).normal(seed, 1 + seed, shape)
        np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach(), rtol=0, atol=1e-10)
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(ours.state_dict()[name], buffer, rtol=0, atol=1e-10)
    ours.eval(), theirs.eval()
    x = rng(9).normal(size=(1, *shape[1:]))
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach(), rtol=0, atol=1e-10)
    assert ours.num_batches_tracked.data == 4


@pytest.mark.parametrize(
    "layer", [BatchNorm1d(3), BatchNorm2d(3), LayerNorm(3)], ids=lambda layer: type(layer).__name__
)
def test_extreme_numbers_stay_finite(layer):
    shape = (4, 3, 2, 3) if isinstance(layer, BatchNorm2d) else (4, 3)
    for dtype, value in [(np.float16, 1000), (np.float32, 1e6), (np.float64, 1e15)]:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            for x in (np.zeros(shape), np.full(shape, value), value * rng().normal(size=shape)):
                y = layer(x.astype(dtype))
                dx = layer.backward(np.ones_like(y))
                assert y.dtype == dx.dtype == dtype
                assert np.isfinite(y).all() and np.isfinite(dx).all()
                assert abs(y).max() <= math.sqrt(x.size)


def test_large_offsets_do_not_drown_the_variance():
    x = (1000 + rng().normal(size=(4096, 4))).astype(np.float32)
    for layer, axis in ((BatchNorm1d(4), 0), (LayerNorm(4096), 1)):
        data = np.ascontiguousarray(x if axis == 0 else x.T)
        wanted = standardize(data.astype(float), axis)
        assert abs(layer(data) - wanted).max() < 5e-3


def test_many_rows_in_float32():
    for layer, twin, shape in [
        (LayerNorm(40), torch.nn.LayerNorm(40), (5000, 40)),
        (BatchNorm1d(40), torch.nn.BatchNorm1d(40), (5000, 40)),
        (BatchNorm2d(3), torch.nn.BatchNorm2d(3), (64, 3, 32, 32)),
    ]:
        x, dy = rng().normal(2, 3, size=(2, *shape)).astype(np.float32)
        x_torch = torch.tensor(x, requires_grad=True)
        y_torch = twin(x_torch)
        y_torch.backward(torch.tensor(dy))
        np.testing.assert_allclose(layer(x), y_torch.detach(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.backward(dy), x_torch.grad, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(layer.weight.grad, twin.weight.grad, rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("shape", [(1, 3), (0, 3), (1, 3, 1), (4, 3, 0)])
def test_training_refuses_less_than_two_values_per_channel(shape):
    layer = BatchNorm1d(3)
    with pytest.raises(ValueError, match="BatchNorm1d: x should have more than one value per"):
        layer(np.zeros(shape))
    assert layer.num_batches_tracked.data == 0
    assert layer.eval()(np.zeros(shape)).shape == shape


def test_wrong_shapes_are_refused_in_words():
    with pytest.raises(ValueError, match=r"BatchNorm1d: x should have shape \(batch, 3\), not"):
        BatchNorm1d(3)(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"BatchNorm1d: x should have shape \(batch, 3, length\)"):
        BatchNorm1d(3)(np.zeros((4, 4, 2)))
    with pytest.raises(ValueError, match=r"BatchNorm2d: x should have shape \(batch, 3, height"):
        BatchNorm2d(3)(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"LayerNorm: x should have shape \(\.\.\., 3, 4\), not"):
        LayerNorm((3, 4))(np.zeros((4, 3)))
    for shape in (0, (), (3, 0)):
        with pytest.raises(ValueError, match="normalized_shape should have sizes above 0"):
            LayerNorm(shape)
    for cls in (BatchNorm1d, BatchNorm2d):
        with pytest.raises(ValueError, match="num_features should be above 0, not 0"):
            cls(0)
    assert (LayerNorm(1)(np.ones((2, 1))) == 0).all()
    assert LayerNorm(np.int64(3)).normalized_shape == LayerNorm([3]).normalized_shape == (3,)


def test_state_goes_from_one_network_to_another():
    def network(seed):
        return Sequential(Linear(3, 4, rng=rng(seed)), BatchNorm1d(4))

    trained, fresh = network(1), network(2)
    for seed in range(5):
        trained(rng(seed).normal(1, 2, size=(6, 3)).astype(np.float32))
    fresh.load_state_dict(trained.state_dict())
    x = rng(7).normal(size=(1, 3)).astype(np.float32)
    assert np.array_equal(trained.eval()(x), fresh.eval()(x))
    assert fresh.layers[1].num_batches_tracked.data == 5


@pytest.mark.parametrize("whitening", [pca_whitening, zca_whitening])
def test_whitening_of_random_clouds(whitening):
    for n, d in [(50, 1), (50, 7), (1000, 30)]:
        x = rng(d).normal(3, 1, (n, d)) @ rng(n).normal(size=(d, d))
        before = x.copy()
        mean, matrix = whitening(x)
        z = (x - mean) @ matrix
        assert abs(z.T @ z / n - np.eye(d)).max() < 1e-8 and np.array_equal(x, before)
        mean, matrix = whitening(x.astype(np.float32), eps=0.1)
        assert mean.dtype == matrix.dtype == np.float32
        wanted = np.linalg.inv(x.T @ x / n - np.outer(x.mean(0), x.mean(0)) + 0.1 * np.eye(d))
        np.testing.assert_allclose(matrix @ matrix.T, wanted, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("whitening", [pca_whitening, zca_whitening])
def test_whitening_says_what_it_cannot_do(whitening):
    x = rng().normal(size=(20, 3))
    for scale in (1e-6, 1e6):
        np.testing.assert_allclose(scale * whitening(scale * x)[1], whitening(x)[1], atol=1e-8)
    for singular in (np.c_[x, x.sum(axis=1)], np.c_[x, np.ones(20)], x[:2], x[:1]):
        with pytest.raises(ValueError, match="covariance is singular; standardize x first"):
            whitening(singular)
        assert np.isfinite(whitening(singular, eps=1e-3)[1]).all()
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="x should have rows and columns"):
            whitening(np.zeros(shape))
    with pytest.raises(ValueError, match="x should have shape"):
        whitening(x[0])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="x should be finite"):
            whitening(np.where(x == x[3, 1], bad, x))


def test_the_sign_of_a_principal_axis_does_not_hang_on_rounding():
    x = standardize(rng().normal(size=(50, 2)), eps=0.0)  # equal variances: entries of ±√½
    signs = {
        tuple(np.sign(pca_whitening(x * [1 + nudge, 1])[1]).ravel())
        for nudge in (-1e-12, -1e-14, 0, 1e-14, 1e-12)
    }
    assert len(signs) == 1
    matrix = pca_whitening(rng().normal(size=(50, 4)) * [1, 2, 3, 4])[1]
    assert (matrix.max(axis=0) > -matrix.min(axis=0)).all()  # the largest entry is positive


def test_standardize_keeps_the_dtype_and_its_range():
    x = 1000 * rng().normal(size=(50, 3))
    for dtype, digits in [(np.float16, 2), (np.float32, 5), (np.float64, 10)]:
        y = standardize(x.astype(dtype))
        assert y.dtype == dtype
        assert abs(y - standardize(x)).max() < 10.0**-digits
    wanted = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 5)
    np.testing.assert_allclose(standardize(x, eps=5.0), wanted, atol=1e-12)
