"""Data of a task, and the heads that say how a read-out is judged by it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gatescope.checks.arrays import Array, check_saved, check_shape, real_array
from gatescope.checks.numbers import check_count, check_number, check_text, is_nan, is_several, set_checked
from gatescope.datatypes.result import Result
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError, shown, warn_input
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted

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
        Number of outputs of the read-out that belong to it.
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
        """Number of columns of the targets that belong to it."""
        return 1 if self.loss == "cross_entropy" else self.size


@dataclass(frozen=True, kw_only=True, repr=False)
class Batch(Result):
    """Data of a task, time-major.

    Attributes
    ----------
    inputs : (T, B, I) real
    targets : (T, B, C) or (B, C) real
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
    InputWarning
        If there are fewer steps than sequences, and neither `lengths` nor targets (B, C) say which axis is which.
    ShapeError
        If `inputs` or `targets` has another number of axes, or T = B and nothing says whether `targets` are (T, B)
        without their last axis or (B, C).
    ValueRangeError
        If `heads` is not a sequence of heads, or one has no output.
    UnknownNameError
        If there is no such loss.

    Examples
    --------
    Classes of 40 sequences, each asked for at its last step:

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

    _axes: ClassVar[Mapping[str, str]] = {
        "inputs": "(T, B, I) real",
        "targets": "(T, B, C) or (B, C) real",
        "mask": "(T, B) bool",
        "lengths": "(B,) int64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"C": "target"}
    _rows: ClassVar[str] = "inputs"

    def __post_init__(self) -> None:
        super().__post_init__()
        optional: dict[str, Any] = {"mask": self.mask, "lengths": self.lengths}
        some = {name: value for name, value in optional.items() if value is not None}
        _check_arrays({"inputs": self.inputs, "targets": self.targets, **some})
        steps, sequences = self.inputs.shape[:2]
        none = isinstance(self.heads, tuple | list) and not self.heads
        heads = () if none else check_heads(self.heads)
        _check_sizes(self.targets.shape, self.inputs.shape)
        set_checked(self, **_counts(some, steps, sequences))
        for name in ("name", "baseline_of"):
            check_text(name, getattr(self, name))
        if not is_nan(self.baseline):  # which says that none is stated
            set_checked(self, baseline=check_number("baseline", self.baseline))
        _check_meaning(self.targets.shape, steps, sequences, heads)
        set_checked(self, heads=heads or (Head("y", int(self.targets.shape[-1])),))
        # Who makes tasks knows which axis is which, and targets (B, C) and lengths (B,) tell; __init__ is between.
        maker = sys._getframe(2).f_globals.get("__name__", "")
        unsure = steps < sequences and optional["lengths"] is None and self.targets.ndim == 3
        if unsure and not maker.startswith("gatescope."):
            warn_input(batch_first_question("inputs", steps, sequences))
        if optional["mask"] is None:
            set_checked(self, mask=np.ones((steps, sequences), np.bool_))
        if optional["lengths"] is None:
            set_checked(self, lengths=np.full(sequences, steps, np.int64))

    @property
    def input_size(self) -> int:
        """Return I, the number of inputs."""
        return int(self.inputs.shape[2])

    @property
    def output_size(self) -> int:
        """Number of outputs that a read-out needs."""
        return sum(head.size for head in self.heads)

    def table(self) -> Table:
        """Return what each head is judged by."""
        steps, sequences = self.inputs.shape[:2]
        title = f"{self.name or 'batch'}: {counted(sequences, 'sequence')} of {counted(steps, 'step')}, "
        rows = [(head.name, head.size, head.loss, head.weight) for head in self.heads]
        return Table(("head", "outputs", "loss", "weight"), rows, title + counted(self.input_size, "input"))


def check_loss(name: str, loss: Any) -> str:
    """Return a loss that is known; the error names the one that was perhaps meant."""
    if isinstance(loss, str) and loss in LOSSES:
        return loss
    near = difflib.get_close_matches(shown(loss, str).lower(), LOSSES, n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    raise UnknownNameError(
        "is not known", argument=name, seen=loss, advice=f"choose one of {', '.join(LOSSES)}{meant}"
    )


def batch_first_question(name: str, steps: int, sequences: int) -> str:
    """Return what to ask of inputs that have fewer steps than sequences."""
    return (
        f"{name} (T, B, I) have T = {counted(steps, 'step')} of B = {counted(sequences, 'sequence')}; if they are "
        f"(B, T, I), give {name}.swapaxes(0, 1), and if not, lengths= says so"
    )


def if_batch_first(length: int, steps: int, count: int) -> str:
    """Return what to add to an error where an array (B,) has as many entries as the inputs have steps."""
    return " (inputs are time-major, (T, B, I): are these (B, T, I)?)" if length == steps != count else ""


def check_heads(heads: Any) -> tuple[Head, ...]:
    """Return heads that a read-out can have: at least one, names that differ, known losses, sizes that fit these."""
    if isinstance(heads, Head) or not is_several(heads):
        raise ValueRangeError(
            "must be a sequence such as [Head('y', 1)], or a Batch", argument="heads", seen=heads
        )
    if not len(heads):
        raise ValueRangeError(
            "is empty", argument="heads", advice="give at least one Head, as in Head('y', 1)"
        )
    checked: list[Head] = []
    for k, entry in enumerate(heads):
        name = f"heads[{k}]"
        try:
            head = Head(*entry)
        except TypeError:
            raise ValueRangeError(
                "is no Head", argument=name, seen=entry, advice="give one such as Head('y', 1, 'mse')"
            ) from None
        if not isinstance(head.name, str) or not head.name:
            raise ValueRangeError("must be a str that is not empty", argument=f"{name}.name", seen=head.name)
        check_text(f"{name}.name", head.name)
        if head.name in (other.name for other in checked):
            raise ValueRangeError(
                "is the name of one before",
                argument=f"{name}.name",
                seen=head.name,
                advice="give each its own",
            )
        check_loss(f"{name}.loss", head.loss)
        size = check_count(f"{name}.size", head.size)
        if head.loss == "cross_entropy" and size < 2:
            raise ValueRangeError(
                "with the loss 'cross_entropy', which needs at least 2 classes",
                argument=f"{name}.size",
                seen=size,
                advice="use 'bernoulli' for one yes or no",
            )
        weight = check_number(f"{name}.weight", head.weight, least=0)
        checked.append(Head(head.name, size, head.loss, weight))
    return tuple(checked)


def _check_arrays(arrays: dict[str, Any]) -> None:
    """Check that they are arrays, which is what a result holds and saves, with axes that can be told apart."""
    for name, value in arrays.items():
        real_array(name, check_saved(name, value))
    inputs, targets = arrays["inputs"], arrays["targets"]
    if inputs.ndim != 3:
        raise ShapeError(
            "a Batch needs (T, B, I), steps first",
            argument="inputs",
            seen=inputs.shape,
            advice="one sequence of (T, I) is inputs[:, None, :]" if inputs.ndim == 2 else "",
        )
    if targets.ndim not in (2, 3):
        hint = if_batch_first(len(targets), *inputs.shape[:2]) if targets.ndim == 1 else ""
        raise ShapeError(
            f"should have (T, B, C), or (B, C) for one target a sequence{hint}",
            argument="targets",
            seen=targets.shape,
        )


def _check_sizes(shape: tuple[int, ...], of_inputs: tuple[int, ...]) -> None:
    """Check that there are steps and sequences, and targets of these."""
    steps, count = of_inputs[:2]
    if 0 in of_inputs:
        raise ShapeError(
            "should have at least one step and one sequence of inputs", argument="inputs", seen=of_inputs
        )
    if shape[:-1] not in ((steps, count), (count,)) or shape[-1] == 0:
        columns, hint = max(1, shape[-1]), if_batch_first(shape[0], steps, count)
        raise ShapeError(
            f"should have {(steps, count, columns)}, which is (T, B, C) of the inputs",
            argument="targets",
            seen=shape,
            advice=f"give {(count, columns)} for one target a sequence{hint}",
        )


def _counts(arrays: dict[str, Any], steps: int, count: int) -> dict[str, Any]:
    """Return a mask and lengths of the right shapes as truth values and int64."""
    counts: dict[str, Any] = {}
    if "mask" in arrays:
        mask = arrays["mask"]
        check_shape("mask", mask, (steps, count), "(T, B) of the inputs")
        if mask.dtype != np.bool_ and not ((mask == 0) | (mask == 1)).all():
            raise ValueRangeError(
                "has other values than True and False, 0 and 1; it says where targets count, not how much",
                argument="mask",
            )
        counts["mask"] = mask.astype(np.bool_, copy=False)
    if "lengths" in arrays:
        lengths = arrays["lengths"]
        hint = if_batch_first(len(lengths), steps, count) if lengths.ndim == 1 else ""
        check_shape("lengths", lengths, (count,), f"(B,){hint}")
        if lengths.dtype.kind not in "iu":
            raise DtypeError(argument="lengths", seen=lengths.dtype, advice="give whole numbers of steps")
        counts["lengths"] = lengths.astype(np.int64, copy=False)
    return counts


def _check_meaning(shape: tuple[int, ...], steps: int, count: int, heads: tuple[Head, ...]) -> None:
    """Check that targets have one meaning: where T = B, only the heads can tell (B, C) from a forgotten C."""
    same = steps == count > 1  # of one step of one sequence both say the same
    if same and shape == (steps, count) and sum(head.columns for head in heads) != count:
        raise ShapeError(
            f"with T = B = {count} that may be a number at every step or {count} a sequence",
            argument="targets",
            seen=shape,
            advice=f"give (T, B, 1) = {(steps, count, 1)} for the one, and for the other (T, B, C) with a mask that is "
            f"True at the last steps, or heads of {count} columns",
        )


def best_constant(targets: Array, loss: str) -> float:
    """Return the loss of the best answer that is always the same; `targets` (N, C) are those that count."""
    known = targets.astype(np.float64)
    if loss == "mse":
        return float(known.var(axis=0).mean())
    if loss == "cross_entropy":
        return entropy(np.unique(known, return_counts=True)[1] / len(known))
    on = known.mean(axis=0)
    return entropy(on) + entropy(1 - on)


def entropy(frequencies: Array) -> float:
    """Return ``-sum p ln p`` of frequencies, in nats."""
    some = frequencies[frequencies > 0]
    return float(0.0 - (some * np.log(some)).sum())  # not -0
