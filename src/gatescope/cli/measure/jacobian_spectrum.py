"""Lags of ``gatescope measure jacobian-spectrum``: a step costs some n^3 operations, so there are bounds by default."""

from __future__ import annotations

from typing import Any

from gatescope.cli.measure.command import Job
from gatescope.cli.measure.gradient_flow import reach, spaced

_LAGS = 60
_LONGEST = 1000


def arguments(job: Job, arguments: dict[str, Any]) -> None:
    """Choose lags up to 1,000, unless they were given."""
    if arguments["lags"] is None and job.series is not None:
        longest = min(_LONGEST, reach(arguments["source_step"], len(job.series.values)))
        arguments["lags"] = spaced(longest, _LAGS)
