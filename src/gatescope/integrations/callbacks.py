"""What the callbacks of training frameworks share: a watch that begins when training does."""

from __future__ import annotations

from typing import Any

from gatescope.datatypes.watch import WatchHistory
from gatescope.errors import MissingPackageError, ValueRangeError
from gatescope.integrations.watch import Log, Watch


class Watching:
    """The part of a callback that is the same in all frameworks.

    Parameters
    ----------
    inputs, every, log
        As for `gatescope.watch`.
    """

    def __init__(self, inputs: Any, *, every: int = 100, log: Log | None = None) -> None:
        super().__init__()
        self._arguments: dict[str, Any] = {"inputs": inputs, "every": every, "log": log}
        self._watch: Watch | None = None

    @property
    def history(self) -> WatchHistory:
        """What was read since the training began that began last."""
        if self._watch is None:
            raise ValueRangeError("there is no reading yet: the watch begins when training does")
        return self._watch.history

    def _begin(self, module: Any, **replaced: Any) -> None:
        self._watch = Watch(module, **{**self._arguments, **replaced})


def missing(package: str, error: ImportError) -> MissingPackageError:
    """Return the error of a callback whose framework is not installed."""
    return MissingPackageError(
        f"the callback of {package} needs {package} ({error})", advice=f"install it: pip install {package}"
    )
