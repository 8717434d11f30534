"""Run the tests of statements: all that there are, or some by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module

from gatescope.checks.numbers import check_call, check_type
from gatescope.datatypes import Verdict
from gatescope.errors import ValueRangeError
from gatescope.experiments.claims.statement import Scale, Statement, in_suites, statements
from gatescope.experiments.claims.study import Study

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
        out, and so are halves of measured ones that are about trained networks.
    log : callable, optional
        Called with a line before every statement.
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
    training = [each.number for each in chosen if each.trains]
    if study is None and only is not None and training:
        problem = f"names statements that many training runs decide: {', '.join(training)}"
        raise ValueRangeError(
            problem,
            argument="only",
            advice="give `study`, or other numbers",
        )
    chosen = tuple(each for each in chosen if study is not None or not each.trains)
    verdicts: dict[str, Verdict] = {}
    for number, each in enumerate(in_suites(chosen), 1):
        if log is not None:
            log(f"statement {each.number}, {number} of {len(chosen)}: {each.text}")
        verdicts[each.number] = each.verdict(study if each.trains else scale or Scale(), study)
        if after is not None:
            after(tuple(verdicts[each.number] for each in chosen if each.number in verdicts))
    return tuple(verdicts[each.number] for each in chosen)


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
