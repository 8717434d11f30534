"""Characters on the axis of a run over a text."""

import dataclasses
import warnings

import pytest
from helpers.synthetic import make_trace

from gatescope import plotting


def of_text(text, steps=120):
    trace = make_trace("gru", steps=steps)
    return dataclasses.replace(trace, provenance={"inputs_text": text})


def labels(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


def test_a_short_part_carries_its_characters():
    trace = of_text(("a b\n$_\t\u4e2d" * 20)[:120])
    part = slice(8, 16)
    _, axes = plotting.plot_gate_trajectories(trace, steps=part)
    lowest = list(axes.values())[-1]
    heat_map = plotting.plot_gate_heatmap(trace, "z", steps=part)
    for ax in (lowest, heat_map):
        assert labels(ax) == ["a", "␣", "b", "↵", "$", "_", "→", "\N{REPLACEMENT CHARACTER}"]
        assert list(ax.get_xticks()) == list(range(8, 16))
        assert ax.get_xlabel() == "character, from step 8 to 15"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a sign that the font lacks is none
        plotting.render(heat_map.figure)


@pytest.mark.parametrize(
    ("text", "part"), [("ab" * 60, slice(0, 91)), ("ab", slice(0, 8)), (None, slice(0, 8))]
)
def test_others_carry_numbers(text, part):
    ax = plotting.plot_gate_heatmap(of_text(text), "z", steps=part)
    assert ax.get_xlabel() == "step"
