"""What the tasks from real data share: checks of their arguments, optional packages, and piano rolls as a batch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import MissingPackageError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.tasks._synthetic import check_size, record, whole

# A piano has 88 keys: MIDI notes 21 (A0) to 108 (C8).
LOWEST_NOTE, HIGHEST_NOTE = 21, 108


def need(module: str, package: str, task: str) -> Any:
    """A module of the optional `package`, which the extra named like the task brings.

    Raises
    ------
    MissingPackageError
        If it is not installed or cannot be imported; the message has the pip command.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken installation raises anything
        absent = isinstance(error, ModuleNotFoundError) and error.name in (module, module.partition(".")[0])
        why = "is not installed" if absent else f"cannot be imported ({error})"
        raise MissingPackageError(
            f"{task} needs the package {package}, which {why}; pip install 'gatescope[{task}]'"
        ) from error


def check_one_of(name: str, value: object, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed`."""
    if not (isinstance(value, str) and value in allowed):
        raise UnknownNameError(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}")
    return value


def check_notes(min_note: object, max_note: object) -> tuple[int, int]:
    """The lowest and the highest MIDI note to keep."""
    low = whole("min_note", min_note, least=LOWEST_NOTE, most=HIGHEST_NOTE)
    high = whole("max_note", max_note, least=LOWEST_NOTE, most=HIGHEST_NOTE)
    if low > high:
        raise ValueRangeError(f"min_note={low} is above max_note={high}; exchange them")
    return low, high


def piano_batch(
    pieces: Sequence[Array],
    training: Sequence[Array],
    *,
    name: str,
    notes: tuple[int, int],
    steps: int | None,
    dtype: np.dtype[Any],
    facts: Mapping[str, Any],
) -> Batch:
    """Next-step prediction over piano rolls of pieces, each (T_n, 88) of 0 and 1, column k the MIDI note 21 + k.

    Step t of a piece is predicted from the steps before it; the first one from an input of zeros, so all T_n steps
    count.  Pieces longer than `steps` are cut, and what follows a cut begins with the notes before it as its input.
    `training` is where the baseline's frequencies come from.
    """
    low, high = notes
    columns = slice(low - LOWEST_NOTE, high - LOWEST_NOTE + 1)
    size = high - low + 1
    longest = steps or max(len(piece) for piece in pieces)
    cuts = [(piece, begin) for piece in pieces for begin in range(0, len(piece), longest)]
    lengths = np.array([min(longest, len(piece) - begin) for piece, begin in cuts], np.int64)
    longest = int(lengths.max())
    check_size(
        2 * longest * len(cuts) * size, dtype, "cut long pieces with steps, or take fewer notes or pieces"
    )
    inputs = np.zeros((longest, len(cuts), size), dtype)
    targets = np.zeros_like(inputs)
    for b, (piece, begin) in enumerate(cuts):
        here = piece[begin : begin + longest, columns]
        targets[: len(here), b] = here
        inputs[1 : len(here), b] = here[:-1]
        if begin:
            inputs[0, b] = piece[begin - 1, columns]
    left_out = sum(int(piece.sum()) - int(piece[:, columns].sum()) for piece in pieces)
    return Batch(
        name=name,
        inputs=inputs,
        targets=targets,
        mask=np.arange(longest)[:, None] < lengths,
        lengths=lengths,
        heads=(Head("notes", size, "bernoulli"),),
        baseline=_independent_notes(pieces, training, columns),
        baseline_of="independent notes, each at its frequency in the training split",
        provenance=record(
            name,
            dtype,
            **facts,
            steps=steps,
            min_note=low,
            max_note=high,
            notes_left_out=left_out,
            pieces=len(pieces),
            first_input="zeros",
        ),
    )


def _independent_notes(pieces: Sequence[Array], training: Sequence[Array], columns: slice) -> float:
    """NLL per step of `pieces`, in nats, with every note on with its frequency in `training`.

    (count + 1/2) / (steps + 1), so that a note never heard in training costs much but not infinitely much.
    """
    heard = sum(piece[:, columns].sum(axis=0, dtype=np.int64) for piece in training)
    on = (np.asarray(heard) + 0.5) / (sum(map(len, training)) + 1)
    here = sum(piece[:, columns].sum(axis=0, dtype=np.int64) for piece in pieces)
    share = np.asarray(here) / sum(map(len, pieces))
    return float(-(share * np.log(on) + (1 - share) * np.log1p(-on)).sum())


def check_roll(piece: Array, where: str) -> Array:
    """A piece's piano roll as uint8, if it is (T_n, 88) of 0 and 1 with at least one step."""
    keys = HIGHEST_NOTE - LOWEST_NOTE + 1
    if piece.ndim != 2 or piece.shape[1] != keys or piece.shape[0] == 0:
        transposed = piece.ndim == 2 and piece.shape[0] == keys
        raise ShapeError(
            f"{where} has the shape {piece.shape}; a piece is (steps, {keys}), at least one step, one column a MIDI "
            f"note {LOWEST_NOTE}..{HIGHEST_NOTE}{'; transpose it' if transposed else ''}"
        )
    off = np.argwhere((piece != 0) & (piece != 1))
    if off.size:
        step, key = (int(k) for k in off[0])
        raise ValueRangeError(
            f"{where} holds {piece[step, key]} at step {step}, column {key}; a piano roll holds 0 and 1 only"
        )
    return piece.astype(np.uint8)
