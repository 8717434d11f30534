"""What a network that a reader found computes, by `gs.run` layer after layer."""

import numpy as np

import gatescope as gs


def loaded(direction, reverse=False):
    """Return a direction as Params; what it lacks of biases is zero."""
    weights = direction.load()
    rows = len(weights["weight_hh"])
    for name in ("bias_ih", "bias_hh"):
        weights.setdefault(name, np.zeros(rows, weights["weight_hh"].dtype))
    params = gs.Params(cell=direction.cell, reverse=reverse, **weights)
    assert (params.input_size, params.hidden_size) == (direction.input_size, direction.hidden_size)
    return params


def outputs_of(network, inputs):
    """Return outputs (T, B, ...) of the uppermost layer, or of the read-out if any, for inputs (T, B, I)."""
    for layer in network.layers:
        assert not layer.refused
        directions = [
            gs.run(loaded(part, reverse), inputs).outputs
            for part, reverse in ((layer.forward, False), (layer.backward, True))
            if part is not None
        ]
        inputs = sum(directions) if layer.merge == "sum" else np.concatenate(directions, axis=2)
    if network.readout is not None:
        weight, bias = network.readout.load()
        assert weight.shape == (network.readout.output_size, network.readout.input_size)
        inputs = inputs @ weight.T + bias
    return inputs


def only_network(stored):
    """Return the one network of what a reader found."""
    (network,) = stored.networks
    return network
