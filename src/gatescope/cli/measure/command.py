"""What every ``gatescope measure`` command does around its measurement: read, check, measure, print, write."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer

from gatescope.cli.errors import message, naming
from gatescope.cli.fresh_cells import one_cell
from gatescope.cli.groups import options_of, take, with_signature
from gatescope.cli.inputs import Series, check_width, read_inputs
from gatescope.cli.measure.options import Option, own_options
from gatescope.cli.networks import (
    Network,
    Vocabulary,
    check_device_options,
    common_vocabulary,
    note,
    read_one,
    refuse,
)
from gatescope.cli.options import (
    INTERRUPTED,
    CellOptions,
    ClampOption,
    DeviceOption,
    FolderOption,
    FormatOption,
    InitialStateOption,
    InputOptions,
    ResumeOption,
    SeedOption,
    ThreadsOption,
)
from gatescope.cli.outputs import check_outputs
from gatescope.cli.parsing import parse_clamp
from gatescope.cli.plots import check_plotting
from gatescope.cli.scale import fed_to
from gatescope.errors import GatescopeError
from gatescope.measurements.registry import Measurement
from gatescope.reporting.terminal import echo, file_sizes, on_terminal, print_table, report, working

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gatescope.datatypes import Params, Stack
    from gatescope.datatypes.result import Result

_FORMATS = ("png", "svg")

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
# Options of all measurements whose function has the argument.
_SHARED: dict[str, tuple[Any, Any]] = {
    "initial_state": (InitialStateOption, None),
    "clamp": (ClampOption, None),
    "device": (DeviceOption, "cpu"),
    "threads": (ThreadsOption, None),
    "resume": (ResumeOption, None),
}
_ALWAYS: dict[str, tuple[Any, Any]] = {
    "seed": (SeedOption, None),
    "out": (FolderOption, Path("gatescope-measured")),
    "form": (FormatOption, "table"),
}
_OF_A_RUN = ("clamp", "device", "threads")
# Arguments that the command line gives in its own way, or not at all.
_FRAME = {"params", "trace", "inputs", "lengths", "seed", "progress", "feedback", *_SHARED}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a measurement is asked for.

    Attributes
    ----------
    label : str
        What the cell is called: its name, or that of its file; empty for a measurement that takes no weights.
    network : Network or None
    series : Series or None
    shared : dict
        The options that all measurements share, by name.
    weights : Path or None
        The file that the network is from.
    """

    label: str
    network: Network | None
    series: Series | None
    shared: dict[str, Any]
    weights: Path | None = None

    @property
    def model(self) -> Params | Stack | None:
        """What is measured: weights of one cell, or a model."""
        return None if self.network is None else self.network.model

    @property
    def params(self) -> Params | None:
        """The weights of a measurement of one cell."""
        return None if self.network is None else self.network.params

    @property
    def title(self) -> str:
        """The cell, what is clamped, the series and its length."""
        from gatescope.reporting.text import counted, listing

        label = self.label if self.network is None else self.network.title(self.label)
        parts = [label] if label else []
        if self.shared.get("clamp"):
            parts.append(f"with {listing(self.shared['clamp'])} clamped")
        if self.series is not None:
            parts.append(f"over {self.series.source}, {counted(len(self.series.values), 'step')}")
        return " ".join(parts)


class Plan:
    """The command line of one measurement: its function, its options, and what its own module adds.

    A module ``cli/measure/<stem>.py`` is there only where a measurement needs more than its function says.  It may have

    - ``DEFAULTS``: defaults of options, as text;
    - ``OPTIONS``: further options, from a name to a pair of annotation and default;
    - ``SERIES``: None for a measurement over no series, False where the series may be left out;
    - ``input_size(options)``: the width of a fresh cell, where there is no series;
    - ``reading(job)``: what the inputs are, in one line, where there is no series;
    - ``arguments(job, arguments)``: changes the keyword arguments of the function;
    - ``draw(job, result)``: makes the figure, instead of ``plotting.plot_<stem>``;
    - ``check(job)``: refuses options before the work;
    - ``finish(job, result)``: is called after the files have been written.
    """

    def __init__(self, row: Measurement) -> None:
        self.row, self.function = row, row.load()
        self.parameters = inspect.signature(self.function).parameters
        path = f"gatescope.cli.measure.{row.stem}"
        self.module: ModuleType | None = (
            importlib.import_module(path) if importlib.util.find_spec(path) else None
        )
        self.series: bool | None = self._of_module("SERIES", True)
        self.groups: dict[str, type] = {}
        if self.series is not None:
            self.groups["series"] = InputOptions
        if "params" in self.parameters or "trace" in self.parameters:
            self.groups["network"] = CellOptions
        others = self._of_module("OPTIONS", {})
        others |= {name: option for name, option in _SHARED.items() if self._takes(name)} | _ALWAYS
        shared = {option.name: option for group in self.groups.values() for option in options_of(group)}
        shared |= {
            name: inspect.Parameter(name, _KEYWORD, default=default, annotation=annotation)
            for name, (annotation, default) in others.items()
        }
        defaults = self._of_module("DEFAULTS", {})
        self.own: dict[str, Option] = own_options(self.function, _FRAME | {*shared}, defaults)
        self.options = [*(option.parameter for option in self.own.values()), *shared.values()]

    def _takes(self, argument: str) -> bool:
        """Return whether the function, or the run whose trace it takes, has an argument."""
        return argument in self.parameters or ("trace" in self.parameters and argument in _OF_A_RUN)

    def _takes_stacks(self) -> bool:
        """Return whether the function takes models of several layers, or the run of one."""
        of_params = "params" in self.parameters and "Stack" in str(self.parameters["params"].annotation)
        return "trace" in self.parameters or (of_params and self.series is not None)

    def _of_module(self, name: str, default: Any) -> Any:
        return getattr(self.module, name, default)

    def run(self, values: dict[str, Any]) -> None:
        """Do what the command does, with the values of its options."""
        from gatescope.storage.resumable import removed_at_the_end

        arguments = {name: _parsed(name, option, values.pop(name)) for name, option in self.own.items()}
        if "device" in values:
            check_device_options(values["device"], values.get("threads"))
        check_plotting()
        read = {name: values.get(name) for name in ("inputs", "weights")}
        job, notes = self._job(values)
        self._check_files(values["out"], values.get("resume"), read)
        self._of_module("check", lambda _: None)(job)
        note(notes)
        job = self._fed(job, values)
        with removed_at_the_end():  # the state of an interrupted measurement, once the result is stored
            try:
                result = self._measure(job, arguments)
            except KeyboardInterrupt as interrupt:
                text = _how_to_continue(values, getattr(interrupt, "__notes__", ()))
                report(f"gatescope: interrupted; {text}")
                raise typer.Exit(INTERRUPTED) from None
            try:
                self._write(job, result, values["out"])
                self._of_module("finish", lambda _job, _result: None)(job, result)
            except GatescopeError as error:
                resume = values.get("resume")
                if resume is None or not resume.exists():
                    raise
                raise error.restated(f"{message(error)}; {_how_to_continue(values, ())}") from error

    def _check_files(self, out: Path, resume: Path | None, read: dict[str, Path | None]) -> None:
        """Refuse files that cannot be written, or that are read or written twice, before the work."""
        names = [f"{self.row.stem}.{suffix}" for suffix in ("npz", *_FORMATS)]
        check_outputs("out", out, names, **read)
        if resume is not None:
            check_outputs("resume", resume.parent, [resume.name], **read, out=[out / name for name in names])

    def _job(self, values: dict[str, Any]) -> tuple[Job, list[str]]:
        values["clamp"] = parse_clamp(values.get("clamp"))
        by_label: dict[str, Network] = {}
        notes: list[str] = []
        network = take(CellOptions, values) if "network" in self.groups else None
        if network is not None:
            closed = values.get("feedback") is not None
            by_label, notes = read_one(network, whole=self._takes_stacks(), readout=closed)
            if network.weights is not None and "seed" not in self.parameters:
                problem = "is for a fresh cell, and `weights` gives another"
                refuse({"seed": values["seed"]}, problem, "leave out one of the two")
        values["seed"] = values["seed"] or 0
        series = (
            self._series(values, common_vocabulary(by_label.values())) if "series" in self.groups else None
        )
        if network is None:
            return Job(label="", network=None, series=series, shared=values), notes
        input_size = self._of_module("input_size", lambda _: 1)
        width = input_size(values) if series is None else series.values.shape[-1]
        label, chosen = one_cell(self.row.command, by_label, width, values["seed"], network)
        if series is not None:
            check_width(series, label, chosen.input_size)
        job = Job(label=label, network=chosen, series=series, shared=values, weights=network.weights)
        return job, notes

    def _series(self, values: dict[str, Any], vocabulary: Vocabulary | None) -> Series | None:
        options = take(InputOptions, values)
        values |= {"steps": options.steps, "standardize": options.standardize}
        if not self.series and options.inputs is None:
            others = {
                field.name: getattr(options, field.name)
                for field in dataclasses.fields(options)
                if getattr(options, field.name) != field.default and field.name != "steps"
            }
            refuse(others, "is for a series, and there is none", "give `inputs` too")
            return None
        return read_inputs(options, mapped="trace" not in self.parameters, vocabulary=vocabulary)

    def _fed(self, job: Job, values: dict[str, Any]) -> Job:
        """Return the job with the series that the network gets: standardized, and what the layers below make of it."""
        if job.series is None:
            if job.network is not None and job.network.below:
                layer = len(job.network.below)
                note(
                    [
                        f"{job.label}: the constant input is that of layer {layer}, an output of layer {layer - 1}"
                    ]
                )
            return job
        threads = values.get("threads")
        fed, reading = fed_to(
            {job.label: job.network}, job.series, standardize=values["standardize"], threads=threads
        )
        return dataclasses.replace(job, series=fed[job.label]._replace(reading=reading))

    def _measure(self, job: Job, arguments: dict[str, Any]) -> Result:
        """Call the function with what it takes."""
        common = {name: job.shared.get(name) for name in ("seed", *_SHARED)}
        common |= {"params": job.model, "progress": on_terminal()}
        if job.series is not None:
            common |= {"inputs": job.series.values, "lengths": job.series.lengths}
        arguments |= {
            name: value for name, value in common.items() if name in self.parameters and name not in arguments
        }
        self._of_module("arguments", lambda _job, _arguments: None)(job, arguments)
        if "trace" in self.parameters:
            from gatescope.recurrence.run import run

            assert job.model is not None
            assert job.series is not None
            options = {name: job.shared[name] for name in _OF_A_RUN}
            arguments["trace"] = run(job.model, job.series.values, lengths=job.series.lengths, **options)
        with naming(lengths="lengths of --inputs"):
            result: Result = self.function(**arguments)
        return result

    def _write(self, job: Job, result: Result, out: Path) -> None:
        from gatescope import plotting
        from gatescope.datatypes import ByLayer

        # Not before the arguments are found to be right: an error is a line alone.
        reading = self._of_module("reading", lambda _: "")(job) if job.series is None else job.series.reading
        if reading:
            echo(reading)
        with working(f"writing into {out}"):
            if job.series is not None:
                result = job.series.kept_with(result)
            files = [out / f"{self.row.stem}.npz"]
            result.save(files[0])
            with plotting.style():
                draw = self._of_module("draw", lambda _, value: getattr(plotting, self.row.plot)(value))
                drawn = plotting.plot_by_layer(result) if isinstance(result, ByLayer) else draw(job, result)
                figure = _figure_of(drawn)
            files += plotting.save_figure(figure, out / self.row.stem, _FORMATS)
        table, summary = result.table(), result.summary().splitlines()
        echo(f"{self.row.command}: {job.title}" if job.title else self.row.command)
        print_table(table, summary[1:] if summary[0] == table.title else summary)
        echo(f"written: {file_sizes(files)}")


def command_of(row: Measurement) -> Any:
    """Return the command of a row of the registry, for click."""
    plan = Plan(row)

    def command(**values: Any) -> None:
        plan.run(values)

    command.__doc__ = row.answers
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(row.command)(with_signature(command, plan.options))
    return typer.main.get_command(app)


def _parsed(name: str, option: Option, value: Any) -> Any:
    return value if option.parse is None or value is None else option.parse(name, value)


def _how_to_continue(values: dict[str, Any], notes: Sequence[str]) -> str:
    resume = values.get("resume")
    if resume is not None and resume.exists():
        return f"what has been measured is in {resume}; the same command continues from there"
    if resume is not None:  # a note says why the file could not be written
        return " ".join(notes) or "nothing had been measured yet"
    if "resume" in values:
        return "nothing is saved; with --resume FILE the next one can be continued"
    return "nothing is saved"


def _figure_of(drawn: Any) -> Figure:
    """Return the figure that axes are part of, or that a function of several panels returned with them."""
    if isinstance(drawn, tuple):
        drawn = drawn[0]
    figure: Figure = getattr(drawn, "figure", drawn)
    return figure
