"""What the chapter on convolution leaves open: many shapes, memory, planted bugs, bad input."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
import torch
from layer_cases import LAYERS, rng
from mutants import mutants
from test_layers import array, survives

from dlbook import convolution
from dlbook.checks import check_layer, check_same_as_torch
from dlbook.convolution import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    MaxPool2d,
    MaxUnpool2d,
    Upsample,
    conv_output_size,
    same_padding,
)

nn = torch.nn

CONVOLUTIONS = [  # in_channels, out_channels, kernel, stride, padding, dilation, groups
    *itertools.product([2], [4, 6], [1, 3, (2, 3)], [1, 2, (1, 3)], [0, 1, (2, 0)], [1, 2], [1, 2]),
    (1, 30, 5, 1, 0, 1, 1),
    (4, 4, 3, 1, 1, 1, 4),
    (3, 1, 1, 1, 3, 1, 1),
    (6, 3, (5, 1), (3, 1), (2, 2), (1, 3), 3),
]


def images(kernel, padding, dilation, channels):
    """The smallest that fit, and larger ones of odd sizes."""
    reach = np.multiply(dilation, np.subtract(kernel, 1)) + 1
    least = np.maximum(np.broadcast_to(reach - 2 * np.array(padding), 2), 1)
    return [(2, channels, *least.tolist()), (1, channels, *np.add(least, [4, 3]).tolist())]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_conv2d_is_its_twin(options):
    channels, out, kernel, stride, padding, dilation, groups = options
    arguments = channels, out, kernel, stride, padding, dilation, groups
    layer, twin = Conv2d(*arguments, rng=rng()), nn.Conv2d(*arguments)
    for shape in images(kernel, padding, dilation, channels):
        assert check_same_as_torch(layer, twin, array(shape)) <= 1e-10


@pytest.mark.parametrize(
    "options", [*itertools.product([2], [2, 6], [1, 3, 4], [1, 2], [0, 2], [1, 2], [1, 2])], ids=str
)
def test_conv1d_is_its_twin(options):
    layer, twin = Conv1d(*options, rng=rng()), nn.Conv1d(*options)
    for length in (8, 11):
        assert check_same_as_torch(layer, twin, array((2, 2, length))) <= 1e-10


TRANSPOSED = [  # in_channels, out_channels, kernel, stride, padding, output_padding, groups
    options
    for options in itertools.product(
        [2], [2, 4], [1, 2, (3, 4)], [1, 2, (3, 1)], [0, 1], [0, 1, (1, 0)], [1, 2]
    )
    if np.all(np.array(options[5]) < np.broadcast_to(options[3], 2))
]


@pytest.mark.parametrize("options", TRANSPOSED, ids=str)
def test_conv_transpose2d_is_its_twin(options):
    layer, twin = ConvTranspose2d(*options, rng=rng()), nn.ConvTranspose2d(*options)
    for shape in ((2, 2, 3, 4), (1, 2, 4, 3)):
        assert check_same_as_torch(layer, twin, array(shape)) <= 1e-10


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_dilated_transposed_convolution(dilation, bias):
    for stride, padding, extra in [(1, 0, 0), (1, 2, dilation - 1), (2, 1, 1), (3, 1, 2)]:
        options = 3, 2, 3, stride, padding, extra, 1, bias, dilation
        layer, twin = ConvTranspose2d(*options, rng=rng()), nn.ConvTranspose2d(*options)
        assert check_same_as_torch(layer, twin, array((2, 3, 4, 5))) <= 1e-10


POOLINGS = [
    (kernel, stride, padding)
    for kernel in (1, 2, 3, (2, 3))
    for stride in (None, 1, 2, (3, 1))
    for padding in (0, 1, (1, 0))
    if np.all(2 * np.array(padding) <= kernel)
]


@pytest.mark.parametrize("options", POOLINGS, ids=str)
def test_pooling_is_its_twin_with_ties_too(options):
    for shape in ((2, 3, 7, 6), (1, 1, 3, 3), (0, 2, 4, 4)):
        for x in (array(shape), array(shape).round(), np.zeros(shape)):
            assert check_same_as_torch(MaxPool2d(*options), nn.MaxPool2d(*options), x) <= 1e-10
            for include in (True, False):
                pair = AvgPool2d(*options, include), nn.AvgPool2d(*options, False, include)
                assert check_same_as_torch(*pair, x) <= 1e-10


@pytest.mark.parametrize("options", POOLINGS, ids=str)
def test_indices_are_those_of_torch(options):
    for x in (array((2, 3, 7, 6)), array((2, 3, 7, 6)).round(), np.full((1, 2, 4, 4), -np.inf)):
        y, indices = MaxPool2d(*options, return_indices=True)(x)
        theirs = nn.MaxPool2d(*options, return_indices=True)(torch.tensor(x))
        assert np.array_equal(y, theirs[0]) and np.array_equal(indices, theirs[1])
        assert indices.dtype == np.int64


@pytest.mark.parametrize("kernel", [1, 2, (3, 2)], ids=str)
@pytest.mark.parametrize("padding", [0, (1, 0)], ids=str)
def test_unpooling_is_its_twin(kernel, padding):
    if np.any(2 * np.array(padding) > kernel):
        return
    x = array((2, 3, 12, 8))
    y, indices = MaxPool2d(kernel, padding=padding, return_indices=True)(x)
    sizes = [(12, 8), x.shape]
    for size in sizes if padding else (None, *sizes):
        y_torch = torch.tensor(y, requires_grad=True)
        twin = nn.MaxUnpool2d(kernel, padding=padding)
        z_torch = twin(y_torch, torch.tensor(indices), output_size=size)
        layer = MaxUnpool2d(kernel, padding=padding)
        z = layer(y, indices, size)
        dz = array(z.shape)
        z_torch.backward(torch.tensor(dz))
        dy, none = layer.backward(dz)
        assert np.array_equal(z, z_torch.detach()) and np.array_equal(dy, y_torch.grad)
        assert none is None


SIZES = [
    *({"scale_factor": factor} for factor in (1, 2, 3, 1.5, 0.5, (2, 1.3), (0.4, 2.7))),
    *({"size": size} for size in (1, 2, 7, (5, 11), (3, 4))),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_upsampling_is_its_twin(size):
    for options in ({}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}):
        for shape in ((2, 3, 5, 4), (1, 1, 3, 7)):
            pair = Upsample(**size, **options), nn.Upsample(**size, **options)
            assert check_same_as_torch(*pair, array(shape)) <= 1e-10


def test_nearest_is_that_of_torch_for_every_pair_of_sizes():
    for n, size in itertools.product(range(1, 25), range(1, 50)):
        x = np.arange(n, dtype=float).reshape(1, 1, 1, n)
        theirs = nn.Upsample(size=(1, size))(torch.tensor(x))
        assert np.array_equal(Upsample(size=(1, size))(x), theirs)


SHARED = {"_Convolution": (Conv1d, Conv2d), "_Transposed": (ConvTranspose2d,)}


def over(base, kind):
    """A copy of a layer class whose base is `base`, right or with a planted bug."""

    class Copy(base):
        def __init__(self, *arguments, **options):
            original = kind(*arguments, **options)
            vars(self).update(vars(original))

        def forward(self, x):
            y = base.forward(self, x if x.ndim == 4 else x[:, :, np.newaxis])
            return y if x.ndim == 4 else y[:, :, 0]

        def backward(self, dy):
            dx = base.backward(self, dy)
            return dx if dy.ndim == 4 else dx[:, :, 0]

    Copy.__name__ = kind.__name__
    return Copy


@pytest.mark.parametrize("name", SHARED)
def test_every_mutant_of_the_shared_part_is_caught(name, monkeypatch, record_property):
    monkeypatch.setattr(convolution._Columns, "most", 1)  # several blocks, of one image each

    def judge(base):
        for kind in SHARED[name]:
            for case in LAYERS[kind]:
                for shape in case.shapes:
                    x = array(shape)
                    check_same_as_torch(case.make(over(base, kind)), case.twin(), x)
                    if x.size:
                        check_layer(case.make(over(base, kind)), x)

    base = getattr(convolution, name)
    judge(base)
    planted = list(mutants(base))
    survivors = [place for place, mutant in planted if survives(lambda m=mutant: judge(m))]
    assert len(planted) > 10 and survivors == []
    record_property("planted bugs caught", len(planted))


@pytest.mark.parametrize("options", [(3, 6, 3), (4, 8, (2, 3), 1, 1, 2, 2), (2, 9, 1, 1, 0, 1, 1)])
def test_both_ways_back_are_the_same(options):
    x = array((3, options[0], 7, 6))
    gradients = []
    for way in (convolution._backward_by_scattering, convolution._backward_by_correlating):
        layer = Conv2d(*options, rng=rng())
        dy = rng(3).normal(size=layer(x).shape)
        layer.weight.data = layer.weight.data.astype(float)
        layer.weight.grad = np.zeros_like(layer.weight.data)
        gradients.append((way(layer, x, dy), layer.weight.grad))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_columns_and_their_scattering_are_adjoint():
    for kernel, stride, padding, dilation in [
        ((3, 2), (1, 1), (0, 0), (1, 1)),
        ((2, 3), (2, 1), (1, 2), (1, 2)),
        ((1, 4), (3, 2), (0, 1), (1, 1)),
    ]:
        options = kernel, stride, padding, dilation
        size = tuple(map(conv_output_size, (7, 9), *options))
        columns = convolution._Columns((3, 4, 7, 9), size, *options, 2, np.float64)
        x, m = array((3, 4, 7, 9)), rng(5).normal(size=columns.matrix.shape)
        left = (columns.gather(x) * m).sum()
        columns.matrix[...] = m
        assert abs(left - (x * columns.scatter()).sum()) < 1e-12


@pytest.mark.parametrize("batch", [1, 6, 7, 37, 64])  # in blocks of 1, 3, 1, 1 and 4
@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
@pytest.mark.parametrize("out", [3, 6])  # both ways back
def test_a_batch_is_its_images(batch, kind, out):
    layer, x = kind(2, out, 5, rng=rng()), array((batch, 2, 29, 27))
    layer.bias.data[...] = np.arange(out)
    y = layer(x)
    dy = array(y.shape)
    dx, together = layer.backward(dy), layer.weight.grad.copy()
    layer.weight.grad[...] = 0
    for i in range(batch):
        one = slice(i, i + 1)
        np.testing.assert_allclose(layer(x[one]), y[one], rtol=0, atol=1e-12)
        np.testing.assert_allclose(layer.backward(dy[one]), dx[one], rtol=0, atol=1e-12)
    np.testing.assert_allclose(layer.weight.grad, together, rtol=1e-4, atol=1e-3)


def held_and_peak(call):
    tracemalloc.start()
    kept = call()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept, held, peak


@pytest.mark.parametrize("stride", [1, 2])
def test_a_forward_holds_the_input_and_not_all_columns(stride):
    layer = Conv2d(8, 8, 3, stride, 1, rng=rng())
    x = array((128, 8, 32, 32), dtype=np.float32)
    columns = 9 * x.nbytes // stride**2
    y, held, peak = held_and_peak(lambda: layer(x))
    assert held < y.nbytes + 0.1 * x.nbytes  # x itself is the caller's, and only referred to
    assert peak < y.nbytes + 0.2 * columns
    dx, held, peak = held_and_peak(lambda: layer.backward(y))
    assert held < dx.nbytes + 0.1 * x.nbytes
    assert peak < dx.nbytes + 0.2 * columns


def test_wrong_input_is_refused_in_words():
    def refused(message, call):
        with pytest.raises(ValueError, match=message):
            call()

    image = np.zeros((8, 1, 28, 28))
    layer = Conv2d(3, 4, 3, rng=rng())
    refused(r"Conv2d: x should have shape \(batch, 3, height, width\), not", lambda: layer(image))
    refused(r"should have shape \(batch, 3, length\)", lambda: Conv1d(3, 4, 3, rng=rng())(image))
    for kind in (Conv2d, ConvTranspose2d):
        for bytes_ in (np.uint8, np.int64):
            refused(
                r"should be an array of floats, not of u?int.*divide an image by 255",
                lambda kind=kind, t=bytes_: kind(1, 4, 3, rng=rng())(image.astype(t)),
            )
        refused("stride should be 1 or more", lambda kind=kind: kind(1, 4, 3, 0, rng=rng()))
        refused("padding should be 0 or more", lambda kind=kind: kind(1, 4, 3, 1, -1, rng=rng()))
        refused("kernel_size should be 1 or more", lambda kind=kind: kind(1, 4, 1.5, rng=rng()))
        refused("kernel_size should", lambda kind=kind: kind(1, 4, (3, 3, 3), rng=rng()))
        refused(
            "out_channels should be a mult", lambda kind=kind: kind(2, 3, 3, groups=2, rng=rng())
        )
        refused("in_channels should", lambda kind=kind: kind(0, 3, 3, rng=rng()))
        refused("in_channels should", lambda kind=kind: kind(2, 2, 3, groups=0, rng=rng()))
    large = Conv2d(1, 4, 5, padding=1, dilation=2, rng=rng())
    wanted = r"Conv2d: the kernel, \(9, 9\), should fit into the padded input, \(6, 30\)"
    refused(wanted, lambda: large(np.zeros((1, 1, 4, 28))))
    refused("MaxPool2d: the kernel", lambda: MaxPool2d(3)(np.zeros((1, 1, 2, 4))))
    refused("divide an image by 255", lambda: AvgPool2d(2)(image.astype(np.uint8)))
    refused("at most half the kernel", lambda: MaxPool2d(2, padding=2))
    refused(
        "output_padding should be smaller", lambda: ConvTranspose2d(1, 1, 3, 2, 0, 2, rng=rng())
    )
    no_room = ConvTranspose2d(1, 1, 1, 1, 2, rng=rng())
    refused("y should have rows and columns", lambda: no_room(np.zeros((1, 1, 3, 3))))
    pooled, indices = MaxPool2d(2, return_indices=True)(np.zeros((1, 1, 4, 4)))
    refused("indices should lie in y", lambda: MaxUnpool2d(2)(pooled, indices + 20))
    refused("indices should lie in y", lambda: MaxUnpool2d(2)(pooled, indices, (2, 2)))
    refused("indices should be an array of integers", lambda: MaxUnpool2d(2)(pooled, pooled))
    refused("either size or scale_factor", lambda: Upsample())
    refused("either size or scale_factor", lambda: Upsample(2, 2))
    refused("mode should be", lambda: Upsample(2, mode="cubic"))
    refused("mode should be", lambda: Upsample(2, align_corners=True))
    for option in ("kernel_size", "stride", "padding", "dilation"):
        for value in (-1, (3, 3), 1.5):
            options = {"kernel_size": 3, option: value}
            refused(
                f"Conv1d: {option} should be a whole",
                lambda o=options: Conv1d(2, 2, **o, rng=rng()),
            )
    for factor in (0, -1, (2, 0), np.nan):
        refused("scale_factor should be above 0", lambda f=factor: Upsample(scale_factor=f))
    refused("rows and columns", lambda: Upsample(scale_factor=0.1)(np.zeros((1, 1, 3, 3))))
    refused("rows and columns", lambda: Upsample(2)(np.zeros((1, 1, 0, 3))))
    for n, kernel in [(3, 5), (0, 1)]:
        refused("conv_output_size: a window", lambda a=(n, kernel): conv_output_size(*a))
    for arguments in [(5, 3, 0), (5, 0), (5, 3, 1, -1), (5, 3, 1, 0, 0)]:
        refused("conv_output_size: kernel, str", lambda a=arguments: conv_output_size(*a))
    for arguments in [(0, 3, 1), (5, 0, 1), (5, 3, 0)]:
        refused("same_padding: n, kernel and", lambda a=arguments: same_padding(*a))


def test_small_and_odd_inputs():
    for kind in (Conv2d, ConvTranspose2d):
        layer = kind(2, 3, 3, padding=1, rng=rng())
        for dtype in (np.float16, np.float32, np.float64):
            for value in (0, 1000):
                y = layer(np.full((2, 2, 4, 4), value, dtype))
                assert y.dtype == dtype and np.isfinite(y).all()
                assert layer.backward(np.ones_like(y)).dtype == dtype
        assert layer(np.zeros((0, 2, 4, 4))).shape == (0, 3, 4, 4)
    assert (Conv2d(1, 1, 2, bias=False, rng=rng()).bias) is None
    weight = Conv2d(64, 32, 3, rng=rng()).weight.data
    assert abs(weight.std() - math.sqrt(2 / 576)) < 1e-3
    y = ConvTranspose2d(64, 32, 4, 2, 1, rng=rng())(rng(2).normal(size=(4, 64, 8, 8)))
    assert 1.2 < y[:, :, 2:-2, 2:-2].std() < 1.6  # √2, as He wants it


def test_same_padding_is_the_least_that_fits():
    def count(n, kernel, stride):
        return len([start for start in range(0, n, stride) if start + kernel <= n])

    for n in range(1, 60):
        for kernel in range(1, 9):
            for stride in range(1, 7):
                before, after = same_padding(n, kernel, stride)
                total, wanted = before + after, len(range(0, n, stride))
                assert count(n + total, kernel, stride) == wanted and 0 <= after - before <= 1
                assert not total or count(n + total - 1, kernel, stride) < wanted
