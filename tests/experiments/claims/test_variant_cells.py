"""The variants, how they are tuned, and which runs the rows on them ask a study for; nothing is trained."""

import collections
import math

import numpy as np
import pytest
from helpers.arms import SPEC, made_run

from gatescope.experiments.claims import addition, coupling, preserves
from gatescope.experiments.claims import study as study_module
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.study import Study, StudyCell, StudyTask
from gatescope.experiments.claims.variant_cells import (
    AS_PRINTED,
    CONSTANT_LEAK,
    COUPLED,
    JANET,
    LEAKY,
    NO_FORGET,
    NO_GATES,
    NO_INPUT,
    NO_OUTPUT,
    NO_RESET,
    NO_UPDATE,
    RELU,
    UNCOUPLED,
    adds,
    chosen,
    effect_of,
    gates_of,
    is_coupled,
)
from gatescope.experiments.seeds import runs, tuning

TASK = StudyTask(name="short adding", spec=SPEC.with_(updates=800), metric="updates", margin=0.2, memory=6)
ROWS = ["4", "17b", "18b", "34", "42", "43"]


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Make runs that reach the target sooner with a rate near 0.01, soonest with a bias; list them by their specs."""
    specs = {}

    def make_runs(some, _folder, **_options):
        made = []
        for spec in some:
            updates = (
                100 * (1 + abs(round(np.log(spec.lr / 0.01)))) + (0 if spec.biases else 20) + spec.seed % 7
            )
            counts = {"counted_to": 50 + spec.seed} if spec.task == "counting" else {}
            specs[spec] = made_run(spec, updates=updates, **counts)
            made.append(specs[spec])
        return tuple(made)

    for module in (tuning, runs, study_module):
        monkeypatch.setattr(module, "make_runs", make_runs)
    monkeypatch.chdir(tmp_path)  # where tuning looks for runs that are there
    # The task's own would need its data, and their package.
    monkeypatch.setattr(Study, "baseline", lambda self, task: math.nan)
    return specs


@pytest.mark.parametrize(
    ("cell", "biases", "gates", "tied", "sums"),
    [
        (NO_INPUT, {"f": 3.0}, 2, False, True),
        (NO_FORGET, {"i": -3.0}, 2, False, True),
        (NO_OUTPUT, {"f": 3.0}, 2, False, True),
        (NO_GATES, None, 0, False, True),
        (COUPLED, {"f": 3.0}, 2, True, True),
        (JANET, {"f": 3.0}, 1, True, True),
        (LEAKY, {"a": -3.0}, 1, True, True),  # a is what is lost
        (CONSTANT_LEAK, {"a": -3.0}, 1, True, True),
        (UNCOUPLED, {"z": 3.0}, 3, False, True),
        (NO_RESET, {"z": 3.0}, 1, True, True),
        (NO_UPDATE, None, 1, True, False),
        (AS_PRINTED, None, 3, False, False),
        (RELU, None, 0, False, False),
    ],
    ids=lambda value: value.name if isinstance(value, StudyCell) else "",
)
def test_what_the_equations_of_a_variant_say(cell, biases, gates, tied, sums):
    assert cell.biases == (({}, biases) if biases else ({},))
    assert (gates_of(cell), is_coupled(cell), adds(cell)) == (gates, tied, sums)


def test_a_variant_is_tuned_in_turns(asked):
    arm = Study(folder="nowhere", seeds=3).arm(TASK, NO_INPUT)
    tried = {spec.with_(updates=800) for spec in asked if spec.seed == 1000}
    first = collections.Counter(spec.scheme for spec in tried)
    # Four rates with each of two biases; with the best of them the other two schemes.
    assert first == {"pytorch": 8, "keras": 1, "chrono(6)": 1}
    spec = arm.runs[0].spec
    assert (spec["lr"], spec["biases"], spec["clamp"], spec["cell"]) == (0.01, {"f": 3.0}, {"i": 1.0}, "lstm")
    assert [run.seed for run in arm.runs] == [0, 1, 2]


def test_a_study_knows_which_runs_a_variant_used(asked):
    study = Study(folder="nowhere", seeds=3)
    effect = effect_of(study, TASK, "lstm", NO_FORGET)
    assert len(study.used) == 6
    assert effect.arms == ("lstm", "lstm, no forget gate")
    assert effect.name == "lstm, no forget gate, short adding"
    assert chosen(study, [(TASK, NO_FORGET)]) == {
        "lstm, no forget gate, short adding": {
            "lr": 0.01,
            "scheme": "pytorch",
            "biases": {"i": -3.0},
            "at_edge": False,
        }
    }


@pytest.mark.slow
def test_the_rows_and_the_runs_they_ask_for(asked, monkeypatch):
    monkeypatch.setattr(addition, "_lost", lambda run: 1.0 + 0.1 * len(run.spec["cell"]) + 0.01 * run.seed)
    monkeypatch.setattr(
        preserves, "_stream", lambda run: (0.1 + 0.01 * run.seed, 2.0 + len(run.spec["clamp"]))
    )
    monkeypatch.setattr(preserves, "_keeps_all", lambda: ({"kept": 0.0}, {"not kept": 1e15}))
    monkeypatch.setattr(coupling, "_sums", lambda run, fresh: np.full((2, 2, 2), 0.45 if fresh else 0.05))
    study = Study(folder="nowhere", seeds=2, lr=(0.01,))
    verdicts = {verdict.number: verdict for verdict in run_claims([*ROWS, "25", "30"], study=study)}
    assert {number: verdict.runs for number, verdict in verdicts.items()} == {
        "4": 2 * (2 * 10 + 3),
        "17b": 2 * 6,
        "18b": 2 * 2 * 6,
        "25": 2 * 2 * 2,
        "30": 2 * 2,
        "34": 2 * (3 + 3 + 8),
        "42": 2 * 2 * 9,
        "43": 2 * (3 + 2),
    }
    for verdict in verdicts.values():
        assert verdict.tuned
        assert verdict.word
        assert verdict.preliminary
    # What the rows share is made once: LSTM, GRU and RNN beside 15 variants on adding, and on its longer form alone.
    counted = collections.Counter(spec.task for spec in asked if spec.seed < 1000)
    assert counted == {
        "adding": 2 * (3 + 15 + 3),
        "temporal_order": 2 * (3 + 13),
        "counting": 2 * (3 + 6),  # to a target, and with the whole budget
        "chorales": 2 * (1 + 7),
        "counting_stream": 2 * 3,
    }
