"""Random models of several layers, and the slow oracle for them: forward and back, layer by layer."""

import dataclasses

import naive
import numpy as np

import gatescope as gs
from gatescope.datatypes.stack import directions
from gatescope.datatypes.trace import turned
from helpers.cases import random_params


def random_stack(*layers, inputs=2, outputs=2, merge="concatenate", seed=0, dtype="float64"):
    """Return a model of layers such as ``"lstm 5"``, ``"gru 5 | lstm 5"`` for both ways, ``"| gru 5"`` for backward.

    Without `outputs` it has no read-out.
    """
    made, width = [], inputs
    for number, text in enumerate(layers):
        ways = {}
        for way, part in zip(("forward", "backward"), text.split("|"), strict=False):
            if part.strip():
                cell, units = part.split()
                params = random_params(
                    cell,
                    input_size=width,
                    hidden_size=int(units),
                    seed=[seed, number, way == "backward"],
                    dtype=dtype,
                )
                ways[way] = dataclasses.replace(params, reverse=way == "backward", batch_first=False)
        made.append(gs.Bidirectional(**ways, merge=merge) if len(ways) == 2 else next(iter(ways.values())))
        width = gs.Stack(layers=(made[-1],)).output_size
    rng = np.random.default_rng(seed)
    readout = {}
    if outputs:
        readout = {
            "readout_weight": (rng.standard_normal((outputs, width)) / np.sqrt(width)).astype(dtype),
            "readout_bias": rng.standard_normal(outputs).astype(dtype),
        }
    return gs.Stack(layers=tuple(made), **readout)


def random_states(stack, batch, seed=1):
    """Return states (B, S, H) by name."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal((batch, len(gs.cells.get(params.cell).states), params.hidden_size)) / 2
        for name, params in stack.directions().items()
    }


def naive_run(stack, inputs, states, lengths):
    """Return states and gates by name, each in the order in which the cell took its steps, and the outputs."""
    mask = (np.arange(len(inputs))[:, None] < lengths)[:, :, None]
    runs, x = {}, inputs
    for number, layer in enumerate(stack.layers):
        outputs = []
        for way, name in stack.prefixes(number).items():
            params = directions(layer)[way]
            taken = turned(x, lengths) if params.reverse else x
            values, gates = naive.forward(params.cell, params, taken, states[name], lengths)
            runs[name] = taken, values, gates
            h = np.where(mask, values[1:, :, 0], 0)
            outputs.append(turned(h, lengths) if params.reverse else h)
        added = isinstance(layer, gs.Bidirectional) and layer.merge == "sum"
        x = sum(outputs) if added else np.concatenate(outputs, axis=2)
    if stack.readout_weight is not None:
        x = np.where(mask, np.einsum("oh,tbh->tbo", stack.readout_weight, x) + stack.readout_bias, 0)
    return runs, x
