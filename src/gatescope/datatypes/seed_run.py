"""The result of one training run of a study over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result
from gatescope.datatypes.stack import Stack
from gatescope.datatypes.training_run import Status
from gatescope.reporting.table import Table
from gatescope.reporting.text import number, percent


@dataclass(frozen=True, kw_only=True, repr=False)
class SeedRun(Result):
    """A model that was trained as a spec says, and what it reached; V validations were made.

    Attributes
    ----------
    spec : mapping
        What was run, as plain values, see `gatescope.experiments.seeds.spec.RunSpec`.
    code : str
        Fingerprint of the code that made it.
    status : Status
    reached : bool
        Whether a validation came below the target; False where there is no target.
    updates : int
        Minibatches until that; the whole budget of a run that did not reach it, which is censored there.  Each is an
        update, or several where windows of steps are.
    validation_update : (V,) int64
        Minibatches done at each validation.
    validation_loss : (V,) float64
    training_loss : (V,) float64
        Mean loss of the updates since the validation before, with the weights before each.
    first_training_loss : float
        With the initial weights, without dropout: on the first minibatch, or on a whole set that stays the same.
    test_loss, test_accuracy : float
        On data that nothing was chosen by, with the weights of the best validation; the accuracy is NaN
        without classes.
    test_answers : int
        How many answers the accuracy is of.
    final_test_loss, final_train_loss : float
        With the last weights, without dropout; the second on the training set, NaN where each update's data are new.
    counted_to : int or None
        Of a counting task: the largest n such that this and all smaller ones are followed without a fault.
    model : Stack
        With the weights of the best validation.
    seconds : float
        Processor time of all of it, with training and tests, and of the first of its kind compiling.  Does not count in
        comparisons.
    """

    spec: Mapping[str, Any]
    code: str
    status: Status
    reached: bool
    updates: int
    validation_update: Array
    validation_loss: Array
    training_loss: Array
    first_training_loss: float
    test_loss: float
    test_accuracy: float
    test_answers: int
    final_test_loss: float
    final_train_loss: float
    model: Stack
    counted_to: int | None = None
    seconds: float = field(default=float("nan"), compare=False)

    _axes: ClassVar[Mapping[str, str]] = {
        "validation_update": "(V,) int64",
        "validation_loss": "(V,) float64",
        "training_loss": "(V,) float64",
    }
    _dims: ClassVar[Mapping[str, str]] = {"V": "validation_update"}
    _rows: ClassVar[str] = "validation_loss"

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))

    @property
    def seed(self) -> int:
        """Return the seed of the weights and of the data."""
        return int(self.spec["seed"])

    @property
    def best_validation_loss(self) -> float:
        """Return the least loss of all validations; infinite if there was none, as of a run that diverged at once."""
        return float(self.validation_loss.min()) if self.validation_loss.size else float("inf")

    @property
    def errors(self) -> float:
        """Return how many of the test's answers are wrong; NaN without classes."""
        return (1 - self.test_accuracy) * self.test_answers

    def outcome(self) -> str:
        """Return whether the target was reached, and when; or how the run ended."""
        if self.reached:
            return f"reached after {number(self.updates)} updates"
        target = self.spec.get("target_loss")
        ended = f"{self.status} after {number(self.updates)} updates"
        return ended if target is None else f"{ended}, target {number(target)} not reached"

    def summary(self) -> str:
        """Return what was trained, by which seed, and what it reached."""
        what = f"{self.spec['cell']} on {self.spec['task']}, seed {self.seed}"
        return f"{what}: {self.outcome()}\ntest loss {number(self.test_loss)}"

    def table(self) -> Table:
        """Return what was reached, a row a number."""
        rows = [
            ("outcome", self.outcome()),
            ("training loss, initial weights", self.first_training_loss),
            ("best validation loss", self.best_validation_loss),
            ("test loss", self.test_loss),
            ("test accuracy", percent(self.test_accuracy)),
            ("test loss, last weights", self.final_test_loss),
            ("training loss, last weights", self.final_train_loss),
            ("counted to", self.counted_to),
        ]
        return Table(("", "value"), rows, self.summary().partition("\n")[0])
