"""A verdict says its word with what goes with it, keeps its numbers, and becomes JSON that any reader takes."""

import dataclasses
import json

import numpy as np
import pytest
from helpers.arms import made_arm, made_run, spread

import gatescope as gs
from gatescope.datatypes import Effect, Verdict
from gatescope.datatypes.verdict import WORDS
from gatescope.errors import UnknownNameError
from gatescope.experiments.seeds.statistics import by_share

FIELDS = {
    "number": "6a",
    "statement": "LSTM keeps up over long lags, GRU may not",
    "sources": "P A",
    "kind": "statistical",
    "criterion": "fewer updates on most",
    "word": "contradicted",
    "reason": "lower on 1 of 1 task",
}


def test_the_text_of_a_verdict():
    assert Verdict(**FIELDS).text == "contradicted"
    assert Verdict(**FIELDS).command == "gatescope claims --only 6a --full --runs FOLDER"
    ran = Verdict(**FIELDS, preliminary=True, provenance={"seeds": 3, "units": 16, "fast": True})
    assert ran.command == "gatescope claims --only 6a --seeds 3 --units 16 --runs FOLDER"
    few = dataclasses.replace(ran, provenance={"seeds": 3, "units": 32, "fast": False})
    assert few.command == "gatescope claims --only 6a --full --seeds 3 --units 32 --runs FOLDER"
    assert Verdict(**{**FIELDS, "kind": "exact"}).command == "gatescope claims --only 6a"
    measured = Verdict(**{**FIELDS, "kind": "measured"})
    assert measured.command == "gatescope claims --only 6a --full"
    trained = Verdict(**{**FIELDS, "kind": "exact"}, runs=20)  # of which a half is of trained networks
    assert trained.command == "gatescope claims --only 6a --full --runs FOLDER"
    assert dataclasses.replace(measured, runs=20).command == "gatescope claims --only 6a --full --runs FOLDER"
    assert dataclasses.replace(measured, preliminary=True).command == "gatescope claims --only 6a"
    whole = Verdict(
        **FIELDS, distinguishes="only this cell", small=True, depends_on_init=True, preliminary=True
    )
    assert whole.text == "contradicted, only this cell, small, depends on initial weights, preliminary"
    assert whole.summary().splitlines() == [
        f"6a LSTM keeps up over long lags, GRU may not (P A): {whole.text}",
        "lower on 1 of 1 task",
        "criterion: fewer updates on most",
    ]


def test_the_number_that_decides():
    one = spread(-0.5, 0.1, name="adding")
    assert Verdict(**FIELDS, effects=(one,)).deciding == "adding 0.607 [0.549, 0.67]"
    assert (Verdict(**FIELDS, effects=(one,)).n, Verdict(**FIELDS, seeds=3).n, Verdict(**FIELDS).n) == (
        10,
        3,
        0,
    )
    counts = "lower on 2, higher on 0, inside the margin on 1 of 3 tasks"
    several = Verdict(**{**FIELDS, "reason": f"{counts}; adding 0.6"}, effects=(one, one))
    assert several.deciding == counts
    for reason in ("the bound is 0.01; the rate is 0.5", f"no ({counts}; of which one is small)"):
        assert dataclasses.replace(several, reason=f"{reason}; adding 0.6").deciding.startswith(reason)


@pytest.mark.parametrize("word", WORDS)
def test_it_is_saved_and_loaded(word, tmp_path):
    effects = (spread(-0.5, 0.1, name="adding"), by_share(np.zeros(3), np.ones(3), name="xor"))
    verdict = Verdict(
        **{**FIELDS, "word": word},
        effects=effects,
        equalities={"state": 0.0},
        controls={"other gate": 1e12},
        tuned={"lstm": {"lr": 0.01, "scheme": "keras"}},
    )
    verdict.save(tmp_path / "verdict.npz")
    assert gs.load(tmp_path / "verdict.npz") == verdict
    rows = verdict.table().rows
    assert [row[0] for row in rows] == ["adding", "xor", "state", "other gate"]
    assert rows[0][1] == "0.607 [0.549, 0.67]"
    assert rows[1][1] == "0.0 % against 100.0 % reached the target"


def test_words_that_there_are_not():
    with pytest.raises(UnknownNameError, match="choose from supported, contradicted"):
        Verdict(**{**FIELDS, "word": "proved"})
    with pytest.raises(UnknownNameError, match="choose from , only this cell"):
        Verdict(**FIELDS, distinguishes="that cell")
    with pytest.raises(UnknownNameError, match="choose from , lower"):
        Verdict(**FIELDS, claim="less")


def test_a_record_is_plain_json():
    verdict = Verdict(**FIELDS, effects=(by_share(np.zeros(3), np.ones(3), name="xor"),))
    record = json.loads(json.dumps(verdict.record(), allow_nan=False))
    assert record["word"] == "contradicted"
    assert record["effects"][0]["margin"] is None  # NaN, which JSON has not
    assert record["effects"][0]["p"] == 0.25
    assert record["effects"][0]["differences"] == [-1.0, -1.0, -1.0]
    assert "provenance" not in record


def test_effects_in_their_own_unit():
    log_ratio = spread(np.log(0.5), 0.1)
    assert log_ratio.text() == "0.5 [0.452, 0.553]"
    assert dataclasses.replace(log_ratio, measure="difference").text() == "-0.693 [-0.793, -0.593]"
    assert (log_ratio.sign, log_ratio.inside_margin) == (-1, False)
    assert log_ratio.table().rows[0][-1] is False
    assert isinstance(log_ratio, Effect)


def test_runs_and_arms_in_words():
    run = made_run(updates=30)
    assert run.summary() == "lstm on adding, seed 0: reached after 30 updates\ntest loss 0.5"
    assert run.table().rows[0] == ("outcome", "reached after 30 updates")
    assert made_run().outcome() == "finished after 40 updates, target 0.1 not reached"
    assert made_run(test_accuracy=0.9, test_answers=50).errors == pytest.approx(5)
    arm = made_arm("gru", updates=[10, None, 30])
    assert arm.summary().startswith("gru: 3 runs, 66.7 % reached the target, median 30 updates")
    assert arm.censored == pytest.approx(1 / 3)
