"""What the callbacks of training frameworks share: a watch that begins when training does."""

from __future__ import annotations

from typing import Any

from gatescope.datatypes.watch import WatchHistory
from gatescope.errors import ValueRangeError
from gatescope.integrations.watch import Log, Watch


class Watching:
    """The part of a callback that is the same in all frameworks.

    Parameters
    ----------
    inputs, every, log, progress
        As for `gatescope.watch`.
    """

    def __init__(
        self, inputs: Any, *, every: int = 100, log: Log | None = None, progress: bool = False
    ) -> None:
        super().__init__()
        options = {"every": every, "log": log, "progress": progress}
        self._arguments: dict[str, Any] = {"inputs": inputs, **options}
        self._watch: Watch | None = None

    @property
    def history(self) -> WatchHistory:
        """What was read since the training began that began last."""
        if self._watch is None:
            raise ValueRangeError("there is no reading yet: the watch begins when training does")
        return self._watch.history

    def _begin(self, module: Any, **replaced: Any) -> None:
        self._watch = Watch(module, **{**self._arguments, **replaced})
