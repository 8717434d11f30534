"""The 20,000-step experiment over several seeds: statements 27a and 28a."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np

from gatescope.datatypes import Array, Effect, LongSeriesResult
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.long_series.run import run_long_series
from gatescope.experiments.seeds.code import code_fingerprint
from gatescope.experiments.seeds.judge import judge
from gatescope.experiments.seeds.statistics import paired
from gatescope.reporting.text import percent

MARGIN = math.log(1.05)


@statement(
    "27a",
    "after 1,000 epochs on 40 series of 20,000 steps the GRU has the lower loss",
    sources="M",
    kind="statistical",
    suite="L",
    criterion="Supported if its final loss, the median of the last ten epochs, is lower over paired seeds by "
    "Student's and the sign-flip test; equal if the ratio is inside a margin of 1.05.",
)
def final_loss(study: Study) -> Finding:
    return judge_final_loss(_curves(study))


def judge_final_loss(curves: LongSeriesResult) -> Finding:
    """Return what loss curves say of statement 27a."""
    lstm, gru = (curves.final_loss()[curves.index(cell)] for cell in ("lstm", "gru"))
    # What whoever ran each once would have seen.
    once = float((gru[:, None] < lstm[None, :]).mean())
    finding = _judged(curves, np.log(gru / lstm), "final loss, gru over lstm", "lower")
    seen = f"one run of each shows a lower loss of the GRU in {percent(once)} of all pairs"
    reason = f"{finding.judgement.reason}; {seen}"
    return dataclasses.replace(finding, judgement=dataclasses.replace(finding.judgement, reason=reason))


@statement(
    "28a",
    "the loss of an LSTM is more volatile",
    sources="M",
    kind="statistical",
    suite="L",
    criterion="Supported if the standard deviation of the logarithm of its loss, less a running median, over the "
    "last 400 epochs, is greater than the GRU's by both tests.",
)
def volatility(study: Study) -> Finding:
    return judge_volatility(_curves(study))


def judge_volatility(curves: LongSeriesResult) -> Finding:
    """Return what loss curves say of statement 28a."""
    lstm, gru = (curves.volatility()[curves.index(cell)] for cell in ("lstm", "gru"))
    return _judged(curves, np.log(lstm / gru), "volatility, lstm over gru", "higher")


def _curves(study: Study) -> LongSeriesResult:
    """Return the loss curves of both cells, which take minutes a run; all of the study's seeds are made here."""
    return run_long_series(Path(study.folder) / "long-series", seeds=study.seeds, progress=study.progress)


def _judged(curves: LongSeriesResult, differences: Array, name: str, claim: str) -> Finding:
    effect: Effect = paired(differences, margin=MARGIN, name=name)
    # The files of these runs tell no code: it is what they would be made with now.
    codes = "".join(code_fingerprint(cell, "long_series") for cell in curves.cells)
    return Finding(
        judgement=judge([effect], claim=claim),
        effects=(effect,),
        preliminary=curves.preliminary,
        code=hashlib.sha256(codes.encode()).hexdigest()[:16],
        runs=curves.loss[..., 0].size,
        seconds=float(curves.seconds.sum()) * curves.loss.shape[-1],
    )
