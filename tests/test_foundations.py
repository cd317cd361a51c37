"""The edges of chapters 01 and 02 that their pages do not visit."""

import numpy as np
import pytest

from dlbook.derivatives import gradient_descent, numerical_gradient, numerical_jacobian
from dlbook.perceptron import Perceptron, neuron, step

X, T = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 0, 0, 1])


def test_fit_goes_on_from_the_weights_it_has():
    once, twice = Perceptron(2, max_epochs=6).fit(X, T), Perceptron(2, max_epochs=3)
    for _ in range(2):
        twice.fit(X, T)
    assert np.array_equal(once.weight, twice.weight) and once.mistakes == twice.mistakes
    assert Perceptron(2, max_epochs=17).describe() == {"n_inputs": 2, "max_epochs": 17}


@pytest.mark.parametrize(
    ("x", "t", "said"),
    [
        (X[:, :1], T, r"x should have shape \(2,\) or \(batch, 2\), not \(4, 1\)"),
        (X[np.newaxis], T, r"not \(1, 4, 2\)"),
        (X, T[:3], r"t should have shape \(4,\), not \(3,\)"),
        (X, 2 * T, "labels should be 0 or 1, not 2"),
        (X, 2 * T - 1, "labels should be 0 or 1, not -1"),
        (X + np.nan, T, "x should be finite"),
        (np.where(X, np.inf, X), T, "x should be finite"),
    ],
)
def test_perceptron_refuses(x, t, said):
    model = Perceptron(2)
    with pytest.raises(ValueError, match=f"Perceptron: .*{said}"):
        model.fit(x, t)
    assert model.mistakes == [] and not model.weight.any()


def test_neuron_and_step_take_lists_and_numbers():
    assert step(3) == 1 and step(0) == 0 and step([[-1, 2]]).tolist() == [[0, 1]]
    assert neuron([1, 2], [3, 4], -11) == 0 and neuron([[1, 2]] * 2, [3, 4], -10).tolist() == [1, 1]


def test_jacobian_of_any_shape():
    x = np.arange(6).reshape(2, 3)  # integers
    assert np.allclose(numerical_jacobian(lambda x: 2 * x, x), 2 * np.eye(6).reshape(2, 3, 2, 3))
    assert numerical_jacobian(lambda x: x.sum(axis=0), np.zeros((0, 3))).shape == (3, 0, 3)
    assert numerical_jacobian(np.sin, np.array(0.5)).shape == ()


def test_jacobian_at_large_values():
    assert np.isclose(numerical_gradient(lambda x: x.sum() ** 2, np.array([1e20])), 2e20)


def test_functions_may_write_into_what_they_get():
    def f(x):
        x *= 2
        return x  # the same array each time it is called

    x = np.array([1.0, 2.0])
    assert np.allclose(numerical_jacobian(f, x), 2 * np.eye(2)) and x.tolist() == [1, 2]
    path = gradient_descent(None, x, lr=0.5, steps=2, gradient=f)
    assert path.tolist() == [[1, 2], [0, 0], [0, 0]] and x.tolist() == [1, 2]


def test_step_size_reaches_the_differences():
    rough = numerical_gradient(lambda x: (x**3).sum(), np.array([0.5]), h=0.1)
    assert np.isclose(rough, 0.75 + 0.01)  # 3x² + h²


@pytest.mark.parametrize(
    ("f", "got"),
    [
        (lambda x: x, r"an array of shape \(2,\)"),
        (lambda x: None, "NoneType"),
        (lambda x: 1j, "complex"),
        (lambda x: "1", "str"),
    ],
)
def test_gradient_wants_one_real_number(f, got):
    with pytest.raises(ValueError, match=f"f\\(x\\) should be one real number, not {got}"):
        numerical_gradient(f, np.ones(2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -0.1}, "lr should be positive"),
        ({"lr": np.nan}, "lr should be positive"),
        ({"start": np.array([np.nan, 0])}, "start finite"),
        ({"gradient": lambda x: [1.0]}, r"gradient should have shape \(2,\), not \(1,\)"),
        ({"gradient": lambda x: x * np.inf}, "step 1 is not finite"),
    ],
)
def test_gradient_descent_refuses(options, said):
    options = {"start": np.ones(2), "lr": 0.1, "gradient": lambda x: x} | options
    with pytest.raises(ValueError, match=f"gradient_descent: .*{said}"):
        gradient_descent(None, options.pop("start"), steps=3, **options)
