"""The 20,000-step experiment over several seeds: statements 27a and 28a."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.datatypes import Array, Effect, LongSeriesResult
from gatescope.experiments.claims.measured import beside
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.long_series.run import run_long_series
from gatescope.experiments.long_series.store import code_of
from gatescope.experiments.seeds.judge import judge
from gatescope.experiments.seeds.statistics import paired
from gatescope.reporting.text import percent

MARGIN = math.log(1.05)
_QUICK: dict[str, Any] = {"sequences": 4, "steps": 1000, "epochs": 200}


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
    return judge_final_loss(long_curves(study))


def judge_final_loss(curves: LongSeriesResult) -> Finding:
    """Return what loss curves say of statement 27a."""
    lstm, gru = (curves.final_loss()[curves.index(cell)] for cell in ("lstm", "gru"))
    # What whoever ran each once would have seen.
    once = float((gru[:, None] < lstm[None, :]).mean())
    finding = _judged(curves, np.log(gru / lstm), "final loss, gru over lstm", "lower")
    seen = f"one run of each shows a lower loss of the GRU in {percent(once)} of all pairs"
    reason = f"{finding.judgement.reason}; {seen}"
    published = beside(
        finding.effects[0],
        1.06 / 1.22,
        source="M, one run of each",
        why="width of the input, read-out and loss were not published",
    )
    return dataclasses.replace(
        finding,
        judgement=dataclasses.replace(finding.judgement, reason=reason),
        published=(published,),
    )


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
    return judge_volatility(long_curves(study))


def judge_volatility(curves: LongSeriesResult) -> Finding:
    """Return what loss curves say of statement 28a."""
    lstm, gru = (curves.volatility()[curves.index(cell)] for cell in ("lstm", "gru"))
    return _judged(curves, np.log(lstm / gru), "volatility, lstm over gru", "higher")


def long_curves(study: Study, cells: Sequence[str] = ("lstm", "gru"), **options: Any) -> LongSeriesResult:
    """Return the loss curves of cells, which take minutes a run; all of the study's seeds are made here.

    Options are those of `run_long_series`: default are the published settings, in a quick study smaller sizes.
    """
    sizes = _QUICK if study.quick else {}
    return run_long_series(
        Path(study.folder) / "long-series",
        cells=cells,
        seeds=study.seeds,
        executor=study.executor,
        part=study.part,
        progress=study.progress,
        **sizes,
        **options,
    )


def made_of(*curves: LongSeriesResult) -> dict[str, Any]:
    """Return the fields of a `Finding` that tell which runs it stands on."""
    cells = sorted({cell for each in curves for cell in each.cells})
    codes = "".join(map(code_of, cells))  # whose runs alone are taken from the folder
    return {
        "preliminary": any(each.preliminary for each in curves),
        "code": hashlib.sha256(codes.encode()).hexdigest()[:16],
        "runs": sum(each.loss[..., 0].size for each in curves),
        "seconds": sum(float(each.seconds.sum()) * each.loss.shape[-1] for each in curves),
    }


def _judged(curves: LongSeriesResult, differences: Array, name: str, claim: str) -> Finding:
    effect: Effect = paired(differences, margin=MARGIN, name=name)
    return Finding(judgement=judge([effect], claim=claim), effects=(effect,), **made_of(curves))
