"""Functions on images over many shapes and odd inputs, and the small parts of chapter 17."""

import numpy as np
import pytest

from dlbook.cnn import feature_maps, lenet, random_slant
from dlbook.images import (
    box_sums,
    cutout,
    global_contrast_normalize,
    local_contrast_normalize,
    random_crop,
    random_flip,
)

CHANGES = {
    "global": lambda x, rng: global_contrast_normalize(x),
    "local": lambda x, rng: local_contrast_normalize(x, 3),
    "flip": lambda x, rng: random_flip(x, rng=rng),
    "crop": lambda x, rng: random_crop(x, x.shape[2:], padding=2, rng=rng),
    "cutout": lambda x, rng: cutout(x, 3, rng=rng),
    "slant": lambda x, rng: random_slant(x, 0.5, rng=rng),
}
SHAPES = [(0, 1, 5, 5), (1, 1, 1, 1), (2, 3, 1, 7), (3, 2, 6, 4), (1, 1, 9, 1)]


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CHANGES)
def test_shape_and_dtype_stay(name, shape, dtype):
    x = generator().random(shape).astype(dtype)
    x.flags.writeable = False
    y = CHANGES[name](x, generator(1))
    assert y.shape == shape and y.dtype == dtype and np.isfinite(y).all()
    assert np.array_equal(y, CHANGES[name](x, generator(1)))  # the same generator, the same images


@pytest.mark.parametrize("name", ["global", "local"])
@pytest.mark.parametrize("value", [0, 0.1, 1 / 3, -7.7, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_of_one_value_become_zero(name, value, dtype):
    assert not CHANGES[name](np.full((2, 3, 12, 13), value, dtype), None).any()


@pytest.mark.parametrize("size", [1, 3, 5, 11, 41])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_boxes_are_sums_over_windows(shape, size):
    x, r = generator().normal(size=shape), size // 2
    wanted = np.zeros(shape)
    for i, j in np.ndindex(shape[2:]):
        window = x[:, :, max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1]
        wanted[:, :, i, j] = window.sum(axis=(2, 3))
    assert np.allclose(box_sums(x, size), wanted, atol=1e-12)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 9])
def test_cutout_covers_what_it_says(size):
    covered = cutout(np.ones((5000, 1, 6, 8)), size, rng=generator()) == 0
    areas = covered.sum(axis=(1, 2, 3))
    assert areas.max() == min(size, 6) * min(size, 8) and (areas > 0).all() == (size > 0)


BAD = {
    "bytes": (random_flip, np.zeros((1, 1, 4, 4), np.uint8), {"rng": generator()}, "divide"),
    "axes": (cutout, np.zeros((4, 4)), {"size": 2, "rng": generator()}, "should have shape"),
    "even window": (box_sums, np.zeros((1, 1, 4, 4)), {"size": 4}, "odd"),
    "strength": (global_contrast_normalize, np.zeros((1, 1, 4, 4)), {"strength": -1}, "strength"),
    "eps": (local_contrast_normalize, np.zeros((1, 1, 4, 4)), {"eps": 0}, "eps"),
    "probability": (
        random_flip,
        np.zeros((1, 1, 4, 4)),
        {"p": 1.5, "rng": generator()},
        "p should",
    ),
    "too large": (random_crop, np.zeros((1, 1, 4, 4)), {"size": 5, "rng": generator()}, "fit"),
    "half a pixel": (cutout, np.zeros((1, 1, 4, 4)), {"size": 1.5, "rng": generator()}, "whole"),
    "no end": (
        random_slant,
        np.zeros((1, 1, 4, 4)),
        {"largest": np.inf, "rng": generator()},
        "fin",
    ),
    "slope": (random_slant, np.zeros((1, 1, 4, 4)), {"largest": -1, "rng": generator()}, "least 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    function, x, options, words = BAD[case]
    with pytest.raises(ValueError, match=words) as error:
        function(x, **options)
    assert str(error.value).startswith(f"{function.__name__}: ")


def test_feature_maps_are_all_outputs():
    network, x = lenet(3, 2, rng=generator()), generator(1).normal(size=(2, 2, 28, 28))
    maps = feature_maps(network, x)
    assert len(maps) == len(network.layers) == 12
    assert np.array_equal(maps[-1], network(x)) and maps[-1].shape == (2, 3)


def test_what_a_slant_moves_out_leaves_zeros():
    x = np.full((50, 1, 9, 9), 2.0)
    x[..., [0, -1]] = np.inf  # would become NaN if it were multiplied by 0
    y = random_slant(x, 0.5, rng=generator())
    assert not np.isnan(y).any() and set(np.unique(y)) == {0.0, 2.0, np.inf}
