"""Events of a sequence in plots over its steps: a line at each, and what it is above the axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from gatescope.checks.numbers import check_index, check_type
from gatescope.errors import ShapeError
from gatescope.plotting import _palette
from gatescope.plotting._style import small
from gatescope.plotting._text import plain_text, room, width_of

Marks = Mapping[int, str] | Sequence[int] | None
_GAP = 0.06  # inches between labels in a row


def check_marks(marks: Any, length: int) -> dict[int, str]:
    """Return the steps of events in ascending order, each with its label for matplotlib; it may be empty."""
    return {step: plain_text(label) for step, label in checked_marks(marks, length).items()}


def checked_marks(marks: Any, length: int) -> dict[int, str]:
    """Return the steps of events in ascending order, each with its label as it was given; it may be empty."""
    if marks is None:
        return {}
    advice = "give the steps of events, or a mapping of steps to labels: {12: 'onset'}"
    check_type("marks", marks, Mapping, Sequence, np.ndarray, advice=advice)
    if isinstance(marks, np.ndarray) and marks.ndim != 1:
        raise ShapeError("must have one axis", argument="marks", seen=marks.shape, advice=advice)
    labeled = marks.items() if isinstance(marks, Mapping) else [(step, "") for step in marks]
    checked = {check_index("marks", step, length, "steps"): str(text) for step, text in labeled}
    return dict(sorted(checked.items()))


def draw_marks(panels: Iterable[Axes], marks: dict[int, str], *, above: bool = False) -> None:
    """Draw a grey line at each event, under the curves; with `above` a black one with a white border on an image."""
    look: dict[str, Any] = {"color": _palette.GREY, "linewidth": 1.2, "zorder": 1}
    if above:
        look |= {"color": _palette.BLACK, "zorder": 4}
        look["path_effects"] = [withStroke(linewidth=4.0, foreground="white")]
    for axes in panels:
        low, high = axes.get_xlim()
        for step in marks:
            if low <= step <= high:
                axes.axvline(step, **look)


def label_marks(axes: Axes, marks: dict[int, str]) -> float:
    """Write the labels above the axes, in as many rows as keep them apart; return how many inches they take."""
    size, across = small(), room(axes)
    low, high = axes.get_xlim()
    ends: list[float] = []  # of each row, in inches
    for step, label in marks.items():
        if not label or not low <= step <= high:
            continue
        at, width = (step - low) / (high - low) * across, width_of(label, size)
        flush = at + width > across  # at the right edge
        begin = at - width if flush else at
        row = next((k for k, end in enumerate(ends) if end + _GAP <= begin), len(ends))
        ends[row : row + 1] = [begin + width]
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        place |= {"ha": "right" if flush else "left", "va": "bottom", "annotation_clip": False}
        axes.annotate(label, (step, 1), xytext=(0, 2 + 1.3 * size * row), fontsize=size, **place)
    return (2 + 1.3 * size * len(ends)) / 72 if ends else 0.0
