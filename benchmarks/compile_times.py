"""How long each kernel of a cell takes to compile, into an empty cache.

    python -m benchmarks.compile_times CELL     prints JSON: seconds by kernel

`benchmarks.cold_start` asks for it in a process of its own for each cell.  A kernel counts whole, with all that is
compiled inside it; what several kernels share counts for the first of them.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from numba.core.event import Event, Listener, install_listener

_NAME = re.compile(r"(?:.*>\.)?_*(\w+?)(?:_[0-9a-f]{12})?")  # without what it is made in, and its digest


class Outermost(Listener):  # type: ignore[misc]  # Numba has no types
    """Seconds of each compilation that is not a part of another, by the name of the function."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[float] = []

    def on_start(self, event: Event) -> None:
        """Remember when."""
        self._open.append(time.perf_counter())

    def on_end(self, event: Event) -> None:
        """Add it to its name."""
        begun = self._open.pop()
        if not self._open:
            name = name_of(event.data["dispatcher"].py_func.__qualname__)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


def name_of(qualified: str) -> str:
    """Return the name that a reader knows a kernel by.

    Examples
    --------
    >>> from benchmarks.compile_times import name_of
    >>> name_of("make_forward.<locals>.forward_6c70a9ec6c43"), name_of("_read")
    ('forward', 'read')
    """
    match = _NAME.fullmatch(qualified)
    return match[1] if match else qualified


def seconds_of(cell: str) -> dict[str, float]:
    """Return the seconds of each kernel that this process has not compiled yet: forward, backward, adjoint, others."""
    import numpy as np

    import gatescope as gs

    params = gs.init(cell, input_size=1, hidden_size=64, seed=0)
    inputs = np.ones((50, 1), np.float32)
    with install_listener("numba:compile", Outermost()) as compiled:
        trace = gs.run(params, inputs)
        gs.backprop(params, trace, output_adjoint=np.ones_like(trace.outputs))
        gs.gradient_flow(params, inputs)
    return dict(compiled.seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the seconds of a cell."""
    (cell,) = sys.argv[1:] if arguments is None else arguments
    data: dict[str, Any] = seconds_of(cell)
    print(json.dumps(data))


if __name__ == "__main__":
    main()
