"""Statements 13 and 35: every outcome on made-up losses."""

import numpy as np
import pytest
from helpers.made_up_study import around, made_up_study

from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.unlike_data import Changed, judge_bias, judge_noise

TASKS = ("digits", "adding")


def changed(times, level=0.1):
    return Changed(around(level * times), around(level))


@pytest.mark.parametrize(
    ("lstm", "gru", "expected"),
    [(4, 2, "supported"), (2, 4, "contradicted"), (2, 2, "equal"), (1, 1, "equal")],
)
def test_13_on_constructed_numbers(lstm, gru, expected):
    # The GRU loses a tenth of what the LSTM does: a level, which does not count.
    losses = {task: {"lstm": changed(lstm), "gru": changed(gru, level=0.01)} for task in TASKS}
    finding = judge_noise(losses)
    assert finding.judgement.word == expected
    assert finding.effects[0].mean == pytest.approx(np.log(gru / lstm))
    assert finding.measured["gru, adding: test loss with noise"][0] == pytest.approx(0.01 * gru)


def test_13_may_be_mixed_or_undecided():
    better, worse = ({"lstm": changed(2), "gru": changed(times)} for times in (1, 4))
    assert judge_noise({"digits": better, "adding": worse}).judgement.word == "mixed"
    wide = {"lstm": changed(2), "gru": Changed(around(0.2) * np.geomspace(0.2, 5, 10), around(0.1))}
    judged = judge_noise({"digits": wide}).judgement
    assert (judged.word, judged.needed is None) == ("undecided", False)


def test_where_noise_leaves_neither_anything_to_learn_who_was_worse_without_does_not_handle_it_better():
    # Without noise a GRU loses three times as much; with it both are at 1/6, the variance of the sum.
    def at_the_bottom(level, **more):
        return Changed(around(1 / 6, 0.001), around(level), **more)

    judged = judge_noise({"adding": {"lstm": at_the_bottom(0.01), "gru": at_the_bottom(0.03)}}).judgement
    assert judged.word == "supported"  # which it seems to be
    floors = {"baselines": (1 / 6, 1 / 6)}
    losses = {"lstm": at_the_bottom(0.01, **floors), "gru": at_the_bottom(0.03, **floors)}
    (effect,) = judge_noise({"adding": losses}).effects
    assert effect.name == "adding, which neither learns"
    assert judge_noise({"adding": losses}).judgement.word == "undecided"
    # Where one of them learns in spite of the noise, it counts.
    losses["gru"] = Changed(around(0.04), around(0.03), (1 / 6, 1 / 6))
    assert judge_noise({"adding": losses}).judgement.word == "supported"


@pytest.mark.parametrize(
    ("gru", "lstm", "rnn", "expected", "which"),
    [
        (2, 2, 2, "supported", "all cells alike"),
        (2, 4, 2, "supported", "the other cell more"),
        (4, 2, 2, "supported", ""),  # the GRU more, for which there is no word
        (2, 1, 1, "supported", "only this cell"),
        (2, 2, 1, "supported", ""),
        (1, 2, 1, "equal", "the other cell more"),
        (0.5, 1, 1, "contradicted", ""),
        (1, 1, 1, "equal", ""),
    ],
)
def test_35_on_constructed_numbers(gru, lstm, rnn, expected, which):
    by_cell = {"gru": changed(gru), "lstm": changed(lstm), "rnn": changed(rnn, level=1)}
    finding = judge_bias({task: by_cell for task in TASKS})
    assert (finding.judgement.word, finding.distinguishes) == (expected, which)
    assert len(finding.effects) == 3 * 2 + 2
    assert finding.effects[-1].mean == pytest.approx(np.log(gru / lstm))


@pytest.mark.parametrize(("gru", "lstm", "expected"), [(1.05, 1.03, "supported"), (1.03, 1.05, "equal")])
def test_35_takes_one_word_beside_another_for_no_difference(gru, lstm, expected):
    # One is above 1 for sure, and by less than what matters; the other is not, and hardly less above it.
    def spread(times, half):
        return Changed(0.1 * times * np.exp(half * np.linspace(-1, 1, 10)), np.full(10, 0.1))

    sure, open_ = 0.02, 0.07
    cells = {
        "gru": spread(gru, sure if gru > lstm else open_),
        "lstm": spread(lstm, sure if lstm > gru else open_),
    }
    finding = judge_bias({task: {**cells, "rnn": spread(1, open_)} for task in TASKS})
    assert (finding.judgement.word, finding.distinguishes) == (expected, "")


def test_35_may_be_mixed_or_undecided():
    up, down = (dict.fromkeys(("gru", "lstm", "rnn"), changed(times)) for times in (2, 0.5))
    assert judge_bias({"digits": up, "adding": down}).judgement.word == "mixed"
    finding = judge_bias({"digits": up, "adding": dict.fromkeys(up, changed(1))})
    assert (finding.judgement.word, finding.distinguishes) == ("undecided", "")


def test_both_are_asked_of_a_study():
    def numbers(task, cell):
        spec = task.spec
        noise = 1 + (spec.input_noise + spec.label_noise) * (1 if cell == "gru" else 4)
        return {"test_loss": around(0.1 * noise * (3 if spec.training_arguments else 1))}

    noise, bias = (run_claims([n], study=made_up_study(numbers))[0] for n in ("13", "35"))
    assert (noise.word, len(noise.effects)) == ("supported", 8)
    assert (bias.word, bias.distinguishes) == ("supported", "all cells alike")
    assert noise.effects[0].name == "digits, N = 200, label noise 0.2"
    assert bias.measured["rnn, adding, N = 1,000, numbers up to 0.5: test loss biased"][0] == pytest.approx(
        0.3
    )
