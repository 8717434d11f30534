"""One run of a study: a model is made and trained as a spec says, and tested."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gatescope.datatypes import Array, Batch, SeedRun, Stack, Status, TrainingRun
from gatescope.errors import ValueRangeError
from gatescope.experiments.seeds.code import code_fingerprint
from gatescope.experiments.seeds.data import run_data
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.recurrence.clamping import clamp as clamped_by
from gatescope.recurrence.initialization import init_stack
from gatescope.reporting.text import counted
from gatescope.storage.provenance import provenance
from gatescope.tasks._counting import counting_accepted, counting_of
from gatescope.training.dropout import Dropout
from gatescope.training.evaluation import evaluate, predict
from gatescope.training.minibatches import FRESH, made_seed
from gatescope.training.train import train

COUNTED = 1000  # the largest n that is tried
_PIECE = 50  # of which so many at a time


def make_run(spec: RunSpec, *, threads: int | None = 1, progress: bool = False) -> SeedRun:
    """Train a model as a spec says and test it; nothing is stored.

    Parameters
    ----------
    spec : RunSpec
    threads : int, optional
        Runs of seconds gain nothing from a second one; several runs side by side do.  The result is the same.
    progress : bool
        Show a progress bar on stderr, if it is a terminal.

    Returns
    -------
    SeedRun
        Also where the training diverged.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    MissingPackageError
        If the task needs a package that is not installed.
    ValueRangeError
        If the budget does not last for a pass over a training set that stays the same.
    """
    data = run_data(spec)
    model = initial_model(spec, data.validation)
    sizes, batches = _epochs(spec, data.train)
    clamps = dict(spec.clamp) or None
    run = train(
        model,
        data.train,
        optimizer=spec.optimizer,
        lr=spec.lr,
        schedule=spec.schedule,
        clip_norm=spec.clip_norm,
        clamp=clamps,
        bptt_steps=spec.window,
        stateful=spec.stateful,
        batch_size=spec.batch_size,
        weight_noise=spec.weight_noise,
        dropout=Dropout(**spec.dropout) if spec.dropout else None,
        validation=data.validation,
        target_loss=spec.target_loss,
        seed=spec.seed,
        threads=threads,
        progress=progress,
        **sizes,
    )
    if run.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    reached = _reached(spec, run)
    test = evaluate(run.best, data.test, threads=threads)
    last = evaluate(run.model, data.test, threads=threads).loss
    fitted = np.nan
    if isinstance(data.train, Batch):
        fitted = evaluate(run.model, data.train, threads=threads).loss
    first = data.train if isinstance(data.train, Batch) else data.train(seed=made_seed(spec.seed, FRESH))
    began = evaluate(model if clamps is None else clamped_by(model, clamps), first, threads=threads).loss
    history = run.history
    return SeedRun(
        spec=spec.plain(),
        code=code_fingerprint(spec.cell, spec.task),
        status=run.status,
        reached=reached,
        updates=len(history.epoch) * batches if reached else spec.updates,
        validation_update=history.validation_epoch * batches,
        validation_loss=history.validation_loss,
        training_loss=_between(history.loss, history.validation_epoch),
        first_training_loss=began,
        test_loss=test.loss,
        test_accuracy=test.accuracy,
        test_answers=_answers(data.test),
        final_test_loss=last,
        final_train_loss=float(fitted),
        model=run.best,
        counted_to=counted_to(run.best, spec, threads) if spec.task == "counting" else None,
        seconds=float(history.seconds.sum()),
        provenance=provenance(device="cpu", dtype=spec.dtype, seed=spec.seed),
    )


def initial_model(spec: RunSpec, data: Batch) -> Stack:
    """Draw the model that a run starts from, its biases shifted; `train` clamps its gates."""
    stack = init_stack(
        (spec.cell,) * spec.layers,
        hidden_size=spec.hidden_size,
        heads=data,
        seed=spec.seed,
        scheme=spec.scheme,
        dtype=spec.dtype,
    )
    return dataclasses.replace(stack, layers=tuple(_shifted(layer, spec) for layer in stack.layers))


def counted_to(model: Stack, spec: RunSpec, threads: int | None = 1) -> int:
    """Return the largest n up to 1,000 such that a model follows the strings of this and of all smaller n."""
    for begin in range(1, COUNTED + 1, _PIECE):
        numbers = np.arange(begin, min(begin + _PIECE, COUNTED + 1))
        batch = counting_of(numbers, letters=spec.arguments["letters"], dtype=spec.dtype)
        accepted = counting_accepted(
            predict(model, batch.inputs, lengths=batch.lengths, threads=threads), batch
        )
        if not accepted.all():
            return begin + int(np.argmin(accepted)) - 1
    return COUNTED


def _shifted(layer: Any, spec: RunSpec) -> Any:
    bias = layer.bias_ih.copy()
    for gate, shift in spec.biases.items():
        row = layer.gate_names.index(gate) * layer.hidden_size
        bias[row : row + layer.hidden_size] += bias.dtype.type(shift)
    return dataclasses.replace(layer, bias_ih=bias)


def _epochs(spec: RunSpec, data: Any) -> tuple[dict[str, Any], int]:
    """Return how `train` is told of the budget, in epochs, and how many minibatches one is.

    Of new data an epoch ends with a validation; of a set that stays the same it is a pass.  Passes are whole, so as
    many as the budget lasts for, up to the last that is validated.
    """
    if not isinstance(data, Batch):
        every = spec.validate_every
        return {"epochs": spec.updates // every, "updates_per_epoch": every}, every
    sequences = data.mask.shape[1]
    batches = -(-sequences // min(spec.batch_size or sequences, sequences))
    passes = spec.updates // batches
    if not passes:
        problem = f"are fewer than a pass over the training set of {counted(sequences, 'sequence')} takes, {batches}"
        advice = "give more updates, or a larger `batch_size`"
        raise ValueRangeError(problem, argument="updates", seen=spec.updates, advice=advice)
    every = min(passes, max(1, spec.validate_every // batches))
    return {"epochs": passes // every * every, "validate_every": every}, batches


def _between(loss: Array, ends: Array) -> Array:
    """Return the mean loss of the epochs since the validation before, of every validation."""
    parts = zip([0, *ends.tolist()], ends.tolist(), strict=False)
    return np.array([loss[begin:end].mean() for begin, end in parts], np.float64)


def _reached(spec: RunSpec, run: TrainingRun) -> bool:
    losses = run.history.validation_loss
    return spec.target_loss is not None and losses.size > 0 and bool(losses[-1] < spec.target_loss)


def _answers(batch: Batch) -> int:
    """Return how many answers an accuracy on these data is of."""
    columns = {"cross_entropy": 1, "mse": 0}
    return int(batch.mask.sum()) * sum(columns.get(head.loss, head.size) for head in batch.heads)
