"""Text from a file, character by character: which one comes next."""

from __future__ import annotations

import codecs
import hashlib
import os

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.characters import LEAST_KINDS, check_vocabulary, classes_of, code_points
from gatescope.datatypes import Array, Batch, Head
from gatescope.datatypes.batch import entropy
from gatescope.errors import ValueRangeError
from gatescope.storage.atomic import as_path
from gatescope.storage.text_file import read_text_file
from gatescope.tasks._splits import HELD_BACK_OR_ALL, fractions_of, part
from gatescope.tasks._synthetic import check_size, one_hot
from gatescope.tasks._task import task


class ShortSplitError(ValueRangeError):
    """Raised when a text can be read, but the split has fewer characters than the streams need."""


@task(**HELD_BACK_OR_ALL)
def characters(
    path: str | os.PathLike[str],
    *,
    steps: int | None = None,
    sequences: int = 32,
    split: str = "all",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    vocabulary: str | None = None,
    encoding: str = "utf-8",
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make next-character prediction over a text, laid out as `sequences` streams that go on from step to step.

    With x_0, x_1, ... the characters of the split, stream b reads ``x_{bT}, ..., x_{bT+T-1}`` and the target is always
    the next one, ``x_{bT+t+1}``: stream b + 1 begins where stream b ends.  A stream is whole text, so a network whose
    state is carried on from one window of steps to the next (``train(..., bptt_steps=, stateful=True)``) never meets a
    jump.  Inputs are one-hot.

    The baseline is the entropy of single characters, ``-sum_c p_c ln p_c`` in nats, p_c the frequency of c among the
    targets: what the best answer reaches that knows frequencies only.

    Parameters
    ----------
    path : str or path-like
        A text file.  Line ends are characters like others: nothing is translated.
    steps : int, optional
        T, the length of a stream; default: as long as the split allows, so that all of it but a rest of fewer than
        `sequences` characters is read.
    sequences : int
        B, the number of streams.
    split : {"all", "train", "valid", "test"}
        Which part of the file: the test split is its end, the validation split comes before it, the rest is for
        training.
    valid_fraction, test_fraction : float, optional
        Fractions of the file's characters, at least 0 and together less than 1.  Default: 0.1 each.
    vocabulary : str, optional
        The characters to be told apart, in the order of their classes, for a text that belongs to another one: give
        ``batch.provenance["vocabulary"]`` of that.  Default: those of the file, all splits together, by code point.
    encoding : str
        Of the file: a name that Python knows.
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, V) one-hot, `targets` (T, B, 1) classes 0..V-1; one head of V outputs, cross-entropy.
        `provenance` has the vocabulary, as text.

    Raises
    ------
    FileFormatError
        If the file is missing, empty, larger than 1 GiB, or is not text in `encoding`.
    ValueRangeError
        If the split is too short for `sequences` streams (of `steps`), if a character is not in `vocabulary`, that has
        one twice, or if there are not two characters to tell apart.

    References
    ----------
    I. Sutskever, J. Martens, G. E. Hinton, Generating text with recurrent neural networks, ICML (2011); A. Karpathy,
    J. Johnson, L. Fei-Fei, Visualizing and understanding recurrent networks, arXiv:1506.02078 (2015).

    Examples
    --------
    >>> import pathlib, tempfile, gatescope as gs
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "text.txt"
    >>> _ = path.write_text("to be or not to be")
    >>> batch = gs.tasks.characters(path, steps=5, sequences=2)
    >>> batch.provenance["vocabulary"], batch.inputs.shape
    (' benort', (5, 2, 7))
    >>> "".join(batch.provenance["vocabulary"][int(k)] for k in batch.targets[:, 0, 0])
    'o be '
    """
    fractions = fractions_of(split, valid_fraction, test_fraction)
    raw, whole = read_text_file(path, encoding)
    points = code_points(whole)
    known = _kinds(points, str(path)) if vocabulary is None else check_vocabulary(vocabulary)
    begin, end = part(len(points), split, **fractions)
    text = classes_of(points[begin:end], known, begin)
    length, read = _layout(len(text), steps, sequences, split, str(path))
    check_size(length * sequences * (len(known) + 1), dtype)
    shape = (sequences, length)
    symbols = np.ascontiguousarray(text[:read].reshape(shape).T)
    following = text[1 : read + 1]
    return Batch(
        inputs=one_hot(symbols, len(known), dtype),
        targets=np.ascontiguousarray(following.reshape(shape).T.astype(dtype))[:, :, None],
        heads=(Head("character", len(known), "cross_entropy"),),
        baseline=entropy(np.bincount(following) / following.size),
        baseline_of="every character at its frequency in the targets",
        provenance={
            "file": as_path(path).name,
            "sha256": hashlib.sha256(raw).hexdigest(),
            "encoding": codecs.lookup(encoding).name,
            "first_character": begin,
            **{f"{name}_fraction": fraction for name, fraction in fractions.items()},
            "steps": length,
            "vocabulary": "".join(map(chr, known.tolist())),
        },
    )


def _kinds(points: Array, name: str) -> Array:
    """Return the text's characters by code point, each once."""
    known = np.unique(points)
    if len(known) < LEAST_KINDS:
        raise ValueRangeError(
            f"{name!r} holds the character {chr(known[0])!r} alone, so there is nothing to predict",
            advice="give a text with others, too, or a `vocabulary` of at least two",
        )
    return known


def _layout(count: int, steps: int | None, streams: int, split: str, name: str) -> tuple[int, int]:
    """Return the streams' length, and how many characters are read."""
    longest = (count - 1) // streams
    length = longest if steps is None else steps
    if not 1 <= length <= longest:
        raise ShortSplitError(
            f"of {name!r} has {count} characters; `sequences`={streams} streams of {steps or 'at least 1'} steps need "
            f"{streams * (steps or 1) + 1}",
            argument="split",
            seen=split,
        )
    return length, length * streams
