"""Writing figures: the same figure gives the same bytes, and a reader never sees half a file."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from gatescope.checks.numbers import check_choice, check_choices, check_number, check_type
from gatescope.plotting._style import style
from gatescope.storage.atomic import as_path, atomic_write

# None takes an entry out: no dates and no versions, which would change the bytes and not the picture.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# With these, a figure to which no engine is given has none.
_NO_LAYOUT = {"figure.autolayout": False, "figure.constrained_layout.use": False}


def render(fig: Figure, format: str = "png", *, dpi: float = 150) -> bytes:
    r"""Return the bytes of a figure as a PNG, SVG or PDF file; the same figure gives the same bytes.

    Parameters
    ----------
    fig : Figure
    format : {"png", "svg", "pdf"}
        Fonts in a PDF are TrueType, as journals ask.
    dpi : float
        Pixels per inch of a PNG, and of images inside an SVG or PDF.

    Examples
    --------
    >>> from gatescope import plotting
    >>> plotting.render(plotting.new_figure())[:4]
    b'\x89PNG'
    """
    check_type("fig", fig, Figure, advice="give a matplotlib Figure; of axes, ax.figure")
    check_choice("format", format, _METADATA)
    check_number("dpi", dpi, least=10, most=2400)
    with _laid_out(fig, dpi):
        return _rendered(fig, format, dpi)


def _rendered(fig: Figure, format: str, dpi: float) -> bytes:
    """Return the bytes of a figure that is laid out."""
    stream = io.BytesIO()
    fig.savefig(stream, format=format, dpi=dpi, metadata=_METADATA[format])
    return _with_stable_clips(stream.getvalue()) if format == "svg" else stream.getvalue()


@contextmanager
def _laid_out(fig: Figure, dpi: float) -> Iterator[None]:
    """Lay a figure out for so many pixels per inch, once for all formats.

    Matplotlib does that anew for every file, and draws the figure once more than it writes it.
    """
    engine, before = fig.get_layout_engine(), fig.get_dpi()
    with style(), _same_layout(fig), rc_context(_NO_LAYOUT):
        try:
            if engine is not None and fig.axes:
                fig.set_dpi(dpi)
                for ax in fig.axes:  # as a drawing does before it lays anything out
                    ax.apply_aspect()
                engine.execute(fig)
                fig.set_dpi(before)
                # Not "none", which is an engine that does nothing, but costs a drawing all the same.
                fig.set_layout_engine(None)
            yield
        finally:
            fig.set_dpi(before)
            fig.set_layout_engine(engine)


def _with_stable_clips(svg: bytes) -> bytes:
    """Name the clip paths of an SVG after what stands in them.

    Matplotlib names them after the positions of the axes in all digits, the last of which differ from drawing to
    drawing, and writes six decimals.
    """
    names = {
        old: b"p" + hashlib.sha256(content).hexdigest()[:10].encode()
        for old, content in re.findall(rb'<clipPath id="(\w+)">(.*?)</clipPath>', svg, re.DOTALL)
    }
    return re.sub(
        rb'(<clipPath id="|url\(#)(\w+)', lambda match: match[1] + names.get(match[2], match[2]), svg
    )


@contextmanager
def _same_layout(fig: Figure) -> Iterator[None]:
    """Put the axes back where they were.

    Constrained layout starts from where the last drawing left the axes and comes out a little elsewhere,
    so that without this the bytes would depend on how often the figure has been drawn before.
    """
    positions = [
        (ax, ax.get_position(original=True).frozen(), ax.get_position().frozen(), ax.get_in_layout())
        for ax in fig.axes
    ]
    try:
        yield
    finally:
        for ax, original, active, in_layout in positions:
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
    formats : sequence of {"png", "svg", "pdf"}
    dpi : float
        Pixels per inch.

    Returns
    -------
    tuple of Path
        The files, in the order of `formats`.

    Raises
    ------
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
    formats = check_choices("formats", formats, _METADATA)
    stem = as_path(path_without_suffix, "path_without_suffix")
    check_type("fig", fig, Figure, advice="give a matplotlib Figure; of axes, ax.figure")
    check_number("dpi", dpi, least=10, most=2400)
    return write_rendered(rendered(fig, formats, dpi=dpi), stem)


def rendered(fig: Figure, formats: Sequence[str], *, dpi: float = 150) -> dict[str, bytes]:
    """Return the bytes of a figure in several formats, laid out once, by format; arguments are not checked."""
    with _laid_out(fig, dpi):
        return {name: _rendered(fig, name, dpi) for name in formats}


def write_rendered(data: Mapping[str, bytes], stem: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a figure's bytes by format into files of that stem."""
    paths = {name: Path(f"{os.fspath(stem)}.{name}") for name in data}
    for name, path in paths.items():
        with atomic_write(path) as stream:
            stream.write(data[name])
    return tuple(paths.values())
