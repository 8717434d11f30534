"""Curves of several seeds as one line and a band, and what the pictures of training have in common."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, MaxNLocator, NullFormatter

from gatescope.datatypes import Array
from gatescope.datatypes.training_run import Status, TrainingRun
from gatescope.errors import DtypeError, ValueRangeError
from gatescope.plotting import _palette, _trace_view
from gatescope.plotting._style import line_keywords, plain_text

POINTS = 2000  # more epochs than this are drawn as means: finer than the pixels of a figure

_COLUMNS = 13  # letters an inch, on average, of the text above the axes
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
    """All seeds over all epochs that any of them has.

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
    """The last epoch with a finite value, and that value."""
    finite = np.flatnonzero(np.isfinite(value))
    return (float(epoch[finite[-1]]), float(value[finite[-1]])) if finite.size else None


def summarise(seeds: Seeds, band: Band) -> Summary:
    """Median and band over the seeds; infinity is the greatest of values, NaN does not count."""
    epoch, table = seeds.epoch.astype(np.float64), seeds.table
    size = 1
    if epoch.size > POINTS:
        bins = _trace_view.bin_means(table, POINTS)
        epoch, table, size = _trace_view.bin_means(epoch, POINTS).mean, bins.mean, bins.size
    found = np.full((3, epoch.size), np.nan)
    known = ~np.isnan(table).all(axis=1)
    if known.any():
        capped = np.minimum(table[known], _CAP)
        found[0, known] = np.nanmedian(capped, axis=1)
        if band is not None and table.shape[1] > 1:
            # The nearest seed, not a point between two: one that diverged would take the band to infinity with it.
            found[1:, known] = np.nanquantile(capped, band, axis=1, method="nearest")
    found[found > _CAP / 1e20] = np.inf
    return Summary(epoch, found[0], found[1], found[2], size)


def finite_values(summaries: Iterable[Summary], *, positive: bool) -> Array:
    """All finite values that are to be drawn, on a logarithmic axis those above 0."""
    parts = [np.concatenate([s.middle, s.low, s.high]) for s in summaries]
    values = np.concatenate([*parts, np.zeros(0)])
    kept: Array = values[np.isfinite(values) & ((values > 0) | (not positive))]
    return kept


def draw_summary(
    axes: Axes,
    summary: Summary,
    style: _palette.Style,
    place: tuple[int, int],
    *,
    label: str = "_line",
    keywords: dict[str, Any] | None = None,
    **ours: Any,
) -> None:
    """Draw line and band within the limits that the axes already have; `place` is (which curve, of how many)."""
    bottom, top = axes.get_ylim()
    low = np.where(np.isfinite(summary.low), np.maximum(summary.low, bottom), np.nan)
    endless = np.isposinf(summary.high)
    beside = endless.copy()  # with the neighbours, from which the edge rises to infinity
    beside[1:] |= endless[:-1]
    beside[:-1] |= endless[1:]
    high = np.where(endless, top, summary.high)
    for shown, alpha in (
        (np.where(endless, np.nan, high), 0.2),
        (np.where(beside, high, np.nan), 0.07),  # faint: it is all room up to infinity
    ):
        if not np.isnan(low + shown).all():
            axes.fill_between(
                summary.epoch, low, shown, color=style.color, alpha=alpha, linewidth=0, zorder=2
            )
    middle = np.where(np.isfinite(summary.middle), summary.middle, np.nan)
    # Dashes cannot be read on a curve that is noisy, so the cells differ by marks set apart from each other.
    every = max(1, summary.epoch.size // _MARKS)
    first = (place[0] * every // max(place[1], 1)) % every
    axes.plot(
        summary.epoch,
        middle,
        **line_keywords(
            keywords or {},
            **{
                "color": style.color,
                "marker": style.marker,
                "markevery": (first, every),
                "label": label,
                "zorder": 3,
                "linewidth": 1.6,
                **ours,
            },
        ),
    )


def check_band(band: Any) -> Band:
    """Two quantiles in ascending order, or None."""
    if band is None:
        return None
    try:
        low, high = band
        numbers = all(isinstance(v, Real) and not isinstance(v, bool) for v in (low, high))
    except (TypeError, ValueError):
        numbers = False
    if not numbers or not 0 <= low < high <= 1:  # written so that NaN fails too
        raise ValueRangeError(
            f"band={band!r} must be two quantiles in ascending order, such as (0.1, 0.9), or None for no band"
        )
    return float(low), float(high)


def band_name(band: tuple[float, float]) -> str:
    """A band in words."""
    if band == (0.0, 1.0):
        return "least to greatest"
    return f"{100 * band[0]:g} to {100 * band[1]:g} %"


def check_number_or_none(name: str, value: Any) -> float | None:
    """A real number, or None; a NaN, of a task that has no such number, is None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise DtypeError(f"{name}={value!r} must be a real number, or None")
    return float(value) if math.isfinite(value) else None


def log_ticks(axis: Axis) -> None:
    """Several plain numbers however short or long a logarithmic axis is; powers of ten on a very long one."""
    low, high = axis.get_view_interval()
    if high / low < 12:
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    if low < 1e-4 or high > 1e6:
        axis.set_major_formatter(LogFormatterMathtext())
    else:
        axis.set_major_formatter(FuncFormatter(lambda v, _at: f"{v:,.0f}" if v >= 1000 else f"{v:.4g}"))
    axis.set_minor_formatter(NullFormatter())


def set_limits(axes: Axes, summaries: list[Summary], level: float | None) -> None:
    """Set the limits of the loss before anything is drawn: bands that reach to infinity end there."""
    log = axes.get_yscale() == "log"
    values = finite_values(summaries, positive=log)
    if level is not None and (level > 0 or not log):
        values = np.append(values, level)
    if not values.size:
        values = np.array([1.0])  # nothing to draw: any limits are right
    low, high = float(values.min()), float(values.max())
    if log:
        room = max((high / low) ** 0.05, 1.05)
        axes.set_ylim(low / room, high * room)
        log_ticks(axes.yaxis)
    else:
        room = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)


def legend_above(axes: Axes, kinds: list[str]) -> None:
    figure: Any = axes.figure
    # In inches, less the margins: a text wider than the axes would push them together until nothing is left.
    width = figure.bbox.width / figure.dpi - 1.8
    lines = textwrap.wrap("; ".join(kind for kind in kinds if kind), max(20, int(_COLUMNS * width)))
    title = "\n".join(lines) or None
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), title=title, alignment="left", ncols=1)


def seeds_drawn(band: Band, seeds: int) -> str:
    if seeds < 2:
        return ""
    return "line: median of the seeds" + (f"; band: {band_name(band)} of them" if band else "")


def counted(label: str, seeds: int, diverged: int = 0, stopped: int = 0) -> str:
    parts = [f"{seeds} seeds"] if seeds > 1 else []
    if diverged:
        parts.append("diverged" if seeds == 1 else f"{diverged} diverged")
    if stopped:
        parts.append("stopped early" if seeds == 1 else f"{stopped} stopped early")
    return plain_text(label) + (f" ({', '.join(parts)})" if parts else "")


def epochs_label(size: int) -> str:
    return "epoch" if size == 1 else f"epoch (means of {size} epochs)"


def cell_name(run: TrainingRun) -> str:
    """The cell of all layers, or the cells of each."""
    return "+".join(dict.fromkeys(run.model.cells))


def runs_to_draw(runs: object) -> tuple[dict[str, list[TrainingRun]], str]:
    """The runs of each label that have a course, and in words those that ended before their first epoch did.

    Of these, one that diverged stays: it counts as worse than any number.  One that was interrupted tells nothing.
    """
    given = check_runs(runs)
    listed = [(label, run) for label, some in given.items() for run in some]
    if not any(run.history.epoch.size for _, run in listed):
        label, run = listed[0]
        which = "" if len(listed) == 1 else f", nor has any other of the {len(listed)} runs"
        raise ValueRangeError(
            f"runs[{label!r}] has no epoch to draw{which}: it ended so: {run.message or run.status}; train for at "
            "least one epoch"
        )
    without: dict[tuple[str, Status], list[int]] = {}
    for label, run in listed:
        if not run.history.epoch.size:
            without.setdefault((label, run.status), []).append(run.seed)
    drawn = {
        label: [run for run in some if run.history.epoch.size or run.status == Status.DIVERGED]
        for label, some in given.items()
    }
    notes = [f"{plain_text(label)} {_seeds(seeds)} ({status})" for (label, status), seeds in without.items()]
    note = f"without an epoch: {', '.join(notes)}" if notes else ""
    return {label: some for label, some in drawn.items() if some}, note


def _seeds(seeds: list[int]) -> str:
    """The first few of them by number."""
    few = ", ".join(map(str, seeds[:_NAMED])) + (f" and {len(seeds) - _NAMED} more" if seeds[_NAMED:] else "")
    return f"seed{'s' * (len(seeds) > 1)} {few}"


def check_runs(runs: object) -> dict[str, list[TrainingRun]]:
    if not isinstance(runs, Mapping):
        raise DtypeError(
            "runs must map labels to TrainingRun objects, as gatescope.train returns them, or to sequences of them,"
            f" not {runs!r:.80}; give {{'lstm': run}}"
        )
    if not runs:
        raise ValueRangeError("runs is empty; give at least one label with its runs")
    found = {}
    for label, given in runs.items():
        listed = [given] if isinstance(given, TrainingRun) else given
        if not isinstance(listed, Sequence) or not all(isinstance(run, TrainingRun) for run in listed):
            raise DtypeError(
                f"runs[{label!r}] must be a gatescope TrainingRun or a sequence of them, not {given!r:.80}"
            )
        if not listed:
            raise ValueRangeError(f"runs[{label!r}] holds no run; give at least one")
        found[str(label)] = list(listed)
    return found
