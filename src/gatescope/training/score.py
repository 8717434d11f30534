"""What a model reaches on some steps: its loss and accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from gatescope.datatypes import Array


@dataclass(frozen=True)
class Score:
    """Loss and accuracy of a model on some steps.

    Attributes
    ----------
    loss : float
        Of all heads, with their weights: the mean over the steps that count.
    head_loss : (heads,) float64
    accuracy : float
        Fraction of right answers of the heads that classify; NaN if none does.
    count : int
        Steps that counted.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.temporal_order(steps=20, sequences=100, seed=0)
    >>> score = gs.evaluate(gs.init_stack("lstm", hidden_size=8, heads=batch, seed=0), batch)
    >>> score.count, 0 < score.loss < 3, 0 <= score.accuracy <= 1
    (100, True, True)
    """

    loss: float
    head_loss: Array
    accuracy: float
    count: int
