"""What is hard in practice, statement 2b: every outcome on made-up shares of runs, and once a study of made-up arms."""

import numpy as np
import pytest
from helpers.studies import arm_on, fake_study

from gatescope.datatypes.verdict import ALIKE, ONLY, OTHER
from gatescope.experiments.claims.hard import Reached, judge_hard
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.win_table import ADDING_400, LONG_TO_TARGET

N = np.arange(10)


def reached(pytorch, keras, best=10, rnn=0):
    """Return runs on four tasks, of which only the last is as told."""
    easy = Reached({"pytorch": N < 10, "keras": N < 10}, N < 10, N < 10)
    told = Reached({"pytorch": pytorch > N, "keras": keras > N}, best > N, rnn > N)
    return {**{f"task {k}": easy for k in range(3)}, "hard": told}


MISSES, MISSES_NONE = reached(0, 0), reached(10, 9)


@pytest.mark.parametrize(
    ("lstm", "gru", "expected", "which", "depends"),
    [
        (MISSES, MISSES_NONE, "supported", ONLY, False),
        (MISSES, MISSES, "supported", ALIKE, False),
        (MISSES_NONE, MISSES, "contradicted", OTHER, False),
        (MISSES_NONE, MISSES_NONE, "contradicted", "", False),
        (reached(0, 10), MISSES_NONE, "supported", ONLY, True),
        (reached(1, 10), MISSES_NONE, "supported", ONLY, True),  # nine pairs, by Holm over 8 comparisons
        (reached(2, 10), MISSES_NONE, "undecided", "", True),  # eight are enough over four alone
        (reached(0, 0, best=0), MISSES_NONE, "undecided", "", False),  # nor does any other weight reach it
        (reached(10, 10, rnn=5), MISSES_NONE, "undecided", "", False),  # every cell learns all
        (reached(10, 10, rnn=4), MISSES_NONE, "contradicted", "", False),
    ],
)
def test_2b_on_constructed_numbers(lstm, gru, expected, which, depends):
    finding = judge_hard({"lstm": lstm, "gru": gru})
    assert (finding.judgement.word, finding.distinguishes) == (expected, which)
    assert finding.depends_on_init is depends
    assert len(finding.effects) == 8
    assert finding.effects[-1].reached == (lstm["hard"].best.mean(), lstm["hard"].default["keras"].mean())


def test_2b_says_what_is_missed_and_when_nothing_was_hard():
    missed = judge_hard({"lstm": reached(0, 10), "gru": MISSES}).judgement.reason
    assert missed.endswith("hard, pytorch 0.0 % against 100.0 %")
    easy = judge_hard({"lstm": reached(10, 10, rnn=10), "gru": MISSES}).judgement.reason
    assert easy.endswith("an RNN reaches 100.0 % of task 0: tasks that all cells learn decide nothing")


@pytest.mark.parametrize("quick", [False, True])
def test_2b_of_a_study(quick):
    asked = set()

    def arms(task, cell, scheme):
        asked.add((cell, scheme))
        misses = cell == "rnn" or (scheme == "pytorch" and task.spec.updates == hardest.spec.updates)
        return arm_on(task, cell, n=10, scheme=scheme or "keras", reached=not misses)

    hardest = ADDING_400.shortened() if quick else ADDING_400
    study = fake_study(arms, quick=quick)
    (verdict,) = run_claims(["2b"], study=study)
    assert (verdict.word, verdict.distinguishes, verdict.preliminary) == ("supported", ALIKE, quick)
    schemes = {None, "pytorch"} if quick else {None, "pytorch", "keras"}
    assert asked == {("rnn", None), *((cell, scheme) for cell in ("lstm", "gru") for scheme in schemes)}
    assert f"{hardest.name}, pytorch 0.0 % against 100.0 %" in verdict.reason
    assert verdict.depends_on_init is not quick  # of a quick study there is one default alone
    assert len(verdict.effects) == len(LONG_TO_TARGET) * (1 if quick else 2)
    assert f"lstm, pytorch, {hardest.name}" in verdict.tuned
