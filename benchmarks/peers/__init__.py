"""The competitors: each runs the same problem in its own way, told apart by one name.

A competitor has ``forward()`` (inference: the outputs at all steps) and ``train()`` (forward, then the
gradients of all parameters for a given gradient of the outputs).  Both return when the work is done, with the
library's own arrays; ``arrays(result)`` turns them into NumPy's, by name, outside the timed part.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import Problem

MODULES = {
    "gatescope": "benchmarks.peers.ours",
    "pytorch": "benchmarks.peers.pytorch",
    "torchcompile": "benchmarks.peers.torch_compile",
    "jax": "benchmarks.peers.jax_scan",
    "onnxruntime": "benchmarks.peers.onnx_runtime",
}


class MissingPeer(Exception):
    """A peer, or what it needs, is not installed; the message says how to get it."""


class Competitor(Protocol):
    """What a benchmark asks of a library; a context manager, because some have threads to set back."""

    NAME: ClassVar[str]

    def __init__(self, problem: Problem, threads: int) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None: ...
    def forward(self) -> Any: ...
    def train(self) -> Any: ...
    def arrays(self, result: Any) -> dict[str, NDArray[np.floating]]: ...


def load(name: str) -> type[Competitor]:
    """Return the competitor of that name.

    Raises
    ------
    MissingPeer
        If its library is not installed.
    """
    try:
        module: ModuleType = importlib.import_module(MODULES[name])
    except ImportError as error:
        raise MissingPeer(
            f"{name} is not installed ({error}); pip install 'gatescope[bench]' has all peers"
        ) from error
    competitor: type[Competitor] = module.Competitor
    return competitor


def seconds(call: Callable[[], Any]) -> float:
    """Return the time of the best of three calls, after one that compiles: for a choice during the warm-up."""
    call()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
