"""gradient_flow on the GPU beside the CPU: a million steps of one sequence, one direction and all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import gatescope as gs
from benchmarks.gpu_clock import Budget, shortened
from benchmarks.gpu_sides import drawn

_NEEDED = 3.0  # seconds that must be left to begin the next part
AGREES = 1e-4  # of the log-norms, relative where they are above 1 in magnitude


def _timed(params: gs.Params, inputs: Any, norm: str, device: str) -> tuple[gs.GradientFlow, float]:
    begun = time.perf_counter()
    flow = gs.gradient_flow(params, inputs, device=device, norm=norm)
    return flow, time.perf_counter() - begun


def measure_flow(
    seconds: float, *, hidden: int = 64, steps: int = 1_000_000, short: int = 20_000
) -> Iterator[dict[str, Any]]:
    """Seconds by the wall clock, NumPy in and out; yields what there is so far after each part.

    The short series is for compiling, and for the comparison of both devices' log-norms; the CPU carries all
    directions back over the short one alone.
    """
    budget = Budget(seconds)
    params = gs.init("lstm", input_size=1, hidden_size=hidden, seed=0)
    inputs = drawn((steps, 1, 1), "float32", 3)
    flow: dict[str, Any] = {
        "cell": "lstm",
        "hidden_size": hidden,
        "batch": 1,
        "dtype": "float32",
        "parts": [],
    }
    for norm in ("random", "spectral"):
        part: dict[str, Any] = {"norm": norm, "directions": hidden if norm == "spectral" else 1}
        flow["parts"].append(part)
        long_on_cpu = norm == "random"
        try:
            flows = {}
            for device in ("cuda", "cpu"):
                _timed(params, inputs[: min(short, 1000)], norm, device)  # compiles
                flows[device], took = _timed(params, inputs[:short], norm, device)
                part[f"{device}_us_per_step_short"] = 1e6 * took / short
            part["short_steps"] = short
            part["difference"] = _difference(flows["cuda"], flows["cpu"])
            part["agrees"] = part["difference"] is not None and part["difference"] <= AGREES
            yield flow
            for device in ("cuda", "cpu") if long_on_cpu else ("cuda",):
                expected = 1e-6 * part[f"{device}_us_per_step_short"] * steps
                if budget.left() < expected + _NEEDED:
                    part[f"{device}_skipped"] = f"about {expected:.0f} s needed, {budget.left():.0f} s left"
                    continue
                _, took = _timed(params, inputs, norm, device)
                part |= {
                    "steps": steps,
                    f"{device}_seconds": took,
                    f"{device}_us_per_step": 1e6 * took / steps,
                }
                yield flow
        except Exception as error:
            part["failed"] = shortened(error)
            yield flow
        if budget.left() < _NEEDED:
            flow["skipped"] = "no time left for the rest"
            break
    yield flow


def _difference(one: gs.GradientFlow, other: gs.GradientFlow) -> float | None:
    """Largest difference of the log-norms, relative where they are above 1 in magnitude."""
    off = np.abs(one.log_norm - other.log_norm) / np.maximum(1, np.abs(other.log_norm))
    largest = float(off.max())
    return largest if np.isfinite(largest) else None
