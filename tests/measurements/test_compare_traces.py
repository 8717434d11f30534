"""Two runs of a cell: what is counted is what saturation and half_life say, sequence by sequence."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError

CASE = Case("lstm", T=40, B=3, I=2, H=5)
LENGTHS = np.array([40, 25, 33])


def other(cell):
    return Case(cell, T=40, B=3, I=2, H=5, seed=1).params


def pair(cell="lstm", lengths=LENGTHS):
    case = Case(cell, T=40, B=3, I=2, H=5)
    return [gs.run(params, case.inputs, lengths=lengths) for params in (case.params, other(cell))]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_numbers_are_those_of_the_measurements(cell):
    traces = pair(cell)
    result = gs.compare_traces(*traces)
    assert result.gates == traces[0].sigmoid_names
    for run, (trace, params) in enumerate(
        zip(traces, (Case(cell, T=40, B=3, I=2, H=5).params, other(cell)), strict=True)
    ):
        counted, own = gs.saturation(trace), result.saturation(run)
        assert (own.gates, own.steps, own.left, own.right) == (
            counted.gates,
            counted.steps,
            counted.left,
            counted.right,
        )
        np.testing.assert_allclose([own.shut, own.open], [counted.shut, counted.open], atol=1e-15)
        life = gs.half_life(params, CASE.inputs, lengths=LENGTHS, transient=0)
        np.testing.assert_allclose(result.rate[run], life.gate_rate, rtol=1e-12)
        np.testing.assert_allclose(result.half_life[run], life.by_gate, rtol=1e-12)
        assert result.gate == life.gate
        for b, steps in enumerate(LENGTHS):
            values = trace.gate(result.gates[0])[:steps, b]
            np.testing.assert_allclose(result.mean[run, 0, b], values.mean(axis=0), rtol=1e-12)


def test_a_constant_gate_has_the_time_constant_of_its_value():
    params = gs.clamp(CASE.params, {"f": 0.875})
    trace = gs.run(params, CASE.inputs, lengths=LENGTHS)
    result = gs.compare_traces(trace, trace)
    np.testing.assert_allclose(result.time_constant, 8, rtol=1e-12)
    np.testing.assert_allclose(result.half_life, np.log(2) / -np.log(0.875), rtol=1e-12)
    held = gs.run(gs.clamp(CASE.params, {"f": 1.0}), CASE.inputs, lengths=LENGTHS)
    assert (gs.compare_traces(trace, held).half_life[1] == np.inf).all()


def test_the_table_has_means_with_spreads_and_the_change():
    result = gs.compare_traces(*pair(), labels=("first", "last"))
    table = result.table()
    assert table.header == ("", "first", "last", "change")
    record = next(row for row in table.records() if row["quantity"] == "f, fraction shut")
    shut = result.shut[:, result.gates.index("f")].mean(axis=2)
    change = shut[1] - shut[0]
    assert record["first"] == pytest.approx(
        {"value": shut[0].mean(), "error": shut[0].std(ddof=1)}, rel=1e-12
    )
    assert record["change"] == pytest.approx({"value": change.mean(), "error": change.std(ddof=1)}, rel=1e-12)
    assert len(table.rows) == 3 * len(result.gates) + 4
    assert "first and last" in result.summary()
    assert "<img" in result._repr_html_()
    alone = gs.compare_traces(
        *[
            dataclasses.replace(
                t, **{n: getattr(t, n)[:, :1] for n in ("inputs", "states", "gates")}, lengths=t.lengths[:1]
            )
            for t in pair()
        ]
    )
    assert "±" not in " ".join(alone.table().texts()[0])


def test_layers_are_compared_each_by_itself_and_files_keep_the_result(tmp_path):
    upper = [gs.init("lstm", input_size=5, hidden_size=5, seed=seed, dtype="float64") for seed in (1, 2)]
    models = [gs.Stack(layers=(CASE.params, layer)) for layer in upper]
    traces = [gs.run(model, CASE.inputs) for model in models]
    result = gs.compare_traces(*traces)
    assert [*result] == ["layers.0", "layers.1"]
    assert (result["layers.0"].rate[0] == result["layers.0"].rate[1]).all()
    one = gs.compare_traces(*traces, layer="layers.1")
    assert one == result["layers.1"]
    result.save(tmp_path / "both.npz")
    assert gs.load(tmp_path / "both.npz") == result


def test_what_does_not_fit_is_refused():
    before, after = pair()
    with pytest.raises(ShapeError, match="after"):
        gs.compare_traces(before, gs.run(CASE.params, CASE.inputs))
    with pytest.raises(ShapeError, match="after"):
        gs.compare_traces(before, pair("gru")[0])
    with pytest.raises(UnknownNameError, match="no gate"):
        gs.compare_traces(*pair("rnn"))
    with pytest.raises(ValueRangeError, match="left"):
        gs.compare_traces(before, after, left=0.9, right=0.1)
    with pytest.raises(ShapeError, match="labels"):
        gs.compare_traces(before, after, labels=("one",))
    with pytest.raises(DtypeError, match="before"):
        gs.compare_traces(CASE.params, after)
