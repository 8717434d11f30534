"""Helpers of the tasks of music: optional packages, notes, and piano rolls as a batch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import MissingPackageError, ShapeError, ValueRangeError
from gatescope.tasks._synthetic import check_size

# A piano has 88 keys: MIDI notes 21 (A0) to 108 (C8).
LOWEST_NOTE, HIGHEST_NOTE = 21, 108
CHECK_NOTE = partial(check_count, least=LOWEST_NOTE, most=HIGHEST_NOTE)


def need(module: str, package: str, task: str) -> Any:
    """Import a module of the optional `package`, which the extra named like the task brings."""
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken installation raises anything
        absent = isinstance(error, ModuleNotFoundError) and error.name in (module, module.partition(".")[0])
        why = "is not installed" if absent else f"cannot be imported ({error})"
        raise MissingPackageError(
            f"{task} needs the package {package}, which {why}", advice=f"pip install 'gatescope[{task}]'"
        ) from error


def piano_batch(
    pieces: Sequence[Array],
    training: Sequence[Array],
    *,
    min_note: int,
    max_note: int,
    steps: int | None,
    dtype: DTypeLike,
    provenance: Mapping[str, Any],
) -> Batch:
    """Make next-step prediction over piano rolls of pieces, each (T_n, 88) of 0 and 1, column k the MIDI note 21 + k.

    Step t of a piece is predicted from the steps before it; the first one from an input of zeros, so all T_n steps
    count.  Pieces longer than `steps` are cut, and what follows a cut begins with the notes before it as its input.
    `training` is where the baseline's frequencies come from.
    """
    if min_note > max_note:
        raise ValueRangeError(
            f"is above `max_note`={max_note}", argument="min_note", seen=min_note, advice="exchange them"
        )
    columns = slice(min_note - LOWEST_NOTE, max_note - LOWEST_NOTE + 1)
    size = max_note - min_note + 1
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
        section = piece[begin : begin + longest, columns]
        targets[: len(section), b] = section
        inputs[1 : len(section), b] = section[:-1]
        if begin:
            inputs[0, b] = piece[begin - 1, columns]
    left_out = sum(int(piece.sum()) - int(piece[:, columns].sum()) for piece in pieces)
    return Batch(
        inputs=inputs,
        targets=targets,
        mask=np.arange(longest)[:, None] < lengths,
        lengths=lengths,
        heads=(Head("notes", size, "bernoulli"),),
        baseline=_independent_notes(pieces, training, columns),
        baseline_of="independent notes, each at its frequency in the training split",
        provenance={
            **provenance,
            "notes_left_out": left_out,
            "pieces": len(pieces),
            "first_input": "zeros",
        },
    )


def _independent_notes(pieces: Sequence[Array], training: Sequence[Array], columns: slice) -> float:
    """NLL per step of `pieces`, in nats, with every note on with its frequency in `training`.

    (count + 1/2) / (steps + 1), so that a note never heard in training costs much but not infinitely much.
    """
    heard = sum(piece[:, columns].sum(axis=0, dtype=np.int64) for piece in training)
    on = (np.asarray(heard) + 0.5) / (sum(map(len, training)) + 1)
    played = sum(piece[:, columns].sum(axis=0, dtype=np.int64) for piece in pieces)
    frequency = np.asarray(played) / sum(map(len, pieces))
    return float(-(frequency * np.log(on) + (1 - frequency) * np.log1p(-on)).sum())


def check_roll(piece: Array, where: str) -> Array:
    """Return a piece's piano roll as uint8, if it is (T_n, 88) of 0 and 1 with at least one step."""
    keys = HIGHEST_NOTE - LOWEST_NOTE + 1
    if piece.ndim != 2 or piece.shape[1] != keys or piece.shape[0] == 0:
        transposed = piece.ndim == 2 and piece.shape[0] == keys
        raise ShapeError(
            f"should have (steps, {keys}), at least one step, one column a MIDI note {LOWEST_NOTE}..{HIGHEST_NOTE}",
            argument=where,
            seen=piece.shape,
            advice="transpose it" if transposed else "",
        )
    off = np.argwhere((piece != 0) & (piece != 1))
    if off.size:
        step, key = (int(k) for k in off[0])
        raise ValueRangeError(
            f"holds {piece[step, key]} at step {step}, column {key}; a piano roll holds 0 and 1 only",
            argument=where,
        )
    return piece.astype(np.uint8)
