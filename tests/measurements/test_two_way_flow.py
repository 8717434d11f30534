"""gradient_flow of layers that go both ways: against the complex step through a whole run, and against torch."""

import dataclasses

import naive
import numpy as np
import pytest
from helpers.cases import random_params

import gatescope as gs
from gatescope.errors import ValueRangeError

EXACT = {"rtol": 0, "atol": 1e-11}  # roundings of a run and of some hundred products
TINY = 1e-30


def two_ways(cells, units, inputs, *, seed, merge="concatenate"):
    forward, backward = (
        random_params(cell, input_size=inputs, hidden_size=size, seed=seed + k)
        for k, (cell, size) in enumerate(zip(cells, units, strict=True))
    )
    return gs.Bidirectional(
        forward=forward, backward=dataclasses.replace(backward, reverse=True), merge=merge
    )


def stacks():
    low = two_ways(("lstm", "lstm"), (4, 3), 2, seed=0)
    top = two_ways(("lstm", "lstm"), (3, 3), 7, seed=5, merge="sum")
    rng = np.random.default_rng(9)
    readout = {"readout_weight": rng.standard_normal((2, 3)), "readout_bias": rng.standard_normal(2)}
    middle = random_params("lstm", input_size=7, hidden_size=5, seed=3)
    above = two_ways(("lstm", "lstm"), (3, 3), 5, seed=5, merge="sum")
    last = dataclasses.replace(random_params("lstm", input_size=3, hidden_size=3, seed=8), reverse=True)
    return {
        "both-both": gs.Stack(layers=(low, top), **readout),
        "both-forward-both-backward": gs.Stack(layers=(low, middle, above, last)),
    }


def run(stack, x, changed=None):
    """Return the outputs (T, O); `changed` is a direction, a state, which as taken, what is added, and `total`."""
    for k, layer in enumerate(stack.layers):
        outputs = []
        for prefix in stack.prefixes(k).values():
            params = stack.directions()[prefix]
            m, taken = naive.Matrices(params.cell, params), x[::-1] if params.reverse else x
            state = np.zeros((len(naive.STATES[params.cell]), params.hidden_size), complex)
            rows = []
            for t in range(len(x) + 1):
                h = state[0]
                if changed is not None and changed[0] == prefix and changed[2] == t:
                    state = state.copy()
                    state[changed[1]] += changed[3]
                    if changed[4]:
                        h = state[0]
                if t:
                    rows.append(h)
                if t < len(x):
                    state, _ = naive.step(params.cell, m, taken[t], state)
            outputs.append(np.array(rows[::-1] if params.reverse else rows))
        concatenated = getattr(layer, "merge", "") == "concatenate"
        x = np.concatenate(outputs, axis=1) if concatenated else sum(outputs)
    return x if stack.readout_weight is None else x @ stack.readout_weight.T + stack.readout_bias


def gradients(stack, x, prefix, state, scalar, *, total=False):
    """Return d scalar(outputs) / d state (T+1, H) of a direction, by its own count of states."""
    units = stack.directions()[prefix].hidden_size
    return np.array(
        [
            [
                scalar(run(stack, x, (prefix, state, t, 1j * TINY * unit, total))).imag / TINY
                for unit in np.eye(units)
            ]
            for t in range(len(x) + 1)
        ]
    )


def expected(gradient, reverse, source, lags):
    """Return log-norms at lags, negative ones ahead, of a gradient (T+1, H)."""
    steps = len(gradient) - 1
    out = []
    for lag in lags:
        step = source - 1 - lag
        with np.errstate(divide="ignore"):
            out.append(np.log(np.linalg.norm(gradient[steps - step if reverse else step + 1])))
    return np.array(out)


@pytest.mark.parametrize(
    "name", ["both-both", pytest.param("both-forward-both-backward", marks=pytest.mark.slow)]
)
def test_into_the_past_and_into_the_future(name):
    stack, T, source = stacks()[name], 12, 8
    x, own = np.random.default_rng(1).standard_normal((T, 2)), np.random.default_rng(2).standard_normal(3)
    of = {"of": own} if stack.readout_weight is None else {"of": "readout.1"}

    def scalar(y):
        return y[source - 1, 1] if stack.readout_weight is not None else y[source - 1] @ own

    for prefix, params in stack.directions().items():
        for state, letter in enumerate(naive.STATES[params.cell]):
            # At lag 0 the uppermost output is what is differentiated, and not held fixed.
            own_end = prefix == list(stack.directions())[-1] and state == 0
            own_end |= prefix.startswith("layers.1.") and len(stack.layers) == 2 and state == 0
            gradient = gradients(stack, x, prefix, state, scalar, total=own_end)
            for side in ("past", "future"):
                flow = gs.gradient_flow(
                    stack, x, **of, wrt=f"{prefix}.{letter}", side=side, source_step=source
                )
                last = {
                    ("past", False): 8,
                    ("past", True): 7,
                    ("future", False): 4,
                    ("future", True): 5,
                }[side, params.reverse]
                assert flow.lag[-1] == last
                assert flow.side == side
                lags = flow.lag if side == "past" else -flow.lag
                np.testing.assert_allclose(
                    flow.log_norm[:, 0], expected(gradient, params.reverse, source, lags), **EXACT
                )


def test_total_joint_spectral_and_loss():
    stack, T, source = stacks()["both-both"], 9, 4
    x, of = np.random.default_rng(1).standard_normal((T, 2)), "layers.-1.forward.h"

    def unit(k):
        return lambda y: y[source - 1, k]

    plain = dataclasses.replace(stack, readout_weight=None, readout_bias=None)
    for prefix in ("layers.0.forward", "layers.0.backward"):
        reverse, rows = stack.directions()[prefix].reverse, []
        for k in range(3):
            rows.append(gradients(plain, x, prefix, 0, unit(k), total=True))
        flow = gs.gradient_flow(stack, x, of=np.eye(3)[1], wrt=f"{prefix}.h", total=True, source_step=source)
        np.testing.assert_allclose(flow.log_norm[:, 0], expected(rows[1], reverse, source, flow.lag), **EXACT)
    # The joint state of a step: of each direction the state that gives the output of that step.
    weights = np.random.default_rng(3).standard_normal((T, 2))
    loss = gs.gradient_flow(stack, x, loss=lambda y: weights[:, None], wrt="joint")
    squares = np.zeros(T)
    for prefix, params in stack.directions().items():
        for state in range(2):
            counts = prefix.startswith("layers.1") and state == 0  # of the loss itself
            gradient = gradients(stack, x, prefix, state, lambda y: (weights * y).sum(), total=counts)
            squares += np.exp(2 * expected(gradient, params.reverse, T, np.arange(T)))
    np.testing.assert_allclose(loss.log_norm[:T, 0], np.log(squares) / 2, **EXACT)
    spectral = gs.gradient_flow(stack, x, of=of, wrt="layers.0.c", norm="spectral", source_step=source)
    units = [
        gs.gradient_flow(stack, x, of=of, wrt="layers.0.c", norm="unit", unit=k, source_step=source)
        for k in range(3)
    ]
    whole = np.logaddexp.reduce([2 * flow.log_norm for flow in units]) / 2
    some = spectral.lag > 0
    assert (spectral.log_norm[some] <= whole[some] + 1e-12).all()
    assert (spectral.log_norm[some] >= whole[some] - np.log(3) / 2).all()
    for threads in (1, 3):
        again = gs.gradient_flow(
            stack, x, of=of, wrt="layers.0.c", norm="spectral", source_step=source, threads=threads
        )
        np.testing.assert_array_equal(again.log_norm, spectral.log_norm)


def test_total_derivatives_are_those_of_autograd():
    """Of c, which its h follows, and of h, which the layer above takes at the same step."""
    torch = pytest.importorskip("torch")
    from helpers.torch_model import states_over_time

    stack, T, source = stacks()["both-both"], 30, 20
    x = np.random.default_rng(1).standard_normal((T, 2))
    states, outputs = states_over_time(stack, x[:, None])
    scalar = torch.tensor(stack.readout_weight)[1] @ outputs[source - 1, 0]
    for prefix, params in stack.directions().items():
        for state, letter in enumerate("hc"):
            leaves = [states[prefix][t][state] for t in range(T + 1)]
            parts = torch.autograd.grad(scalar, leaves, retain_graph=True, allow_unused=True)
            gradient = np.array([np.zeros(params.hidden_size) if g is None else g.numpy()[0] for g in parts])
            for side in ("past", "future"):
                own = {"of": "readout.1", "wrt": f"{prefix}.{letter}", "side": side}
                flow = gs.gradient_flow(stack, x, **own, total=True, source_step=source, max_lag=10)
                lags = flow.lag if side == "past" else -flow.lag
                np.testing.assert_allclose(
                    flow.log_norm[:, 0], expected(gradient, params.reverse, source, lags), **EXACT
                )


def test_padded_sequences_and_what_is_refused(monkeypatch):
    stack, x = stacks()["both-both"], np.random.default_rng(4).standard_normal((9, 3, 2))
    lengths = [9, 5, 9]
    flow = gs.gradient_flow(stack, x, lengths=lengths, source_step=3, side="future", wrt="layers.0.h")
    alone = gs.gradient_flow(stack, x[:5, 1], source_step=3, side="future", wrt="layers.0.h")
    np.testing.assert_array_equal(flow.log_norm[:4, 1], alone.log_norm[:, 0])
    assert np.isnan(flow.log_norm[4:, 1]).all()
    assert "by a later layers.0.h" in flow.summary()
    ones = gs.gradient_flow(stack, x, loss=lambda y: y, lengths=lengths)
    alone = gs.gradient_flow(stack, x[:5, 1], loss=lambda y: y)
    np.testing.assert_array_equal(ones.log_norm[:6, 1], alone.log_norm[:, 0])
    cases = [
        ({"side": "future", "wrt": "layers.0.forward.h"}, "is the last"),
        ({"side": "future", "wrt": "layers.0.backward.h"}, "is the last"),
        ({"side": "ahead"}, "past, future"),
        ({"side": "future", "loss": lambda y: y}, "loss"),
        ({"resume": "there.npz"}, "leave it out"),
    ]
    for more, match in cases:
        with pytest.raises((ValueRangeError, gs.errors.UnknownNameError), match=match):
            gs.gradient_flow(stack, x[:, 0], **more)
    with pytest.raises(ValueRangeError, match="no state depends on later steps"):
        gs.gradient_flow(stack.layers[0].forward, x[:, 0], side="future")
    monkeypatch.setattr("gatescope.checks.memory.free_memory", lambda: 1000)
    monkeypatch.setattr("gatescope.checks.memory._SMALL", 1000)
    with pytest.raises(ValueRangeError, match="go both ways"):
        gs.gradient_flow(stack, x[:, 0])
