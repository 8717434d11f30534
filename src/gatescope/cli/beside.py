"""Processes beside a command's own: they compile kernels that it needs later, and draw some of its figures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING

from gatescope.checks.numbers import check_threads
from gatescope.errors import GatescopeError

if TYPE_CHECKING:
    from gatescope.experiments.executors import Processes

_MOST = 3  # a few kernels and a dozen figures are no work for more, and each process imports what draws


@contextmanager
def beside(module: str, threads: int | None) -> Iterator[Beside | Alone]:
    """Begin processes, one fewer than threads and three at most, which import a module meanwhile.

    Where one core is all there are none.  They end with the block, at once if it fails.
    """
    workers = min(check_threads(threads) - 1, _MOST)
    if workers < 1:
        yield Alone()
        return
    from gatescope.experiments.executors import Processes
    from gatescope.kernels.cpu.threads import open_pool

    # The pool is left last: it waits for processes that are just beginning, which end at once where the block failed.
    with open_pool(1) as pool, Processes(workers) as processes:
        yield Beside(module, processes, pool)


class Alone:
    """No processes."""

    def executor(self) -> None:
        """Return None."""

    def compiling(self, calls: Sequence[Callable[[], object]]) -> AbstractContextManager[None]:
        """Compile nothing."""
        return nullcontext()

    def wait(self) -> None:
        """Return at once."""


class Beside:
    """Processes that begin while something else is done.

    Parameters
    ----------
    module : str
        What they import first.
    processes : Processes
    pool : ThreadPoolExecutor
        Of one thread, which begins them and gives them work in that order.
    """

    def __init__(self, module: str, processes: Processes, pool: ThreadPoolExecutor) -> None:
        self._processes, self._pool = processes, pool
        self._work: list[Future[None]] = []
        self._begun = pool.submit(self._begin, module)

    def _begin(self, module: str) -> None:
        self._processes.prepare(_imported)
        for _ in range(self._processes.workers):
            self._work.append(self._processes.submit(_imported, module))

    def executor(self) -> Executor | None:
        """Return the processes once they are there; None if none can begin."""
        try:
            self._begun.result()
        except (
            GatescopeError,
            OSError,
            ImportError,
            RuntimeError,
        ):  # of a system without semaphores, for example
            return None
        return self._processes

    def wait(self) -> None:
        """Wait until the processes have nothing to do: what is timed here would take longer beside them."""
        self._pool.submit(int).result()  # of one thread: what was given to it before is done
        wait(self._work)

    def compiling(self, calls: Sequence[Callable[[], object]]) -> AbstractContextManager[object]:
        """Let the processes compile what is needed later, as soon as this one compiles anything in the block.

        Two processes compile twice as fast as one, and what one has compiled the other finds in the cache on disk.
        Where nothing is compiled all is there already, and nothing is asked for.

        Parameters
        ----------
        calls : sequence of callable
            Such as need these kernels, the last first.  What they return is dropped, and so is what they raise or warn
            of: the same comes up where it is needed.
        """
        from numba.core.event import Listener, install_listener

        class First(Listener):  # type: ignore[misc]  # Numba has no types
            asked: Future[None] | None = None

            def on_start(listener, event: object) -> None:
                listener.asked = listener.asked or self._pool.submit(self._ask, calls)

            def on_end(listener, event: object) -> None:
                """Do nothing: the beginning says all."""

        listening: AbstractContextManager[object] = install_listener("numba:compile", First())
        return listening

    def _ask(self, calls: Sequence[Callable[[], object]]) -> None:
        executor = self.executor()
        if executor is not None:
            for call in calls:
                self._work.append(executor.submit(_called, call))


def _imported(module: str) -> None:
    import_module(module)


def _called(call: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()
