"""Chorales: sampling on the grid, the split, and the errors, with a stand-in for music21; once with the real one."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from helpers.judging import loss, same

from gatescope.datatypes import Head
from gatescope.errors import DtypeError, FileFormatError, GatescopeError, UnknownNameError, ValueRangeError
from gatescope.tasks import _music
from gatescope.tasks._chorales import _roll, chorales

TITLES = [f"bach/bwv{k}" for k in range(12)]
CLASSES = ("Note", "NotRest")


def note(offset, quarters, *pitches, classes=CLASSES):
    heard = [types.SimpleNamespace(midi=pitch) for pitch in pitches]
    return types.SimpleNamespace(offset=offset, quarterLength=quarters, pitches=heard, classes=classes)


def chorale(number):
    """Four quarters and `number` more; the note tells the number."""
    return [note(0.0, 4.0 + number, 60 + number), note(1.0, 1.0, 48, 52)]


class Corpus:
    """The few of music21's functions that are called."""

    __version__ = "0.0"

    def __init__(self, scores):
        self.scores, self.asked, self.matches = scores, [], {}
        self.corpus = self.converter = self.chorales = self

    def Iterator(self, *, returnType):
        assert returnType == "filename"
        names = list(self.scores)
        return iter([*names, *names[:2]])  # two stand in the edition twice

    def getWork(self, name):
        return self.matches.get(name, Path(f"corpus/{name}.mxl"))

    def parseFile(self, path, *, forceSource, storePickle):
        assert forceSource is True  # no pickle is read
        assert storePickle is False
        self.asked.append(Path(path).name)
        name = f"bach/{Path(path).stem}"
        if isinstance(self.scores[name], Exception):
            raise self.scores[name]
        return types.SimpleNamespace(flatten=lambda: types.SimpleNamespace(notes=self.scores[name]))


@pytest.fixture
def corpus(monkeypatch):
    stand_in = Corpus({name: chorale(k) for k, name in enumerate(TITLES)})
    monkeypatch.setitem(sys.modules, "music21", stand_in)
    _roll.cache_clear()
    yield stand_in
    _roll.cache_clear()


def on(roll):
    return [(np.flatnonzero(row) + 21).tolist() for row in roll]


def test_a_key_is_on_at_the_steps_at_which_its_note_sounds(corpus):
    corpus.scores[TITLES[0]] = [
        note(0.0, 1.0, 60),
        note(0.5, 1.0, 62),  # begins between two quarters, sounds at the second
        note(1.25, 0.5, 64),  # sounds at no quarter
        note(2.0, 1.0, 65, 69),
        note(2.0 + 1 / 3, 1 / 3, 67),  # a triplet
        note(3.0, 0.0, 70),  # a grace note
        note(3.0, 1.5, 72),
        note(0.0, 8.0, 50, classes=("ChordSymbol", "Harmony")),
        note(0.0, 5.0, 12),  # below the piano
    ]
    assert on(_roll(TITLES[0], 1)) == [[60], [62], [65, 69], [72], [72]]
    eighths = [[60], [60, 62], [62], [64], [65, 69], [65, 69, 67], [72], [72], [72], []]
    assert on(_roll(TITLES[0], 2)) == [sorted(keys) for keys in eighths]


def test_thirds_of_a_quarter_are_not_rounded_into_another_step(corpus):
    corpus.scores[TITLES[0]] = [note(k / 3, 1 / 3, 60 + k) for k in range(9)]
    assert on(_roll(TITLES[0], 1)) == [[60], [63], [66]]
    corpus.scores[TITLES[1]] = [note(0.1 + 0.2, 0.7, 60), note(1 + 1e-12, 1 - 1e-12, 62)]
    assert on(_roll(TITLES[1], 1)) == [[], [62]]


def test_the_splits_divide_the_chorales(corpus):
    batches = {split: chorales(split=split) for split in ("train", "valid", "test")}
    titles = {split: batch.provenance["chorales"] for split, batch in batches.items()}
    assert [len(titles[split]) for split in batches] == [8, 2, 2]
    assert sorted(title for some in titles.values() for title in some) == sorted(TITLES)
    for split, batch in batches.items():
        numbers = [TITLES.index(title) for title in titles[split]]
        assert batch.lengths.tolist() == [4 + number for number in numbers]
        for b, number in enumerate(numbers):
            assert on(batch.targets[:3, b]) == [[60 + number], [48, 52, 60 + number], [60 + number]]
            assert on(batch.inputs[:3, b]) == [[], [60 + number], [48, 52, 60 + number]]
    assert sorted(corpus.asked) == sorted(f"{title[5:]}.mxl" for title in TITLES)  # every file was read once


def test_seeds_grids_and_a_smaller_number(corpus):
    assert same(chorales(seed=1), chorales(seed=1))
    assert chorales(seed=1).provenance["chorales"] != chorales(seed=2).provenance["chorales"]
    few = [chorales(split=split, count=5) for split in ("train", "valid", "test")]
    assert [batch.inputs.shape[1] for batch in few] == [3, 1, 1]
    assert sorted(title for batch in few for title in batch.provenance["chorales"]) == TITLES[:5]
    slow, fast = chorales(), chorales(grid="sixteenth")
    np.testing.assert_array_equal(fast.lengths, 4 * slow.lengths)
    cut = chorales(steps=4)
    assert cut.lengths.max() == 4
    assert cut.mask.sum() == slow.mask.sum()
    assert chorales(min_note=60, dtype="float64").heads == (Head("notes", 49, "bernoulli"),)


def test_the_baseline_is_that_of_independent_notes(corpus):
    train, test = chorales(dtype="float64"), chorales(split="test", dtype="float64")
    on = (train.targets.sum(axis=(0, 1)) + 0.5) / (train.mask.sum() + 1)
    outputs = np.broadcast_to(np.log(on / (1 - on)), test.targets.shape)
    assert loss(test, outputs) == pytest.approx(test.baseline, rel=1e-12)


def test_one_of_several_files_of_like_names(corpus):
    corpus.matches = {
        TITLES[1]: [Path("corpus/bach/bwv1-inst.mxl"), Path("corpus/bach/bwv1.krn"), Path("corpus/bach/bwv1.xml")],
        TITLES[2]: [Path("corpus/bach/bwv2.krn"), Path("corpus/bach/bwv23.mxl")],
    }  # fmt: skip
    _roll(TITLES[1], 1)
    _roll(TITLES[2], 1)
    assert corpus.asked == ["bwv1.xml", "bwv2.krn"]


def test_a_corpus_that_is_broken(corpus):
    corpus.scores[TITLES[3]] = OSError("torn")
    with pytest.raises(FileFormatError, match=r"cannot read its chorale 'bach/bwv3' \(OSError: torn\)"):
        _roll(TITLES[3], 1)
    corpus.scores[TITLES[4]] = []
    with pytest.raises(FileFormatError, match=r"the chorale 'bach/bwv4' has no notes"):
        _roll(TITLES[4], 1)
    for name in TITLES[4:]:
        del corpus.scores[name]
    with pytest.raises(FileFormatError, match=r"music21's corpus has 4 of Bach's chorales"):
        chorales()


def test_arguments_that_are_wrong(corpus):
    with pytest.raises(UnknownNameError, match=r"split='all' is not known; choose from train, valid, test"):
        chorales(split="all")
    with pytest.raises(
        UnknownNameError, match=r"grid='half' is not known; choose from quarter, eighth, sixteenth"
    ):
        chorales(grid="half")
    with pytest.raises(ValueRangeError, match=r"count=4 must be a whole number of at least 5"):
        chorales(count=4)
    with pytest.raises(ValueRangeError, match=r"min_note=60 is above `max_note`=50"):
        chorales(min_note=60, max_note=50)
    with pytest.raises(DtypeError, match=r"dtype='int8'"):
        chorales(dtype="int8")


def test_the_package_is_missing_or_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "music21", None)
    message = (
        r"chorales needs the package music21, which is not installed; pip install 'gatescope\[chorales\]'"
    )
    with pytest.raises(GatescopeError, match=message) as error:
        chorales()
    assert isinstance(error.value, ImportError)

    def broken(name):
        raise ModuleNotFoundError("No module named 'requests'", name="requests")

    monkeypatch.setattr(_music.importlib, "import_module", broken)
    with pytest.raises(GatescopeError, match=r"which cannot be imported \(No module named 'requests'\)"):
        chorales()


@pytest.mark.slow
def test_music21s_corpus():
    pytest.importorskip("music21")
    _roll.cache_clear()
    # The first chorale of the edition, BWV 269: its first chord is G, G the bass, B the tenor, D the alto.
    first = _roll("bach/bwv269", 1)
    assert first.shape == (63, 88)
    assert on(first[:1]) == [[43, 59, 62, 67]]
    batches = [chorales(split=split, count=20) for split in ("train", "valid", "test")]
    assert [batch.inputs.shape[1] for batch in batches] == [12, 4, 4]
    for batch in batches:
        sounding = batch.targets.sum(axis=2)[batch.mask]
        assert 3.5 < sounding.mean() < 4.2  # four voices, sometimes in unison
        assert 8 < batch.baseline < 14
