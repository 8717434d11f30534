"""Animations as GIF, as MP4, as a page that plays them and needs nothing but a browser, and in a notebook's cell."""

from __future__ import annotations

import base64
import html
import io
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import AbstractMovieWriter, Animation, FFMpegWriter
from matplotlib.figure import Figure

from gatescope.checks.numbers import check_above_zero, check_number, check_type
from gatescope.errors import OutputError, ValueRangeError
from gatescope.plotting._axes import evenly
from gatescope.plotting._style import style
from gatescope.storage.atomic import as_path, atomic_write

_SUFFIXES = (".gif", ".mp4", ".html")
_PLAYER = Path(__file__).with_name("player.html")
_SAMPLES = 12  # frames from which the colors of a GIF are chosen
# Of what a notebook shows: drawing takes time whenever its cell runs, and the notebook keeps the bytes.
_NOTEBOOK_FRAMES, _NOTEBOOK_PIXELS, _NOTEBOOK_BYTES = 40, 600_000, 16_000_000
_NOTEBOOK_FPS, _NOTEBOOK_DPI = 10, 110
_CONTROLS = 770, 52  # width and height of the player's buttons in one row, in pixels


def save_animation(
    animation: Animation, path: str | os.PathLike[str], *, fps: float = 10, dpi: float = 100
) -> Path:
    """Write an animation as ``.gif``, ``.mp4`` or ``.html``, the whole file or none.

    A GIF needs nothing else.  An MP4 needs the program ffmpeg.  The page has a player of its own (play, step, a
    slider, keys) and the frames in it, and loads nothing from anywhere.  The same animation gives the same bytes
    (of an MP4, with the same ffmpeg).

    Parameters
    ----------
    animation : Animation
        As `animate_gates` and `animate_steps` return it.
    path : path
        Ends in ``.gif``, ``.mp4`` or ``.html``.
    fps : float
        Frames per second.  A GIF keeps them to a hundredth of a second.
    dpi : float
        Pixels per inch.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        If the file cannot be written, or ffmpeg is missing or fails.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=4, seed=0), np.ones((40, 1), "float32"))
    >>> animation = gs.plotting.animate_steps(trace, gates="z", window=30, frames=3)
    >>> gs.plotting.save_animation(animation, pathlib.Path(tempfile.mkdtemp()) / "z.html", dpi=50).name
    'z.html'
    """
    advice = "give a matplotlib Animation, as animate_gates returns it"
    check_type("animation", animation, Animation, advice=advice)
    target = as_path(path)
    suffix = target.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueRangeError(f"must end in one of {', '.join(_SUFFIXES)}", argument="path", seen=str(path))
    check_above_zero("fps", fps)
    check_number("dpi", dpi, least=10, most=2400)
    if suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise OutputError(
            "cannot be written: an MP4 needs the program ffmpeg, which is not on the PATH",
            seen=path,
            advice="install it (with your system's packages, or conda install ffmpeg), or write a .gif or .html",
        )
    # Opened first, so that a missing folder is reported before minutes of drawing.
    with atomic_write(target) as stream:
        if suffix == ".mp4":
            stream.write(_mp4(animation, str(path), fps, dpi))
        else:
            frames = _frames(animation, dpi)
            page = suffix == ".html"
            stream.write(_player(*_coded(frames), fps, target.stem).encode() if page else _gif(frames, fps))
    return target


def notebook_player(figure: Figure, draw: Callable[[int], Any], count: int) -> str:
    """Return HTML that plays an animation inside a notebook: its page, in a frame of its own.

    Of many frames it has some, evenly apart, and says so.
    """
    across, up = figure.get_size_inches()
    dpi = min(_NOTEBOOK_DPI, math.sqrt(_NOTEBOOK_PIXELS / (across * up)))
    pictures = []
    with style():
        for frame in evenly(count, _NOTEBOOK_FRAMES):
            draw(int(frame))
            pictures.append(_picture(figure, dpi=dpi))
        draw(0)
    size, coded = _coded(pictures)
    while sum(map(len, coded)) > _NOTEBOOK_BYTES and len(coded) > 1:
        coded = coded[::2]
    rows = math.ceil(_CONTROLS[0] / size[0])
    look = (
        f"border: 0; width: 100%; max-width: {size[0] + 16}px; height: {size[1] + 40 + rows * _CONTROLS[1]}px"
    )
    page = html.escape(_player(size, coded, _NOTEBOOK_FPS, "Animation"))
    part = (
        "" if len(coded) == count else f"{len(coded)} of {count:,} frames; save_animation writes all of them."
    )
    return (
        f'<iframe srcdoc="{page}" sandbox="allow-scripts" title="Animation" style="{look}"></iframe>'
        f"{part and f'<p>{part}</p>'}"
    )


class _Frames(AbstractMovieWriter):
    """A writer that keeps every frame as the bytes of a PNG."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []

    def setup(self, fig: Any, outfile: Any, dpi: Any = None) -> None:
        # The base class would look for the folder of a file, and none is written.
        self.fig, self.outfile, self.dpi = fig, outfile, dpi

    def grab_frame(self, **savefig_kwargs: Any) -> None:
        self.frames.append(_picture(self.fig, dpi=self.dpi, **savefig_kwargs))

    def finish(self) -> None:
        pass


def _picture(figure: Any, **keywords: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", **{**keywords, "metadata": {"Software": None}})
    return stream.getvalue()


def _frames(animation: Animation, dpi: float) -> list[bytes]:
    writer = _Frames()
    with style():
        animation.save("frames", writer=writer, dpi=dpi)  # the name is not used: this writer writes no file
    return writer.frames


def _flat(frames: Sequence[bytes]) -> list[Any]:
    """Return all frames as images in one palette of 256: one for each would take more bytes and flicker."""
    from PIL import Image

    images = [Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames]
    samples = np.concatenate([np.asarray(images[k]) for k in evenly(len(images), _SAMPLES)])
    palette = Image.fromarray(samples).quantize(256, method=Image.Quantize.MAXCOVERAGE)
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    # Paper and ink as they are: the nearest color is looked up coarsely, so that a neighbour might be taken.
    for exact in (255, 0):
        distance = np.abs(colors - exact).max(axis=1)
        colors[(distance <= 8) | (distance == distance.min())] = exact
    palette.putpalette(colors.ravel().tolist())
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def _gif(frames: Sequence[bytes], fps: float) -> bytes:
    first, *others = _flat(frames)
    stream = io.BytesIO()
    duration = max(10, 10 * round(100 / fps))  # milliseconds, in the format's hundredths of a second
    first.save(stream, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
    return stream.getvalue()


def _png(image: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")  # "optimize" takes seven times as long, and more bytes for few colors
    return base64.b64encode(stream.getvalue()).decode()


def _mp4(animation: Animation, path: str, fps: float, dpi: float) -> bytes:
    # Cut to even sizes, which the codec needs; one thread and no versions in the file, for the same bytes.
    extra = ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p", "-threads", "1"]
    writer = FFMpegWriter(
        fps=fps,  # type: ignore[arg-type]  # annotated as int, and fractions work
        codec="libx264",
        extra_args=[*extra, "-fflags", "+bitexact"],
    )
    with tempfile.TemporaryDirectory() as folder, style():
        made = Path(folder) / "animation.mp4"
        try:
            animation.save(made, writer=writer, dpi=dpi)
            return made.read_bytes()
        except (subprocess.CalledProcessError, OSError) as error:  # OSError: it ended before all was written
            reason = (getattr(error, "stderr", None) or str(error) or type(error).__name__).strip()
            raise OutputError(
                f"cannot be written: ffmpeg failed ({reason.splitlines()[-1]:.200})",
                seen=path,
                advice="write a .gif or .html instead",
            ) from error


def _coded(frames: Sequence[bytes]) -> tuple[tuple[int, int], list[str]]:
    """Return the size of all frames, and each as text."""
    images = _flat(frames)
    return images[0].size, [_png(image) for image in images]


def _player(size: tuple[int, int], coded: Sequence[str], fps: float, title: str) -> str:
    values = {
        "TITLE": html.escape(title),
        "WIDTH": str(size[0]),
        "HEIGHT": str(size[1]),
        "LAST": str(len(coded) - 1),
        "FPS": f"{fps:g}",
        "FIRST": coded[0],
        "FRAMES": ",\n".join(f'"{frame}"' for frame in coded),
    }
    # In one go: a title may hold what looks like another placeholder.
    return re.sub("%([A-Z]+)%", lambda name: values[name[1]], _PLAYER.read_text("utf-8"))
