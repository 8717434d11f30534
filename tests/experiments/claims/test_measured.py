"""The measured rows: every word of each on constructed numbers, and one small real run of each module."""

import dataclasses
import json

import numpy as np
import pytest

import gatescope as gs
from gatescope.cells.registry import get
from gatescope.datatypes.verdict import ALIKE, ONLY, OTHER
from gatescope.experiments.claims import decay as decay_module
from gatescope.experiments.claims import statement
from gatescope.experiments.claims.decay import (
    Decay,
    _decays,
    judge_exponential,
    judge_grows,
    judge_solved,
    line_against_power,
)
from gatescope.experiments.claims.kept import judge_decides
from gatescope.experiments.claims.maps import judge_deals, judge_explodes, judge_vanishing, thresholds
from gatescope.experiments.claims.measured import draws, mean, noise_of
from gatescope.experiments.claims.report import markdown
from gatescope.experiments.claims.run import run_claims
from gatescope.experiments.claims.statement import FAST, FULL, Scale, Statement, statements
from gatescope.experiments.claims.study import Study
from gatescope.recurrence.initialization import random_state

SMALL = Scale(units=5, steps=50, many_units=5, long_steps=200, seeds=3, data=(2, 4), preliminary=True)
SPREAD = np.linspace(-1, 1, 10)  # about a mean; its standard error is 0.213
SPREAD -= SPREAD.mean()


def around(value, error=0.01):
    """Return a number a seed, 10 of them, with this mean and standard error."""
    return value + SPREAD * error * np.sqrt(10) / SPREAD.std(ddof=1)


def word(finding):
    return finding.judgement.word


def test_means_and_the_bounds_they_are_from():
    one = mean(around(0.5, 0.1))
    assert one == pytest.approx((0.5, 0.1))
    assert one.above(0.19)
    assert not one.above(0.21)
    assert one.below(0.81)
    assert not one.below(0.79)
    for single in (mean([2.0]), mean([1.0, np.nan]), mean([1.0, np.inf])):
        assert [single.above(), single.below()] == [False, False]  # nothing is known of its error
    assert mean([2.0, 2.0]).above(1.999)
    assert mean([np.inf, np.inf]) == (np.inf, 0.0)  # all agree
    assert mean([-np.inf, -np.inf]).below()
    opposite = mean([np.inf, -np.inf])
    assert [opposite.above(), opposite.below()] == [False, False]
    assert FULL.seeds == FAST.seeds == 10
    assert FAST.preliminary
    assert not FULL.preliminary


def decay(exponent, slope=None, residuals=-1.0, *, error=0.01, off=0.001):
    slope = exponent if slope is None else slope
    exponents = around(exponent, error)
    return Decay(exponents, exponents + around(slope - exponent, off), around(residuals, 0.1))


@pytest.mark.parametrize(
    ("decays", "expected"),
    [
        ({"a": decay(-0.5), "b": decay(0.2)}, "supported"),
        ({"a": decay(-0.5), "b": decay(0.0, 0.3)}, "supported"),  # of an exponent of 0 nothing is said
        (
            {"a": decay(-0.5), "b": decay(-0.2, -0.169)},
            "contradicted",
        ),  # another rate, by more than 3 errors of it
        (
            {"a": decay(-0.5), "b": decay(-0.2, -0.171)},
            "supported",
        ),  # a bias that pairs tell from 0, and less
        ({"a": decay(-0.5), "b": decay(-0.2, -0.169, off=0.011)}, "supported"),  # nor do pairs
        ({"a": decay(-0.5), "b": decay(-0.2, 0.2)}, "contradicted"),  # another sign
        ({"a": decay(-0.5), "b": decay(-0.2, residuals=1.0)}, "contradicted"),  # a power of the lag
        ({"a": decay(-0.5), "b": decay(-0.2, residuals=0.1)}, "undecided"),
        ({"a": decay(0.0)}, "undecided"),
        # A slope that is hardly known is less than 3 errors from any exponent, which shows nothing.
        ({"a": decay(-0.5), "b": decay(-0.2, off=0.05)}, "undecided"),
    ],
)
def test_1a_on_constructed_numbers(decays, expected):
    finding = judge_exponential(decays)
    assert word(finding) == expected
    assert finding.seeds == 10
    assert finding.measured["a: leading exponent"] == mean(decays["a"].exponent)


def test_1a_says_how_far_off_the_slope_may_be():
    reason = judge_exponential({"a": decay(-0.5), "b": decay(-0.2, off=0.01)}).judgement.reason
    assert reason.endswith("the slope may differ from the exponent by up to 15.0 % of it")


def test_1a_tells_a_power_from_an_exponential():
    lag = np.arange(101)
    bent = np.random.default_rng(0).standard_normal(101) * 0.01
    for norm, negative in ((-0.1 * lag + bent, True), (-2 * np.log(np.maximum(lag, 1)) + bent, False)):
        flow = gs.GradientFlow(
            cell="rnn", lag=lag, log_norm=norm[:, None], of="h", wrt="h", source_step=100, norm="random"
        )
        assert (line_against_power(flow) < -1) is negative
        assert (line_against_power(flow) > 1) is not negative


@pytest.mark.parametrize(
    ("exponents", "expected"),
    [
        ((-0.5, 0.1), "supported"),
        ((-0.5, -0.1), "contradicted"),
        ((0.1, 0.0), "undecided"),
        ((-0.5, 0.02), "undecided"),
    ],
)
def test_1b_on_constructed_numbers(exponents, expected):
    decays = {f"gaussian({k})": decay(exponent) for k, exponent in enumerate(exponents)}
    assert word(judge_grows(decays)) == expected


def rates_of(pytorch, keras, chrono=(0.0, 0.0)):
    return {
        scheme: {cell: around(rate) for cell, rate in zip(("lstm", "gru"), values, strict=True)}
        for scheme, values in (("pytorch", pytorch), ("keras", keras), ("chrono(1000)", chrono))
    }


@pytest.mark.parametrize(
    ("pytorch", "keras", "expected", "depends"),
    [
        ((0.0, 0.01), (0.0, 0.0), "supported", False),
        ((0.5, 0.5), (0.5, 0.3), "contradicted", False),
        ((0.5, 0.0), (0.5, 0.3), "contradicted", False),  # an LSTM alone is enough
        ((0.0, 0.0), (0.5, 0.3), "contradicted", True),
        ((0.1, 0.0), (0.0, 0.0), "undecided", False),  # at the bound
    ],
)
def test_2a_on_constructed_numbers(pytorch, keras, expected, depends):
    rates, slow = rates_of(pytorch, keras, (0.7, 0.7)), rates_of((0.0, 0.0), (0.0, 0.0))
    for halves in ((rates, slow), (slow, rates)):  # either half may contradict it
        finding = judge_solved(*halves, 0.1, {"left": around(-0.5)})
        assert word(finding) == expected
        assert finding.depends_on_init is depends
        assert finding.measured["left"] == pytest.approx((-0.5, 0.01))
        for when, half in zip(("before", "after"), halves, strict=True):
            for scheme, parts in half.items():
                for cell, values in parts.items():
                    assert finding.measured[f"{when} training, {scheme}, {cell}: rate"] == mean(values)


def test_2a_without_runs_can_contradict_but_not_support():
    slow = rates_of((0.0, 0.0), (0.0, 0.0))
    assert word(judge_solved(rates_of((0.5, 0.5), (0.5, 0.5)), None, 0.1)) == "contradicted"
    finding = judge_solved(slow, None, 0.1)
    assert word(finding) == "undecided"
    assert finding.judgement.reason.endswith("it was not measured, without which this part cannot support")
    assert word(judge_solved(slow, slow, 0.1)) == "supported"


def plane(rate):
    """Return exponents (seeds, G, N) of 3 gains and 3 biases, of minus these rates."""
    return np.moveaxis(np.array([[around(-r) for r in row] for row in np.broadcast_to(rate, (3, 3))]), 2, 0)


@pytest.mark.parametrize(
    ("gru", "lstm", "expected", "which"),
    [
        (0.5, 0.5, "supported", ALIKE),
        (0.5, 0.05, "supported", ONLY),
        ([[0.0] * 3, [0.5, 0, 0], [0.0] * 3], 0.5, "supported", OTHER),
        (0.05, 0.5, "contradicted", ""),
        (0.1, 0.5, "undecided", ""),
        ([[0.5] * 3, [0.0] * 3, [0.5] * 3], 0.5, "contradicted", ""),  # at unreasonable gains alone
    ],
)
def test_14b_on_constructed_numbers(gru, lstm, expected, which):
    finding = judge_vanishing({"gru": plane(gru), "lstm": plane(lstm)}, (0.25, 1.0, 4.0), (-1.0, 0.0, 5.0))
    assert (word(finding), finding.distinguishes) == (expected, which)


GAINS = (1.0, 2.0, 4.0, 8.0)


def row(*exponents):
    return np.stack([around(exponent) for exponent in exponents], axis=1)


NEVER, AT_8, AT_4 = row(-1, -1, -1, -1), row(-1, -1, -0.5, 0.5), row(-1, -0.5, 0.5, 1)


@pytest.mark.parametrize(
    ("lstm", "gru", "rnn", "expected", "which"),
    [
        (AT_8, NEVER, NEVER, "supported", ONLY),
        (AT_8, AT_8, NEVER, "supported", ALIKE),
        (AT_4, AT_8, AT_8, "supported", ALIKE),
        (AT_8, AT_4, AT_8, "supported", OTHER),
        (AT_8, AT_8, AT_4, "supported", OTHER),
        (NEVER, AT_4, AT_4, "contradicted", ""),
        (row(-1, -1, -1, 0.0), AT_4, AT_4, "undecided", ""),  # at the bound nothing is shown
    ],
)
def test_15a_on_constructed_numbers(lstm, gru, rnn, expected, which):
    finding = judge_explodes(GAINS, {"lstm": lstm, "gru": gru, "rnn": rnn})
    assert (word(finding), finding.distinguishes) == (expected, which)
    if which == OTHER:  # of two others it is said which
        sooner = {"gru": gru, "rnn": rnn}
        cells = [
            cell for cell, own in sooner.items() if (thresholds(GAINS, own) < thresholds(GAINS, lstm)).all()
        ]
        assert finding.judgement.reason.endswith(f"before the LSTM's by 3 errors: {', '.join(cells)}")


@pytest.mark.parametrize(
    ("lstm", "rnn", "expected"),
    [
        (AT_8, AT_4, "supported"),
        (NEVER, AT_4, "supported"),
        (AT_4, AT_8, "contradicted"),
        (AT_4, row(0.5, 0.5, 1, 1), "contradicted"),  # later than an RNN's, but below a gain of 4
        (AT_8, AT_8, "undecided"),  # not later
        (row(-1, -1, 0.0, 0.5), AT_4, "undecided"),
    ],
)
def test_15c_on_constructed_numbers(lstm, rnn, expected):
    assert word(judge_deals(GAINS, {"lstm": lstm, "rnn": rnn})) == expected


def test_thresholds_lie_between_gains_by_their_logarithm():
    rows = np.array([[-1, -1, 1, 1], [-3, 1, 1, 1], [-1, -1, -1, -1], [1, -1, 1, 1]], float)
    np.testing.assert_allclose(thresholds(GAINS, rows), [2 * 2**0.5, 2**0.75, 8, 1], rtol=1e-12)


def kept(inputs, weights):
    """Return rates (seeds, 5) of three cells and three schemes: how far loud inputs and the last scheme change 0.5."""
    changes = 0.5 + np.array([0.0, 0.1, 0.4, 1.0, 0.2]) * inputs
    of = {
        scheme: np.stack([around(rate + own, 0.002) for rate in changes], axis=1)
        + np.random.default_rng(k).normal(0, 0.002, (10, 5))
        for k, (scheme, own) in enumerate((("pytorch", 0.0), ("keras", 0.1), ("chrono(9)", weights)))
    }
    return dict.fromkeys(("lstm", "gru", "rnn"), of)


@pytest.mark.parametrize(
    ("inputs", "weights", "expected"),
    [
        (0.2, 0.2, "supported"),
        (-0.2, -0.2, "supported"),
        (0.0, 0.0, "contradicted"),
        (0.03, 0.2, "supported"),  # by 3 errors, but small
        (0.2, 0.0, "mixed"),
        (0.0, 0.2, "mixed"),
    ],
)
def test_45_on_constructed_numbers(inputs, weights, expected):
    finding = judge_decides(kept(inputs, weights))
    assert word(finding) == expected
    assert finding.judgement.small is (inputs == 0.03)


def test_45_where_all_gradients_are_gone_at_once():
    gone = {scheme: np.full((10, 5), np.inf) for scheme in ("pytorch", "keras", "chrono(9)")}
    alike = judge_decides(dict.fromkeys(("lstm", "gru", "rnn"), gone))
    assert word(alike) == "contradicted"  # they agree
    kept_on = {**gone, "chrono(9)": np.full((10, 5), 0.1)}
    by_weights = judge_decides(dict.fromkeys(("lstm", "gru", "rnn"), kept_on))
    assert word(by_weights) == "mixed"


def test_45_with_numbers_that_say_nothing():
    loud = {
        cell: {
            scheme: values + np.random.default_rng(3).normal(0, 2, values.shape)
            for scheme, values in of.items()
        }
        for cell, of in kept(0.2, 0.2).items()
    }
    assert word(judge_decides(loud)) == "undecided"


MEASURED = ("1a", "1b", "2a", "14a", "14b", "15a", "15c", "45")


def test_a_half_after_training_gets_the_study_too(monkeypatch):
    seen = []

    def test(*received):
        seen.append(received)
        return judge_grows({"gaussian(1)": decay(0.5)})

    study = Study(folder="nowhere")
    known = {"number": "1b", "text": "t", "sources": "P", "kind": "measured", "criterion": "c.", "suite": "G"}
    for after in (False, True):
        monkeypatch.setitem(statement._STATEMENTS, "1b", Statement(**known, test=test, after_training=after))
        run_claims(["1b"], scale=SMALL, study=study)
    assert seen == [(SMALL,), (SMALL, study)]


def test_all_measured_statements_are_run_here():
    measured = {each.number for each in statements() if each.kind == "measured" and each.suite != "R"}
    assert measured == {*MEASURED}


@pytest.mark.slow  # compiles kernels of its own
@pytest.mark.parametrize("number", MEASURED)
def test_a_small_run_of_each(number, monkeypatch):
    # Of five units nothing has to come out as of 64: each is measured, and says what it stands on.
    monkeypatch.setattr("gatescope.experiments.claims.maps._BIASES", (0.0, 1.0))
    monkeypatch.setattr("gatescope.experiments.claims.maps._EXPLODING", (1.0, 4.0, 16.0))
    (verdict,) = run_claims([number], scale=SMALL)
    assert verdict.kind == "measured"
    assert verdict.preliminary
    assert verdict.criterion.endswith(".")
    numbers = np.array([*verdict.measured.values()])
    if number == "14a":
        assert max(verdict.equalities.values()) == 0  # the same bits
        assert min(verdict.controls.values()) > 1e12
    else:
        assert verdict.seeds == SMALL.seeds
        assert np.isfinite(numbers).all()
        assert (numbers[:, 1] > 0).mean() > 0.9  # networks of other seeds are other ones
    record = json.loads(json.dumps(verdict.record(), allow_nan=False))
    assert record["measured"] == {n: {"value": v, "error": e} for n, (v, e) in verdict.measured.items()}
    assert all(f"| {name} |" in markdown([verdict]) for name in verdict.measured)


def test_the_rates_of_an_rnn_by_hand(monkeypatch):
    monkeypatch.setattr(decay_module, "_LEAST", SMALL.many_units)
    scheme = "gaussian(2)"
    decay = _decays.__wrapped__(SMALL)[scheme]  # not those that a test before it has kept
    for seed, params in draws("rnn", SMALL, scheme):
        h = random_state(get("rnn"), 1, 5, seed=seed, dtype="float64")[0, 0]
        v, grown = np.ones(5) / np.sqrt(5), []
        for x in noise_of(seed, SMALL.long_steps * 3 // 4)[:, 0]:
            h = np.tanh(0.1 * params.weight_ih @ x + params.bias_ih + params.weight_hh @ h + params.bias_hh)
            v = (1 - h**2) * (params.weight_hh @ v)
            grown.append(np.log(np.linalg.norm(v)))
            v /= np.linalg.norm(v)
        # From another first direction, so it is the same but for a few of 150 steps.
        assert decay.exponent[seed] == pytest.approx(np.mean(grown[15:]), abs=0.05)
        # The slope is of the lags after a tenth alone, where the exponent is of all steps.
        assert decay.slope[seed] == pytest.approx(decay.exponent[seed], abs=0.1)


def test_verdicts_of_measured_rows_are_saved(tmp_path):
    (verdict,) = run_claims(["1b"], scale=SMALL)
    verdict.save(tmp_path / "verdict.npz")
    assert gs.load(tmp_path / "verdict.npz") == verdict
    assert verdict.table().rows[0][2] == "n 3"
    assert dataclasses.replace(verdict, seeds=0).table().rows[0][2] == ""
