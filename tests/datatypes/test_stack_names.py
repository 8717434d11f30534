"""Names of layers, directions, states and gates of a stack."""

import dataclasses

import pytest

import gatescope as gs
from gatescope.datatypes.stack_names import by_direction, params_of, select


@pytest.fixture(scope="module")
def stack():
    """Return a forward layer under one that goes both ways."""
    lower, ahead, back = (
        gs.init("lstm", input_size=size, hidden_size=4, seed=seed) for seed, size in enumerate((2, 4, 4))
    )
    both = gs.Bidirectional(forward=ahead, backward=dataclasses.replace(back, reverse=True))
    return gs.Stack(layers=(lower, both))


@pytest.mark.parametrize(
    ("text", "layer", "prefixes", "name"),
    [
        ("layers.0", 0, ("layers.0",), ""),
        ("layers.-2.c", 0, ("layers.0",), "c"),
        ("layers.0.forward.f", 0, ("layers.0",), "f"),
        ("layers.1.h", 1, ("layers.1.forward", "layers.1.backward"), "h"),
        ("layers.-1.backward", 1, ("layers.1.backward",), ""),
    ],
)
def test_a_name_means_one_direction_or_both(stack, text, layer, prefixes, name):
    assert select(stack, "of", text) == (layer, prefixes, name)
    assert params_of(stack, select(stack, "of", text)) == tuple(stack.directions()[p] for p in prefixes)


@pytest.mark.parametrize(
    "text", ["h", "layers.2.h", "layers.-3", "layers.0.backward", "layers.1.h.f", "layers.x", 3, None]
)
def test_what_is_not_there_is_refused_with_what_is(stack, text):
    with pytest.raises(gs.errors.UnknownNameError, match=r"layers\.1\.forward") as error:
        select(stack, "of", text)
    assert error.value.argument == "of"


def test_values_by_name_are_those_of_each_direction(stack):
    values = {"layers.0.f": 1.0, "layers.1.i": 0.5, "layers.-1.backward.f": 0.0}
    ahead, back = {"i": 0.5}, {"i": 0.5, "f": 0.0}
    expected = {"layers.0": {"f": 1.0}, "layers.1.forward": ahead, "layers.1.backward": back}
    assert by_direction(stack, "clamp", values) == expected


def test_what_is_named_twice_is_refused(stack):
    with pytest.raises(gs.errors.ValueRangeError, match="twice") as error:
        by_direction(stack, "clamp", {"layers.1.f": 1.0, "layers.-1.forward.f": 0.0})
    assert error.value.argument == "clamp"
    with pytest.raises(gs.errors.DtypeError, match="clamp"):
        by_direction(stack, "clamp", [1.0])
