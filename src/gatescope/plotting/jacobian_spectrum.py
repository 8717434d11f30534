"""The singular values of the Jacobian of one state with respect to an earlier one, against the lag."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from gatescope.checks.numbers import check_choice, check_index, check_result
from gatescope.datatypes import Array, JacobianSpectrum
from gatescope.errors import ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._axes import finite_or_nan, line_keywords
from gatescope.plotting._decades import LN10, mark_underflow, scale_axes
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._text import derivative, legend_above, plain_text
from gatescope.reporting.text import counted

_FEW = 6  # singular values that are drawn one line each
_BANDS = ((0.0, 1.0, 0.16), (0.25, 0.75, 0.30))  # from quantile to quantile, and how dark


def plot_jacobian_spectrum(
    result: JacobianSpectrum,
    *,
    sequence: int = 0,
    scale: Literal["linear", "log"] = "linear",
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw the singular values of d state(t) / d state(t - lag) against the lag, in powers of ten.

    Up to six singular values are a line each.  Of more, the largest, the median and the smallest are lines; the pale
    band holds all, the darker one the middle half of them.  What is exactly 0 has no logarithm and is not drawn: the
    legend counts it.  Shading marks what float32 and float64 cannot hold.

    Parameters
    ----------
    result : JacobianSpectrum
    sequence : int
        Which sequence of the batch.
    scale : {"linear", "log"}
        ``"linear"``: what decays exponentially is a straight line.  ``"log"``: both the lag and the exponent grow by
        factors of ten.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the lines, for example ``linewidth``.

    Returns
    -------
    Axes
        Its labelled lines hold log10 of singular values.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=4, seed=0)
    >>> result = gs.jacobian_spectrum(params, np.ones((50, 1)), lags=[1, 2, 5, 10, 20, 40])
    >>> ax = gs.plotting.plot_jacobian_spectrum(result)
    >>> [line.get_label() for line in ax.lines[:3]]
    ['largest', 'median', 'smallest']
    """
    check_result("result", result, JacobianSpectrum, "jacobian_spectrum")
    if result.log_singular.size == 0:
        raise ValueRangeError("has no lag, no sequence or no singular value", argument="result")
    result = result.sequence(check_index("sequence", sequence, result.log_singular.shape[1], "sequences"))
    if result.lag.size == 0:
        raise ValueRangeError(
            "has none of the lags",
            argument="sequence",
            seen=sequence,
            advice="choose a longer one, or shorter lags",
        )
    check_choice("scale", scale, ("linear", "log"))
    lag, decades = result.lag, result.log_singular[:, 0] / LN10
    with drawing_on(ax, 7.2, 4.6) as axes:
        if decades.shape[1] <= _FEW:
            _draw_each(axes, lag, decades, artist_kwargs)
        else:
            _draw_bands(axes, lag, decades, artist_kwargs)
        finite = decades[np.isfinite(decades)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        scale_axes(axes, scale, min(low, 0.0), max(high, 0.0), max(1, int(lag[-1])))
        mark_underflow(axes)
        axes.set_xlabel("lag (steps back)")
        axes.set_ylabel(f"singular values of  ${derivative(result.of, result.wrt)}$")
        legend_above(axes, _title(result, decades), ncols=_FEW)
    return axes


def _draw_each(axes: Axes, lag: Array, decades: Array, keywords: dict[str, Any]) -> None:
    shown = finite_or_nan(decades)
    for k, style in enumerate(_palette.unit_styles(decades.shape[1])):
        look = {"label": rf"$\sigma_{{{k + 1}}}$", "zorder": 3, **style.line(lag.size)}
        axes.plot(lag, shown[:, k], **line_keywords(keywords, **look))


def _draw_bands(axes: Axes, lag: Array, decades: Array, keywords: dict[str, Any]) -> None:
    ordered = -np.sort(-decades, axis=1)  # descending, and -inf last, as they come
    shown = finite_or_nan(ordered)
    for first, last, alpha in _BANDS:
        high, low = (_at_quantile(shown, quantile) for quantile in (first, last))
        axes.fill_between(lag, low, high, color=_palette.BLUE, alpha=alpha, linewidth=0, zorder=2)
    lines = {
        "largest": (0.0, "-", 2.0),
        "median": (0.5, _palette.DASH, 1.6),
        "smallest": (1.0, _palette.DOT, 1.6),
    }
    for label, (quantile, linestyle, width) in lines.items():
        marker = {"marker": "o"} if lag.size == 1 else {}
        look = {"color": _palette.BLUE, "linestyle": linestyle, "linewidth": width, "zorder": 3, **marker}
        axes.plot(lag, _at_quantile(shown, quantile), **line_keywords(keywords, label=label, **look))


def _at_quantile(descending: Array, quantile: float) -> Array:
    """Return that quantile of each row among the values that are not exactly 0; NaN where there is none."""
    known = np.isfinite(descending).sum(axis=1)
    index = np.round(quantile * np.maximum(known - 1, 0)).astype(int)
    values = descending[np.arange(len(descending)), index]
    return np.where(known > 0, values, np.nan)


def _title(result: JacobianSpectrum, decades: Array) -> str:
    count = decades.shape[1]
    text = f"{plain_text(result.cell)}: {counted(count, 'singular value')}"
    if count > _FEW:
        text += ", the darker band their middle half"
    dead = np.isneginf(decades).sum(axis=1)
    if dead.any():
        text += f"; up to {int(dead.max())} exactly 0, not drawn"
    return text
