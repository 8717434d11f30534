"""A file whose arrays are not those of its type is refused when it is read, not when it is used."""

import dataclasses
import json
import re
import time

import numpy as np
import pytest
from helpers.watches import make_watch

import gatescope as gs
from gatescope.datatypes import Result
from gatescope.datatypes.axes import check_axes
from gatescope.errors import DtypeError, FileFormatError, ValueRangeError
from gatescope.storage.npz import read_npz, write_npz

META = "gatescope_meta"
KINDS = {name: kind for name, kind in Result._kinds.items() if kind.__module__.startswith("gatescope.")}


def documented(kind):
    """Return what the docstring says of each array: (L, B) float64."""
    said = {}
    for names, shape, dtype in re.findall(
        r"^ {4}(\w+(?:, \w+)*) : (\([^)]*\)(?: or \([^)]*\))?)(?: (\w+\d+|bool|real))?",
        kind.__doc__,
        re.MULTILINE,
    ):
        said |= dict.fromkeys(names.split(", "), f"{shape} {dtype}".strip())
    return said


@pytest.mark.parametrize("name", KINDS)
def test_every_array_is_declared_as_its_docstring_says(name):
    kind, said = KINDS[name], documented(KINDS[name])
    arrays = [f.name for f in dataclasses.fields(kind) if str(f.type).startswith("Array")]
    assert set(arrays) <= set(kind._axes)
    for field in arrays:
        declared = kind._axes[field]
        said[field] = said[field].replace(" n)", " S*H)")  # the size of the whole state
        assert declared.removesuffix(" float64") == said[field].removesuffix(" float64"), field


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a result of each measurement over a small LSTM."""
    folder = tmp_path_factory.mktemp("results")
    params = gs.init("lstm", input_size=2, hidden_size=5, seed=0, dtype="float64")
    inputs = np.random.default_rng(0).standard_normal((60, 3, 2))
    trace = gs.run(params, inputs)
    written = {
        "params": params,
        "trace": trace,
        "flow": gs.gradient_flow(params, inputs),
        "batch": gs.Batch(inputs=inputs, targets=inputs[..., :1]),
        "saturation": gs.saturation(trace),
    }
    for name, result in written.items():
        result.save(folder / f"{name}.npz")
    return folder


NAMES = ["params", "trace", "flow", "batch", "saturation"]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_array_does_not_fit_is_refused(name, files, tmp_path):
    arrays = read_npz(files / f"{name}.npz")
    for member, array in arrays.items():
        if member == META:
            continue
        wrong = [array[..., None], array.astype("U8"), array.astype(np.complex64)]
        if array.ndim > 1 or name == "params":
            wrong.append(
                array[..., :-1]
                if member not in ("inputs", "targets", "weight_ih", "log_norm")
                else array[:-1]
            )
        for changed in wrong:
            write_npz(tmp_path / "a.npz", {**arrays, member: changed})
            with pytest.raises(FileFormatError, match="damaged"):
                gs.load(tmp_path / "a.npz")


def changed_meta(arrays, **changes):
    meta = json.loads(str(arrays[META][()]))
    for key, value in changes.items():
        meta[key] = value(meta[key])
    return {**arrays, META: np.array(json.dumps(meta))}


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("fields", lambda fields: fields | {"source_step": -1}),
        ("fields", lambda fields: fields | {"source_step": float("inf")}),
        ("fields", lambda fields: fields | {"source_step": True}),
        ("fields", lambda fields: fields | {"cell": 3}),
        ("fields", lambda fields: fields | {"cell": float("nan")}),
        ("nested", lambda _: ["lag"]),
        ("nested", lambda _: ["", ""]),
        ("nested", lambda _: [{}]),
        ("series", lambda _: {"lag": 10**9}),
        ("series", lambda _: {"lag": -1}),
        ("series", lambda _: {"lag": float("nan")}),
        ("series", lambda _: []),
    ],
)
def test_a_description_that_cannot_be_is_refused(key, change, files, tmp_path):
    write_npz(tmp_path / "a.npz", changed_meta(read_npz(files / "flow.npz"), **{key: change}))
    with pytest.raises(FileFormatError, match="damaged"):
        gs.load(tmp_path / "a.npz")


def test_nested_results_are_read_once(tmp_path):
    """A file of nine kilobytes that names one result twenty times, six levels deep: 20^6 loads."""
    meta = np.array(json.dumps({"kind": "Gradients", "nested": ["params"] * 20, "series": {}, "fields": {}}))
    write_npz(tmp_path / "a.npz", {f"{'params.' * level}{META}": meta for level in range(7)})
    assert (tmp_path / "a.npz").stat().st_size < 9000
    begin = time.monotonic()
    with pytest.raises(FileFormatError):
        gs.load(tmp_path / "a.npz")
    assert time.monotonic() - begin < 5  # it took for ever


def test_deep_json_is_refused(tmp_path):
    write_npz(tmp_path / "a.npz", {META: np.array("[" * 100_000 + "]" * 100_000)})
    with pytest.raises(FileFormatError, match="damaged"):
        gs.load(tmp_path / "a.npz")


def test_sizes_that_depend_on_each_other():
    axes = {"a": "(G*H, I)", "b": "(H,)", "c": "(I+1,)", "d": "(2, H)"}
    good = {"a": np.zeros((6, 4)), "b": np.zeros(3), "c": np.zeros(5), "d": np.zeros((2, 3))}
    check_axes(good, axes, {"G": 2})
    check_axes({**good, "d": None}, axes, {"G": 2})
    for name, shape in {"a": (7, 4), "b": (4,), "c": (4,), "d": (3, 3)}.items():
        with pytest.raises(ValueError, match="belongs"):
            check_axes({**good, name: np.zeros(shape)}, axes, {"G": 2})
    with pytest.raises(ValueError, match=r"b is of shape|b is float16\[3\], where \(H,\) belongs"):
        check_axes({**good, "b": np.zeros(3, np.float16)}, axes, {"G": 2})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("estimate", lambda fields: fields | {"parts": {"weights": [1]}}),
        ("estimate", lambda fields: fields | {"parts": {"weights": "many"}}),
        ("estimate", lambda fields: fields | {"least": 10**400}),
        ("saturation", lambda fields: fields | {"left": 10**400}),
        ("saturation", lambda fields: fields | {"cell": "\ud800"}),
    ],
)
def test_what_is_inside_a_field_is_looked_at_too(name, change, files, tmp_path):
    estimate = gs.MemoryEstimate(title="x", parts={"weights": 1}, least=1, segments=1)
    estimate.save(tmp_path / "estimate.npz")
    folder = tmp_path if name == "estimate" else files
    write_npz(tmp_path / "a.npz", changed_meta(read_npz(folder / f"{name}.npz"), fields=change))
    with pytest.raises(FileFormatError, match="damaged"):
        gs.load(tmp_path / "a.npz")


def test_sizes_that_are_never_0():
    with pytest.raises(ValueError, match=r"\(L, B, k\)"):
        check_axes({"a": np.zeros((3, 2, 0))}, {"a": "(L, B, k) float64"}, {})


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("every", 0, ValueRangeError),
        ("every", -100, ValueRangeError),
        ("loop_steps", -1, ValueRangeError),
        ("doubts", np.nan, DtypeError),
        ("layers", object(), DtypeError),
    ],
)
def test_a_changed_watch_is_refused(field, value, error):
    with pytest.raises(error, match=field):
        dataclasses.replace(make_watch(1), **{field: value})
