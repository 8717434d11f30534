"""Verdicts of every word and every kind that nobody measured, as a page or a table is made of them."""

import math

import numpy as np

from gatescope.datatypes import Verdict
from gatescope.datatypes.verdict import WORDS
from gatescope.experiments.seeds.statistics import by_share, paired
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
