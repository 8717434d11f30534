"""Characters of a text at the steps that read them, on the axis of a short part of a run."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font

from gatescope.datatypes import Trace
from gatescope.plotting._text import room

_LEAST, _LARGEST = 6.8, 9.0  # points of a character: of more characters than fit at the least none is written
_WIDTH = 0.65  # of a character with the space beside it, as a part of its size
_SHOWN = {
    " ": "\N{OPEN BOX}",
    "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
    "\t": "\N{RIGHTWARDS ARROW}",
}
_MISSING = "\N{REPLACEMENT CHARACTER}"
_FAMILY = "monospace"


def label_characters(axes: Axes, trace: Trace, steps: range) -> None:
    """Write the characters of the text that a trace is of below the steps, if there is room for each."""
    text = trace.provenance.get("inputs_text")
    if not isinstance(text, str) or len(text) != trace.inputs.shape[0]:
        return
    size = 72 * room(axes) / _WIDTH / len(steps)
    if size < _LEAST:
        return
    font = get_font(findfont(FontProperties(family=_FAMILY)))
    signs = [_SHOWN.get(text[step], text[step]) for step in steps]
    labels = [sign if font.get_char_index(ord(sign)) else _MISSING for sign in signs]
    axes.set_xticks(list(steps), labels)
    look = {"length": 2, "pad": 2, "labelsize": min(_LARGEST, size), "labelfontfamily": _FAMILY}
    axes.tick_params(axis="x", **look)
    axes.set_xlabel(f"character, from step {steps[0]:,} to {steps[-1]:,}")
