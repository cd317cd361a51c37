"""Metrics: equal to scikit-learn and statsmodels on a sweep, and clear about bad input."""

import math
import warnings

import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics as twin
from sklearn.calibration import calibration_curve
from sklearn.exceptions import UndefinedMetricWarning
from statsmodels.stats import contingency_tables, proportion

from dlbook.activations import softmax
from dlbook.losses import cross_entropy
from dlbook.metrics import (
    accuracy,
    average_precision,
    cheapest_threshold,
    confusion_matrix,
    coverage_curve,
    expected_calibration_error,
    fit_temperature,
    mcnemar,
    pr_curve,
    precision_recall_f1,
    reliability,
    roc_auc,
    roc_curve,
    wilson_interval,
)

AVERAGES = (None, "macro", "micro", "weighted")
DTYPES = (np.int64, np.int32, np.uint8)


@pytest.fixture(autouse=True)
def no_warnings():
    """Ours give none; scikit-learn's, for 0/0, are let through where it is called."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.filterwarnings("ignore", message=".*(No positive class|single label).*")
        yield


def equal(ours, theirs):
    return np.shape(ours) == np.shape(theirs) and np.allclose(
        ours, theirs, rtol=0, atol=1e-12, equal_nan=True
    )


def labels(seed):
    """Predicted and true labels of up to six classes; many cases lack some, or have only one."""
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(1, 40)), int(rng.integers(1, 7))
    target = rng.integers(0, rng.integers(1, classes + 1), n)
    predicted = rng.integers(0, rng.integers(1, classes + 1), n)
    dtype = DTYPES[seed % 3]
    return predicted.astype(dtype), target.astype(dtype), classes


def scores(seed):
    """Scores, mostly tied, and targets that are sometimes all 0 or all 1."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 50))
    values = rng.integers(-5, rng.integers(-4, 60), n) / 7
    if seed % 4 == 0:
        values = rng.normal(size=n).astype(np.float32)
    target = (rng.random(n) < rng.choice([0, 0.05, 0.5, 1])).astype(DTYPES[seed % 3])
    return values, target.astype(bool) if seed % 5 == 0 else target


@pytest.mark.parametrize("block", range(4))
def test_scores_of_labels_equal_sklearn(block):
    for seed in range(100 * block, 100 * (block + 1)):
        predicted, target, classes = labels(seed)
        known = range(classes)
        assert equal(accuracy(predicted, target), twin.accuracy_score(target, predicted))
        table = confusion_matrix(predicted, target, classes=classes)
        assert equal(table, twin.confusion_matrix(target, predicted, labels=known))
        beta = (1, 0.5, 2, 0)[seed % 4]
        zero = float(seed // 4 % 2)
        for average in AVERAGES:
            options = {"average": average, "beta": beta, "zero_division": zero}
            ours = precision_recall_f1(predicted, target, classes=classes, **options)
            theirs = twin.precision_recall_fscore_support(
                target, predicted, labels=known, **options
            )
            assert len(ours) == 3
            assert all(equal(a, b) for a, b in zip(ours, theirs[:3], strict=True)), (seed, options)


def test_defaults_are_f1_and_zero_for_zero_by_zero():
    predicted, target, _ = labels(1)
    ours = precision_recall_f1(predicted, target)
    assert equal(ours, precision_recall_f1(predicted, target, beta=1, zero_division=0))
    assert not equal(ours, precision_recall_f1(predicted, target, beta=2))
    assert [p.tolist() for p in precision_recall_f1([2], [0])] == [[0, 0, 0]] * 3


def test_the_sweep_meets_what_it_should():
    cases = [labels(seed) for seed in range(400)]
    assert sum(len(set(p.tolist())) < k for p, _, k in cases) > 50  # absent from the predictions
    assert sum(not set(t.tolist()) & set(p.tolist()) for p, t, _ in cases) > 5  # nothing right
    assert sum(len(set(t.tolist())) == 1 for _, t, _ in cases) > 20  # one class only
    curves = [scores(seed) for seed in range(400)]
    assert sum(len(set(s.tolist())) < len(s) for s, _ in curves) > 200  # ties
    assert sum(t.all() for _, t in curves) > 50 and sum(not t.any() for _, t in curves) > 50


@pytest.mark.parametrize("block", range(4))
def test_curves_equal_sklearn(block):
    for seed in range(100 * block, 100 * (block + 1)):
        values, target = scores(seed)
        theirs = twin.precision_recall_curve(target, values)
        ours = pr_curve(values, target)
        assert all(equal(a, b) for a, b in zip(ours, theirs, strict=True)), seed
        theirs = twin.roc_curve(target, values, drop_intermediate=False)
        ours = roc_curve(values, target)
        assert all(equal(a, b) for a, b in zip(ours, theirs, strict=True)), seed
        assert equal(
            average_precision(values, target), twin.average_precision_score(target, values)
        )
        assert equal(roc_auc(values, target), twin.roc_auc_score(target, values))


def test_scores_as_far_apart_as_floats_can_be():
    huge = np.finfo(float).max
    assert roc_auc([-huge, huge], [0, 1]) == 1 and roc_auc([0.0, 5e-324], [0, 1]) == 1
    assert roc_auc([0.0, -0.0], [0, 1]) == 0.5


def test_order_of_examples_does_not_matter():
    rng = np.random.default_rng(0)
    for seed in range(40):
        values, target = scores(seed)
        order = rng.permutation(len(values))
        for curve in (pr_curve, roc_curve, coverage_curve):
            pairs = zip(curve(values, target), curve(values[order], target[order]), strict=True)
            assert all(equal(a, b) for a, b in pairs)


def test_cheapest_threshold_is_the_cheapest_of_all():
    for seed in range(200):
        values, target = scores(seed)
        positive = target.astype(bool)
        rng = np.random.default_rng(seed)
        a, b = rng.integers(0, 4), rng.integers(0, 4)
        threshold, price = cheapest_threshold(values, target, false_positive=a, false_negative=b)
        prices = {
            s: (a * ((values >= s) & ~positive) + b * ((values < s) & positive)).mean()
            for s in [*values.tolist(), math.inf]
        }
        cheapest = [s for s, p in prices.items() if p <= min(prices.values()) + 1e-12]
        assert equal(price, min(prices.values())) and threshold == max(cheapest)


def test_coverage_curve_equals_brute_force():
    for seed in range(200):
        values, correct = scores(seed)
        coverage, right, thresholds = coverage_curve(values, correct)
        assert (coverage[0], right[0], thresholds[0]) == (0, 1, math.inf)
        assert coverage[-1] == 1 and len(coverage) == len(set(values.tolist())) + 1
        for c, accuracy_there, threshold in zip(
            coverage[1:], right[1:], thresholds[1:], strict=True
        ):
            answered = values >= threshold
            assert equal(c, answered.mean()) and equal(accuracy_there, correct[answered].mean())


def test_reliability_equals_sklearn():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n, bins = int(rng.integers(1, 80)), int(rng.integers(1, 12))
        confidence = rng.random(n) ** rng.choice([0.2, 1, 5])
        if seed % 3 == 0:
            confidence = rng.integers(0, 11, n) / 10  # on the borders of bins
        correct = rng.integers(0, 2, n)
        counts, mean, right = reliability(confidence, correct, bins=bins)
        theirs = calibration_curve(correct, confidence, n_bins=bins)
        full = counts > 0
        assert counts.sum() == n and np.isnan(mean[~full]).all() and np.isnan(right[~full]).all()
        assert equal(right[full], theirs[0]) and equal(mean[full], theirs[1])
        gap = (counts[full] / n * abs(theirs[0] - theirs[1])).sum()
        assert equal(expected_calibration_error(confidence, correct, bins=bins), gap)


def test_temperature_minimizes_the_cross_entropy():
    rng = np.random.default_rng(0)
    for _ in range(10):
        logits, target = rng.normal(size=(60, 4)), rng.integers(0, 4, 60)
        logits[np.arange(60), target] += 1.5
        logits *= rng.uniform(0.2, 5)

        def loss(log_t, logits=logits, target=target):
            p = softmax(logits / np.exp(log_t))
            return cross_entropy(np.eye(4)[target], p).mean()

        best = scipy.optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded")
        assert abs(math.log(fit_temperature(logits, target)) - best.x) < 1e-3


def test_temperature_at_its_limits():
    easy, target = np.eye(3) * 2, np.arange(3)
    assert fit_temperature(easy, target) < 0.1  # all right: the colder the better
    assert fit_temperature(-easy, target) > 9e3  # all wrong: the warmer the better
    assert 1 < fit_temperature(np.array([[1e4, 0], [1e4, 0], [1e4, 0]]), np.array([0, 0, 1]))
    half = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert math.isfinite(fit_temperature(half, half.argmax(axis=1)))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_wilson_equals_statsmodels(level):
    for n in (1, 2, 7, 100, 2000):
        right = np.unique(np.linspace(0, n, 21).astype(int))
        theirs = proportion.proportion_confint(right, n, alpha=1 - level, method="wilson")
        ours = wilson_interval(right, n, level=level)
        assert all(np.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(ours, theirs, strict=True))
        assert (ours[0] >= 0).all() and (ours[1] <= 1).all()


def test_wilson_of_nothing_and_of_all():
    for n in range(1, 200):  # an end that rounding puts outside of [0, 1] is clipped
        assert wilson_interval(0, n)[0] >= 0 and wilson_interval(n, n)[1] <= 1


def test_mcnemar_equals_statsmodels():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 60))
        a, b = (rng.random((2, n)) < rng.random((2, 1))).astype(DTYPES[seed % 3])
        only_a, only_b, p = mcnemar(a, b)
        assert (only_a, only_b) == (((a == 1) & (b == 0)).sum(), ((a == 0) & (b == 1)).sum())
        if only_a + only_b == 0:
            assert p == 1
            continue
        theirs = contingency_tables.mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue
        assert abs(p - theirs) < 1e-9 and mcnemar(b, a) == (only_b, only_a, p)


def test_mcnemar_of_many_differences():
    a = np.arange(20_000) < 10_300
    ones, zeros = np.ones(3000, dtype=int), np.zeros(3000, dtype=int)
    assert 0 < mcnemar(a, ~a)[2] < 1e-4 and mcnemar(ones, zeros) == (3000, 0, 0.0)


PAIRS = {
    "accuracy": accuracy,
    "confusion_matrix": confusion_matrix,
    "precision_recall_f1": precision_recall_f1,
}
CURVES = {
    "pr_curve": pr_curve,
    "average_precision": average_precision,
    "roc_curve": roc_curve,
    "roc_auc": roc_auc,
    "coverage_curve": coverage_curve,
    "reliability": reliability,
    "expected_calibration_error": expected_calibration_error,
    "cheapest_threshold": lambda s, t: cheapest_threshold(s, t, false_positive=1, false_negative=1),
}


@pytest.mark.parametrize("metric", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize(
    ("predicted", "target", "said"),
    [
        ([], [], "shape \\(n,\\), n ≥ 1, not \\(0,\\)"),
        ([0, 1], [0], "target should have 2 elements, not 1"),
        ([0], [0, 1], "target should have 1 elements, not 2"),
        ([[0, 1]], [0, 1], "predicted should have shape"),
        ([0, 1], [[0, 1]], "target should have shape"),
        ([0.0, 1.0], [0, 1], "predicted should be integer labels, not float64"),
        ([0, 1], [0, np.nan], "target should be integer labels, not float64"),
        ([0, -1], [0, 1], "predicted should be from 0 to 1, not -1"),
        (["a", "b"], [0, 1], "predicted should be integer labels"),
        (3, 3, "predicted should have shape"),
    ],
)
def test_bad_labels_are_refused(metric, predicted, target, said):
    with pytest.raises(ValueError, match=said):
        metric(predicted, target)


def test_labels_beyond_the_classes_are_refused():
    for metric in (confusion_matrix, precision_recall_f1):
        with pytest.raises(ValueError, match="target should be from 0 to 2, not 3"):
            metric([0, 1], [3, 1], classes=3)
        for classes in (0, -1, 2.5):
            with pytest.raises(ValueError, match="classes should be an integer, at least 1, not"):
                metric([0, 1], [0, 1], classes=classes)
    for wrong in (
        {"average": "mean"},
        {"zero_division": 0.5},
        {"beta": -1},
        {"beta": math.inf},
        {"beta": math.nan},
    ):
        with pytest.raises(ValueError, match="precision_recall_f1"):
            precision_recall_f1([0, 1], [0, 1], **wrong)


@pytest.mark.parametrize("metric", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize(
    ("values", "target", "said"),
    [
        ([], [], "should have shape \\(n,\\), n ≥ 1, not \\(0,\\)"),
        ([0.1, 0.2], [1], "should have 2 elements, not 1"),
        ([0.1, np.nan], [0, 1], "should be finite numbers"),
        ([0.1, np.inf], [0, 1], "should be finite numbers"),
        ([0.1, 0.2], [0, 2], "should be integers 0 and 1, or booleans"),
        ([0.1, 0.2], [0, -1], "should be integers 0 and 1, or booleans"),
        ([0.1, 0.2], [0.0, 0.3], "should be integers 0 and 1, or booleans"),
        ([[0.1, 0.2]], [0, 1], "should have shape \\(n,\\)"),
        ([0.1, 0.2], [[0, 1]], "should have shape \\(n,\\)"),
        ([True, False], [0, 1], "should be finite numbers"),
    ],
)
def test_bad_scores_are_refused(metric, values, target, said):
    with pytest.raises(ValueError, match=said):
        metric(values, target)


@pytest.mark.parametrize(
    "call",
    [
        lambda: reliability([0.5, 1.1], [0, 1]),
        lambda: reliability([-0.1, 0.5], [0, 1]),
        lambda: reliability([0.5], [1], bins=0),
        lambda: cheapest_threshold([0.5], [1], false_positive=-1, false_negative=1),
        lambda: cheapest_threshold([0.5], [1], false_positive=1, false_negative=math.nan),
        lambda: fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int)),
        lambda: fit_temperature(np.zeros(3), np.zeros(3, dtype=int)),
        lambda: fit_temperature(np.zeros((2, 3)), np.array([0, 3])),
        lambda: fit_temperature(np.zeros((2, 3)), np.array([0, 1, 1])),
        lambda: fit_temperature(np.full((2, 3), np.nan), np.array([0, 1])),
        lambda: wilson_interval(3, 2),
        lambda: wilson_interval(-1, 2),
        lambda: wilson_interval(0, 0),
        lambda: wilson_interval(1, 2, level=1.0),
        lambda: wilson_interval(math.nan, 2),
        lambda: wilson_interval(1, math.inf),
        lambda: wilson_interval(np.array([1, 3]), 2),
        lambda: fit_temperature(np.zeros((2, 0)), np.array([0, 0])),
        lambda: mcnemar([1, 0], [1]),
        lambda: mcnemar([], []),
        lambda: mcnemar([1, 2], [1, 0]),
        lambda: mcnemar([1, 0], [1, np.nan]),
    ],
)
def test_other_bad_arguments_are_refused(call):
    with pytest.raises(ValueError, match=r"should|wanted|between"):
        call()


def test_arguments_are_not_changed():
    predicted, target = np.array([2, 0, 1, 1]), np.array([0, 1, 1, 0])
    values, logits = np.array([0.3, 0.1, 0.9, 0.3]), np.eye(4)
    for array in (predicted, target, values, logits):
        array.flags.writeable = False
    for metric in PAIRS.values():
        metric(predicted, target)
    for metric in CURVES.values():
        metric(values, target)
    fit_temperature(logits, predicted)
    mcnemar(target, target)
