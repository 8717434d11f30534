"""Networks whose gradients are known: given recurrent weights and nothing else, or biases and nothing else."""

import numpy as np

import gatescope as gs


def orthogonal(size, seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def weights(cell, *, weight_hh, input_size=1, weight_ih=None, bias=None):
    """Params with the given recurrent weights, and zeros where nothing is said."""
    rows, _ = weight_hh.shape
    return gs.Params(
        cell=cell,
        weight_ih=np.zeros((rows, input_size)) if weight_ih is None else weight_ih,
        weight_hh=np.array(weight_hh),
        bias_ih=np.zeros(rows) if bias is None else bias,
        bias_hh=np.zeros(rows),
    )


def with_biases(cell, biases, *, hidden_size=5):
    """No weights but biases: gate by gate one value for all units."""
    gates = gs.cells.get(cell).gates
    rows = len(gates) * hidden_size
    bias = np.repeat([biases.get(gate, 0.0) for gate in gates], hidden_size)
    return gs.Params(
        cell=cell,
        weight_ih=np.zeros((rows, 1)),
        weight_hh=np.zeros((rows, hidden_size)),
        bias_ih=bias,
        bias_hh=np.zeros(rows),
    )


def at_zero(params, batch=1):
    """Return the fixed point of a network without inputs and biases, where closed forms are exact."""
    return np.zeros((batch, len(gs.cells.get(params.cell).states), params.hidden_size))
