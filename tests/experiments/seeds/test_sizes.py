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
    models = {"one": ["lstm"], "two": ["lstm"] * 2, "three": ["lstm"] * 3}
    sizes = equal_parameters(models, reference="rnn", hidden_size=64, input_size=2, heads=HEADS)
    assert sizes["one"] > sizes["two"] > sizes["three"]
    own = count("rnn", 64, 2, 3)
    for name, cells in models.items():
        stack = gs.init_stack(cells, input_size=2, hidden_size=sizes[name], heads=HEADS)
        assert abs(stack.count() / own - 1) < 0.06  # each within 3 % of a number between them


def test_what_is_clamped_is_not_counted():
    models = {"whole": ["lstm"], "without": ["lstm"], "gru": ["gru"]}
    sizes = equal_parameters(
        models, hidden_size=32, input_size=2, heads=HEADS, clamps={"without": {"f": 1.0}}
    )
    assert sizes["gru"] == 32
    assert abs(sizes["without"] - 32) <= 1  # three blocks are trained, as of a GRU
    assert sizes["whole"] < 30


def test_the_counts_that_are_documented():
    counts = {units: count(cell, units, 2, 1) for units, cell in ((28, "lstm"), (27, "lstm"), (32, "gru"))}
    assert counts == {28: 3613, 27: 3376, 32: 3489}
    assert [count("rnn", units, 2, 1) for units in (57, 56)] == [3535, 3417]
    blocks = {("lstm", 28): 4, ("gru", 32): 3, ("rnn", 57): 1}
    one_bias = [count(cell, units, 2, 1) - n * units for (cell, units), n in blocks.items()]
    assert one_bias == [3501, 3393, 3478]


def test_where_units_are_few_there_is_none():
    with pytest.raises(ValueRangeError, match="give more units"):
        equal_parameters(["lstm", "gru"], hidden_size=2, input_size=1, heads=HEADS)


def test_the_same_time():
    lstm = RunSpec(task="adding", cell="lstm", hidden_size=32, lr=0.01, updates=500)
    arms = equal_time({"lstm": lstm, "rnn": lstm.with_(cell="rnn")}, {"lstm": 0.004, "rnn": 0.0017})
    assert arms["rnn"] == lstm.with_(cell="rnn")
    assert arms["lstm"].updates == 210  # 500 * 1.7 / 4 is 212.5, and it ends with a validation
    few = {"lstm": lstm.with_(updates=10), "rnn": lstm.with_(cell="rnn", updates=10)}
    assert equal_time(few, {"lstm": 1.0, "rnn": 0.1})["lstm"].updates == 10  # never none
