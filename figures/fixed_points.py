"""The fixed points of an LSTM that learned the 3-bit flip-flop, and how the state moves between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import gatescope as gs
from figures import _building as building
from gatescope import plotting
from gatescope.datatypes.fixed_points import FixedPoints
from gatescope.measurements.fixed_points import fixed_points
from gatescope.storage.npz import read_npz

WEIGHTS = Path(__file__).with_name("weights") / "flip_flop.npz"
STEPS = 600
PULSE = 0.06  # probability of a pulse, a step and channel
SEED = 0


def compute(steps: int | None) -> dict[str, np.ndarray]:
    """Compute fixed points under zero input, and a trajectory under pulses."""
    weights = read_npz(WEIGHTS)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    params = gs.Params(cell="lstm", **{name: weights[name] for name in names})
    points = fixed_points(params, np.zeros(params.input_size), seed=SEED)
    rng = np.random.default_rng(SEED)
    size = (min(steps or STEPS, STEPS), 1, params.input_size)
    pulses = rng.choice([-1.0, 0.0, 1.0], size, p=[PULSE / 2, 1 - PULSE, PULSE / 2])
    trace = gs.run(params, pulses)
    return {
        "states": points.states,
        "residual": points.residual,
        "eigenvalues": points.eigenvalues.astype(np.complex64),  # for a picture: 1e-7 of their size
        "stable": points.stable,
        "found_by": points.found_by,
        "starts": np.array(points.starts),
        "margin": np.array(points.margin),
        "inputs": points.inputs,
        "pulses": pulses.astype(np.int8),
        "trajectory": trace.states.astype(np.float16),  # 5e-4 of their size, finer than the picture
    }


def draw(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw the plane of the trajectory on the left, the moduli of the eigenvalues on the right."""
    points = FixedPoints(
        cell="lstm",
        state_names=("h", "c"),
        starts=int(arrays["starts"]),
        margin=float(arrays["margin"]),
        **{name: arrays[name] for name in ("inputs", "states", "residual", "stable", "found_by")},
        eigenvalues=arrays["eigenvalues"].astype(np.complex128),
    )
    pulses = arrays["pulses"].astype(np.float32)
    trace = gs.Trace(
        cell="lstm",
        inputs=pulses,
        states=arrays["trajectory"].astype(np.float32),
        gates=np.zeros((len(pulses), 1, 0, points.h.shape[1]), np.float32),
        lengths=np.array([len(pulses)]),
        state_names=("h", "c"),
        gate_names=(),
    )
    fig = plotting.new_figure(10.4, 5.4)
    plane, moduli = fig.subplots(1, 2, width_ratios=(1.25, 1))
    plotting.plot_fixed_points(points, trace=trace, ax=plane)
    plotting.plot_fixed_point_moduli(points, ax=moduli)
    moduli.get_legend().remove()
    title = f"Eight memories and what lies between: {points.h.shape[1]} LSTM units that learned the 3-bit flip-flop"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


if __name__ == "__main__":
    building.main(only="fixed_points")
