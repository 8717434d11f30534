"""Lyapunov exponents: how their estimates settle, and all of them against their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from gatescope.checks.numbers import check_choice, check_count, check_index, check_result, check_type
from gatescope.datatypes import Array, LyapunovSpectrum
from gatescope.errors import ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._axes import count_axis, evenly, finite_or_nan, line_keywords
from gatescope.plotting._checks import check_drawable, check_labels, check_results
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._style import is_narrow
from gatescope.plotting._text import legend_above, plain_text
from gatescope.reporting.text import counted, with_error

_SPREAD = 5  # exponents that are drawn by default: more lines than that are hard to tell apart
_SETTLED = 0.03  # of the steps: what the estimates were before that does not stretch the axis
_NEAR_ZERO = 2.0  # times the range of the estimates: farther off, 0 would flatten them
_ZERO_LINE = "zero"
_LAYER_MARKS = "os^DvP"  # of the layers of a stack; full and hollow by turns


def plot_lyapunov_convergence(
    spectrum: LyapunovSpectrum,
    *,
    ks: Sequence[int] | None = None,
    sequence: int = 0,
    scale: Literal["log", "linear"] = "log",
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw the running estimates of some exponents against the steps, and the error band they end in.

    The pale band over the last half of the axis is the exponent with its error on both sides.  The title is the
    spectrum's own verdict.  The line at 0 is in the picture unless that would flatten the estimates.

    Parameters
    ----------
    spectrum : LyapunovSpectrum
    ks : sequence of int, optional
        Which exponents, from 0 (the leading one); negative ones count from the last.  Default: the leading one, the
        last, and up to three evenly between them.
    sequence : int
        Which sequence of the batch.
    scale : {"log", "linear"}
        Of the steps.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the lines, for example ``linewidth``.

    Returns
    -------
    Axes
        Its labelled lines hold the estimates.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=4, seed=0, dtype="float64")
    >>> spectrum = gs.lyapunov_spectrum(params, np.sin(np.arange(600.0))[:, None], transient=100)
    >>> ax = gs.plotting.plot_lyapunov_convergence(spectrum, ks=(0, 1))
    >>> ax.get_ylabel()
    'Lyapunov exponent (nats per step)'
    """
    _check_spectrum(spectrum, "spectrum")
    # One sequence by itself: of several lengths, each has steps of its own.
    spectrum = spectrum.sequence(check_index("sequence", sequence, spectrum.exponents.shape[0], "sequences"))
    chosen = _check_ks(ks, spectrum.exponents.shape[1])
    check_choice("scale", scale, ("log", "linear"))
    step = np.asarray(spectrum.running_step)
    running = finite_or_nan(spectrum.running[:, 0])
    ends, errors = finite_or_nan(spectrum.exponents[0]), spectrum.error[0]
    with drawing_on(ax, 7.2, 4.4) as axes:
        first, last = float(step[0]), float(step[-1])
        half = (first * last) ** 0.5 if scale == "log" else (first + last) / 2
        for k, style in zip(chosen, _palette.unit_styles(len(chosen)), strict=True):
            label = rf"$\lambda_{{{k + 1}}}$: {with_error(spectrum.exponents[0, k], errors[k])}"
            keywords = line_keywords(artist_kwargs, label=label, zorder=3, **style.line(step.size))
            axes.plot(step, running[:, k], **keywords)
            if np.isfinite(errors[k]):
                low, high = ends[k] - errors[k], ends[k] + errors[k]
                band: dict[str, Any] = {"color": style.color, "alpha": 0.22, "linewidth": 0, "zorder": 2}
                axes.fill_between([half, last], [low, low], [high, high], **band)
        _zero_line(axes)
        _limits(axes, step, running[:, chosen], ends[chosen], errors[chosen])
        if scale == "log" and first > 0:
            axes.set_xscale("log")
        else:
            count_axis(axes.xaxis)
        if last > first:
            axes.set_xlim(first, last)
        skipped = f" (the first {spectrum.transient:,} not counted)" if spectrum.transient else ""
        axes.set_xlabel(f"steps{skipped}")
        axes.set_ylabel("Lyapunov exponent (nats per step)")
        verdict = plain_text(spectrum.verdict()[0])
        if is_narrow(axes.figure):
            legend_above(axes, f"{plain_text(spectrum.cell)}: {verdict}", ncols=2)
        else:
            axes.set_title(verdict, loc="left")
            beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "alignment": "left"}
            axes.legend(title=plain_text(spectrum.cell), **beside)
    return axes


def plot_lyapunov_spectrum(
    spectra: LyapunovSpectrum | Sequence[LyapunovSpectrum],
    *,
    labels: Sequence[str] | None = None,
    sequence: int = 0,
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw all exponents against their number, with error bars, and mark the Kaplan-Yorke dimension.

    The dimension is where the sum of the exponents from the leading one on, taken linear between them, falls to 0: a
    star on the zero line.  It is 0 where even the leading exponent is negative, and not known where the sum of those
    that were computed is still positive.

    Parameters
    ----------
    spectra : LyapunovSpectrum or sequence of LyapunovSpectrum
    labels : sequence of str, optional
        One a spectrum.  Default: the names of the cells.
    sequence : int
        Which sequence of the batch.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the lines, for example ``linewidth``.

    Returns
    -------
    Axes
        Its labelled lines hold the exponents at 1, 2, ..., k.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=4, seed=0, dtype="float64")
    >>> spectrum = gs.lyapunov_spectrum(params, np.sin(np.arange(600.0))[:, None], transient=100)
    >>> ax = gs.plotting.plot_lyapunov_spectrum(spectrum)
    >>> ax.lines[0].get_xdata()
    array([1, 2, 3, 4])
    """
    chosen: list[LyapunovSpectrum] = check_results("spectra", spectra, LyapunovSpectrum, "lyapunov_spectrum")
    for k, spectrum in enumerate(chosen):
        _check_spectrum(spectrum, f"spectra[{k}]")
        check_index("sequence", sequence, spectrum.exponents.shape[0], "sequences")
    names = check_labels(labels, [spectrum.cell for spectrum in chosen])
    styles = _palette.cell_styles(spectrum.cell for spectrum in chosen)
    with drawing_on(ax, 7.2, 4.4) as axes:
        for spectrum, name, style in zip(chosen, names, styles, strict=True):
            _draw_exponents(axes, spectrum, sequence, name, style, artist_kwargs)
        _zero_line(axes)
        axes.set_xlabel("number of the exponent")
        axes.set_ylabel("Lyapunov exponent (nats per step)")
        most = max(spectrum.exponents.shape[1] for spectrum in chosen)
        axes.set_xlim(0, most + 1 if most < 20 else 1.02 * most)
        count_axis(axes.xaxis)
        legend_above(axes, "Kaplan-Yorke dimension (star)")
    return axes


def _draw_exponents(
    axes: Axes,
    spectrum: LyapunovSpectrum,
    number: int,
    name: str,
    style: _palette.Style,
    keywords: dict[str, Any],
) -> None:
    exponents, error = spectrum.exponents[number], spectrum.error[number]
    shown, index = finite_or_nan(exponents), np.arange(1, exponents.size + 1)
    dimension = float(spectrum.kaplan_yorke_dimension()[number])
    known = f"{dimension:.3g}" if np.isfinite(dimension) else "not known, more exponents needed"
    label = f"{name}: {known}"
    if np.isneginf(exponents).any():
        label += f"; {np.count_nonzero(np.isneginf(exponents))} exponents are minus infinity"
    few = {"marker": style.marker, "markersize": 4} if exponents.size <= 20 and spectrum.layer is None else {}
    axes.plot(index, shown, **line_keywords(keywords, label=label, zorder=3, **style.line(), **few))
    if spectrum.layer is not None:
        _mark_layers(axes, spectrum, number, shown, style.color)
    spread = np.where(np.isfinite(error), error, 0.0)
    if exponents.size <= 20:
        bars: dict[str, Any] = {"fmt": "none", "ecolor": style.color, "capsize": 3, "elinewidth": 1}
        axes.errorbar(index, shown, yerr=spread, zorder=3.5, **bars)
    else:  # as many bars would run into each other
        axes.fill_between(index, shown - spread, shown + spread, color=style.color, alpha=0.22, linewidth=0)
    if np.isfinite(dimension) and dimension > 0:
        star: dict[str, Any] = {"marker": "*", "markersize": 13, "markeredgecolor": "white"}
        axes.plot([dimension], [0], color=style.color, zorder=5, clip_on=False, **star)


def _mark_layers(axes: Axes, spectrum: LyapunovSpectrum, number: int, shown: Array, color: str) -> None:
    """Mark the exponents of the joint state of a stack by the layers that they belong to."""
    assert spectrum.layer is not None
    for k, name in enumerate(spectrum.layers):
        own = np.flatnonzero(spectrum.layer[number] == k)
        look: dict[str, Any] = {
            "linestyle": "none",
            "marker": _LAYER_MARKS[k % len(_LAYER_MARKS)],
            "markersize": 6,
        }
        look |= {"markerfacecolor": "white" if k % 2 else color, "color": color, "zorder": 4}
        axes.plot(own + 1, shown[own], label=f"{name}: {counted(own.size, 'exponent')}", **look)


def _check_spectrum(spectrum: Any, argument: str) -> None:
    check_result(argument, spectrum, LyapunovSpectrum, "lyapunov_spectrum")
    if spectrum.exponents.size == 0 or spectrum.running_step.size == 0:
        problem = "has no exponent or no estimate"
        raise ValueRangeError(problem, argument=argument, advice="measure at least one")
    check_drawable(argument, spectrum.exponents, spectrum.error, spectrum.running)


def _check_ks(ks: Any, count: int) -> list[int]:
    if ks is None:
        return [int(k) for k in evenly(count, _SPREAD)]
    advice = "give a sequence of whole numbers, 0 the leading exponent"
    check_type("ks", ks, Sequence, np.ndarray, advice=advice)
    ks = [*np.atleast_1d(ks)] if isinstance(ks, np.ndarray) else ks
    if not len(ks):
        raise ValueRangeError("is empty", argument="ks", advice="name at least one exponent")
    return [check_count("ks", k, least=-count, most=count - 1) % count for k in ks]


def _zero_line(axes: Axes) -> None:
    if not any(line.get_gid() == _ZERO_LINE for line in axes.lines):
        axes.axhline(0, color=_palette.GREY, linewidth=0.9, zorder=1, gid=_ZERO_LINE)


def _limits(axes: Axes, step: Array, running: Array, ends: Array, errors: Array) -> None:
    """Set the range of what the estimates settle in, and 0 if that is near; how they began would flatten it."""
    settled = running[step - step[0] >= _SETTLED * (step[-1] - step[0])]
    spread = np.where(np.isfinite(errors), errors, 0.0)
    values = np.concatenate([settled.ravel(), ends - spread, ends + spread])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if max(low, -high) <= _NEAR_ZERO * (high - low):
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
