"""Statements on variants of the cells: every outcome of each on constructed numbers."""

import math

import numpy as np
import pytest
from helpers.arms import spread

from gatescope.datatypes.verdict import ALIKE, ONLY
from gatescope.experiments.claims.addition import Outcome, judge_addition, judge_blocks
from gatescope.experiments.claims.coupling import EDGES, bin_name, judge_coupling, near_name
from gatescope.experiments.claims.measured import mean
from gatescope.experiments.claims.parameters import judge_parameters
from gatescope.experiments.claims.preserves import judge_erases, judge_preserves
from gatescope.experiments.claims.printed import judge_missing, judge_no_cell
from gatescope.experiments.claims.statement import exact
from gatescope.experiments.claims.two_tanh import judge_activations
from gatescope.experiments.seeds.judge import judge_exact
from gatescope.experiments.seeds.statistics import by_share, paired

NOISE = np.linspace(-1, 1, 10)
ADDING = {"rnn": False, "printed": False, "leaky": True, "lstm": True}
SAME, APART = {"one": 0.0}, {"another": 1e14}


def outcome(reached, lost, updates=100.0):
    return Outcome(np.arange(10) < 10 * reached, updates + NOISE, lost + 0.1 * NOISE)


def outcomes(*, leaky=(1.0, 2.0), lstm=(1.0, 1.0), rnn=(0.0, 50.0), printed=(0.0, 40.0)):
    """Return outcomes on one task: the fraction that reached the target, and the nats that are lost, by cell."""
    return {
        "adding": {k: outcome(*v) for k, v in dict(rnn=rnn, printed=printed, leaky=leaky, lstm=lstm).items()}
    }


@pytest.mark.parametrize(
    ("cells", "word", "says"),
    [
        ({}, "supported", "sufficient: yes"),
        ({"printed": (0.8, 40.0)}, "mixed", "necessary: no (without, and learning: printed)"),
        ({"leaky": (0.1, 2.0)}, "mixed", "sufficient: no (with an addition, and yet not learning: leaky"),
        ({"leaky": (0.4, 2.0)}, "undecided", "sufficient: open"),  # 4 of 10 may be half
        ({"printed": (0.4, 40.0)}, "undecided", "necessary: open"),
        ({"printed": (0.1, 40.0)}, "supported", "necessary: yes"),
        ({"leaky": (1.0, 60.0)}, "mixed", "sufficient: no"),  # it learns, and loses more than an rnn
        ({"leaky": (1.0, 50.01)}, "mixed", "sufficient: no"),  # as much as an rnn
        ({"leaky": (0.1, 2.0), "printed": (0.8, 4.0)}, "contradicted", "necessary: no"),
        (dict.fromkeys(ADDING, (0.1, 2.0)), "undecided", "no cell learns adding, which tells nothing"),
        (dict.fromkeys(ADDING, (0.1, 2.0)), "undecided", "necessary: open"),
    ],
)
def test_4_on_constructed_numbers(cells, word, says):
    finding = judge_addition(outcomes(**cells), ADDING)
    assert finding.judgement.word == word
    assert says in finding.judgement.reason
    assert [effect.arms for effect in finding.effects] == [
        ("rnn", cell) for cell in ("printed", "leaky", "lstm")
    ]


def test_4_is_open_where_rates_are():
    some = outcomes()
    some["adding"]["leaky"] = Outcome(np.ones(10, bool), 100 + NOISE, 49.5 + 5 * NOISE)
    finding = judge_addition(some, ADDING)
    assert finding.judgement.word == "undecided"
    assert "sufficient: open" in finding.judgement.reason


def test_4_leaves_out_a_task_that_nobody_learns():
    some = outcomes()
    some["order"] = {cell: outcome(0.2, 3.0 if ADDING[cell] else 40.0) for cell in ADDING}
    finding = judge_addition(some, ADDING)
    assert finding.judgement.word == "supported"
    assert finding.judgement.reason.endswith("no cell learns order, which tells nothing")


@pytest.mark.parametrize(
    ("order", "word"),
    [(1, "supported"), (-1, "contradicted"), (0, "undecided")],
)
def test_18b_on_constructed_numbers(order, word):
    blocks = {"rnn": 1, "leaky": 2, "janet": 2, "gru": 3, "coupled": 3, "lstm": 4}
    rng = np.random.default_rng(0)

    def values(count):
        return 100 - 10 * order * count + rng.normal(0, 1 if order else 20, 10)

    some = {
        task: {cell: Outcome(np.ones(10, bool), values(n), values(n)) for cell, n in blocks.items()}
        for task in ("adding", "order")
    }
    finding = judge_blocks(some, blocks)
    assert finding.judgement.word == word
    assert len(finding.effects) == 4
    if order:  # with ties between cells of as many blocks a rank correlation is not 1
        assert np.abs([effect.mean for effect in finding.effects]).min() > 0.9


def test_18b_is_mixed_where_updates_and_rates_go_other_ways():
    blocks = {"rnn": 1, "gru": 3, "lstm": 4}
    some = {
        "adding": {
            k: Outcome(np.ones(10, bool), -n + 0.1 * NOISE, n + 0.1 * NOISE) for k, n in blocks.items()
        }
    }
    assert judge_blocks(some, blocks).judgement.word == "mixed"


def test_18b_where_all_runs_end_with_the_budget():
    blocks = {"rnn": 1, "gru": 3, "lstm": 4}
    some = {
        "adding": {cell: Outcome(np.zeros(10, bool), np.full(10, 3000.0), np.zeros(10)) for cell in blocks}
    }
    finding = judge_blocks(some, blocks)
    assert finding.judgement.word == "undecided"
    assert [effect.mean for effect in finding.effects] == [0, 0]


def costs(ratio, half=0.02):
    return [spread(math.log(ratio), half, margin=math.log(1.25), name=f"task {k}") for k in range(2)]


@pytest.mark.parametrize(
    ("ratios", "word"),
    [
        ((3.0, 2.0, 5.0), "supported"),
        ((1.0, 0.5, 1.0), "contradicted"),
        ((3.0, 1.0, 2.0), "mixed"),
        ((1.1, 1.1, 1.1), "contradicted"),  # a difference, but too small to matter
    ],
)
def test_42_on_constructed_numbers(ratios, word):
    removed = {
        part: costs(ratio) for part, ratio in zip(("gates", "forget gate", "cell"), ratios, strict=True)
    }
    finding = judge_preserves(removed, costs(1.0), {"lstm": {"adding": 100 + NOISE}})
    assert finding.judgement.word == word
    assert finding.measured["lstm, adding: updates"] == mean(100 + NOISE)
    assert len(finding.effects) == 8
    assert finding.judgement.reason.startswith(f"gates: {'supported' if ratios[0] > 2 else 'contradicted'}")


def test_42_is_open_where_one_is():
    removed = {"gates": costs(3.0), "cell": costs(1.3, half=1.0)}
    assert judge_preserves(removed, (), {}).judgement.word == "undecided"
    near = {"gates": costs(3.0), "cell": costs(1.24, half=0.05)}  # higher for certain, but by 1.25 perhaps
    assert judge_preserves(near, (), {}).judgement.word == "undecided"


def test_42_what_never_reaches_the_target_costs():
    never = by_share(np.ones(10, bool), np.zeros(10, bool), name="adding")
    assert judge_preserves({"cell": [never, never]}, (), {}).judgement.word == "supported"


def test_42_ranks_by_updates():
    updates = {
        "slow": {"adding": np.full(10, 300.0)},
        "quick": {"adding": np.full(10, 50.0), "order": np.full(10, 200.0)},
    }
    reason = judge_preserves({"cell": costs(2)}, (), updates).judgement.reason
    assert reason == "cell: supported; updates, the geometric mean over tasks: quick 100, slow 300"


@pytest.mark.parametrize(
    ("loss", "growth", "word"),
    [
        (2.0, 5.0, "contradicted"),
        (1.0, 1.0, "supported"),
        (0.5, 0.5, "supported"),
        (2.0, 0.5, "mixed"),
        (2.0, 1.0, "undecided"),
    ],
)
def test_43_on_constructed_numbers(loss, growth, word):
    effects = [spread(math.log(value), 0.02, margin=math.log(1.1)) for value in (loss, growth)]
    finding = judge_erases(*effects, *costs(1.0)[:1], SAME, APART, {"lstm: loss": mean(NOISE)})
    assert finding.judgement.word == word
    assert "two gates are left" in finding.judgement.reason
    assert len(finding.effects) == 3


@pytest.mark.parametrize(("same", "apart"), [({"one": 1e14}, APART), (SAME, {"another": 0.0})])
def test_43_needs_a_cell_that_keeps_all(same, apart):
    effects = [spread(math.log(2), 0.02, margin=math.log(1.1)) for _ in range(2)]
    finding = judge_erases(*effects, *costs(1.0)[:1], same, apart, {})
    assert finding.judgement.word == "undecided"
    assert "two gates are left" not in finding.judgement.reason


@pytest.mark.parametrize(
    ("counts", "word"), [((2, 1), "supported"), ((1, 1), "contradicted"), ((2, 2), "contradicted")]
)
def test_34_counts(counts, word):
    numbers = dict(zip(("lstm", "gru"), counts, strict=True))
    finding = judge_activations(numbers, {"input": costs(1.0)}, {})
    assert finding.judgement.word == word
    assert finding.judgement.reason.startswith(f"lstm takes {counts[0]}, gru takes {counts[1]}")


@pytest.mark.parametrize(
    ("effects", "says"),
    [
        (costs(2.0), "matters"),
        (costs(0.5), "does harm"),
        (costs(1.0), "equal"),
        ([*costs(2.0)[:1], *costs(0.5)[:1]], "mixed"),
        (costs(1.2, half=2.0), "undecided"),
    ],
)
def test_34_says_whether_it_matters(effects, says):
    finding = judge_activations(
        {"lstm": 2, "gru": 1}, {"output": effects}, {"no forget gate": mean(0.2 + NOISE)}
    )
    assert f"the tanh of the output: {says}: without it" in finding.judgement.reason
    assert finding.measured["chorales, no forget gate: nats a step less the lstm's"][0] == pytest.approx(0.2)


def counted(ratio, half=0.05):
    return spread(math.log(ratio), half, margin=math.log(1.25))


@pytest.mark.parametrize(
    ("width", "equal", "word", "says"),
    [
        (counted(0.3), counted(1.0), "supported", "no longer at equal parameters"),
        (counted(0.3), counted(2.0), "supported", "no longer at equal parameters"),
        (counted(0.3), counted(0.4), "contradicted", "still at equal parameters"),
        (counted(0.3), counted(0.9), "supported", "no longer"),  # less for certain, but too little to matter
        (counted(0.3), counted(0.8, 1.0), "undecided", "at equal parameters it is open"),
        (counted(1.0), counted(1.0), "contradicted", "counts as far"),
        (counted(2.0), counted(2.0), "contradicted", "counts as far"),
        (counted(0.8, 1.0), counted(1.0), "undecided", "at equal width is open"),
    ],
)
def test_17b_on_constructed_numbers(width, equal, word, says):
    further = paired(np.log(3 + 0.1 * NOISE), margin=0.2)
    object.__setattr__(further, "arms", ("gru", "no input gate"))
    finding = judge_parameters(width, equal, [further])
    assert finding.judgement.word == word
    assert says in finding.judgement.reason
    assert finding.judgement.reason.endswith("further than the GRU at its width: no input gate")
    assert (finding.judgement.needed is not None) == (word == "undecided")


def test_17b_takes_an_advantage_that_is_just_outside_the_margin_and_one_inside_for_no_difference():
    further = paired(np.log(3 + 0.1 * NOISE), margin=0.2)
    object.__setattr__(further, "arms", ("gru", "no input gate"))
    width = spread(-0.20, 0.05, margin=math.log(1.25))
    equal = paired(width.differences[::-1] + 0.03, margin=math.log(1.25))
    assert not width.inside_margin
    assert equal.inside_margin
    finding = judge_parameters(width, equal, [further])
    assert finding.judgement.word == "undecided"
    assert "does not count less far with fewer units" in finding.judgement.reason


def fractions(near):
    """Return fractions (seeds, bins) of which this many are within 0.1."""
    rows = np.full((10, len(EDGES) - 1), (1 - near) / (len(EDGES) - 3))
    rows[:, 9:11] = near / 2
    return rows + 1e-4 * NOISE[:, None]


@pytest.mark.parametrize(
    ("near", "distinguishes"), [((0.1, 0.2), ONLY), ((0.8, 0.9), ALIKE), ((0.1, 0.9), ""), ((0.5, 0.5), "")]
)
def test_25_after_training(near, distinguishes):
    sums = {f"lstm, {task}": fractions(part) for task, part in zip(("adding", "order"), near, strict=True)}
    sums["gru_uncoupled, adding"] = fractions(0.9)  # of which nothing is claimed
    finding = judge_coupling(exact(SAME, APART), sums, {"more": mean(NOISE)})
    assert (finding.judgement.word, finding.distinguishes) == ("supported", distinguishes)
    assert finding.measured[near_name("lstm, adding")][0] == pytest.approx(near[0], abs=1e-3)
    whole = sum(finding.measured[bin_name("lstm, adding", k)][0] for k in range(20))
    assert whole == pytest.approx(1, rel=1e-12)
    assert "more" in finding.measured
    assert finding.seeds == 10


def test_25_says_nothing_of_the_gru_where_its_equations_do_not():
    finding = judge_coupling(exact({"one": 1e14}, APART), {"lstm, adding": fractions(0.1)}, {})
    assert (finding.judgement.word, finding.distinguishes) == ("contradicted", "")


@pytest.mark.parametrize(
    ("ratio", "half", "word"),
    [(3.0, 0.02, "misprint"), (1.0, 0.02, "undecided"), (0.5, 0.02, "undecided"), (1.3, 2.0, "misprint")],
)
def test_30_after_training(ratio, half, word):
    judged = judge_no_cell(judge_exact(SAME, APART), costs(ratio, half)[0])
    assert judged.word == word
    assert ("a cell of its own" in judged.reason) == (word == "undecided")


def test_30_before_training():
    assert judge_no_cell(judge_exact(SAME, APART), None).word == "misprint"
    assert judge_no_cell(judge_exact({"one": 1e14}, APART), costs(3.0)[0]).word == "contradicted"


@pytest.mark.parametrize(
    ("missing", "same", "apart", "word"),
    [
        ({"n", "h'"}, SAME, APART, "cannot be run"),
        (set(), SAME, APART, "supported"),
        ({"n"}, SAME, {"biases": 0.0}, "undecided"),
        ({"n"}, {"one": 1e14}, APART, "contradicted"),
    ],
)
def test_31_on_constructed_numbers(missing, same, apart, word):
    finding = judge_missing(missing, same, apart)
    assert finding.judgement.word == word
    assert ("no equation for h', n" in finding.judgement.reason) == (len(missing) == 2)
