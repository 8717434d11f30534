"""Layers that take a step at a time, one above the other, and a read-out whose outputs are the next inputs.

The layers' own kernels do the steps; what is compiled here calls them.
"""

from functools import cache

from numba.extending import register_jitable

from gatescope.kernels.cpu.loops.compiling import OPTIONS, compiled, named


@cache
def make_layers(kernels):
    """Make a function that takes one step of several layers, the first of which is the lowest."""
    if not kernels:
        return _nothing
    *lower, kernel = kernels
    below = make_layers(tuple(lower))

    @register_jitable(**OPTIONS)  # which makes no entry for Python, in half the time
    @named
    def advance(layers, lengths, span):
        # layers: (those below, what the kernel takes, where the outputs go: (T, B, H))
        # span: as the forward kernel's, of one step
        lower, (weights, inputs, states, gates, work), outputs = layers
        below(lower, lengths, span)
        kernel(weights, inputs, states, gates, lengths, span, work)
        t = span[2]
        for n in range(span[0], span[1]):
            for u in range(outputs.shape[2]):
                outputs[t, n, u] = states[t + 1, n, 0, u]

    return advance


@register_jitable(**OPTIONS)
def _nothing(_layers, _lengths, _span):
    return


@cache
def make_closed_loop(kernels):
    """Make the loop over the steps of a block of sequences."""
    advance = make_layers(kernels)

    @compiled
    def closed_loop(layers, lengths, readout, inputs, outputs, span):
        # readout: weight (O, H), bias (O,), the uppermost layer's outputs (T, B, H), its outputs before step 0 (B, H)
        # inputs (T, B, I) of the lowest layer, which are given up to the step `given`; outputs (T, B, O), O = I
        # span: first sequence, last, given, steps
        weight, bias, features, before = readout
        begin, end, given, steps = span
        for t in range(steps):
            if t >= given:
                for n in range(begin, end):
                    for o in range(weight.shape[0]):
                        if t > 0:
                            inputs[t, n, o] = outputs[t - 1, n, o]
                        else:
                            total = bias[o]
                            for u in range(weight.shape[1]):
                                total += weight[o, u] * before[n, u]
                            inputs[t, n, o] = total
            advance(layers, lengths, (begin, end, t, t + 1, False))
            for n in range(begin, end):
                for o in range(weight.shape[0]):
                    total = bias[o]
                    for u in range(weight.shape[1]):
                        total += weight[o, u] * features[t, n, u]
                    outputs[t, n, o] = total

    return closed_loop
