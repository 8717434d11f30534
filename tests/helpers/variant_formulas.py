"""The variants of the cells as their papers write them, and their gradients without a backward equation.

Apart from the cell files and naive.py this is the one place where equations are written down, on purpose: it shares no
line with gatescope.  A formula takes NumPy's arrays, complex ones too, which gives gradients by the complex step, or
PyTorch's tensors, which gives them by autograd.

A formula is a function of `Weights`, inputs x and the states by name; it returns the new states and the saved values.
"""

import numpy as np

import gatescope as gs
from helpers.cases import PARAMS

TINY = 1e-100  # its square vanishes beside any float, so the complex step has no truncation error


def sigmoid(x):
    return 1 / (1 + exp(-x))


def tanh(x):
    return x.tanh() if hasattr(x, "tanh") else np.tanh(x)


def exp(x):
    return x.exp() if hasattr(x, "exp") else np.exp(x)


def maximum(a, b):
    return a.maximum(b) if hasattr(a, "maximum") else np.where(a.real > b.real, a, b)


class Weights:
    """The rows of the gates by name, of arrays that may have leading axes.

    ``weights.input("i", x)`` is W_i x + b_Wi, ``weights.recurrent("i", h)`` R_i h + b_Ri; a call gives their sum.
    """

    def __init__(self, gates, arrays):
        units = arrays["weight_hh"].shape[-1]
        self.rows = {gate: slice(k * units, (k + 1) * units) for k, gate in enumerate(gates)}
        self.arrays = arrays

    def input(self, gate, x):
        return self._affine(gate, x, "weight_ih", "bias_ih")

    def recurrent(self, gate, h):
        return self._affine(gate, h, "weight_hh", "bias_hh")

    def bias(self, gate):
        """Return what a gate of a bias alone has."""
        return self.arrays["bias_ih"][..., self.rows[gate]]

    def __call__(self, gate, x, h):
        return self.input(gate, x) + self.recurrent(gate, h)

    def _affine(self, gate, vector, weight, bias):
        rows = self.rows[gate]
        product = self.arrays[weight][..., rows, :] @ vector[..., None]
        return product[..., 0] + self.arrays[bias][..., rows]


# ---- the formulas ----


def leaky(w, x, s):
    """Jaeger et al. 2007, with a leak that is a gate."""
    h = s["h"]
    a, n = sigmoid(w("a", x, h)), tanh(w("n", x, h))
    return {"h": (1 - a) * h + a * n}, {"a": a, "n": n}


def leaky_constant(w, x, s):
    """Jaeger et al. 2007, equation 1 with a step of 1."""
    h = s["h"]
    a, n = sigmoid(w.bias("a")), tanh(w("n", x, h))
    return {"h": (1 - a) * h + a * n}, {"a": a, "n": n}


def min_gru(w, x, s):
    """Feng et al. 2024, section 3.1.2."""
    z, n = sigmoid(w.input("z", x)), w.input("n", x)
    return {"h": (1 - z) * s["h"] + z * n}, {"z": z, "n": n}


def janet(w, x, s):
    """Van der Westhuizen and Lasenby 2018, equation 5 and beta = 1."""
    c = s["h"]
    before = w("f", x, c)
    g, beta = tanh(w("g", x, c)), 1
    c = sigmoid(before) * c + (1 - sigmoid(before - beta)) * g
    return {"h": c}, {"f": sigmoid(before), "g": g, "i": 1 - sigmoid(before - beta)}


def mgu(w, x, s):
    """Zhou et al. 2016, section 3."""
    h = s["h"]
    f = sigmoid(w("f", x, h))
    n = tanh(w("n", x, f * h))
    return {"h": (1 - f) * h + f * n}, {"f": f, "n": n}


def gru_uncoupled(w, x, s):
    h = s["h"]
    r, z, i = (sigmoid(w(gate, x, h)) for gate in "rzi")
    q = w.recurrent("n", h)
    n = tanh(w.input("n", x) + r * q)
    return {"h": z * h + i * n}, {"r": r, "z": z, "i": i, "n": n, "q": q}


def _lstm(w, x, s, input_activation=tanh, output_activation=tanh):
    """Greff et al. 2015, section 2 without peepholes, and the variants of their section 3."""
    h, c = s["h"], s["c"]
    i, f, o = (sigmoid(w(gate, x, h)) for gate in "ifo")
    g = input_activation(w("g", x, h))
    c = f * c + i * g
    return {"h": o * output_activation(c), "c": c}, {"i": i, "f": f, "g": g, "o": o}


def _linear(x):
    return x


def lstm_linear_input(w, x, s):
    return _lstm(w, x, s, input_activation=_linear)


def lstm_linear_output(w, x, s):
    return _lstm(w, x, s, output_activation=_linear)


def lstm_peephole(w, x, s):
    """Greff et al. 2015, section 2."""
    h, c = s["h"], s["c"]
    p_i, p_f, p_o = (w.bias(gate) for gate in ("pi", "pf", "po"))
    i, f = sigmoid(w("i", x, h) + p_i * c), sigmoid(w("f", x, h) + p_f * c)
    g = tanh(w("g", x, h))
    c = f * c + i * g
    o = sigmoid(w("o", x, h) + p_o * c)
    peepholes = {"peephole of i": p_i, "peephole of f": p_f, "peephole of o": p_o}
    return {"h": o * tanh(c), "c": c}, {"i": i, "f": f, "g": g, "o": o, **peepholes}


def lstm_coupled(w, x, s):
    h, c = s["h"], s["c"]
    f, g, o = sigmoid(w("f", x, h)), tanh(w("g", x, h)), sigmoid(w("o", x, h))
    i = 1 - f
    c = f * c + i * g
    return {"h": o * tanh(c), "c": c}, {"f": f, "g": g, "o": o}


def lstm_as_printed(w, x, s):
    i, f, o = (sigmoid(w(gate, x, s["h"])) for gate in "ifo")
    g = tanh(w("g", x, s["h"]))
    return {"h": o * g}, {"i": i, "f": f, "g": g, "o": o}


def lstm_bridge(w, x, s):
    return _bridge(w, x, s, read=s["h"])


def lstm_bridge_from_c(w, x, s):
    return _bridge(w, x, s, read=s["c"])


def _bridge(w, x, s, read):
    """Return a step of an LSTM whose gates are called as a GRU's, with no second tanh."""
    z, r, g = sigmoid(w("z", x, read)), sigmoid(w("o", x, read)), tanh(w("g", x, s["h"]))
    f, i, o = 1 - z, z, r
    c = f * s["c"] + i * g
    return {"h": o * c, "c": c}, {"z": z, "o": o, "g": g}


def slstm(w, x, s):
    """Beck et al. 2024, equations 8 to 17 with exponential forget gates; its z is g here, its n d."""
    h = s["h"]
    to_input, to_forget = w("i", x, h), w("f", x, h)
    g, o = tanh(w("g", x, h)), sigmoid(w("o", x, h))
    m = maximum(to_forget + s["m"], to_input)
    i, f = exp(to_input - m), exp(to_forget + s["m"] - m)
    c, d = f * s["c"] + i * g, f * s["d"] + i
    return {"h": o * (c / d), "m": m, "d": d, "c": c}, {"i": i, "f": f, "g": g, "o": o}


# A variant is tested by tests/cells/test_variants.py from being here.
FORMULAS = {
    formula.__name__: formula
    for formula in (
        leaky,
        leaky_constant,
        janet,
        mgu,
        gru_uncoupled,
        min_gru,
        lstm_coupled,
        lstm_linear_input,
        lstm_linear_output,
        lstm_peephole,
        lstm_as_printed,
        lstm_bridge,
        lstm_bridge_from_c,
        slstm,
    )
}


# ---- runs and gradients ----


def arguments(case):
    """Return what a loss depends on: the weights, inputs (T, B, 1, I) and initial_state (B, 1, S, H)."""
    arrays = {name: value.astype(np.float64) for name, value in case.params.arrays().items()}
    inputs, initial = case.inputs[:, :, None], case.initial_state[:, None]
    return arrays | {"inputs": inputs.astype(np.float64), "initial_state": initial.astype(np.float64)}


def run(cell, arrays):
    """Return all states and the saved values of each step, dicts by name.

    Arrays have the shapes of `arguments`; where those of the weights have an axis P in front, or others P for 1, so do
    states and values: (B, P, H).
    """
    known, weights = gs.cells.get(cell), Weights(gs.cells.get(cell).gates, arrays)
    states = [{name: arrays["initial_state"][..., k, :] for k, name in enumerate(known.states)}]
    saved = []
    for x in arrays["inputs"]:
        new, values = FORMULAS[cell](weights, x, states[-1])
        states.append(new)
        saved.append(values)
    return states, saved


def forward(case):
    """Return states (T+1, B, S, H) and saved values (T, B, K, H), as `naive.forward` orders them."""
    known = gs.cells.get(case.cell)
    states, saved = run(case.cell, arguments(case))

    def stacked(steps, names):
        """Stack [step][name] (B, 1, H) to (step, B, name, H)."""
        shape = case.initial_state[:, None, 0].shape
        return np.array([[np.broadcast_to(step[name], shape) for name in names] for step in steps])[
            :, :, :, 0
        ].swapaxes(1, 2)

    return stacked(states, known.states), stacked(saved, known.saved)


def loss(case, arrays):
    """Return the sum of outputs and final states times the case's adjoints; by P, if arrays have that axis."""
    states, _ = run(case.cell, arrays)
    names, total = gs.cells.get(case.cell).states, 0
    for new, adjoint in zip(states[1:], case.output_adjoint, strict=True):
        total = total + _summed(new[names[0]], adjoint)
    for k, name in enumerate(names):
        total = total + _summed(states[-1][name], case.final_adjoint[:, k])
    return total


def _summed(values, adjoint):
    """Sum (B, P, H) times (B, H) over B and H."""
    if not isinstance(values, np.ndarray):
        adjoint = values.new_tensor(adjoint)
    return (values * adjoint[:, None]).sum(-1).sum(0)


def by_complex_step(case):
    """Return the gradients of the loss by the names of `naive.backward`, each number by a run of its own."""
    gradients, arrays = {}, arguments(case)
    for name, value in arrays.items():
        count = value.size
        moved = np.broadcast_to(value, (count, *value.shape)).astype(complex)
        moved.reshape(count, count)[np.diag_indices(count)] += 1j * TINY
        if name not in PARAMS:  # their axis P is the one of length 1 before the last, or the last two
            axis = {"inputs": 2, "initial_state": 1}[name]
            moved = np.moveaxis(moved.squeeze(axis + 1), 0, axis)
        derivatives = loss(case, arrays | {name: moved}).imag / TINY
        gradients[name] = np.broadcast_to(derivatives, count).reshape(value.shape)
    return _without_axis(gradients)


def by_autograd(case):
    """Return the gradients of the loss by PyTorch, as `by_complex_step` does."""
    import torch

    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in arguments(case).items()}
    loss(case, leaves).sum().backward()
    return _without_axis(
        {
            name: np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
            for name, leaf in leaves.items()
        }
    )


def _without_axis(gradients):
    return gradients | {
        "inputs": gradients["inputs"][:, :, 0],
        "initial_state": gradients["initial_state"][:, 0],
    }
