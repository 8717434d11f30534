"""Networks whose gradients are known: given recurrent weights, and nothing else."""

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
