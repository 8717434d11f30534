"""Many runs: each is made once, wherever and however often it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from gatescope.checks.numbers import check_flag
from gatescope.datatypes import Arm, SeedRun
from gatescope.errors import ValueRangeError
from gatescope.experiments.executors import LOST, each, part_of
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.store import AnyRun, AnySpec, RunStore, Store
from gatescope.reporting.text import counted
from gatescope.storage.atomic import check_folder


def make_runs(
    specs: Iterable[RunSpec],
    folder: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    part: str | None = None,
    progress: bool = False,
) -> tuple[SeedRun, ...]:
    """Return the run of every spec, from its file in a folder or, where there is none, made now.

    Each run is written by whoever made it, before the next one begins: the same call on the same folder goes on from
    there, whenever and however it was stopped.

    Parameters
    ----------
    specs : iterable of RunSpec
        May name a run several times.
    folder : path
    executor : concurrent.futures.Executor, optional
        What makes several runs at once: ``executors.Processes(2)``, or one of a cluster, as in `gatescope.sweep`, whose
        workers write to the same folder.  Runs whose worker dies are made again, and the longest begin first, after one
        of each cell and size, which compiles what the others need.  Default: one after another, here, as they are asked
        for.
    part : str, optional
        ``"3/8"`` begins with the third of eight parts, for as many processes that share a folder; then it makes what
        is missing still.  One that is stopped holds up none of the others.
    progress : bool
        Show a progress bar on stderr, if it is a terminal.

    Returns
    -------
    tuple of SeedRun
        In the order of the specs.

    Raises
    ------
    FileFormatError
        If a file in the folder is damaged or another run's; before anything is made.
    OutputError
        If the folder cannot be written.
    ValueRangeError
        If a run kills its worker twice, after all others are made; or if what workers wrote is not in the folder.
    KeyboardInterrupt
        After Ctrl-C; a note says what is there.
    """
    return make_all(specs, RunStore(folder), executor=executor, part=part, progress=progress)


def make_all(
    specs: Iterable[AnySpec],
    store: Store[AnySpec, AnyRun],
    *,
    executor: Executor | None = None,
    part: str | None = None,
    progress: bool = False,
    note: Callable[[AnySpec], object] | None = None,
) -> tuple[AnyRun, ...]:
    """Return the run of every spec from a store of any kind, which makes what is not there, as `make_runs` does.

    Parameters
    ----------
    specs : iterable of Spec
    store : Store
        Its workers get a copy.
    executor, part, progress
        As for `make_runs`.
    note : callable, optional
        Called with the spec of each run that is made: before it, and where an executor makes it, after it.
    """
    asked = tuple(specs)
    runs = {spec: store.get(spec) for spec in dict.fromkeys(asked)}
    missing = [spec for spec, run in runs.items() if run is None]
    note = note or (lambda _: None)
    with _bar(check_flag("progress", progress), len(runs), len(missing)) as done:
        try:
            if executor is None:
                for spec in own_first(missing, part):
                    note(spec)
                    make_and_store(spec, store)
                    done()
            else:
                _spread(
                    executor, own_first(_in_turn(missing, store), part), store, lambda s: (note(s), done())
                )
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(
                f"what has been made is in {str(store.folder)!r}; the same call resumes from there"
            )
            raise
    for spec in missing:
        run = runs[spec] = store.get(spec)
        if run is None:
            raise ValueRangeError(
                "wrote its runs elsewhere, or not at all",
                argument="executor",
                advice=f"give it workers that write to the same folder, {str(store.folder)!r}",
            )
    return tuple(run for spec in asked if (run := runs[spec]) is not None)


def make_arm(
    name: str,
    spec: RunSpec,
    seeds: Iterable[int],
    folder: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    part: str | None = None,
    progress: bool = False,
) -> Arm:
    """Return the runs of one spec with several seeds, as `make_runs` makes them."""
    specs = (spec.with_(seed=seed) for seed in seeds)
    return Arm(name=name, runs=make_runs(specs, folder, executor=executor, part=part, progress=progress))


def make_and_store(spec: AnySpec, store: Store[AnySpec, AnyRun]) -> None:
    """Make a run and write it, unless another process has; what an executor is given for each spec."""
    check_folder(store.folder)  # of a worker on another machine, before it is busy for minutes
    if store.get(spec) is None:
        store.put(spec, store.make(spec))


def _spread(
    executor: Executor,
    specs: list[AnySpec],
    store: Store[AnySpec, AnyRun],
    ended: Callable[[AnySpec], object],
) -> None:
    lost: list[AnySpec] = []
    with closing(each(partial(make_and_store, store=store), specs, executor)) as outcomes:
        for index, outcome in outcomes:
            if outcome is LOST:
                lost.append(specs[index])
            ended(specs[index])
    if lost:
        raise ValueRangeError(
            f"kill the process that makes them: {counted(len(lost), 'run')}",
            argument="specs",
            seen=lost[0],
            advice="the others are in the folder; give it more memory, or leave these out",
        )


def own_first(specs: Sequence[AnySpec], part: str | None) -> list[AnySpec]:
    """Return the specs of a part, and then those of the parts after it and before it."""
    if part is None:
        return [*specs]
    first, count = part_of(part, len(specs)).start, part_of(part, len(specs)).step
    turns = (specs[(first + turn) % count :: count] for turn in range(count))
    return [spec for turn in turns for spec in turn]


def _in_turn(specs: Sequence[AnySpec], store: Store[AnySpec, AnyRun]) -> list[AnySpec]:
    """Return specs in the order in which several workers are to begin them.

    First comes the shortest of each cell and size, as its kernels are compiled then while the others compile theirs;
    those of the longest runs first.  Then all others, the longest first, so that none is left alone at the end; those
    whose kernels are compiled last are the last of these.
    """
    alike: dict[tuple[Any, ...], list[AnySpec]] = {}
    for spec in sorted(specs, key=store.work, reverse=True):
        alike.setdefault(store.kernels(spec), []).append(spec)
    first = [some.pop() for some in alike.values()]
    others = (spec for some in alike.values() for spec in some)
    return [*first, *sorted(others, key=store.work, reverse=True)]


@contextmanager
def _bar(progress: bool, total: int, missing: int) -> Iterator[Callable[[], Any]]:
    if not progress:
        yield lambda: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, initial=total - missing, desc="runs", unit="run", disable=None) as bar:
        yield bar.update
