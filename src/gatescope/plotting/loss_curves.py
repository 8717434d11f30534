"""How training went: losses, gradient norms and half-lives against the epoch, seeds as bands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from gatescope.datatypes import Array
from gatescope.datatypes.training_run import Status, TrainingRun
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.plotting import _palette, _seeds
from gatescope.plotting._seeds import Seeds, summarise
from gatescope.plotting._style import count_axis, drawing_on, plain_text


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
    baseline_label: str = "baseline",
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
        By label, shown as it is: no ``$`` begins mathematics.  A label has the colour of its runs' cell.
    validation : bool
        Draw the validation loss of those that were validated.
    band : (float, float), optional
        Two quantiles of the seeds; ``(0, 1)`` is from the least to the greatest, None draws no band.
    scale : {"log", "linear"}
        Of the loss.
    baseline : float, optional
        A loss to compare with, drawn as a line; that of a `Batch`, for example (NaN draws none).
    baseline_label : str
        What that is, in words.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the lines of the training loss, for example ``linewidth``.

    Returns
    -------
    Axes

    Raises
    ------
    DtypeError
        If `runs` holds something else than TrainingRun objects, or `baseline` is no number.
    ValueRangeError
        If there is no run, or none has an epoch (the message says how it ended), `band` is no pair of quantiles, or
        `scale` is not known.

    Examples
    --------
    >>> import gatescope as gs
    >>> task = gs.tasks.adding(steps=10, sequences=20, seed=0)
    >>> run = gs.train(gs.init_stack("gru", hidden_size=8, heads=task, seed=0), task, epochs=3)
    >>> ax = gs.plotting.plot_loss_curves({"gru": run}, baseline=task.baseline, baseline_label=task.baseline_of)
    >>> len(ax.lines[0].get_xdata())
    3
    """
    curves = []
    drawn, note = _seeds.runs_to_draw(runs)
    for label, found in drawn.items():
        histories = [run.history for run in found]
        diverged = [run.status == Status.DIVERGED for run in found]
        judged = [k for k, history in enumerate(histories) if history.validation_epoch.size]
        ends = [
            _seeds.last_finite(h.epoch, h.loss) for h, bad in zip(histories, diverged, strict=True) if bad
        ]
        curves.append(
            _Curve(
                label=label,
                cell=_seeds.cell_name(found[0]),
                loss=_seeds.align([h.epoch for h in histories], [h.loss for h in histories], diverged),
                ends=[end for end in ends if end is not None],
                diverged=sum(diverged),
                stopped=sum(run.status == Status.EARLY_STOPPED for run in found),
                validation=_seeds.align(
                    [histories[k].validation_epoch for k in judged],
                    [histories[k].validation_loss for k in judged],
                    [diverged[k] for k in judged],
                )
                if validation and judged
                else None,
            )
        )
    return _draw(curves, note, band, scale, (baseline, baseline_label), ax, artist_kwargs)


def draw_loss_curves(
    curves: Mapping[str, tuple[Any, Any]],
    *,
    band: tuple[float, float] | None = (0.1, 0.9),
    scale: Literal["log", "linear"] = "log",
    baseline: float | None = None,
    baseline_label: str = "baseline",
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw losses that were stored as arrays, as `plot_loss_curves` draws those of runs.

    Parameters
    ----------
    curves : mapping of str to (epochs (E,), losses (seeds, E) or (E,))
        By label; the first word of it that names a cell with a colour of its own chooses the colour.  A seed whose
        losses end in NaN or infinity diverged there.
    band, scale, baseline, baseline_label, ax, **artist_kwargs
        As for `plot_loss_curves`.

    Returns
    -------
    Axes

    Raises
    ------
    ShapeError
        If losses and epochs do not fit each other.
    DtypeError, ValueRangeError
        As `plot_loss_curves` does.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> losses = np.exp(-np.linspace(0, 3, 50)) * np.array([[1.0], [1.2], [0.9]])
    >>> ax = gs.plotting.draw_loss_curves({"lstm": (np.arange(1, 51), losses)}, band=(0, 1))
    >>> ax.get_legend().get_texts()[0].get_text()
    'lstm (3 seeds)'
    """
    if not isinstance(curves, Mapping):
        raise DtypeError(f"curves must map labels to (epochs, losses), not {curves!r:.80}")
    if not curves:
        raise ValueRangeError("curves is empty; give at least one label with its epochs and losses")
    made = []
    for label, pair in curves.items():
        epoch, losses = _check_pair(label, pair)
        diverged = ~np.isfinite(losses[:, -1]) if epoch.size else np.zeros(len(losses), bool)
        ends = [_seeds.last_finite(epoch, row) for row in losses[diverged]]
        made.append(
            _Curve(
                label=str(label),
                cell=next((w for w in re.findall(r"\w+", str(label)) if w in _palette.CELLS), str(label)),
                loss=_seeds.align([epoch] * len(losses), list(losses), diverged.tolist()),
                ends=[end for end in ends if end is not None],
                diverged=int(diverged.sum()),
                stopped=0,
                validation=None,
            )
        )
    return _draw(made, "", band, scale, (baseline, baseline_label), ax, artist_kwargs)


def _draw(
    curves: list[_Curve],
    note: str,
    band: Any,
    scale: str,
    baseline: tuple[float | None, str],
    ax: Axes | None,
    keywords: dict[str, Any],
) -> Axes:
    if scale not in ("log", "linear"):
        raise ValueRangeError(f"scale={scale!r} is not known; choose 'log' or 'linear'")
    quantiles = _seeds.check_band(band)
    level = _seeds.check_number_or_none("baseline", baseline[0])
    training = [summarise(curve.loss, quantiles) for curve in curves]
    judged = [summarise(curve.validation, None) if curve.validation else None for curve in curves]
    styles = _palette.cell_styles(curve.cell for curve in curves)
    with drawing_on(ax, 7.2, 4.6) as axes:
        axes.set_yscale(scale)
        _seeds.set_limits(axes, [*training, *(summary for summary in judged if summary)], level)
        for k, (curve, summary, style) in enumerate(zip(curves, training, styles, strict=True)):
            place = (k, len(curves))
            text = _seeds.counted(curve.label, curve.loss.table.shape[1], curve.diverged, curve.stopped)
            _seeds.draw_summary(axes, summary, style, place, label=text, keywords=keywords)
            check = judged[k]
            if check is not None:
                look: dict[str, Any] = {
                    "linestyle": _palette.DASH,
                    "markerfacecolor": "white",
                    "linewidth": 1.3,
                }
                _seeds.draw_summary(axes, check, style, place, **look)
            cross: dict[str, Any] = {"marker": "X", "markersize": 11, "markeredgecolor": "white", "zorder": 5}
            for epoch, loss in curve.ends:
                axes.plot([epoch], [loss], linestyle="none", color=style.color, **cross)
        if level is not None:
            text = f"{plain_text(baseline[1])}: {level:.4g}"
            axes.axhline(level, color=_palette.GREY, linewidth=1.4, linestyle=_palette.DOT, label=text)
        count_axis(axes.xaxis)
        axes.set_xlabel(_seeds.epochs_label(max(summary.size for summary in training)))
        axes.set_ylabel("loss")
        kinds = [
            _seeds.seeds_drawn(quantiles, max(curve.loss.table.shape[1] for curve in curves)),
            "dashed: validation" if any(judged) else "",
            "cross: diverged" if any(curve.ends for curve in curves) else "",
            note,
        ]
        _seeds.legend_above(axes, kinds)
    return axes


def _check_pair(label: object, pair: Any) -> tuple[Array, Array]:
    try:
        epochs, losses = pair
        epoch, table = np.asarray(epochs, np.float64), np.asarray(losses, np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            f"curves[{label!r}] must be (epochs (E,), losses (seeds, E)) of real numbers ({error})"
        ) from None
    table = table[None] if table.ndim == 1 else table
    if epoch.ndim != 1 or table.ndim != 2 or table.shape[1] != epoch.size or not table.size:
        raise ShapeError(
            f"curves[{label!r}] has epochs {np.shape(epochs)} and losses {np.shape(losses)}; "
            "give epochs (E,) and losses (seeds, E), with at least one epoch and one seed"
        )
    if not (np.diff(epoch) > 0).all():
        raise ValueRangeError(f"curves[{label!r}] has epochs that do not ascend; sort them, each once")
    return epoch, table
