"""Text from a file, character by character: which one comes next."""

from __future__ import annotations

import codecs
import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.dtypes import float_dtype
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import FileFormatError, UnknownNameError, ValueRangeError
from gatescope.storage.atomic import open_file
from gatescope.tasks._music import check_one_of
from gatescope.tasks._splits import SPLITS, part, shares
from gatescope.tasks._synthetic import check_size, one_hot, record, whole, whole_length

_LARGEST_FILE = 2**30
_LEAST_KINDS = 2  # of characters: with one there is nothing to tell apart


class ShortSplitError(ValueRangeError):
    """The text can be read, but the split has fewer characters than the streams need."""


def characters(
    path: str | os.PathLike[str],
    *,
    steps: int | None = None,
    sequences: int = 32,
    split: str = "all",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    vocabulary: str | None = None,
    encoding: str = "utf-8",
    dtype: DTypeLike = "float32",
) -> Batch:
    """Next-character prediction over a text, laid out as `sequences` streams that go on from step to step.

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
    valid_fraction, test_fraction : float
        Shares of the file's characters, at least 0 and together less than 1.
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
        one twice, if there are not two characters to tell apart, or if a number is not allowed.
    UnknownNameError
        If there is no such split or encoding.
    DtypeError
        If `dtype` is neither float32 nor float64.

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
    wanted = float_dtype(dtype)
    check_one_of("split", split, SPLITS)
    length = None if steps is None else whole("steps", steps)
    streams = whole("sequences", sequences)
    valid, test = shares(valid_fraction, test_fraction)
    raw = _read(path)
    points = _points(_decoded(raw, encoding, str(path)))
    known = _kinds(points, str(path)) if vocabulary is None else _vocabulary(vocabulary)
    begin, end = part(len(points), split, valid, test)
    text = _classes(points[begin:end], known, begin)
    length, read = _layout(len(text), length, streams, split, str(path))
    check_size((length * streams) * (len(known) + 1), wanted)
    shape = (streams, length)
    symbols = np.ascontiguousarray(text[:read].reshape(shape).T)
    following = text[1 : read + 1]
    return Batch(
        name="characters",
        inputs=one_hot(symbols, len(known), wanted),
        targets=np.ascontiguousarray(following.reshape(shape).T.astype(wanted))[:, :, None],
        mask=np.ones((length, streams), np.bool_),
        lengths=whole_length(length, streams),
        heads=(Head("character", len(known), "cross_entropy"),),
        baseline=_entropy(following),
        baseline_of="every character at its frequency in the targets",
        provenance=record(
            "characters",
            wanted,
            file=Path(path).name,
            sha256=hashlib.sha256(raw).hexdigest(),
            encoding=codecs.lookup(encoding).name,
            split=split,
            first_character=begin,
            steps=length,
            sequences=streams,
            vocabulary="".join(map(chr, known.tolist())),
        ),
    )


def _read(path: str | os.PathLike[str]) -> bytes:
    with open_file(path) as (stream, size):
        if size > _LARGEST_FILE:
            raise FileFormatError(
                f"{str(path)!r} has {size} bytes, more than the {_LARGEST_FILE} that are read; divide it"
            )
        return stream.read()


def _decoded(raw: bytes, encoding: str, name: str) -> str:
    if not isinstance(encoding, str):
        raise UnknownNameError(f"encoding={encoding!r} is not a name; give one such as 'utf-8' or 'latin-1'")
    try:
        if not codecs.lookup(encoding)._is_text_encoding:  # "zlib", "rot13": bytes to bytes, text to text
            raise LookupError
        text = raw.decode(encoding)
    except (LookupError, ValueError) as error:  # ValueError: a null byte in the encoding's name
        if isinstance(error, UnicodeError):
            at = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
            raise FileFormatError(
                f"{name!r} is not {encoding} text{at} ({getattr(error, 'reason', error)}); give its encoding, "
                "such as encoding='latin-1'"
            ) from error
        raise UnknownNameError(
            f"encoding={encoding!r} is no text encoding that Python knows; give one such as 'utf-8' or 'latin-1'"
        ) from error
    if not text:
        raise FileFormatError(f"{name!r} is empty; give a file with text")
    return text


def _points(text: str) -> Array:
    """The characters' code points, (N,)."""
    # Some encodings give half a surrogate pair alone, which no strict encoding takes.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4")).astype(np.int64)


def _kinds(points: Array, name: str) -> Array:
    """The text's characters by code point, each once."""
    known = np.unique(points)
    if len(known) < _LEAST_KINDS:
        raise ValueRangeError(
            f"{name!r} holds the character {chr(known[0])!r} alone, so there is nothing to predict; give a text with "
            "others, too, or a vocabulary of at least two"
        )
    return known


def _vocabulary(vocabulary: str) -> Array:
    if not isinstance(vocabulary, str) or len(vocabulary) < _LEAST_KINDS:
        raise ValueRangeError(f"vocabulary={vocabulary!r} must be text with at least two characters, or None")
    known = _points(vocabulary)
    kinds, counts = np.unique(known, return_counts=True)
    if len(kinds) < len(known):
        raise ValueRangeError(
            f"vocabulary has {chr(kinds[counts > 1][0])!r} more than once; give each character once"
        )
    return known


def _classes(points: Array, known: Array, begin: int) -> Array:
    """The place of every character in the vocabulary."""
    order = np.argsort(known)
    places = np.minimum(np.searchsorted(known[order], points), len(known) - 1)
    classes: Array = order[places]
    unknown = np.flatnonzero(known[classes] != points)
    if unknown.size:
        at = int(unknown[0])
        raise ValueRangeError(
            f"the character {chr(points[at])!r}, number {begin + at} of the file, is not in vocabulary; make the "
            "vocabulary from both texts, or take such characters out"
        )
    return classes


def _layout(count: int, steps: int | None, streams: int, split: str, name: str) -> tuple[int, int]:
    """The streams' length, and how many characters are read."""
    longest = (count - 1) // streams
    length = longest if steps is None else steps
    if not 1 <= length <= longest:
        raise ShortSplitError(
            f"split {split!r} of {name!r} has {count} characters; sequences={streams} streams of "
            f"{steps or 'at least 1'} steps need {streams * (steps or 1) + 1}"
        )
    return length, length * streams


def _entropy(classes: Array) -> float:
    counts = np.bincount(classes)
    share = counts[counts > 0] / classes.size
    return float(-(share * np.log(share)).sum())
