"""Curves of several seeds as one line and a band, and what the plots of training have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from gatescope.checks.arrays import check_ascending, check_shape
from gatescope.checks.numbers import check_type
from gatescope.datatypes import Array, Status, TrainingRun
from gatescope.errors import ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._axes import finite_or_nan, line_keywords, log_ticks
from gatescope.plotting._checks import check_results
from gatescope.plotting._reduction import bin_means
from gatescope.plotting._text import plain_text

POINTS = 2000  # more epochs than this are drawn as means: finer than the pixels of a figure

_MARKS = 7  # along a line: enough to tell the lines apart in grey
_NAMED = 5  # seeds that are named one by one
_CAP = 1e300  # stands for infinity in quantiles, since infinity minus infinity is no number

Band = tuple[float, float] | None


class Seeds(NamedTuple):
    """One quantity of several seeds: inf from where a seed diverged, NaN where nothing is known."""

    epoch: Array  # (N,)
    table: Array  # (N, seeds)


class Summary(NamedTuple):
    """What is drawn of several seeds, one value an epoch, or one a run of `size` epochs."""

    epoch: Array
    middle: Array
    low: Array
    high: Array
    size: int


def align(epochs: Sequence[Array], values: Sequence[Array], diverged: Sequence[bool] | None = None) -> Seeds:
    """Return all seeds over all epochs that any of them has.

    Past its end, a seed that diverged is inf, and any other keeps its last value: left out, it would leave a median
    of the survivors.  Without `diverged`, nothing is known past the end.
    """
    union = np.unique(np.concatenate([*epochs, np.zeros(0)]))
    table = np.full((union.size, len(epochs)), np.nan)
    for k, (epoch, value) in enumerate(zip(epochs, values, strict=True)):
        known = np.asarray(value, np.float64)
        table[np.searchsorted(union, epoch), k] = known
        if diverged is None:
            continue
        finite = np.flatnonzero(np.isfinite(table[:, k]))
        end = int(finite[-1]) + 1 if finite.size else 0
        if diverged[k]:
            table[end:, k] = np.inf
        elif finite.size:
            table[end:, k] = table[end - 1, k]
    return Seeds(union, table)


def last_finite(epoch: Array, value: Array) -> tuple[float, float] | None:
    """Return the last epoch with a finite value, and that value."""
    finite = np.flatnonzero(np.isfinite(value))
    return (float(epoch[finite[-1]]), float(value[finite[-1]])) if finite.size else None


def summarize(seeds: Seeds, band: Band) -> Summary:
    """Return median and band over the seeds; infinity is the greatest of values, NaN does not count."""
    epoch, table = seeds.epoch.astype(np.float64), seeds.table
    size = 1
    if epoch.size > POINTS:
        bins = bin_means(table, POINTS)
        epoch, table, size = bin_means(epoch, POINTS).mean, bins.mean, bins.size
    curves = np.full((3, epoch.size), np.nan)
    known = ~np.isnan(table).all(axis=1)
    if known.any():
        capped = np.minimum(table[known], _CAP)
        curves[0, known] = np.nanmedian(capped, axis=1)
        if band is not None and table.shape[1] > 1:
            # The nearest seed, not a point between two: one that diverged would take the band to infinity with it.
            curves[1:, known] = np.nanquantile(capped, band, axis=1, method="nearest")
    curves[curves > _CAP / 1e20] = np.inf
    middle, low, high = curves
    return Summary(epoch, middle, low, high, size)


def draw_summary(
    axes: Axes,
    summary: Summary,
    style: _palette.Style,
    turn: tuple[int, int],
    *,
    label: str = "_line",
    keywords: dict[str, Any] | None = None,
    **ours: Any,
) -> None:
    """Draw line and band within the limits that the axes already have; `turn` is (which curve, of how many)."""
    bottom, top = axes.get_ylim()
    low = np.where(np.isfinite(summary.low), np.maximum(summary.low, bottom), np.nan)
    endless = np.isposinf(summary.high)
    beside = endless.copy()  # with the neighbours, from which the edge rises to infinity
    beside[1:] |= endless[:-1]
    beside[:-1] |= endless[1:]
    high = np.where(endless, top, summary.high)
    for shown, alpha in (
        (np.where(endless, np.nan, high), 0.2),
        (np.where(beside, high, np.nan), 0.07),  # faint: all that is up to infinity
    ):
        if not np.isnan(low + shown).all():
            axes.fill_between(
                summary.epoch, low, shown, color=style.color, alpha=alpha, linewidth=0, zorder=2
            )
    middle = finite_or_nan(summary.middle)
    # Dashes cannot be read on a curve that is noisy, so the cells differ by marks set apart from each other.
    every = max(1, summary.epoch.size // _MARKS)
    first = (turn[0] * every // max(turn[1], 1)) % every
    look: dict[str, Any] = {"color": style.color, "marker": style.marker, "markevery": (first, every)}
    look |= {"label": label, "zorder": 3, "linewidth": 1.6, **ours}
    axes.plot(summary.epoch, middle, **line_keywords(keywords or {}, **look))


def check_band(band: Any) -> Band:
    """Return two quantiles in ascending order, or None."""
    if band is None:
        return None
    quantiles = check_ascending("band", band, least=0, most=1)
    check_shape("band", quantiles, (2,), "two quantiles")
    return float(quantiles[0]), float(quantiles[1])


def set_limits(axes: Axes, summaries: list[Summary], level: float | None) -> None:
    """Set the limits of the loss before anything is drawn: bands that reach to infinity end there."""
    log = axes.get_yscale() == "log"
    levels = [] if level is None else [level]
    values = np.concatenate([*(part for s in summaries for part in (s.middle, s.low, s.high)), levels])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not values.size:
        values = np.array([1.0])  # nothing to draw: any limits are right
    low, high = float(values.min()), float(values.max())
    if log:
        margin = max((high / low) ** 0.05, 1.05)
        axes.set_ylim(low / margin, high * margin)
        log_ticks(axes.yaxis)
    else:
        margin = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)


def title_of(kinds: list[str]) -> str | None:
    """Return the texts as one title of a legend; None if there are none."""
    return "; ".join(kind for kind in kinds if kind) or None


def seeds_drawn(band: Band, seeds: int) -> str:
    """Return what line and band of several seeds are, for a legend."""
    if seeds < 2:
        return ""
    text = "line: median of the seeds"
    if band is None:
        return text
    name = "least to greatest" if band == (0.0, 1.0) else f"{100 * band[0]:g} to {100 * band[1]:g} %"
    return f"{text}; band: {name} of them"


def label_with_seeds(label: str, seeds: int, diverged: int = 0, stopped: int = 0) -> str:
    """Return a label with how many seeds it is of, and how they ended."""
    parts = [f"{seeds} seeds"] if seeds > 1 else []
    if diverged:
        parts.append("diverged" if seeds == 1 else f"{diverged} diverged")
    if stopped:
        parts.append("stopped early" if seeds == 1 else f"{stopped} stopped early")
    return plain_text(label) + (f" ({', '.join(parts)})" if parts else "")


def epochs_label(size: int) -> str:
    """Return the label of an axis of epochs, or of runs of `size` epochs."""
    return "epoch" if size == 1 else f"epoch (means of {size} epochs)"


def cell_name(run: TrainingRun) -> str:
    """Return the cell of all layers, or the cells of each."""
    return "+".join(dict.fromkeys(params.cell for params in run.model.directions().values()))


def runs_to_draw(runs: object) -> tuple[dict[str, list[TrainingRun]], str]:
    """Return the runs of each label that have a history, and in words those that ended before their first epoch did.

    Of these, one that diverged stays and counts as worse than any number; one that was interrupted is left out.
    """
    labeled = check_runs(runs)
    listed = [(label, run) for label, some in labeled.items() for run in some]
    if not any(run.history.epoch.size for _, run in listed):
        label, run = listed[0]
        which = "" if len(listed) == 1 else f", nor has any other of the {len(listed)} runs"
        raise ValueRangeError(
            f"has no epoch to draw{which}: it ended so: {run.message or run.status}",
            argument=f"runs[{label!r}]",
            advice="train for at least one epoch",
        )
    without: dict[tuple[str, Status], list[int]] = {}
    for label, run in listed:
        if not run.history.epoch.size:
            without.setdefault((label, run.status), []).append(run.seed)
    drawn = {
        label: [run for run in some if run.history.epoch.size or run.status == Status.DIVERGED]
        for label, some in labeled.items()
    }
    notes = [f"{plain_text(label)} {_seeds(seeds)} ({status})" for (label, status), seeds in without.items()]
    note = f"without an epoch: {', '.join(notes)}" if notes else ""
    return {label: some for label, some in drawn.items() if some}, note


def _seeds(seeds: list[int]) -> str:
    """Return the first few of them by number."""
    few = ", ".join(map(str, seeds[:_NAMED])) + (f" and {len(seeds) - _NAMED} more" if seeds[_NAMED:] else "")
    return f"seed{'s' * (len(seeds) > 1)} {few}"


def check_runs(runs: Any) -> dict[str, list[TrainingRun]]:
    """Return the runs of each label as lists."""
    advice = "give a mapping of labels to TrainingRuns, or to sequences of them: {'lstm': run}"
    check_type("runs", runs, Mapping, advice=advice)
    if not runs:
        raise ValueRangeError("is empty", argument="runs", advice="give at least one label with its runs")
    return {
        str(label): check_results(f"runs[{label!r}]", some, TrainingRun, "train")
        for label, some in runs.items()
    }
