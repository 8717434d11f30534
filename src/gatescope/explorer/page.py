"""The page itself: its template, style and scripts with the data of the runs, in one file that loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from gatescope.explorer.colors import tables
from gatescope.explorer.levels import choose
from gatescope.explorer.views import View
from gatescope.reporting.html import document, escape

_FOLDER = Path(__file__).parent
SCRIPTS = (
    "data",
    "view",
    "draw",
    "panels",
    "numbers",
    "controls",
)  # in the order in which they need each other


def page(views: Sequence[View], title: str, budget: int) -> str:
    """Return the page of some runs; the same runs give the same bytes."""
    detail = choose(sum(view.size for view in views), budget)
    data = {"detail": detail.text, "colors": tables(), "views": [view.data(detail) for view in views]}
    # Inside a script element nothing ends it but "</", and a comment begins it anew: no "<" is left.
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    # In one go: a label may hold what looks like a placeholder.
    values = {"TITLE": escape(title), "DATA": text}
    body = re.sub("%([A-Z]+)%", lambda name: values[name[1]], _asset("explorer.html"))
    return document(title, body, style=_asset("explorer.css"), script=script())


def script() -> str:
    """Return all scripts of the page as one."""
    parts = (_asset(f"scripts/{name}.js") for name in SCRIPTS)
    return '"use strict";\n' + "\n".join(parts)


def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
