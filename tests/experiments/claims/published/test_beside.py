"""Published numbers beside ours: where they stand, what each experiment asks for, and what is said without data."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from helpers.arms import made_run
from helpers.verdicts import made_verdict

from gatescope import tasks
from gatescope.datatypes import Arm
from gatescope.experiments.claims.published import chung, le, tallec, weiss
from gatescope.experiments.claims.published.beside import SOURCES, beside_published
from gatescope.experiments.claims.published.row import row
from gatescope.experiments.claims.run import chosen_statements
from gatescope.experiments.claims.study import Study, study_cell


class MadeUp(Study):
    """A study of runs that nobody trained."""

    def make(self, arms):
        """Make nothing."""

    def tuned(self, task, cell, scheme=None):
        return type(
            "Setting", (), {"lr": 0.003, "scheme": "identity", "at_edge": False, "points": ({},) * 4}
        )()

    def arm(self, task, cell, scheme=None):
        return self._arm(task, cell, self.spec(task, cell))

    def _arm(self, task, cell, spec):
        runs = (made_run(spec.with_(seed=seed), **outcome(spec, seed)) for seed in range(self.seeds))
        return Arm(name=study_cell(cell).name, runs=tuple(runs))


def outcome(spec, seed):
    """Say that what has chrono biases, or rectified units over 100 steps, is reached; losses go by units."""
    counted = {"lstm": 200, "gru": 30}.get(spec.cell)
    fields = {"counted_to": counted, "test_loss": spec.hidden_size / 10 + seed / 100}
    if spec.scheme == "chrono(110)" or (spec.cell == "rnn_relu" and spec.arguments["steps"] == 100):
        fields["updates"] = 500 + seed
    return fields


STUDY = {"folder": "nowhere", "seeds": 10}


def test_every_source_stands_beside_a_statement_that_there_is():
    assert {source.number for source in SOURCES} <= {each.number for each in chosen_statements()}


def test_verdicts_get_what_stands_beside_them_and_nothing_else_is_measured(monkeypatch):
    asked, logged = [], []
    numbers = (row("a number", 1.0, "a text", [1.0, 1.2], "other data"),)

    def measure(study, folder):
        asked.append((study.seeds, str(folder)))
        return numbers

    sources = [source._replace(measure=measure) for source in SOURCES]
    monkeypatch.setattr("gatescope.experiments.claims.published.beside.SOURCES", sources)
    own = row("what the statement itself compares", 1.0, "a text", [1.0], "nothing")
    verdicts = (made_verdict(number="37", published=(own,)), made_verdict(number="41"))
    with_numbers = beside_published(verdicts, MadeUp(**STUDY), archives="here", log=logged.append)
    assert [verdict.published for verdict in with_numbers] == [(own, *numbers), ()]
    assert (asked, logged) == (
        [(10, str(Path("here").absolute()))],
        ["published numbers beside statement 37: music"],
    )
    assert beside_published(verdicts, MadeUp(**STUDY, quick=True)) == verdicts
    assert len(asked) == 1


def test_a_row_is_a_mean_with_its_error():
    one = row("loss", 8.67, "a paper", [1.0, 3.0], "other data")
    assert (one.measured, one.error, one.seeds) == (2.0, 1.0, 2)
    assert math.isnan(row("loss", 8.67, "a paper", [1.0], "other data").error)


def test_music_without_its_archive_says_so(tmp_path):
    for folder in (None, tmp_path):
        rows = chung.measured(MadeUp(**STUDY), folder)
        assert [each.published for each in rows] == [9.10, 8.54, 8.67, 3.13, 3.23, 3.20]
        assert all(math.isnan(each.measured) and each.agrees is None for each in rows)
        assert rows[3].why.startswith("not run: it needs the file Nottingham.mat")


def test_music_is_trained_as_the_published_was(tmp_path):
    pieces = np.empty((1, 2), object)
    pieces[0, :] = [np.eye(4, 88, 30, dtype=np.uint8)] * 2
    scipy.io.savemat(
        tmp_path / "JSB_Chorales.mat", dict.fromkeys(("traindata", "validdata", "testdata"), pieces)
    )
    rows = chung.measured(MadeUp(**STUDY), tmp_path)
    assert [each.seeds for each in rows] == [5, 5, 5, 0, 0, 0]
    assert [each.measured for each in rows[:3]] == pytest.approx([10.02, 4.62, 3.62])
    assert "in 5 of 5 runs at the very end" in rows[0].why  # the losses of made-up runs fall
    spec = chung.archive_task(chung.ARCHIVES[0], tmp_path).spec
    assert (spec.optimizer, spec.weight_noise, spec.clip_norm) == ("rmsprop", 0.075, 1.0)
    assert spec.arguments["path"] == str(tmp_path / "JSB_Chorales.mat")


def test_counting_is_in_units_of_what_was_trained():
    study = MadeUp(**STUDY)
    rows = weiss.measured(study)
    assert [(each.published, each.measured, each.agrees) for each in rows] == [(1, 1, True)] * 2 + [
        (0, 0, True)
    ] * 2
    assert "they count to a median of 30, 30 to 30, of 1,000 tried" in rows[-1].why
    for task, most in zip(weiss.COUNTED, (50, 30), strict=True):
        spec = study.spec(task, "lstm")
        batch = spec.maker(**spec.arguments | {"sequences": 500})
        letters = spec.arguments["letters"]
        assert weiss.trained_to(study, task) == most == (batch.lengths.max() - 1) // letters


def test_rectified_units_and_copying_are_shares_of_runs():
    rows = le.measured(MadeUp(**STUDY))
    outcomes = [(each.measured, each.agrees, each.seeds) for each in rows]
    assert outcomes == [(1.0, True, 5), (0.0, False, 5), (0.0, False, 5)]
    chrono, keras = tallec.measured(MadeUp(**STUDY))
    assert (chrono.measured, chrono.agrees, chrono.seeds) == (1.0, True, 3)
    assert (keras.measured, keras.agrees, keras.seeds) == (0.0, True, 3)
    assert tallec.copying_task().spec.target_loss == pytest.approx(10 * math.log(8) / 120 / 10)
    assert tallec.copying_task().spec.target_loss < tasks.copying(steps=100, sequences=1).baseline
