"""The recurrent layers against their twins in PyTorch, and what they refuse.

Chapter 21 adds LSTM and GRU by one row each in TWINS.
"""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlbook.gated import GRU, LSTM
from dlbook.recurrent import RNN, Embedding

TIME, BATCH, INPUTS, HIDDEN = 5, 4, 3, 2
LENGTHS = [None, [5, 5, 5, 5], [5, 1, 3, 2], [2, 1, 1, 2]]


def tanh_rnn(*args, **kwargs):
    return RNN(*args, nonlinearity="tanh", **kwargs)


def relu_rnn(*args, **kwargs):
    return RNN(*args, nonlinearity="relu", **kwargs)


# how to make ours, how to make theirs, how many arrays a state has
TWINS = {
    "RNN-tanh": (tanh_rnn, lambda *a, **k: torch.nn.RNN(*a, nonlinearity="tanh", **k), 1),
    "RNN-relu": (relu_rnn, lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k), 1),
    "LSTM": (LSTM, torch.nn.LSTM, 2),
    "GRU": (GRU, torch.nn.GRU, 1),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def pair(kind, dtype, **options):
    ours, theirs, states = TWINS[kind]
    layer = ours(INPUTS, HIDDEN, rng=rng(3), **options)
    twin = theirs(INPUTS, HIDDEN, dtype=torch.float64, **options)
    for name, parameter in layer.named_parameters():
        parameter.data = parameter.data.astype(dtype)
        parameter.grad = np.zeros_like(parameter.data)
        getattr(twin, name).data = torch.tensor(parameter.data.astype(np.float64))
    return layer, twin, states


def as_state(arrays):
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def as_list(state):
    return list(state) if isinstance(state, tuple) else [state]


def run_twin(twin, x, state, lengths, *, batch_first):
    if lengths is None:
        return twin(x, state)
    packed = pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=batch_first, enforce_sorted=False
    )
    y, last = twin(packed, state)
    y, _ = pad_packed_sequence(y, batch_first=batch_first, total_length=TIME)
    return y, last


GRID = [
    pytest.param(*case, id="-".join(map(str, case)).replace(", ", "_"))
    for case in itertools.product(
        TWINS, (1, 2, 3), (False, True), (False, True), (False, True), LENGTHS, (False, True)
    )
]


@pytest.mark.parametrize("case", [p.values for p in GRID], ids=[p.id for p in GRID])
def test_layer_is_its_twin(case):
    kind, num_layers, bidirectional, batch_first, bias, lengths, given = case
    for dtype, tolerance in [(np.float64, 1e-12), (np.float32, 1e-4)]:
        layer, twin, states = pair(
            kind,
            dtype,
            num_layers=num_layers,
            bidirectional=bidirectional,
            batch_first=batch_first,
            bias=bias,
        )
        directions = 1 + bidirectional
        axes = (BATCH, TIME) if batch_first else (TIME, BATCH)
        x = rng(1).normal(size=(*axes, INPUTS)).astype(dtype)
        firsts = rng(2).normal(size=(states, num_layers * directions, BATCH, HIDDEN)).astype(dtype)
        dy = rng(4).normal(size=(*axes, directions * HIDDEN)).astype(dtype)
        dlasts = rng(5).normal(size=firsts.shape).astype(dtype)
        before = [array.copy() for array in (x, firsts, dy, dlasts)]

        y, last = layer(x, as_state(firsts) if given else None, lengths=lengths)
        dx, dfirst = layer.backward(dy, as_state(dlasts) if given else None)
        assert all(map(np.array_equal, before, (x, firsts, dy, dlasts)))

        x_torch = torch.tensor(x.astype(np.float64), requires_grad=True)
        firsts_torch = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in firsts]
        y_torch, last_torch = run_twin(
            twin,
            x_torch,
            as_state(firsts_torch) if given else None,
            lengths,
            batch_first=batch_first,
        )
        total = (y_torch * torch.tensor(dy.astype(np.float64))).sum()
        if given:
            for a, d in zip(as_list(last_torch), dlasts, strict=True):
                total = total + (a * torch.tensor(d.astype(np.float64))).sum()
        total.backward()

        pairs = [(y, y_torch), (dx, x_torch.grad)]
        pairs += zip(as_list(last), as_list(last_torch), strict=True)
        if given:
            pairs += zip(as_list(dfirst), [a.grad for a in firsts_torch], strict=True)
        pairs += [(p.grad, getattr(twin, name).grad) for name, p in layer.named_parameters()]
        for ours, theirs in pairs:
            assert ours.dtype == dtype and ours.shape == tuple(theirs.shape)
            np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=tolerance)


def test_names_and_order_are_those_of_torch():
    for kind in TWINS:
        layer, twin, _ = pair(kind, np.float32, num_layers=2, bidirectional=True)
        assert [n for n, _ in layer.named_parameters()] == [n for n, _ in twin.named_parameters()]


@pytest.mark.parametrize("kind", TWINS)
def test_initial_values_are_uniform_as_in_torch(kind):
    layer = TWINS[kind][0](20, 50, rng=rng())
    for parameter in layer.parameters():
        assert 0.9 < abs(parameter.data).max() * 50**0.5 <= 1
        assert abs(parameter.data.std() * 150**0.5 - 1) < 0.15  # ±b uniform: b / √3


# ---- what stands in the padding, other dtypes, extreme values, errors


def test_padding_may_hold_anything():
    x = rng(1).normal(size=(TIME, BATCH, INPUTS))
    lengths = np.array([5, 1, 3, 2])
    beyond = np.arange(TIME)[:, None] >= lengths
    for kind in TWINS:
        results = []
        for garbage in (0.0, 1e30, np.nan, np.inf):
            layer, _, _ = pair(kind, np.float64, num_layers=2, bidirectional=True)
            x[beyond] = garbage
            y, last = layer(x, lengths=lengths)
            dy = rng(2).normal(size=y.shape)
            dy[beyond] = garbage
            dx, dfirst = layer.backward(dy)
            grads = [p.grad for p in layer.parameters()]
            results.append([y, *as_list(last), dx, *as_list(dfirst), *grads])
            assert (y[beyond] == 0).all() and (dx[beyond] == 0).all()
        for other in results[1:]:
            assert all(map(np.array_equal, results[0], other))


@pytest.mark.parametrize("kind", TWINS)
def test_extreme_inputs_and_small_floats(kind):
    for scale in (0, 1, 1000):
        for dtype in (np.float16, np.float32, np.float64):
            layer, _, _ = pair(kind, np.float32)
            x = (scale * rng(1).normal(size=(TIME, BATCH, INPUTS))).astype(dtype)
            with np.errstate(all="raise", under="ignore"):
                y, last = layer(x)
                dx, dfirst = layer.backward(np.ones_like(y))
            for array in (y, *as_list(last), dx, *as_list(dfirst)):
                assert array.dtype == dtype and np.isfinite(array).all()


@pytest.mark.parametrize("kind", TWINS)
def test_empty_batch(kind):
    layer, _, _ = pair(kind, np.float32, num_layers=2, bidirectional=True)
    y, last = layer(np.zeros((TIME, 0, INPUTS), np.float32))
    dx, _ = layer.backward(y)
    assert y.shape == (TIME, 0, 2 * HIDDEN) and dx.shape == (TIME, 0, INPUTS)
    assert all(array.shape == (4, 0, HIDDEN) for array in as_list(last))
    assert all((p.grad == 0).all() for p in layer.parameters())


@pytest.mark.parametrize("kind", TWINS)
def test_bad_input_is_named(kind):
    layer, _, states = pair(kind, np.float64)
    x = np.zeros((TIME, BATCH, INPUTS))
    name = type(layer).__name__
    for lengths, said in [
        ([5, 6, 1, 1], "lengths should be from 1 to 5, not 6"),
        ([5, 0, 1, 1], "lengths should be from 1 to 5, not 0"),
        ([5, -1, 1, 1], "lengths should be from 1 to 5, not -1"),
        ([5, 5, 5], r"lengths should have shape \(4,\), not \(3,\)"),
        ([5.0, 5.0, 5.0, 5.0], "lengths should be an array of integers"),
        (np.zeros(4, np.uint64), "lengths should be from 1 to 5, not 0"),
    ]:
        with pytest.raises(ValueError, match=f"{name}: {said}"):
            layer(x, lengths=lengths)
    state = as_state([np.zeros((1, BATCH + 1, HIDDEN))] * states)
    with pytest.raises(ValueError, match=rf"{name}: h_0 should have shape \(1, 4, 2\)"):
        layer(x, state)
    with pytest.raises(ValueError, match=f"{name}: x should have at least one step"):
        layer(x[:0])
    with pytest.raises(ValueError, match=rf"{name}: x should have shape \(time, batch, 3\)"):
        layer(x[:, :, :2])
    y, _ = layer(x)
    with pytest.raises(ValueError, match=rf"{name}: dh_n should have shape \(1, 4, 2\)"):
        layer.backward(y, state)
    layer(x)
    with pytest.raises(ValueError, match=rf"{name}: dy should have shape \(5, 4, 2\)"):
        layer.backward(y[:, :3])
    if states == 2:
        for not_a_pair in (state[0], state[:1]):
            with pytest.raises(ValueError, match=rf"{name}: a state should be the pair \(h_0, c_0"):
                layer(x, not_a_pair)
    layer(x)
    layer.backward(y)
    with pytest.raises(RuntimeError, match=name):
        layer.backward(y)


def test_lengths_of_any_integer_type():
    x, lengths = rng(1).normal(size=(TIME, BATCH, INPUTS)), np.array([5, 1, 3, 2])
    layer, _, _ = pair("RNN-tanh", np.float64, bidirectional=True)
    wanted = layer(x, lengths=lengths)[0]
    for dtype in (np.uint8, np.int8, np.uint64):
        assert np.array_equal(layer(x, lengths=lengths.astype(dtype))[0], wanted)


def test_constructor_refuses():
    for sizes in [(0, 2), (3, 0), (3, 2, 0)]:
        with pytest.raises(ValueError, match="should be at least 1, not 0"):
            RNN(*sizes, rng=rng())
    with pytest.raises(ValueError, match='nonlinearity should be "tanh" or "relu", not \'gelu\''):
        RNN(3, 2, nonlinearity="gelu", rng=rng())


def test_embedding_refuses_and_spares_the_padding():
    layer = Embedding(5, 3, padding_idx=2, rng=rng())
    assert (layer.weight.data[2] == 0).all()
    for wrong in (5, -1):
        with pytest.raises(ValueError, match=f"Embedding: x should be from 0 to 4, not {wrong}"):
            layer(np.array([[0, wrong]]))
    with pytest.raises(ValueError, match="Embedding: padding_idx should be from 0 to 4, not 7"):
        Embedding(5, 3, padding_idx=7, rng=rng())
    assert layer.backward(np.ones_like(layer(np.array([0, 2, 0])))) is None
    assert layer.weight.grad.tolist() == [[2, 2, 2], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    layer(np.array([], dtype=int))
    layer.backward(np.zeros((0, 3), np.float32))
    assert layer.weight.grad.sum() == 6
