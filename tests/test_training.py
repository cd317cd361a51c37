"""What the chapter on training cannot show in a cell: sweeps, killed processes, damaged files.

The rules of early stopping are compared with a second implementation, written from the description
of Keras 3; runs are killed by the operating system and resumed in another process.
"""

import copy
import fcntl
import json
import math
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading

import numpy as np
import pytest
from book import ROOT

from dlbook.data import DataLoader, Dataset
from dlbook.layers import Buffer, Layer, Linear, ReLU, Sequential
from dlbook.losses import CrossEntropyLoss, MSELoss
from dlbook.optimizers import SGD, Adam
from dlbook.training import (
    Callback,
    Checkpoint,
    EarlyStopping,
    LearningRateSchedule,
    ProgressBar,
    Trainer,
    accuracy_of_logits,
    evaluate,
    fit,
    generators_in,
    load_state,
    mean_over_examples,
    save_state,
    worst_mistakes,
)

NAN = float("nan")


# ---- a small run with everything random and stateful in it


class Shaky(Layer):
    """Noise in training mode, and a buffer that counts and averages, like a normalization."""

    def __init__(self, rng):
        self.rng, self.mean = rng, Buffer(np.zeros(6))

    def forward(self, x):
        self.save()
        if self.training:
            self.mean.data[...] = 0.9 * self.mean.data + 0.1 * x.mean(axis=0)
            x = x + self.rng.normal(size=x.shape).astype(x.dtype)
        return x - self.mean.data

    def backward(self, dy):
        self.saved()
        return dy


def blobs(n=90):
    rng = np.random.default_rng(0)
    t = rng.integers(0, 3, n)
    return Dataset((np.eye(3)[t] + rng.normal(size=(n, 3))).astype(np.float32), t)


def small_run(seed, callbacks=(), epochs=6, **options):
    rng = np.random.default_rng(seed)
    layers = [Linear(3, 6, rng=rng), Shaky(np.random.default_rng(seed + 1)), ReLU()]
    model = Sequential(*layers, Linear(6, 3, rng=rng))
    trainer = Trainer(model, CrossEntropyLoss(), Adam(model.parameters(), 0.02), clip_norm=1.0)
    loader = DataLoader(blobs(), 20, shuffle=True, rng=rng)  # 5 steps, the last of 10 rows
    stop = EarlyStopping(patience=4, restore_best_weights=True)
    schedule = LearningRateSchedule(lambda k: 1 / (1 + k))
    held = DataLoader(blobs(50), 20)
    return fit(
        trainer, loader, held, epochs=epochs, callbacks=[stop, schedule, *callbacks], **options
    )


def fingerprint(run):
    """Everything that two equal runs share, as bytes."""
    state = run.trainer.state_dict()
    arrays = [*state["model"].values(), *state["optimizer"].values()]
    generators = generators_in([run.trainer, run.train_loader], set())
    numbers = [run.history, run.epoch, run.step, [g.bit_generator.state for g in generators]]
    return b"".join(np.asarray(a).tobytes() for a in arrays) + json.dumps(numbers).encode()


# ---- early stopping


def keras(values, min_delta, patience, restore, larger):
    """Last epoch and epoch of the restored weights, both from 1, by the rules of Keras 3."""
    best, waited, weights, last = (-math.inf if larger else math.inf), 0, None, None
    for epoch, value in enumerate(values):
        last = epoch
        if restore and weights is None:
            weights = epoch
        waited += 1
        improved = value - min_delta > best if larger else value + min_delta < best
        if improved:
            best, waited = value, 0
            weights = epoch
            continue
        if waited >= patience and epoch > 0:
            break
    return last + 1, (weights if restore else last) + 1


class Scripted:
    """A trainer whose held-out scores are given and whose model is the epoch."""

    def __init__(self, name, scores):
        self.name, self.scores, self.epoch = name, scores, 0

    def train_step(self, x, t):
        self.epoch += 1
        return {"loss": 0.0}

    def eval_step(self, x, t):
        return {"loss": 0.0, self.name: self.scores[self.epoch - 1]}

    def state_dict(self):
        return {"model": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["model"]


@pytest.mark.parametrize("name", ["score", "accuracy"])
@pytest.mark.parametrize("restore", [False, True])
def test_early_stopping_is_that_of_keras(name, restore):
    rng, batch = np.random.default_rng(0), [([0], [0])]
    for case in range(400):
        scores = rng.integers(0, 6, rng.integers(1, 12)).astype(float)
        scores[rng.random(len(scores)) < (case % 4) / 6] = NAN
        rules = {"min_delta": float(rng.choice([0, 0.5, 1, 2])), "patience": int(rng.integers(4))}
        trainer = Scripted(name, scores.tolist())
        stop = EarlyStopping(f"val_{name}", restore_best_weights=restore, **rules)
        run = fit(trainer, batch, batch, epochs=len(scores), callbacks=[stop])
        wanted = keras(scores, **rules, restore=restore, larger=name == "accuracy")
        assert (run.epoch, trainer.epoch) == wanted, (scores, rules)
        assert not math.isnan(stop.best)


def test_early_stopping_can_be_used_again_and_names_what_is_missing():
    stop, batch = EarlyStopping("val_score", patience=1), [([0], [0])]
    for _ in range(2):
        run = fit(Scripted("score", [1, 2, 3]), batch, batch, epochs=3, callbacks=[stop])
        assert (run.epoch, stop.best, stop.best_epoch) == (2, 1, 1)
    with pytest.raises(ValueError, match=r"'val_score' should be in \['loss'\]"):
        fit(Scripted("score", [1]), batch, epochs=1, callbacks=[stop])


@pytest.mark.parametrize(("mode", "kept"), [("min", 2), ("max", 3), ("auto", 2)])
def test_early_stopping_has_a_direction(mode, kept):
    trainer, batch = Scripted("f1", [2, 1, 3]), [([0], [0])]
    stop = EarlyStopping("val_f1", patience=9, restore_best_weights=True, mode=mode)
    fit(trainer, batch, batch, epochs=3, callbacks=[stop])
    assert trainer.epoch == kept == stop.best_epoch


def test_early_stopping_refuses_an_unknown_direction():
    batch, stop = [([0], [0])], EarlyStopping("val_f1", mode="maximum")
    with pytest.raises(ValueError, match="mode should be min, max or auto, not 'maximum'"):
        fit(Scripted("f1", [1]), batch, batch, epochs=1, callbacks=[stop])


def test_restored_weights_are_those_of_the_best_epoch_with_their_buffers():
    class Keep(Callback):
        states = ()

        def on_epoch_end(self, run):
            self.states = [*self.states, run.trainer.state_dict()["model"]]

    keep = Keep()
    run = small_run(3, [keep], epochs=30)
    best = int(np.argmin(run.history["val_loss"]))
    assert run.epoch == best + 1 + 4 < 30
    for name, array in run.trainer.state_dict()["model"].items():
        assert np.array_equal(array, keep.states[best][name])
    held_out = evaluate(run.trainer, run.valid_loader)["loss"]
    assert held_out == run.history["val_loss"][best]


# ---- means, modes, metrics


def test_means_are_over_examples():
    run, data = small_run(0, epochs=1), blobs(50)
    whole = run.trainer.eval_step(data.x, data.t)
    for size in (1, 7, 20, 49, 50):
        logs = evaluate(run.trainer, DataLoader(data, size))
        assert logs == pytest.approx(whole, rel=1e-5)
    assert mean_over_examples([({"a": 1.0}, 3), ({"a": 5.0}, 1)]) == {"a": 2.0}
    with pytest.raises(ValueError, match="no batch"):
        evaluate(run.trainer, [])


def test_looking_changes_nothing_and_keeps_the_mode():
    run, data = small_run(0, epochs=1), blobs()
    for mode in (True, False):
        run.trainer.model.train(mode)
        before = fingerprint(run)
        assert run.trainer.eval_step(data.x, data.t) == run.trainer.eval_step(data.x, data.t)
        assert fingerprint(run) == before and run.trainer.model.training is mode
    before = copy.deepcopy((data.x, data.t))
    run.trainer.train_step(data.x, data.t)
    assert run.trainer.model.training and np.array_equal(before[0], data.x)


def test_accuracy_of_logits():
    logits = np.array([[3.0, 1, 2], [0, 5, 1], [1, 0, 2]])
    assert accuracy_of_logits(logits, np.array([0, 1, 1])) == pytest.approx(2 / 3)
    assert accuracy_of_logits(logits, np.eye(3)[[0, 1, 1]]) == pytest.approx(2 / 3)
    assert accuracy_of_logits(logits.reshape(1, 3, 3), np.array([[0, 1, 2]])) == 1
    one = np.array([[-2.0], [0.5], [3.0], [-1.0]])  # a single logit for yes or no
    assert accuracy_of_logits(one, np.array([[0.0], [1], [0], [0]])) == 0.75
    with pytest.raises(ValueError, match="t should be an array of integers"):
        accuracy_of_logits(logits, np.zeros(3))


def test_worst_mistakes():
    model = Sequential(Linear(3, 3, rng=np.random.default_rng(0)))
    model.layers[0].weight.data[...] = np.eye(3)
    x = np.array([[9, 0, 0], [5, 0, 0], [0, 7, 0], [0, 1, 0]], dtype=np.float32)
    rows, answers, p = worst_mistakes(model, x, np.array([0, 1, 2, 1]), count=5)
    assert rows.tolist() == [2, 1] and answers.tolist() == [1, 0] and p[0] < p[1] < 0.01
    assert len(worst_mistakes(model, x, np.array([0, 0, 1, 1]))[0]) == 0
    assert model.training  # left as it was


# ---- numbers that are not finite


def line_trainer(lr, **options):
    line = Sequential(Linear(2, 1, rng=np.random.default_rng(0)))
    return Trainer(line, MSELoss(), SGD(line.parameters(), lr), metrics={}, **options)


@pytest.mark.parametrize("lr", [1.0, 30.0, 1e10, 1e30, 1e38])
@pytest.mark.filterwarnings("error")
def test_last_good_parameters_stay(lr):
    trainer, x = line_trainer(lr), np.ones((4, 2), dtype=np.float32)
    with pytest.raises(FloatingPointError, match=r"step \d+ .*largest gradient is .* of 0\.\w+;"):
        fit(trainer, [(x, np.zeros((4, 1), np.float32))] * 2000, epochs=1)
    with np.errstate(over="ignore"):
        assert math.isfinite(trainer.eval_step(x, np.zeros((4, 1), np.float32))["loss"])
    assert all(np.isfinite(p.data).all() for p in trainer.model.parameters())


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_a_bad_batch_moves_nothing_and_is_named(bad):
    run = small_run(1)
    model = run.trainer.model.state_dict()
    x = blobs().x.copy()
    run.trainer.train_step(x, blobs().t)
    after = run.trainer.model.state_dict()
    x[3, 1] = bad
    step = run.trainer.optimizer.steps
    with pytest.raises(
        FloatingPointError, match=f"step {step + 1} is not finite; .*begin with: x;"
    ):
        run.trainer.train_step(x, blobs().t)
    got = run.trainer.model.state_dict()
    # the parameters from before the last update, which are the last with a finite loss
    weights = [name for name in model if "mean" not in name]
    assert all(np.array_equal(got[name], model[name]) for name in weights)
    assert not np.array_equal(after["0.weight"], model["0.weight"])
    assert all(np.isfinite(array).all() for array in got.values())


def test_the_optimizer_goes_back_with_the_model():
    """After a failure a run goes on as if the bad step had never been made."""
    good, bad = small_run(1), small_run(1)
    x, t = blobs().x, blobs().t
    for run in (good, bad):
        run.trainer.train_step(x, t)
    before = fingerprint(bad)
    bad.trainer.train_step(1e30 * x, t)  # finite, but its gradient spoils Adam's moments
    assert fingerprint(bad) != before
    with pytest.raises(FloatingPointError, match="begin with: x;"):
        bad.trainer.train_step(NAN * x, t)
    states = [run.trainer.state_dict() for run in (good, bad)]
    for name, value in states[0]["optimizer"].items():
        assert np.array_equal(value, states[1]["optimizer"][name]), name
    for name, p in good.trainer.model.named_parameters():
        assert np.array_equal(p.data, states[1]["model"][name])


def test_what_was_loaded_is_the_last_good_state():
    x, t = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    trainer, other = line_trainer(0.01), line_trainer(0.1).state_dict()
    trainer.train_step(x, t)
    other["model"]["0.weight"] += 5
    trainer.load_state_dict(other)
    with pytest.raises(FloatingPointError, match="begin with: x;"):
        trainer.train_step(NAN * x, t)
    assert np.array_equal(trainer.state_dict()["model"]["0.weight"], other["model"]["0.weight"])
    assert trainer.optimizer.lr == 0.1


def test_targets_that_are_not_finite_are_named():
    x, t = np.ones((4, 2), np.float32), np.full((4, 1), NAN, np.float32)
    with pytest.raises(FloatingPointError, match=r"step 1 is not finite; .*begin with: t;"):
        line_trainer(0.1).train_step(x, t)


def test_best_epoch_comes_back_after_a_failure_too():
    class Break(Callback):
        def on_batch_end(self, run):
            if run.step == 18:  # in the fourth epoch
                raise FloatingPointError("broken")

    class Keep(Callback):
        states = ()

        def on_epoch_end(self, run):
            self.states = [*self.states, (run.history["val_loss"][-1], run.trainer.state_dict())]
            self.trainer = run.trainer

    keep = Keep()
    with pytest.raises(FloatingPointError, match="broken"):
        small_run(3, [keep, Break()])
    best = min(keep.states, key=lambda pair: pair[0])[1]["model"]
    now = keep.trainer.state_dict()["model"]
    assert len(keep.states) == 3 and all(np.array_equal(a, best[n]) for n, a in now.items())


def test_held_out_nan_ends_the_run():
    trainer, x, t = line_trainer(0.01), np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    with pytest.raises(FloatingPointError, match="after step 1 the held-out logs are"):
        fit(trainer, [(x, t)], [(x, t * np.float32(NAN))], epochs=3)


def test_clipping_limits_the_step():
    x, t = np.ones((4, 2), np.float32), 1000 * np.ones((4, 1), np.float32)
    trainer = line_trainer(1.0, clip_norm=0.5)
    before = np.concatenate([p.data.ravel() for p in trainer.model.parameters()])
    trainer.train_step(x, t)
    after = np.concatenate([p.data.ravel() for p in trainer.model.parameters()])
    assert np.linalg.norm(after - before) == pytest.approx(0.5, rel=1e-4)


# ---- bad arguments, interrupts, plain objects


@pytest.mark.parametrize("epochs", [0, -1, 1.5, "3", None])
def test_epochs_are_a_count(epochs):
    with pytest.raises(ValueError, match="epochs should be an integer from 1"):
        fit(line_trainer(0.1), [([0], [0])], epochs=epochs)


def test_loaders_have_a_length():
    batch = (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    for bad in ([], iter([batch]), (b for b in [batch])):
        with pytest.raises(ValueError, match="train_loader should have a length"):
            fit(line_trainer(0.1), bad, epochs=1)
        with pytest.raises(ValueError, match="valid_loader should have a length"):
            fit(line_trainer(0.1), [batch], bad, epochs=1)
    with pytest.raises(ValueError, match="t should have 4 rows, as x has, not 3"):
        fit(line_trainer(0.1), [(batch[0], batch[1][:3])], epochs=1)


def test_interrupt_leaves_a_usable_run():
    class Impatient:  # a plain object with one method
        def on_batch_end(self, run):
            if run.step == 13:
                raise KeyboardInterrupt

    run = small_run(0, [Impatient()])
    assert run.stop and run.epoch == 2 and run.step == 13
    assert {len(values) for values in run.history.values()} == {2}
    again = fit(run.trainer, run.train_loader, epochs=1)
    assert math.isfinite(again.history["loss"][0])
    assert run.trainer.optimizer.lr == 0.02  # the schedule set it back


def test_hooks_come_in_order():
    class Note:
        said = ()

        def __getattr__(self, hook):
            if not hook.startswith("on_"):
                raise AttributeError(hook)
            return lambda run: setattr(self, "said", (*self.said, hook))

    note = Note()
    batch = (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    fit(line_trainer(0.1), [batch] * 2, epochs=2, callbacks=[note])
    epoch = ("on_batch_end", "on_batch_end", "on_epoch_end", "on_epoch_complete")
    assert note.said == ("on_fit_begin", *epoch, *epoch, "on_fit_end")


def test_schedule_can_be_used_again_with_another_rate():
    batch = (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    schedule = LearningRateSchedule(lambda k: 1 / (1 + k))
    for lr in (0.1, 0.01):
        trainer = line_trainer(lr)
        fit(trainer, [batch] * 3, epochs=1, callbacks=[schedule])
        assert trainer.optimizer.lr == lr


def test_schedule_serves_the_groups_of_pytorch():
    class Groups:
        param_groups = ({"lr": 1.0}, {"lr": 0.1})

    class Idle:
        optimizer = Groups()
        rates = ()

        def train_step(self, x, t):
            self.rates = (*self.rates, [group["lr"] for group in Groups.param_groups])
            return {"loss": 0.0}

    idle = Idle()
    schedule = LearningRateSchedule(lambda k: 0 if k else 0.5)
    fit(idle, [([0], [0])] * 2, epochs=1, callbacks=[schedule])
    assert idle.rates == ([0.5, 0.05], [0, 0])
    assert [group["lr"] for group in Groups.param_groups] == [1.0, 0.1]


# ---- checkpoints


CHILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_training as here
class Kill(here.Callback):
    def on_batch_end(self, run):
        if run.step == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
write = here.np.savez
def torn(file, *arrays, **options):
    write(file, *arrays, **options)
    torn.calls += 1
    if torn.calls == {write}:
        file.truncate(file.tell() // 2)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
torn.calls = 0
here.np.savez = torn
here.small_run(7, [here.Checkpoint(sys.argv[2]), Kill()])
"""


@pytest.mark.parametrize(("step", "write", "epoch"), [(13, 0, 2), (5, 0, 0), (29, 0, 5), (0, 3, 2)])
def test_killed_and_resumed_is_the_same_run(tmp_path, step, write, epoch):
    """In the middle of an epoch, or (the last case) in the middle of writing the file."""
    path = tmp_path / "run.npz"
    program = CHILD.format(step=step, write=write)
    child = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "tests"), str(path)], cwd=ROOT, check=False
    )
    assert child.returncode == -signal.SIGKILL
    if epoch == 0:  # killed before the first epoch was complete: nothing to resume
        assert not path.exists()
        return
    assert load_state(path)["run"]["epoch"] == epoch
    resumed = small_run(99, [Checkpoint(path)], resume_from=path)
    assert fingerprint(resumed) == fingerprint(small_run(7))
    assert sorted(os.listdir(tmp_path)) == ["run.npz"]


def test_stopped_run_stays_stopped(tmp_path):
    path = tmp_path / "new folder" / "run.npz"
    whole = small_run(3, [Checkpoint(path)], epochs=30)
    resumed = small_run(99, [Checkpoint(path)], epochs=30, resume_from=path)
    assert whole.epoch < 30 and fingerprint(resumed) == fingerprint(whole)


def test_progress_bar_may_come_and_go(tmp_path, capsys):
    path = tmp_path / "run.npz"
    small_run(7, [ProgressBar(), Checkpoint(path)], epochs=3)
    resumed = small_run(99, resume_from=path)
    with_bar = small_run(98, [ProgressBar()], resume_from=path)
    assert fingerprint(resumed) == fingerprint(small_run(7)) == fingerprint(with_bar)


def test_damaged_files_are_refused_and_change_nothing(tmp_path):
    path, bad = tmp_path / "run.npz", tmp_path / "bad.npz"
    small_run(7, [Checkpoint(path)], epochs=2)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    whole, harmless = load_state(path), 0
    lengths = [0, 1, 100, len(content) // 2, len(content) - 1]
    files = [content[:n] for n in lengths] + [b"PK\3\4 foreign", b"a,b\n1,2\n", b"\x93NUMPY"]
    for place in rng.integers(0, len(content), 400):
        files.append(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
    for file in files:
        bad.write_bytes(file)
        try:
            state = load_state(bad)
        except ValueError as error:
            assert "bad.npz is no checkpoint, or damaged" in str(error)
        else:  # a byte that carries nothing, such as a date
            assert str(state) == str(whole)
            harmless += 1
    assert harmless < 60
    np.savez(bad, a=np.arange(3))
    with pytest.raises(ValueError, match="no checkpoint"):
        load_state(bad)
    with pytest.raises(FileNotFoundError):
        load_state(tmp_path / "none.npz")


def test_checkpoints_of_other_runs_change_nothing(tmp_path):
    path, run = tmp_path / "run.npz", small_run(5)
    small_run(7, [Checkpoint(path)], epochs=2)
    good, before = load_state(path), fingerprint(run)
    broken = []
    for change in (
        lambda s: s["trainer"]["model"].pop("0.weight"),
        lambda s: s["trainer"]["optimizer"].pop("steps"),
        lambda s: s["trainer"]["optimizer"].update(lr=-1),
        lambda s: s["generators"].pop(),
        lambda s: s["callbacks"].pop(),
        lambda s: s.pop("callbacks"),
        lambda s: s.pop("run"),
        lambda s: s.update({"made for": [5, "EarlyStopping"]}),
        lambda s: s.update({"made for": [6, "EarlyStopping", "LearningRateSchedule"]}),
        lambda s: s.clear(),
    ):
        state = copy.deepcopy(good)
        change(state)
        broken.append(state)
    for state in broken:
        save_state(path, state)
        with pytest.raises(ValueError, match="the checkpoint is of another run"):
            fit(
                run.trainer,
                run.train_loader,
                run.valid_loader,
                epochs=9,
                callbacks=run.callbacks,
                resume_from=path,
            )
        assert fingerprint(run) == before


def test_state_comes_back_as_it_was(tmp_path):
    state = {
        "numbers": [1, -2.5, 2**100, NAN, math.inf, True, None, "text ü"],
        "arrays": {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.array(1.5, np.float16)},
        "optimizer": {0: {"step": np.float32(3)}, 1: {}},
        "empty": [{}, [], ""],
    }
    save_state(tmp_path / "s", state)
    back = load_state(tmp_path / "s")
    assert str(back["numbers"]) == str(state["numbers"]) and back["empty"] == state["empty"]
    for name, array in state["arrays"].items():
        assert np.array_equal(back["arrays"][name], array)
        assert back["arrays"][name].dtype == array.dtype
    assert list(back["optimizer"]) == [0, 1] and back["optimizer"][0]["step"] == 3
    with pytest.raises(ValueError):
        save_state(tmp_path / "s", {"a": np.array([object()])})
    assert str(load_state(tmp_path / "s")) == str(back)


def test_generators_are_found_once():
    a, b, c = (np.random.default_rng(seed) for seed in range(3))
    layer = Sequential(Shaky(a), Sequential(Shaky(b), Shaky(a)))
    layer.itself, layer.modules = layer, [np, np.random.Generator]  # a circle, modules, classes
    loader = DataLoader(blobs(), 5, shuffle=True, rng=c)
    assert generators_in([layer, loader, None, [(c, 1)]], set()) == [a, b, c]
    assert generators_in({"crop": {"rng": b}, "flip": [a]}, set()) == [b, a]


# ---- the progress bar


BAR = """
from dlbook.training import Callback, ProgressBar, fit
class Idle:
    def train_step(self, x, t):
        import time; time.sleep(0.02)
        return {"loss": 0.25}
print("before")
fit(Idle(), [([0], [0])] * 10, epochs=3, callbacks=[ProgressBar()])
print("after")
"""


def test_progress_bar_in_a_terminal():
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    said = []
    child = subprocess.Popen(
        [sys.executable, "-c", BAR], stdin=other, stdout=other, stderr=other, cwd=ROOT
    )
    os.close(other)

    def listen():
        try:
            while part := os.read(main, 4096):
                said.append(part)
        except OSError:  # the terminal's other end is closed
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    assert child.wait(timeout=60) == 0
    listener.join(timeout=10)
    os.close(main)
    text = b"".join(said).decode()
    before, bar, end = text.split("\n")
    *states, wiped, after, nothing = bar.split("\r")
    assert (before, after, nothing, end, wiped.strip()) == ("before\r", "after", "", "", "")
    assert any("loss=0.25" in state and " left" in state for state in states)
    assert "100%" in states[-1] and max(map(len, states)) <= 80


def test_progress_bar_leaves_nothing_in_a_stream():
    child = subprocess.run(
        [sys.executable, "-c", BAR], capture_output=True, check=True, cwd=ROOT, timeout=60
    )
    assert child.stdout.decode().split() == ["before", "after"]
    states = child.stderr.decode().split("\r")
    assert any("30" in state for state in states) and not states[-1].strip()
