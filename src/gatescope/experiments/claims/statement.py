"""A statement: who says it, and the function that puts it to the test."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, TypeVar

from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Effect, PublishedNumber, Verdict
from gatescope.datatypes.verdict import NOT_RUN
from gatescope.errors import MissingPackageError, UnknownNameError, ValueRangeError
from gatescope.experiments.claims.how_trained import how_trained
from gatescope.experiments.seeds.judge import Judgement, judge_exact
from gatescope.storage.provenance import provenance


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large the experiments are, all in float64.

    Attributes
    ----------
    units, steps, sequences, inputs : int
        H, T, B and I of the exact rows.
    many_units, long_steps, seeds : int
        H, T and the number of networks of the measured rows.
    data : tuple of int
        Sizes of the data sets, in sequences, ascending.
    preliminary : bool
        Whether what is measured is smaller than the criteria ask for, and its verdicts are to say so.
    """

    units: int = 16
    steps: int = 200
    sequences: int = 3
    inputs: int = 2
    many_units: int = 64
    long_steps: int = 2000
    seeds: int = 10
    data: tuple[int, ...] = (100, 1_000, 10_000)
    preliminary: bool = False


FULL = Scale()
FAST = Scale(many_units=16, long_steps=600, data=(100, 1_000), preliminary=True)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a test came to: a judgement, and the numbers that a `Verdict` shows beside it.

    Code, runs and seconds are those of the study's runs, unless the test says others.
    """

    judgement: Judgement
    equalities: Mapping[str, float] = field(default_factory=dict)
    controls: Mapping[str, float] = field(default_factory=dict)
    effects: tuple[Effect, ...] = ()
    measured: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seeds: int = 0
    distinguishes: str = ""
    depends_on_init: bool = False
    by_init: tuple[Effect, ...] = ()
    published: tuple[PublishedNumber, ...] = ()
    preliminary: bool = False
    tuned: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    runs: int = 0
    seconds: float = 0.0


# What shares its experiments, in the order of a run: rows that carry times come early, beside nothing else.
SUITES = {
    "X": "exact",
    "G": "gradients of untrained networks",
    "R": "speed",
    "W": "which cell does better",
    "V": "variants of the cells",
    "N": "data: how many, noise, bias",
    "S": "teachers and students",
    "H": "depth",
    "E": "explosion",
    "L": "long series",
    "B": "published settings",
}
_SUITE_OF = {"exact": "X", "documentary": "X", "measured": "G", "statistical": "W"}
Test = Callable[..., Finding]
Tested = TypeVar("Tested", bound=Test)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement in our words, and its test.

    Attributes
    ----------
    number : str
    text : str
    sources : str
        Letters: P a student paper, Q0 to Q5 a question and its answers, D a blog note, A an article, M an experiment.
    kind : {"exact", "measured", "statistical", "documentary"}
    criterion : str
        By which the test says its word.
    suite : str
        Letter of the experiments that it shares with others, see `SUITES`.
    test : callable
        ``test(scale) -> Finding``; of a statistical statement ``test(study) -> Finding``.
    after_training : bool
        Whether a measured statement has a second half on the networks of a study: ``test(scale, study)``, the study
        None where there are no runs.
    timed : bool
        Whether it measures times, which it has to do beside nothing else.
    """

    number: str
    text: str
    sources: str
    kind: str
    criterion: str
    suite: str
    test: Test
    after_training: bool = False
    timed: bool = False

    @property
    def trains(self) -> bool:
        """Return whether its test needs the runs of a study."""
        return self.kind == "statistical"

    @property
    def has_scale(self) -> bool:
        """Return whether a larger experiment may say more: what is exact holds at any size."""
        return self.kind in ("measured", "statistical") or self.after_training

    def verdict(self, of: Any, study: Any = None) -> Verdict:
        """Run the test, of a `Scale` or of a `Study`, and return the verdict; of one that lacks a package, that.

        The study is for a statement that has a half before training, of a `Scale`, and one after it.
        """
        used = of.used if self.trains else study.used if self.after_training and study else {}
        used.clear()
        began = perf_counter()
        try:
            finding = self.test(of, study) if self.after_training else self.test(of)
        except MissingPackageError as error:
            finding = Finding(judgement=Judgement(word=NOT_RUN, reason=str(error)))
        took = perf_counter() - began
        word = finding.judgement.word
        made = sorted({run.code for run in used.values()})
        return Verdict(
            number=self.number,
            statement=self.text,
            sources=self.sources,
            kind=self.kind,
            criterion=self.criterion,
            word=word,
            reason=finding.judgement.reason,
            small=finding.judgement.small,
            needed=finding.judgement.needed,
            claim=finding.judgement.claim,
            equalities=finding.equalities,
            controls=finding.controls,
            effects=finding.effects,
            measured={
                name: (float(value), float(error)) for name, (value, error) in finding.measured.items()
            },
            seeds=finding.seeds,
            distinguishes=finding.distinguishes,
            depends_on_init=finding.depends_on_init,
            by_init=finding.by_init,
            published=finding.published,
            preliminary=word != NOT_RUN
            and (finding.preliminary or (self.kind in ("measured", "statistical") and of.preliminary)),
            tuned=finding.tuned,
            training=how_trained(used),
            code=finding.code or (hashlib.sha256("".join(made).encode()).hexdigest()[:16] if made else ""),
            runs=finding.runs or len(used),
            seconds=finding.seconds or sum(run.seconds for run in used.values()) or took,
            provenance=provenance(
                device="cpu",
                dtype="float32" if self.trains else "float64",
                **({"seeds": of.seeds, "units": of.units, "fast": of.quick} if self.trains else asdict(of)),
            ),
        )


_STATEMENTS: dict[str, Statement] = {}


def statement(
    number: str,
    text: str,
    *,
    sources: str,
    criterion: str,
    kind: str = "exact",
    suite: str | None = None,
    after_training: bool = False,
    timed: bool = False,
) -> Callable[[Tested], Tested]:
    """Make a function the test of a statement.

    Parameters
    ----------
    number, text, sources, criterion, kind, after_training, timed
        As in `Statement`.
    suite : str, optional
        A letter of `SUITES`.  Default: X, G or W, by its kind.
    """
    letter = check_choice("suite", _SUITE_OF[kind] if suite is None else suite, tuple(SUITES))

    def decorate(test: Tested) -> Tested:
        if number in _STATEMENTS:
            raise ValueRangeError("has a test already", argument="number", seen=number)
        _STATEMENTS[number] = Statement(
            number=number,
            text=text,
            sources=sources,
            kind=kind,
            criterion=criterion,
            suite=letter,
            test=test,
            after_training=after_training,
            timed=timed,
        )
        return test

    return decorate


def exact(
    equalities: Mapping[str, float],
    controls: Mapping[str, float],
    *,
    supports: bool = True,
    distinguishes: str = "",
) -> Finding:
    """Return the finding of an exact row, as `judge_exact` judges it."""
    judgement = judge_exact(equalities, controls, supports=supports)
    return Finding(judgement=judgement, equalities=equalities, controls=controls, distinguishes=distinguishes)


def statements(only: Iterable[str] | None = None) -> tuple[Statement, ...]:
    """Return the statements by their numbers, in order; a number without its letter means all of its letters.

    Raises
    ------
    UnknownNameError
        If there is none of that number.
    """
    ordered = sorted(_STATEMENTS, key=order)
    if only is None:
        return tuple(_STATEMENTS[number] for number in ordered)
    chosen: set[str] = set()
    for name in only:
        matching = {number for number in ordered if number == name or str(order(number)[0]) == name}
        if not matching:
            advice = f"the numbers are {', '.join(ordered)}"
            raise UnknownNameError("is not known", argument="only", seen=name, advice=advice)
        chosen |= matching
    return tuple(_STATEMENTS[number] for number in ordered if number in chosen)


def in_suites(chosen: Iterable[Statement]) -> tuple[Statement, ...]:
    """Return statements in the order of a run: by suite, and in it by number."""
    letters = [*SUITES]
    return tuple(sorted(chosen, key=lambda each: (letters.index(each.suite), order(each.number))))


def order(number: str) -> tuple[int, str]:
    """Return what sorts statements by their numbers: 9a, 9b, 10a."""
    digits, letter = re.fullmatch(r"(\d+)(\w?)", number).groups()  # type: ignore[union-attr]  # all are of this form
    return int(digits), letter
