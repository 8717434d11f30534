"""Bach's chorales from music21's corpus: which notes sound at the next step."""

from __future__ import annotations

import functools
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from tqdm.auto import tqdm

from gatescope.checks.numbers import check_choice, check_count
from gatescope.datatypes import Array, Batch
from gatescope.errors import FileFormatError
from gatescope.tasks._music import CHECK_NOTE, HIGHEST_NOTE, LOWEST_NOTE, need, piano_batch
from gatescope.tasks._task import task

GRIDS = {"quarter": 1, "eighth": 2, "sixteenth": 4}  # steps in a quarter note
_ROUNDING = 1e-6  # of a step: music21 gives thirds of a quarter as floats or fractions


@task(
    split=partial(check_choice, choices=("train", "valid", "test")),
    grid=partial(check_choice, choices=GRIDS),
    count=lambda name, value: None if value is None else check_count(name, value, least=5),
    min_note=CHECK_NOTE,
    max_note=CHECK_NOTE,
)
def chorales(
    *,
    split: str = "train",
    grid: str = "quarter",
    count: int | None = None,
    steps: int | None = None,
    min_note: int = LOWEST_NOTE,
    max_note: int = HIGHEST_NOTE,
    seed: int = 0,
    dtype: DTypeLike = "float32",
    progress: bool = False,
) -> Batch:
    """Make next-step prediction over Bach's chorales, read from the corpus that the package music21 brings.

    The task, the loss and the baseline are those of `gatescope.tasks._piano_roll`; only the source differs, and so do
    the split and the numbers: for the published ones take the archive.  Nothing of the corpus is copied or kept.
    Silence has about 95 % of all keys right, so compare an accuracy with `gatescope.majority_accuracy`.

    A step is a quarter note (or what `grid` says), and a key is on at a step if a note of any part sounds when the step
    begins; shorter notes between two steps are not heard.  Repeats are not played twice and nothing is transposed.
    The chorales are those of Riemenschneider's edition that music21 has, each file once, shuffled with `seed`: a fifth
    is the test split, a fifth the validation split, the others are for training.

    Parameters
    ----------
    split : {"train", "valid", "test"}
    grid : {"quarter", "eighth", "sixteenth"}
        Length of a step.
    count : int, optional
        Only the first so many chorales of the edition, at least 5; they are divided in the same way.
    steps : int, optional
        Cut longer chorales into sequences of at most so many steps.
    min_note, max_note : int
        The MIDI notes to keep, both included, 21..108.
    seed : int
        Of the split.
    dtype : {"float32", "float64"}
    progress : bool
        Show a bar: the training split takes about 20 seconds the first time in a process.

    Returns
    -------
    Batch
        `inputs` and `targets` (T, B, K), K the number of notes, T the steps of the longest chorale; one Bernoulli head,
        ``notes``.  `provenance` names the chorales and music21's version.

    Raises
    ------
    MissingPackageError
        If music21 is not installed: ``pip install "gatescope[chorales]"``.
    FileFormatError
        If music21 cannot read a chorale, or has none.

    References
    ----------
    A. Riemenschneider (ed.), 371 harmonized chorales and 69 chorale melodies with figured bass, Schirmer (1941);
    M. S. Cuthbert and C. Ariza, music21: a toolkit for computer-aided musicology, ISMIR (2010).

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.chorales(split="test", count=10)  # doctest: +SKIP
    >>> batch.heads  # doctest: +SKIP
    (Head(name='notes', size=88, loss='bernoulli', weight=1.0),)
    """
    music21 = need("music21", "music21", "chorales")
    parts = _divided(_names(music21)[:count], np.random.default_rng(seed))
    needed = list(dict.fromkeys([*parts[split], *parts["train"]]))  # the baseline is of the training split
    rolls = {
        name: _roll(name, GRIDS[grid])
        for name in tqdm(needed, desc="chorales", unit="file", disable=None if progress else True)
    }
    return piano_batch(
        [rolls[name] for name in parts[split]],
        [rolls[name] for name in parts["train"]],
        min_note=min_note,
        max_note=max_note,
        steps=steps,
        dtype=dtype,
        provenance={
            "source": "music21's corpus",
            "music21": str(music21.__version__),
            "chorales": parts[split],
        },
    )


def _names(music21: Any) -> list[str]:
    """Return the chorales' names in the edition's order; some stand in it twice under two numbers."""
    names = list(dict.fromkeys(music21.corpus.chorales.Iterator(returnType="filename")))
    if len(names) < 5:
        raise FileFormatError(
            f"music21's corpus has {len(names)} of Bach's chorales", advice="install it again with its corpus"
        )
    return [str(name) for name in names]


def _divided(names: list[str], order: np.random.Generator) -> dict[str, list[str]]:
    """Divide names: a fifth to test with, a fifth to validate with, the others to train on."""
    shuffled = [names[k] for k in order.permutation(len(names))]
    fifth = len(names) // 5
    return {"test": shuffled[:fifth], "valid": shuffled[fifth : 2 * fifth], "train": shuffled[2 * fifth :]}


@functools.cache  # three splits of one process read every file once; all rolls together are 2 MB
def _roll(name: str, per_quarter: int) -> Array:
    """Return the piano roll (T_n, 88) of a chorale."""
    music21 = need("music21", "music21", "chorales")
    try:
        # Not corpus.parse: it reads and writes pickles in the user's temporary folder.
        path = _path(music21.corpus.getWork(name), name)
        score = music21.converter.parseFile(path, forceSource=True, storePickle=False).flatten()
        sounding = [
            (float(note.offset), float(note.offset + note.quarterLength), [int(p.midi) for p in note.pitches])
            for note in score.notes
            if "Harmony" not in note.classes  # a chord symbol is written above the staff, not played
        ]
    except Exception as error:  # music21 raises its own kinds, all Exceptions
        raise FileFormatError(
            f"music21 cannot read its chorale {name!r} ({type(error).__name__}: {error})",
            advice="install it again",
        ) from error
    return _sampled(sounding, per_quarter, name)


def _path(matches: Any, name: str) -> Path:
    """Return the file of that very name, MusicXML if there are several; music21 finds names that only begin so, too."""
    paths = [Path(match) for match in (matches if isinstance(matches, list) else [matches])]
    same = [path for path in paths if path.stem == name.rpartition("/")[2]] or paths
    return next((path for path in same if path.suffix in (".mxl", ".xml", ".musicxml")), same[0])


def _sampled(sounding: list[tuple[float, float, list[int]]], per_quarter: int, name: str) -> Array:
    """Return the keys that sound when a step begins, from notes with their beginning and end in quarters."""

    def step(quarters: float) -> int:
        return math.ceil(quarters * per_quarter - _ROUNDING)

    length = max((step(end) for _, end, _ in sounding), default=0)
    if length < 1:
        raise FileFormatError(f"the chorale {name!r} has no notes", advice="install music21 again")
    roll = np.zeros((length, HIGHEST_NOTE - LOWEST_NOTE + 1), np.uint8)
    for begin, end, pitches in sounding:
        for pitch in pitches:
            if LOWEST_NOTE <= pitch <= HIGHEST_NOTE:
                roll[step(begin) : step(end), pitch - LOWEST_NOTE] = 1
    roll.setflags(write=False)
    return roll
