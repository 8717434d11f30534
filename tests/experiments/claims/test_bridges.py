"""From an LSTM to a GRU: every word on made-up differences."""

import pytest

from gatescope.experiments.claims.bridges import judge_bridges


@pytest.mark.parametrize(
    ("shifted", "still", "control", "word"),
    [
        (1.4, 0.5, 2e14, "supported"),
        (1e12, 0.5, 2e14, "contradicted"),
        (1.4, 1e7, 2e14, "contradicted"),  # at rest it should be none
        (1.4, 0.5, 3.0, "undecided"),  # the control is the same
        (1.4, 0.5, 1e12, "undecided"),  # it differs, by less than a thousandth
        (float("nan"), 0.5, 2e14, "undecided"),
    ],
)
def test_every_word_of_20(shifted, still, control, word):
    finding = judge_bridges({"c and o": shifted, "at rest": still}, {"h": 1e15, "c": control})
    assert finding.judgement.word == word
    assert ("less than 0.001 of the largest value: c" in finding.judgement.reason) == (control == 1e12)
