"""Selective gates: every outcome on made-up differences, marks of real data, and networks whose gates are known."""

import numpy as np
import pytest
from helpers.studies import arm_on, fake_study, model_of

import gatescope as gs
from gatescope.cells.registry import get
from gatescope.datatypes.verdict import ALIKE, ONLY, OTHER
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.selecting import (
    FORGETS,
    LETS_IN,
    Selected,
    apart,
    judge_selecting,
    marks_of,
)
from gatescope.experiments.claims.win_table import ADDING_100


def selected(passed, *, fooled=0, learned=10):
    n = np.arange(10)
    return Selected(
        np.where(n < passed, 0.21, 0.19),
        np.where(n < fooled, 0.21, 0.0),
        n < learned,
        ("z",) * 7 + ("r",) * 3,
    )


def both(passed, **options):
    return {LETS_IN: selected(10), FORGETS: selected(passed, **options)}


@pytest.mark.parametrize(
    ("lstm", "gru", "expected", "which"),
    [
        (both(9), both(9), "supported", ALIKE),
        (both(9), both(8), "undecided", ""),
        (both(9), both(6), "mixed", ""),  # McNemar's test tells them not apart
        (both(9), both(2), "mixed", ONLY),
        (both(2), both(9), "mixed", OTHER),
        (both(6), both(6), "contradicted", ""),
        (both(6), both(8), "contradicted", ""),  # both are said to: one that does not is enough
        (both(9), both(9, fooled=2), "undecided", ""),  # so would random marks
        (both(9), both(9, fooled=1), "supported", ALIKE),
        (both(9), both(0, learned=4), "undecided", ""),
        (both(9), both(0, learned=5), "mixed", ONLY),
    ],
)
def test_47_on_constructed_numbers(lstm, gru, expected, which):
    finding = judge_selecting({"lstm": lstm, "gru": gru})
    assert (finding.judgement.word, finding.distinguishes) == (expected, which)
    passed = int((gru[FORGETS].marked > 0.2).sum())
    assert f"gru, gate that forgets, z 7 times, r 3 times: {passed} of 10 seeds" in finding.judgement.reason
    assert finding.measured["lstm, gate that lets in: difference at marks"].value == pytest.approx(0.21)


def test_marks_are_of_a_channel_and_a_sign():
    pulses = gs.tasks.flip_flop(steps=30, sequences=5)
    marks = marks_of(pulses)
    assert marks.shape == (6, 29, 5)
    np.testing.assert_array_equal(marks[1] * 1.0 - marks[4], pulses.inputs[1:, :, 1])
    (adding,) = marks_of(gs.tasks.adding(steps=30, sequences=5))
    assert set((adding.sum(axis=0)).tolist()) <= {1, 2}  # a mark at the first step is left out


def test_a_unit_is_chosen_by_the_one_half_and_tested_on_the_other():
    rng = np.random.default_rng(0)
    marks = rng.random((2, 19, 40)) < 0.2
    values = rng.random((20, 40, 3)) * 1e-6
    values[1:, :, 2] += 0.5 * marks[1]
    values[1:, :20, 0] += 0.9 * marks[0, :, :20]  # of the first half alone
    assert apart(values, marks) == (pytest.approx(0, abs=1e-3), 0)
    values[1:, :20, 0] -= 0.9 * marks[0, :, :20]
    assert apart(values, marks) == (pytest.approx(0.5, abs=1e-5), 2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("forgets_by", "expected"), [("z", "supported"), ("r", "supported"), ("", "contradicted")]
)
def test_networks_whose_gates_are_known(forgets_by, expected):
    tells = forgets_by != ""

    def gate(cell, lets_in):
        if cell == "lstm":
            return "i" if lets_in else "f"
        return "z" if lets_in else forgets_by or "z"

    def arms(task, cell, scheme):
        """Return models of which one gate turns at the marks, in unit 0, or never."""

        def model(seed):
            layer = model_of(cell, task).layers[0]
            weight, bias = (np.zeros_like(layer.weight_ih), np.zeros_like(layer.bias_ih))
            lets_in = task is ADDING_100
            row = get(cell).gates.index(gate(cell, lets_in)) * 4
            sign = 1 if cell == "lstm" and lets_in else -1
            bias[row] = -3 * sign
            weight[row, 1] = 6 * sign * tells
            return model_of(cell, task, weight_ih=weight, bias_ih=bias, weight_hh=0 * layer.weight_hh)

        return arm_on(task, cell, model=model)

    (verdict,) = run_claims(["47"], study=fake_study(arms, seeds=2))
    assert verdict.word == expected
    if tells:
        assert f"gru, gate that forgets, {forgets_by} 2 times: 2 of 2 seeds" in verdict.reason
    apart = 0.905 if tells else 0.0  # of the sigmoid at 3 and at -3
    for cell in ("lstm", "gru"):
        for does in (LETS_IN, FORGETS):
            value, _ = verdict.measured[f"{cell}, gate that {does}: difference at marks"]
            assert value == pytest.approx(apart, abs=0.15 if tells else 1e-9)  # biases of weight_hh are drawn
