"""What a claim came to: a word, the numbers behind it, and the criterion it was judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gatescope.checks.numbers import check_choice
from gatescope.datatypes.effect import Effect
from gatescope.datatypes.published_number import PublishedNumber
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table
from gatescope.reporting.text import number, with_error

SUPPORTED, CONTRADICTED, EQUAL = "supported", "contradicted", "equal"
UNDECIDED, MIXED, MISPRINT, CANNOT_RUN = "undecided", "mixed", "misprint", "cannot be run"
NOT_RUN = "not run"  # a package is missing here: a state of this machine, and no verdict
WORDS = (SUPPORTED, CONTRADICTED, EQUAL, UNDECIDED, MIXED, MISPRINT, CANNOT_RUN, NOT_RUN)
ONLY, ALIKE, OTHER = "only this cell", "all cells alike", "the other cell more"
CLAIMS = ("lower", "higher", "equal")
_SAYS_LITTLE = 40  # characters
KINDS = ("exact", "measured", "statistical", "documentary")


@dataclass(frozen=True, kw_only=True, repr=False)
class Verdict(Result):
    """The verdict on a statement.

    Attributes
    ----------
    number : str
        Of the statement, such as ``"6a"``.
    statement, sources : str
        What is said, in our words, and the letters of those who say it.
    kind : {"exact", "measured", "statistical", "documentary"}
    criterion : str
        By which the word was found; fixed before the run.
    word : str
        ``"supported"``, ``"contradicted"``, ``"equal"`` (also: no difference that matters), ``"undecided"``,
        ``"mixed"``, ``"misprint"`` or ``"cannot be run"``; ``"not run"`` where a package is missing.
    reason : str
        The numbers that decided it, in a sentence; of a row that was not run what to install.
    claim : str
        What a statistical statement says of the second arm: ``"lower"``, ``"higher"``, ``"equal"``, or "".
    effects : tuple of Effect
        Of a statistical statement, one a task.
    equalities : mapping of str to float
        Of an exact statement: how far two things are from each other that should be the same, in roundings of the
        largest value.
    controls : mapping of str to float
        The same, of things that must differ if the equalities are to mean anything.
    measured : mapping of str to (float, float)
        Of a measured statement: numbers, each with its standard error over the seeds; NaN where there is none.
    seeds : int
        Networks that each of these is a mean over.
    distinguishes : str
        Of a statement about one cell: ``"only this cell"``, ``"all cells alike"``, ``"the other cell more"``, or "".
    small : bool
        Whether there is a difference, but inside the margin.
    depends_on_init : bool
        Whether another scheme of initial weights comes to another decided word.
    by_init : tuple of Effect
        The effects with one scheme of initial weights for both arms, which do not decide.
    needed : int or None
        How many seeds would decide what is undecided; None where that is not known.
    preliminary : bool
        Whether the experiment was smaller than the full one.
    tuned : mapping
        Learning rate and initial weights of each arm, as tuned.
    training : tuple of str
        How these networks were trained, a text a kind of run.
    published : tuple of PublishedNumber
        What others measured of the same, beside ours; no word depends on it.
    runs : int
        Training runs that it stands on, each counted once, without those of tuning.
    seconds : float
        That these took when they were made; of other rows that the test took.
    code : str
        Fingerprint of the code that made them.
    """

    number: str
    statement: str
    sources: str
    kind: str
    criterion: str
    word: str
    reason: str
    claim: str = ""
    effects: tuple[Effect, ...] = ()
    equalities: Mapping[str, float] = field(default_factory=dict)
    controls: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seeds: int = 0
    distinguishes: str = ""
    small: bool = False
    depends_on_init: bool = False
    by_init: tuple[Effect, ...] = ()
    needed: int | None = None
    preliminary: bool = False
    tuned: Mapping[str, Any] = field(default_factory=dict)
    training: tuple[str, ...] = ()
    published: tuple[PublishedNumber, ...] = ()
    runs: int = 0
    seconds: float = field(default=0.0, compare=False)
    code: str = ""

    def __post_init__(self) -> None:
        check_choice("word", self.word, WORDS)
        check_choice("kind", self.kind, KINDS)
        check_choice("claim", self.claim, ("", *CLAIMS))
        check_choice("distinguishes", self.distinguishes, ("", ONLY, ALIKE, OTHER))

    @property
    def text(self) -> str:
        """Return the word with everything that goes with it."""
        notes = [self.distinguishes, "small" if self.small else ""]
        notes += ["depends on initial weights" if self.depends_on_init else ""]
        notes += ["preliminary" if self.preliminary else ""]
        return ", ".join([self.word, *filter(None, notes)])

    @property
    def deciding(self) -> str:
        """Return the number that decides it, with its interval, or else the reason's first parts, which say it."""
        if len(self.effects) == 1 and self.effects[0].measure == "log ratio":
            return f"{self.effects[0].name} {self.effects[0].text()}"
        first, *rest = self.reason.split("; ")
        while rest and (len(first) < _SAYS_LITTLE or first.count("(") > first.count(")")):
            first = f"{first}; {rest.pop(0)}"
        return first

    @property
    def n(self) -> int:
        """Return how many seeds, or pairs of one, stand behind each of its numbers; 0 if it draws none."""
        return max((effect.pairs for effect in self.effects), default=self.seeds)

    @property
    def has_scale(self) -> bool:
        """Return whether it was measured, or training runs made for it, so that a larger experiment may say more."""
        return self.kind in ("measured", "statistical") or bool(self.runs)

    @property
    def quick(self) -> bool:
        """Return whether the experiment was the quick one; a full one may be preliminary too, if disturbed."""
        ran = self.provenance
        return bool(ran.get("fast", ran.get("preliminary", self.preliminary)))

    @property
    def command(self) -> str:
        """Return the command that puts the statement to the test again."""
        ran = self.provenance
        parts = [f"gatescope claims --only {self.number}"]
        if self.has_scale and not self.quick:
            parts.append("--full")
        if self.kind == "statistical":
            parts += [f"--{name} {ran[name]}" for name in ("seeds", "units") if name in ran]
        if self.kind == "statistical" or self.runs:
            parts.append("--runs FOLDER")
        return " ".join(parts)

    def summary(self) -> str:
        """Return number, statement and verdict, the reason, and the criterion."""
        first = f"{self.number} {self.statement} ({self.sources}): {self.text}"
        return f"{first}\n{self.reason}\ncriterion: {self.criterion}"

    def table(self) -> Table:
        """Return the effects, the measured numbers, the equalities and the controls, a row each."""
        rows: list[tuple[Any, ...]] = [
            (e.name, e.text(), f"p {number(e.p)}, n {e.pairs}") for e in self.effects
        ]
        rows += [
            (name, with_error(*pair), f"n {self.seeds}" if self.seeds else "")
            for name, pair in self.measured.items()
        ]
        rows += [(name, value, "roundings apart") for name, value in self.equalities.items()]
        rows += [(name, value, "roundings apart, must differ") for name, value in self.controls.items()]
        rows += [
            (each.what, each.row()[2], f"published: {number(each.published)}") for each in self.published
        ]
        return Table(("", "measured", ""), rows, self.summary().partition("\n")[0])

    def record(self) -> dict[str, Any]:
        """Return everything as plain values, for a JSON file."""
        own = {
            "effects": "p",
            "by_init": "p",
            "published": "agrees",
        }  # and what their parts say besides their fields
        names = [name for name in self._names() if name not in (*own, "provenance")]
        parts = {
            name: [
                {key: _plain(getattr(part, key)) for key in (*part._names(), more) if key != "provenance"}
                for part in getattr(self, name)
            ]
            for name, more in own.items()
        }
        measured = {
            name: {"value": _plain(value), "error": _plain(error)}
            for name, (value, error) in self.measured.items()
        }
        plain = {name: _plain(getattr(self, name)) for name in names}
        said = {name: getattr(self, name) for name in ("text", "deciding", "n", "command")}
        return {**plain, **parts, "measured": measured, **said}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, which knows no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
