"""Run the tests of statements: all that there are, or some by their numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from importlib import import_module

from gatescope.checks.numbers import check_call, check_type
from gatescope.datatypes import Verdict
from gatescope.errors import ValueRangeError
from gatescope.experiments.claims.statement import Scale, Statement, in_suites, statements
from gatescope.experiments.claims.study import Study
from gatescope.experiments.executors import LOST, each

# Importing one makes its statements known.
for _module in (
    "addition",
    "bridges",
    "capacity",
    "complexity",
    "copying",
    "counts",
    "coupling",
    "data_size",
    "decay",
    "depth",
    "divergence",
    "elman",
    "expressive",
    "feedback",
    "footprint",
    "gru_gates",
    "hard",
    "kept",
    "long_loss",
    "long_variants",
    "lstm_gates",
    "maps",
    "momentum",
    "needs_data",
    "overfitting",
    "parameters",
    "plain_rnn",
    "preserves",
    "printed",
    "selecting",
    "speed",
    "storing",
    "students",
    "two_tanh",
    "unlike_data",
    "win_table",
    "worth",
):
    import_module(f"gatescope.experiments.claims.{_module}")
# Of a quick study's statements, those that several processes put to the test at once: the longest suites first, so that
# none is left alone at the end.
_AT_ONCE = "WVLNGHXRES"
_LARGE = "WV"  # suites that are more than one process should have: a module of theirs is a piece of work


def run_claims(
    only: Iterable[str] | None = None,
    *,
    scale: Scale | None = None,
    study: Study | None = None,
    log: Callable[[str], None] | None = None,
    after: Callable[[tuple[Verdict, ...]], object] | None = None,
) -> tuple[Verdict, ...]:
    """Put statements about RNN, LSTM and GRU to the test, and return a verdict on each.

    Parameters
    ----------
    only : iterable of str, optional
        Numbers such as ``"41"`` and ``"40a"``; ``"40"`` means 40a, 40b and 40c.  Default: all.
    scale : Scale, optional
        Sizes of the exact and the measured rows.  Default: the full ones.
    study : Study, optional
        Where the runs of statistical statements are kept, and how many there are.  Default: these statements are left
        out, and so are halves of measured ones that are about trained networks.  The processes of its executor make
        runs, or, if it is a quick one, put whole statements to the test: its runs are so short that much else, such
        as kernels to compile, takes as long.
    log : callable, optional
        Called with a line before every statement; of those that other processes test, after it.
    after : callable, optional
        Called after every statement with the verdicts so far, in the order of their numbers.

    Raises
    ------
    UnknownNameError
        If there is no statement of that number.
    DtypeError
        If an argument is of another type.
    ValueRangeError
        If a statistical statement is asked for by its number, and there is no study.

    Examples
    --------
    >>> from gatescope.experiments.claims.run import run_claims
    >>> [(v.number, v.word) for v in run_claims(["9a", "26"])]
    [('9a', 'supported'), ('26a', 'supported'), ('26b', 'supported')]
    """
    check_type("scale", scale, Scale, type(None), advice="give a Scale, such as FULL or FAST")
    check_type("study", study, Study, type(None), advice="give a Study, as in Study(folder='runs')")
    if log is not None:
        check_call("log", log, "log(text)", "")
    if after is not None:
        check_call("after", after, "after(verdicts)", ())
    chosen = chosen_statements(only)
    training = [one.number for one in chosen if one.trains]
    if study is None and only is not None and training:
        problem = f"names statements that many training runs decide: {', '.join(training)}"
        raise ValueRangeError(
            problem,
            argument="only",
            advice="give `study`, or other numbers",
        )
    chosen = tuple(one for one in chosen if study is not None or not one.trains)
    verdicts: dict[str, Verdict] = {}
    scale = scale or Scale()

    def say(one: Statement, number: int) -> None:
        if log is not None:
            log(f"statement {one.number}, {number} of {len(chosen)}: {one.text}")

    def keep(verdict: Verdict) -> None:
        verdicts[verdict.number] = verdict
        if after is not None:
            after(tuple(verdicts[one.number] for one in chosen if one.number in verdicts))

    if study is not None and study.quick and study.executor is not None:
        by_number = {one.number: one for one in chosen}
        for verdict in _at_once(chosen, scale, study):
            say(by_number[verdict.number], len(verdicts) + 1)
            keep(verdict)
    for one in in_suites(chosen):
        if one.number not in verdicts:
            say(one, len(verdicts) + 1)
            keep(one.verdict(study if one.trains else scale, study))
    return tuple(verdicts[one.number] for one in chosen)


def _at_once(chosen: Iterable[Statement], scale: Scale, study: Study) -> Iterator[Verdict]:
    """Yield verdicts as processes come to them; none on statements that measure times, nor on those that kill them.

    What shares runs or kernels is a piece of work, for one process.  Two that do ask for the same runs begin with
    different ones, and find those that the other has made.
    """
    pieces: dict[str, list[str]] = {}
    for one in sorted(in_suites(chosen), key=lambda one: _AT_ONCE.find(one.suite)):
        if not one.timed:
            piece = one.test.__module__ if one.suite in _LARGE else one.suite
            pieces.setdefault(piece, []).append(one.number)
    studies = [
        dataclasses.replace(study, executor=None, progress=False, part=study.part or part)
        for part in ("1/2", "2/2")
    ]
    items = [(numbers, studies[turn % 2]) for turn, numbers in enumerate(pieces.values())]
    assert study.executor is not None
    with closing(each(partial(_verdicts, scale=scale), items, study.executor)) as outcomes:
        for _, outcome in outcomes:
            if outcome is not LOST:
                yield from outcome


def _verdicts(item: tuple[Sequence[str], Study], scale: Scale) -> tuple[Verdict, ...]:
    """Return the verdicts on statements of a piece, one after another."""
    numbers, study = item
    return tuple(one.verdict(study if one.trains else scale, study) for one in in_suites(statements(numbers)))


def chosen_statements(only: Iterable[str] | None = None) -> tuple[Statement, ...]:
    """Return all statements, or those of some numbers.

    Raises
    ------
    UnknownNameError
        If there is none of that number.
    """
    if only is not None:
        check_type(
            "only", only, list, tuple, set, frozenset, advice="give a list of numbers, as in ['41', '40a']"
        )
    return statements(only)
