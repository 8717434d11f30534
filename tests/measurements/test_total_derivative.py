"""gradient_flow(total=True): the derivative by c lets h of the same step follow, as automatic differentiation does."""

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs
from gatescope.errors import ValueRangeError
from gatescope.measurements.total_derivative import _followers

FLOW = {"norm": "unit", "unit": 2}


def totals(case, clamp=None):
    """Return d h_T[2] / d (h, c) of every state (T+1, B, 2, H), in which h follows c, by back-propagation."""
    trace = case.run(clamp=clamp)
    final = np.zeros_like(case.initial_state)
    final[:, 0, 2] = 1
    adjoint = gs.backprop(case.params, trace, final_adjoint=final).adjoint.copy()
    slope = trace.gate("o") * (1 - np.tanh(trace.c[1:]) ** 2)
    adjoint[1:, :, 1] += adjoint[1:, :, 0] * slope  # the initial h and c are both given
    return adjoint[::-1]


@pytest.mark.parametrize("clamp", [None, {"f": 0.0}], ids=["free", "forgetting"])
def test_h_follows_c(clamp):
    case = Case("lstm", T=7, B=3, I=2, H=5, scale=1.5)
    expected = totals(case, clamp)
    arguments = {"initial_state": case.initial_state, "clamp": clamp, **FLOW}
    with np.errstate(divide="ignore"):
        by_c, by_h = (np.log(np.linalg.norm(expected[:, :, s], axis=2)) for s in (1, 0))
        both = np.log(np.sqrt((expected**2).sum(axis=(2, 3))))
    flow = gs.gradient_flow(case.params, case.inputs, wrt="c", total=True, **arguments)
    assert flow.total
    assert "(total)" in flow.table().title
    np.testing.assert_allclose(flow.log_norm, by_c, rtol=0, atol=1e-12)
    some = gs.gradient_flow(case.params, case.inputs, wrt="c", total=True, lags=[0, 2, 6], **arguments)
    np.testing.assert_allclose(some.log_norm, by_c[[0, 2, 6]], rtol=0, atol=1e-12)
    h = gs.gradient_flow(case.params, case.inputs, wrt="h", total=True, **arguments)
    np.testing.assert_allclose(h.log_norm, by_h, rtol=0, atol=1e-12)
    joint = gs.gradient_flow(case.params, case.inputs, wrt="joint", total=True, **arguments)
    np.testing.assert_allclose(joint.log_norm, both, rtol=0, atol=1e-12)


def test_pieces_and_precision_do_not_matter(monkeypatch):
    case = Case("lstm", T=7, B=3, I=2, H=5, scale=1.5)
    arguments = {"initial_state": case.initial_state, "wrt": "c", "total": True, **FLOW}
    whole = gs.gradient_flow(case.params, case.inputs, **arguments)
    monkeypatch.setattr("gatescope.kernels.cpu.device.CpuDevice.piece", lambda *_: 2)
    pieces = gs.gradient_flow(case.params, case.inputs, **arguments)
    np.testing.assert_array_equal(pieces.log_norm, whole.log_norm)


def test_of_one_state_nothing_follows():
    for name in ("rnn", "rnn_relu", "gru", "gru_reset_before"):
        assert _followers(gs.cells.get(name)) == ()
    assert _followers(gs.cells.get("lstm")) == ((1, 0),)


def test_total_is_a_flag():
    case = Case("lstm", T=7, B=3, I=2, H=5)
    with pytest.raises(ValueRangeError, match="total"):
        gs.gradient_flow(case.params, case.inputs, total="yes")
