"""The 21 pairs: the statements that settle each, and whose they are."""

import re

from gatescope.experiments.claims.pairs import PAIRS, TEXTS
from gatescope.experiments.claims.run import statements

# The statements by which each is settled, without their letters.
SETTLED_BY = (
    {2, 14, 15},
    {22},
    {30, 38},
    {8},
    {6, 7, 8, 27},
    {4, 42},
    {15},
    {12, 35},
    {11, 14, 27},
    {23, 41},
    {38},
    {39},
    {20, 32},
    {23, 24},
    {10},
    {3, 14},
    {26},
    {9},
    {43},
    {33},
    {20, 21},
)


def test_what_settles_each_pair():
    assert [{int(re.match(r"\d+", number)[0]) for number in pair.numbers} for pair in PAIRS] == [*SETTLED_BY]
    for pair in PAIRS:
        assert pair.one.numbers
        assert pair.other.numbers


def test_an_end_says_what_its_texts_say():
    known = {each.number: {*each.sources.split()} for each in statements()}
    seen = set()
    for end in (end for pair in PAIRS for end in (pair.one, pair.other)):
        sources = {*end.sources.split()}
        assert {source[0] for source in sources} <= {*TEXTS}
        for number in end.says:
            if number in known:
                seen.add(number)
                assert sources & known[number], (end, known[number])
    assert seen >= {"9b", "20", "22", "23", "24", "26a", "30", "32b", "33a", "38", "39", "41"}


def test_what_is_missing():
    pair = PAIRS[0]
    assert pair.missing([]) == ["2a", "2b", "14b", "15a"]
    assert pair.missing(["2b", "15a"]) == ["2a", "14b"]
    assert pair.missing(pair.numbers) == []
