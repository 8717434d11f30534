"""Run the tests of statements: all that there are, or some by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gatescope.checks.numbers import check_type
from gatescope.datatypes import Verdict
from gatescope.experiments.claims import bridges, counts, feedback, gru_gates, lstm_gates, printed
from gatescope.experiments.claims.statement import Scale, statements

MODULES = (
    bridges,
    counts,
    feedback,
    gru_gates,
    lstm_gates,
    printed,
)  # importing one makes its statements known


def run_claims(
    only: Iterable[str] | None = None,
    *,
    scale: Scale | None = None,
    log: Callable[[str], None] | None = None,
) -> tuple[Verdict, ...]:
    """Put statements about RNN, LSTM and GRU to the test, and return a verdict on each.

    Parameters
    ----------
    only : iterable of str, optional
        Numbers such as ``"41"`` and ``"40a"``; ``"40"`` means 40a, 40b and 40c.  Default: all.
    scale : Scale, optional
        Sizes of the exact rows.
    log : callable, optional
        Called with a line before every statement.

    Raises
    ------
    UnknownNameError
        If there is no statement of that number.

    Examples
    --------
    >>> from gatescope.experiments.claims.run import run_claims
    >>> [(v.number, v.word) for v in run_claims(["9a", "26"])]
    [('9a', 'supported'), ('26a', 'supported'), ('26b', 'supported')]
    """
    if only is not None:
        check_type(
            "only", only, list, tuple, set, frozenset, advice="give a list of numbers, as in ['41', '40a']"
        )
    chosen = statements(only)
    verdicts = []
    for number, each in enumerate(chosen, 1):
        if log is not None:
            log(f"statement {each.number}, {number} of {len(chosen)}: {each.text}")
        verdicts.append(each.verdict(scale or Scale()))
    return tuple(verdicts)
