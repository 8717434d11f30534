"""Work done elsewhere: in processes of this machine, or by any executor of `concurrent.futures`.

Processes are spawned, not forked: threads of Numba and of BLAS do not survive a fork.  A worker that dies takes what it
was at with it, and of a pool of processes all that the others were at.  That is done again, each piece alone, so that
one which kills its worker a second time is known for certain.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final
from uuid import uuid4

from gatescope.checks.numbers import check_count, check_unused, default_threads, most_threads
from gatescope.errors import DtypeError, GatescopeError, MissingPackageError, ValueRangeError

LOST: Final = object()  # instead of what a piece of work returns: it killed its worker each time
TRIES = 2
_KILLED = (
    "KilledWorker"  # how Dask names the end of a piece whose workers died; it tries four of them by itself
)
_NOT_SENT = (
    "PickleError",
    "PicklingError",
    "UnpicklingError",
)  # by name: nothing here reads or writes such files
_SECONDS = 10  # in which a scheduler has to answer
_ADDRESS = re.compile(r"\w+://\S+")
_PART = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")
_ADDRESS_ADVICE = 'give the address that a Dask scheduler has printed, such as "tcp://host:8786"'
Work = Callable[[Any], Any]


def check_executor(executor: Any, workers: Any) -> None:
    """Refuse what can be no executor, or a number of processes of ours beside one.

    Raises
    ------
    DtypeError, ValueRangeError
        If one of both does not fit.
    """
    if executor is not None:
        check_unused("with `executor`, which has its own", workers=workers)
    elif workers is not None:
        check_count("workers", workers, most=most_threads())
    if isinstance(executor, str) and not _ADDRESS.fullmatch(executor):
        raise ValueRangeError("is no address", argument="executor", seen=executor, advice=_ADDRESS_ADVICE)
    if not isinstance(executor, str | Executor | None):
        advice = "give one of concurrent.futures, such as Dask's client.get_executor(), or leave it out"
        raise DtypeError(argument="executor", seen=type(executor), advice=advice)


def part_of(part: Any, count: int) -> range:
    """Return which of so many things a part has, as in ``"3/8"``; None has all.

    Raises
    ------
    ValueRangeError
        If it is no part.

    Examples
    --------
    >>> from gatescope.experiments.executors import part_of
    >>> list(part_of("2/3", 8))
    [1, 4, 7]
    """
    if part is None:
        return range(count)
    match = _PART.fullmatch(part) if isinstance(part, str) else None
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueRangeError(
            "is no part",
            argument="part",
            seen=part,
            advice='give which one and of how many, as in "3/8"; the first is 1 (sbatch --array=1-8)',
        )
    return range(int(match[1]) - 1, count, int(match[2]))


@contextmanager
def opened(executor: Executor | str | None, workers: int | None = None) -> Iterator[Executor]:
    """Yield an executor.

    Parameters
    ----------
    executor : Executor, str or None
        One that is given stays open.  The address of a Dask scheduler, ``"tcp://host:port"``, is connected to, and left
        at the end; None is processes of this machine.
    workers : int or None
        How many processes; None is the cores that this process may use.

    Raises
    ------
    ValueRangeError
        If no scheduler answers.
    MissingPackageError
        If Dask is needed and not there.
    """
    if isinstance(executor, Executor):
        yield executor
    elif executor is not None:
        with _connected(executor) as connected:
            yield connected
    else:
        with Processes(workers) as processes:
            yield processes


def each(work: Work, items: Sequence[Any], executor: Executor) -> Generator[tuple[int, Any], None, None]:
    """Yield the index of an item and what ``work(item)`` returned, as they end; `LOST` if it killed its worker twice.

    What has not begun is called off if the caller stops.

    Raises
    ------
    DtypeError
        If `work` is nothing that another process can be sent.
    ValueRangeError
        If the executor cannot go on, or its workers cannot do the work at all.
    Exception
        Whatever the work raises.
    """
    most = len(items)
    if isinstance(executor, Processes):
        executor.prepare(work)
        most = executor.workers  # when one dies, little else is lost
    waiting, suspects = deque(range(len(items))), deque[int]()
    running: dict[Future[Any], int] = {}
    deaths: Counter[int] = Counter()
    try:
        while waiting or suspects or running:
            while waiting and len(running) < most:
                index = waiting.popleft()
                running[_submitted(executor, work, items[index])] = index
            if suspects and not running:  # alone: whatever dies now, this killed it
                index = suspects.popleft()
                running[_submitted(executor, work, items[index])] = index
            for future in sorted(wait(running, return_when=FIRST_COMPLETED).done, key=running.__getitem__):
                index = running.pop(future)
                if _came(future, executor):
                    yield index, future.result()
                    continue
                deaths[index] += 1
                if deaths[index] < TRIES:
                    suspects.append(index)
                else:
                    yield index, LOST
    finally:
        for future in running:
            future.cancel()


def _submitted(executor: Executor, work: Work, item: Any) -> Future[Any]:
    try:
        return executor.submit(_call, work, item, uuid4().hex)
    except RuntimeError as error:  # broken, or shut down
        raise _gone(error) from error


def _call(work: Work, item: Any, _: str) -> Any:
    """Do a piece of work; a name that no other has makes Dask do it again and not remember how it ended."""
    return work(item)


def _came(future: Future[Any], executor: Executor) -> bool:
    """Return whether a result came; if not, its worker died."""
    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if error is None:
        return True
    if type(error).__name__ == _KILLED or (
        isinstance(error, BrokenExecutor) and isinstance(executor, Processes)
    ):
        return False
    if isinstance(error, BrokenExecutor | CancelledError):  # which was shut down, or has lost its scheduler
        raise _gone(error) from error
    lost = isinstance(error, ImportError | AttributeError) or type(error).__name__ in _NOT_SENT
    if lost and not isinstance(error, GatescopeError):
        raise ValueRangeError(
            f"cannot be called by the workers of `executor` ({type(error).__name__}: {error})",
            argument="function",
            advice="they need the module that it is in, and gatescope",
        ) from error
    raise error  # of the work itself, or Ctrl-C where it reached the workers, too


def _gone(error: BaseException) -> ValueRangeError:
    return ValueRangeError(
        f"cannot go on ({type(error).__name__}: {error})",
        argument="executor",
        advice="leave it out, or give one that replaces workers that die, such as Dask's; the same call continues",
    )


class Processes(Executor):
    """Processes of this machine; one that dies is replaced, and all end at once where a ``with`` block fails.

    Parameters
    ----------
    workers : int, optional
        Default: the cores this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = (
            default_threads() if workers is None else check_count("workers", workers, most=most_threads())
        )
        self._pool: ProcessPoolExecutor | None = None
        self._ended = False
        self._work: Work = str

    def prepare(self, work: Work) -> None:
        """Begin processes that can do some work.

        Raises
        ------
        DtypeError
            If it cannot be sent to them.
        ValueRangeError
            If it ends them before they begin, which would look as if each piece killed them.
        """
        try:
            ForkingPickler.dumps(work)  # as the pool sends it
        except Exception as error:  # of whatever is in it
            raise DtypeError(
                f"cannot be sent to another process ({error})",
                argument="function",
                advice="give a function that is defined at the top of a module",
            ) from error
        self._work = work
        if self._pool is None or not self._reached(self._pool):
            self._renewed()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Give a call to a process, as every executor does."""
        try:
            return (self._pool or self._renewed()).submit(fn, *args, **kwargs)
        except BrokenExecutor:
            return self._renewed().submit(fn, *args, **kwargs)

    def _renewed(self) -> ProcessPoolExecutor:
        """Return a new pool in place of one that broke."""
        self.shutdown()
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin)
        if self._ended:  # by another thread, which did not see this pool
            _stop(self._pool)
            raise RuntimeError("these processes have ended")
        if not self._reached(self._pool):
            raise ValueRangeError(
                "ends the processes it is sent to: they cannot import it",
                argument="function",
                advice='put it into a module, and the call of a script under `if __name__ == "__main__":`',
            )
        return self._pool

    def _reached(self, pool: ProcessPoolExecutor) -> bool:
        """Return whether the work can be sent to a process, which is there then."""
        try:
            return pool.submit(callable, self._work).result()
        except BrokenExecutor:
            return False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once they are done with what they have."""
        if self._pool is not None:
            self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._ended = True
        if kind is None:
            self.shutdown()
        elif self._pool is not None:
            _stop(self._pool)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End a pool now, whatever its processes are at; before Python 3.14 it offers no way to do that."""
    processes = [*(pool._processes or {}).values()]
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


def _begin() -> None:
    """Prepare a process: Ctrl-C is for the one that began it, and it ends with that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


@contextmanager
def _connected(address: str) -> Iterator[Executor]:
    """Yield the executor of a Dask scheduler."""
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingPackageError(
            "a Dask scheduler needs the package distributed", advice='pip install "gatescope[cluster]"'
        ) from error
    try:
        client = Client(address, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ValueRangeError(
            f"is no Dask scheduler that answers ({type(error).__name__})",
            argument="executor",
            seen=address,
            advice=_ADDRESS_ADVICE,
        ) from error
    with client:
        yield client.get_executor()
