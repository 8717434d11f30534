"""The cells of the figures: 64 units over the laser series."""

from __future__ import annotations

from typing import Any

import numpy as np

import gatescope as gs
from gatescope.cells.ranges import gate_ranges

HIDDEN_SIZE = 64
SEED = 0
WHOLE = {"of": "joint", "wrt": "joint"}  # an LSTM carries its memory in c


def series(steps: int | None) -> np.ndarray:
    """Return (T, 1, 1) float32: the standardized laser series, or its first `steps` steps."""
    return gs.tasks.laser(steps=steps).inputs


def cell(name: str, scheme: str = "pytorch") -> gs.Params:
    """Return a fresh cell."""
    return gs.init(name, input_size=1, hidden_size=HIDDEN_SIZE, seed=SEED, scheme=scheme)


def flow_arrays(prefix: str, flow: gs.GradientFlow) -> dict[str, np.ndarray]:
    """Return the flow of the whole state over one sequence as arrays; float32 is 3e-4 nats off at -5,000 nats."""
    return {
        f"{prefix}.lag": flow.lag.astype(np.int32),
        f"{prefix}.log_norm": flow.log_norm[:, 0].astype(np.float32),
        f"{prefix}.cell": np.array(flow.cell),
    }


def flow_from(arrays: dict[str, np.ndarray], prefix: str, longest: int | None = None) -> gs.GradientFlow:
    """Return the flow that `flow_arrays` stored, up to the lag `longest`."""
    lag = arrays[f"{prefix}.lag"].astype(np.int64)
    last = None if longest is None else int(np.searchsorted(lag, longest, side="right"))
    return gs.GradientFlow(
        cell=str(arrays[f"{prefix}.cell"]),
        lag=lag[:last],
        log_norm=arrays[f"{prefix}.log_norm"][:last, None].astype(np.float64),
        **WHOLE,
        source_step=int(lag[-1]),
        norm="random",
    )


def trace_arrays(
    prefix: str, trace: gs.Trace, steps: int, units: np.ndarray, dtype: Any
) -> dict[str, np.ndarray]:
    """Return the first steps of some units of a trace of one sequence, as arrays to store."""
    return {
        f"{prefix}.states": trace.states[: steps + 1, 0][:, :, units].astype(dtype),
        f"{prefix}.gates": trace.gates[:steps, 0][:, :, units].astype(dtype),
        f"{prefix}.units": units,
        f"{prefix}.state_names": np.array(trace.state_names),
        f"{prefix}.gate_names": np.array(trace.gate_names),
    }


def trace_from(arrays: dict[str, np.ndarray], prefix: str) -> gs.Trace:
    """Return the trace that `trace_arrays` stored; its unit k is the stored units[k]."""
    gates = arrays[f"{prefix}.gates"][:, None].astype(np.float32)
    return gs.Trace(
        cell=prefix,
        inputs=np.zeros((len(gates), 1, 1), np.float32),
        states=arrays[f"{prefix}.states"][:, None].astype(np.float32),
        gates=gates,
        lengths=np.array([len(gates)], np.int64),
        state_names=tuple(map(str, arrays[f"{prefix}.state_names"])),
        gate_names=tuple(map(str, arrays[f"{prefix}.gate_names"])),
        gate_ranges=gate_ranges(gs.cells.get(prefix)),
    )
