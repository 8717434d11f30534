"""A plain RNN on long dependencies, statement 36: every outcome on made-up arms, and a gradient that is known."""

import math

import numpy as np
import pytest
from helpers.studies import arm_on, fake_study

import gatescope as gs
from gatescope.experiments.claims import plain_rnn
from gatescope.experiments.claims.plain_rnn import RnnArm, judge_plain
from gatescope.experiments.claims.run import run_claims

N = np.arange(10)
TASKS = ("a", "b", "c", "d")
LSTM = {task: N < 10 for task in TASKS}
HALF = math.log(2) / 100


def arms(tanh=0, relu=0, *, tanh_keeps=False, relu_keeps=True, others=("pytorch", "nearly identity")):
    """Return four arms of a tanh RNN and four of a relu on tasks of 100 steps, and in how many runs they reach.

    On the last two tasks each is of another kind of weights.
    """
    kinds = (
        ("rnn", ("keras", others[0]), tanh, tanh_keeps),
        ("rnn_relu", ("identity", others[1]), relu, relu_keeps),
    )
    return [
        RnnArm(cell, schemes[k > 1], task, 100, reached > N, np.full(10, HALF * (0.9 if keeps else 1.1)))
        for cell, schemes, reached, keeps in kinds
        for k, task in enumerate(TASKS)
    ]


@pytest.mark.parametrize(
    ("made", "expected", "cannot", "because"),
    [
        (arms(0, 10), "supported", "supported", "supported"),
        (arms(10, 0), "contradicted", "contradicted", "contradicted"),
        (arms(10, 0, tanh_keeps=True, relu_keeps=False), "mixed", "contradicted", "supported"),
        (arms(0, 10, tanh_keeps=True, relu_keeps=False), "mixed", "supported", "contradicted"),
        (arms(10, 10), "contradicted", "contradicted", "undecided"),  # all reach it, whatever their gradient
        (arms(0, 0), "undecided", "supported", "undecided"),  # none does
        (arms(0, 10, tanh_keeps=True), "undecided", "supported", "undecided"),  # all gradients are alike
        (arms(4, 10), "undecided", "undecided", "supported"),  # some runs of a tanh do, but not half
        (arms(5, 0), "contradicted", "contradicted", "contradicted"),
    ],
)
def test_36_on_constructed_numbers(made, expected, cannot, because):
    finding = judge_plain(made, LSTM)
    assert finding.judgement.word == expected
    assert finding.judgement.reason.startswith(
        f"that it cannot: {cannot}; that its gradient is why: {because};"
    )
    assert len(finding.measured) == 8


def test_36_needs_tasks_that_can_be_learned():
    finding = judge_plain(arms(10, 10), {task: N < 4 for task in TASKS})
    assert finding.judgement.word == "undecided"
    assert finding.judgement.reason.endswith("0 of 0 of the others; runs that do: none")
    one = judge_plain(arms(10, 10), {**{task: N < 4 for task in TASKS}, "b": N < 5})
    assert one.judgement.word == "contradicted"
    assert (
        "1 of 1 arms whose gradient keeps half reach the target, and 1 of 1 of the others"
        in one.judgement.reason
    )


def test_36_of_one_kind_of_weights_anything_may_be_why():
    finding = judge_plain(arms(0, 10, others=("keras", "identity")), LSTM)
    assert finding.judgement.word == "undecided"
    assert "4 of 4 arms whose gradient keeps half reach the target, and 0 of 4" in finding.judgement.reason


def test_36_of_too_few_arms_is_undecided():
    # Two against two: Barnard's p is 0.06.
    finding = judge_plain([*arms(0, 10)[2:4], *arms(0, 10)[4:6]], LSTM)
    assert "that its gradient is why: undecided" in finding.judgement.reason


def test_36_of_a_study_whose_gradients_are_known(monkeypatch):
    """The weights are r times the identity, and a small state: the gradient changes by r a step."""
    factor = {"pytorch": 0.9, "keras": 1.0, "orthogonal(1.1)": 0.995, "identity": 1.0}

    def model(run):
        stack = gs.init_stack("rnn", hidden_size=3, heads=run.model.heads, input_size=2, dtype="float64")
        layer = stack.layers[0]
        layer.weight_hh[:] = factor[run.spec["scheme"]] * np.eye(3)
        for name in ("weight_ih", "bias_ih", "bias_hh"):
            getattr(layer, name)[:] = 0
        return stack

    monkeypatch.setattr(plain_rnn, "untrained", model)
    monkeypatch.setattr(plain_rnn, "LONG_TO_TARGET", plain_rnn.LONG_TO_TARGET[:1])
    made = fake_study(
        lambda task, cell, scheme: arm_on(
            task,
            cell,
            scheme=scheme or ("identity" if cell == "rnn_relu" else "pytorch"),
            reached=cell == "lstm" or scheme in ("keras", "orthogonal(1.1)"),
        ),
        seeds=2,
    )
    (verdict,) = run_claims(["36"], study=made)
    assert verdict.word == "contradicted"
    rates = {name.partition(",")[0]: value for name, (value, _) in verdict.measured.items()}
    expected = {f"rnn {scheme}": -math.log(r) for scheme, r in factor.items() if scheme != "identity"}
    assert rates == pytest.approx({**expected, "rnn_relu identity": 0.0}, abs=1e-12)
    assert (
        "2 of 3 arms whose gradient keeps half reach the target, and 0 of 1 of the others" in verdict.reason
    )


def test_a_quick_study_asks_it_of_two_tasks(monkeypatch):
    monkeypatch.setattr(plain_rnn, "nats_lost", lambda *_, seed: np.ones(4))
    made = fake_study(
        lambda task, cell, scheme: arm_on(task, cell, scheme=scheme or "pytorch", reached=cell == "lstm"),
        quick=True,
        seeds=3,
    )
    (verdict,) = run_claims(["36"], study=made)
    assert verdict.word == "undecided"  # that it cannot is supported, and no gradient tells why
    assert "that it cannot: supported" in verdict.reason
    assert {name.partition(", ")[2].partition(":")[0] for name in verdict.measured} == {
        "adding, T = 20",
        "order of 2 (smaller)",
    }


def test_of_an_rnn_keras_weights_are_orthogonal_of_gain_1():
    keras, orthogonal = (
        gs.init("rnn", input_size=2, hidden_size=5, seed=3, scheme=scheme)
        for scheme in ("keras", "orthogonal(1)")
    )
    assert keras.weight_hh.tolist() == orthogonal.weight_hh.tolist()
    assert keras.weight_ih.tolist() == orthogonal.weight_ih.tolist()
    assert keras.bias_ih.tolist() == orthogonal.bias_ih.tolist() == [0] * 5


def test_36_is_not_undone_by_a_run_whose_units_are_shut():
    made = arms(0, 10)
    made[4].rate[0] = np.inf
    assert judge_plain(made, LSTM).judgement.word == "supported"
