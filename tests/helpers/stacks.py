"""Stacks of random layers, and their joint state in plain NumPy: one step at a time, by the slow oracle."""

import naive
import numpy as np

from gatescope.datatypes.stack import Stack
from helpers.cases import random_params


def random_stack(cells, sizes, *, inputs=2, outputs=0, seed=0, dtype="float64", scale=1.0):
    """Return forward layers of these cells and sizes, with a read-out of so many outputs."""
    layers, width = [], inputs
    for k, (cell, units) in enumerate(zip(cells, sizes, strict=True)):
        more = {"input_size": width, "hidden_size": units, "seed": seed + k, "dtype": dtype, "scale": scale}
        layers.append(random_params(cell, **more))
        width = units
    rng = np.random.default_rng(seed + 100)
    readout = {}
    if outputs:
        readout["readout_weight"] = rng.standard_normal((outputs, width)).astype(dtype)
        readout["readout_bias"] = rng.standard_normal(outputs).astype(dtype)
    return Stack(layers=tuple(layers), **readout)


def offsets(stack):
    """Return where each state of each layer lies in the joint state: {"layers.0.h": slice, ...}, and its size."""
    where, begin = {}, 0
    for name, params in stack.directions().items():
        for state in naive.STATES[params.cell]:
            where[f"{name}.{state}"] = slice(begin, begin + params.hidden_size)
            begin += params.hidden_size
    return where, begin


def joint_step(stack, matrices, x, joint):
    """Return the joint state after a step; `joint` may be complex."""
    new, begin = [], 0
    for params, m in zip(stack.layers, matrices, strict=True):
        states, units = len(naive.STATES[params.cell]), params.hidden_size
        old = joint[begin : begin + states * units].reshape(states, units)
        begin += states * units
        after, _ = naive.step(params.cell, m, x, old)
        new.append(after.reshape(-1))
        x = after[0]
    return np.concatenate(new)


def joint_run(stack, inputs, first=None):
    """Return the joint states (T+1, N) of one sequence of inputs (T, I), and the Jacobians (T, N, N) of its steps."""
    matrices = [naive.Matrices(params.cell, params) for params in stack.layers]
    size = offsets(stack)[1]
    states, jacobians = [np.zeros(size) if first is None else first], []
    tiny = 1e-30
    for x in inputs:
        columns = [
            joint_step(stack, matrices, x, states[-1] + 1j * tiny * unit).imag / tiny for unit in np.eye(size)
        ]
        jacobians.append(np.array(columns).T)
        states.append(joint_step(stack, matrices, x, states[-1]).real)
    return np.array(states), np.array(jacobians)


def chained(jacobians, direction):
    """Return direction (M, N) times the Jacobians of the last l steps, for l = 0..T, in order: (T+1, M, N)."""
    rows = [direction]
    for jacobian in jacobians[::-1]:
        rows.append(rows[-1] @ jacobian)
    return np.array(rows)
