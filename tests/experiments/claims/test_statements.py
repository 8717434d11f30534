"""The exact rows: each comes to its word, its equalities hold to 16 roundings, and its controls fail by far."""

import json
import re

import numpy as np
import pytest

import gatescope as gs
from gatescope.datatypes.verdict import WORDS
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
from gatescope.experiments.claims import feedback, lstm_gates, samples, statement
from gatescope.experiments.claims.copying import judge_copying
from gatescope.experiments.claims.page.page import page
from gatescope.experiments.claims.report import markdown, verdicts_table, write_claims
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.statement import Scale, statements
from gatescope.experiments.seeds.judge import ROUNDINGS

SMALL = Scale(units=5, steps=50, many_units=5, long_steps=50, seeds=2)
EXPECTED = {
    "3": "contradicted",
    "9a": "supported",
    "9b": "contradicted",
    "16": "supported",
    "20": "supported",
    "22": "equal",
    "23": "supported",
    "24": "supported",
    "25": "supported",
    "26a": "supported",
    "26b": "supported",
    "29": "misprint",
    "30": "misprint",
    "31": "cannot be run",
    "32a": "supported",
    "32b": "contradicted",
    "33a": "contradicted",
    "38": "contradicted",
    "39": "contradicted",
    "40a": "supported",
    "40b": "supported",
    "40c": "mixed",
    "41": "contradicted",
    "46": "supported",
    "48": "contradicted",
}


@pytest.fixture(scope="module")
def verdicts():
    return {verdict.number: verdict for verdict in run_claims([*EXPECTED], scale=SMALL)}


@pytest.mark.slow
@pytest.mark.parametrize("number", EXPECTED)
def test_every_exact_row(number, verdicts):
    verdict = verdicts[number]
    assert verdict.word == EXPECTED[number]
    assert max(verdict.equalities.values()) <= ROUNDINGS
    assert min(verdict.controls.values()) > 1e12  # far from a rounding
    assert verdict.statement
    assert re.fullmatch("[PQDAM][0-5]?( [PQDAM][0-5]?)*", verdict.sources)
    assert verdict.criterion.endswith(".")


def test_all_statements_are_expected_here():
    assert [each.number for each in statements() if each.kind in ("exact", "documentary")] == list(EXPECTED)


def test_a_gate_that_does_something_else_turns_the_verdict(monkeypatch):
    # A GRU whose z is clamped at 1/2, whatever it is asked for: z = 1 copies no longer.
    real = samples.run
    monkeypatch.setattr(
        samples, "run", lambda params, x, **options: real(params, x, **{**options, "clamp": {"z": 0.5}})
    )
    (verdict,) = run_claims(["22"], scale=SMALL)
    assert verdict.word == "contradicted"
    assert "differ: gru: z = 1 copies" in verdict.reason


@pytest.mark.parametrize(
    ("copied", "learnt", "control", "word"),
    [
        (0.0, (0.0, 0.0), 1e14, "contradicted"),
        (0.0, (1e14, 0.0), 1e14, "contradicted"),  # one of two gates learns
        (1e14, (1e14, 1e14), 1e14, "contradicted"),  # all learn, but not all is copied
        (0.0, (1e14, 1e14), 1e14, "supported"),
        (0.0, (0.0, 0.0), 0.0, "undecided"),
    ],
)
def test_row_3_on_constructed_numbers(copied, learnt, control, word):
    finding = judge_copying({"state": copied}, dict(zip("rn", learnt, strict=True)), {"z = 0.5": control})
    assert finding.judgement.word == word


def test_row_3_tells_how_fast_a_gradient_is_lost_that_is_not_quite_copied(verdicts):
    rates = {name: rate for name, (rate, _) in verdicts["3"].measured.items()}
    # -ln z and what the candidate gives back, which weighs 1 - z and is of the same order: a part of the rate, not all.
    for z in (0.9, 0.99, 0.999):
        assert rates[f"gru, z = {z} in all units: rate of the gradient"] == pytest.approx(-np.log(z), rel=0.6)
    for some in ("half of the units", "one unit"):  # whose gradient stays, whatever the others do
        assert abs(rates[f"gru, z = 1 in {some}: rate of the gradient"]) < 1e-2


def test_a_control_that_passes_leaves_it_undecided(monkeypatch):
    monkeypatch.setattr(samples, "moved", lambda inputs, step: inputs)
    for number in ("32b", "46"):
        (verdict,) = run_claims([number], scale=SMALL)
        assert verdict.word == "undecided"
        assert "a control that has to differ does not" in verdict.reason


def test_without_recurrent_weights_nothing_comes_in_through_h(monkeypatch):
    real = lstm_gates.make
    monkeypatch.setattr(lstm_gates, "make", lambda *args: samples.without_recurrence(real(*args)))
    (verdict,) = run_claims(["40c"], scale=SMALL)
    assert verdict.word == "supported"  # and not mixed: the forget gate alone is left


def test_what_a_word_leaves_out_is_told_with_its_number(verdicts):
    for number, told in {
        "9a": r"with a read-out of 10 numbers a GRU has 0.7538 to 0.8182 of an LSTM's",
        "38": r"a step later they do, through h, by at least \S+ × 10\^1[2-5] roundings",
        "33a": r"with 1 output fed back the recurrent matrix has rank 1, an Elman network's 5",
        "40c": r"the past still comes in through h, by \S+ × 10\^1[3-5] roundings",
        "41": r"sees the old state by 0 roundings at r = 0, and by \S+ × 10\^1[3-5] at r = 1",
    }.items():
        assert re.search(told, verdicts[number].reason), verdicts[number].reason


def test_lengths_that_are_ignored_are_seen(monkeypatch):
    real = feedback.run
    monkeypatch.setattr(feedback, "run", lambda params, x, lengths=None: real(params, x))
    (verdict,) = run_claims(["16"], scale=SMALL)
    assert verdict.word == "contradicted"


def test_an_lstm_by_hand_at_o_0():
    """Row 32b once more, with an LSTM written out here."""
    params, x = samples.make("lstm", SMALL), samples.noise(SMALL)

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    def candidate(inputs, open_):
        h, c = np.zeros((3, 5)), np.zeros((3, 5))
        for each in inputs:
            rows = each @ params.weight_ih.T + params.bias_ih + h @ params.weight_hh.T + params.bias_hh
            i, f, g, _ = np.split(rows, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = open_ * np.tanh(c)
        return np.tanh(g)

    for o, seen in ((0.0, False), (1.0, True)):
        change = abs(candidate(x[:11], o) - candidate(samples.moved(x, 9)[:11], o)).max()
        assert change > 1e-3 if seen else change == 0
        trace = gs.run(params, x, clamp={"o": o})
        np.testing.assert_allclose(trace.gate("g")[10], candidate(x[:11], o), atol=1e-14)


def test_roundings():
    assert samples.roundings([1.0, 2.0], [1.0, 2.0 - 2**-51]) == 1
    assert samples.roundings([0.0, 0.0], [0.0, 0.0]) == 0
    assert samples.roundings(np.zeros(2), [1e-300, 0.0]) > 1e15
    for bad in (np.nan, np.inf):
        assert samples.roundings([bad, 1.0], [bad, 1.0]) == np.inf


def test_numbers_are_chosen():
    assert [each.number for each in statements(["40", "9a"])] == ["9a", "40a", "40b", "40c"]
    assert [each.number for each in statements(["26b", "26"])] == ["26a", "26b"]
    with pytest.raises(UnknownNameError, match="the numbers are 1a, 1b, 2a"):
        run_claims(["50"])
    with pytest.raises(DtypeError, match="give a list of numbers"):
        run_claims("41")


def test_a_number_has_one_test():
    with pytest.raises(ValueRangeError, match="has a test already"):
        statement.statement("41", "again", sources="P", criterion="None.")(lambda scale: None)


def test_the_table_and_what_is_reported(verdicts, tmp_path):
    lines = []
    made = run_claims(["9a", "26a"], scale=SMALL, log=lines.append)
    assert lines == [
        "statement 9a, 1 of 2: a GRU has fewer parameters than an LSTM",
        "statement 26a, 2 of 2: an LSTM has three gates",
    ]
    table = verdicts_table(made)
    assert [row[0] for row in table.rows] == ["9a", "26a"]
    assert table.title == "2 statements: 2 supported"
    text, records, shown = (path.read_text() for path in write_claims([*verdicts.values()], tmp_path))
    assert text == markdown([*verdicts.values()])
    assert text.startswith("# 25 statements: ")
    assert "| 41 | the reset gate decides how much of the past is forgotten | P A | contradicted |" in text
    assert [record["word"] for record in json.loads(records)] == [*EXPECTED.values()]
    assert all(f"gatescope claims --only {number}`" in text for number in EXPECTED)
    assert {verdict.word for verdict in verdicts.values()} <= set(WORDS)
    assert shown == page([*verdicts.values()])
    assert all(f'id="claim-{number}"' in shown for number in EXPECTED)
    assert "shown on one draw of weights and inputs in float64" in shown
