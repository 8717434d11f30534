"""train(): check, put the parts together, resume from a checkpoint if there is one, return a result."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from gatescope.checks.arrays import check_finite
from gatescope.checks.network import check_directions, check_params, check_trainable
from gatescope.checks.numbers import check_flag, check_number, check_threads, check_type, check_unused
from gatescope.datatypes import Batch, Bidirectional, Params, Stack, Status, TrainingRun
from gatescope.datatypes.stack import directions
from gatescope.errors import GatescopeError
from gatescope.recurrence.clamping import clamp as clamped_by
from gatescope.recurrence.clamping import clamps_metadata, stack_clamps
from gatescope.recurrence.initialization import init_readout
from gatescope.storage.npz import encode_json
from gatescope.storage.provenance import provenance
from gatescope.storage.resumable import Resumable
from gatescope.training import minibatches, optimizers, schedules
from gatescope.training.arrays import Data, as_data, warn_of_answers_ahead
from gatescope.training.config import Config, data_metadata, model_metadata
from gatescope.training.dropout import Dropout, check_dropout
from gatescope.training.engine import Engine
from gatescope.training.evaluation import constant_loss
from gatescope.training.fixed import fixed_places
from gatescope.training.loop import Trainer, Windows, outcome
from gatescope.training.memory import check_snapshots, check_training
from gatescope.training.monitor import probe_on, saved_gates
from gatescope.training.resuming import resume
from gatescope.training.state import State

_SECONDS = 60.0  # between two writes of a checkpoint
_VALIDATED_TOGETHER = 256  # sequences: larger validation sets are evaluated in pieces


def train(
    model: Params | Bidirectional | Stack,
    data: Batch | Callable[..., Batch],
    *,
    optimizer: str | optimizers.Optimizer = "adam",
    lr: float = 1e-3,
    schedule: str | schedules.Schedule | None = None,
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
    clamp: Any = None,
    validation: Batch | Callable[..., Batch] | None = None,
    validate_every: int = 1,
    patience: int | None = None,
    target_loss: float | None = None,
    probe_every: int | None = None,
    snapshot_every: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> TrainingRun:
    """Train a model on data by back-propagation through time.

    An update goes from the weights w to ``w - lr_k * direction(clip(dL/dw))``: L is the sum of the heads' losses times
    their weights, each a mean over the steps that count; the direction is the optimizer's; and ``lr_k`` is `lr` times
    the schedule's factor.

    The result is the same, bit for bit, for any number of threads, from one run to the next, and whether or not the
    training was stopped and resumed.  Where an update is work enough, blocks of sequences are divided between the
    threads.  On a `Batch`, the loop allocates nothing from the second epoch on, except for what it records.  Subnormal
    numbers (in float32, those below 1.2e-38) count as 0 in its sweeps, as adjoints become that fade over many steps.

    Parameters
    ----------
    model : Params, Bidirectional or Stack
        The model to start from, which is not changed.  A layer gets a read-out for the data's heads, drawn from `seed`
        by PyTorch's scheme, whatever scheme it was drawn by: for another one make a `Stack`, with `init_stack`.  A
        `Stack` is judged by its own heads.  Float32 or float64; all is computed in that precision.

        Layers may go both ways, within the lengths of the sequences; their states and gates are stored for all steps.
        At the last step of a sequence the backward direction has seen that step alone: what it learns from the others
        shows where targets count earlier.  Where targets are the next inputs it reads them, which is warned of.
    data : Batch or callable
        Fixed data, of which an epoch is one pass; or ``data(seed=...) -> Batch``, which makes new data for every
        update, such as ``functools.partial(gs.tasks.adding, steps=100, sequences=50)``.
    optimizer : str or Optimizer
        ``"adam"``, ``"adamw"``, ``"rmsprop"``, ``"sgd"``, or an object such as ``gs.training.Adam(eps=1e-7)``.
    lr : float
        Learning rate, above 0.
    schedule : str or callable, optional
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
        Length of truncated BPTT: one update for every window of that many steps, which gradients do not leave.  Windows
        in which nothing counts make no update.  Default: full BPTT, however long the sequences are.  A model that goes
        backward, too, takes sequences whole: it has none.
    stateful : bool
        Whether a window starts from the state in which the one before ended; the first one of a sequence starts from
        zero, and without this all do.
    dropout : Dropout, optional
        Probabilities; drawn from `seed` and the update's number.
    weight_noise : float
        Standard deviation of Gaussian noise that is added to all weights anew for every update.
    clamp : mapping, optional
        Gates that keep a value all along, as for `gatescope.clamp`: ``{"f": 1.0}`` in every layer that has one,
        ``{"layers.1.f": 1.0}`` in one, or of some units.  Their weights stay those of the clamp, bit for bit, whatever
        the optimizer, its weight decay and the noise do, and `TrainingRun.count` leaves them out.
    validation : Batch or callable, optional
        What the model is judged on, without dropout and noise.  A callable makes it once, from a seed of its own.
    validate_every : int
        Epochs between two validations; goes with `validation`.
    patience : int, optional
        Stop early once the watched loss, which is that of the validation or else of the training, has had no new
        minimum for that many epochs.
    target_loss : float, optional
        Stop as soon as the watched loss is below it; the status is ``FINISHED`` then.  Without `validation` a
        loss is computed before its update: with one update an epoch, the weights that were judged are in
        `TrainingRun.best`, those after the update in `TrainingRun.model`.
    probe_every : int, optional
        Epochs between two measurements of decay rates and saturation (see `History`), from before the first update on:
        on the four longest sequences of the validation, or else of the training data, cut to the shortest of them
        (those shorter than half the longest are left out).  A rate needs some 15 steps.
    snapshot_every : int, optional
        Epochs between two copies of the weights, from before the first update on; the last weights are copied, too.
    checkpoint : path, optional
        A file for the state of the training, written every `checkpoint_seconds`, when it is interrupted with Ctrl-C,
        and at the end; whole or not at all, so that the process may be killed at any moment.  If it is there, the same
        call resumes from it, or returns at once what it holds if that is finished; with more `epochs` it trains on.
        Training that diverged leaves the file as it was before.
    checkpoint_seconds : float, optional
        Seconds between two writes of the `checkpoint`; 0: after every update.  Default: 60.
    seed : int
        Seed of everything that is drawn.
    threads : int, optional
        Maximum number of threads; default: the cores this process may use.
    progress : bool
        Show a progress bar on stderr, if it is a terminal.

    Returns
    -------
    TrainingRun
        Also when training was interrupted with Ctrl-C, or diverged (a loss, a gradient or weights are not finite): see
        its `status` and `message`.

    Raises
    ------
    ValueRangeError
        If an argument is out of range, or the checkpoint is one of another model, other data or other arguments; it is
        left as it is then.
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
    config = Config(
        optimizer=optimizers.by_name(optimizer),
        lr=lr,
        schedule=schedules.by_name(schedule),
        clip_norm=clip_norm,
        clip_tensor_norm=clip_tensor_norm,
        clip_value=clip_value,
        epochs=epochs,
        batch_size=batch_size,
        updates_per_epoch=updates_per_epoch,
        at=at,
        bptt_steps=bptt_steps,
        stateful=stateful,
        dropout=check_dropout(dropout),
        weight_noise=weight_noise,
        validate_every=validate_every,
        patience=patience,
        target_loss=target_loss,
        probe_every=probe_every,
        snapshot_every=snapshot_every,
        seed=seed,
    )
    config.check_validation(validated=validation is not None)
    workers, progress = check_threads(threads), check_flag("progress", progress)
    seconds = check_number(
        "checkpoint_seconds", _SECONDS if checkpoint_seconds is None else checkpoint_seconds, least=0
    )
    if checkpoint is None:
        check_unused("without `checkpoint`", checkpoint_seconds=checkpoint_seconds)
    fresh = minibatches.check_data("data", data)
    minibatches.check_batch_size(config.batch_size, config.updates_per_epoch, fresh=fresh)
    batch = minibatches.make(data, minibatches.made_seed(config.seed, minibatches.FRESH))
    judged = None
    if validation is not None:
        minibatches.check_data("validation", validation)
        judging = minibatches.made_seed(config.seed, minibatches.VALIDATION)
        judged = minibatches.make(validation, judging, "validation")
    drawn = _stack(model, batch, config.seed)
    config.check_windows(drawn)
    clamps = stack_clamps(drawn, clamp)
    stack = drawn if clamp is None else clamped_by(drawn, clamp)
    source: minibatches.BatchSource
    first, at, batches = as_data(batch, stack, at=config.at), config.at, config.updates_per_epoch
    warn_of_answers_ahead(first, stack)
    if isinstance(data, Batch):
        source = minibatches.FixedBatches(first, config.batch_size, config.seed)
    else:
        source = minibatches.FreshBatches(data, first, stack, at, batches, config.seed)
    watched = None if judged is None else _validation_data(judged, stack, config.at)
    clamped = clamps_metadata(drawn, clamps)
    metadata = {**model_metadata(drawn), **data_metadata(batch, fresh, judged), **config.metadata()}
    metadata["clamp"] = clamped or None
    encode_json(metadata, "config")  # what cannot be written is reported now, not after the first minute
    file = Resumable(checkpoint, "train", metadata, argument="checkpoint", every=seconds, keep=True).open()
    windows = Windows(config, source)
    dropped, noisy = config.dropout != Dropout(), config.weight_noise > 0
    vectors = len(config.optimizer.vectors)
    check_training(stack, windows.steps, source.sequences, vectors=vectors, dropout=dropped, noise=noisy)
    check_snapshots(stack, config.epochs, config.snapshot_every)
    optimizer_state = config.optimizer.state(stack.size, stack.dtype)
    state = State(stack.flat(), optimizer_state, len(stack.heads), saved_gates(stack))
    resumed = resume(state, file, config, windows)
    if resumed and (state.ended or state.epoch == config.epochs):
        status, message = outcome(state, config, validated=judged is not None)
    else:
        engine = Engine(
            stack,
            steps=windows.steps,
            sequences=source.sequences,
            threads=workers,
            dropout=config.dropout,
            weight_noise=config.weight_noise,
            seed=config.seed,
            clamp=clamp,
        )
        np.copyto(engine.theta, state.theta)
        state.theta = engine.theta
        most = max(source.sequences, _VALIDATED_TOGETHER)
        pieces = [] if watched is None else minibatches.pieces(watched, most)
        probe = None
        if config.probe_every is not None:
            probe = probe_on(source.example if watched is None else watched, workers)
        with closing(engine), _bar(progress, config, source, state) as bar:
            trainer = Trainer(
                engine, source, windows, config, state, file, validation=pieces, probe=probe, bar=bar
            )
            status, message = trainer.run(resumed=resumed)
    run = _result(stack, state, config, metadata, status, message)
    measure = batch if judged is None else judged
    baseline = None if math.isnan(measure.baseline) else float(measure.baseline)
    made_anew = judged is None and fresh
    constant = None if made_anew else constant_loss(measure, heads=stack.heads, at=config.at)
    return dataclasses.replace(
        run,
        baseline=baseline,
        baseline_of=measure.baseline_of,
        constant_loss=constant,
        clamp=clamped,
        trained=stack.size - fixed_places(stack, clamps).size,
        provenance={**run.provenance, **_inputs_like(batch), **({"clamp": clamped} if clamped else {})},
    )


def _inputs_like(batch: Batch) -> dict[str, Any]:
    """Return what makes such inputs of other data: the vocabulary of a text, the scale of a series."""
    task = batch.provenance
    of_text = {name: task[name] for name in ("vocabulary", "encoding") if name in task}
    scale = {name: task[name] for name in ("mean", "standard_deviation") if name in task}
    return of_text | ({"inputs_scale": scale} if task.get("standardize") is True else {})


def _stack(model: Any, batch: Batch, seed: int) -> Stack:
    """Return a model with a read-out for the batch's heads."""
    advice = "give Params, made with init, or a Stack, made with init_stack"
    check_type("model", model, Params, Bidirectional, Stack, advice=advice)
    if not isinstance(model, Stack):
        for params in directions(model).values():
            check_params(params)
        stack = Stack(layers=(model,))
        weight, bias = init_readout(stack.output_size, batch.heads, seed=seed, dtype=stack.dtype.name)
        return dataclasses.replace(stack, readout_weight=weight, readout_bias=bias, heads=batch.heads)
    check_directions(check_trainable(model, "model"))
    for name in ("readout_weight", "readout_bias"):
        check_finite(name, getattr(model, name))
    return model


def _validation_data(batch: Batch, stack: Stack, at: str | None) -> Data:
    """Return the validation's data; errors say that it is the validation's."""
    try:
        return as_data(batch, stack, at=at)
    except GatescopeError as error:
        argument = f"validation.{error.argument}" if error.argument else "validation"
        raise type(error)(error.problem, argument=argument, seen=error.seen, advice=error.advice) from error


def _result(
    stack: Stack, state: State, config: Config, metadata: dict[str, Any], status: Status, message: str
) -> TrainingRun:
    # The last snapshot is no part of the state: a call with more epochs resumes as if there had been no end here.
    ended = status in (Status.FINISHED, Status.EARLY_STOPPED)
    epochs, snapshots = state.rows["snapshot_epoch"].array(), state.rows["snapshots"].array()
    if ended and config.snapshot_every and state.epoch not in epochs:
        epochs = np.append(epochs, state.epoch)
        snapshots = np.concatenate([snapshots, state.theta[None]])
    return TrainingRun(
        model=stack.with_flat(state.theta),
        best=stack.with_flat(state.best),
        best_epoch=state.best_epoch,
        history=state.history(),
        status=status,
        message=message,
        config={**metadata, "epochs": config.epochs},
        seed=config.seed,
        snapshot_epoch=epochs,
        snapshots=snapshots,
        provenance=provenance(device="cpu", dtype=stack.dtype.name, seed=config.seed),
    )


@contextmanager
def _bar(progress: bool, config: Config, source: minibatches.BatchSource, state: State) -> Iterator[Any]:
    if not progress:
        yield None
        return
    from tqdm.auto import tqdm

    total, done = config.epochs * source.batches, state.epoch * source.batches + state.batch
    with tqdm(total=total, initial=done, desc="train", unit="batch", disable=None) as bar:
        yield bar
