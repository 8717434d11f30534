"""The 20,000-step experiment: cells trained on 40 long market series, several seeds each; it can be stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from typing import Any

import numpy as np

from gatescope.cells.registry import names as known_cells
from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_call, check_choices, check_count, check_flag, check_threads
from gatescope.datatypes import LongSeriesResult, Status, TrainingRun
from gatescope.errors import DtypeError, ValueRangeError
from gatescope.experiments.executors import check_executor, opened, part_of
from gatescope.experiments.long_series.spec import (
    CLIP_NORM,
    EPSILON,
    HIDDEN_SIZE,
    LEARNING_RATE,
    SCHEME,
    LongSeriesSpec,
)
from gatescope.experiments.long_series.store import LongSeriesStore
from gatescope.experiments.long_series.timing import epoch_times
from gatescope.experiments.seeds.runs import make_all
from gatescope.storage.provenance import provenance
from gatescope.training.optimizers import Adam

_MOST_SEEDS = 10_000  # runs of minutes
_DATA = ("steps", "sequences", "lookback", "hidden_size", "data_seed")  # fields of a spec and of the result


def run_long_series(
    folder: str | os.PathLike[str],
    *,
    cells: Sequence[str] = ("lstm", "gru"),
    seeds: int | Sequence[int] = 10,
    epochs: int = 1000,
    steps: int = 20_000,
    sequences: int = 40,
    lookback: int = 8,
    hidden_size: int = HIDDEN_SIZE,
    lr: float = LEARNING_RATE,
    clamp: Mapping[str, float] | None = None,
    data_seed: int = 0,
    dtype: str = "float32",
    threads: int | None = None,
    checkpoint_seconds: float = 60.0,
    executor: Executor | str | None = None,
    part: str | None = None,
    workers: int | None = None,
    progress: bool = False,
    log: Callable[[str], None] | None = None,
) -> LongSeriesResult:
    """Train each cell on the same long series from several initial weights, and return the loss curves.

    One layer and a linear read-out; full back-propagation through all T steps from a zero state, one update an epoch
    on all B series; Adam with epsilon 1e-7 (Keras's; added as PyTorch adds it, after the
    correction of the bias); gradients clipped to a global norm of 1; initial weights by the scheme ``"keras"``.
    The data are those of ``gatescope.tasks._long_series``, one set for all runs: the published experiment had one.

    Each run is stored in `folder`, under a hash of its settings and of the code that makes it, and where it has got to
    is written there every minute or so.  The same call on the same folder resumes from there, whenever and however it
    was stopped, comes to the same curves, and a second one trains nothing.  A folder may hold runs of any settings;
    with more `epochs` those that are there go on, and with fewer the curves are their beginnings.  Code that has
    changed makes runs anew.  The time of an epoch is measured at the end, the cells side by side, epoch by epoch.

    Parameters
    ----------
    folder : path
        For the runs; it is made if it is not there.
    cells : sequence of str
    seeds : int or sequence of int
        Of the initial weights; a number n means 0, 1, ..., n - 1.
    epochs : int
    steps, sequences : int
        T and B.
    lookback : int
        How many of the last price changes are the input.
    hidden_size : int
    lr : float
        Learning rate of every cell; the published one by default.
    clamp : mapping of str to float, optional
        Gates that keep a value all along, as in ``{"i": 1.0}``: an ablation of every cell, each of which has them.
    data_seed : int
        Of the series.
    dtype : {"float32", "float64"}
    threads : int, optional
        Default: the cores this process may use; for runs that are made several at once 1 each.
    checkpoint_seconds : float
        Between two writings of a run that is under way.
    executor : Executor or str, optional
        What makes several runs at once, with workers that write to the same folder, as for `gatescope.sweep`: one of
        `concurrent.futures`, or the address of a Dask scheduler.  Default: one after another, here.
    part : str, optional
        ``"3/8"`` begins with the third of eight parts, for as many processes that share a folder; then it makes what
        is missing still.
    workers : int, optional
        Processes of this machine that make several runs at once, in place of an `executor`.
    progress : bool
        Show a progress bar on stderr: of each run, or of all where several are made at once.
    log : callable, optional
        Called with a line before every run that is not there yet, or after it where several are made at once.

    Returns
    -------
    LongSeriesResult

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; a note says how to resume.
    ValueRangeError
        If an argument is out of range, or as for `gatescope.sweep` an executor cannot go on.
    FileFormatError
        If a file in `folder` is damaged, or of an older version, which named runs ``CELL-SEED.npz`` and does not tell
        what code made them.
    OutputError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from gatescope.experiments import run_long_series
    >>> result = run_long_series(tempfile.mkdtemp(), cells=("gru",), seeds=1, epochs=2, steps=50, sequences=4)
    >>> result.loss.shape, result.preliminary
    ((1, 1, 2), True)
    """
    chosen, numbers = _check_cells(cells), _check_seeds(seeds)
    if log is not None:
        check_call("log", log, "log(text)", "")
    check_executor(executor, workers)
    part_of(part, 0)
    cores, progress = check_threads(threads), check_flag("progress", progress)
    settings: dict[str, Any] = {
        "epochs": epochs,
        "steps": steps,
        "sequences": sequences,
        "lookback": lookback,
        "hidden_size": hidden_size,
        "lr": lr,
        "clamp": {} if clamp is None else clamp,
        "data_seed": data_seed,
        "dtype": dtype,
    }
    specs = [LongSeriesSpec(cell=cell, seed=seed, **settings) for cell, seed in _order(chosen, numbers)]
    batch = specs[0].data()
    here = executor is None and workers is None
    store = LongSeriesStore(
        folder,
        threads=cores if here or threads is not None else 1,
        checkpoint_seconds=checkpoint_seconds,
        progress=progress and here,
    )

    def note(spec: LongSeriesSpec) -> None:
        if log is not None:
            log(f"run {specs.index(spec) + 1} of {len(specs)}: {spec.cell}, seed {spec.seed}")

    with nullcontext() if here else opened(executor, workers) as pool:
        made = make_all(specs, store, executor=pool, part=part, progress=progress and not here, note=note)
    runs = {(spec.cell, spec.seed): run for spec, run in zip(specs, made, strict=True)}
    if log is not None:
        log("timing epochs, the cells in turns")
    seconds = epoch_times(
        {key: run.model for key, run in runs.items()},
        batch,
        chosen,
        numbers,
        optimizer=Adam(eps=EPSILON),
        lr=specs[0].lr,
        clip_norm=CLIP_NORM,
        threads=(cores,),
    )[0]
    return _collect(runs, chosen, numbers, specs[0], batch.baseline, seconds, cores)


def _order(cells: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Return all runs, the cells side by side: lstm 0, gru 0, gru 1, lstm 1, lstm 2, ..."""
    for turn, seed in enumerate(seeds):
        for cell in cells if turn % 2 == 0 else reversed(cells):
            yield cell, seed


def _collect(
    runs: dict[tuple[str, int], TrainingRun],
    cells: Sequence[str],
    seeds: Sequence[int],
    spec: LongSeriesSpec,
    baseline: float,
    seconds: Array,
    cores: int,
) -> LongSeriesResult:
    def curves(name: str) -> Array:
        values = np.full((len(cells), len(seeds), spec.epochs), np.nan)
        for c, cell in enumerate(cells):
            for s, seed in enumerate(seeds):
                curve = getattr(runs[cell, seed].history, name)[: spec.epochs]
                values[c, s, : len(curve)] = curve  # of a run that diverged, the epochs before that one
        return values

    def status(run: TrainingRun) -> str:
        return str(Status.FINISHED if len(run.history.loss) >= spec.epochs else run.status)

    return LongSeriesResult(
        cells=tuple(cells),
        seeds=np.array(seeds, np.int64),
        loss=curves("loss"),
        gradient_norm=curves("gradient_norm"),
        clipped=curves("clipped"),
        status=tuple(tuple(status(runs[cell, seed]) for seed in seeds) for cell in cells),
        baseline=float(baseline),
        settings={
            "dtype": spec.dtype,
            "optimizer": "adam",
            "lr": spec.lr,
            "epsilon": EPSILON,
            "clip_norm": CLIP_NORM,
            "scheme": SCHEME,
            **({"clamp": spec.clamp} if spec.clamp else {}),
        },
        seconds=seconds,
        provenance=provenance(device="cpu", dtype=spec.dtype, threads=cores),
        **{name: getattr(spec, name) for name in _DATA},
    )


def _check_cells(cells: Sequence[str]) -> tuple[str, ...]:
    none = isinstance(cells, tuple | list) and not cells
    names = () if none else check_choices("cells", cells, known_cells())
    return _distinct("cells", names)


def _check_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, int | np.integer):
        return tuple(range(check_count("seeds", seeds, most=_MOST_SEEDS)))
    try:
        numbers = tuple(seeds)
    except TypeError as error:  # of an array without axes, too, which says that it is iterable
        raise DtypeError(
            argument="seeds", seen=type(seeds), advice="give how many, or a list of seeds"
        ) from error
    return _distinct("seeds", tuple(check_count("seeds", seed, least=0) for seed in numbers))


def _distinct(argument: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueRangeError("must have at least one value, and none twice", argument=argument, seen=values)
    return values
