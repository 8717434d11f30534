"""Derivatives of whole runs by the complex step, of any cell that the slow oracle has forward: no backward equation."""

from types import SimpleNamespace

import naive
import numpy as np

TINY = 1e-100  # its square vanishes beside any float, so the complex step has no truncation error


def gradients(case):
    """Return the gradients of a case's loss, entry by entry, by the names of `helpers.cases.flat`."""
    arrays = case.params.arrays() | {"inputs": case.inputs, "initial_state": case.initial_state}
    arrays = {name: value.astype(np.float64) for name, value in arrays.items()}
    derivatives = {}
    for name, value in arrays.items():
        derivatives[name] = np.empty(value.shape)
        for index in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[index] += TINY * 1j
            derivatives[name][index] = loss(case, arrays | {name: moved}).imag / TINY
    return derivatives


def loss(case, arrays):
    """Return the sum of the outputs and of the final states times their adjoints."""
    count, total = naive.GATES[case.cell], 0
    blocks = zip("WRbd", ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), strict=True)
    m = SimpleNamespace(**{short: np.split(arrays[name], count) for short, name in blocks})
    for b, state in enumerate(arrays["initial_state"]):
        for x, seed in zip(arrays["inputs"][:, b], case.output_adjoint[:, b], strict=True):
            state, _ = naive.step(case.cell, m, x, state)
            total = total + (seed * state[0]).sum()
        total = total + (case.final_adjoint[b] * state).sum()
    return total
