"""Tangents of a recorded run: a few go through the gates, more by each state's matrix; both against Jacobians."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.kernels.cpu import tangents
from gatescope.kernels.cpu.sweeps import plan_for
from gatescope.measurements.step_jacobian import step_jacobians

STEPS, EVERY = 7, 3


def carried(params, trace, directions):
    """Return the logs of the intervals and the directions in the end."""
    cell = gs.cells.get(params.cell)
    each = tangents.Tangents(
        plan_for(cell, params.hidden_size, np.dtype("float64")), params.astype("float64"), directions
    )
    logs, *_ = each.forward(trace.states, trace.gates, 1, EVERY)
    return logs, each.directions


def expected(params, trace, directions):
    jacobians = step_jacobians(params, trace.states[:-1, 1], trace.states[1:, 1], trace.gates[:, 1])
    q, logs = directions.reshape(len(directions), -1).T, []
    for t in range(STEPS):
        q = jacobians[t] @ q
        if (t + 1) % EVERY == 0 or t == STEPS - 1:
            q, r = np.linalg.qr(q)
            q *= np.sign(np.diag(r))
            logs.append(np.log(np.abs(np.diag(r))))
    return np.array(logs), q.T.reshape(directions.shape)


# Of one state and of two, in one phase and in two, whose operand is made of one state or of both.
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru_reset_before", "lstm_bridge_from_c"])
@pytest.mark.parametrize(("by_gates", "counts"), [(True, (1, 3)), (False, (2,))])
def test_against_the_jacobians_of_the_steps(cell, by_gates, counts, monkeypatch):
    monkeypatch.setattr(tangents, "_is_less_by_gates", lambda plan, count: by_gates)
    params = gs.init(cell, input_size=2, hidden_size=5, seed=1, dtype="float64")
    rng = np.random.default_rng(2)
    trace = gs.run(params, rng.standard_normal((STEPS, 2, 2)))
    size = len(trace.state_names) * 5
    for count in counts:
        start = np.linalg.qr(rng.standard_normal((size, count)))[0].T.reshape(count, -1, 5)
        logs, directions = carried(params, trace, start)
        right, last = expected(params, trace, start)
        # Roundings of 7 steps, over the lengths that are left: an interval shrinks a direction a thousandfold at most.
        np.testing.assert_allclose(logs, right, rtol=0, atol=1e-11)
        np.testing.assert_allclose(directions, last, rtol=0, atol=1e-10)


def test_few_tangents_go_through_the_gates():
    """An LSTM's matrices are made of four gates for two states, a GRU's of three for one."""
    ways = {
        cell: [
            tangents._is_less_by_gates(plan_for(gs.cells.get(cell), 64, np.dtype("float64")), m)
            for m in (1, 2, 3, 4)
        ]
        for cell in ("lstm", "gru", "rnn")
    }
    assert ways == {
        "lstm": [True, True, True, False],
        "gru": [True, False, False, False],
        "rnn": [True, True, True, False],
    }
