"""A comparison as a folder of files: figures, the arrays behind them, the numbers, and a page of all."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.comparison.figures import ReportFigure, figures_of, file_stems
from gatescope.comparison.notes import findings, glossary, notes, untrained
from gatescope.datatypes import Params, Result, Stack
from gatescope.datatypes.comparison import CellMeasurements, Comparison, part_labels
from gatescope.explorer.explore import explore, holds_every_step
from gatescope.kernels.cpu.threads import open_pool
from gatescope.plotting._save import rendered, write_rendered
from gatescope.reporting.html import write_report
from gatescope.reporting.text import counted, listing
from gatescope.storage.atomic import atomic_write, check_folder
from gatescope.storage.npz import write_npz

_FORMATS = ("png", "svg")  # of figures: what is in the page, and what is written if asked for
_EXPLORER = "explorer.html"
# Of all traces: what is drawn elsewhere is copied there, a trace with each of its figures.
_SENT_BYTES = 1 << 28
Drawn = tuple[dict[str, bytes], list[Warning]]  # a figure's bytes by format, and what was warned of


def file_names(models: Mapping[str, Params | Stack], *, traces: bool = True) -> list[str]:
    """Return the files that `write_folder` may write of models by label, for `check_folder`."""
    stems = file_stems(models).values()
    parts = file_stems(text for label, model in models.items() for text in part_labels(label, model).values())
    figures = ["gradient_flow", "inputs", "saturation"]
    figures += [
        f"{kind}_{part}" for kind in ("trajectories", "close_up", "heatmap") for part in parts.values()
    ]
    kinds = ("params", "flow", "flow_h", "flow_c", *(["trace"] if traces else []))
    data = [f"data/{kind}_{stem}.npz" for kind in kinds for stem in stems]
    return [
        *(f"{name}.{suffix}" for name in figures for suffix in _FORMATS),
        *data,
        "data/saturation.npz",
        *([_EXPLORER] if traces else []),
        "summary.json",
        "report.html",
    ]


def write_folder(
    comparison: Comparison,
    folder: str | os.PathLike[str],
    *,
    source: str,
    arguments: Mapping[str, Any],
    units: Iterable[int] | None = None,
    traces: bool = True,
    svg: bool = False,
    executor: Executor | None = None,
    progress: bool = False,
) -> list[Path]:
    """Write the figures, arrays, numbers and report of a comparison; each file appears whole or not at all.

    Parameters
    ----------
    comparison : Comparison
    folder : path
        Made if it is not there; files of the same names are replaced, and what an earlier comparison wrote there,
        by its ``summary.json``, is removed.
    source : str
        Where the inputs come from, in words.
    arguments : mapping
        The arguments of the comparison, for ``summary.json``.
    units : iterable of int, optional
        Units whose trajectories are drawn.  Default: three, from the smallest to the greatest mean of the
        gate that keeps the memory (of h, without gates).
    traces : bool
        Whether to store the traces, by far the largest of the files, and a page to scrub through them with where it
        holds every step (`gatescope.explore`), of the first sequence.
    svg : bool
        Whether to write each figure as an SVG, too; it takes as long as the PNG.
    executor : concurrent.futures.Executor, optional
        What draws figures beside this process, such as processes; default: this one draws all, as it does of traces
        above 256 MiB.
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
    path = check_folder(folder, file_names({one.label: one.params for one in comparison}, traces=traces))
    earlier = _earlier_files(path)
    chosen = None if units is None else tuple(units)
    figures = figures_of(comparison, source, chosen)
    jobs = _data_jobs(comparison, path / "data", traces)
    if traces and holds_every_step(comparison):
        jobs.append((path / _EXPLORER, lambda file: explore(comparison, path=file)))
    shown: list[tuple[str, Path, str]] = []
    drawn: list[Path] = []
    # Compressing does not hold Python's lock, so the arrays are written while the figures are drawn.
    with (
        tqdm(total=len(figures) + len(jobs) + 2, unit="file", disable=None if progress else True) as bar,
        open_pool(1) as pool,
    ):
        saving = [pool.submit(save, file) for file, save in jobs]
        beside = executor if _trace_bytes(comparison) <= _SENT_BYTES else None
        for figure, data in _drawn(figures, _FORMATS if svg else _FORMATS[:1], beside, bar):
            files = write_rendered(data, path / figure.name)
            drawn += files
            shown.append((figure.caption, files[0], figure.alternative))
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
        _write_page(path / "report.html", comparison, source, shown, [*names, "summary.json"])
        for file in earlier - {*written, path / "report.html"}:
            file.unlink(missing_ok=True)
        bar.update()
        bar.set_description("written")
    return [*written, path / "summary.json", path / "report.html"]


def _trace_bytes(comparison: Comparison) -> int:
    traces = [trace for cell in comparison for trace, _ in cell.parts.values()]
    return sum(trace.states.nbytes + trace.gates.nbytes for trace in traces)


def draw(figure: ReportFigure, formats: Sequence[str]) -> Drawn:
    """Return a figure's bytes by format, and what was warned of: a process that draws for another says nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = rendered(figure.draw(), formats)
    return data, [one.message for one in caught if isinstance(one.message, Warning)]


def _drawn(
    figures: Sequence[ReportFigure], formats: Sequence[str], executor: Executor | None, bar: tqdm[Any]
) -> Iterator[tuple[ReportFigure, dict[str, bytes]]]:
    """Yield figures with their bytes, in order; the first are given to `executor`, the last are drawn here."""
    at_once = (
        getattr(executor, "workers", 1) + 1
    )  # one more than are at work, so that none waits for this process
    waiting, given, own = deque(range(len(figures))), dict[int, Future[Drawn]](), dict[int, Drawn]()
    while waiting:
        while executor and waiting and sum(not one.done() for one in given.values()) < at_once:
            index = waiting.popleft()
            given[index] = executor.submit(draw, figures[index], formats)
        if waiting:
            index = waiting.pop()
            bar.set_description(f"drawing {figures[index].name}")
            own[index] = draw(figures[index], formats)
            bar.update()
    for index, figure in enumerate(figures):
        data, said = own[index] if index in own else _given(given[index], figure, formats)
        for warning in said:
            warnings.warn(warning, stacklevel=2)
        bar.update(index not in own)
        yield figure, data


def _given(future: Future[Drawn], figure: ReportFigure, formats: Sequence[str]) -> Drawn:
    """Return what another process has drawn; one that died, for want of memory perhaps, left it to this one."""
    try:
        return future.result()
    except BrokenExecutor:
        return draw(figure, formats)


def _earlier_files(path: Path) -> set[Path]:
    """Return what an earlier comparison wrote into the folder by its own list, or nothing if that cannot be read.

    Cells that are compared no longer would else look as if they belonged to the new report.
    """
    try:
        names = json.loads((path / "summary.json").read_bytes())["files"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()
    # A list that somebody else wrote must not name files of theirs.
    ours = re.compile(r"(data/)?[\w.-]+\.(npz|png|svg|html)")
    texts = names if isinstance(names, list) else []
    return {path / name for name in texts if isinstance(name, str) and ours.fullmatch(name)}


def _write_page(
    path: Path, comparison: Comparison, source: str, shown: list[tuple[str, Path, str]], files: list[str]
) -> None:
    steps, sequences, width = comparison.cells[0].trace.inputs.shape
    units = (f"{cell.label} ({_units(cell)})" for cell in comparison)
    write_report(
        path,
        title="What the gates do to memory and to gradients",
        summary={
            "inputs": source,
            "steps": steps,
            "sequences": sequences,
            "inputs per step": width,
            "cells": ", ".join(units),
        },
        table=comparison.table(),
        figures=shown,
        notice=untrained(comparison),
        findings=findings(comparison),
        glossary=glossary(comparison),
        notes=notes(comparison),
        pages={_EXPLORER: "Every gate, state and gradient, step by step"} if _EXPLORER in files else {},
        files=files,
        provenance=comparison.provenance,
    )


def _units(cell: CellMeasurements) -> str:
    size = cell.hidden_size
    return counted(size, "unit") if isinstance(size, int) else f"{cell.cell}: {listing(size)} units"


def _data_jobs(
    comparison: Comparison, folder: Path, traces: bool
) -> list[tuple[Path, Callable[[Path], Any]]]:
    jobs: list[tuple[Path, Callable[[Path], Any]]] = []
    fractions: dict[str, np.ndarray[Any, Any]] = {}
    stems = file_stems(comparison.labels)
    for cell in comparison:
        stem = stems[cell.label]
        results: dict[str, Result | None] = {
            "params": cell.params,
            "flow": cell.flow,
            "flow_h": cell.flow_h,
            "flow_c": cell.flow_c,
        }
        results["trace"] = cell.trace if traces else None
        jobs += [
            (folder / f"{kind}_{stem}.npz", result.save)
            for kind, result in results.items()
            if result is not None
        ]
        for name, (_, counts) in zip(part_labels("", cell.params), cell.parts.values(), strict=True):
            for gate in counts.gates:
                key = "_".join(filter(None, (stem, name, gate)))
                fractions[f"{key}_shut"], fractions[f"{key}_open"] = counts.gate(gate)
    if fractions:
        jobs.append((folder / "saturation.npz", lambda file: write_npz(file, fractions)))
    return jobs
