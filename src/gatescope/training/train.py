"""train(): check, put the parts together, go on from a checkpoint if there is one, return a result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from gatescope.checks.arrays import check_finite
from gatescope.checks.network import check_params
from gatescope.checks.numbers import check_number, check_threads
from gatescope.datatypes import Batch, Params, Status, TrainingRun
from gatescope.datatypes.stack import Stack
from gatescope.errors import DtypeError, GatescopeError, ValueRangeError
from gatescope.kernels.cpu.sweeps import default_threads
from gatescope.recurrence.initialization import init_readout
from gatescope.storage.npz import encode_json
from gatescope.storage.provenance import provenance
from gatescope.training import minibatches
from gatescope.training.arrays import Data, as_data
from gatescope.training.checkpoints import Checkpoint
from gatescope.training.config import Settings, checked, data_facts, model_facts
from gatescope.training.dropout import Dropout
from gatescope.training.engine import Engine
from gatescope.training.loop import Slots, Trainer, outcome
from gatescope.training.monitor import kept_gates, probe_on
from gatescope.training.optimizers import Optimizer
from gatescope.training.schedules import Schedule
from gatescope.training.state import State

_VALIDATED_TOGETHER = 256  # sequences: larger validation sets are evaluated in pieces


def train(
    model: Params | Stack,
    data: Batch | Callable[..., Batch],
    *,
    optimizer: str | Optimizer = "adam",
    lr: float = 1e-3,
    schedule: str | Schedule | Callable[[int, int], float] | None = None,
    clip_norm: float | None = 1.0,
    clip_tensor_norm: float | None = None,
    clip_value: float | None = None,
    epochs: int = 100,
    batch_size: int | None = None,
    updates_per_epoch: int = 1,
    at: str | None = None,
    bptt_steps: int | None = None,
    stateful: bool = False,
    dropout: Dropout | None = None,
    weight_noise: float = 0.0,
    validation: Batch | Callable[..., Batch] | None = None,
    validate_every: int = 1,
    patience: int | None = None,
    target_loss: float | None = None,
    probe_every: int | None = None,
    snapshot_every: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> TrainingRun:
    """Train a model on data by back-propagation through time.

    An update goes from the weights w to ``w - lr_k * direction(clip(dL/dw))``: L is the sum of the heads' losses times
    their weights, each a mean over the steps that count; the direction is the optimizer's; and ``lr_k`` is `lr` times
    the schedule's factor.

    The result is the same, bit for bit, for any number of threads, from one run to the next, and whether or not the
    training was stopped and gone on with.  Where an update is work enough, blocks of sequences are shared out between
    the threads.  On a `Batch`, the loop allocates nothing from the second epoch on, except for what it records.

    Parameters
    ----------
    model : Params or Stack
        The model to start from, which is not changed.  `Params` get a read-out for the data's heads, drawn from `seed`
        by PyTorch's scheme, whatever scheme they were drawn by: for another one make a `Stack`, with `init_stack`.  A
        `Stack` is judged by its own heads.  Float32 or float64; all is computed in that precision.
    data : Batch or callable
        Fixed data, of which an epoch is one pass; or ``data(seed=...) -> Batch``, which makes new data for every
        update, such as ``functools.partial(gs.tasks.adding, steps=100, sequences=50)``.
    optimizer : str or Optimizer
        ``"adam"``, ``"adamw"``, ``"rmsprop"``, ``"sgd"``, or an object such as ``gs.training.Adam(eps=1e-7)``.
    lr : float
        Learning rate, above 0.
    schedule : str, Schedule or callable, optional
        Of the learning rate: ``"cosine"``, ``"warmup(100, cosine)"``, ``"step(1000, 0.5)"``..., or a function, of its
        arguments alone, whose ``function(update, updates)`` multiplies `lr`; updates count from 0, and `updates` is how
        many there are in all epochs (windows in which nothing counts are counted).  Default: a factor of 1.
    clip_norm : float or None
        Largest norm of the whole gradient.  None: no limit.
    clip_tensor_norm : float, optional
        Largest norm of the gradient of each weight array; before `clip_norm`.
    clip_value : float, optional
        Largest absolute value of each element of the gradient; before the other two.
    epochs : int
        How many, from the first one on; 0 returns the model as it is.
    batch_size : int, optional
        Sequences a minibatch, for a `Batch`; their order is drawn anew for every epoch, from `seed`.  The last
        minibatch may be smaller.  Default: all in one.
    updates_per_epoch : int
        Fresh batches an epoch, for callable data.
    at : str, optional
        Where targets count: ``"last"``, the last step of each sequence, or ``"every"`` step.  Default: where the
        batch's mask says.
    bptt_steps : int, optional
        Length of truncated BPTT: one update for every window of so many steps, and gradients do not leave it.  Windows
        in which nothing counts make no update.  Default: full BPTT, however long the sequences are.
    stateful : bool
        Whether a window starts from the state in which the one before ended; the first one of a sequence starts from
        zero, and without this all do.
    dropout : Dropout, optional
        Probabilities; drawn from `seed` and the update's number.
    weight_noise : float
        Standard deviation of Gaussian noise that is added to all weights anew for every update.
    validation : Batch or callable, optional
        What the model is judged on, without dropout and noise.  A callable makes it once, from a seed of its own.
    validate_every : int
        Epochs between two validations; goes with `validation`.
    patience : int, optional
        Stop early once the watched loss, which is that of the validation or else of the training, has had no new
        minimum for so many epochs.
    target_loss : float, optional
        Stop as soon as the watched loss is below it; the status is ``FINISHED`` then.  Without `validation` a
        loss is found before its update: with one update an epoch, the weights that were judged are `best`, and `model`
        are those after the update.
    probe_every : int, optional
        Epochs between two measurements of decay rates and saturation (see `History`), from before the first update on:
        on the four longest sequences of the validation, or else of the training data, cut to the shortest of them
        (those without a step are left out).
    snapshot_every : int, optional
        Epochs between two copies of the weights, from before the first update on; the last weights are kept, too.
    checkpoint : path, optional
        A file for the state of the training, written every `checkpoint_seconds`, when it is interrupted with Ctrl-C,
        and at the end; whole or not at all, so that the process may be killed at any moment.  If it is there, the same
        call goes on from it, or returns at once what it holds if that is finished; with more `epochs` it trains on.
        Training that diverged leaves the file as it was before.
    checkpoint_seconds : float
        Seconds between two writes; 0: after every update.
    seed : int
        Of everything that is drawn.
    threads : int, optional
        At most so many; default: the cores this process may use.
    progress : bool
        Show a progress bar on stderr, if it is a terminal.

    Returns
    -------
    TrainingRun
        Also when training was interrupted with Ctrl-C, or diverged (a loss, a gradient or weights are not finite): see
        its `status` and `message`.

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit; the message names it, what was seen, and what to do.  A ValueRangeError also if the
        checkpoint is one of of another model, data or setting, which is then left as it is.
    FileFormatError
        If the checkpoint is torn, or something else.
    OutputError
        If there can be no file of that name.

    References
    ----------
    .. [1] P. J. Werbos, "Backpropagation through time: what it does and how to do it", Proc. IEEE 78 (1990).
    .. [2] R. J. Williams and J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
       trajectories", Neural Computation 2 (1990), for truncated BPTT.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> inputs = np.random.default_rng(0).standard_normal((20, 8, 1)).astype("float32")
    >>> echo = gs.Batch(                                # what was the input one step ago?
    ...     inputs=inputs, targets=np.roll(inputs, 1, axis=0), mask=np.arange(20)[:, None] > np.zeros(8),
    ...     lengths=np.full(8, 20))
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    >>> run = gs.train(params, echo, lr=0.01, epochs=50)
    >>> run.message
    'finished: 50 epochs, 50 updates'
    >>> bool(run.history.loss[-1] < run.history.loss[0] / 2)
    True
    """
    settings = checked(
        validation=validation,
        optimizer=optimizer,
        lr=lr,
        schedule=schedule,
        clip_norm=clip_norm,
        clip_tensor_norm=clip_tensor_norm,
        clip_value=clip_value,
        epochs=epochs,
        batch_size=batch_size,
        updates_per_epoch=updates_per_epoch,
        at=at,
        bptt_steps=bptt_steps,
        stateful=stateful,
        dropout=dropout,
        weight_noise=weight_noise,
        validate_every=validate_every,
        patience=patience,
        target_loss=target_loss,
        probe_every=probe_every,
        snapshot_every=snapshot_every,
        seed=seed,
    )
    workers = check_threads(threads, default_threads())
    every = check_number("checkpoint_seconds", checkpoint_seconds, least=0)
    minibatches.check_task("data", data)
    fresh = not isinstance(data, Batch)
    minibatches.check_batch_size(settings.batch_size, settings.updates_per_epoch, fresh)
    batch = (
        data if isinstance(data, Batch) else minibatches.make(data, minibatches.fresh_seed(settings.seed, 0))
    )
    judged = _validation(validation, settings.seed)
    stack = _model(model, batch, settings.seed)
    feed = _feed(data, batch, stack, settings)
    watched = None if judged is None else _judging(judged, stack, settings.at)
    facts = {**model_facts(stack), **data_facts(batch, fresh, judged), **settings.facts()}
    encode_json(facts, "config")  # what cannot be written is told now, not after the first minute
    file = Checkpoint(checkpoint, facts, settings.epochs, every)
    state = State(
        stack.flat(),
        settings.optimizer.slots(stack.count(), stack.dtype),
        len(stack.heads),
        kept_gates(stack),
    )
    resumed = _restore(state, file, settings, feed)
    if resumed and (state.ended or state.epoch == settings.epochs):
        status, message = outcome(state, settings, validated=judged is not None)
    else:
        status, message = _run(stack, feed, settings, state, file, watched, workers, resumed, progress)
    return _result(stack, state, settings, facts, status, message)


def _run(
    stack: Stack,
    feed: minibatches.Feed,
    settings: Settings,
    state: State,
    file: Checkpoint,
    watched: Data | None,
    threads: int,
    resumed: bool,
    progress: bool,
) -> tuple[Status, str]:
    pieces = []
    if watched is not None:
        pieces = minibatches.pieces(watched, max(feed.sequences, _VALIDATED_TOGETHER))
    engine = Engine(
        stack,
        steps=Slots(settings, feed).window,
        sequences=feed.sequences,
        threads=threads,
        dropout=settings.dropout,
        weight_noise=settings.weight_noise,
        seed=settings.seed,
    )
    np.copyto(engine.theta, state.theta)
    state.theta = engine.theta
    probe = None
    if settings.probe_every is not None:
        probe = probe_on(feed.example if watched is None else watched, threads)
    with closing(engine), _bar(progress, settings, feed, state) as bar:
        trainer = Trainer(engine, feed, settings, state, file, validation=pieces, probe=probe, bar=bar)
        return trainer.run(resumed=resumed)


def _model(given: Any, batch: Batch, seed: int) -> Stack:
    """A model with a read-out for the batch's heads."""
    if isinstance(given, Params):
        check_params(given)
        weight, bias = init_readout(given.hidden_size, batch.heads, seed=seed, dtype=given.dtype.name)
        return Stack(layers=(given,), readout_weight=weight, readout_bias=bias, heads=batch.heads)
    if not isinstance(given, Stack):
        raise DtypeError(
            f"model is a {type(given).__name__}; give gatescope.Params, made with init, or a Stack, "
            "made with init_stack"
        )
    for layer in given.layers:
        check_params(layer)
    for name in ("readout_weight", "readout_bias"):
        check_finite(name, getattr(given, name))
    return given


def _validation(given: Any, seed: int) -> Batch | None:
    if given is None:
        return None
    minibatches.check_task("validation", given)
    return given if isinstance(given, Batch) else minibatches.make(given, minibatches.validation_seed(seed))


def _judging(batch: Batch, stack: Stack, at: str | None) -> Data:
    """The validation's data; errors say that it is the validation's."""
    try:
        return as_data(batch, stack, at)
    except GatescopeError as error:
        raise type(error)(f"validation: {error}") from error


def _feed(data: Any, batch: Batch, stack: Stack, settings: Settings) -> minibatches.Feed:
    if isinstance(data, Batch):
        return minibatches.FixedFeed(as_data(batch, stack, settings.at), settings.batch_size, settings.seed)
    return minibatches.FreshFeed(data, batch, stack, settings.at, settings.updates_per_epoch, settings.seed)


def _restore(state: State, file: Checkpoint, settings: Settings, feed: minibatches.Feed) -> bool:
    """Go on from the checkpoint; whether there is one."""
    found = file.read()
    if found is None:
        return False
    with file.restoring():
        state.restore(found)
        factors = found.get("factors", np.zeros((2, 0)))
        if factors.ndim != 2 or len(factors) != 2 or not np.isfinite(factors).all():
            raise ValueError(f"factors of the schedule {factors.shape}")
    begun = state.epoch + (state.batch > 0 or state.begin > 0)
    if begun > settings.epochs:
        raise ValueRangeError(
            f"epochs={settings.epochs} is less than what {file.named()} has come to, epoch {begun}; give at least "
            "that, or the name of another file"
        )
    there, slots = file.epochs, Slots(settings, feed)
    other = None if there is None else slots.changed(factors, there)
    if other is not None:
        raise ValueRangeError(
            f"{file.named()} is the state of a call of train with another schedule: the factor of update {other[0]} "
            f"was {other[1]!r} there, and is {other[2]!r} here; give the same function to go on, or the name of "
            "another file to begin anew"
        )
    if there is not None and there != settings.epochs and not slots.same_rates(state, there):
        raise ValueRangeError(
            f"epochs={settings.epochs}, but {file.named()} is of a call with epochs={there}, and with this schedule "
            "the learning rates until now depend on that; give the same, or the name of another file"
        )
    return True


def _result(
    stack: Stack, state: State, settings: Settings, facts: dict[str, Any], status: Status, message: str
) -> TrainingRun:
    # The last snapshot is no part of the state: a call with more epochs goes on as if there had been no end here.
    ended = status in (Status.FINISHED, Status.EARLY_STOPPED)
    epochs, snapshots = state.rows["snapshot_epoch"].array(), state.rows["snapshots"].array()
    if ended and settings.snapshot_every and state.epoch not in epochs:
        epochs = np.append(epochs, state.epoch)
        snapshots = np.concatenate([snapshots, state.theta[None]])
    return TrainingRun(
        model=stack.with_flat(state.theta),
        best=stack.with_flat(state.best),
        best_epoch=state.best_epoch,
        history=state.history(),
        status=status,
        message=message,
        config={**facts, "epochs": settings.epochs},
        seed=settings.seed,
        snapshot_epoch=epochs,
        snapshots=snapshots,
        provenance=provenance(device="cpu", dtype=stack.dtype.name, seed=settings.seed),
    )


@contextmanager
def _bar(progress: bool, settings: Settings, feed: minibatches.Feed, state: State) -> Iterator[Any]:
    if not progress:
        yield None
        return
    from tqdm.auto import tqdm

    total = settings.epochs * feed.batches
    done = state.epoch * feed.batches + state.batch
    with tqdm(total=total, initial=done, desc="train", unit="batch", disable=None) as bar:
        yield bar
