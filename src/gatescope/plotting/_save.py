"""Writing figures: the same figure gives the same bytes, and a reader never sees half a file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gatescope.errors import DtypeError, ValueRangeError
from gatescope.plotting._style import style
from gatescope.storage.atomic import atomic_write

# None takes an entry out: no dates and no versions, which would change the bytes and not the picture.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}


def render(fig: Figure, format: str = "png", *, dpi: float = 150) -> bytes:
    r"""The bytes of a figure as a PNG or SVG file; the same figure gives the same bytes.

    Parameters
    ----------
    fig : Figure
    format : {"png", "svg"}
    dpi : float
        Pixels per inch of a PNG, and of images inside an SVG.

    Raises
    ------
    DtypeError
        If `fig` is no Figure.
    ValueRangeError
        If the format is not known or `dpi` is not above 0.

    Examples
    --------
    >>> from gatescope import plotting
    >>> plotting.render(plotting.new_figure())[:4]
    b'\x89PNG'
    """
    if not isinstance(fig, Figure):
        raise DtypeError(
            f"fig must be a matplotlib Figure, not a {type(fig).__name__}; of axes, pass ax.figure"
        )
    if format not in _METADATA:
        raise ValueRangeError(
            f"format={format!r} is not known; choose from {', '.join(map(repr, _METADATA))}"
        )
    if not 0 < dpi < float("inf"):
        raise ValueRangeError(f"dpi={dpi!r} must be a number above 0")
    stream = io.BytesIO()
    with style(), _layout_kept(fig):
        fig.savefig(stream, format=format, dpi=dpi, metadata=_METADATA[format])
    return stream.getvalue()


@contextmanager
def _layout_kept(fig: Figure) -> Iterator[None]:
    """Put the axes back where they were.

    Constrained layout starts from where the last drawing left the axes and comes out a little elsewhere,
    so that without this the bytes would depend on how often the figure has been drawn before.
    """
    places = [
        (ax, ax.get_position(original=True).frozen(), ax.get_position().frozen(), ax.get_in_layout())
        for ax in fig.axes
    ]
    try:
        yield
    finally:
        for ax, original, active, in_layout in places:
            ax.set_position(original, which="original")
            ax.set_position(active, which="active")
            ax.set_in_layout(in_layout)  # set_position takes the axes out of the layout


def save_figure(
    fig: Figure,
    path_without_suffix: str | os.PathLike[str],
    formats: Sequence[str] = ("png", "svg"),
    *,
    dpi: float = 150,
) -> tuple[Path, ...]:
    """Write a figure in several formats, each file complete or not at all.

    Parameters
    ----------
    fig : Figure
    path_without_suffix : path
        The format is appended: ``"out/decay"`` gives ``out/decay.png`` and ``out/decay.svg``.
    formats : sequence of {"png", "svg"}
    dpi : float
        Pixels per inch.

    Returns
    -------
    tuple of Path
        The files, in the order of `formats`.

    Raises
    ------
    DtypeError, ValueRangeError
        As `render` does, before anything is written.
    OutputError
        If a file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gatescope import plotting
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> [path.name for path in plotting.save_figure(plotting.new_figure(), folder / "empty")]
    ['empty.png', 'empty.svg']
    """
    if isinstance(formats, str):
        formats = (formats,)
    rendered = [
        (Path(f"{os.fspath(path_without_suffix)}.{name}"), render(fig, name, dpi=dpi)) for name in formats
    ]
    for path, data in rendered:
        with atomic_write(path) as stream:
            stream.write(data)
    return tuple(path for path, _ in rendered)
