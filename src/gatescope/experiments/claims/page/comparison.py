"""The student paper's table of RNN, LSTM and GRU, each cell of it as it was measured, with the rows that say so."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Effect, Verdict
from gatescope.datatypes.verdict import NOT_RUN
from gatescope.experiments.claims.page.words import link
from gatescope.experiments.seeds.judge import ROUNDINGS
from gatescope.reporting.html import escape
from gatescope.reporting.text import number, percent, steps

CELLS = ("rnn", "lstm", "gru")
Reader = Callable[[Verdict, str], str]


class Property(NamedTuple):
    """A line of the table: what it is called, and of which statements each cell is read, the first that has one."""

    what: str
    numbers: tuple[str, ...]
    read: Reader


def _measured(what: str, form: Callable[[float], str] = number) -> Reader:
    """Return what reads a measured number of a cell; `what` is a pattern in which CELL stands for its name."""

    def read(verdict: Verdict, cell: str) -> str:
        pattern = re.compile(what.replace("CELL", cell))
        values = [value for name, (value, _) in verdict.measured.items() if pattern.fullmatch(name)]
        return form(values[0]) if values else ""

    return read


def _half_life(rate: float) -> str:
    return steps(math.log(2) / rate if rate > 0 else math.inf)


def _blocks(verdict: Verdict, cell: str) -> str:
    """Return how many row blocks a cell's parameters are, if they are as many as is said."""
    for name, apart in verdict.equalities.items():
        if (match := re.fullmatch(rf"{cell}: (\d+) blocks", name)) and apart <= ROUNDINGS:
            return match[1]
    return ""


def _three_gates(verdict: Verdict, cell: str) -> str:
    apart = verdict.equalities.get("sigmoids and 3", math.inf)
    return "3" if cell == "lstm" and apart <= ROUNDINGS else ""


def _between(effects: Iterable[Effect], cell: str, other: str) -> list[float]:
    """Return the mean ln ratios of a cell over another, whichever of both is the first arm."""
    signs = {(other, cell): 1, (cell, other): -1}
    return [signs[e.arms] * e.mean for e in effects if e.measure == "log ratio" and e.arms in signs]


def _ratio(verdict: Verdict, cell: str) -> str:
    """Return what a cell takes of an LSTM, as the median over tasks; 1 of the LSTM itself."""
    others = [other for other in CELLS if other != "lstm" and _between(verdict.effects, other, "lstm")]
    if cell == "lstm":
        return "1" if others else ""
    logs = _between(verdict.effects, cell, "lstm")
    return f"{math.exp(float(np.median(logs))):.3g}" if logs else ""


def _reached(verdict: Verdict, cell: str) -> str:
    """Return which part of a cell's runs reached the target, over all tasks that have one."""
    shares = [
        share
        for effect in verdict.effects
        for arm, share in zip(effect.arms, effect.reached, strict=False)
        if arm == cell and math.isfinite(share)
    ]
    return percent(float(np.mean(shares))) if shares else ""


PROPERTIES = (
    Property("gates", ("26a",), _three_gates),
    Property("blocks of weights: gates and the candidate", ("9b",), _blocks),
    Property("states that are carried on", ("9c",), _measured("CELL: states to carry, a unit")),
    Property(
        "numbers kept for the way back, a step and a unit",
        ("9c",),
        _measured("CELL: numbers kept for the way back, a step and a unit"),
    ),
    Property(
        "memory of a training process, MiB", ("9c",), _measured("CELL: peak of a training process, MiB")
    ),
    Property("time of a pass, an LSTM’s being 1", ("10a", "10d"), _ratio),
    Property(
        "half-life of the gradient, untrained, PyTorch’s weights",
        ("2a", "1a"),
        lambda verdict, cell: (
            _measured(r"before[^,]*, pytorch, CELL, gradient of the state: rate", _half_life)(verdict, cell)
            or (
                cell == "rnn"
                and _measured("pytorch: leading exponent", lambda v: _half_life(-v))(verdict, cell)
            )
            or ""
        ),
    ),
    Property(
        "half-life of the slowest unit, trained",
        ("5a", "5b"),
        _measured(r"CELL, after training, \S+ weights: rate of the slowest unit's gate", _half_life),
    ),
    Property(
        "scale of Gaussian weights from which on the gradient explodes",
        ("15a",),
        _measured("CELL: gain from which on it explodes"),
    ),
    Property("largest learning rate that is stable, an LSTM’s being 1", ("15b",), _ratio),
    Property("runs that learn a task of long memory", ("6a",), _reached),
    Property("runs that learn a task, of all that have a target", ("37", "8b"), _reached),
    Property("updates or losses on long dependencies, an LSTM’s being 1", ("6a",), _ratio),
    Property("updates to the target, an LSTM’s being 1", ("11a",), _ratio),
    Property("data that are needed, an LSTM’s being 1", ("11b",), _ratio),
)


def comparison(known: Mapping[str, Verdict]) -> str:
    """Return the table as HTML; empty where nothing was measured."""
    rows = [row for each in PROPERTIES if (row := _row(each, known))]
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", *map(str.upper, CELLS), "from"))
    return (
        "<p>A table like the student paper’s, but each cell is what was measured here, and a dash was not. "
        "Ratios are medians over tasks.</p>\n"
        '<div class="scroll" tabindex="0" role="region" aria-label="RNN, LSTM and GRU compared">'
        f'<table class="comparison">\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _row(row: Property, known: Mapping[str, Verdict]) -> str:
    verdicts = [known[name] for name in row.numbers if name in known and known[name].word != NOT_RUN]
    texts, used = [], []
    for cell in CELLS:
        read = [(text, verdict) for verdict in verdicts if (text := row.read(verdict, cell))]
        texts.append(read[0][0] if read else "–")
        used += [verdict for _, verdict in read[:1]]
    if not used:
        return ""
    links = " ".join(
        link(verdict, short=True) for verdict in {verdict.number: verdict for verdict in used}.values()
    )
    cells = "".join(f'<td class="number">{escape(text)}</td>' for text in texts)
    return f'<tr><th scope="row">{escape(row.what)}</th>{cells}<td>{links}</td></tr>'
