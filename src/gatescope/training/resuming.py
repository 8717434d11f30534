"""Training that goes on from a checkpoint."""

from __future__ import annotations

import math

from gatescope.errors import ValueRangeError
from gatescope.storage.resumable import Resumable
from gatescope.training.config import Config
from gatescope.training.loop import Windows
from gatescope.training.state import PATIENCE, TARGET, State


def resume(state: State, file: Resumable, config: Config, windows: Windows) -> bool:
    """Take the state from the checkpoint; return whether there is one.

    Raises
    ------
    ValueRangeError
        If it is of more epochs, or was trained at other learning rates.
    """
    if file.stored is None:
        return False
    arrays, file.stored = file.stored, None  # it may be large
    with file.restoring():
        state.restore(arrays)
        factors, stored_epochs = float(arrays["factor_sum"]), int(arrays["epochs"])
        limits = {PATIENCE: config.patience, TARGET: config.target_loss}
        if limits.get(state.ended, 0) is None:
            raise ValueError("ended by a limit that was not set")
    begun = state.epoch + (state.batch > 0 or state.begin > 0)
    if begun > config.epochs:
        problem = f"is less than what `checkpoint` has come to, epoch {begun}"
        advice = "give at least that, or another file as `checkpoint`"
        raise ValueRangeError(problem, argument="epochs", seen=config.epochs, advice=advice)

    def same(epochs: int | None) -> bool:
        # Another machine's cosine may differ in the last bit.
        return math.isclose(windows.factor_sum(state, epochs), factors, rel_tol=1e-12)

    if same(config.epochs):
        return True
    if same(stored_epochs):
        raise ValueRangeError(
            f"is not the {stored_epochs} of `checkpoint`, on which this schedule's learning rates until now depend",
            argument="epochs",
            seen=config.epochs,
            advice="give the same, or another file as `checkpoint`",
        )
    raise ValueRangeError(
        f"does not give the factors that `checkpoint` was trained with: until now their sum is "
        f"{windows.factor_sum(state, stored_epochs)!r}, not {factors!r}",
        argument="schedule",
        advice="give the same function to resume, or another file as `checkpoint` to begin anew",
    )
