"""Published numbers of the 20,000-step experiment beside those measured here."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes import LongSeriesResult
from gatescope.datatypes.long_series import (
    FINAL_EPOCHS,
    LAST_EPOCHS,
    PUBLISHED_UNITS,
    SPIKE,
    STAY,
    TREND_WIDTH,
    Interval,
)
from gatescope.reporting.text import counted, listing

SOURCE = '"LSTM vs GRU: Experimental Comparison" (2019), one run of each cell'
PUBLISHED: dict[str, dict[str, float]] = {  # read off its curves, but for the time, which is in its text
    "loss at the start": {"lstm": 4.5, "gru": 4.5},
    "loss at epochs 60 to 90": {"lstm": 2.0, "gru": 2.0},
    "final loss": {"lstm": 1.22, "gru": 1.06},
}
PLATEAU = (60, 90)
LSTM_LOWER = (30, 470)  # epochs between which the published curve of the LSTM is the lower one
# Where a crossing agrees: a factor of two either way, fixed before the full experiment had ended.  The published epoch
# is of one run a cell, read off a curve, and learning goes by ratios of epochs: 235 is as far from 470 as 940 is.
CROSSING = (LSTM_LOWER[1] // 2, 2 * LSTM_LOWER[1])
SPIKES_FROM = 590  # and their heights, in units of the loss
SPIKE_HEIGHTS = (0.2, 0.4)
GRU_FASTER = 0.0384  # fraction of the LSTM's time
TRAINING = {"lr": 1e-3, "clip_norm": 1.0}  # and PUBLISHED_UNITS

COMPARED = "Shape and order of the curves are compared, not absolute losses."
# With fewer epochs, the descent at the start would count as unrest, and its end as what is reached in the end.
JUDGED_FROM = max(LAST_EPOCHS, TREND_WIDTH)
RULES = (
    "Agrees: by the side of 1 on which the 95 % interval of the quotient lies, whatever its size; undecided where 1 is "
    "in it. So the GRU trains faster if its time is less for certain, however much less it is.",
    "The lower median curve agrees if it is the LSTM's in more than half of these epochs; the crossing, if the GRU's "
    f"is lower for good from one of the epochs {CROSSING[0]} to {CROSSING[1]}. With fewer than {JUDGED_FROM} epochs "
    "final loss and volatility are not judged.",
)


def choices(result: LongSeriesResult) -> list[str]:
    """Return what was not published and had to be chosen, a sentence each."""
    settings = result.settings
    clamped = listing(f"{gate} = {value:g}" for gate, value in settings.get("clamp", {}).items())
    same = result.hidden_size == PUBLISHED_UNITS and all(
        settings.get(name) == value for name, value in {**TRAINING, "clamp": None}.items()
    )
    other = f" Published: {PUBLISHED_UNITS} units, learning rate {TRAINING['lr']:g}, norm {TRAINING['clip_norm']:g}."
    return [
        f"Input: the last {result.lookback} price changes, standardized. The published width is not known.",
        "Head: 7 outputs, the hindsight values of a dynamic programme over {flat: stay, long, short; short: hold, "
        "close; long: hold, close}, standardized group by group; loss: the sum of the three groups' mean squared "
        "errors. The published ones are not known.",
        "Reward: position times price change, discount 0.99, no cost. The published constants are not known.",
        f"Data: one set of {result.sequences} series of {result.steps:,} steps, data seed {result.data_seed}, the "
        "same for every cell and every seed of the weights.",
        f"Training{', as published' if same else ''}: one layer of "
        f"{counted(result.hidden_size, 'unit')}, full back-propagation from a zero state, "
        f"an update an epoch on the whole batch, Adam with learning rate {settings.get('lr', math.nan):g}, "
        f"gradients clipped to a norm of {settings.get('clip_norm', math.nan):g}, Keras's initial weights (Glorot, "
        f"orthogonal, forget bias 1); Adam's epsilon is Keras's {settings.get('epsilon', math.nan):g}, which is "
        f"our reading.{f' Gates that keep a value: {clamped}.' if clamped else ''}{'' if same else other}",
    ]


class Row(NamedTuple):
    """One published quantity, and what was measured of it.

    Attributes
    ----------
    quantity : str
    published : str
    measured : str
    agrees : str
        ``"yes"`` or ``"no"`` where the 95 % interval of the paired effect (or, for curves, the median curves) decides
        it, ``"undecided"`` where the interval does not, ``"-"`` for what is not compared, or would need more epochs.
        The crossing agrees if the GRU's median curve is the lower one for good from an epoch within a factor of two of
        the published one; of quotients only the side of 1 is compared, not how far from it they are.
    """

    quantity: str
    published: str
    measured: str
    agrees: str


def beside_published(result: LongSeriesResult) -> list[Row]:
    """Return the published quantities beside the measured ones; of cells other than LSTM and GRU, numbers alone."""
    pair = {"lstm", "gru"} <= set(result.cells)
    rows = _losses(result)
    if pair:
        rows += [_lower(result), _crossing(result)]
    final = result.final_loss()
    name = f"final loss (median of the last {FINAL_EPOCHS} epochs)"
    rows += _by_cell(result, name, final, _known("final loss"))
    if pair:
        ratio = result.ratio(final)
        published = PUBLISHED["final loss"]["gru"] / PUBLISHED["final loss"]["lstm"]
        agrees = _side(ratio, below=True) if result.epochs >= JUDGED_FROM else "-"
        rows.append(Row("final loss, GRU / LSTM", f"{published:.2f}", ratio.text(), agrees))
    rows += _volatility(result, pair)
    threads = result.provenance.get("threads")
    name = f"seconds an epoch on {counted(threads, 'thread')}" if threads else "seconds an epoch"
    rows += _by_cell(result, name, result.seconds, {}, other="not known")
    if pair:
        ratio = result.ratio(result.seconds)
        less = Interval(1 - ratio.value, 1 - ratio.high, 1 - ratio.low)
        saved = Interval(*(100 * value for value in less)).text(" % of the time saved")
        faster = f"yes, by {100 * GRU_FASTER:.2f} % of the time (agrees: by however much)"
        rows.append(Row("GRU trains faster", faster, saved, _side(ratio, below=True)))
    if result.preliminary:
        rows = [
            row if row.agrees == "-" else row._replace(agrees=f"preliminary: {row.agrees}") for row in rows
        ]
    return rows


def _losses(result: LongSeriesResult) -> list[Row]:
    start, plateau = result.loss_at(1), result.loss_at(*PLATEAU)
    name = f"loss at epochs {PLATEAU[0]} to {PLATEAU[1]}"
    before, after = PUBLISHED["loss at the start"], PUBLISHED[name]
    fractions = {cell: _about(after[cell] / before[cell]) for cell in before}
    return [
        *_by_cell(result, "loss at epoch 1", start, _known("loss at the start")),
        *_by_cell(result, name, plateau, _known(name)),
        *_by_cell(result, "the same as a fraction of the start", plateau / start, fractions),
    ]


def _known(key: str) -> dict[str, str]:
    return {cell: _about(value) for cell, value in PUBLISHED[key].items()}


def _by_cell(
    result: LongSeriesResult,
    name: str,
    values: Array,
    published: dict[str, str],
    *,
    other: str = "-",
    unit: str = "",
) -> list[Row]:
    """Return a row a cell, with the mean of its values; `other` stands for what was not published."""
    return [
        Row(f"{name}, {cell.upper()}", published.get(cell, other), result.mean(values, cell).text(unit), "-")
        for cell in result.cells
    ]


def _lower(result: LongSeriesResult) -> Row:
    begin, end = LSTM_LOWER
    fraction = result.lower_fraction(begin, end)
    last = min(end, result.epochs)
    measured = (
        f"LSTM lower in {fraction:.0%} of epochs {begin} to {last}" if last >= begin else "no such epochs"
    )
    agrees = "-" if result.epochs < end else "yes" if fraction > 0.5 else "no"
    return Row("lower median curve", f"LSTM, epochs {begin} to {end}", measured, agrees)


def _crossing(result: LongSeriesResult) -> Row:
    crossings = result.crossings()
    text = (
        "; ".join(f"{c.lower.upper()} lower from epoch {c.epoch}" for c in crossings)
        or "the median curves do not cross"
    )
    epochs = result.crossing_epochs()
    known = epochs[np.isfinite(epochs)]
    text += f". Single seeds: GRU stays below after crossing in {known.size} of {epochs.size}"
    if known.size:
        text += f", from epoch {np.median(known):.0f} (median; {known.min():.0f} to {known.max():.0f})"
    begin, end = CROSSING
    inside = bool(crossings) and crossings[-1].lower == "gru" and begin <= crossings[-1].epoch <= end
    # With fewer epochs a crossing may be still to come.
    agrees = "-" if result.epochs < end + STAY else "yes" if inside else "no"
    published = f"GRU lower from about epoch {LSTM_LOWER[1]} (agrees: {begin} to {end})"
    return Row("crossing", published, text, agrees)


def _volatility(result: LongSeriesResult, pair: bool) -> list[Row]:
    last = min(LAST_EPOCHS, result.epochs)
    volatility, spikes = result.volatility(), result.spikes()
    heights = " to ".join(map(str, SPIKE_HEIGHTS))
    published = {"lstm": f"of {heights} from about epoch {SPIKES_FROM}", "gru": "none reported"}
    trend = f"sd of log loss less its median over {TREND_WIDTH}, last {last}"
    rows = _by_cell(
        result, f"spikes above {SPIKE:.0%} in the last {last} epochs", spikes, published, unit=" a run"
    )
    rows += _by_cell(result, f"volatility ({trend})", volatility, {}, other="not measured")
    if pair:
        ratio = result.ratio(volatility, "lstm", "gru")
        agrees = _side(ratio, below=False) if result.epochs >= JUDGED_FROM else "-"
        rows.append(Row("volatility, LSTM / GRU", "above 1", ratio.text(), agrees))
    return rows


def _side(ratio: Interval, *, below: bool) -> str:
    """Return whether the whole interval lies on that side of 1."""
    if math.isnan(ratio.low) or ratio.low <= 1 <= ratio.high:
        return "undecided"
    return "yes" if (ratio.high < 1) == below else "no"


def _about(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
