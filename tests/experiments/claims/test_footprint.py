"""How much memory a cell takes: every word on made-up numbers, and once real ones."""

import warnings

import numpy as np
import pytest

from gatescope.experiments.claims import footprint
from gatescope.experiments.claims.footprint import Footprint, judge_footprint
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.statement import Scale

LSTM = Footprint(6, 2, 7580)
PEAKS = np.array([511.0, 511.2, 511.1])


@pytest.mark.parametrize(
    ("gru", "peaks", "word"),
    [
        (Footprint(5, 1, 6047), PEAKS - 49, "supported"),
        (Footprint(7, 3, 9000), PEAKS + 49, "contradicted"),
        (Footprint(5, 1, 6047), PEAKS + 49, "mixed"),
        (
            Footprint(5, 1, 6047),
            PEAKS - 0.1,
            "undecided",
        ),  # one process of a GRU takes as much as one of an LSTM
        (Footprint(6, 2, 7580), PEAKS, "undecided"),
    ],
)
def test_every_word_of_9c(gru, peaks, word):
    finding = judge_footprint({"gru": gru, "lstm": LSTM}, {"gru": peaks, "lstm": PEAKS})
    assert finding.judgement.word == word
    assert finding.measured["gru: states to carry, a unit"] == (gru.carried, 0)
    assert finding.measured["lstm: peak of a training process, MiB"][0] == pytest.approx(PEAKS.mean())


def test_what_cells_keep():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*inputs")  # two steps of 20 sequences are meant
        kept = {cell: footprint._footprint(cell)[:2] for cell in footprint.CELLS}
    assert kept == {
        "rnn": (1, 1),
        "gru": (5, 1),
        "gru_reset_before": (4, 1),
        "lstm_coupled": (5, 2),
        "lstm": (6, 2),
    }


def test_what_the_first_process_of_a_cell_takes_does_not_count(monkeypatch):
    taken = iter([900, 900, 511, 462, 512, 463])  # MiB, of LSTM and GRU in turns
    asked = []
    monkeypatch.setattr(footprint, "_in_a_process", lambda *who: asked.append(who) or next(taken) * 2**20)
    (verdict,) = run_claims(["9c"], scale=Scale(preliminary=True))
    assert asked == [("lstm", footprint.FAST_STEPS), ("gru", footprint.FAST_STEPS)] * 3
    assert (verdict.word, verdict.seeds, verdict.preliminary) == ("supported", 2, True)
    assert "a process of 462.5 MiB against 511.5" in verdict.reason


@pytest.mark.slow
def test_a_real_process():
    assert 50 < footprint._in_a_process("gru", 100) / 2**20 < 4000
