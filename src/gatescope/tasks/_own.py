"""A user's own sequences, from arrays in an npz file."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatescope.checks.batch import check_task
from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, Batch, Head
from gatescope.datatypes.batch import best_constant, check_loss
from gatescope.errors import DtypeError, FileFormatError, ShapeError, ValueRangeError, warn_input
from gatescope.reporting.text import counted
from gatescope.storage.atomic import as_path, open_file
from gatescope.storage.npz import read_npz
from gatescope.tasks._splits import BEST_CONSTANT, HELD_BACK_OR_ALL, check_part, fractions_of, part
from gatescope.tasks._task import task

_NEEDED, _OPTIONAL = ("inputs", "targets"), ("mask", "lengths")
_MOST_CLASSES = 2**16  # that are counted from the data: a year or a price among the classes is a mistake
_ORDER_SEED = 0


@task(**HELD_BACK_OR_ALL, loss=check_loss, classes=None)
def own(
    path: str | os.PathLike[str],
    *,
    loss: str = "mse",
    classes: int | None = None,
    split: str = "all",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    batch_first: bool = False,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Read sequences of your own from a file that ``numpy.savez`` wrote; time is the first axis, or the second.

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
    anything, NaN too; they become 0.  With `batch_first` the file has (B, T, I), (B, T, C) or (B, T), and two axes
    (B, C) are one a sequence unless C = T.

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
    valid_fraction, test_fraction : float, optional
        Fractions of the sequences that are held back, at least 0 and together less than 1.  Default: 0.1 each.
    batch_first : bool
        The file has (B, T, I); the batch is (T, B, I) all the same.
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
        If an array does not hold numbers.
    ValueRangeError
        If a number that counts is NaN, infinite or nothing that the loss knows, no target counts, a length is not in
        1..T, or nothing is in the split; or if classes are 1..K, as MATLAB and R count, and `classes` is not given.

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
    fractions = fractions_of(split, valid_fraction, test_fraction)
    if classes is not None:
        classes = check_count("classes", classes, least=2)
        if loss != "cross_entropy":
            raise ValueRangeError(
                f"goes with the cross-entropy, not with {loss}",
                argument="classes",
                seen=classes,
                advice="leave it out",
            )
    arrays = _read(path)
    if batch_first:
        arrays = _time_major(arrays)
    inputs, targets, mask, lengths = _checked(arrays, np.dtype(dtype), loss, classes or _MOST_CLASSES, path)
    if loss == "cross_entropy" and classes is None:
        _refuse_classes_from_one(targets[mask if targets.ndim == 3 else mask.any(axis=0)], path)
    if loss == "cross_entropy":
        head = Head("class", classes or max(int(targets.max()) + 1, 2), loss)
    else:
        head = Head("y", targets.shape[-1], loss)
    chosen = _chosen(len(lengths), split, **fractions)
    inputs, targets = inputs[:, chosen], targets[..., chosen, :]
    mask, lengths = mask[:, chosen], lengths[chosen]
    if not mask.any():
        raise ValueRangeError(
            f"has no target of {str(path)!r} that counts",
            argument="split",
            seen=split,
            advice="hold back another fraction",
        )
    steps, count = arrays["inputs"].shape[:2]
    known = batch_first or targets.ndim == 2 or "lengths" in arrays  # which axis is which
    if steps < count and not known:
        warn_input(
            f"{str(path)!r}: inputs (T, B, I) have T = {counted(steps, 'step')} of B = {counted(count, 'sequence')}; "
            "if they are (B, T, I), give `batch_first`, and if not, an array of lengths says so"
        )
    with open_file(path) as (stream, _):
        digest = hashlib.sha256(stream.read()).hexdigest()
    return Batch(
        inputs=np.ascontiguousarray(inputs),
        targets=np.ascontiguousarray(targets),
        mask=np.ascontiguousarray(mask),
        lengths=lengths,
        heads=(head,),
        baseline=best_constant(targets[mask if targets.ndim == 3 else mask.any(axis=0)], loss),
        baseline_of=BEST_CONSTANT,
        provenance={
            "file": as_path(path).name,
            "sha256": digest,
            "classes": head.size if loss == "cross_entropy" else None,
            "sequences": chosen.tolist(),
            **{f"{name}_fraction": fraction for name, fraction in fractions.items()},
        },
    )


def _read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the arrays, all of which have a meaning: one that is misspelt would be left out unseen."""
    arrays = read_npz(path)
    for name in _NEEDED:
        if name not in arrays:
            raise FileFormatError(
                f"has no array {name!r}, but {', '.join(map(repr, list(arrays)[:12]))}",
                seen=path,
                advice="write numpy.savez(file, inputs=..., targets=...)",
            )
    for name in arrays:
        if name not in (*_NEEDED, *_OPTIONAL):
            raise FileFormatError(
                f"holds {name!r}, which is none of {', '.join((*_NEEDED, *_OPTIONAL))}",
                seen=path,
                advice="rename it or leave it out",
            )
    return arrays


def _time_major(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return arrays of (B, T, ...) as (T, B, ...); those of another shape are left to the checks."""
    inputs, targets = arrays["inputs"], arrays["targets"]
    turned = {"inputs": inputs.swapaxes(0, 1)} if inputs.ndim == 3 else {}
    if targets.ndim == 3 or targets.shape == inputs.shape[:2]:
        turned["targets"] = targets.swapaxes(0, 1)
    if "mask" in arrays and arrays["mask"].ndim == 2:
        turned["mask"] = arrays["mask"].T
    return {**arrays, **turned}


def _checked(
    arrays: dict[str, Array], dtype: np.dtype[Any], loss: str, classes: int, path: str | os.PathLike[str]
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """Return inputs, targets (0 where they do not count), mask and lengths; errors name the file, too."""
    inputs, targets = arrays["inputs"], arrays["targets"]
    if targets.shape in (inputs.shape[:2], inputs.shape[1:2]):
        targets = targets[..., None]
    columns = targets.shape[-1] if targets.ndim > 1 else 1
    head = Head("class", classes, loss) if loss == "cross_entropy" else Head("y", max(columns, 1), loss)
    optional: dict[str, Any] = {name: arrays[name] for name in _OPTIONAL if name in arrays}
    try:
        whole = Batch(inputs=inputs, targets=targets, **optional, heads=(head,))
        inputs, targets, mask, lengths = check_task(whole, dtype, whole.heads)
        if (lengths < 1).any():
            raise ValueRangeError("has a sequence of no steps", argument="lengths", advice="leave it out")
    except (DtypeError, ShapeError, ValueRangeError) as error:
        # About an array of the file, which is no argument of this function.
        raise error.restated(f"{str(path)!r}: {error.text()}") from None
    targets = np.where(mask[..., None], targets, 0).astype(dtype)
    if whole.targets.ndim == 2:  # one a sequence
        targets = targets[lengths - 1, np.arange(len(lengths))]
    return inputs, targets, mask, lengths


def _refuse_classes_from_one(targets: Array, path: str | os.PathLike[str]) -> None:
    """Ask about classes 1..K, all of which occur: a class 0 that never occurs is more often a mistake than meant."""
    classes = np.unique(targets)
    if classes[0] == 1 and classes.size == classes[-1]:
        count = classes.size
        raise ValueRangeError(
            f"{str(path)!r}: targets are 1 to {count}, but classes begin at 0",
            advice=f"store targets - 1, or give `classes`={count + 1} if a class 0 is meant that never occurs",
        )


def _chosen(count: int, split: str, valid: float, test: float) -> NDArray[np.int64]:
    """Return which sequences the split has, in the file's order."""
    begin, end = part(count, split, valid, test)
    check_part(split, end - begin, count, "sequences", valid=valid, test=test)
    order = np.random.default_rng(_ORDER_SEED).permutation(count)
    return np.sort(order[begin:end]).astype(np.int64)
