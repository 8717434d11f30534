"""A user's own sequences, from arrays in an npz file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, Batch, Head
from gatescope.datatypes.batch import check_loss, if_batch_first
from gatescope.errors import DtypeError, FileFormatError, ShapeError, ValueRangeError
from gatescope.storage.atomic import open_file
from gatescope.storage.npz import read_npz
from gatescope.tasks._splits import BEST_CONSTANT, HELD_BACK, best_constant, check_part, part
from gatescope.tasks._task import task

_NEEDED, _OPTIONAL = ("inputs", "targets"), ("mask", "lengths")
_MOST_CLASSES = 2**16  # that are counted from the data: a year or a price among the classes is a mistake
_ORDER_SEED = 0


@task(**HELD_BACK, loss=check_loss, classes=None)
def own(
    path: str | os.PathLike[str],
    *,
    loss: str = "mse",
    classes: int | None = None,
    split: str = "all",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Sequences of your own, from a file that ``numpy.savez`` wrote; time is the first axis.

    ============  ==========================  ==================================================================
    array         shape                       what it is
    ============  ==========================  ==================================================================
    ``inputs``    (T, B, I)                   real numbers, finite; past a sequence's end, zeros for instance
    ``targets``   (T, B, C) or (T, B)         at every step; (T, B) is C = 1, or classes
    ..            (B, C) or (B,)              or one a sequence, for its last step
    ``mask``      (T, B) bool, optional       where targets count; default: everywhere
    ``lengths``   (B,) whole, optional        steps of each sequence, 1..T; default: T
    ============  ==========================  ==================================================================

    Where the two readings of two axes meet, B = T, targets are taken for (T, B).  Targets that do not count may be
    anything, NaN too; they become 0.

    Whole sequences are held back, drawn in an order that depends on their number alone: a file sorted by class is
    mixed, and the splits are the same at every call.

    The baseline is the loss of the best constant for the targets of the split that count: their variance (mean squared
    error), or the entropy of the classes, or that of the C yes-or-no answers, in nats.

    Parameters
    ----------
    path : str or path-like
        An ``.npz``; nothing is unpickled.
    loss : {"mse", "cross_entropy", "bernoulli"}
        What targets are: real numbers; classes 0, 1, 2...; or 0 and 1, each by itself.
    classes : int, optional
        How many, for the cross-entropy.  Default: the largest class in the file, plus 1.
    split : {"all", "train", "valid", "test"}
    valid_fraction, test_fraction : float
        Shares of the sequences that are held back, at least 0 and together less than 1.
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        With one head: ``y`` of C outputs, or ``class`` of as many as there are classes.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, no ``.npz``, or holds pickled objects; if an array is missing, or has a name
        that is none of these.
    ShapeError
        If an array has another shape; the message says which one fits.
    DtypeError
        If an array does not hold numbers, or `dtype` is neither float32 nor float64.
    ValueRangeError
        If a number that counts is NaN, infinite or nothing that the loss knows, no target counts, a length is not in
        1..T, or nothing is in the split.
    UnknownNameError
        If there is no such loss or split.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, gatescope as gs
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "steps.npz"
    >>> walks = np.random.default_rng(0).standard_normal((50, 20, 1))
    >>> np.savez(path, inputs=walks, targets=walks.sum(axis=0)[:, 0] > 0)  # where does each of 20 end?
    >>> batch = gs.tasks.own(path, loss="cross_entropy", split="train")
    >>> batch.inputs.shape, batch.targets.shape, batch.heads
    ((50, 16, 1), (16, 1), (Head(name='class', size=2, loss='cross_entropy', weight=1.0),))
    """
    if classes is not None and loss != "cross_entropy":
        raise ValueRangeError(
            f"goes with the cross-entropy, not with {loss}",
            argument="classes",
            seen=classes,
            advice="leave it out",
        )
    name = str(path)
    found = _read(path)
    inputs = _inputs(found["inputs"], dtype, name)
    steps, count = inputs.shape[:2]
    lengths = _lengths(found.get("lengths"), steps, count, name)
    given = _targets(found["targets"], inputs.shape, loss, name)
    counts = _counts(found.get("mask"), given, lengths, steps, name)
    targets = _known(given, counts, loss, dtype, name, axes=found["targets"].ndim)
    head = Head("y", targets.shape[-1], loss)
    if loss == "cross_entropy":
        head = Head("class", _class_count(given, counts, classes, name), loss)
    chosen = _chosen(count, split, valid_fraction, test_fraction)
    inputs, targets, lengths = inputs[:, chosen], targets[..., chosen, :], lengths[chosen]
    counts = counts[..., chosen]
    if not counts.any():
        raise ValueRangeError(f"no target of the split {split!r} of {name!r} counts; hold back another share")
    mask = counts if counts.ndim == 2 else counts & (np.arange(steps)[:, None] == lengths - 1)
    with open_file(path) as (stream, _):
        digest = hashlib.sha256(stream.read()).hexdigest()
    return Batch(
        inputs=np.ascontiguousarray(inputs),
        targets=np.ascontiguousarray(targets),
        mask=np.ascontiguousarray(mask),
        lengths=lengths,
        heads=(head,),
        baseline=best_constant(targets[counts], loss),
        baseline_of=BEST_CONSTANT,
        provenance={
            "file": Path(path).name,
            "sha256": digest,
            "classes": head.size if loss == "cross_entropy" else None,
            "sequences": chosen.tolist(),
        },
    )


def _read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays, all of which have a meaning: one that is misspelt would be left out unseen."""
    found, name = read_npz(path), str(path)
    for array in _NEEDED:
        if array not in found:
            there = ", ".join(map(repr, list(found)[:12]))
            raise FileFormatError(
                f"{name!r} has no array {array!r}, but {there}; write numpy.savez(file, inputs=..., targets=...)"
            )
    for array, values in found.items():
        if array not in (*_NEEDED, *_OPTIONAL):
            raise FileFormatError(
                f"{name!r} holds {array!r}, which is none of {', '.join((*_NEEDED, *_OPTIONAL))}; rename it or leave "
                "it out"
            )
        if values.dtype.kind not in "biuf":
            raise DtypeError(f"{array} of {name!r} has dtype {values.dtype}; give real numbers")
    return found


def _inputs(values: Array, dtype: np.dtype[Any], name: str) -> Array:
    if values.ndim != 3 or 0 in values.shape:
        fits = "; one sequence of (T, I) is inputs[:, None, :]" if values.ndim == 2 else ""
        raise ShapeError(
            f"inputs of {name!r} has the shape {values.shape}; give (T, B, I), steps first, none of them 0{fits}"
        )
    return _finite(values, np.ones(values.shape, np.bool_), "inputs", dtype, name)


def _lengths(values: Array | None, steps: int, count: int, name: str) -> NDArray[np.int64]:
    if values is None:
        return np.full(count, steps, np.int64)
    if values.shape != (count,):
        hint = if_batch_first(len(values), steps, count) if values.ndim == 1 else ""
        raise ShapeError(
            f"lengths of {name!r} has the shape {values.shape}; with these inputs give (B,) = {(count,)}{hint}"
        )
    bad = np.flatnonzero(~((values >= 1) & (values <= steps) & (values == np.floor(values))))
    if bad.size or values.dtype.kind == "b":
        at = int(bad[0]) if bad.size else 0
        raise ValueRangeError(
            f"lengths[{at}] of {name!r} is {values[at]}; give whole numbers from 1 to T = {steps}"
        )
    return values.astype(np.int64)


def _targets(values: Array, shape: tuple[int, ...], loss: str, name: str) -> Array:
    """(T, B, C), or (B, C) of one a sequence."""
    steps, count = shape[:2]
    if values.shape in ((steps, count), (count,)):
        values = values[..., None]
    fits = values.shape[:-1] in ((steps, count), (count,)) and values.shape[-1] > 0
    if not fits or (loss == "cross_entropy" and values.shape[-1] != 1):
        one_each = values.ndim == 1 or values.shape[1:] == (1,)
        hint = if_batch_first(len(values), steps, count) if one_each else ""
        every, one = f"(T, B) = {(steps, count)}", f"(B,) = {(count,)}"
        if loss == "cross_entropy":
            raise ShapeError(
                f"targets of {name!r} has the shape {values.shape}; with these inputs give classes, {every}, or {one} "
                f"for one a sequence{hint}"
            )
        raise ShapeError(
            f"targets of {name!r} has the shape {values.shape}; with these inputs give {every} or (T, B, C), or for "
            f"one a sequence {one} or (B, C){hint}"
        )
    return values


def _counts(
    mask: Array | None, targets: Array, lengths: NDArray[np.int64], steps: int, name: str
) -> NDArray[np.bool_]:
    """Which targets count: (T, B), or (B,) where there is one a sequence."""
    count = len(lengths)
    given = np.ones((steps, count), np.bool_) if mask is None else mask
    if given.shape != (steps, count):
        raise ShapeError(
            f"mask of {name!r} has the shape {given.shape}; with these inputs give (T, B) = {(steps, count)}"
        )
    if not ((given == 0) | (given == 1)).all():
        raise ValueRangeError(f"mask of {name!r} holds other values than True and False, 0 and 1")
    counts: NDArray[np.bool_] = given.astype(np.bool_)
    if targets.ndim == 2:
        counts = counts[lengths - 1, np.arange(count)]
    else:
        counts = counts & (np.arange(steps)[:, None] < lengths)
    if not counts.any():
        raise ValueRangeError(
            f"mask of {name!r} is False at every step that could count (none past a sequence's length does, and of one "
            "target a sequence only its last step), so there is nothing to learn; let some targets count"
        )
    return counts


def _known(targets: Array, counts: Array, loss: str, dtype: np.dtype[Any], name: str, *, axes: int) -> Array:
    """The targets in `dtype`, 0 where they do not count; an error if one that counts is nothing the loss knows.

    In the file they have so many axes.
    """
    everywhere = np.broadcast_to(counts[..., None], targets.shape)
    found = _finite(targets, everywhere, "targets", dtype, name, axes=axes)
    wrong, needed = np.zeros(targets.shape, np.bool_), ""
    if loss == "cross_entropy":
        wrong, needed = (targets < 0) | (targets != np.floor(targets)), "whole numbers 0, 1, 2... for classes"
    elif loss == "bernoulli":
        wrong, needed = (targets != 0) & (targets != 1), "0 or 1 for a Bernoulli loss"
    bad = np.argwhere(wrong & everywhere)
    if len(bad):
        at = tuple(int(k) for k in bad[0])
        raise ValueRangeError(
            f"targets{list(at[:axes])} of {name!r} is {targets[at]:g}; give {needed}, or another loss"
        )
    return found


def _finite(
    values: Array, counts: Array, what: str, dtype: np.dtype[Any], name: str, *, axes: int = 3
) -> Array:
    """The values in `dtype`, 0 where they do not count; an error if one that counts is NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported below
        found = np.where(counts, values, 0).astype(dtype)
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        at = tuple(int(k) for k in bad[0])
        advice = "remove or fill it" if not np.isfinite(values[at]) else f"too large for {dtype}; scale it"
        raise ValueRangeError(
            f"{what}{list(at[:axes])} of {name!r} is {values[at]}; {advice} (there are {len(bad)} of them)"
        )
    return found


def _class_count(targets: Array, counts: Array, classes: int | None, name: str) -> int:
    largest = int(targets[counts].max())
    if classes is None:
        if largest >= _MOST_CLASSES:
            raise ValueRangeError(
                f"targets of {name!r} hold the class {largest}, which would make {largest + 1} classes; number them "
                "0, 1, 2..."
            )
        return max(largest + 1, 2)
    number = check_count("classes", classes, least=2)
    if largest >= number:
        raise ValueRangeError(
            f"is too few: targets of {name!r} hold the class {largest}",
            argument="classes",
            seen=number,
            advice=f"give at least {largest + 1}",
        )
    return number


def _chosen(count: int, split: str, valid: float, test: float) -> NDArray[np.int64]:
    """Return which sequences the split has, in the file's order."""
    begin, end = part(count, split, valid, test)
    check_part(split, end - begin, count, "sequences", valid=valid, test=test)
    order = np.random.default_rng(_ORDER_SEED).permutation(count)
    return np.sort(order[begin:end]).astype(np.int64)
