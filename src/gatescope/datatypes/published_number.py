"""A number that somebody published, beside the one measured here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table
from gatescope.reporting.text import number, with_error

_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, repr=False)
class PublishedNumber(Result):
    """A published number and ours of the same quantity.

    Attributes
    ----------
    what : str
        The quantity.
    published : float
        Of one run, as most published numbers are.
    source : str
    measured : float
        Mean over seeds; NaN where it was not measured.
    error : float
        Its standard error.
    seeds : int
    why : str
        In what the experiments differ, from which a difference may come; or why it was not measured.

    Examples
    --------
    >>> from gatescope.datatypes.published_number import PublishedNumber
    >>> of = {"what": "loss, LSTM", "published": 8.67, "source": "a paper", "why": "another optimizer"}
    >>> PublishedNumber(**of, measured=8.6, error=0.02, seeds=10).agrees
    True
    """

    what: str
    published: float
    source: str
    measured: float = math.nan
    error: float = math.nan
    seeds: int = 0
    why: str

    @property
    def agrees(self) -> bool | None:
        """Return whether one more run of ours may give the published number: a 95 % interval for it, by Student's t.

        None where there are fewer than two finite numbers to say so, and where the interval is as wide as the numbers
        themselves, as of a share of which one run in five is not like the others: nearly everything lies inside it.
        """
        if self.seeds < 2 or not math.isfinite(self.measured + self.error):
            return None
        from scipy.stats import t

        one_run = self.error * math.sqrt(self.seeds + 1)  # a run's own deviation, and the mean's error
        half = float(t.ppf((1 + _LEVEL) / 2, self.seeds - 1)) * one_run
        if half > 0 and half >= max(abs(self.published), abs(self.measured)):
            return None
        return abs(self.published - self.measured) <= half

    def row(self) -> tuple[str, ...]:
        """Return what a table of several shows of it: both numbers, whether they agree, and why they may not."""
        ours = "not measured" if math.isnan(self.measured) else with_error(self.measured, self.error)
        said = {True: "yes", False: "no", None: "-"}[self.agrees]
        return (self.what, number(self.published), ours, said, self.why, self.source)

    def table(self) -> Table:
        """Return it in a row."""
        return published_table((self,))


def published_table(numbers: Sequence[PublishedNumber]) -> Table:
    """Return a table of published numbers beside ours, a row each."""
    header = ("", "published", "measured here", "agrees", "what is different", "source")
    return Table(header, [each.row() for each in numbers], "Published numbers beside ours")
