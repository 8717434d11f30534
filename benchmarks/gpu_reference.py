"""The CPU's results for every row, over a few steps: what the GPU's are compared with.

Made by a process of its own while the CUDA tests run, because the CPU's kernels take seconds to compile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatescope as gs
from benchmarks.gpu_rows import by_key, check_steps
from benchmarks.gpu_sides import arrays_of
from benchmarks.problem import Problem, make_problem
from benchmarks.rows import Row
from gatescope.storage.npz import read_npz, write_npz

_WAIT = 0.1


def check_problem(row: Row) -> Problem:
    """Return the row's weights with a few steps of inputs; the same numbers in every process."""
    return make_problem(row.shortened(check_steps(row)))


def reference(problem: Problem) -> dict[str, NDArray[np.floating]]:
    """Return the CPU's results."""
    trace = gs.run(problem.params, problem.inputs)
    return arrays_of(trace, gs.backprop(problem.params, trace, output_adjoint=problem.output_adjoint))


def read(folder: Path, row: Row, seconds: float) -> dict[str, NDArray[np.floating]]:
    """Return the results that the other process has written, waiting for them at most so long; else made here."""
    end = time.monotonic() + seconds
    path = folder / f"{row.key}.npz"
    while not path.exists() and time.monotonic() < end:
        time.sleep(_WAIT)
    return read_npz(path) if path.exists() else reference(check_problem(row))


def differences(
    arrays: dict[str, NDArray[np.floating]], expected: dict[str, NDArray[np.floating]]
) -> dict[str, float | None]:
    """Largest difference of each array over the largest value expected; None if something is not a number."""
    result: dict[str, Any] = {}
    for name, value in arrays.items():
        reference = expected[name]
        if value.shape != reference.shape or value.dtype != reference.dtype:
            raise AssertionError(
                f"{name} is {value.dtype}{list(value.shape)}, and {reference.dtype}{list(reference.shape)} on the CPU"
            )
        largest = float(np.abs(reference).max(initial=0.0))
        off = float(np.abs(value - reference).max(initial=0.0))
        relative = off / largest if largest else off
        result[name] = relative if np.isfinite(relative) else None
    return result


def agrees(differences: dict[str, float | None], tolerance: float) -> bool:
    """Whether all differences are numbers within the tolerance."""
    return all(value is not None and value <= tolerance for value in differences.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Write FOLDER/KEY.npz for each KEY."""
    folder, *keys = sys.argv[1:] if arguments is None else arguments
    for key in keys:
        row = by_key(key)
        write_npz(Path(folder) / f"{key}.npz", reference(check_problem(row)))


if __name__ == "__main__":
    main()
