"""How often each unit's gates are shut or open (Karpathy, Johnson and Fei-Fei 2015, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatescope.datatypes import Array, Trace
from gatescope.datatypes.saturation import OPEN, SHUT, shares_by_unit
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.plotting import _palette, _trace_view
from gatescope.plotting._style import drawing_on, plain_text


def saturation_shares(
    trace: Trace, *, left: float = SHUT, right: float = OPEN, gates: Iterable[str] | str | None = None
) -> dict[str, tuple[Array, Array]]:
    """Share of the steps at which each unit's gate is below `left` (shut) and above `right` (open).

    All sequences of the batch count, each with the steps it has (see ``Trace.lengths``).

    Parameters
    ----------
    trace : Trace
    left, right : float
        Thresholds, 0 <= left < right <= 1.
    gates : sequence of str, optional
        Names of kept gates.  Default: ``trace.sigmoid_names``, those with values in (0, 1).

    Returns
    -------
    dict of str to (left (H,), right (H,))
        float64 shares in [0, 1], by gate, in the order the cell keeps them.

    Raises
    ------
    DtypeError
        If `trace` is no Trace.
    UnknownNameError
        If the cell keeps no such gate, or none in (0, 1) at all, or the trace does not say (``Trace.gate_ranges``).
    ValueRangeError
        If the thresholds are out of order, or the trace holds no step.

    References
    ----------
    Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks", 2015, figure 3.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("lstm", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> shut, open_ = gs.plotting.saturation_shares(trace)["f"]
    >>> shut.shape
    (8,)
    """
    _trace_view.check_trace(trace)
    if not 0 <= left < right <= 1:  # written so that NaN fails too
        raise ValueRangeError(f"left={left!r}, right={right!r} must satisfy 0 <= left < right <= 1")
    if gates is None:
        gates = trace.sigmoid_names
        if not gates and trace.gate_names and trace.gate_ranges is None:
            raise UnknownNameError(
                f"the trace of a {trace.cell} does not say which gates have values in (0, 1), having been made without"
                f" gate_ranges; name the gates to look at, of {', '.join(map(repr, trace.gate_names))}"
            )
        if not gates:
            raise UnknownNameError(
                f"the {trace.cell} keeps no gate with values in (0, 1), so nothing can saturate; draw a gated"
                " cell such as 'lstm' or 'gru', or name the gates to look at"
            )
    names = _trace_view.check_names(trace, gates, argument="gates", states=False)
    return shares_by_unit(trace, names, left, right)


def plot_saturation(
    trace: Trace,
    *,
    left: float = SHUT,
    right: float = OPEN,
    gates: Iterable[str] | str | None = None,
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw a dot a unit: how often its gate is shut (across) and how often it is open (up).

    A dot on the line x + y = 1 is a unit whose gate is always saturated, one way or the other; a dot at
    (0, 0) is a gate that never is.  The legend gives each gate's mean over the units.

    Parameters
    ----------
    trace : Trace
    left, right : float
        A gate is shut below `left` and open above `right`; 0 <= left < right <= 1.
    gates : sequence of str, optional
        Names of kept gates.  Default: ``trace.sigmoid_names``, those with values in (0, 1).
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For ``Axes.scatter``, for example ``s`` or ``alpha``.

    Returns
    -------
    Axes

    Raises
    ------
    DtypeError, UnknownNameError, ValueRangeError
        As `saturation_shares` does.

    References
    ----------
    Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks", 2015, figure 3.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> ax = gs.plotting.plot_saturation(trace)
    >>> len(ax.collections)
    2
    """
    shares = saturation_shares(trace, left=left, right=right, gates=gates)
    return draw_saturation_shares(shares, cell=trace.cell, left=left, right=right, ax=ax, **artist_kwargs)


def draw_saturation_shares(
    shares: Mapping[str, tuple[Array, Array]],
    *,
    cell: str,
    left: float = SHUT,
    right: float = OPEN,
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw what `saturation_shares` has counted, as `plot_saturation` does; for shares that were stored.

    Parameters
    ----------
    shares : mapping of str to (left (H,), right (H,))
    cell : str
        Name of the cell, for the legend.
    left, right : float
        The thresholds the shares were counted with.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For ``Axes.scatter``.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> shares = {"f": (np.array([0.0, 0.2]), np.array([0.9, 0.1]))}
    >>> ax = gs.plotting.draw_saturation_shares(shares, cell="lstm")
    >>> len(ax.collections)
    1
    """
    hidden_size = next((shut.size for shut, _ in shares.values()), 0)
    marked = "the only unit" if hidden_size == 1 else f"each of {hidden_size} units"
    with drawing_on(ax, 5.2, 5.2) as axes:
        axes.plot([0, 1], [1, 0], color=_palette.GREY, linewidth=1, zorder=1)
        axes.text(
            0.62,
            0.39,
            "always saturated",
            rotation=-45,
            rotation_mode="anchor",
            va="bottom",
            ha="center",
            fontsize=8.5,
        )
        for k, ((name, (shut, opened)), style) in enumerate(
            zip(shares.items(), _palette.gate_styles(shares), strict=True)
        ):
            keywords = {
                "marker": style.marker,
                # Hollow and each gate larger than the last, so that dots at one place stay countable.
                "s": 18 + 20 * k,
                "facecolors": "none",
                "edgecolors": style.color,
                "linewidths": 1.2,
                "zorder": 3,
                "label": f"{_palette.describe(name)}: shut {shut.mean():.0%}, open {opened.mean():.0%}",
                **artist_kwargs,
            }
            axes.scatter(shut, opened, **keywords)
        if not any(shut.any() or opened.any() for shut, opened in shares.values()):
            # Otherwise it looks as if most of the marks were missing.
            axes.text(0.05, 0, "all units of all gates: never saturated", va="center", fontsize=8.5)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")  # marks at 0 and 1 stay whole
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.set_xlabel(f"share of steps shut (below {left:g})")
        axes.set_ylabel(f"share of steps open (above {right:g})")
        # No share lies above the line, so its corner is free for the legend.
        axes.legend(
            loc="upper right",
            title=f"{plain_text(cell)}, a mark for {marked}",
            alignment="left",
            handlelength=1.2,
        )
    return axes
