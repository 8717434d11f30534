"""Whether figures can be drawn: found out before the work that they are to show."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import cache
from typing import Any

from gatescope.checks.numbers import check_threads
from gatescope.errors import GatescopeError, MissingPackageError, OutputError


@cache
def check_plotting() -> None:
    """Import what draws, and draw an empty figure.

    Raises
    ------
    MissingPackageError
        If matplotlib is not there, or does not fit what else is installed.
    OutputError
        If it is there and draws nothing.
    """
    with _no_screen():
        try:
            plotting = importlib.import_module("gatescope.plotting")
            plotting.render(plotting.new_figure(1, 1), dpi=10)
        except GatescopeError:
            raise
        except ImportError as error:
            raise MissingPackageError(
                f"figures cannot be drawn: matplotlib cannot be imported ({error})",
                advice="install it again with pip install --force-reinstall matplotlib",
            ) from error
        except Exception as error:  # of settings or fonts that it cannot use
            raise OutputError(
                f"figures cannot be drawn: {type(error).__name__} of matplotlib: {error}",
                advice="install it again with pip install --force-reinstall matplotlib",
            ) from error


@contextmanager
def _no_screen() -> Iterator[None]:
    """Import matplotlib without the backend of a notebook or a screen, which need not be there, nor is needed."""
    if "matplotlib" in sys.modules:
        yield
        return
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before


@contextmanager
def drawn_beside(draw: Callable[..., Any], threads: int | None) -> Iterator[Callable[[], Executor | None]]:
    """Begin processes that draw beside this one; yield what returns them once they are there.

    They begin, and import what draws, while something else is computed.  None where one core is all, or where no
    process can begin: then this one draws alone, as well.
    """
    workers = check_threads(threads) - 1
    if workers < 1:
        yield lambda: None
        return
    from gatescope.experiments.executors import Processes
    from gatescope.kernels.cpu.threads import open_pool

    # A dozen figures are no work for more, and each imports what draws.
    with Processes(min(workers, 3)) as processes, open_pool(1) as pool:
        begun = pool.submit(processes.prepare, draw)

        def ready() -> Executor | None:
            try:
                begun.result()
            except GatescopeError:
                return None
            return processes

        yield ready
