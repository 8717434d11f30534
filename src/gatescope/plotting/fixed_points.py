"""Fixed points in the plane in which they, or a trajectory, spread most, and their eigenvalues."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatescope.checks.numbers import check_choice, check_result
from gatescope.datatypes import Array, FixedPoints, Trace
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._axes import count_axis, line_keywords
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._text import legend_above, plain_text
from gatescope.reporting.text import counted

_POINTS = 4000  # of trajectories are drawn: more make a blot
# Of the points, by the number of unstable directions, the last for more: no two share shape and shade.
_SHAPES: tuple[tuple[str, str, float], ...] = (
    ("o", _palette.BLACK, 7.0),
    ("D", _palette.ORANGE, 5.5),
    ("s", _palette.SKY, 6.0),
    ("^", "white", 7.5),
    ("v", "white", 7.5),
)
_MARGINAL = ("X", "0.6", 7.5)


def plot_fixed_points(
    points: FixedPoints,
    *,
    trace: Trace | None = None,
    state: str = "joint",
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw fixed points in the leading plane, stable ones as black discs, trajectories beneath them.

    The plane is spanned by the first two principal components of the trajectories, where they are given, else of
    the fixed points.  The shape and the shade of an unstable point tell how many directions lead away from it.

    Parameters
    ----------
    points : FixedPoints
    trace : Trace, optional
        Of the same cell; all its sequences are drawn, up to 4,000 steps together.
    state : str
        Which part of the state spans the plane: ``"joint"``, the whole, or one by name, such as ``"h"``.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the points, for example ``markersize``.

    Returns
    -------
    Axes
        Its labelled lines hold the points, a line a kind.

    Raises
    ------
    ShapeError
        If the trace is of a cell of another size.
    ValueRangeError
        If there is neither a fixed point nor a trace.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=4, seed=0)
    >>> points = gs.fixed_points(params, [0.5])
    >>> ax = gs.plotting.plot_fixed_points(points, trace=gs.run(params, np.full((50, 1), 0.5)))
    >>> ax.get_legend_handles_labels()[1]
    ['trajectory', '1 stable']
    """
    _check(points, trace)
    check_choice("state", state, (*points.state_names, "joint"))
    names = points.state_names if state == "joint" else (state,)
    chosen = [points.state_names.index(name) for name in names]
    states = points.states[:, chosen].reshape(points.count, len(chosen) * points.h.shape[1])
    paths = [] if trace is None else _paths(trace, chosen)
    center, plane, variance = _leading_plane(np.concatenate(paths) if paths else states)
    with drawing_on(ax, 6.4, 5.2) as axes:
        label = "trajectory" if len(paths) == 1 else f"{len(paths)} trajectories"
        left = max(2, _POINTS // max(1, len(paths)))
        if any(len(path) > left for path in paths):
            label += f", the first {left - 1:,} steps"
        for path in paths:
            x, y = ((path[:left] - center) @ plane).T
            axes.plot(x, y, color="0.72", linewidth=0.7, zorder=1.5, label=label)
            label = "_"
        _draw_kinds(axes, points, (states - center) @ plane, artist_kwargs)
        of = plain_text(", ".join(names))
        for axis, number in ((axes.xaxis, 0), (axes.yaxis, 1)):
            axis.set_label_text(f"component {number + 1} of {of}  ({variance[number]:.0%} of the variance)")
        axes.margins(0.08)
        axes.set_aspect("equal", adjustable="datalim")
        _legend(axes, points)
    return axes


def plot_fixed_point_moduli(points: FixedPoints, *, ax: Axes | None = None, **artist_kwargs: Any) -> Axes:
    """Draw the moduli of the eigenvalues of the Jacobian at each fixed point, side by side in the order of `points`.

    Deviations along eigenvalues of modulus below 1 die out, by that factor a step; each eigenvalue above 1 is an
    unstable direction.  These, and the greatest one of each point, have the marker that the point has in
    `plot_fixed_points`; the others are dashes.

    Parameters
    ----------
    points : FixedPoints
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the markers, for example ``markersize``.

    Returns
    -------
    Axes
        Its labelled lines hold the numbers of the points and the moduli with markers, a line a kind of point.

    Examples
    --------
    >>> import gatescope as gs
    >>> points = gs.fixed_points(gs.init("gru", input_size=1, hidden_size=4, seed=0), [0.5])
    >>> gs.plotting.plot_fixed_point_moduli(points).get_xlabel()
    'number of the fixed point'
    """
    _check(points, None)
    moduli = np.abs(points.eigenvalues)
    numbers = np.broadcast_to(np.arange(points.count)[:, None], moduli.shape)
    marked = moduli > 1 + points.margin
    marked[:, 0] = True
    with drawing_on(ax, 6.4, 4.4) as axes:
        axes.axhline(1, color=_palette.GREY, linewidth=0.9, zorder=1.5)
        rest: dict[str, Any] = {"marker": "_", "markersize": 5, "markeredgewidth": 0.7, "color": "0.45"}
        axes.plot(numbers[~marked], moduli[~marked], linestyle="none", **rest)
        positions = np.stack([numbers, np.where(marked, moduli, np.nan)], axis=-1)  # NaN is not drawn
        _draw_kinds(axes, points, positions, artist_kwargs)
        axes.set_ylim(0, 1.08 * max(1.0, float(moduli.max())))
        axes.set_xlim(-0.7, points.count - 0.3)
        count_axis(axes.xaxis)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("number of the fixed point")
        axes.set_ylabel("modulus of the eigenvalues")
        _legend(axes, points)
    return axes


def _draw_kinds(axes: Axes, points: FixedPoints, positions: Array, keywords: dict[str, Any]) -> None:
    """Draw a line of markers for each kind of point, at positions (P, 2) or (P, n, 2)."""
    for name, (marker, face, size), rows in _kinds(points):
        look: dict[str, Any] = {
            "linestyle": "none",
            "marker": marker,
            "markersize": size,
            "markerfacecolor": face,
            "markeredgecolor": _palette.BLACK,
            "markeredgewidth": 0.8,
            "label": f"{len(rows)} {name}",
            "zorder": 4 if name == "stable" else 3,
        }
        x, y = positions[rows].reshape(-1, 2).T
        axes.plot(x, y, **line_keywords(keywords, **look))


def _legend(axes: Axes, points: FixedPoints) -> None:
    missed = f"; {points.not_converged:,} led to none" if points.not_converged else ""
    count, starts = counted(points.count, "fixed point"), counted(points.starts, "start")
    title = f"{plain_text(points.cell)}: {count} from {starts}{missed}"
    legend_above(axes, title, ncols=2, columnspacing=1.6, handlelength=1.6)


def _check(points: Any, trace: Any) -> None:
    check_result("points", points, FixedPoints, "fixed_points")
    if not np.isfinite(points.states).all():
        raise ValueRangeError("holds states that are not finite", argument="points", advice="search again")
    if trace is None:
        if points.count == 0:
            problem = (
                f"holds no fixed point (from {counted(points.starts, 'start')}), so there is nothing to draw"
            )
            raise ValueRangeError(problem, argument="points", advice="search from more starts")
        return
    check_result("trace", trace, Trace, "run")
    if trace.cell != points.cell or trace.states.shape[2:] != points.states.shape[1:]:
        raise ShapeError(
            f"is of a {trace.cell!r} with states (S, H) = {trace.states.shape[2:]}, but `points` of a {points.cell!r} "
            f"with {points.states.shape[1:]}",
            argument="trace",
            advice="give both of the same params",
        )


def _paths(trace: Trace, chosen: list[int]) -> list[Array]:
    """Return the states of each sequence within its length, (T+1, n), in the order in which it went through them.

    States that are not finite, and those after them, are left out.
    """
    trace, paths = trace.as_taken(), []
    for b, length in enumerate(trace.lengths):
        path = trace.states[: int(length) + 1, b, chosen].reshape(int(length) + 1, -1).astype(np.float64)
        paths.append(path[np.logical_and.accumulate(np.isfinite(path).all(axis=1))])
    if not any(map(len, paths)):
        raise ValueRangeError("has no state that is finite", argument="trace", advice="run the network again")
    return paths


def _leading_plane(data: Array) -> tuple[Array, Array, Array]:
    """Return the mean (n,), two orthonormal directions (n, 2) and their fractions of the variance (2,).

    Signs by the greatest component, so that the picture does not depend on the SVD's.  A direction that the data do not
    have is 0.
    """
    center = data.mean(axis=0)
    _, singular, directions = np.linalg.svd(data - center, full_matrices=False)
    rank = int(np.count_nonzero(singular > 1e-12 * max(1.0, float(np.abs(data).max()))))
    plane, variance = np.zeros((data.shape[1], 2)), np.zeros(2)
    for k in range(min(rank, 2)):
        row = directions[k]
        plane[:, k] = row * np.sign(row[np.argmax(np.abs(row))])
        variance[k] = singular[k] ** 2 / (singular**2).sum()
    return center, plane, variance


def _kinds(points: FixedPoints) -> list[tuple[str, tuple[str, str, float], Array]]:
    """Return name, look and rows of each kind of point that there is."""
    directions, most = points.unstable_directions(), len(_SHAPES) - 1
    kinds = [
        ("stable", _SHAPES[0], points.stable),
        ("neither stable nor unstable", _MARGINAL, ~points.stable & (directions == 0)),
    ]
    for count in range(1, most):
        kinds.append((f"with {counted(count, 'unstable direction')}", _SHAPES[count], directions == count))
    more = " or more" if directions.max(initial=0) > most else ""
    kinds.append((f"with {most}{more} unstable directions", _SHAPES[most], directions >= most))
    return [(name, look, np.flatnonzero(chosen)) for name, look, chosen in kinds if chosen.any()]
