"""What the variants have to do with the cells that they are variants of, each with a control that must fail.

All in NumPy, by the cells' own equations.  "The same" means to 16 roundings of the largest value.
"""

import dataclasses

import numpy as np
import pytest
from helpers import variant_formulas
from helpers.cases import PARAMS, Case, assert_close, relative_error
from helpers.numpy_sweeps import NumpySweeps

import gatescope as gs

SAME = 16 * 2.0**-53
OTHER = 1e-3
STEPS = 12


def case_of(cell):
    return Case(cell, T=STEPS, B=2, I=2, H=5, scale=2.0)


def run(params, case, initial=None):
    """Return the states by name, (T+1, B, H) each."""
    cell = gs.cells.get(params.cell)
    initial = case.initial_state if initial is None else initial
    states, _ = NumpySweeps(cell, params).forward(case.inputs, initial)
    return dict(zip(cell.states, np.moveaxis(states, 2, 0), strict=True))


def rows(params, gate, factor=1.0, bias=0.0):
    """Return a gate's rows of the four arrays times a factor, with something added to bias_ih."""
    block = {name: factor * value for name, value in params.gate(gate).items()}
    return block | {"bias_ih": block["bias_ih"] + bias}


def built(cell, **gates):
    """Return weights of a cell from the rows of each gate."""
    order = gs.cells.get(cell).gates
    arrays = {name: np.concatenate([gates[gate][name] for gate in order]) for name in PARAMS}
    return gs.Params(cell=cell, **arrays)


def copied(params, *gates):
    return {gate: rows(params, gate) for gate in gates}


def judged(one, other, same):
    error = relative_error(one, other)
    assert error <= SAME if same else error > OTHER, error


@pytest.mark.parametrize("same", [True, False])
def test_coupled_gates_are_an_lstm_whose_input_gate_is_1_minus_f(same):
    case = case_of("lstm_coupled")
    opposite = rows(case.params, "f", -1.0 if same else 1.0)
    lstm = built("lstm", i=opposite, **copied(case.params, *"fgo"))
    ours, theirs = run(case.params, case), run(lstm, case)
    for state in "hc":
        judged(ours[state], theirs[state], same)
    if same:  # what comes to i's rows comes to f's, negated
        gradients = []
        for params in (case.params, lstm):
            sweeps = NumpySweeps(gs.cells.get(params.cell), params)
            states, saved = sweeps.forward(case.inputs, case.initial_state)
            sums = sweeps.backward(case.inputs, states, saved, case.output_adjoint, case.final_adjoint)
            gradients.append(dataclasses.replace(params, **{name: sums[name] for name in PARAMS}))
        coupled, free = gradients
        for name in PARAMS:
            assert_close(coupled.gate("f")[name], free.gate("f")[name] - free.gate("i")[name], 1e-13, name)


@pytest.mark.parametrize("same", [True, False])
def test_an_uncoupled_gru_is_a_gru_where_i_is_1_minus_z(same):
    case = case_of("gru")
    opposite = rows(case.params, "z", -1.0 if same else 1.0)
    uncoupled = built("gru_uncoupled", i=opposite, **copied(case.params, *"rzn"))
    judged(run(uncoupled, case)["h"], run(case.params, case)["h"], same)


@pytest.mark.parametrize("same", [True, False])
def test_a_leaky_network_is_a_gru_without_a_reset_gate(same):
    case = case_of("gru")
    leaky = built("leaky", a=rows(case.params, "z", -1.0), n=rows(case.params, "n"))
    clamped = gs.clamp(case.params, {"r": 1.0 if same else 0.5})
    judged(run(leaky, case)["h"], run(clamped, case)["h"], same)


@pytest.mark.parametrize("same", [True, False])
def test_a_constant_leak_is_a_leak_without_weights(same):
    case = case_of("leaky_constant")
    a = rows(case.params, "a")
    if not same:
        a["weight_ih"] = a["weight_ih"] + 0.1
    judged(run(built("leaky", a=a, n=rows(case.params, "n")), case)["h"], run(case.params, case)["h"], same)


@pytest.mark.parametrize("same", [True, False])
def test_a_minimal_gated_unit_is_a_gru_of_one_gate(same):
    case = case_of("mgu")
    f = rows(case.params, "f")
    update = rows(case.params, "f", -1.0 if same else 1.0)
    gru = built("gru_reset_before", r=f, z=update, n=rows(case.params, "n"))
    judged(run(gru, case)["h"], run(case.params, case)["h"], same)


@pytest.mark.parametrize("same", [True, False])
def test_without_peepholes_an_lstm_is_an_lstm(same):
    case = case_of("lstm_peephole")
    if same:
        for gate in ("pi", "pf", "po"):
            case.params.gate(gate)["bias_ih"][:] = 0
    lstm = built("lstm", **copied(case.params, *"ifgo"))
    judged(run(lstm, case)["h"], run(case.params, case)["h"], same)


@pytest.mark.parametrize("beta", [1.0, 0.0])
def test_janet_is_an_uncoupled_gru_of_one_gate(beta):
    case = case_of("janet")
    f, g = rows(case.params, "f"), rows(case.params, "g")
    gru = built("gru_uncoupled", r=f, z=f, i=rows(case.params, "f", -1.0, bias=beta), n=g)
    judged(run(gs.clamp(gru, {"r": 1}), case)["h"], run(case.params, case)["h"], beta == 1)


@pytest.mark.parametrize("scale", [1e-9, 1.0])
@pytest.mark.parametrize("cell", ["lstm_linear_input", "lstm_linear_output"])
def test_a_linear_activation_is_a_tanh_of_what_is_small(cell, scale):
    case = case_of(cell)
    gates = copied(case.params, *"ifo") | {"g": rows(case.params, "g", scale)}
    initial = case.initial_state * [[1.0], [scale]]
    ours, theirs = (run(built(name, **gates), case, initial) for name in (cell, "lstm"))
    for state in "hc":
        judged(ours[state][1:], theirs[state][1:], scale < 1)


@pytest.mark.parametrize("forget", [0.0, 1.0])
def test_as_printed_is_an_lstm_that_forgets_everything(forget):
    case = case_of("lstm_as_printed")
    gates = copied(case.params, *"ifgo")
    clamped = gs.clamp(built("lstm_linear_output", **gates), {"i": 1.0, "f": forget})
    initial = np.repeat(case.initial_state, 2, axis=1)
    judged(run(clamped, case, initial)["h"], run(case.params, case)["h"], forget == 0)


def test_as_printed_nothing_reaches_the_input_and_forget_gates():
    case = case_of("lstm_as_printed")
    sweeps = NumpySweeps(gs.cells.get("lstm_as_printed"), case.params)
    states, saved = sweeps.forward(case.inputs, case.initial_state)
    gradients = sweeps.backward(case.inputs, states, saved, case.output_adjoint, case.final_adjoint)
    for name in PARAMS:
        i, f, g, o = np.split(gradients[name], 4)
        assert not i.any()
        assert not f.any()
        assert g.any()
        assert o.any()


def unstabilized(w, x, s):
    """Return a step by the paper's equations as they stand, whose exponentials overflow sooner or later."""
    h = s["h"]
    i, f = np.exp(w("i", x, h)), np.exp(w("f", x, h))
    g, o = np.tanh(w("g", x, h)), variant_formulas.sigmoid(w("o", x, h))
    c, d = f * s["c"] + i * g, f * s["d"] + i
    return {"h": o * c / d, "c": c, "d": d}


@pytest.mark.parametrize("same", [True, False])
def test_the_stabilizer_of_an_slstm_cancels(same):
    case = case_of("slstm")
    h, m, d, c = case.initial_state.swapaxes(0, 1)
    d = np.abs(d) + 1
    ours = run(case.params, case, np.stack([h, m, d, c], axis=1))["h"][1:]
    weights = variant_formulas.Weights("ifgo", case.params.arrays())
    factor = np.exp(m) if same else 1
    state, theirs = {"h": h, "c": c * factor, "d": d * factor}, []
    for x in case.inputs:
        state = unstabilized(weights, x, state)
        theirs.append(state["h"])
    # exponents of order 10 lose ten times a rounding, and more roundings add up in c and d
    error = relative_error(ours, np.array(theirs))
    assert error <= 1e-13 if same else error > OTHER


@pytest.mark.parametrize("along", ["m, c and d", "m alone"])
def test_no_output_of_an_slstm_sees_its_scale(along):
    case = case_of("slstm")
    h, m, d, c = case.initial_state.swapaxes(0, 1)
    d = np.abs(d) + 1
    none = np.zeros_like(m)
    direction = [none, none + 1, -d, -c] if along == "m, c and d" else [none, none + 1, none, none]
    moved = np.stack([h, m, d, c], axis=1) + 1j * variant_formulas.TINY * np.stack(direction, axis=1)
    arrays = variant_formulas.arguments(case) | {"initial_state": moved[:, None]}
    states, _ = variant_formulas.run("slstm", arrays)
    changes = np.array([state["h"].imag for state in states[1:]]) / variant_formulas.TINY
    assert np.abs(changes).max() <= 1e-15 if along == "m, c and d" else np.abs(changes).max() > OTHER


def test_an_slstm_goes_on_where_its_exponentials_would_overflow():
    case = case_of("slstm")
    gates = copied(case.params, *"ifgo") | {"f": rows(case.params, "f", bias=300.0)}
    states = run(built("slstm", **gates), case)
    assert states["m"][-1].min() > 710  # e^710 is no float
    assert all(np.isfinite(state).all() for state in states.values())


# ---- the bridge from the LSTM to the GRU ----


def bridge(params, inputs, c, *, from_c, shifted):
    """Return the cell states (T, H) of `lstm_bridge` with the weights of a `gru_reset_before`.

    The gates read h, or c where `from_c`; the output gate is that of its own step, or of the next where `shifted`.
    """
    step = gs.cells.get("lstm_bridge").step
    blocks = [rows(params, "z", -1.0), rows(params, "n"), rows(params, "r")]

    def parts(k, x, vector):
        one = blocks[k]
        return one["weight_ih"] @ x + one["bias_ih"], one["weight_hh"] @ vector + one["bias_hh"]

    o = variant_formulas.sigmoid(sum(parts(2, inputs[0], c)))
    h, states = o * c, []
    for x, following in zip(inputs, [*inputs[1:], inputs[-1]], strict=True):
        read = c if from_c else h
        every = [parts(0, x, read), parts(1, x, h), parts(2, x, read)]
        (new_h, new_c), _ = step(*zip(*every, strict=True), (h, c))
        if shifted:
            every[2] = parts(2, following, new_c if from_c else h)
            (new_h, new_c), _ = step(*zip(*every, strict=True), (h, c))
        h, c = new_h, new_c
        states.append(c)
    return np.array(states)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("from_c", [False, True])
def test_the_bridge_is_a_gru_only_if_its_gates_read_c_and_the_next_input(from_c, shifted):
    """Equal gates are not enough; nor is the cell state in the place of h, or the next step's output gate, alone."""
    case = case_of("gru_reset_before")
    gru = run(case.params, case)["h"][1:, 0]
    ours = bridge(case.params, case.inputs[:, 0], case.initial_state[0, 0], from_c=from_c, shifted=shifted)
    judged(ours, gru, from_c and shifted)


@pytest.mark.parametrize("cell", ["lstm_bridge", "lstm_bridge_from_c"])
def test_both_cells_are_that_bridge(cell):
    case = case_of("gru_reset_before")
    gates = {"z": rows(case.params, "z", -1.0), "g": rows(case.params, "n"), "o": rows(case.params, "r")}
    c = case.initial_state[0, 0]
    expected = bridge(case.params, case.inputs[:, 0], c, from_c=cell != "lstm_bridge", shifted=False)
    o = gates["o"]
    before = o["weight_ih"] @ case.inputs[0, 0] + o["bias_ih"] + o["weight_hh"] @ c + o["bias_hh"]
    initial = {"c": c, "h": variant_formulas.sigmoid(before) * c}
    initial = np.stack([initial[state] for state in gs.cells.get(cell).states])
    states = run(built(cell, **gates), case, np.stack([initial, initial]))
    judged(states["c"][1:, 0], expected, same=True)


@pytest.mark.parametrize("same", [True, False])
def test_the_bridge_is_a_gru_where_the_gates_read_an_input_that_stays(same):
    """Then no gate reads a state, and this step's output gate is the next one's reset gate."""
    case = case_of("gru_reset_before")
    case.inputs[:] = case.inputs[0]
    if same:
        for gate in "rz":
            case.params.gate(gate)["weight_hh"][:] = 0
    gates = {"z": rows(case.params, "z", -1.0), "g": rows(case.params, "n"), "o": rows(case.params, "r")}
    initial = case.initial_state[:, 0]
    r = NumpySweeps(gs.cells.get("gru_reset_before"), case.params).forward(case.inputs, case.initial_state)[
        1
    ][0, :, 0]
    ours = run(built("lstm_bridge", **gates), case, np.stack([r * initial, initial], axis=1))
    judged(ours["c"], run(case.params, case)["h"], same)
