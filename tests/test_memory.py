"""Long memory beyond what the chapter shows: states in pieces, bad input, limits."""

import math

import numpy as np
import pytest

from dlbook.memory import (
    EchoStateNetwork,
    LeakyRNN,
    ReadHead,
    RecursiveNet,
    SkipRNN,
    memory_capacity,
    ridge_readout,
)
from dlbook.trees import COMBINE, PADDING, balanced_tree, chain_tree, postfix, tree_depth


def rng(seed=0):
    return np.random.default_rng(seed)


LAYERS = {
    "leaky": lambda: LeakyRNN(3, 4, [0.1, 0.5, 0.9, 0.99], learn_alpha=True, rng=rng()),
    "skip 1": lambda: SkipRNN(3, 4, rng=rng()),
    "skip 1, 5": lambda: SkipRNN(3, 4, (1, 5), rng=rng()),
    "skip 2, 3": lambda: SkipRNN(3, 4, (2, 3), rng=rng()),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("cut", [1, 2, 6, 9])
def test_a_sequence_in_two_pieces_is_the_sequence(name, cut):
    layer, x = LAYERS[name](), rng(1).normal(size=(10, 2, 3))
    y, h_n = layer(x)
    dy, dh_n = rng(2).normal(size=y.shape), rng(3).normal(size=h_n.shape)
    dx, dh_0 = layer.backward(dy, dh_n)
    first, second = LAYERS[name](), LAYERS[name]()
    y_1, h = first(x[:cut])
    y_2, last = second(x[cut:], h)
    dx_2, dh = second.backward(dy[cut:], dh_n)
    dx_1, start = first.backward(dy[:cut], dh)
    np.testing.assert_allclose(np.concatenate([y_1, y_2]), y, atol=1e-12)
    np.testing.assert_allclose(last, h_n, atol=1e-12)
    np.testing.assert_allclose(np.concatenate([dx_1, dx_2]), dx, atol=1e-12)
    np.testing.assert_allclose(start, dh_0, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_extreme_inputs_stay_finite(name):
    for value in (1000.0, -1000.0, 0.0):
        layer = LAYERS[name]()
        y, h_n = layer(np.full((6, 2, 3), value, np.float32))
        assert y.dtype == np.float32 and abs(y).max() <= 1 and abs(h_n).max() <= 1
        assert np.isfinite(layer.backward(np.ones_like(y))[0]).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, 1.5, [0.5, 1.0]])
def test_alpha_lies_between_0_and_1(alpha):
    with pytest.raises(ValueError, match="LeakyRNN: alpha should be between 0 and 1"):
        LeakyRNN(1, 2, alpha, rng=rng())


@pytest.mark.parametrize("delays", [(), (0,), (1, -2), (1.5,)])
def test_delays_are_whole_and_positive(delays):
    with pytest.raises(ValueError, match="SkipRNN: delays should be whole numbers above 0"):
        SkipRNN(1, 2, delays, rng=rng())


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_states_are_refused(name):
    layer, x = LAYERS[name](), np.zeros((4, 2, 3))
    with pytest.raises(ValueError, match="h_0 should have shape"):
        layer(x, np.zeros((9, 2, 4)))
    y, _ = layer(x)
    with pytest.raises(ValueError, match="dh_n should have shape"):
        layer.backward(np.zeros_like(y), np.zeros((9, 2, 4)))


@pytest.mark.parametrize("radius", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("hidden", [10, 60])
def test_spectral_radius_is_as_asked(radius, hidden):
    network = EchoStateNetwork(2, hidden, spectral_radius=radius, rng=rng())
    assert abs(abs(np.linalg.eigvals(network.matrix)).max() - radius) < 1e-9
    assert all(len(set(row)) == len(row) for row in network.sources)


def test_a_step_is_the_formula_for_one_state_and_for_many():
    network = EchoStateNetwork(2, 20, alpha=0.3, bias_scale=0.5, rng=rng())
    state, u = rng(1).normal(size=(5, 20)), rng(2).normal(size=(5, 2))
    z = state @ network.matrix.T + u @ network.weight_ih.T + network.bias
    wanted = 0.3 * state + 0.7 * np.tanh(z)
    np.testing.assert_allclose(network.step(state, u), wanted, atol=1e-12)
    np.testing.assert_allclose(network.step(state[0], u[0]), wanted[0], atol=1e-12)


def test_a_free_run_feeds_on_its_own_outputs():
    network = EchoStateNetwork(1, 30, rng=rng())
    u = np.sin(np.arange(400) / 5)[:, None]
    network.fit(u[:300], u[1:301], ridge=1e-10)
    states = network.run(u[:350])
    free = network.generate(states[-1], u[349], 3)
    by_hand, state, now = [], states[-1], u[349]
    for _ in range(3):
        now = network.predict(state, now)
        state = network.step(state, now)
        by_hand.append(now)
    np.testing.assert_allclose(free, by_hand, atol=1e-12)
    assert abs(free - u[350:353]).max() < 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"connections": 6}, "1 ≤ connections=6 ≤ 5"),
        ({"connections": 0}, "1 ≤ connections=0 ≤ 5"),
        ({"connections": 2, "alpha": 1.0}, "wanted 0 ≤ alpha=.* < 1"),
        ({"connections": 2, "alpha": -0.1}, "wanted 0 ≤ alpha=.* < 1"),
    ],
)
def test_bad_settings_of_a_reservoir_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EchoStateNetwork(1, 5, **settings, rng=rng())


def test_a_washout_that_leaves_nothing_is_refused():
    network = EchoStateNetwork(1, 20, rng=rng())
    with pytest.raises(ValueError, match="washout 50 leaves none of 50 steps"):
        network.fit(np.zeros((50, 1)), np.zeros((50, 1)), washout=50)


def test_predict_before_fit_and_wrong_shapes():
    network = EchoStateNetwork(1, 20, rng=rng())
    with pytest.raises(RuntimeError, match="predict needs a fit"):
        network.predict(np.zeros(20), np.zeros(1))
    with pytest.raises(ValueError, match="u should have shape"):
        network.run(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="targets should have shape"):
        ridge_readout(np.zeros((5, 3)), np.zeros((4, 1)), 1.0)


def test_memory_capacity_is_bounded():
    recalled = memory_capacity(EchoStateNetwork(1, 20, rng=rng()), steps=2000, lags=60, rng=rng(1))
    assert recalled.shape == (60,) and 0 <= recalled.min() and recalled.max() <= 1
    assert 5 < recalled.sum() < 21


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 100])
def test_trees_and_postfix(n):
    tokens = list(range(n))
    for tree, depth in [
        (balanced_tree(tokens), math.ceil(math.log2(n))),
        (chain_tree(tokens), n - 1),
    ]:
        row = postfix([tree, 0])[0]
        assert tree_depth(tree) == depth and [c for c in row if c >= 0] == tokens
        stack = []
        for code in row.tolist():
            stack.append((stack.pop(-2), stack.pop()) if code == COMBINE else code)
        assert stack == [tree]


def test_a_chain_may_be_deeper_than_python_may_recurse():
    tree = chain_tree([0] * 5000)
    assert tree_depth(tree) == 4999 and postfix([tree]).shape == (1, 9999)
    y = RecursiveNet(5, 3, 2, rng=rng())(postfix([tree]))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("make", [balanced_tree, chain_tree])
def test_there_is_no_tree_over_nothing(make):
    with pytest.raises(ValueError, match="tokens should not be empty"):
        make([])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 1, PADDING], "row 1 should be one tree, not 2"),
        ([PADDING] * 3, "row 1 should be one tree, not 0"),
        ([0, COMBINE, 1], "row 1 should not have -1 there"),
        ([0, 5, COMBINE], "row 1 should not have 5 there"),
        ([0, -3, COMBINE], "row 1 should not have -3 there"),
    ],
)
def test_rows_that_are_no_tree_are_refused(row, message):
    with pytest.raises(ValueError, match=f"RecursiveNet: x: {message}"):
        RecursiveNet(5, 3, 2, rng=rng())(np.array([[0, 1, COMBINE], row]))


def test_an_empty_batch_of_trees():
    net = RecursiveNet(5, 3, 2, rng=rng())
    assert net(np.zeros((0, 4), int)).shape == (0, 2)
    assert net.backward(np.zeros((0, 2), np.float32)) is None
    assert postfix([]).shape == (0, 0)


def test_reading_survives_loud_queries_and_refuses_an_empty_memory():
    head, memory = ReadHead(), rng().normal(size=(1, 5, 4))
    read = head(1e6 * memory[:, :2], memory)
    assert np.isfinite(read).all() and np.isfinite(head.backward(np.ones_like(read))[0]).all()
    np.testing.assert_allclose(head.weights.sum(axis=2), 1)
    with pytest.raises(ValueError, match="memory should have at least one row"):
        head(np.zeros((1, 2, 4)), np.zeros((1, 0, 4)))
    with pytest.raises(ValueError, match="memory should have shape"):
        head(np.zeros((1, 2, 4)), np.zeros((1, 5, 3)))
