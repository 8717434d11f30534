"""Results of each layer: by name, as one table, as one text, in a file."""

import dataclasses

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import DtypeError, GatescopeError, ShapeError, UnknownNameError

NAMES = ("layers.0", "layers.1.forward", "layers.1.backward")


def saturation(cell, gates=("f",)):
    fractions = np.full((len(gates), 2), 0.25)
    more = {"left": 0.1, "right": 0.9, "steps": 10}
    return gs.Saturation(cell=cell, gates=gates, shut=fractions, open=fractions, **more)


@pytest.fixture
def by_layer():
    parts = (saturation("lstm", ("i", "f")), saturation("gru", ("z",)), saturation("lstm", ("o",)))
    return gs.ByLayer(names=NAMES, results=parts)


def test_a_layer_is_found_by_its_name(by_layer):
    assert by_layer["layers.0"] is by_layer["layers.-2"] is by_layer.results[0]
    assert by_layer["layers.-1.backward"] is by_layer.results[2]
    assert [*by_layer] == [*NAMES]
    assert len(by_layer) == 3
    assert [name for name, _ in by_layer.items()] == [*NAMES]


@pytest.mark.parametrize("name", ["layers.1", "layers.2", "layers.0.f", "lower", 0])
def test_what_names_no_one_layer_is_refused_with_those_there_are(by_layer, name):
    with pytest.raises(UnknownNameError, match=r"layers\.1\.forward|layers\.0"):
        by_layer[name]


def test_one_table_says_which_layer_a_row_is_of(by_layer):
    table = by_layer.table()
    assert table.header[:2] == ("layer", "gate")
    expected = [("layers.0", "i"), ("layers.0", "f"), ("layers.1.forward", "z"), ("layers.1.backward", "o")]
    assert [row[:2] for row in table.rows] == expected


def test_two_columns_become_a_column_a_layer():
    made = [gs.init(cell, input_size=2, hidden_size=3, seed=0) for cell in ("lstm", "gru")]
    table = gs.ByLayer(names=(*NAMES[:1], "layers.1"), results=tuple(made)).table()
    assert len(table.header) == len(made[0].table().header) + 1  # weights have a row a gate
    flows = [gs.gradient_flow(params, np.ones((9, 2))) for params in made]
    table = gs.ByLayer(names=("layers.0", "layers.1"), results=tuple(flows)).table()
    rows = {row[0]: row[1:] for row in table.rows}
    for k, flow in enumerate(flows):
        for quantity, value in flow.table().rows:
            np.testing.assert_equal(rows[quantity][k], value)


def test_the_text_says_which_layer_it_is_of(by_layer):
    lines = by_layer.summary().splitlines()
    assert lines[0] == "saturation of 2 layers"
    assert [line.split(": ")[0] for line in lines if not line.startswith(" ")][1:] == [*NAMES]
    assert all(name in by_layer._repr_html_() for name in NAMES)


def test_it_is_saved_and_read(by_layer, tmp_path):
    by_layer.save(tmp_path / "a.npz")
    assert gs.ByLayer.load(tmp_path / "a.npz") == by_layer


@pytest.mark.parametrize("names", [(), NAMES[:2], ("layers.0", "layers.0", "layers.1"), ("a", "b", "c")])
def test_names_that_do_not_fit_the_results_are_refused(by_layer, names):
    with pytest.raises(ShapeError, match="names"):
        dataclasses.replace(by_layer, names=names)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": None}, r"^names is a NoneType"),
        ({"results": 3}, r"^results is an int"),
        ({"names": ("layers.0", 1, "layers.1.backward")}, r"^names\[1\] is an int"),
        ({"results": (1.0, 2.0, 3.0)}, r"^results\[0\] is a float"),
    ],
)
def test_what_are_no_names_and_no_results_is_refused(by_layer, fields, message):
    with pytest.raises(DtypeError, match=message):
        dataclasses.replace(by_layer, **fields)


def test_outputs_of_a_run_are_an_array():
    trace = gs.run(gs.Stack(layers=(gs.init("gru", input_size=2, hidden_size=3, seed=0),)), np.ones((5, 2)))
    for outputs in (None, [1.0], trace.outputs[0]):
        with pytest.raises(GatescopeError, match="outputs"):
            dataclasses.replace(trace, outputs=outputs)
