"""The slow oracle: the five cells that other libraries have, forward and backward, one sequence and one step at a time.

Apart from the cell files and helpers/variant_formulas.py, which has the variants, this is the one place where
equations are written down, on purpose: it shares no line with gatescope, so that the two can be wrong only
independently.  Everything is plain float64 NumPy; `step` also takes complex states, which gives Jacobians by the
complex step, without the backward equations.

`weights` is anything with weight_ih (G*H, I), weight_hh (G*H, H), bias_ih and bias_hh (G*H,), such as
`gatescope.Params`.
"""

import math

import numpy as np

STATES = {"rnn": ("h",), "rnn_relu": ("h",), "lstm": ("h", "c"), "gru": ("h",), "gru_reset_before": ("h",)}
SAVED = {
    "rnn": (),
    "rnn_relu": (),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n", "q"),
    "gru_reset_before": ("r", "z", "n"),
}
GATES = {"rnn": 1, "rnn_relu": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


class Matrices:
    """The row blocks of the weights, one a gate: W[k] (H, I), R[k] (H, H), b[k] and d[k] (H,)."""

    def __init__(self, cell, weights):
        if cell not in GATES:
            raise KeyError(
                f"tests/naive.py has no equations for {cell!r}; write them there, not from the cell file"
            )
        count = GATES[cell]
        self.W = np.split(np.asarray(weights.weight_ih, np.float64), count)
        self.R = np.split(np.asarray(weights.weight_hh, np.float64), count)
        self.b = np.split(np.asarray(weights.bias_ih, np.float64), count)
        self.d = np.split(np.asarray(weights.bias_hh, np.float64), count)
        self.hidden_size = self.R[0].shape[1]


def step(cell, m, x, state):
    """One step of one sequence: x (I,), state (S, H) -> new state (S, H), kept gates {name: (H,)}."""
    W, R, b, d = m.W, m.R, m.b, m.d
    h = state[0]
    if cell == "rnn":
        return np.stack([np.tanh(W[0] @ x + b[0] + R[0] @ h + d[0])]), {}
    if cell == "rnn_relu":
        a = W[0] @ x + b[0] + R[0] @ h + d[0]
        return np.stack([np.where(a.real > 0, a, 0)]), {}
    if cell == "lstm":
        i, f, o = (sigmoid(W[k] @ x + b[k] + R[k] @ h + d[k]) for k in (0, 1, 3))
        g = np.tanh(W[2] @ x + b[2] + R[2] @ h + d[2])
        c = f * state[1] + i * g
        return np.stack([o * np.tanh(c), c]), {"i": i, "f": f, "g": g, "o": o}
    r, z = (sigmoid(W[k] @ x + b[k] + R[k] @ h + d[k]) for k in (0, 1))
    if cell == "gru":
        q = R[2] @ h + d[2]
        n = np.tanh(W[2] @ x + b[2] + r * q)
        return np.stack([n + z * (h - n)]), {"r": r, "z": z, "n": n, "q": q}
    n = np.tanh(W[2] @ x + b[2] + R[2] @ (r * h) + d[2])
    return np.stack([n + z * (h - n)]), {"r": r, "z": z, "n": n}


def step_backward(cell, m, x, old, new, gates, adjoint):
    """One step back: adjoint (S, H) of the new state -> adjoint (S, H) of the old one, and gradients.

    These are dx (I,), and by gate dW (H, I), dR (H, H), db (H,), dd (H,).
    """
    R = m.R
    h, dh = old[0], adjoint[0]
    if cell in ("rnn", "rnn_relu"):
        slope = 1 - new[0] ** 2 if cell == "rnn" else (new[0] > 0).astype(float)
        da = [slope * dh]  # of the pre-activations, through W
        dp = da  # of R @ h + d
        operands = [h]
        d_old = [R[0].T @ da[0]]
    elif cell == "lstm":
        i, f, g, o = (gates[name] for name in "ifgo")
        y = np.tanh(new[1])
        dc = adjoint[1] + dh * o * (1 - y**2)
        da = [dc * g * i * (1 - i), dc * old[1] * f * (1 - f), dc * i * (1 - g**2), dh * y * o * (1 - o)]
        dp = da
        operands = [h] * 4
        d_old = [sum(R[k].T @ da[k] for k in range(4)), dc * f]
    else:
        r, z, n = (gates[name] for name in "rzn")
        dn = dh * (1 - z) * (1 - n**2)
        dz = dh * (h - n) * z * (1 - z)
        if cell == "gru":
            dr = dn * gates["q"] * r * (1 - r)
            da = [dr, dz, dn]
            dp = [dr, dz, dn * r]
            operands = [h] * 3
            d_old = [dh * z + sum(R[k].T @ dp[k] for k in range(3))]
        else:
            through = R[2].T @ dn  # adjoint of r * h
            dr = through * h * r * (1 - r)
            da = [dr, dz, dn]
            dp = da
            operands = [h, h, r * h]
            d_old = [dh * z + through * r + R[0].T @ dr + R[1].T @ dz]
    dx = sum(m.W[k].T @ da[k] for k in range(len(da)))
    dW = [np.outer(a, x) for a in da]
    dR = [np.outer(p, v) for p, v in zip(dp, operands, strict=True)]
    return np.stack(d_old), dx, dW, dR, da, dp


def forward(cell, weights, inputs, initial_state=None, lengths=None):
    """Run: inputs (T, B, I) -> states (T+1, B, S, H), gates {name: (T, B, H)}.

    Past the end of a sequence its state holds the last value and its gates are 0.
    """
    m = Matrices(cell, weights)
    inputs = np.asarray(inputs, np.float64)
    T, B, _ = inputs.shape
    S, H = len(STATES[cell]), m.hidden_size
    states = np.zeros((T + 1, B, S, H))
    if initial_state is not None:
        states[0] = initial_state
    gates = {name: np.zeros((T, B, H)) for name in SAVED[cell]}
    for b in range(B):
        for t in range(T):
            if lengths is not None and t >= lengths[b]:
                states[t + 1, b] = states[t, b]
                continue
            states[t + 1, b], saved = step(cell, m, inputs[t, b], states[t, b])
            for name, value in saved.items():
                gates[name][t, b] = value
    return states, gates


def backward(
    cell, weights, inputs, output_adjoint=None, final_adjoint=None, initial_state=None, lengths=None
):
    """Gradients of L = sum(output_adjoint * outputs) + sum(final_adjoint * final_state), by hand.

    Returns a dict: the four parameters, inputs (T, B, I), initial_state (B, S, H) and adjoint (T+1, B, S, H);
    adjoint[t] = dL/ds_t includes the output adjoint of that step.  Past the end of a sequence the
    output adjoint is ignored, the adjoint is the final adjoint, and the inputs' gradient is 0.
    """
    m = Matrices(cell, weights)
    inputs = np.asarray(inputs, np.float64)
    states, gates = forward(cell, weights, inputs, initial_state, lengths)
    T, B, _ = inputs.shape
    count = GATES[cell]
    adjoint = np.zeros_like(states)
    d_inputs = np.zeros_like(inputs)
    dW, dR = [np.zeros_like(w) for w in m.W], [np.zeros_like(r) for r in m.R]
    db, dd = [np.zeros_like(v) for v in m.b], [np.zeros_like(v) for v in m.d]
    for b in range(B):
        end = T if lengths is None else int(lengths[b])
        if final_adjoint is not None:
            adjoint[end:, b] = final_adjoint[b]
        for t in reversed(range(end)):
            if output_adjoint is not None:
                adjoint[t + 1, b, 0] += output_adjoint[t, b]
            saved = {name: value[t, b] for name, value in gates.items()}
            adjoint[t, b], d_inputs[t, b], sW, sR, sa, sp = step_backward(
                cell, m, inputs[t, b], states[t, b], states[t + 1, b], saved, adjoint[t + 1, b]
            )
            for k in range(count):
                dW[k] += sW[k]
                dR[k] += sR[k]
                db[k] += sa[k]
                dd[k] += sp[k]
    return {
        "weight_ih": np.concatenate(dW),
        "weight_hh": np.concatenate(dR),
        "bias_ih": np.concatenate(db),
        "bias_hh": np.concatenate(dd),
        "inputs": d_inputs,
        "initial_state": adjoint[0].copy(),
        "adjoint": adjoint,
    }


def jacobian(cell, weights, x, state):
    """d(new state)/d(state), (S*H, S*H) with h first, by the complex step: no backward equation."""
    m = Matrices(cell, weights)
    size = state.size
    tiny = 1e-100  # its square vanishes beside any float, so the complex step has no truncation error
    columns = []
    for j in range(size):
        perturbed = np.array(state, complex).ravel()
        perturbed[j] += tiny * 1j
        columns.append(step(cell, m, x, perturbed.reshape(state.shape))[0].imag.ravel() / tiny)
    return np.array(columns).T


def block(cell, name, hidden_size):
    """Which rows (or columns) of a Jacobian belong to the state of that name; "joint" is all of them."""
    if name == "joint":
        return slice(0, len(STATES[cell]) * hidden_size)
    start = STATES[cell].index(name) * hidden_size
    return slice(start, start + hidden_size)


def flow_jacobians(
    cell, weights, inputs, source_step, *, target="h", state="h", horizon=None, initial_state=None
):
    """Jacobians d target_t / d state_{t-lag} of one sequence, inputs (T, I), t = source_step.

    Returns (horizon+1, rows, columns).

    Plain products in float64: they underflow where the gradient does.
    """
    first = None if initial_state is None else initial_state[None]
    states, _ = forward(cell, weights, np.asarray(inputs)[:, None], first)
    hidden_size = states.shape[-1]
    rows, columns = block(cell, target, hidden_size), block(cell, state, hidden_size)
    horizon = source_step if horizon is None else horizon
    product = np.eye(states.shape[2] * hidden_size)
    result = [product[rows, columns]]
    for lag in range(horizon):
        t = source_step - lag
        product = product @ jacobian(cell, weights, inputs[t - 1], states[t - 1, 0])
        result.append(product[rows, columns])
    return np.array(result)


def flow_log_norm(jacobians, *, norm="spectral", unit=0):
    """Log-norm of each Jacobian (L, rows, columns): its spectral norm, or the norm of one row ("unit")."""
    if norm == "spectral":
        norms = np.array([np.linalg.norm(j, 2) for j in jacobians])
    else:
        # hypot scales; the squares of a plain sum of squares would underflow at half the range.
        norms = np.array([math.hypot(*j[unit]) for j in jacobians])
    with np.errstate(divide="ignore"):
        return np.log(norms)
