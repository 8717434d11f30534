"""Verdicts of every word and every kind that nobody measured, as a page or a table is made of them."""

import dataclasses
import math

import numpy as np

from gatescope.datatypes import PublishedNumber, Verdict
from gatescope.datatypes.verdict import WORDS
from gatescope.experiments.seeds.statistics import by_share, paired
from gatescope.reporting.text import number
from helpers.arms import spread

EFFECTS = (
    (spread(-0.4, 0.1, name="adding, T=100"), spread(-0.3, 0.35, name="adding, T=400")),
    (spread(0.05, 0.05, name="temporal order"), spread(1.2, 4.5, name="copying")),
    (by_share(np.zeros(6, bool), np.ones(6, bool), name="xor"),),
    (paired(np.linspace(-0.05, 0.1, 6), margin=0.1, name="chorales", measure="difference"),),
    (paired(np.array([-0.1]), margin=math.log(1.25), name="one seed"),),
)
NUMBERS = (
    "6a",
    "8a",
    "8b",
    "11c",
    "7a",
    "2a",
    "31",
    "37",
)  # of pairs: some whole, some in part, some not at all


def made_verdict(**changes):
    fields = {
        "number": "38",
        "statement": "the gates of an LSTM read the cell state",
        "sources": "M P",
        "kind": "exact",
        "criterion": "Contradicted if they do not.",
        "word": "contradicted",
        "reason": "largest difference 0 roundings",
        "equalities": {"another c": 0.0},
        "controls": {"another h": 1e14},
        "provenance": {"gatescope": "0.1", "dtype": "float64", "units": 16, "steps": 200, "sequences": 3},
    }
    return Verdict(**{**fields, **changes})


def all_words():
    """Return a verdict of each word that is statistical, one a kind of the rest, with all that may go with them."""
    statistical = [
        made_verdict(
            number=number,
            word=word,
            kind="statistical",
            statement=f"a statement that is {word}",
            sources=("P A", "Q4", "D")[k % 3],
            claim=("lower", "higher", "equal")[k % 3],
            effects=EFFECTS[k % len(EFFECTS)],
            equalities={},
            controls={},
            small=k == 1,
            preliminary=k == 3,
            depends_on_init=k % 2 == 0,
            distinguishes="all cells alike" if k == 0 else "",
            needed=40 if word == "undecided" else None,
            tuned={
                "lstm 32": {"lr": 0.01, "scheme": "keras"},
                "gru 32": {"lr": 0.003, "scheme": "chrono(100)"},
            },
            runs=20,
            code="a1b2c3",
            provenance={},
        )
        for k, (number, word) in enumerate(zip(NUMBERS, WORDS, strict=True))
    ]
    sizes = {"dtype": "float64", "many_units": 64, "long_steps": 1500, "seeds": 10}
    of = {"measured": {"gain 2: exponent": (0.2, 0.01)}, "seeds": 10, "provenance": sizes}
    measured = made_verdict(number="1a", kind="measured", equalities={}, controls={}, **of)
    rest = [measured, made_verdict(number="19", kind="documentary")]
    return (made_verdict(), made_verdict(number="22", word="equal"), *statistical, *rest)


def named(name, mean, half, arms=("lstm", "gru"), **fields):
    return dataclasses.replace(spread(mean, half, name=name), arms=arms, **fields)


def for_the_front():
    """Return verdicts that the figure, the table and the hints of a page are made of."""
    of = {"equalities": {}, "controls": {}, "provenance": {}}
    trained = {**of, "kind": "statistical", "runs": 20, "code": "a1b2c3", "seconds": 120.0}
    bins = np.linspace(-1, 1, 21).round(3)
    heights = np.exp(-((bins[:-1] - 0.25) ** 2) / 0.1)
    coupled = {
        f"lstm, adding, T = 100: fraction with kept + let in - 1 in {number(low + 0.0)} to {number(high + 0.0)}": (
            float(height),
            0.01,
        )
        for low, high, height in zip(bins[:-1], bins[1:], heights / heights.sum(), strict=True)
    }
    blocks = {f"{cell}: {count} blocks": 0.0 for cell, count in (("rnn", 1), ("gru", 3), ("lstm", 4))}
    kept = {
        f"{cell}: {what}": (value, 0.0)
        for cell, values in (("rnn", (1.0, 1.0)), ("gru", (5.0, 1.0)), ("lstm", (6.0, 2.0)))
        for what, value in zip(
            ("numbers kept for the way back, a step and a unit", "states to carry, a unit"),
            values,
            strict=True,
        )
    }
    tasks = (
        named("adding, T = 100", -0.9, 0.3, reached=(0.9, 1.0)),
        named("chorales", -0.02, 0.05),
        named("copying, T = 50", 0.3, 0.2),
        named("delayed xor", 0.1, 0.6),
        dataclasses.replace(EFFECTS[2][0], arms=("lstm", "gru")),
    )
    gated = tuple(
        named(f"{cell}, adding", -0.5, 0.1, ("rnn", cell), reached=(0.2, 0.9)) for cell in ("lstm", "gru")
    )
    beside = PublishedNumber(
        what="adding, T = 100",
        published=0.5,
        source="a paper",
        measured=0.4,
        error=0.02,
        seeds=10,
        why="another head",
    )
    return (
        made_verdict(number="25", word="supported", measured=coupled, seeds=10),
        made_verdict(number="9b", equalities=blocks),
        made_verdict(number="9c", kind="measured", word="supported", **{**of, "measured": kept}),
        made_verdict(
            number="8b",
            word="mixed",
            claim="lower",
            effects=tasks,
            by_init=(dataclasses.replace(tasks[0], name=f"pytorch: {tasks[0].name}"),),
            published=(beside,),
            **trained,
        ),
        made_verdict(number="37", word="supported", claim="lower", effects=gated, **trained),
        made_verdict(
            number="10a",
            word="supported",
            **{**of, "kind": "measured", "effects": (named("20 steps", -0.2, 0.05),)},
        ),
        made_verdict(number="13", word="undecided", **trained),
        made_verdict(number="11b", word="not run", reason="digits needs a package; pip install it", **of),
    )
