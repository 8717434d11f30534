"""A callback of Lightning that watches a module's recurrent layers; Lightning is imported at first use."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from gatescope.integrations.callbacks import Watching
from gatescope.integrations.packages import missing

__all__ = ["WatchCallback"]  # noqa: F822  # made when it is asked for


def __getattr__(name: str) -> Any:
    if name == "WatchCallback":
        # Two packages of the same classes: that which the caller trains with.
        return _callback("lightning" not in sys.modules and "pytorch_lightning" in sys.modules)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _callback(older: bool) -> type:
    try:
        if older:
            import pytorch_lightning as pytorch
        else:
            from lightning import pytorch
    except ImportError as error:
        raise missing("Lightning, which this is a callback of,", "lightning", error) from error

    class WatchCallback(Watching, pytorch.Callback):  # type: ignore[misc]  # of a package that mypy may lack
        """Watch a module while ``Trainer(callbacks=[callback])`` fits it; `history` is what was read.

        Each reading goes to the trainer's loggers, too.

        Parameters
        ----------
        inputs, every, log, progress
            As for `gatescope.watch`; a step is a batch.
        """

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            own = self._arguments["log"]

            def log(numbers: dict[str, float]) -> None:
                for logger in trainer.loggers:
                    logger.log_metrics(numbers, step=trainer.global_step)
                if own is not None:
                    own(numbers)

            self._begin(pl_module, log=log)

        def on_train_batch_end(self, *args: Any, **named: Any) -> None:
            if self._watch is not None:
                self._watch.step()

    return WatchCallback
