"""Polyphonic music from piano-roll archives: which notes sound at the next step."""

from __future__ import annotations

import hashlib
import os
from functools import partial

from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Array, Batch
from gatescope.storage.atomic import as_path
from gatescope.tasks._matlab import read_cells, read_file
from gatescope.tasks._music import CHECK_NOTE, HIGHEST_NOTE, LOWEST_NOTE, check_roll, piano_batch
from gatescope.tasks._task import task

SPLITS = {"train": "traindata", "valid": "validdata", "test": "testdata"}


@task(split=partial(check_choice, choices=SPLITS), min_note=CHECK_NOTE, max_note=CHECK_NOTE)
def piano_roll(
    path: str | os.PathLike[str],
    *,
    split: str = "train",
    steps: int | None = None,
    min_note: int = LOWEST_NOTE,
    max_note: int = HIGHEST_NOTE,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make next-step prediction over the pieces of a piano-roll archive, such as JSB chorales or Nottingham.

    With v_1..v_T the notes of a piece (1: the key sounds), the network reads 0, v_1, ..., v_{T-1} and gives at every
    step the probabilities of v_1, ..., v_T, each note by itself.  The loss is the negative log-likelihood of a step,
    ``-sum_k ln p(v_{t,k})`` in nats, averaged over all steps of all pieces: **the first step counts**, predicted from
    an input of zeros, so that a piece's sum is ``-ln p(v_1, ..., v_T)``, of which nothing is left out.

    The baseline is the loss when every note is on by itself at its frequency in the training split, whatever `split`
    is; frequencies are (count + 1/2) / (steps + 1), so that a note first heard in the test split costs no infinity.
    An accuracy counts every key at every step, and silence has about 95 % right: see `gatescope.majority_accuracy`.

    Parameters
    ----------
    path : str or path-like
        A ``.mat`` file of MATLAB's level 5 (version 7.3 is not read) with the cell arrays ``traindata``, ``validdata``
        and ``testdata``, rows or columns of cells; each cell is a piece, (steps, 88) of 0 and 1, column k the MIDI
        note 21 + k.  Objects, structures and functions in it are never built, nothing is unpickled, and every size
        that the file states is compared with the bytes that are there before memory is taken.
    split : {"train", "valid", "test"}
    steps : int, optional
        Cut longer pieces into sequences of at most so many steps, each with the notes before the cut as its first
        input; all steps are still predicted, once each, but the state begins anew at a cut.  Default: whole pieces, as
        published results have them.
    min_note, max_note : int
        The MIDI notes to keep, both included, 21..108; `provenance` counts those that are left out.
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` and `targets` (T, B, K), K the number of notes, T the steps of the longest piece, B the pieces in the
        file's order; zeros past a piece's end, where `mask` is False.  One Bernoulli head, ``notes``.

    Raises
    ------
    FileFormatError
        If the file is missing, no ``.mat`` file, damaged or hostile, or lacks the split or the training split.
    ShapeError
        If a piece is not (steps, 88).
    ValueRangeError
        If a piece holds something else than 0 and 1.

    References
    ----------
    N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, Modeling temporal dependencies in high-dimensional sequences,
    ICML (2012), for the archives; J. Chung, C. Gulcehre, K. Cho, Y. Bengio, Empirical evaluation of gated recurrent
    neural networks on sequence modeling, arXiv:1412.3555 (2014), table 2, for results of tanh, GRU and LSTM.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, scipy.io, gatescope as gs
    >>> pieces = np.empty((1, 3), object)
    >>> for k in range(3):
    ...     pieces[0, k] = np.eye(4 + k, 88, 30, dtype=np.uint8)  # a scale
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "scales.mat"
    >>> scipy.io.savemat(path, {"traindata": pieces, "validdata": pieces[:, :1], "testdata": pieces[:, 1:]})
    >>> batch = gs.tasks.piano_roll(path, split="test")
    >>> batch.inputs.shape, batch.lengths
    ((6, 2, 88), array([5, 6]))
    """
    variable = SPLITS[split]
    data = read_file(path)
    cells = read_cells(data, str(path), sorted({variable, SPLITS["train"]}))
    rolls = {key: _rolls(cells[key], f"{key} in {str(path)!r}") for key in cells}
    return piano_batch(
        rolls[variable],
        rolls[SPLITS["train"]],
        min_note=min_note,
        max_note=max_note,
        steps=steps,
        dtype=dtype,
        provenance={"file": as_path(path).name, "sha256": hashlib.sha256(data).hexdigest()},
    )


def _rolls(pieces: list[Array], where: str) -> list[Array]:
    return [check_roll(piece, f"piece {k} of {where}") for k, piece in enumerate(pieces)]
