"""How training went: losses, gradient norms and half-lives against the epoch, seeds as bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes

from gatescope.checks.numbers import check_choice, check_flag, check_number, check_type, check_unused, is_nan
from gatescope.datatypes import Status, TrainingRun
from gatescope.plotting import _palette, _seeds
from gatescope.plotting._axes import count_axis
from gatescope.plotting._checks import check_drawable
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._seeds import Seeds, summarize
from gatescope.plotting._text import legend_above, plain_text
from gatescope.reporting.text import number

_VALIDATION: dict[str, Any] = {"linestyle": _palette.DASH, "markerfacecolor": "white", "linewidth": 1.3}
_BASELINE = "baseline"
_CROSS: dict[str, Any] = {"marker": "X", "markersize": 11, "markeredgecolor": "white", "zorder": 5}


class _Curve(NamedTuple):
    label: str
    cell: str
    loss: Seeds
    ends: list[tuple[float, float]]  # epoch and loss where a seed diverged
    diverged: int
    stopped: int
    validation: Seeds | None


def plot_loss_curves(
    runs: Mapping[str, TrainingRun | Sequence[TrainingRun]],
    *,
    validation: bool = True,
    band: tuple[float, float] | None = (0.1, 0.9),
    scale: Literal["log", "linear"] = "log",
    baseline: float | None = None,
    baseline_label: str | None = None,
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw the loss against the epoch: the seeds' median as a line, with a band between two of their quantiles.

    Every seed counts to the end of the longest: one that stopped early with its last loss, one that diverged as worse
    than any number; otherwise the line would show the survivors only.  A cross marks where a seed diverged, and the
    band is faint where so many have that it has no upper edge.  Runs that ended before their first epoch did are named
    above the axes; those of them that were interrupted do not count, as nothing is known of them.
    The validation loss is a dashed line with hollow marks.  More than 2,000 epochs are drawn as means over equal
    runs of epochs, and the axis says so.

    Parameters
    ----------
    runs : mapping of str to TrainingRun, or to a sequence of them (the seeds)
        By label, shown as it is: no ``$`` begins mathematics.  A label has the color of its runs' cell.
    validation : bool
        Draw the validation loss of those that were validated.
    band : (float, float), optional
        Two quantiles of the seeds; ``(0, 1)`` is from the least to the greatest, None draws no band.
    scale : {"log", "linear"}
        Of the loss.
    baseline : float, optional
        A loss to compare with, drawn as a line; that of a `Batch`, for example (NaN draws none).
    baseline_label : str, optional
        What that is, for the legend.  Default: "baseline".
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the lines of the training loss, for example ``linewidth``.

    Returns
    -------
    Axes

    Raises
    ------
    ValueRangeError
        If none of the runs has an epoch; the message says how it ended.

    Examples
    --------
    >>> import gatescope as gs
    >>> task = gs.tasks.adding(steps=10, sequences=20, seed=0)
    >>> run = gs.train(gs.init_stack("gru", hidden_size=8, heads=task, seed=0), task, epochs=3)
    >>> ax = gs.plotting.plot_loss_curves({"gru": run}, baseline=task.baseline, baseline_label=task.baseline_of)
    >>> len(ax.lines[0].get_xdata())
    3
    """
    check_choice("scale", scale, ("log", "linear"))
    check_flag("validation", validation)
    quantiles = _seeds.check_band(band)
    # A NaN is the baseline of a task that has none.
    level = None if baseline is None or is_nan(baseline) else check_number("baseline", baseline)
    if level is not None:
        check_drawable("baseline", level, logarithmic=scale == "log")
    check_type("baseline_label", baseline_label, str, type(None), advice="give a text")
    if baseline is None:
        check_unused("without `baseline`", baseline_label=baseline_label)
    curves = []
    drawn, note = _seeds.runs_to_draw(runs)
    for label, some in drawn.items():
        histories = [run.history for run in some]
        diverged = [run.status == Status.DIVERGED for run in some]
        checked = [k for k, history in enumerate(histories) if history.validation_epoch.size]
        ends = [
            _seeds.last_finite(h.epoch, h.loss) for h, bad in zip(histories, diverged, strict=True) if bad
        ]
        curves.append(
            _Curve(
                label=label,
                cell=_seeds.cell_name(some[0]),
                loss=_seeds.align([h.epoch for h in histories], [h.loss for h in histories], diverged),
                ends=[end for end in ends if end is not None],
                diverged=sum(diverged),
                stopped=sum(run.status == Status.EARLY_STOPPED for run in some),
                validation=_seeds.align(
                    [histories[k].validation_epoch for k in checked],
                    [histories[k].validation_loss for k in checked],
                    [diverged[k] for k in checked],
                )
                if validation and checked
                else None,
            )
        )
    training = [summarize(curve.loss, quantiles) for curve in curves]
    validation_losses = [summarize(curve.validation, None) if curve.validation else None for curve in curves]
    styles = _palette.cell_styles(curve.cell for curve in curves)
    with drawing_on(ax, 7.2, 4.6) as axes:
        axes.set_yscale(scale)
        _seeds.set_limits(axes, [*training, *(summary for summary in validation_losses if summary)], level)
        for k, (curve, summary, style) in enumerate(zip(curves, training, styles, strict=True)):
            turn = (k, len(curves))
            text = _seeds.label_with_seeds(
                curve.label, curve.loss.table.shape[1], curve.diverged, curve.stopped
            )
            _seeds.draw_summary(axes, summary, style, turn, label=text, keywords=artist_kwargs)
            validated = validation_losses[k]
            if validated is not None:
                _seeds.draw_summary(axes, validated, style, turn, **_VALIDATION)
            for epoch, loss in curve.ends:
                axes.plot([epoch], [loss], linestyle="none", color=style.color, **_CROSS)
        if level is not None:
            text = f"{plain_text(baseline_label or _BASELINE)}: {number(level)}"
            axes.axhline(level, color=_palette.GREY, linewidth=1.4, linestyle=_palette.DOT, label=text)
        count_axis(axes.xaxis)
        axes.set_xlabel(_seeds.epochs_label(max(summary.size for summary in training)))
        axes.set_ylabel("loss")
        kinds = [
            _seeds.seeds_drawn(quantiles, max(curve.loss.table.shape[1] for curve in curves)),
            "dashed: validation" if any(validation_losses) else "",
            "cross: diverged" if any(curve.ends for curve in curves) else "",
            note,
        ]
        legend_above(axes, _seeds.title_of(kinds))
    return axes
