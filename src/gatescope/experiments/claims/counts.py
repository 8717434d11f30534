"""What the cells are made of: statements 9, 26 and 48."""

from __future__ import annotations

import dataclasses

from gatescope.cells.ranges import gate_ranges
from gatescope.cells.registry import get
from gatescope.datatypes import Head
from gatescope.experiments.claims.samples import roundings
from gatescope.experiments.claims.statement import Finding, Scale, exact, statement
from gatescope.recurrence.initialization import init, init_stack
from gatescope.reporting.text import number

_GRID = tuple((inputs, units) for inputs in (1, 8, 100) for units in (5, 16, 64))


def _count(cell: str, inputs: int, units: int) -> int:
    return init(cell, input_size=inputs, hidden_size=units).count()


def _block(inputs: int, units: int) -> int:
    """Return the numbers of one row block: weights of the inputs and of the past, and two biases."""
    return units * (inputs + units + 2)


@statement(
    "9a",
    "a GRU has fewer parameters than an LSTM",
    sources="P D A M Q",
    criterion="Supported if a layer has exactly 3/4 of an LSTM's; whole models, which have a read-out, have"
    " more.",
)
def three_quarters(scale: Scale) -> Finding:
    layers = [(4 * _count("gru", *size), 3 * _count("lstm", *size)) for size in _GRID]
    models = [
        tuple(
            init_stack(cell, input_size=inputs, hidden_size=units, heads=[Head("y", 10)]).count() * times
            for cell, times in (("gru", 4), ("lstm", 3))
        )
        for inputs, units in _GRID
    ]
    finding = exact(
        {"4 GRUs and 3 LSTMs": roundings(*zip(*layers, strict=True))},
        {"4 GRUs and 3 LSTMs with a read-out": min(roundings(*pair) for pair in models)},
    )
    ratios = [0.75 * gru / lstm for gru, lstm in models]
    ends = f"{number(min(ratios))} to {number(max(ratios))}"
    reason = f"{finding.judgement.reason}; with a read-out of 10 numbers a GRU has {ends} of an LSTM's"
    return dataclasses.replace(finding, judgement=dataclasses.replace(finding.judgement, reason=reason))


@statement(
    "9b",
    "an LSTM has more parameters because of its gates and of its separate memory cell",
    sources="P",
    criterion="Contradicted if the parameters are those of the row blocks, one for each gate and for the candidate, "
    "whether there is a cell state or not; peepholes, which have others, must not fit.",
)
def blocks(scale: Scale) -> Finding:
    expected = {"rnn": 1, "gru": 3, "lstm_coupled": 3, "lstm": 4}  # of which the last two have a cell state
    counts = {
        name: roundings(*zip(*((_count(name, *s), times * _block(*s)) for s in _GRID), strict=True))
        for name, times in expected.items()
    }
    peephole = min(roundings(_count("lstm_peephole", *s), 4 * _block(*s)) for s in _GRID)
    return exact(
        {f"{name}: {expected[name]} blocks": apart for name, apart in counts.items()},
        {"lstm_peephole: 4 blocks": peephole},
        supports=False,
    )


@statement(
    "26a",
    "an LSTM has three gates",
    sources="P D A Q",
    criterion="Supported if of its four row blocks three are sigmoids.  M says four, which counts the candidate.",
    kind="documentary",
)
def three_gates(scale: Scale) -> Finding:
    gates = sum(limits == (0.0, 1.0) for limits in gate_ranges(get("lstm")))
    blocks = len(get("lstm").gates)
    return exact(
        {"sigmoids and 3": roundings(gates, 3), "row blocks and 4": roundings(blocks, 4)},
        {"sigmoids and 4": roundings(gates, 4)},
    )


@statement(
    "26b",
    "a GRU has one hidden state, and an RNN no cell state",
    sources="P A Q",
    criterion="Supported if a GRU and an RNN have one state, which is put out, and an LSTM two.  M says that a GRU "
    "has no hidden state.",
    kind="documentary",
)
def one_state(scale: Scale) -> Finding:
    states = {name: len(get(name).states) for name in ("gru", "rnn", "lstm")}
    return exact(
        {f"states of {name} and 1": roundings(states[name], 1) for name in ("gru", "rnn")},
        {"states of lstm and 1": roundings(states["lstm"], 1)},
    )


@statement(
    "48",
    "an LSTM has special units in addition to standard ones",
    sources="Q1",
    criterion="Contradicted if the parameters of a layer are those of four blocks of its units, and of no "
    "unit besides.",
    kind="documentary",
)
def no_further_units(scale: Scale) -> Finding:
    counts = [(_count("lstm", *size), 4 * _block(*size)) for size in _GRID]
    with_more = [
        (whole, blocks + _count("rnn", *size)) for (whole, blocks), size in zip(counts, _GRID, strict=True)
    ]
    return exact(
        {"parameters and four blocks": roundings(*zip(*counts, strict=True))},
        {"parameters and four blocks with a standard layer": min(roundings(*pair) for pair in with_more)},
        supports=False,
    )
