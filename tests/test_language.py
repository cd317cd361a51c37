"""Language models beyond what the chapter shows: brute force, bad input, limits."""

import numpy as np
import pytest

from dlbook.language import (
    CharLSTM,
    Vocabulary,
    perplexity,
    sample,
    skipgram_loss,
    token_probabilities,
    windows_of,
    words_of,
)
from dlbook.ngrams import AddK, KneserNey, keys_of, ngrams_of


def rng(seed=0):
    return np.random.default_rng(seed)


def by_definition(text, n, tokens):
    """P(w | h) of equation (23.4), with dictionaries, as a function of a tuple."""
    tables = {n: {}}
    for gram in zip(*(text[k:] for k in range(n)), strict=False):
        tables[n][gram] = tables[n].get(gram, 0) + 1
    for m in range(n - 1, 0, -1):
        tables[m] = {}
        for gram in tables[m + 1]:
            tables[m][gram[1:]] = tables[m].get(gram[1:], 0) + 1

    def probability(gram):
        if not gram:
            return 1 / tokens
        table, lower = tables[len(gram)], probability(gram[1:])
        once, twice = ([*table.values()].count(k) for k in (1, 2))
        discount = once / (once + 2 * twice) if once else 0.5
        same = [count for other, count in table.items() if other[:-1] == gram[:-1]]
        if not same:
            return lower
        return (max(table.get(gram, 0) - discount, 0) + discount * len(same) * lower) / sum(same)

    return probability


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_kneser_ney_is_its_definition(n):
    text = rng().integers(0, 4, 60) * rng(1).integers(0, 2, 60)
    model, wanted = KneserNey(text, n, 5), by_definition(text.tolist(), n, 5)
    asked = np.stack(np.meshgrid(*[np.arange(5)] * n), axis=-1).reshape(-1, n)
    got = model.probability(asked)
    np.testing.assert_allclose(got, [wanted(tuple(gram)) for gram in asked.tolist()], rtol=1e-12)


@pytest.mark.parametrize("kind", [AddK, KneserNey])
def test_a_text_of_one_token_and_shapes(kind):
    model = kind(np.zeros(9, dtype=np.int64), 3, 2)
    p = model.probability(np.array([[[0, 0, 0], [0, 0, 1]]]))
    assert p.shape == (1, 2) and abs(p.sum() - 1) < 1e-12 and p[0, 0] > p[0, 1] > 0
    assert model.probability(np.zeros((0, 3), dtype=np.int64)).shape == (0,)


def test_bad_input_is_refused():
    text = np.array([0, 1, 2])
    for call in (
        lambda: KneserNey(text, 4, 3),
        lambda: KneserNey(text, 0, 3),
        lambda: KneserNey(text, 2, 2),
        lambda: KneserNey(text, 2, 3).probability(np.array([[0, 3]])),
        lambda: KneserNey(text, 2, 3).probability(np.array([[0, 1, 2]])),
        lambda: AddK(text, 2, 3, 0),
        lambda: ngrams_of(text.astype(float), 2),
        lambda: keys_of(np.zeros((1, 9), dtype=np.int64), 2000),
        lambda: Vocabulary("abc", 1),
        lambda: Vocabulary("abc").decode([4]),
        lambda: CharLSTM(3, 2, 2, rng=rng())(np.array([[0, 3]])),
        lambda: sample(CharLSTM(3, 2, 2, rng=rng()), np.array([1]), 2, 1, 0.0, rng=rng()),
        lambda: sample(CharLSTM(3, 2, 2, rng=rng()), text[:0], 2, 1, 1.0, rng=rng()),
        lambda: skipgram_loss(np.ones((2, 3)), np.ones((1, 3)), np.ones((4, 3))),
        lambda: skipgram_loss(np.ones((2, 3)), np.ones((2, 3)), np.ones((4, 2))),
        lambda: skipgram_loss(np.ones((2, 3), int), np.ones((2, 3)), np.ones((4, 3))),
    ):
        with pytest.raises(ValueError):
            call()


def test_perplexity_of_the_impossible_is_infinite():
    assert perplexity(np.array([0.5, 0.0])) == np.inf
    assert perplexity(np.ones(3)) == 1


@pytest.mark.parametrize("piece", [1, 3, 50])
def test_pieces_do_not_change_the_probabilities(piece):
    model, rows = CharLSTM(4, 3, 5, rng=rng()), rng(1).integers(0, 4, (2, 8))
    logits = model(rows[:, :-1]).astype(float)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = np.take_along_axis(p, rows[:, np.newaxis, 1:], axis=1)[:, 0]
    np.testing.assert_allclose(token_probabilities(model, rows, piece), wanted, atol=1e-6)


def test_samples_follow_the_model_and_leave_out_the_unknown():
    model = CharLSTM(4, 3, 5, rng=rng())
    drawn = sample(model, np.array([1]), 1, 20_000, 0.7, rng=rng(1))[:, 0]
    z = model.read(np.array([[1]]))[0][0, -1].astype(float) / 0.7
    p = np.exp(z) * (np.arange(4) > 0)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, p / p.sum(), atol=0.015)


def test_windows_are_pieces_of_the_text_from_all_places():
    x, t = windows_of(np.arange(9), 200, 4, rng=rng())
    assert x.shape == t.shape == (200, 4) and (t == x + 1).all()
    assert (x == x[:, :1] + np.arange(4)).all() and set(x[:, 0]) == {*range(5)}


def test_words_keep_apostrophes_and_marks():
    assert words_of("O, that's MY 'heart'!") == ["o", ",", "that's", "my", "heart", "!"]


def test_skipgram_weighs_the_shared_noise_and_keeps_the_dtype():
    v, near, noise = (rng(k).normal(size=(n, 3)).astype("f4") for k, n in enumerate((4, 4, 6)))
    loss, gradients = skipgram_loss(v, near, noise, negatives=5)
    twice, double = skipgram_loss(v, near, np.concatenate([noise, noise]), negatives=5)
    np.testing.assert_allclose(twice, loss, rtol=1e-6)
    np.testing.assert_allclose(double[0], gradients[0], rtol=1e-5)
    assert all(g.dtype == np.float32 for g in gradients)
