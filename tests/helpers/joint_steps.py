"""A step of all layers of a stack at once, by the cells' own equations in NumPy, of complex numbers too."""

import numpy as np

import gatescope as gs


def joint_step(layers, x, states):
    """Return the joint state (N, S*H of all layers) after a step of the cells' own equations, complex ones too."""
    new, offset = [], 0
    for params in layers:
        cell, units = gs.cells.get(params.cell), params.hidden_size
        size = len(cell.states) * units
        own = [states[:, offset + k * units : offset + (k + 1) * units] for k in range(len(cell.states))]
        wx = np.split(x @ params.weight_ih.T + params.bias_ih, len(cell.gates), axis=-1)
        rh = np.split(own[0] @ params.weight_hh.T + params.bias_hh, len(cell.gates), axis=-1)
        after, _ = cell.step(wx, rh, own)
        new += after
        x, offset = after[0], offset + size
    return np.concatenate(new, axis=1)
