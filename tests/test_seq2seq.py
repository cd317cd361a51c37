"""Encoder, decoder and search beyond what the chapter shows: all days, brute force, bad input."""

import datetime
import itertools
import math

import numpy as np
import pytest
import torch

from dlbook.dates import (
    DAYS,
    END,
    FIRST,
    FORMATS,
    LANGUAGES,
    PAD,
    SOURCE,
    START,
    TARGET,
    Alphabet,
    date_pairs,
    days_of,
    encode_pairs,
    write_date,
)
from dlbook.seq2seq import (
    DIGITS,
    Decoder,
    Encoder,
    MaskedCrossEntropy,
    batch_of,
    beam_search,
    exact_match,
    greedy,
    make_seq2seq,
    reversal_pairs,
)


def small(seed=0):
    return make_seq2seq(DIGITS, DIGITS, 6, seed, 4).double()


def test_each_text_has_one_answer_in_the_whole_century():
    answers, characters = {}, set()
    for number in range(DAYS):
        day = FIRST + datetime.timedelta(days=number)
        for writing in itertools.product(LANGUAGES, FORMATS):
            text = write_date(day, *writing)
            assert answers.setdefault(text, number) == number
            characters.update(text)
    assert characters == {*SOURCE.characters}
    assert len(answers) > 20 * DAYS


def test_days_are_split_without_overlap():
    parts = [days_of(part) for part in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [29220, 3652, 3653]
    assert sorted(np.concatenate(parts)) == [*range(DAYS)]
    for part in ("train", "valid", "test"):
        known = {(FIRST + datetime.timedelta(days=int(n))).isoformat() for n in days_of(part)}
        sources, targets = date_pairs(50, rng=np.random.default_rng(0), part=part)
        assert len(sources) == 50 and {*targets} <= known


@pytest.mark.parametrize(
    "call",
    [
        lambda: days_of("all"),
        lambda: date_pairs(0, rng=np.random.default_rng(0)),
        lambda: date_pairs(3, rng=np.random.default_rng(0), part="later"),
        lambda: write_date(datetime.date(1949, 12, 31), "en", "short"),
        lambda: write_date(datetime.date(2050, 1, 1), "en", "short"),
        lambda: write_date(FIRST, "it", "short"),
        lambda: write_date(FIRST, "en", "tiny"),
        lambda: Alphabet(""),
        lambda: Alphabet("aba"),
        lambda: DIGITS.encode([]),
        lambda: DIGITS.encode("407"),
        lambda: DIGITS.encode(["1", "x"]),
        lambda: DIGITS.decode([[3, 13]]),
        lambda: DIGITS.decode([[-1]]),
        lambda: DIGITS.decode([3, 4]),
        lambda: DIGITS.decode([[0.5]]),
    ],
)
def test_dates_and_alphabets_refuse(call):
    with pytest.raises((ValueError, TypeError)):
        call()


def test_encoding_and_decoding_undo_each_other():
    sources, targets = date_pairs(200, rng=np.random.default_rng(1))
    for alphabet, texts, ends in [(SOURCE, sources, False), (TARGET, targets, True)]:
        tokens, lengths = alphabet.encode(texts, ends=ends)
        assert alphabet.decode(tokens) == texts
        assert lengths.tolist() == [len(text) + 2 * ends for text in texts]
        assert ((tokens != PAD).sum(axis=1) == lengths).all() and tokens.dtype == np.int64
    assert DIGITS.decode([[START, 3, END, 4], [PAD, 5, 5, 5]]) == ["0", ""]


def test_batches_depend_on_seed_and_step_alone():
    first, again = (batch_of(reversal_pairs, DIGITS, DIGITS, 3, 7) for _ in range(2))
    other = batch_of(reversal_pairs, DIGITS, DIGITS, 3, 8)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].shape != other[0].shape or not np.array_equal(first[0], other[0])


def test_forward_is_the_steps_one_after_the_other():
    model, (sources, targets) = small(), reversal_pairs(9, (1, 6), rng=np.random.default_rng(2))
    x, t = (torch.tensor(a) for a in encode_pairs(sources, targets, DIGITS, DIGITS))
    state = model.start(torch.tensor(DIGITS.encode(sources)[0]))
    whole = model(x).index_fill(2, torch.tensor([PAD, START]), -math.inf).log_softmax(dim=2)
    last = torch.full((9,), START)
    for i in range(t.shape[1]):
        log_p, state = model.step(last, state)
        assert torch.allclose(log_p, whole[:, i], atol=1e-12)
        last = t[:, i]


def test_padding_changes_nothing():
    model, sources = small(), ["12345678", "4", "90"]
    together = model.encoder(torch.tensor(DIGITS.encode(sources)[0]))
    for row, text in zip(together, sources, strict=True):
        alone = model.encoder(torch.tensor(DIGITS.encode([text])[0]))[0]
        assert torch.allclose(row, alone, atol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Encoder(5, 2, 3)(torch.tensor([3, 4])),
        lambda: Encoder(5, 2, 3)(torch.tensor([[3.0, 4.0]])),
        lambda: Encoder(5, 2, 3)(torch.tensor([[3, 5]])),
        lambda: Encoder(5, 2, 3)(torch.tensor([[3, -1]])),
        lambda: Encoder(5, 2, 3)(torch.tensor([[3, 4], [PAD, PAD]])),
        lambda: Encoder(5, 2, 3)(torch.tensor([[3, PAD, 4]])),
        lambda: Encoder(5, 2, 3)(torch.zeros((2, 0), dtype=torch.int64)),
        lambda: Decoder(5, 2, 3)(torch.tensor([[1, 3]]), torch.zeros(1, 4)),
        lambda: Decoder(5, 2, 3)(torch.tensor([[1, 7]]), torch.zeros(1, 3)),
        lambda: small()(torch.tensor([[3, 4, 5]])),
        lambda: small()(torch.tensor([[3, START, 5], [START, 4, 5]])),
        lambda: MaskedCrossEntropy()(torch.zeros(2, 3, 5), torch.ones(2, 4, dtype=torch.int64)),
        lambda: MaskedCrossEntropy()(torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64)),
        lambda: greedy(small(), DIGITS.encode(["12"])[0], longest=0),
        lambda: exact_match([], []),
        lambda: exact_match(["1"], ["1", "2"]),
    ],
)
def test_networks_refuse(call):
    with pytest.raises(ValueError):
        call()


def test_masked_loss_has_no_gradient_at_padding():
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits.requires_grad_()
    t = torch.tensor([[3, 4, 2, PAD], [4, 2, PAD, PAD], [2, PAD, PAD, PAD]])
    MaskedCrossEntropy()(logits, t).backward()
    assert (logits.grad[t == PAD] == 0).all() and (logits.grad[t != PAD] != 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_width_one_is_greedy(seed):
    model, sources = small(seed), reversal_pairs(20, rng=np.random.default_rng(seed))[0]
    source = DIGITS.encode(sources)[0]
    wanted = greedy(model, source, longest=8)
    state = model.start(torch.tensor(source))
    found, log_p = beam_search(
        model.step, torch.full((20,), START), state, width=1, longest=8, power=0.7
    )
    closed = (wanted == END).any(axis=1)  # at the limit the beam writes END, greedy need not
    n = min(found.shape[2], wanted.shape[1])
    assert np.array_equal(found[closed, 0, :n], wanted[closed, :n])
    assert np.array_equal(found[~closed, 0, :7], wanted[~closed, :7])
    assert np.isfinite(log_p).all() and (found[~closed, 0, 7] == END).all()


@pytest.mark.parametrize("power", [0, 0.6, 1])
def test_a_beam_of_any_width_is_brute_force(power):
    few = Alphabet("abc")
    model = make_seq2seq(few, few, 6, 3, 4).double()
    for p in model.parameters():
        p.data.mul_(4)
    source = few.encode(["abca", "b", "cc"])[0]
    state = model.start(torch.tensor(source))
    found, log_p = beam_search(
        model.step, torch.full((3,), START), state, width=40, longest=4, power=power
    )
    strings = ["".join(s) for n in range(4) for s in itertools.product("abc", repeat=n)]
    for row, text in enumerate(["abca", "b", "cc"]):
        ranked = []
        for string in strings:
            tokens = [few.numbers[letter] for letter in string] + [END]
            last, now, total = START, model.start(torch.tensor(few.encode([text])[0])), 0.0
            for token in tokens:
                terms, now = model.step(torch.tensor([last]), now)
                total, last = total + terms[0, token].item(), token
            ranked.append((total / len(tokens) ** power, total, string))
        ranked.sort(reverse=True)
        assert few.decode(found[row]) == [string for *_, string in ranked]
        np.testing.assert_allclose(log_p[row], [total for _, total, _ in ranked], atol=1e-9)


def test_an_empty_batch_has_no_context():
    assert Encoder(5, 2, 3)(torch.zeros((0, 4), dtype=torch.int64)).shape == (0, 3)
