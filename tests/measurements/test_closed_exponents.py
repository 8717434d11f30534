"""Lyapunov exponents of a closed loop: against the loop written out, closed forms, and what is refused."""

import dataclasses

import naive
import numpy as np
import pytest
from helpers.stack_cases import random_stack, random_states

import gatescope as gs
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.measurements.closed_exponents import LoopJacobians
from gatescope.measurements.jacobian_exponents import spectrum_along


def written_out(stack, states, steps):
    """Return the joint states (T+1, n) of a loop of one sequence and its Jacobians (T, n, n), by the complex step."""
    weights = stack.directions()
    matrices = {name: naive.Matrices(params.cell, params) for name, params in weights.items()}
    shapes = {name: state.shape[1:] for name, state in states.items()}
    W, b = stack.readout_weight, stack.readout_bias

    def step(joint):
        parts, at = {}, 0
        for name, shape in shapes.items():
            parts[name] = joint[at : at + np.prod(shape)].reshape(shape)
            at += np.prod(shape)
        x, new = W @ parts[[*weights][-1]][0] + b, []
        for name, params in weights.items():
            after, _ = naive.step(params.cell, matrices[name], x, parts[name])
            new.append(after.reshape(-1))
            x = after[0]
        return np.concatenate(new)

    joint = np.concatenate([state[0].reshape(-1) for state in states.values()])
    visited, jacobians = [joint], []
    for _ in range(steps):
        moved = [step(joint + 1e-30j * direction) for direction in np.eye(joint.size)]
        jacobians.append(np.imag(moved).T / 1e-30)
        visited.append(joint := step(joint))
    return np.array(visited), np.array(jacobians)


def as_trace(stack, visited):
    """Return a run of one sequence that visits joint states, by the cells' own equations, without any kernel."""
    results, at = [], 0
    inputs = visited[:-1, -stack.layers[-1].hidden_size * len(gs.cells.get(stack.layers[-1].cell).states) :]
    x = inputs[:, : stack.layers[-1].hidden_size] @ stack.readout_weight.T + stack.readout_bias
    for params in stack.layers:
        cell, units = gs.cells.get(params.cell), params.hidden_size
        size = len(cell.states) * units
        states = visited[:, at : at + size].reshape(-1, 1, len(cell.states), units)
        m = naive.Matrices(params.cell, params)
        steps = [naive.step(params.cell, m, x[t], states[t, 0]) for t in range(len(x))]
        gates = np.array([[[kept[name] for name in cell.saved]] for _, kept in steps])
        gates = gates.reshape(len(x), 1, len(cell.saved), units)
        results.append(
            gs.Trace(
                cell=params.cell,
                inputs=x[:, None],
                states=states,
                gates=gates,
                lengths=np.array([len(x)]),
                state_names=cell.states,
                gate_names=cell.saved,
            )
        )
        at, x = at + size, states[1:, 0, 0]
    return gs.StackTrace(
        names=tuple(stack.directions()), results=tuple(results), outputs=np.zeros((len(x), 1, 2))
    )


@pytest.mark.parametrize(
    "layers",
    [("lstm 5", "gru 4"), ("gru_reset_before 5", "rnn 3", "lstm 4"), ("rnn_relu 5",)],
    ids=" on ".join,
)
def test_jacobians_are_those_of_the_complex_step(layers):
    stack = random_stack(*layers)
    visited, expected = written_out(stack, random_states(stack, 1), 12)
    actual = LoopJacobians(stack, as_trace(stack, visited)).of(0, 0, 12)
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(LoopJacobians(stack, as_trace(stack, visited)).of(0, 5, 7), actual[5:7])


def test_exponents_are_those_of_plain_orthonormalizations():
    stack = random_stack("lstm 5", "rnn 3")
    stack = dataclasses.replace(stack, readout_weight=4 * np.random.default_rng(0).standard_normal((2, 3)))
    visited, jacobians = written_out(stack, random_states(stack, 1), 500)
    of = LoopJacobians(stack, as_trace(stack, visited))
    how = {"k": None, "advice": "", "transient": 100, "qr_every": 1, "seed": 1}
    spectrum = spectrum_along(of.of, (500, 1, of.size), **how)
    q, total = np.linalg.qr(np.random.default_rng(7).standard_normal((13, 13)))[0], np.zeros(13)
    for t, jacobian in enumerate(jacobians):
        q, r = np.linalg.qr(jacobian @ q)
        total += np.log(np.abs(np.diag(r))) * (t >= 100)
    plain = np.sort(total / 400)[::-1]
    # Another start of the directions, whose part is in the errors.
    assert (np.abs(spectrum.exponents[0] - plain) < 5 * spectrum.error[0] + 1e-6).all()
    volumes = [np.linalg.slogdet(jacobian)[1] for jacobian in jacobians[100:]]
    assert spectrum.exponents[0].sum() == pytest.approx(np.mean(volumes), abs=1e-9)


TWO = random_stack("lstm 5", "lstm 5")


@pytest.mark.slow  # a loop is compiled
def test_a_linear_reservoir_has_the_moduli_of_its_eigenvalues():
    # All weights are positive, so that no unit of an RNN with relu is ever cut off: h' = (R + V W) h + constants.
    rng = np.random.default_rng(0)
    H, I = 5, 2
    R, V, W = rng.uniform(0, 1, (H, H)), rng.uniform(0, 1, (H, I)), rng.uniform(0, 1, (I, H))
    scale = 0.9 / np.abs(np.linalg.eigvals(R + V @ W)).max()
    params = gs.Params(
        cell="rnn_relu", weight_ih=scale * V, weight_hh=scale * R, bias_ih=np.ones(H), bias_hh=np.zeros(H)
    )
    reservoir = gs.Stack(layers=(params,), readout_weight=W, readout_bias=np.zeros(I))
    spectrum = gs.lyapunov_spectrum(
        reservoir, np.ones((3, 1, I)), steps=4000, feedback=True, transient=2000, threads=1
    )
    moduli = np.sort(np.log(np.abs(np.linalg.eigvals(scale * (R + V @ W)))))[::-1]
    np.testing.assert_allclose(spectrum.exponents[0], moduli, atol=2e-4)  # complex pairs turn: 1 / steps
    assert spectrum.exponents[0, 0] == pytest.approx(np.log(0.9), abs=1e-9)
    assert spectrum.cell == "rnn_relu, closed loop"
    assert spectrum.moved.all()
    assert gs.lyapunov_spectrum(reservoir, steps=50, feedback=True, k=2).exponents.shape == (1, 2)


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (TWO, {"steps": None}, ValueRangeError, "steps"),
        (TWO, {"resume": "a.state"}, ValueRangeError, "resume.* has no effect in a closed loop"),
        (TWO, {"lengths": [3]}, ValueRangeError, "lengths.* has no effect in a closed loop"),
        (TWO, {"feedback": False}, ValueRangeError, "steps=20 has no effect without"),
        (TWO.layers[0], {}, DtypeError, "give a Stack, whose outputs are its next inputs"),
        (random_stack("lstm 5 | lstm 5"), {}, ValueRangeError, "goes both ways"),
        (random_stack("lstm 5", outputs=3), {}, ShapeError, "has 3 outputs and 2 inputs"),
    ],
)
def test_what_has_no_such_exponents(model, options, error, message):
    with pytest.raises(error, match=message):
        gs.lyapunov_spectrum(model, **{"steps": 20, "feedback": True, **options})
