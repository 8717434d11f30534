"""Arms of equal parameters and of equal time."""

import pytest

import gatescope as gs
from gatescope.errors import ValueRangeError
from gatescope.experiments.seeds.sizes import equal_parameters, equal_time
from gatescope.experiments.seeds.spec import RunSpec

HEADS = [gs.Head("y", 3)]


def count(cell, units, inputs, outputs):
    """Return the number of parameters of one layer and its read-out, by hand."""
    blocks = {"rnn": 1, "gru": 3, "lstm": 4, "gru_reset_before": 3}[cell]
    return blocks * units * (inputs + units + 2) + outputs * (units + 1)


@pytest.mark.parametrize("units", [16, 32, 66, 128])
@pytest.mark.parametrize("inputs", [1, 8])
def test_counts_are_within_3_percent(units, inputs):
    cells = ["lstm", "gru", "rnn", "gru_reset_before"]
    sizes = equal_parameters(cells, hidden_size=units, input_size=inputs, heads=HEADS)
    assert sizes["gru"] == sizes["gru_reset_before"] == units
    assert sizes["lstm"] < units < sizes["rnn"]
    counts = [count(cell, n, inputs, 3) for cell, n in sizes.items()]
    middle = (min(counts) + max(counts)) / 2
    assert max(abs(n / middle - 1) for n in counts) < 0.0301  # the common number is tried in steps of 0.1 %


def test_deeper_models_have_smaller_layers():
    sizes = equal_parameters(
        ["lstm"], reference="rnn", hidden_size=64, input_size=2, heads=HEADS, layers={"rnn": 1, "lstm": 2}
    )
    stack = gs.init_stack(["lstm"] * 2, input_size=2, hidden_size=sizes["lstm"], heads=HEADS)
    assert abs(stack.count() / count("rnn", 64, 2, 3) - 1) < 0.06  # each within 3 % of a number between them


def test_where_units_are_few_there_is_none():
    with pytest.raises(ValueRangeError, match="give more units"):
        equal_parameters(["lstm", "gru"], hidden_size=2, input_size=1, heads=HEADS)


def test_the_same_time():
    lstm = RunSpec(task="adding", cell="lstm", hidden_size=32, lr=0.01, updates=500)
    arms = equal_time({"lstm": lstm, "rnn": lstm.with_(cell="rnn")}, {"lstm": 0.004, "rnn": 0.0017})
    assert arms["lstm"] == lstm
    assert arms["rnn"].updates == 1180  # 500 * 4 / 1.7 is 1176, and it ends with a validation
