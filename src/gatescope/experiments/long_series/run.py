"""The 20,000-step experiment: cells trained on 40 long market series, several seeds each; it can be stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.cells.registry import names as known_cells
from gatescope.checks.arrays import Array
from gatescope.checks.numbers import (
    check_above_zero,
    check_call,
    check_choice,
    check_choices,
    check_count,
    check_number,
    check_type,
    default_threads,
)
from gatescope.datatypes import LongSeriesResult, Status, TrainingRun
from gatescope.datatypes.long_series import PUBLISHED_UNITS
from gatescope.errors import DtypeError, FileFormatError, OutputError, ValueRangeError
from gatescope.experiments.long_series.timing import epoch_times
from gatescope.recurrence.initialization import init_stack
from gatescope.storage.atomic import as_path, atomic_write, open_file
from gatescope.storage.npz import decode_json
from gatescope.storage.provenance import provenance
from gatescope.storage.resumable import read_state
from gatescope.tasks import long_series
from gatescope.training.optimizers import Adam
from gatescope.training.train import train

HIDDEN_SIZE = PUBLISHED_UNITS
LEARNING_RATE = 1e-3
CLIP_NORM = 1.0
EPSILON = 1e-7  # Keras's, not PyTorch's 1e-8
SCHEME = "keras"
_SETTINGS = "settings.json"
_MOST_SEEDS = 10_000  # runs of minutes
_SETTINGS_BYTES = 1 << 20  # a file that is larger holds something else


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
    progress: bool = False,
    log: Callable[[str], None] | None = None,
) -> LongSeriesResult:
    """Train each cell on the same long series from several initial weights, and return the loss curves.

    One layer and a linear read-out; full back-propagation through all T steps from a zero state, one update an epoch
    on all B series; Adam with epsilon 1e-7 (Keras's; added as PyTorch adds it, after the
    correction of the bias); gradients clipped to a global norm of 1; initial weights by the scheme ``"keras"``.
    The data are those of ``gatescope.tasks._long_series``, one set for all runs: the published experiment had one.

    Each run is stored in a file of its own, ``CELL-SEED.npz`` in `folder`, written every minute or so and at its end.
    The same call on the same folder resumes from there, whenever and however it was stopped, and comes to the same
    curves; it can ask for more cells, seeds and epochs.  The time of an epoch is measured at the end, the cells side by
    side, epoch by epoch.

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
        Default: the cores this process may use.
    checkpoint_seconds : float
        Between two writings of a run that is under way.
    progress : bool
        Show a progress bar of each run on stderr.
    log : callable, optional
        Called with a line before every run.

    Returns
    -------
    LongSeriesResult

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; a note says how to resume.
    ValueRangeError
        If an argument is out of range, or `folder` holds runs with other settings.
    FileFormatError
        If a file in it is damaged.
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
    settings: dict[str, Any] = {
        "steps": check_count("steps", steps),
        "sequences": check_count("sequences", sequences),
        "lookback": check_count("lookback", lookback),
        "hidden_size": check_count("hidden_size", hidden_size),
        "data_seed": check_count("data_seed", data_seed, least=0),
        "dtype": dtype,
        "optimizer": "adam",
        "lr": check_above_zero("lr", lr),
        "epsilon": EPSILON,
        "clip_norm": CLIP_NORM,
        "scheme": SCHEME,
        **_check_clamp(clamp, chosen),
    }
    batch = long_series(steps=steps, sequences=sequences, lookback=lookback, seed=data_seed, dtype=dtype)
    path = _prepare(folder, settings, check_count("epochs", epochs))
    files = {(cell, seed): path / f"{cell}-{seed}.npz" for cell, seed in _order(chosen, numbers)}
    _check_files(files.values())
    optimizer = Adam(eps=EPSILON)
    runs: dict[tuple[str, int], TrainingRun] = {}
    for number, ((cell, seed), file) in enumerate(files.items(), 1):
        if log is not None:
            log(f"run {number} of {len(chosen) * len(numbers)}: {cell}, seed {seed}")
        runs[cell, seed] = train(
            init_stack(cell, hidden_size=hidden_size, heads=batch, seed=seed, scheme=SCHEME, dtype=dtype),
            batch,
            optimizer=optimizer,
            lr=lr,
            clip_norm=CLIP_NORM,
            clamp=clamp or None,
            epochs=epochs,
            checkpoint=file,
            checkpoint_seconds=checkpoint_seconds,
            seed=seed,
            threads=threads,
            progress=progress,
        )
        if runs[cell, seed].status is Status.INTERRUPTED:
            interrupt = KeyboardInterrupt()
            interrupt.add_note(f"what has been trained is in {str(path)!r}; the same call resumes from there")
            raise interrupt
    if log is not None:
        log("timing epochs, the cells in turns")
    seconds = epoch_times(
        {key: run.model for key, run in runs.items()},
        batch,
        chosen,
        numbers,
        optimizer=optimizer,
        lr=lr,
        clip_norm=CLIP_NORM,
        threads=(threads or default_threads(),),
    )[0]
    return _collect(runs, chosen, numbers, epochs, batch.baseline, settings, seconds, threads)


def _order(cells: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Return all runs, the cells side by side: lstm 0, gru 0, gru 1, lstm 1, lstm 2, ..."""
    for turn, seed in enumerate(seeds):
        for cell in cells if turn % 2 == 0 else reversed(cells):
            yield cell, seed


def _check_files(files: Iterable[Path]) -> None:
    """Refuse damaged files, before another run is trained for minutes."""
    for file in files:
        if os.path.lexists(file):
            try:
                read_state(file)
            except FileFormatError as error:
                advice = "delete it to train that run anew, or give another `folder`"
                raise FileFormatError(f"is damaged ({error.problem})", seen=file, advice=advice) from error


def _collect(
    runs: dict[tuple[str, int], TrainingRun],
    cells: Sequence[str],
    seeds: Sequence[int],
    epochs: int,
    baseline: float,
    settings: dict[str, Any],
    seconds: Array,
    threads: int | None,
) -> LongSeriesResult:
    def curves(name: str) -> Array:
        values = np.full((len(cells), len(seeds), epochs), np.nan)
        for c, cell in enumerate(cells):
            for s, seed in enumerate(seeds):
                curve = getattr(runs[cell, seed].history, name)[:epochs]
                values[c, s, : len(curve)] = curve  # of a run that diverged, the epochs before that one
        return values

    fields = ("steps", "sequences", "lookback", "hidden_size", "data_seed")
    return LongSeriesResult(
        cells=tuple(cells),
        seeds=np.array(seeds, np.int64),
        loss=curves("loss"),
        gradient_norm=curves("gradient_norm"),
        clipped=curves("clipped"),
        status=tuple(tuple(str(runs[cell, seed].status) for seed in seeds) for cell in cells),
        baseline=float(baseline),
        settings={name: value for name, value in settings.items() if name not in fields},
        seconds=seconds,
        provenance=provenance(device="cpu", dtype=settings["dtype"], threads=threads or default_threads()),
        **{name: settings[name] for name in fields},
    )


def _check_cells(cells: Sequence[str]) -> tuple[str, ...]:
    none = isinstance(cells, tuple | list) and not cells
    names = () if none else check_choices("cells", cells, known_cells())
    return _distinct("cells", names)


def _check_clamp(clamp: Any, cells: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return a clamp as a setting; none where nothing is clamped, so that such runs go on with what they have."""
    if clamp is None:
        return {}
    check_type("clamp", clamp, Mapping, advice="give a mapping, as in {'i': 1.0}")
    for gate in clamp:
        for cell in cells:
            check_choice("clamp", gate, get(cell).gates)
    values = {gate: check_number(f"clamp[{gate!r}]", value) for gate, value in clamp.items()}
    return {"clamp": values} if values else {}


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


def _prepare(folder: str | os.PathLike[str], settings: dict[str, Any], epochs: int) -> Path:
    """Return the folder, with the settings of its runs in a file; refuse one that holds runs with others."""
    path = as_path(folder, "folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot be made: {why}", argument="folder", seen=folder) from error
    file = path / _SETTINGS
    if file.exists():
        _check_settings(file, settings, epochs)
    elif any(path.glob("*.npz")):
        problem = f"holds npz files but no {_SETTINGS!r} that says what they are"
        raise FileFormatError(problem, argument="folder", seen=folder, advice="give another")
    with atomic_write(file) as stream:
        stream.write((json.dumps({**settings, "epochs": epochs}, indent=2) + "\n").encode())
    return path


def _check_settings(file: Path, settings: dict[str, Any], epochs: int) -> None:
    try:
        with open_file(file) as (stream, size):
            if size > _SETTINGS_BYTES:
                raise ValueError(f"{size} bytes")
            stored = dict(decode_json(stream.read().decode()))
        before = check_count("epochs", stored.pop("epochs"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        advice = "give another `folder`, or delete this one"
        raise FileFormatError(f"is damaged ({error})", seen=file, advice=advice) from error
    other = [
        f"`{name}` ({stored.get(name)!r} there, {settings.get(name)!r} here)"
        for name in dict.fromkeys([*settings, *stored])
        if stored.get(name) != settings.get(name)
    ]
    if before > epochs:
        other.append(f"`epochs` ({before} there, {epochs} here: more can be added, but not taken away)")
    if other:
        raise ValueRangeError(
            f"holds runs with other {', '.join(other)}",
            argument="folder",
            seen=str(file.parent),
            advice="give the same to resume, or another folder to begin anew",
        )
