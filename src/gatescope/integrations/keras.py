"""A callback of Keras that watches the recurrent layers of the model that is fitted; Keras is imported at first use."""

from __future__ import annotations

from functools import cache
from typing import Any

from gatescope.integrations.callbacks import Watching
from gatescope.integrations.packages import missing

__all__ = ["WatchCallback"]  # noqa: F822  # made when it is asked for


def __getattr__(name: str) -> Any:
    if name == "WatchCallback":
        return _callback()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _callback() -> type:
    try:
        import keras
    except ImportError as error:
        raise missing("Keras, which this is a callback of,", "keras", error) from error

    class WatchCallback(Watching, keras.callbacks.Callback):  # type: ignore[misc]  # of a package that mypy may lack
        """Watch a model while ``model.fit(..., callbacks=[callback])`` trains it; `history` is what was read.

        Parameters
        ----------
        inputs, every, log, progress
            As for `gatescope.watch`; a step is a batch.
        """

        def on_train_begin(self, logs: Any = None) -> None:
            self._begin(self.model)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self._watch is not None:
                # Over JAX the weights are in the model only after it was asked for.
                self._watch.module = self.model if self._watch.due else self._watch.module
                self._watch.step()

    return WatchCallback
