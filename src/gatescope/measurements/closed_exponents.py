"""Lyapunov exponents of a model whose outputs are its next inputs: those of the joint state of all layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.checks.numbers import check_count, check_unused
from gatescope.datatypes import Array, LyapunovSpectrum, Stack, StackTrace
from gatescope.measurements.jacobian_exponents import spectrum_along
from gatescope.measurements.joint_exponents import state_size
from gatescope.measurements.step_jacobian import stack_jacobians
from gatescope.recurrence.clamping import clamp as clamped_by
from gatescope.recurrence.closed_loop import readout_of
from gatescope.recurrence.exact_steps import ExactSteps
from gatescope.recurrence.recompute import check_states
from gatescope.recurrence.run import run


def closed_spectrum(
    stack: Stack,
    inputs: Any,
    steps: Any,
    *,
    k: int | None,
    transient: int | None,
    qr_every: int | None,
    lengths: Any,
    initial_state: Any,
    clamp: Any,
    seed: int,
    threads: int | None,
    resume: Any,
) -> LyapunovSpectrum:
    """Return the exponents of `steps` steps of the closed loop, as `lyapunov_spectrum` says."""
    check_unused("in a closed loop", lengths=lengths, resume=resume)
    count = check_count("steps", steps, advice="say how many steps the loop goes on for")
    model = stack.astype(np.float64)
    options = {"initial_state": initial_state, "clamp": clamp, "threads": threads}
    trace = run(model, inputs, steps=count, feedback=True, **options)
    for result in trace.results:
        check_states(result.states, 0)
    jacobians = LoopJacobians(clamped_by(model, clamp), trace)
    total, batch = trace.outputs.shape[:2]
    warm = total - count
    moved = [(result.states[warm:] != result.states[warm]).any(axis=(0, 2, 3)) for result in trace.results]
    size = jacobians.size
    return spectrum_along(
        lambda b, begin, end: jacobians.of(b, warm + begin, warm + end),
        (count, batch, size),
        k=k,
        advice=f"the joint state of {len(stack.layers)} layers has {size}",
        transient=transient,
        qr_every=1 if qr_every is None else qr_every,
        seed=seed,
        cell=f"{' on '.join(reversed(stack.cells))}, closed loop",
        moved=np.any(moved, axis=0),
        provenance={**trace.provenance, "direction_seed": seed},
    )


class LoopJacobians:
    """The Jacobians d s_{t+1} / d s_t of a closed loop, of the joint state: layer after layer, each with h first.

    Parameters
    ----------
    stack : Stack
        Of float64, with the clamps applied.
    trace : StackTrace
        Of its run.
    """

    def __init__(self, stack: Stack, trace: StackTrace) -> None:
        self._layers = stack.directions()
        self._readout = readout_of(stack)[0]
        self._trace = trace
        self._exact = {name: ExactSteps(params) for name, params in self._layers.items()}
        self.size = sum(map(state_size, self._layers.values()))

    def of(self, sequence: int, begin: int, end: int) -> Array:
        """Return the Jacobians (N, n, n) of the steps of a sequence from one to another."""
        parts = []
        for name, exact in self._exact.items():
            result = self._trace[name]
            states = np.ascontiguousarray(result.states[begin : end + 1, sequence : sequence + 1])
            gates = np.ascontiguousarray(result.gates[begin:end, sequence : sequence + 1])
            inputs = np.ascontiguousarray(result.inputs[begin:end, sequence : sequence + 1])
            saved = exact.steps(inputs, states, gates)
            parts.append((states[:-1, 0], states[1:, 0], saved[:, 0]))
        old, new, kept = zip(*parts, strict=True)
        return stack_jacobians(list(self._layers.values()), old, new, kept, self._readout)
