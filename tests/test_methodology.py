"""The pipeline against scikit-learn's on random tables, the searches, the tools for debugging."""

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer as TheirColumnTransformer
from sklearn.impute import SimpleImputer as TheirImputer
from sklearn.pipeline import Pipeline as TheirPipeline
from sklearn.preprocessing import OneHotEncoder as TheirEncoder
from sklearn.preprocessing import StandardScaler

from dlbook.data import Standardizer, split
from dlbook.layers import Linear, ReLU, Sequential, SoftmaxWithLoss
from dlbook.methodology import (
    complex_step_gradient,
    default_model,
    diagnose,
    grid_search,
    learning_curve,
    overfit_one_batch,
    power_law,
    random_search,
)
from dlbook.optimizers import Adam
from dlbook.regularization import Penalized, l2_penalty
from dlbook.tabular import (
    ColumnTransformer,
    OneHotEncoder,
    Pipeline,
    SimpleImputer,
    cancel_probability,
    hotel_bookings,
)


def random_columns(rng, n, holes):
    numbers = rng.normal(size=(n, rng.integers(1, 5))) * 10.0 ** rng.integers(-3, 4)
    numbers[1:][rng.random((n - 1, numbers.shape[1])) < holes] = np.nan
    words = rng.choice([f"w{i}" for i in range(rng.integers(1, 8))], (n, rng.integers(1, 4)))
    return numbers, words


@pytest.mark.parametrize("strategy", ["mean", "median"])
@pytest.mark.parametrize("add_indicator", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_imputer_is_scikit_learns(seed, add_indicator, strategy):
    rng = np.random.default_rng(seed)
    x, _ = random_columns(rng, int(rng.integers(2, 40)), rng.choice([0, 0.3, 0.8]))
    new = np.where(rng.random(x.shape) < 0.5, np.nan, rng.normal(size=x.shape))
    options = {"strategy": strategy, "add_indicator": add_indicator}
    ours, theirs = SimpleImputer(**options).fit(x), TheirImputer(**options).fit(x)
    before = new.copy()
    for rows in (x, new, x[:0]):
        if len(rows):
            np.testing.assert_allclose(ours.transform(rows), theirs.transform(rows), rtol=1e-12)
    assert np.array_equal(new, before, equal_nan=True)
    assert ours.transform(x[:0]).shape[0] == 0


@pytest.mark.parametrize("seed", range(50))
def test_encoder_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    _, words = random_columns(rng, int(rng.integers(1, 40)), 0)
    new = rng.choice(["w0", "w1", "w2", "never"], (6, words.shape[1]))
    ours = OneHotEncoder(handle_unknown="ignore").fit(words)
    theirs = TheirEncoder(handle_unknown="ignore", sparse_output=False).fit(words)
    assert ours.transform(words).dtype == np.float64
    assert np.array_equal(ours.transform(words), theirs.transform(words))
    assert np.array_equal(ours.transform(new), theirs.transform(new))


@pytest.mark.parametrize("seed", range(50))
def test_pipeline_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    numbers, words = random_columns(rng, int(rng.integers(5, 60)), 0.3)
    table = {f"n{i}": column for i, column in enumerate(numbers.T)}
    table |= {f"c{i}": column for i, column in enumerate(words.T)}
    names = [*table]
    first, second = names[: numbers.shape[1]], names[numbers.shape[1] :]
    ours = ColumnTransformer(
        [
            ("numbers", Pipeline([("i", SimpleImputer()), ("s", Standardizer())]), first),
            ("words", OneHotEncoder(handle_unknown="ignore"), second),
        ]
    )
    scaled = TheirPipeline([("i", TheirImputer()), ("s", StandardScaler())])
    encoder = TheirEncoder(handle_unknown="ignore", sparse_output=False)
    k = len(first)
    theirs = TheirColumnTransformer(
        [("n", scaled, list(range(k))), ("c", encoder, list(range(k, len(names))))]
    )
    x = np.column_stack([numbers.astype(object), words.astype(object)])
    half = len(x) // 2 + 1
    known = {name: column[:half] for name, column in table.items()}
    if any(np.isnan(known[name]).all() for name in first):
        pytest.skip("a column of holes")
    wanted = theirs.fit(x[:half]).transform(x).astype(float)
    np.testing.assert_allclose(ours.fit(known).transform(table), wanted, atol=1e-9)


def test_transformers_refuse():
    words = np.array([["a"], ["b"]])
    cases = [
        (lambda: OneHotEncoder().fit(words).transform(np.array([["c"]])), "'c' was not there"),
        (lambda: OneHotEncoder().fit(words).transform(np.array([["a", "b"]])), r"\(rows, 1\)"),
        (lambda: OneHotEncoder().fit(words[:, 0]), r"\(rows, columns\), not \(2,\)"),
        (lambda: OneHotEncoder(handle_unknown="guess"), "error or ignore"),
        (lambda: SimpleImputer("mode"), "mean or median"),
        (lambda: SimpleImputer().fit(np.full((3, 1), np.nan)), "nothing but holes"),
        (lambda: SimpleImputer().fit(np.ones((3, 1))).transform(np.ones((3, 2))), r"\(rows, 1\)"),
        (lambda: SimpleImputer().fit(np.ones(3)), r"\(rows, columns\), not \(3,\)"),
        (lambda: SimpleImputer().fit(words), "could not convert"),
        (
            lambda: ColumnTransformer([("x", OneHotEncoder(), ["other"])]).fit({"word": words}),
            "other",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    for transformer in (SimpleImputer(), OneHotEncoder()):
        with pytest.raises(RuntimeError, match="fit comes before transform"):
            transformer.transform(words)


@pytest.mark.parametrize("kind", [list, np.float16, np.float32, np.int64, bool])
def test_imputer_takes_all_numbers(kind):
    x = [[1, 0], [0, 1], [1, 1]]
    given = x if kind is list else np.array(x, dtype=kind)
    filled = SimpleImputer().fit(given).transform(given)
    assert filled.dtype == np.float64 and filled.tolist() == x


def test_truth_of_a_row_with_holes_is_a_weighted_mean():
    """Equation (14.2), by drawing many rows that differ only in what is hidden."""
    rng = np.random.default_rng(0)
    data = hotel_bookings(400_000, rng=rng)
    x = data.x[np.isnan(data.x["rate"]) & np.isnan(data.x["requests"])]
    p = cancel_probability(x[:1])
    seen = x[:1].copy()
    seen["rate"], seen["requests"] = 100, 0
    assert p.shape == (1,) and cancel_probability(seen) != p
    t = data.t[np.isnan(data.x["rate"]) & np.isnan(data.x["requests"])]
    every = cancel_probability(x)
    assert abs(t.mean() - every.mean()) < 4 * np.sqrt((every * (1 - every)).sum()) / len(t)
    for online in (True, False):
        rows = np.isnan(data.x["rate"]) & ((data.x["channel"] == "online") == online)
        q = cancel_probability(data.x[rows])
        spread = np.sqrt((q * (1 - q)).sum())
        assert abs(data.t[rows].sum() - q.sum()) < 4 * spread


@pytest.mark.parametrize("seed", range(3))
def test_bookings_follow_their_probabilities(seed):
    data = hotel_bookings(20_000, rng=np.random.default_rng(seed))
    p = cancel_probability(data.x)
    assert p.shape == data.t.shape and (0 < p).all() and (p < 1).all()
    for low in np.arange(0, 1, 0.1):
        rows = (low <= p) & (p < low + 0.1)
        spread = np.sqrt((p[rows] * (1 - p[rows])).sum())
        assert abs(data.t[rows].sum() - p[rows].sum()) < 4.5 * spread
    again = hotel_bookings(20_000, rng=np.random.default_rng(seed))
    assert np.array_equal(data.t, again.t) and (data.x["country"] == again.x["country"]).all()


@pytest.mark.parametrize("n", [10, 101, 999])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_stratified_split_of_bookings(n, share):
    data = hotel_bookings(n, rng=np.random.default_rng(n))
    for part in split(data, share, rng=np.random.default_rng(0)):
        assert abs(part.t.mean() - data.t.mean()) <= 1 / len(part)


def test_searches():
    seen = []

    def loss(u, v):
        seen.append((u, v))
        return np.nan if u == 3 else (u - 1) ** 2 + v

    trials = grid_search(loss, {"u": [0, 1, 2, 3], "v": [0.0, 0.5]})
    assert len(seen) == len(set(seen)) == len(trials) == 8
    assert trials[0] == (0.0, {"u": 1, "v": 0.0}) and np.isnan(trials[-1].loss)
    draws = {"u": lambda rng: int(rng.integers(3)), "v": lambda rng: rng.random()}
    twice = [
        random_search(loss, draws, trials=7, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    ]
    assert twice[0] == twice[1] != twice[2] and len(twice[0]) == 7
    assert [t.loss for t in twice[0]] == sorted(t.loss for t in twice[0])
    for search in (
        lambda: grid_search(loss, {"u": []}),
        lambda: random_search(loss, draws, trials=0, rng=np.random.default_rng(0)),
    ):
        with pytest.raises(ValueError, match="nothing to try"):
            search()


def test_learning_curve_and_power_law():
    sizes = np.array([10, 20, 40, 80])
    rng = np.random.default_rng(0)
    errors = learning_curve(lambda rows: 2 / np.sqrt(len(rows)), 100, sizes, repeats=3, rng=rng)
    assert errors.shape == (3, 4)
    assert np.allclose(power_law(sizes, errors), (2, 0.5))
    assert np.allclose(power_law(sizes, errors[0]), (2, 0.5))
    rows = learning_curve(lambda rows: len(set(rows)), 100, sizes, repeats=2, rng=rng)
    assert (rows == sizes).all()  # no row twice
    with pytest.raises(ValueError, match="from 1 to 100"):
        learning_curve(len, 100, [101], repeats=1, rng=rng)
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="above 0"):
            power_law(sizes, [0.3, 0.2, 0.1, wrong])


def test_overfit_one_batch_copies_a_loss_that_holds_the_model():
    rng = np.random.default_rng(0)
    network = Sequential(Linear(4, 3, rng=rng))
    loss = Penalized(SoftmaxWithLoss(), network, l2_penalty, 1.0)
    x, t = rng.normal(size=(4, 4)).astype(np.float32), np.array([0, 1, 2, 0])
    losses = overfit_one_batch(network, loss, x, t, steps=300)
    assert not any(p.grad.any() for p in network.parameters())
    own_penalty = l2_penalty(network.parameters()[:1], 1.0, add_gradient=False)
    assert losses[-1] < own_penalty  # the penalty of the copy fell with its weights


def test_one_hot_refuses_holes():
    with pytest.raises(ValueError, match="OneHotEncoder: x should have no holes"):
        OneHotEncoder().fit(np.array([[1.0], [np.nan]]))


def test_overfit_one_batch_changes_nothing():
    rng = np.random.default_rng(0)
    network = Sequential(Linear(5, 20, rng=rng), ReLU(), Linear(20, 3, rng=rng))
    before = network.state_dict()
    x, t = rng.normal(size=(4, 5)).astype(np.float32), np.array([0, 1, 2, 1])
    losses = overfit_one_batch(network, SoftmaxWithLoss(), x, t, steps=500)
    assert losses.shape == (501,) and losses[-1] < 1e-3 < losses[0]
    assert all(np.array_equal(before[name], data) for name, data in network.state_dict().items())
    optimizer, loss, wanted = Adam(network.parameters(), lr=0.02), SoftmaxWithLoss(), []
    for _ in range(6):
        wanted.append(loss(network(x), t))
        optimizer.zero_grad()
        network.backward(loss.backward())
        optimizer.step()
    network.load_state_dict(before)
    losses = overfit_one_batch(network, loss, x, t, steps=5, lr=0.02)
    np.testing.assert_allclose(losses, wanted, rtol=1e-6)


def test_complex_step():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3))
    gradient = complex_step_gradient(lambda x: (np.exp(x) * np.sin(x)).sum(), x)
    assert np.allclose(gradient, np.exp(x) * (np.sin(x) + np.cos(x)), rtol=1e-14)
    assert complex_step_gradient(lambda x: x**2, np.array(3.0)) == 6
    with pytest.raises(ValueError, match="complex"):
        complex_step_gradient(lambda x: abs(x).sum(), x)
    with pytest.raises(ValueError, match="complex"):
        complex_step_gradient(lambda x: x * x, x)


GOOD = {
    "tiny_loss": 1e-5,
    "train_error": 0.1,
    "replayed_error": 0.1,
    "valid_error": 0.12,
    "wanted_error": 0.15,
    "possible_error": 0.05,
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "good enough"),
        ({"tiny_loss": 0.3}, "learning is broken"),
        ({"tiny_loss": float("nan")}, "learning is broken"),
        ({"replayed_error": 0.2}, "two ways"),
        ({"replayed_error": 0.0}, "two ways"),
        ({"valid_error": 0.01}, "too good"),
        ({"valid_error": 0.03}, "good enough"),
        ({"train_error": 0.3, "replayed_error": 0.3, "valid_error": 0.31}, "underfits"),
        ({"valid_error": 0.3}, "overfits"),
        ({"valid_error": 0.155}, "close"),
        ({"tiny_loss": 0.3, "valid_error": 0.3}, "learning is broken"),
    ],
)
def test_diagnose(change, verdict):
    assert diagnose(**(GOOD | change)).startswith(verdict)


@pytest.mark.parametrize("name", [name for name in GOOD if name != "tiny_loss"])
@pytest.mark.parametrize("value", [float("nan"), -0.1, 28.0])
def test_diagnose_refuses_what_is_no_share(name, value):
    with pytest.raises(ValueError, match="shares from 0 to 1"):
        diagnose(**(GOOD | {name: value}))


def test_default_model():
    for structure in ("table", "vector", "image", "sequence", "graph"):
        for rows in (10, 10**7):
            for target in ("number", "two classes", "classes"):
                assert all(default_model(structure, target, rows=rows))
    for arguments in (("cloud", "number"), ("table", "words")):
        with pytest.raises(ValueError, match="wanted one of"):
            default_model(*arguments, rows=5)
