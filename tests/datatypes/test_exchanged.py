"""Results in xarray and pandas: names of axes, views, round trips through files, long tables."""

import dataclasses
import importlib.util
import json
import sys

import numpy as np
import pytest
from helpers.cases import Case
from helpers.watches import make_watch

import gatescope as gs
from gatescope.datatypes import ByLayer, Result
from gatescope.datatypes.axes import axes_of
from gatescope.datatypes.labelled import labelled, long_form
from gatescope.datatypes.vocabulary import AXES
from gatescope.errors import MissingPackageError, UnknownNameError
from gatescope.storage.npz import decode_json

XARRAY = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("xarray", "h5netcdf", "zarr")),
    reason="needs xarray, h5netcdf and zarr",
)
PANDAS = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="needs pandas")


CASE = Case("lstm", T=7, B=3, I=2, H=5)


def make_flow():
    return gs.GradientFlow(
        cell="lstm",
        lag=np.arange(4),
        log_norm=-np.arange(8.0).reshape(4, 2),
        of="h",
        wrt="c",
        source_step=7,
        norm="random",
        source_steps=np.array([7, 5]),
        moved=np.array([True, False]),
        provenance={"seed": 3, "lags": (1, 2)},
    )


def make_points():
    return gs.FixedPoints(
        cell="lstm",
        inputs=np.zeros(1),
        states=np.ones((2, 2, 3)),
        residual=np.array([1e-12, np.nan]),
        eigenvalues=np.arange(12).reshape(2, 6) * (1 + 2j),
        stable=np.array([True, False]),
        found_by=np.array([3, 1]),
        starts=4,
        margin=1e-6,
        state_names=("h", "c"),
    )


def make_sweep():
    return gs.SweepResult(
        function="study.loss",
        points=({"cell": "lstm", "gain": 0.5}, {"cell": "gru"}),
        values=({"loss": 0.25, "curve": [1.0, 0.5]}, {}),
        status=("done", "missing"),
        messages=("", "gone"),
        seconds=np.array([1.5, np.nan]),
    )


def make_stack_trace():
    upper = gs.init("lstm", input_size=5, hidden_size=5, seed=1, dtype="float64")
    return gs.run(gs.Stack(layers=(CASE.params, upper)), CASE.inputs, lengths=[7, 4, 6])


def make_memory():
    return gs.MemoryEstimate(title="run", parts={"gates": 1 << 30, "states": 1000}, least=5)


MADE = {
    "flow": make_flow,
    "points": make_points,
    "sweep": make_sweep,
    "watch": lambda: make_watch(layers=2, readings=3),
    "params": lambda: CASE.params,
    "trace": lambda: CASE.run(lengths=[7, 4, 6]),
    "stack trace": make_stack_trace,
    "memory": make_memory,
}


def test_every_axis_that_is_declared_has_a_name():
    for kind in Result._kinds.values():
        assert not kind._rows or kind._rows in kind.__dataclass_fields__
        for name, declared in {**kind._axes, **kind._also}.items():
            if issubclass(kind, ByLayer) and name in ByLayer._axes:
                continue  # results of layers become groups
            axes = {axis.removesuffix("+1") for ndim in range(1, 6) for axis in axes_of(declared, ndim)}
            factors = [f for axis in axes for f in ([axis] if axis in kind._dims else axis.split("*"))]
            assert factors
            assert set(factors) <= {*kind._dims, *AXES}, (kind, name)


def test_every_array_declares_its_axes():
    for kind in Result._kinds.values():
        arrays = {f.name for f in dataclasses.fields(kind) if str(f.type) in ("Array", "Array | None")}
        assert arrays <= {*kind._axes}, kind


def test_a_trace_is_views_with_one_axis_of_time_for_gates_and_states():
    trace = CASE.run(lengths=[7, 4, 6])
    parts = labelled(trace)
    assert parts.variables["f"].dims == parts.variables["c"].dims == ("time", "batch", "unit")
    assert parts.variables["inputs"].dims == ("time", "batch", "feature")
    assert parts.variables["c_initial"].dims == ("batch", "unit")
    assert parts.coordinates["time"].values.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert np.array_equal(parts.variables["f"].values, trace.gate("f"))
    assert np.array_equal(parts.variables["h"].values, trace.outputs)
    assert np.array_equal(parts.variables["c_initial"].values, trace.c[0])
    for name in ("inputs", "f", "h", "c_initial"):
        source = trace.inputs if name == "inputs" else trace.gates if name == "f" else trace.states
        assert np.shares_memory(parts.variables[name].values, source)
    assert parts.variables["f"].attributes == {"long_name": "gate f", "units": "1", "valid_range": [0.0, 1.0]}
    assert parts.variables["mask"].values[:, 1].sum() == 4
    assert "gate_names" not in parts.variables


def test_weights_come_by_gate_and_unit():
    parts = labelled(CASE.params)
    assert parts.variables["weight_hh"].dims == ("gate", "unit", "source_unit")
    assert parts.coordinates["gate"].values.tolist() == list(CASE.params.gate_names)
    row = parts.coordinates["gate"].values.tolist().index("f")
    assert np.array_equal(parts.variables["bias_ih"].values[row], CASE.params.gate("f")["bias_ih"])


def test_attributes_are_numbers_and_texts_with_the_provenance_as_json():
    attributes = labelled(make_flow()).attributes
    assert attributes["gatescope_version"] == gs.__version__
    assert (attributes["result"], attributes["of"], attributes["source_step"]) == ("GradientFlow", "h", 7)
    assert decode_json(attributes["provenance"]) == {"seed": 3, "lags": (1, 2)}
    assert all(isinstance(value, str | int | float) for value in attributes.values())


def test_json_among_values_has_no_nan():
    values = ({"curve": [np.nan, 0.5]}, {"curve": [np.inf, 1.0]})
    made = labelled(dataclasses.replace(make_sweep(), values=values))
    texts = made.variables["curve"].values
    assert [json.loads(text, parse_constant=pytest.fail) for text in texts] == [[None, 0.5], [None, 1.0]]


def test_a_long_table_has_a_row_a_value():
    flow = make_flow()
    columns = long_form(flow)
    assert {name: column[:3].tolist() for name, column in columns.items()} == {
        "lag": [0, 0, 1],
        "batch": [0, 1, 0],
        "log_norm": [0.0, -1.0, -2.0],
    }
    assert [*long_form(flow, "moved")] == ["batch", "source_steps", "moved"]
    with pytest.raises(UnknownNameError, match="of"):
        long_form(flow, "nothing")
    trace = CASE.run(lengths=[7, 4, 6])
    columns = long_form(trace)
    at = (columns["time"] == 3) & (columns["batch"] == 2) & (columns["unit"] == 4)
    assert columns["c"][at] == trace.c[3, 2, 4]
    assert columns["mask"].sum() == 17 * 5


@pytest.mark.parametrize("module", ["xarray", "pandas"])
def test_a_package_that_is_missing_is_named_with_its_extra(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    method = {"xarray": "to_xarray", "pandas": "to_dataframe"}[module]
    with pytest.raises(MissingPackageError, match=rf'pip install "gatescope\[{module}\]"'):
        getattr(make_flow(), method)()


@XARRAY
@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning"
)  # of Zarr, about texts in its format 3
@pytest.mark.parametrize("name", MADE)
def test_files_give_back_what_was_written(name, tmp_path):
    import xarray

    made = MADE[name]().to_xarray()
    reading = xarray.open_datatree if isinstance(made, xarray.DataTree) else xarray.open_dataset
    made.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with reading(tmp_path / "result.nc", engine="h5netcdf") as stored:
        assert made.identical(stored.load())
    made.to_zarr(tmp_path / "result.zarr")
    with reading(tmp_path / "result.zarr", engine="zarr") as stored:
        assert made.identical(stored.load())


@XARRAY
def test_a_dataset_reads_as_the_result_does():
    trace = CASE.run(lengths=[7, 4, 6])
    ds = trace.to_xarray()
    assert np.shares_memory(ds.f.values, trace.gates)
    assert ds.sel(time=3).c.equals(ds.c[2])
    assert set(ds[["i", "f", "o"]].to_array("gate").gate.values) == {"i", "f", "o"}
    assert make_flow().to_xarray().log_norm.attrs["units"] == "nats"
    tree = make_stack_trace().to_xarray()
    assert tree["layers.1"].f.dims == ("time", "batch", "unit")


@PANDAS
def test_frames_are_long_or_what_the_table_says_unrounded():
    assert make_flow().to_dataframe().shape == (8, 3)
    layers = make_stack_trace().to_dataframe()
    assert [*layers][:4] == ["layer", "time", "batch", "unit"]
    assert layers.layer.unique().tolist() == ["layers.0", "layers.1"]
    points = make_sweep().to_dataframe()
    assert points.loss.tolist()[0] == 0.25
    shares = make_memory()
    frame = shares.to_dataframe()
    assert frame["bytes"].iloc[-1] == shares.total
    assert frame["of all"].iloc[0] == max(shares.parts.values()) / shares.total


def test_tables_are_records_of_numbers_that_json_takes():
    for name in ("flow", "points", "watch", "memory"):
        table = MADE[name]().table()
        records = table.records()
        assert len(records) == len(table.rows)
        json.dumps(records)
    rate = make_flow().table().records()[1]
    assert rate["quantity"]
