"""train(): how it ends, and what it refuses."""

import dataclasses
import os
import signal

import numpy as np
import pytest
from helpers.train_cases import STEPS, fresh, make_batch, make_params, make_stack, score, train

import gatescope as gs
from gatescope.errors import DtypeError, GatescopeError, UnknownNameError, ValueRangeError
from gatescope.training.engine import Engine
from gatescope.training.interrupts import DeferredInterrupt
from gatescope.training.optimizers import SGD

# ---- how it ends ----


def test_no_epochs():
    run = train(epochs=0, probe_every=1, snapshot_every=1)
    assert run.status == gs.Status.FINISHED
    assert run.history.loss.shape == (0,)
    assert run.history.probe_epoch.tolist() == [0]
    assert run.snapshot_epoch.tolist() == [0]
    np.testing.assert_array_equal(run.model.layers[0].weight_hh, make_params().weight_hh)


def test_early_stopping_keeps_the_best():
    """Seven noisy sequences are learnt by heart, which does not help on others."""
    rng = np.random.default_rng(0)
    task, judged = (make_batch(k) for k in range(2))
    noise = gs.Batch(
        inputs=task.inputs,
        targets=task.targets + 2 * rng.standard_normal(task.targets.shape),
        mask=task.mask,
        lengths=task.lengths,
    )
    run = train(data=noise, validation=judged, epochs=1000, lr=0.05, patience=7, snapshot_every=1)
    losses = run.history.validation_loss
    lowest = int(losses.argmin()) + 1
    assert run.status == gs.Status.EARLY_STOPPED
    assert run.best_epoch == lowest
    assert run.history.epoch[-1] == lowest + 7 < 1000
    assert f"early-stopped after {lowest + 7} epochs: the validation loss was lowest" in run.message
    np.testing.assert_array_equal(run.best.flat(), run.at(lowest).flat())
    assert score(run.best, judged).loss == losses.min()


def test_best_of_the_training_loss():
    """One update an epoch: the loss is that of the weights before it."""
    run = train(epochs=20, lr=0.1, snapshot_every=1)
    lowest = int(run.history.loss.argmin())
    assert run.best_epoch == lowest
    np.testing.assert_array_equal(run.best.flat(), run.at(lowest).flat())
    assert score(run.best, make_batch()).loss == pytest.approx(run.history.loss[lowest], rel=1e-12)
    several = train(epochs=3, batch_size=3, snapshot_every=1)
    assert several.best_epoch == int(several.history.loss.argmin()) + 1
    np.testing.assert_array_equal(several.best.flat(), several.at(several.best_epoch).flat())


def test_target_loss():
    run = train(epochs=1000, lr=0.03, target_loss=0.5)
    assert run.status == gs.Status.FINISHED
    assert run.history.loss[-1] < 0.5 <= run.history.loss[:-1].min()
    assert "is below the target, 0.5" in run.message


def test_divergence_keeps_the_last_good_weights():
    run = train(data=make_batch(), epochs=50, lr=1e30, optimizer=SGD(), clip_norm=None, snapshot_every=1)
    assert run.status == gs.Status.DIVERGED
    done = run.history.epoch.size
    assert f"at update {done + 1}, in epoch {done + 1}" in run.message
    assert "smaller learning rate than 1e+30, or a limit on the norm" in run.message
    scored = score(run.model, make_batch())
    assert np.isfinite(run.model.flat()).all()
    assert np.isfinite(scored.loss)
    assert np.isfinite(run.history.loss).all()


def test_divergence_of_a_later_loss(monkeypatch):
    """The weights before the update that led to a loss that is not finite."""
    real = Engine.back

    def back(self, data, update, **options):
        scored = real(self, data, update, **options)
        if update == 3:
            object.__setattr__(scored, "loss", float("nan"))
        return scored

    good = train(epochs=5, snapshot_every=1)
    monkeypatch.setattr(Engine, "back", back)
    run = train(epochs=5)
    assert run.message.startswith("diverged: the loss is nan at update 4, in epoch 4; the model has the last")
    np.testing.assert_array_equal(run.model.flat(), good.at(2).flat())
    assert run.history.epoch.tolist() == [1, 2, 3]


def test_divergence_of_a_gradient(monkeypatch):
    real = Engine.back

    def back(self, data, update, **options):
        scored = real(self, data, update, **options)
        self.gradient[3] = np.inf if update == 2 else self.gradient[3]
        return scored

    monkeypatch.setattr(Engine, "back", back)
    run = train(epochs=5)
    assert "the gradient is not finite at update 3" in run.message
    assert run.history.epoch.tolist() == [1, 2]


def test_weights_that_overflow_in_the_last_update():
    batch = make_batch()
    loud = dataclasses.replace(batch, targets=1e3 * batch.targets)
    run = train(data=loud, epochs=1, lr=1e38, optimizer=SGD(), clip_norm=None)
    assert run.status == gs.Status.DIVERGED
    assert "weights are no longer finite at update 1" in run.message
    np.testing.assert_array_equal(run.model.flat(), train(epochs=0).model.flat())


@pytest.mark.skipif(os.name != "posix", reason="sends itself SIGINT")
def test_ctrl_c_without_a_checkpoint():
    def maker(seed):
        maker.calls += 1
        if maker.calls == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return fresh(seed)

    maker.calls = 0
    handler = signal.getsignal(signal.SIGINT)
    run = train(data=maker, epochs=100)
    assert run.status == gs.Status.INTERRUPTED
    assert (
        run.message
        == "interrupted after 3 epochs and 4 updates; give a checkpoint to be able to resume another time"
    )
    assert signal.getsignal(signal.SIGINT) is handler
    np.testing.assert_array_equal(run.model.flat(), train(data=fresh, epochs=4).model.flat())


@pytest.mark.skipif(os.name != "posix", reason="sends itself SIGINT")
def test_a_second_ctrl_c_does_not_wait():
    with DeferredInterrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_callers_is_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with DeferredInterrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_progress_shows_nothing_without_a_terminal(capsys):
    train(epochs=2, progress=True)
    assert capsys.readouterr() == ("", "")


# ---- what it refuses ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0}, r"lr=0 must be a finite number above 0"),
        ({"epochs": -1}, r"epochs=-1 must be a whole number of at least 0"),
        ({"batch_size": 0}, r"batch_size=0 must be a whole number of at least 1"),
        ({"bptt_steps": 0}, r"bptt_steps=0 must be"),
        ({"stateful": True}, r"stateful carries the state .* give `bptt_steps`"),
        ({"stateful": 1}, r"stateful=1 must be True or False"),
        ({"clip_norm": 0}, r"clip_norm=0 must be a finite number above 0"),
        ({"clip_value": float("inf")}, r"clip_value=inf must be"),
        ({"optimizer": "adamm"}, r"optimizer='adamm' is not known; choose from adam"),
        ({"schedule": "cosinus"}, r"schedule='cosinus' is not known"),
        ({"dropout": 0.5}, r"dropout is a float; give a Dropout"),
        ({"weight_noise": -1}, r"weight_noise=-1 must be"),
        ({"at": "first"}, r"at='first' is not known"),
        ({"patience": 0}, r"patience=0 must be"),
        (
            {"patience": 3, "validate_every": 9, "epochs": 8, "validation": make_batch(1)},
            r"validate_every=9 is more than `epochs`, 8",
        ),
        ({"validate_every": 2}, r"validate_every=2 says how often to validate, .* give `validation` too"),
        (
            {"schedule": lambda update: 1.0},
            r"^schedule is a function that cannot be called with \(update, upd",
        ),
        ({"data": lambda: make_batch()}, r"^data is a function that cannot be called with \(seed=...\)"),
        ({"data": lambda seed, steps: fresh(seed)}, r"^data is a function .*missing .*: 'steps'"),
        ({"validation": lambda: make_batch()}, r"^validation is a function that cannot be called with"),
        ({"target_loss": float("nan")}, r"target_loss=nan must be a finite number"),
        ({"updates_per_epoch": 2}, r"updates_per_epoch=2 is for data that are made afresh"),
        ({"data": fresh, "batch_size": 2}, r"batch_size=2 is for data that stay the same"),
        ({"data": [1, 2]}, r"data is a list; give a gatescope.Batch, or a function"),
        ({"validation": 3}, r"validation is an int; give"),
        ({"model": np.zeros(3)}, r"model is a ndarray; give Params"),
        ({"checkpoint_seconds": -1}, r"checkpoint_seconds=-1 must be"),
        ({"seed": -1}, r"seed=-1 must be"),
        ({"threads": 0}, r"threads=0 must be"),
        ({"data": make_batch(mask=np.zeros((STEPS, 1), bool))}, r"mask is False at every step"),
        ({"model": make_stack(heads=(("y", 2),))}, r"targets"),
        (
            {"model": make_stack(heads=(("y", 3, "cross_entropy"),))},
            r"cross_entropy needs whole numbers from 0 to 2",
        ),
        ({"model": make_stack(heads=(("y", 1, "bernoulli"),))}, r"bernoulli needs 0 or 1"),
    ],
)
def test_refused(options, message):
    with pytest.raises(GatescopeError, match=message):
        train(**options)


def test_kinds_of_errors():
    with pytest.raises(UnknownNameError):
        train(optimizer="none")
    with pytest.raises(ValueRangeError):
        train(lr=0)
    with pytest.raises(DtypeError):
        train(dropout=0.5)


def test_errors_inside_of_a_task_are_its_own():
    def broken(seed):
        return seed + "s"

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        train(data=broken)
    assert not isinstance(caught.value, GatescopeError)
