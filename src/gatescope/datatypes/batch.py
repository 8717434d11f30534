"""Data of a task, and the heads that say how a read-out is judged by it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError

LOSSES = ("mse", "cross_entropy", "bernoulli")


class Head(NamedTuple):
    """A part of the read-out that has a loss of its own.

    ================= ============================================================= =====================
    loss              what it is, averaged over the steps that count                target columns
    ================= ============================================================= =====================
    ``mse``           mean over the head's outputs of (y - target)^2                `size`, real numbers
    ``cross_entropy`` -ln softmax(y)[class], in nats                                1, the class 0..size-1
    ``bernoulli``     sum over the head's outputs of -ln p(target), p = sigmoid(y),  `size`, 0 or 1
                      in nats
    ================= ============================================================= =====================

    Attributes
    ----------
    name : str
    size : int
        How many outputs of the read-out are its.
    loss : str
    weight : float
        The loss that is trained on is the sum of the heads' losses times their weights.

    Examples
    --------
    A read-out of four outputs that is judged in two ways, by two columns of targets:

    >>> import gatescope as gs
    >>> heads = [gs.Head("next", 1), gs.Head("class", 3, "cross_entropy", weight=0.5)]
    >>> [head.columns for head in heads]
    [1, 1]
    >>> gs.init_stack("gru", input_size=2, hidden_size=8, heads=heads, seed=0).output_size
    4
    """

    name: str
    size: int
    loss: str = "mse"
    weight: float = 1.0

    @property
    def columns(self) -> int:
        """How many columns of the targets belong to it."""
        return 1 if self.loss == "cross_entropy" else self.size


@dataclass(frozen=True, kw_only=True, repr=False)
class Batch(Result):
    """Data of a task, time-major.

    Attributes
    ----------
    inputs : (T, B, I)
    targets : (T, B, C) or (B, C)
        C target columns, the heads' one after another; classes are whole numbers.  (B, C): one target a sequence,
        at its last step; where B = T and C = B, only if the heads have C columns.
    mask : (T, B) bool
        Where the targets count; default: everywhere.
    lengths : (B,) int64
        Default: T.
    name : str
    heads : tuple of Head
        What a read-out should give and how it is judged; empty: C outputs, mean squared error.
    baseline : float
        The loss (sum over heads) of an answer that learns nothing from the past, such as the best constant; NaN if none
        is stated.
    baseline_of : str
        Whose loss that is, in words.

    Raises
    ------
    DtypeError
        If an array is none, but a list, for instance.
    ShapeError
        If `inputs` or `targets` has another number of axes, or T = B and nothing tells whether `targets` are (T, B)
        without their last axis or (B, C).
    ValueRangeError
        If `heads` is not a sequence of heads, or one has no output.
    UnknownNameError
        If there is no such loss.

    Examples
    --------
    Classes of 40 sequences, each told at its last step:

    >>> import numpy as np, gatescope as gs
    >>> rng = np.random.default_rng(0)
    >>> series, classes = rng.standard_normal((100, 40, 2)), rng.integers(0, 3, (40, 1))
    >>> batch = gs.Batch(inputs=series, targets=classes, heads=[gs.Head("class", 3, "cross_entropy")])
    >>> gs.train(gs.init("gru", input_size=2, hidden_size=8, seed=0), batch, epochs=2).message
    'finished: 2 epochs, 2 updates'
    """

    inputs: Array
    targets: Array
    mask: Array = None  # type: ignore[assignment]  # never None once it is made
    lengths: Array = None  # type: ignore[assignment]
    name: str = ""
    heads: tuple[Head, ...] = ()
    baseline: float = float("nan")
    baseline_of: str = ""

    def __post_init__(self) -> None:
        given: dict[str, Any] = {"mask": self.mask, "lengths": self.lengths}
        there = {name: value for name, value in given.items() if value is not None}
        _check_arrays({"inputs": self.inputs, "targets": self.targets, **there})
        steps, sequences = self.inputs.shape[:2]
        heads = _heads(self.heads)
        _check_meaning(self.targets.shape, steps, sequences, heads)
        object.__setattr__(self, "heads", heads or (Head("y", int(self.targets.shape[-1])),))
        if given["mask"] is None:
            object.__setattr__(self, "mask", np.ones((steps, sequences), np.bool_))
        if given["lengths"] is None:
            object.__setattr__(self, "lengths", np.full(sequences, steps, np.int64))

    @property
    def input_size(self) -> int:
        """I, the number of inputs."""
        return int(self.inputs.shape[2])

    @property
    def output_size(self) -> int:
        """How many outputs a read-out needs."""
        return sum(head.size for head in self.heads)


def check_loss(name: str, loss: Any) -> str:
    """A loss that is known; the error has the one that was perhaps meant, of ``cross-entropy`` for instance."""
    if isinstance(loss, str) and loss in LOSSES:
        return loss
    near = difflib.get_close_matches(str(loss).lower(), LOSSES, n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    raise UnknownNameError(f"{name}={loss!r} is not known; choose one of {', '.join(LOSSES)}{meant}")


def if_batch_first(length: int, steps: int, count: int) -> str:
    """What to add to an error where something of one entry a sequence has as many entries as inputs have steps."""
    return " (inputs are time-major, (T, B, I): are these (B, T, I)?)" if length == steps != count else ""


def _heads(heads: Any) -> tuple[Head, ...]:
    """The heads as `Head`, with losses that are known and sizes that can be added up."""
    if isinstance(heads, str | Head) or not isinstance(heads, Sequence):
        raise ValueRangeError(f"heads={heads!r} must be a sequence such as [Head('y', 1)]")
    found: list[Head] = []
    for k, given in enumerate(heads):
        try:
            head = Head(*given)
        except TypeError:
            head = None
        size = None if head is None else head.size
        if head is None or not isinstance(size, int | np.integer) or isinstance(size, bool):
            raise ValueRangeError(f"heads[{k}] is {given!r}; give a Head, such as Head('y', 1, 'mse')")
        if size < 1:
            raise ValueRangeError(f"heads[{k}].size={size!r} must be at least 1")
        check_loss(f"heads[{k}].loss", head.loss)
        found.append(head)
    return tuple(found)


def _check_arrays(named: dict[str, Any]) -> None:
    """That the arrays are arrays, which is what a result holds and saves, with axes that can be told apart."""
    for name, value in named.items():
        if not isinstance(value, np.ndarray):
            raise DtypeError(f"{name} is a {type(value).__name__}; convert it with numpy.asarray")
    inputs, targets = named["inputs"], named["targets"]
    if inputs.ndim != 3:
        fits = "; one sequence of (T, I) is inputs[:, None, :]" if inputs.ndim == 2 else ""
        raise ShapeError(f"inputs has the shape {inputs.shape}; a Batch needs (T, B, I), steps first{fits}")
    if targets.ndim not in (2, 3):
        hint = if_batch_first(len(targets), *inputs.shape[:2]) if targets.ndim == 1 else ""
        raise ShapeError(
            f"targets has the shape {targets.shape}; give (T, B, C), or (B, C) for one target a sequence{hint}"
        )


def _check_meaning(shape: tuple[int, ...], steps: int, count: int, heads: tuple[Head, ...]) -> None:
    """That two axes of targets have one meaning: where T = B, only the heads can tell (B, C) from a forgotten C."""
    same = steps == count > 1  # of one step of one sequence both say the same
    if same and shape == (steps, count) and sum(head.columns for head in heads) != count:
        raise ShapeError(
            f"targets has the shape {shape}, and with T = B = {count} that may be a number at every step or {count} a "
            f"sequence; give (T, B, 1) = {(steps, count, 1)} for the one, and for the other (T, B, C) with a mask that "
            f"is True at the last steps, or heads of {count} columns"
        )
