"""What a measurement is made again in, where derivatives are too small for the floats it began with.

A float32 network is measured in float64; what a GPU cannot carry even so is measured on the CPU.  Both are rare: units
have to be saturated beyond what float32 can tell from 1.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gatescope.errors import warn_device
from gatescope.recurrence.exact_steps import TooSmallError

if TYPE_CHECKING:
    from gatescope.measurements.frame import Frame

Measured = TypeVar("Measured")
Framed = TypeVar("Framed", bound="Frame")


def is_finest(problem: Frame) -> bool:
    """Return whether there is nothing finer to measure a problem in."""
    return problem.params.dtype == np.float64 and problem.device == "cpu"


def finer(problem: Framed) -> Framed:
    """Return the problem with its weights in float64, or else on the CPU, and with a file for its state of its own."""
    if problem.params.dtype != np.float64:
        changed, how = problem.astype(np.float64), "in float64"
    else:
        changed, how = dataclasses.replace(problem, device="cpu"), "on the CPU"
    resume = None if problem.resume is None else f"{os.fspath(problem.resume)}.{how.split()[-1].lower()}"
    recomputed = f"{problem.recomputed}, {how}".removeprefix(", ")
    return dataclasses.replace(changed, resume=resume, recomputed=recomputed)


def in_fine_floats(problem: Framed, measure: Callable[[Framed], Measured]) -> Measured:
    """Measure a problem; where derivatives are too small for it, measure the finer one."""
    while not is_finest(problem):
        better = finer(problem)
        if better.resume is None or not os.path.lexists(
            better.resume
        ):  # else an interrupted call was there already
            try:
                return measure(problem)
            except TooSmallError:
                if problem.resume is not None:
                    Path(problem.resume).unlink(missing_ok=True)
        if better.device != problem.device:
            warn_device(
                "derivatives of saturated units are smaller than what the GPU carries, so that this is computed on the "
                "CPU; `device` 'cpu' does so from the start"
            )
        problem = better
    return measure(problem)


def recomputed(*provenances: Mapping[str, Any]) -> dict[str, str]:
    """Return what provenance says of a result that is made of others, one of which may have been measured again."""
    texts = {text for provenance in provenances if (text := provenance.get("recomputed"))}
    return {"recomputed": "; ".join(sorted(texts))} if texts else {}
