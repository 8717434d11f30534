"""Published experiments that are repeated, over seeds; and sweeps, which spread any study over processes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatescope.experiments.long_series.run import run_long_series

__all__ = ["run_long_series"]


def __getattr__(name: str) -> object:
    # When it is first used: the processes of a sweep import this package, and need no training.
    if name not in __all__:
        raise AttributeError(f"module 'gatescope.experiments' has no attribute {name!r}")
    return getattr(importlib.import_module("gatescope.experiments.long_series.run"), name)
