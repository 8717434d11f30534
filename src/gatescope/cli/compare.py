"""``gatescope compare``: several cells over one series."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatescope.cli.beside import Alone, Beside, beside
from gatescope.cli.errors import naming
from gatescope.cli.fresh_cells import add_fresh
from gatescope.cli.groups import OUTPUT, WEIGHTS, command, option
from gatescope.cli.inputs import check_width, read_inputs
from gatescope.cli.networks import (
    Network,
    check_device_options,
    common_vocabulary,
    note,
    read_weights,
    refuse,
)
from gatescope.cli.options import (
    DEFAULT_CELLS,
    DEFAULT_INIT,
    DEFAULT_UNITS,
    DeviceOption,
    FolderOption,
    FormatOption,
    InputOptions,
    SeedOption,
    ThreadsOption,
    WeightOptions,
)
from gatescope.cli.outputs import check_outputs
from gatescope.cli.parsing import whole_numbers
from gatescope.cli.plots import check_plotting
from gatescope.cli.scale import fed_to
from gatescope.errors import ShapeError
from gatescope.reporting.terminal import echo, list_files, on_terminal, print_table

if TYPE_CHECKING:
    from gatescope.cli.inputs import Series
    from gatescope.datatypes import Array, Params, Stack
    from gatescope.datatypes.comparison import Comparison

_FEW_STEPS = 64  # as many as need all kernels that more steps need
_SENT_WEIGHTS = 1 << 24  # a larger model is not worth a copy in another process
_SHORT_WORK = 1 << 28  # multiply-adds of these steps, of all sequences: more take longer than to compile


@command
def compare(
    series: InputOptions,
    network: WeightOptions,
    weights: list[Path] | None = option(
        None,
        "Weights to compare: a file of PyTorch, Keras, ONNX, Flax or Equinox, or an npz of gatescope's, "
        "such as train writes (its best model).  May be given several times; fresh cells join in when --cells is "
        "given too.  Default: fresh cells alone.",
        "--weights",
        metavar="FILE",
        panel=WEIGHTS,
    ),
    cells: str | None = option(
        None,
        f"Fresh cells to compare, with commas between them.  Default: {DEFAULT_CELLS}.",
        panel=WEIGHTS,
    ),
    seed: SeedOption = None,
    units: str | None = option(
        None, "Units to draw, as in 0,5,9.  Default: three that differ most.", panel=OUTPUT
    ),
    out: FolderOption = Path("gatescope-out"),
    traces: bool = option(
        True, "Store every gate and state, the largest files.", "--traces/--no-traces", panel=OUTPUT
    ),
    svg: bool = option(False, "Write each figure as an SVG, too.", "--svg", panel=OUTPUT),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    form: FormatOption = "table",
) -> None:
    """Compare cells and models over one series: cost, gates, and how fast the gradient decays.

    Of a model that goes both ways each direction is compared by itself, on what it gets in the model.  Prints a table
    and writes figures, the arrays behind them, a summary, a self-contained report.html, and explorer.html, a page to
    scrub through every gate and state with.
    """
    check_device_options(device, threads)
    seed = seed or 0
    fresh = cells is not None or not weights
    if not weights:
        refuse(network.of_files(), "is for weights from files", "give `weights` too, or leave it out")
    if not fresh:
        problem = "is for fresh cells, and with `weights` there are none"
        refuse(network.of_fresh(), problem, "give `cells` too, or leave it out")
    with beside("gatescope.comparison.folder", threads) as others:
        check_plotting()
        from gatescope.comparison.compare import parts_compared
        from gatescope.comparison.folder import file_names, write_folder
        from gatescope.reporting.text import byte_count

        by_label, notes = read_weights(weights or [], network, whole=True)
        inputs = read_inputs(series, vocabulary=common_vocabulary(by_label.values()))
        if fresh:
            with naming(cell="--cells"):
                drawable = DEFAULT_CELLS if cells is None else cells
                notes += add_fresh(
                    by_label, drawable, inputs.values.shape[2], seed, network, optional=cells is None
                )
        for label, chosen in by_label.items():
            check_width(inputs, label, chosen.input_size)
        drawn = _parse_units(units, by_label)
        models = {label: chosen.model for label, chosen in by_label.items()}
        names = file_names(parts_compared(models), traces=traces)
        check_outputs("out", out, names, inputs=series.inputs, weights=weights)

        note(notes)
        fed, reading = fed_to(by_label, inputs, standardize=series.standardize, threads=threads)
        echo(reading)
        options = {"lengths": inputs.lengths, "seed": seed, "device": device, "threads": threads}
        comparison = _measured(models, fed, options, others)
        arguments = {
            **dataclasses.asdict(network),
            **dataclasses.asdict(series),
            "hidden_size": (network.hidden_size or DEFAULT_UNITS) if fresh else None,
            "init": (network.init or DEFAULT_INIT) if fresh else None,
            "layer": network.layer if weights else None,
            "inputs": None if series.inputs is None else str(series.inputs),
            "steps": series.steps,
            "weights": [str(file) for file in weights or []],
            "cells": list(by_label),
            "seed": seed,
            "units": None if drawn is None else list(drawn),
            "traces": traces,
            "svg": svg,
            "device": device,
            "threads": threads,
        }
        files = write_folder(
            comparison,
            out,
            source=inputs.source,
            arguments=arguments,
            units=drawn,
            traces=traces,
            svg=svg,
            executor=others.executor(),
            progress=on_terminal(),
        )
    title, *explanation = comparison.summary().splitlines()
    print_table(comparison.table()._replace(title=f"{inputs.source}: {title}"), explanation)
    list_files(files, out)
    size = byte_count(sum(file.stat().st_size for file in files))
    echo(f"{len(files)} files in {out}, {size}; start with {files[-1]}")


def _measured(
    models: Mapping[str, Params | Stack],
    fed: Mapping[str, Series],
    options: Mapping[str, Any],
    others: Beside | Alone,
) -> Comparison:
    """Return the comparison of models by label, each over its inputs, which its trace keeps the scale of."""
    from gatescope.comparison.compare import compare_and_time, parts_compared

    values = {label: own.values for label, own in fed.items()}
    with others.compiling(_that_compile(models, values, options)):
        comparison = compare_and_time(others.wait, models, values, progress=on_terminal(), **options)
    of_part = {
        part: fed[label] if _takes_inputs(part, label) else fed[label].made_of(fed[label].values)
        for label in models
        for part in parts_compared({label: models[label]})
    }
    cells = (
        dataclasses.replace(cell, trace=of_part[cell.label].kept_with(cell.trace)) for cell in comparison
    )
    comparison = dataclasses.replace(comparison, cells=tuple(cells))
    if len({str(own.provenance) for own in fed.values()}) == 1:
        comparison = next(iter(fed.values())).kept_with(comparison)
    return comparison


def _that_compile(
    models: Mapping[str, Params | Stack], values: Mapping[str, Array], options: Mapping[str, Any]
) -> list[Callable[[], object]]:
    """Return calls that need the kernels of one model each: not of the first, and the last first."""
    import numpy as np

    from gatescope.comparison.compare import compare as run_comparison

    if options["device"] != "cpu":
        return []
    lengths = options["lengths"]
    few = {
        **options,
        "lengths": None if lengths is None else np.minimum(lengths, _FEW_STEPS),
        "threads": 1,
        "timing_runs": 1,
    }
    return [
        partial(run_comparison, {label: models[label]}, values[label][:_FEW_STEPS], **few)
        for label in reversed([*models][1:])
        if models[label].size <= _SENT_WEIGHTS
        and models[label].size * _FEW_STEPS * values[label].shape[1] <= _SHORT_WORK
    ]


def _takes_inputs(part: str, label: str) -> bool:
    """Return whether what is compared is a whole model, or a direction of its lowest layer."""
    return part == label or part.startswith(f"{label}, layers.0")


def _parse_units(text: str | None, by_label: dict[str, Network]) -> tuple[int, ...] | None:
    if text is None:
        return None
    from gatescope.datatypes import Stack

    units = tuple(whole_numbers("units", text, "0,5,9"))
    least = min(
        params.hidden_size
        for chosen in by_label.values()
        for params in (
            chosen.model.directions().values() if isinstance(chosen.model, Stack) else [chosen.params]
        )
    )
    if any(not 0 <= unit < least for unit in units):
        raise ShapeError(
            f"must lie in 0..{least - 1}, the units of the smallest cell", argument="units", seen=text
        )
    return units
