"""The few numbers that are followed while a model learns: how far back gradients reach, how often gates are shut."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array, Fit
from gatescope.measurements import gradient_flow
from gatescope.measurements.problem import Problem
from gatescope.measurements.saturation import count_saturated

SEQUENCES = 4  # that a probe looks at: the longest ones


class LayerProbe(NamedTuple):
    """What is read of one layer in one direction.

    Attributes
    ----------
    rate : Fit
        Nats per step, of the gradient of the last state, all of it, by earlier ones.
    gates : tuple of str
        All values that the cell saves.
    saturation : dict
        Mean fractions of the steps and units at which a gate in (0, 1) is shut and open, by name.
    outputs : (T, B, H)
    """

    rate: Fit
    gates: tuple[str, ...]
    saturation: dict[str, tuple[float, float]]
    outputs: Array

    @property
    def decay_rate(self) -> float:
        """The mean rate of the sequences whose norms follow a line; NaN if none do."""
        known = self.rate.is_rate
        return float(self.rate.value[known].mean()) if known.any() else float("nan")

    @property
    def doubt(self) -> str:
        """Why there is no decay rate, or of how many of the sequences it is; "" if of all."""
        known = self.rate.is_rate
        why = next(filter(None, self.rate.why_none), "")
        return (
            f"the mean over {known.sum()} of {known.size} sequences; in another {why}"
            if known.any() and why
            else why
        )


def probe_layer(problem: Problem) -> LayerProbe:
    """Measure a layer in one direction over a short series."""
    # The whole state: an LSTM's memory is c, of which h may see nothing for many steps.
    rate = gradient_flow.measure(problem, of="joint", wrt="joint").decay_rate()
    trace = problem.trace()
    saturation = count_saturated(trace).means()
    return LayerProbe(rate, trace.gate_names, saturation, np.ascontiguousarray(trace.outputs))


def longest_sequences(lengths: Array) -> tuple[Array, int]:
    """Return the numbers of the few longest sequences, ascending, and the steps that all of them have.

    None is shorter than half the longest, which would be cut to it.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.measurements.layer_probe import longest_sequences
    >>> longest_sequences(np.array([9, 0, 7, 8, 5, 6]))
    (array([0, 2, 3, 5]), 6)
    >>> longest_sequences(np.array([300, 8, 8, 200]))
    (array([0, 3]), 200)
    """
    longest = np.argsort(-lengths, kind="stable")[:SEQUENCES]
    least = max(1, -(-lengths.max(initial=0) // 2))
    chosen = np.sort(longest[lengths[longest] >= least])
    return chosen, int(lengths[chosen].min(initial=lengths.max()))
