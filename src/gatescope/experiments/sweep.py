"""A function at every point of a grid, spread over processes or a cluster; it can be stopped, and be shared out."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import itertools
import math
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope._version import __version__
from gatescope.checks.numbers import check_call, check_flag, is_several
from gatescope.datatypes.sweep import DONE, KILLED, MISSING, RAISED, SweepResult
from gatescope.errors import DtypeError, FileFormatError, OutputError, ValueRangeError, printable, shown
from gatescope.experiments.executors import LOST, TRIES, check_executor, each, opened, part_of
from gatescope.reporting.text import counted
from gatescope.storage.atomic import atomic_write, check_folder, open_file
from gatescope.storage.npz import decode_json, encode_json
from gatescope.storage.provenance import provenance

_MOST_POINTS = 1_000_000  # a file each
_MOST_BYTES = 1 << 26  # a file that is larger holds something else
_TRACEBACK = 4000  # characters of it that are stored, the last
Point = dict[str, Any]


def sweep(
    function: Callable[..., Any],
    grid: Any,
    *,
    folder: str | os.PathLike[str],
    executor: Any = None,
    part: str | None = None,
    workers: int | None = None,
    retry: bool = False,
    progress: bool = False,
) -> SweepResult:
    """Call a function at every point of a grid, many at a time, and return what it returned as a table.

    Each point is stored in a file of its own in `folder`, whole or not at all, under a hash of its arguments, of the
    function's name and source, and of gatescope's version.  A point that is there is not computed again, so the same
    call continues whatever was stopped, and a second one does no work.  What the function itself calls is not looked
    at: after a change there give another folder.

    A point at which the function raises is recorded with the error.  If a worker dies, what it was at is done again; a
    point that kills its workers twice is recorded and passed over.

    Parameters
    ----------
    function : callable
        ``function(**point)`` returns a number, or a mapping of names to numbers, texts, lists of these, or None.  Other
        processes have to be able to import it, so it is defined at the top of a module (Dask also sends those of a
        notebook).  Methods and closures are refused, whose files would be those of all others of the same source.  Give
        threads=1 to what it calls: the processes use all cores.
    grid : mapping or sequence of mappings
        Values by argument, of which all combinations are taken, ``{"gain": [0.5, 1.0], "seed": range(10)}``; or the
        points themselves, ``[{"gain": 0.5, "seed": 3}, ...]``.
    folder : path
        It is made if it is not there.  Any number of processes may work on one folder.
    executor : Executor or str, optional
        Of `concurrent.futures`: Dask's ``client.get_executor()``, that of mpi4py or ipyparallel...; or the address of a
        Dask scheduler, ``"tcp://host:8786"``, which needs the extra ``cluster``.  Its workers need gatescope and the
        function's module, not the folder.  A scheduler runs any code that is sent to it: connect to your own only.
        Default: processes of this machine.
    part : str, optional
        ``"3/8"`` computes the third of eight parts, for the jobs of an array over one shared folder:
        ``part=os.environ["SLURM_ARRAY_TASK_ID"] + "/" + os.environ["SLURM_ARRAY_TASK_COUNT"]`` under
        ``sbatch --array=1-8``.  Points of other parts are in the result as far as they are done.
    workers : int, optional
        Processes of this machine; default: the cores this process may use.
    retry : bool
        Compute those points again that raised or killed their workers.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    SweepResult

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; what is done is in the folder, and a note says so.
    DtypeError, ValueRangeError
        If an argument does not fit, or the workers cannot call the function.
    MissingPackageError
        If a scheduler is named and Dask is not there.
    OutputError, FileFormatError
        If the folder cannot be written, or a file in it is damaged.

    Notes
    -----
    Processes are spawned, so a script needs ``if __name__ == "__main__":`` round the call.  Kernels are compiled once
    and kept on disk; on a cluster whose machines differ let NUMBA_CACHE_DIR be a folder of each machine's own.

    Examples
    --------
    In a module ``study.py``::

        import gatescope as gs

        def rate(gain, seed):
            params = gs.init("gru", input_size=1, hidden_size=64, seed=seed, scheme=f"gaussian({gain})")
            flow = gs.gradient_flow(params, gs.tasks.laser().inputs, threads=1)
            return {"decay_rate": flow.decay_rate().value[0]}

        if __name__ == "__main__":
            result = gs.sweep(rate, {"gain": [0.5, 1.0, 1.5], "seed": range(10)}, folder="rates", progress=True)
            print(result.column("decay_rate").reshape(3, 10).mean(axis=1))

    >>> import tempfile, gatescope as gs
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> def shifted(x, shift):
    ...     return {"y": x * x + shift}
    >>> with ThreadPoolExecutor(2) as pool:
    ...     result = gs.sweep(shifted, {"x": [1, 2], "shift": [0, 10]}, executor=pool, folder=tempfile.mkdtemp())
    >>> result.column("y")
    array([ 1., 11.,  4., 14.])
    """
    label, key = _identity(function)
    points = _points(grid)
    check_call("function", function, "function(**point)", **points[0])
    chosen = part_of(part, len(points))
    check_executor(executor, workers)
    retry, progress = check_flag("retry", retry), check_flag("progress", progress)
    place = check_folder(folder)
    files = _files(place, key, points)
    records = [_read(file, label, point) for file, point in zip(files, points, strict=True)]
    todo = [k for k in chosen if records[k]["status"] == MISSING or (retry and records[k]["status"] != DONE)]
    if todo:
        try:
            _compute(function, label, points, files, records, todo, executor, workers, progress)
        except KeyboardInterrupt as interrupt:
            done = sum(records[k]["status"] != MISSING for k in chosen)
            interrupt.add_note(
                f"{done} of {counted(len(chosen), 'point')} are in {str(place)!r}; the same call continues"
            )
            raise
    return SweepResult(
        function=label,
        points=tuple(points),
        values=tuple(record["values"] for record in records),
        status=tuple(record["status"] for record in records),
        messages=tuple(record["message"] for record in records),
        seconds=np.array([record["seconds"] for record in records], np.float64),
        provenance=provenance(),
    )


def _compute(
    function: Callable[..., Any],
    label: str,
    points: list[Point],
    files: list[Path],
    records: list[dict[str, Any]],
    todo: list[int],
    executor: Any,
    workers: int | None,
    progress: bool,
) -> None:
    """Compute points, and store each as soon as it is there, here: the workers need not see the folder."""
    work = functools.partial(_attempt, function)
    bar = tqdm(total=len(todo), unit="point", desc=label, disable=None if progress else True)
    with opened(executor, workers) as pool, bar:
        outcomes = each(work, [points[k] for k in todo], pool)
        with contextlib.closing(outcomes):
            for number, outcome in outcomes:
                k = todo[number]
                if outcome is LOST:
                    outcome = _record(KILLED, f"killed the process it ran in, {TRIES} times")
                with atomic_write(files[k]) as stream:
                    entry = {"function": label, "gatescope": __version__, "point": points[k], **outcome}
                    stream.write((encode_json(entry, "point") + "\n").encode())
                records[k] = outcome
                bar.update()


def _record(status: str, message: str = "", **others: Any) -> dict[str, Any]:
    """Return what is known of a point."""
    return {"status": status, "values": {}, "message": message, "seconds": math.nan, **others}


def _attempt(function: Callable[..., Any], point: Point) -> dict[str, Any]:
    """Call the function at a point, in a worker; an error is a result."""
    begun = perf_counter()
    try:
        value = function(**point)
        values = _plain(value if isinstance(value, Mapping) else {"value": value}, "value")
        if twice := [name for name in values if name in point]:
            raise ValueError(f"returned {twice[0]!r}, which is the name of an argument")
    except (Exception, SystemExit) as error:
        message = f"{type(error).__name__}: {printable(shown(error, str))}"
        where = printable(traceback.format_exc())[-_TRACEBACK:]
        return _record(RAISED, message, seconds=perf_counter() - begun, traceback=where)
    return _record(DONE, values=values, seconds=perf_counter() - begun)


def _plain(value: Any, where: str) -> Any:
    """Return a value as a file gives it back."""
    try:
        return decode_json(encode_json(value, where))
    except OutputError as error:
        raise DtypeError(error.problem, argument=error.argument, advice=error.advice) from error


def _identity(function: Any) -> tuple[str, Any]:
    """Return the module and name of a function, and what tells it from others: its source, too."""
    if isinstance(function, functools.partial):
        label, inner = _identity(function.func)
        bound = _plain([list(function.args), function.keywords], "function")
        return label, [inner, bound]
    name = getattr(function, "__qualname__", None)
    if not callable(function) or not isinstance(name, str):
        raise DtypeError(
            argument="function", seen=type(function), advice="give a function that is defined in a module"
        )
    if inspect.ismethod(function) or getattr(function, "__closure__", None):
        raise DtypeError(
            "depends on values of its own, which the names of the files would not know",
            argument="function",
            advice="give a function of a module, and such values in `grid` or by functools.partial",
        )
    module = getattr(function, "__module__", None) or "builtins"
    try:
        source, file = inspect.getsource(function), inspect.getsourcefile(function)
    except (OSError, TypeError):  # written in C, or typed in
        source, file = "", None
    if module == "__main__" and file:
        module = Path(file).stem  # as it is called where it is imported
    label = f"{module}.{name}"
    return label, [label, hashlib.sha256(source.encode()).hexdigest()]


def _files(folder: Path, key: Any, points: list[Point]) -> list[Path]:
    """Return the file of each point, named by a hash of all that its result depends on."""
    files: dict[Path, Point] = {}
    for point in points:
        text = encode_json([__version__, key, point], "point")
        file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        if file in files:
            raise ValueRangeError("has a point twice", argument="grid", seen=point, advice="give each once")
        files[file] = point
    return list(files)


def _points(grid: Any) -> list[Point]:
    """Return the points of a grid, as files give them back."""
    advice = "give values by argument, as in {'seed': [0, 1]}, or a list of points, as in [{'seed': 0}]"
    if isinstance(grid, Mapping):
        axes = {_name(name, advice): _axis(name, values) for name, values in grid.items()}
        count = math.prod(map(len, axes.values()))
        if not axes or count > _MOST_POINTS:
            problem = f"has {count:,} points" if axes else "is empty"
            raise ValueRangeError(
                problem, argument="grid", advice=f"at most {_MOST_POINTS:,} are taken" if axes else advice
            )
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if not is_several(grid) or not all(isinstance(point, Mapping) for point in grid):
        raise DtypeError(argument="grid", seen=type(grid), advice=advice)
    points = [
        {_name(name, advice): _plain(value, f"grid[{k}][{name!r}]") for name, value in point.items()}
        for k, point in enumerate(grid)
    ]
    if not points or len(points) > _MOST_POINTS:
        raise ValueRangeError(f"has {len(points):,} points", argument="grid", advice=advice)
    return points


def _name(name: Any, advice: str) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueRangeError(
            "is named as an argument and cannot be one", argument="grid", seen=name, advice=advice
        )
    return name


def _axis(name: str, values: Any) -> list[Any]:
    """Return the values of an argument."""
    where = f"grid[{name!r}]"
    if not is_several(values):
        raise DtypeError(
            argument=where, seen=type(values), advice="give a list of values, one of them at least"
        )
    if not len(values):
        raise ValueRangeError("is empty", argument=where, advice="give one value at least")
    return [_plain(value, f"{where}[{k}]") for k, value in enumerate(values)]


def _read(file: Path, label: str, point: Point) -> dict[str, Any]:
    """Return what is known of a point.

    Raises
    ------
    FileFormatError
        If its file holds something else.
    """
    if not os.path.lexists(file):
        return _record(MISSING)
    try:
        with open_file(file) as (stream, size):
            if size > _MOST_BYTES:
                raise ValueError(f"{size} bytes")
            entry = decode_json(stream.read().decode())
        if entry["function"] != label or encode_json(entry["point"], "") != encode_json(point, ""):
            raise ValueError("it is of another point")
        record = {name: entry[name] for name in _record(MISSING)}
        kinds = {"status": str, "values": dict, "message": str, "seconds": float}
        if not all(isinstance(record[name], kind) for name, kind in kinds.items()):
            raise ValueError("it holds no result")
        if record["status"] not in (DONE, RAISED, KILLED):
            raise ValueError(f"its status is {record['status']!r}")
        return record
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        advice = "delete it to compute that point again, or give another `folder`"
        raise FileFormatError(f"is damaged ({error})", seen=file, advice=advice) from error
