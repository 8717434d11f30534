"""Texts of options as values: clamped gates."""

import pytest

from gatescope.cli.parsing import parse_clamp
from gatescope.errors import ValueRangeError


def test_what_the_command_line_says():
    assert parse_clamp(None) is None
    assert parse_clamp([]) is None
    assert parse_clamp(["f=1.0", " i = 0 "]) == {"f": 1.0, "i": 0.0}
    assert parse_clamp(["f[0,3]=1", "f[ 1 ]=.5"]) == {"f": {0: 1.0, 3: 1.0, 1: 0.5}}


@pytest.mark.parametrize(
    "text", ["f", "f=", "=1", "f=open", "f[]=1", "f[a]=1", "f[0,]=1", "f[0-3]=1", "f[0=1", "f==1", ""]
)
def test_what_the_command_line_cannot_mean(text):
    with pytest.raises(ValueRangeError, match="must name a gate and a value"):
        parse_clamp([text])


@pytest.mark.parametrize(
    "texts", [["f=1", "f=1"], ["f=1", "f[0]=0"], ["f[0]=0", "f=1"], ["f[0]=0", "f[1,0]=1"]]
)
def test_one_value_a_unit(texts):
    with pytest.raises(ValueRangeError, match="clamps what another `clamp` clamps"):
        parse_clamp(texts)
