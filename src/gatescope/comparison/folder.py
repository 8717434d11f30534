"""A comparison as a folder of files: pictures, the arrays behind them, the numbers, and a page of all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.comparison import Comparison
from gatescope.datatypes import Result
from gatescope.errors import OutputError
from gatescope.measurements.saturation import shares_by_unit
from gatescope.pictures import direction, file_stems, pictures_of
from gatescope.report import counted, write_report
from gatescope.storage import atomic_write, write_npz

_FORMATS = ("png", "svg")


def check_folder(folder: str | os.PathLike[str], names: Iterable[str] = ()) -> Path:
    """Make the folder, and find out before any work is done whether files can be written into it.

    Raises
    ------
    OutputError
        If it cannot be made or written, or one of `names` is a folder in it.
    """
    path = Path(folder)
    try:
        for place in (path, *{(path / name).parent for name in names}):
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        why = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot write into the folder {str(folder)!r}: {why}; choose one that can be written"
        ) from error
    for name in names:
        if (path / name).is_dir():
            raise OutputError(f"cannot write {str(path / name)!r}: it is a folder; move it away")
    return path


def file_names(labels: Iterable[str], *, traces: bool = True) -> list[str]:
    """Names of the files that `write_gallery` writes, for `check_folder`; some may not be written."""
    stems = file_stems(labels).values()
    pictures = ["gradient_decay", "saturation"]
    pictures += [f"{kind}_{stem}" for kind in ("trajectories", "close_up", "heatmap") for stem in stems]
    kinds = ("params", "flow_h", "flow_c", *(["trace"] if traces else []))
    data = [f"data/{kind}_{stem}.npz" for kind in kinds for stem in stems]
    return [
        *(f"{name}.{suffix}" for name in pictures for suffix in _FORMATS),
        *data,
        "data/saturation.npz",
        "summary.json",
        "report.html",
    ]


def write_gallery(
    comparison: Comparison,
    folder: str | os.PathLike[str],
    *,
    source: str,
    arguments: Mapping[str, Any],
    units: Iterable[int] | None = None,
    traces: bool = True,
    progress: bool = False,
) -> list[Path]:
    """Write the pictures, arrays, numbers and report of a comparison; each file appears whole or not at all.

    Parameters
    ----------
    comparison : Comparison
    folder : path
        It is made if it is not there; files of the same names are replaced.
    source : str
        Where the inputs come from, in words.
    arguments : mapping
        What the comparison was asked for; goes into ``summary.json``.
    units : iterable of int, optional
        Units whose trajectories are drawn.  Default: three, from the smallest to the greatest mean of the
        gate that keeps the memory (of h, without gates).
    traces : bool
        Whether to store the traces, by far the largest of the files.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    list of Path
        The files, ``report.html`` last.

    Raises
    ------
    OutputError
        If a file cannot be written.
    UnknownNameError, ValueRangeError
        If a unit does not exist.
    """
    from gatescope import plotting

    path = check_folder(folder, file_names(comparison.labels, traces=traces))
    chosen = None if units is None else tuple(units)
    pictures = pictures_of(comparison, source, chosen)
    jobs = _data_jobs(comparison, path / "data", traces)
    shown: list[tuple[str, Path, str]] = []
    drawn: list[Path] = []
    # Compressing does not hold Python's lock, so the arrays are written while the pictures are drawn.
    with (
        tqdm(total=len(pictures) + len(jobs) + 2, unit="file", disable=None if progress else True) as bar,
        _background() as pool,
    ):
        saving = [pool.submit(save, file) for file, save in jobs]
        for picture in pictures:
            bar.set_description(f"drawing {picture.name}")
            files = plotting.save_figure(picture.draw(), path / picture.name, _FORMATS)
            drawn += files
            shown.append((picture.caption, files[0], picture.alternative))
            bar.update()
        for (file, _), future in zip(jobs, saving, strict=True):
            bar.set_description(f"writing {file.name}")
            future.result()
            bar.update()
        written = [*drawn, *(file for file, _ in jobs)]
        names = [str(file.relative_to(path)) for file in written]
        summary = {
            "inputs": source,
            "arguments": dict(arguments),
            "cells": comparison.numbers(),
            "provenance": dict(comparison.provenance),
            "files": [*names, "report.html"],
        }
        with atomic_write(path / "summary.json") as stream:
            stream.write((json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())
        bar.update()
        _write_page(path / "report.html", comparison, source, shown)
        bar.update()
        bar.set_description("written")
    return [*written, path / "summary.json", path / "report.html"]


@contextmanager
def _background() -> Iterator[ThreadPoolExecutor]:
    """One more thread, whose work is dropped should the block fail."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The table, one mapping a quantity, from ``"quantity"`` and the labels to values, None where none is."""
    facts = comparison.numbers()
    sequences = comparison.measurements[0].trace.inputs.shape[1]
    batch = f" of all {sequences} sequences" if sequences > 1 else ""

    def gradient(state: str, key: str) -> Callable[[dict[str, Any]], Any]:
        return lambda cell: cell["gradient"].get(state, {}).get(key)

    rate, half, fit = "decay_rate_nats_per_step", "half_life_steps", "r_squared"
    quantities: dict[str, Callable[[dict[str, Any]], Any]] = {
        "parameters": lambda cell: cell["parameters"],
        "multiply-adds per step": lambda cell: cell["multiply_adds_per_step"],
        "activations per step": lambda cell: cell["activations_per_step"],
        f"forward, ns per step{batch}": lambda cell: cell["nanoseconds_per_step"],
        "gradient decay to h, nats per step": gradient("h", rate),
        "gradient decay to c, nats per step": gradient("c", rate),
        "half-life to h, steps": gradient("h", half),
        "half-life to c, steps": gradient("c", half),
        "R² of the decay to h": gradient("h", fit),
        "saturated gates, %": lambda cell: _percent(cell["saturation"]["saturated_share"]),
    }
    table = [
        {"quantity": name, **{label: pick(cell) for label, cell in facts.items()}}
        for name, pick in quantities.items()
    ]
    # A cell may have no gates or no c, and then has nothing to say of them; that h has no rate says something.
    return [
        row
        for row in table
        if any(value is not None for value in list(row.values())[1:]) or "to h" in row["quantity"]
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def notes(comparison: Comparison) -> list[str]:
    """What the numbers mean, one paragraph each."""
    first = comparison.measurements[0]
    steps, sequences = first.trace.inputs.shape[:2]
    batch = f" of all {sequences} sequences" if sequences > 1 else ""
    medians = " Of several sequences the table gives the median." if sequences > 1 else ""
    return [
        "Arithmetic of one step of one sequence: multiply-adds G·H·(I + H) in the matrix products, with G "
        "gates, H units and I inputs; activations are evaluations of sigmoid, tanh and relu, counted in the "
        "cell's equations.",
        f"Forward time: one step{batch}, storing every gate and state; the median of "
        f"{counted(first.timing_runs, 'run')} over {counted(steps, 'step')} {timed_on(comparison)}, "
        "compilation excluded.",
        "Gradient decay: the norm of the gradient of the last step with respect to an earlier state, h or c, "
        f"falls by e^-rate a step. It is the gradient of {direction(first.flow_h)}. "
        "The rate is the slope of its logarithm against the lag, least squares over lags "
        f"{_windows(comparison)}, with the sign turned: positive where the gradient vanishes, negative where "
        f"it explodes; there is none for fewer than three lags. The half-life is ln 2 / rate.{medians}",
        f"A gate is saturated below {first.left:g} (shut) or above {first.right:g} (open); the share is over "
        "units, steps and the gates that, by the equations, go from 0 to 1.",
    ]


def timed_on(comparison: Comparison) -> str:
    """What the times of a comparison were taken on."""
    if comparison.provenance["device"] == "cuda":
        simulated = comparison.provenance.get("backend") == "cudasim"
        where = "in Numba's simulator of a GPU" if simulated else "on the GPU"
        return f"{where}, copies to it and back included"
    return f"with at most {counted(comparison.measurements[0].threads, 'thread')} on the CPU"


def _windows(comparison: Comparison) -> str:
    """The lags that rates are fitted to, with the labels where they differ, and the state where that does."""
    windows: dict[str, list[str]] = {}
    for found in comparison:
        fits = {"h": found.flow_h.decay_rate().window}
        if found.flow_c is not None:
            fits["c"] = found.flow_c.decay_rate().window
        alike = len(set(fits.values())) == 1
        for state, (begin, end) in [("h", fits["h"])] if alike else fits.items():
            name = found.label if alike else f"{found.label} to {state}"
            windows.setdefault(f"{begin:,} to {end:,}", []).append(name)
    named = len(windows) > 1
    return "; ".join(span + (f" ({', '.join(names)})" if named else "") for span, names in windows.items())


def _write_page(path: Path, comparison: Comparison, source: str, shown: list[tuple[str, Path, str]]) -> None:
    steps, sequences, width = comparison.measurements[0].trace.inputs.shape
    cells = ", ".join(f"{found.label} ({counted(found.params.hidden_size, 'unit')})" for found in comparison)
    facts = {
        "inputs": source,
        "steps": steps,
        "sequences": sequences,
        "inputs per step": width,
        "cells": cells,
    }
    write_report(
        path,
        title="What the gates do to memory and to gradients",
        summary=facts,
        table=rows(comparison),
        figures=shown,
        notes=notes(comparison),
        provenance=comparison.provenance,
    )


def _data_jobs(
    comparison: Comparison, folder: Path, traces: bool
) -> list[tuple[Path, Callable[[Path], None]]]:
    jobs: list[tuple[Path, Callable[[Path], None]]] = []
    shares: dict[str, np.ndarray[Any, Any]] = {}
    stems = file_stems(comparison.labels)
    for found in comparison:
        stem = stems[found.label]
        results: dict[str, Result | None] = {
            "params": found.params,
            "flow_h": found.flow_h,
            "flow_c": found.flow_c,
        }
        if traces:
            results["trace"] = found.trace
        jobs += [
            (folder / f"{kind}_{stem}.npz", result.save)
            for kind, result in results.items()
            if result is not None
        ]
        if found.saturation:
            by_unit = shares_by_unit(found.trace, found.saturation, found.left, found.right)
            for gate, (shut, opened) in by_unit.items():
                shares[f"{stem}_{gate}_shut"], shares[f"{stem}_{gate}_open"] = shut, opened
    if shares:
        jobs.append((folder / "saturation.npz", lambda file: write_npz(file, shares)))
    return jobs
