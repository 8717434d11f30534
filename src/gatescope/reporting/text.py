"""Numbers and counts as a reader wants to see them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def show(value: Any) -> str:
    """A value as a reader wants to see it: numbers to four digits, long whole numbers in groups of three.

    Examples
    --------
    >>> from gatescope.reporting.html import show
    >>> show(10093), show(0.0030212), show(float("inf")), show(None)
    ('10,093', '0.003021', '∞', '–')
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {show(part)}" for key, part in value.items())
    if isinstance(value, np.ndarray):
        return f"array {value.dtype}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return ", ".join(show(part) for part in value)
    return str(value)


def counted(number: int, noun: str) -> str:
    """A number of things.

    Examples
    --------
    >>> from gatescope.reporting.html import counted
    >>> counted(1, "step"), counted(10093, "step")
    ('1 step', '10,093 steps')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def number_text(value: float) -> str:
    if math.isnan(value):
        return "not known"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    else:
        mantissa, exponent = f"{value:.3e}".split("e")
        text = f"{mantissa} × 10^{int(exponent)}"
    return text.replace("-", "−")
