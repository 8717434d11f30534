"""Characters of a text at the steps that read them, on the axis of a short part of a run."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font

from gatescope.datatypes import Trace

_MOST = 90  # characters that a figure seven inches wide has room for
_ROOM, _LARGEST = 620, 9  # points for all of them in a row, and for one
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
    if not isinstance(text, str) or len(text) != trace.inputs.shape[0] or len(steps) > _MOST:
        return
    font = get_font(findfont(FontProperties(family=_FAMILY)))
    signs = [_SHOWN.get(text[step], text[step]) for step in steps]
    labels = [sign if font.get_char_index(ord(sign)) else _MISSING for sign in signs]
    axes.set_xticks(list(steps), labels, family=_FAMILY, fontsize=min(_LARGEST, _ROOM / len(steps)))
    axes.tick_params(axis="x", length=2, pad=2)
    axes.set_xlabel(f"character, from step {steps[0]:,} to {steps[-1]:,}")
