"""Whether figures can be drawn: found out before the work that they are to show."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

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
