"""One contract for all hand-written layers, losses and nodes of the package.

What a layer must do is said once, here and in dlbook.checks; layer_cases.py says on which inputs.
"""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch
from layer_cases import ABSTRACT, LAYERS, LOSSES, NODES, rng
from mutants import mutants

import dlbook
from dlbook.checks import (
    _as_tuple,
    _floats,
    _is_float,
    _leaves,
    _map,
    _random_like,
    check_gradients,
    check_layer,
    check_loss,
    check_same_as_torch,
)
from dlbook.layers import Buffer, Linear, Node, ReLU, Sequential


def public_nodes() -> set[type]:
    """Every public class of the package that is a Node, or is gone through like one."""
    found = set()
    for info in pkgutil.iter_modules(dlbook.__path__):
        if info.name.startswith("_") or info.ispkg:
            continue
        module = importlib.import_module(f"dlbook.{info.name}")
        for name, cls in vars(module).items():
            if not inspect.isclass(cls) or cls.__module__ != module.__name__ or name[0] == "_":
                continue
            if issubclass(cls, Node) or (hasattr(cls, "forward") and hasattr(cls, "backward")):
                found.add(cls)
    return found - ABSTRACT


def array(shape, scale=1.0, dtype=np.float64):
    return (scale * rng(7).normal(size=shape)).astype(dtype)


def inputs_of(case, shape):
    return case.inputs(shape) if case.inputs else (array(shape, case.scale),)


def every(table):
    """A test parameter for each class, case and shape."""
    return [
        pytest.param(cls, case, shape, id=f"{cls.__name__}-{i}-{'x'.join(map(str, shape))}")
        for cls, cases in table.items()
        for i, case in enumerate(cases)
        for shape in case.shapes
    ]


def small(table):
    return [
        pytest.param(cls, case, case.shapes[0], id=f"{cls.__name__}-{i}")
        for cls, cases in table.items()
        for i, case in enumerate(cases)
    ]


def test_every_public_node_has_a_case():
    assert public_nodes() == {*LAYERS, *LOSSES, *NODES}


@pytest.mark.parametrize(("cls", "case", "shape"), every(LAYERS))
def test_layer_keeps_the_contract(cls, case, shape):
    if 0 not in shape:
        assert check_layer(case.make(cls), *inputs_of(case, shape)) <= 1e-6


@pytest.mark.parametrize(("cls", "case", "shape"), every(LAYERS))
def test_layer_is_its_twin_in_float64(cls, case, shape):
    inputs = inputs_of(case, shape)
    assert check_same_as_torch(case.make(cls), case.twin(), *inputs) <= 1e-10


@pytest.mark.parametrize(("cls", "case", "shape"), every(LAYERS))
def test_layer_is_its_twin_in_float32(cls, case, shape):
    layer, twin = case.make(cls), case.twin()
    twin.load_state_dict({name: torch.tensor(data) for name, data in layer.state_dict().items()})
    inputs = _map(lambda x: x.astype(np.float32) if _is_float(x) else x, inputs_of(case, shape))
    tensors = _map(lambda x: torch.tensor(x, requires_grad=_is_float(x)), inputs)
    y, y_torch = _as_tuple(layer(*inputs)), twin(*tensors)
    dy, outputs = _random_like(y), [out for out in _leaves(y_torch) if out.is_floating_point()]
    dx = _floats(layer.backward(*dy))
    torch.autograd.backward(outputs, [*map(torch.tensor, _leaves(dy))])
    gradients = [x.grad for x in _leaves(tensors) if x.requires_grad]
    ours = [*_floats(y), *dx[: len(gradients)], *(p.grad for p in layer.parameters())]
    theirs = [*outputs, *gradients, *(p.grad for p in twin.parameters())]
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cls", "case", "shape"), every(LOSSES))
def test_loss_keeps_the_contract_and_is_its_twin(cls, case, shape):
    prediction, target = array(shape, case.scale), case.targets(shape)
    if case.scale == 1:  # a saturated loss is flat, and its gradient below what differences see
        assert check_loss(case.make(cls), prediction, target) <= 1e-6
    assert check_same_as_torch(case.make(cls), case.twin(), prediction, target) <= 1e-10


@pytest.mark.parametrize("cls", NODES, ids=lambda cls: cls.__name__)
def test_node_with_two_inputs(cls):
    check_node(cls)


def check_node(cls):
    x, y, dz = rng(3).normal(size=(3, 2, 3))
    node, before = cls(), [x.copy(), y.copy(), dz.copy()]
    z = node(x, y)
    dx, dy = node.backward(dz)
    assert all(np.array_equal(a, b) for a, b in zip([x, y, dz], before, strict=True))
    np.testing.assert_array_equal(
        z, getattr(torch, NODES[node_class(cls)])(*map(torch.tensor, (x, y)))
    )
    check_gradients(lambda x: (dz * cls()(x, y)).sum(), x, dx)
    check_gradients(lambda y: (dz * cls()(x, y)).sum(), y, dy)
    with pytest.raises(RuntimeError, match=cls.__name__):
        node.backward(dz)


def node_class(cls):
    """The right class that a mutant was made from, or the class itself."""
    return next(right for right in NODES if right.__name__ == cls.__name__)


def survives(check) -> bool:
    """Whether a check finds nothing wrong. An error of any kind counts as found."""
    try:
        with np.errstate(all="ignore"):
            check()
    except Exception:
        return False
    return True


def judged(cls):
    """The check that a class of the tables has to pass, as a function of the class."""

    def check(candidate):
        for case in LAYERS.get(cls, []):
            for shape in case.shapes:
                inputs = inputs_of(case, shape)
                check_same_as_torch(case.make(candidate), case.twin(), *inputs)
                if 0 not in shape:
                    check_layer(case.make(candidate), *inputs)
        for case in LOSSES.get(cls, []):
            x, target = array(case.shapes[0], case.scale), case.targets(case.shapes[0])
            check_same_as_torch(case.make(candidate), case.twin(), x, target)
            if case.scale == 1:
                check_loss(case.make(candidate), x, target)
        if cls in NODES:
            check_node(candidate)

    return check


@pytest.mark.parametrize("cls", [*LAYERS, *LOSSES, *NODES], ids=lambda cls: cls.__name__)
def test_every_mutant_is_caught(cls, record_property):
    check = judged(cls)
    check(cls)
    planted = list(mutants(cls))
    survivors = [place for place, mutant in planted if survives(lambda m=mutant: check(m))]
    assert planted and survivors == []
    record_property("planted bugs caught", len(planted))


# ---- errors


@pytest.mark.parametrize(("cls", "case", "shape"), small(LAYERS))
def test_layer_refuses_what_does_not_fit(cls, case, shape):
    layer, name = case.make(cls), "x should" if cls is Sequential else f"{cls.__name__}: x should"
    x, *others = inputs_of(case, shape)
    kinds = [x.tolist(), x > 0, x.astype(complex)]
    for wrong in [*kinds, x.astype(int) if _is_float(x) else x.astype(float)]:
        with pytest.raises(ValueError, match=name):
            layer(wrong, *others)
    dy = _random_like(_as_tuple(layer(x, *others)))
    with pytest.raises(ValueError, match="dy should have shape"):
        layer.backward(np.zeros((*dy[0].shape, 2)), *dy[1:])


@pytest.mark.parametrize("cls", [*LAYERS, *LOSSES, *NODES], ids=lambda cls: cls.__name__)
def test_backward_needs_a_forward(cls):
    node = (LAYERS | LOSSES)[cls][0].make(cls) if cls not in NODES else cls()
    arguments = [] if cls in LOSSES else [np.zeros((2, 2))]
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        node.backward(*arguments)


def test_sequential_names_what_is_no_layer():
    with pytest.raises(ValueError, match="Sequential: layer 1 should be a Layer, not <ufunc"):
        Sequential(ReLU(), np.tanh)


def test_load_state_dict_changes_all_or_nothing():
    network = Sequential(Linear(3, 2, rng=rng()), ReLU(), Linear(2, 2, rng=rng()))
    before = network.state_dict()
    ones = {name: np.ones_like(data) for name, data in before.items()}
    faults = [
        {**ones, "2.bias": np.ones(3)},
        {**ones, "3.weight": np.ones(2)},
        {name: data for name, data in ones.items() if name != "2.bias"},
    ]
    for fault in faults:
        with pytest.raises(ValueError, match=r"load_state_dict: (2\.bias|3\.weight) should be"):
            network.load_state_dict(fault)
        assert all(np.array_equal(network.state_dict()[name], before[name]) for name in before)
    network.load_state_dict(ones)
    assert all((data == 1).all() for data in network.state_dict().values())


class Counter(ReLU):
    """A layer with a buffer of its own and a generator."""

    def __init__(self):
        self.mean, self.count = Buffer([1.5, 2.5]), Buffer(3, dtype=np.int64)
        self.rng = rng()


def test_buffers_are_state_but_not_parameters():
    network = Sequential(Linear(3, 2, rng=rng()), Counter())
    assert [name for name, _ in network.named_buffers()] == ["1.mean", "1.count"]
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias"]
    assert len(network.parameters()) == 2
    assert [name for name, _ in network.named_items(np.random.Generator)] == ["1.rng"]
    state = network.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.mean", "1.count"]
    network.load_state_dict(state | {"1.mean": np.array([7.0, 8.0]), "1.count": np.array(9)})
    _, counter = network.layers
    assert counter.mean.data.tolist() == [7, 8] and counter.mean.data.dtype == np.float32
    assert counter.count.data == 9 and counter.count.data.dtype == np.int64
    with pytest.raises(ValueError, match=r"load_state_dict: 1\.mean should be \(2,\), not absent"):
        network.load_state_dict({name: data for name, data in state.items() if name != "1.mean"})
    assert counter.mean.data.tolist() == [7, 8]


def test_layers_in_lists_and_dicts_are_found_at_any_depth():
    class Block(ReLU):
        def __init__(self):
            self.rows = [[Linear(2, 2, rng=rng())], (ReLU(), {"last": Linear(2, 1, rng=rng())})]

    block = Block()
    names = ["rows.0.0.weight", "rows.0.0.bias", "rows.1.1.last.weight", "rows.1.1.last.bias"]
    assert [name for name, _ in Sequential(block).named_parameters()] == [f"0.{n}" for n in names]
    assert list(block.state_dict()) == names
    block.eval()
    assert not block.rows[0][0].training and not block.rows[1][1]["last"].training


def test_state_dict_is_a_copy():
    layer = Linear(2, 2, rng=rng())
    layer.state_dict()["weight"][...] = 9
    assert not (layer.weight.data == 9).any()


def test_train_and_eval_reach_every_layer():
    inner = Sequential(ReLU(), ReLU())
    network = Sequential(inner, ReLU())
    everywhere = [network, *network.layers, *inner.layers]
    assert network.eval() is network
    assert [layer.training for layer in everywhere] == [False] * 5
    assert network.train() is network
    assert [layer.training for layer in everywhere] == [True] * 5
