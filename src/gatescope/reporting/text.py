"""Numbers, errors, steps, fractions, bytes and lists as a reader wants to see them: each text is made here alone.

Programs get the numbers of such texts with all their digits, by `plain`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

NOT_KNOWN = "–"


class NumberText(str):
    """A text that shows a number, and the number itself, which programs are given.

    Examples
    --------
    >>> from gatescope.reporting.text import percent
    >>> percent(1 / 3), percent(1 / 3).value
    ('33.3 %', 0.3333333333333333)
    """

    __slots__ = ("value",)
    value: Any

    def __new__(cls, text: str, value: Any = None) -> NumberText:
        """Return the text, which keeps the value."""
        made = super().__new__(cls, text)
        made.value = value
        return made


def number(value: Any) -> str:
    """Return a number to four digits, with all its digits before the point and groups of three.

    Examples
    --------
    >>> from gatescope.reporting.text import number
    >>> number(10093), number(0.0030212), number(12345.6), number(float("inf")), number(float("nan")), number(1e-9)
    ('10,093', '0.003021', '12,346', '∞', 'not known', '1.000 × 10^−9')
    """
    if isinstance(value, np.ndarray):
        value = value.reshape(())[()]
    if isinstance(value, int | np.integer):
        return f"{int(value):,}".replace("-", "−")
    value = float(value)
    if math.isnan(value):
        return "not known"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}").replace("-", "−")
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa} × 10^{int(exponent)}".replace("-", "−")


def with_error(value: Any, error: Any) -> str:
    """Return a value with its error, to two digits of the error; without it where the error is not known.

    Examples
    --------
    >>> from gatescope.reporting.text import with_error
    >>> with_error(-0.69312, 0.0123), with_error(0.5, float("nan"))
    ('−0.6931 ± 0.012', '0.5')
    """
    text = f"{number(value)} ± {float(error):.2g}" if math.isfinite(error) else number(value)
    return NumberText(text, {"value": value, "error": error})


def with_interval(value: float, low: float, high: float, *, unit: str = "") -> str:
    """Return a mean with its interval to three digits, or as many as show on which side of 1 a bound lies.

    Examples
    --------
    >>> from gatescope.reporting.text import with_interval
    >>> with_interval(1.0134, 0.99612, 1.0249), with_interval(1.0134, 1.0013, 1.0249)
    ('1.01 [0.996, 1.02]', '1.013 [1.001, 1.025]')
    """
    written = {"value": value, "low": low, "high": high}
    if math.isnan(value):
        return NumberText("-", written)
    digits = 3
    while digits < 9 and any(float(f"{bound:.{digits}g}") == 1 != bound for bound in (low, high)):
        digits += 1
    interval = "" if math.isnan(low) else f" [{low:.{digits}g}, {high:.{digits}g}]"
    return NumberText(f"{value:.{digits}g}{interval}{unit}", written)


def percent(fraction: Any) -> str:
    """Return a fraction as a percentage.

    Examples
    --------
    >>> from gatescope.reporting.text import percent
    >>> percent(0.1234), percent(-0.05), percent(float("nan"))
    ('12.3 %', '−5.0 %', '–')
    """
    if fraction is None or not math.isfinite(fraction):
        return NumberText(NOT_KNOWN, fraction)
    return NumberText(f"{100 * float(fraction):.1f} %".replace("-", "−"), float(fraction))


def counted(count: int, noun: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> from gatescope.reporting.text import counted
    >>> counted(1, "step"), counted(10093, "step")
    ('1 step', '10,093 steps')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def extent(shape: tuple[int, ...]) -> str:
    """Return the sizes of inputs (T, B, I), with their letters.

    Examples
    --------
    >>> from gatescope.reporting.text import extent
    >>> extent((10093, 1, 1))
    'T = 10,093 steps, B = 1 sequence, I = 1 input'
    """
    sizes = zip("TBI", shape, ("step", "sequence", "input"), strict=True)
    return ", ".join(f"{letter} = {counted(size, noun)}" for letter, size, noun in sizes)


def steps(value: Any) -> str:
    """Return a duration in steps, which need not be whole.

    Examples
    --------
    >>> from gatescope.reporting.text import steps
    >>> steps(1), steps(2.345), steps(float("inf"))
    ('1 step', '2.345 steps', '∞ steps')
    """
    return "1 step" if value == 1 else f"{number(value)} steps"


def duration(seconds: float) -> str:
    """Return a time in the unit that a person would use.

    Examples
    --------
    >>> from gatescope.reporting.text import duration
    >>> duration(42.4), duration(600), duration(15400)
    ('42 s', '10 min', '4.3 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def byte_count(count: float) -> str:
    """Return a number of bytes in binary units.

    Examples
    --------
    >>> from gatescope.reporting.text import byte_count
    >>> byte_count(512), byte_count(3 << 20)
    ('512 B', '3.00 MiB')
    """
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return NumberText(f"{size:.0f} B" if unit == "B" else f"{size:.2f} {unit}", count)


def listing(items: Iterable[Any], *, most: int | None = None, form: Callable[[Any], str] = str) -> str:
    """Return items separated by commas; if there are more than `most`, that many and dots.

    Examples
    --------
    >>> from gatescope.reporting.text import listing
    >>> listing("abc"), listing(range(9), most=3)
    ('a, b, c', '0, 1, 2, ...')
    """
    texts = [form(item) for item in items]
    if most is not None and len(texts) > most:
        texts = [*texts[:most], "..."]
    return ", ".join(texts)


def ranges(numbers: Iterable[Any]) -> str:
    """Return ascending whole numbers, those in a row as the first and the last of them.

    Examples
    --------
    >>> from gatescope.reporting.text import ranges
    >>> ranges([1, 2, 3, 7, 9, 10])
    '1 to 3, 7, 9, 10'
    """
    runs: list[list[int]] = []
    for value in map(int, numbers):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)


def show(value: Any) -> str:
    """Return any value as a reader wants to see it in a table: numbers as `number` has them, None as a dash.

    Examples
    --------
    >>> from gatescope.reporting.text import show
    >>> show(10093), show(0.0030212), show(None), show(True), show({"h": 2, "c": 0.5})
    ('10,093', '0.003021', '–', 'yes', 'h 2, c 0.5')
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return NOT_KNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {show(part)}" for key, part in value.items())
    if isinstance(value, np.ndarray):
        return f"array {value.dtype}{list(value.shape)}"
    if isinstance(value, list | tuple):
        return listing(value, form=show)
    return str(value)


def plain(value: Any) -> Any:
    """Return any value of a table as programs want it: Python's own types, numbers with all digits, NaN as None.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.reporting.text import plain, with_error
    >>> plain(np.float32(0.25)), plain(float("nan")), plain(with_error(1 / 3, 0.1)), plain((1, "a"))
    (0.25, None, {'value': 0.3333333333333333, 'error': 0.1}, [1, 'a'])
    """
    if isinstance(value, NumberText):
        return plain(value.value)
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return str(value)
