"""ONNX models that lie, and data that lie where none should be read: refused, nothing read, nothing taken."""

import os
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from helpers.stored_networks import only_network

from gatescope.errors import FileFormatError, GatescopeError, WeightFormatError
from gatescope.io.onnx.networks import read_onnx

onnx = pytest.importorskip("onnx")
helper = onnx.helper
made_by = pytest.importorskip("helpers.onnx_models")  # imports onnx


@contextmanager
def little_memory(most=50 * 2**20):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def read_whole(source):
    for network in read_onnx(source).networks:
        for layer in network.layers:
            layer.forward.load()


def refused(source, match):
    with little_memory(), pytest.raises(FileFormatError, match=match):
        read_whole(source)


def external(folder, *, location="model.data", write=True, **entries):
    """Return the path of a model that keeps W beside it, as torch.onnx.export writes it."""
    model = made_by.one_node("LSTM")
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": location, "offset": "64", "length": str(len(data)), **entries}
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    if write:
        (folder / "model.data").write_bytes(bytes(64) + data)
    return made_by.saved(model, folder / "model.onnx")


@pytest.mark.parametrize("entries", [{}, {"length": None}, {"checksum": "0"}], ids=str)
def test_data_in_the_folder_of_the_model_are_read(tmp_path, entries):
    path = external(tmp_path, **entries)
    (layer,) = only_network(read_onnx(path)).layers
    (plain,) = only_network(read_onnx(made_by.one_node("LSTM"))).layers
    np.testing.assert_array_equal(layer.forward.load()["weight_ih"], plain.forward.load()["weight_ih"])


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "sub/model.data", "./model.data", "..", ".", "", "..\\secret", "a\0b"],
    ids=repr,
)
def test_data_elsewhere_are_not_read(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(10_000))
    refused(external(folder, location=location), "not the name of a file in the model's own folder")


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"offset": "65"}, "which has 304 bytes: it says 240 at 65"),
        ({"offset": "-1"}, "at '-1'"),
        ({"offset": "9" * 30}, "at '9999"),
        ({"offset": "²"}, "at '²'"),
        ({"length": "8"}, "its shape promises 240"),
        ({"length": str(2**62)}, "its shape promises 240"),
        ({"length": "many"}, "for 'many' bytes"),
        ({"write": False}, "which is not there"),
    ],
    ids=str,
)
def test_data_that_are_not_what_is_promised(tmp_path, entries, match):
    refused(external(tmp_path, **entries), match)


@pytest.mark.parametrize("kind", ["link", "hanging link", "folder", "pipe"])
def test_what_is_no_plain_file_is_not_opened(tmp_path, kind):
    (tmp_path / "elsewhere").mkdir()
    target, path = tmp_path / "elsewhere" / "secret", tmp_path / "model.data"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    if kind == "link":
        target.write_bytes(bytes(10_000))
    refused(external(tmp_path, write=False), "is a link or no regular file")


def test_a_model_in_memory_has_no_folder(tmp_path):
    model = onnx.load(external(tmp_path), load_external_data=False)
    refused(model, "has no folder; give the path")


def test_data_that_go_while_the_model_is_open(tmp_path):
    stored = read_onnx(external(tmp_path))
    (tmp_path / "model.data").write_bytes(b"")
    with pytest.raises(FileFormatError, match="has lost the end"):
        only_network(stored).layers[0].forward.load()


def claiming(dims, **fields):
    """Return a model whose W claims a shape that it does not have."""
    model = made_by.one_node("RNN")
    model.graph.initializer[0].CopyFrom(onnx.TensorProto(name="W", data_type=1, dims=dims, **fields))
    return model


@pytest.mark.parametrize(
    "model",
    [
        claiming((1, 2**29, 1)),
        claiming((1, 2**62, 2**62)),
        claiming((1, 5, 3), raw_data=bytes(59)),
        claiming((1, 5, 3), float_data=[1.0] * 14),
        claiming((1, -5, -3), raw_data=bytes(60)),
        claiming((1,) * 40 + (5, 3), raw_data=bytes(60)),
        claiming((1, 5, 3), int64_data=[0] * 15),
        claiming((1, 5, 3), raw_data=bytes(60), segment=onnx.TensorProto.Segment(begin=0, end=2**40)),
    ],
    ids=["nothing", "overflow", "short", "few", "negative", "axes", "another field", "segment"],
)
def test_shapes_that_promise_what_is_not_there(model):
    refused(model, "holds 'W'")


def test_joining_the_same_numbers_again_and_again_is_refused():
    arrays = made_by.weights("RNN")
    nodes = [
        helper.make_node("Concat", [f"W{k}", f"W{k}"], [f"W{k + 1}"], axis=2, name=f"join{k}")
        for k in range(15)
    ]
    nodes.append(made_by.node("RNN", arrays))
    nodes[-1].input[1] = "W15"
    model = made_by.model(nodes, {"W0": arrays["W"], "R": arrays["R"]})
    with little_memory():
        (layer,) = only_network(read_onnx(model)).layers
    assert "repeats stored numbers" in layer.refused


@pytest.mark.parametrize("length", [15, 5000])
def test_long_rows_of_nodes_end(length):
    arrays = made_by.weights("RNN", bias=False)
    nodes = [helper.make_node("Identity", [f"W{k}"], [f"W{k + 1}"]) for k in range(length)]
    nodes.append(made_by.node("RNN", arrays))
    nodes[-1].input[1] = f"W{length}"
    (layer,) = only_network(read_onnx(made_by.model(nodes, {"W0": arrays["W"], "R": arrays["R"]}))).layers
    assert ("computed by Identity" in layer.refused) == (length > 16)


def functions(count, calls, recursive=False):
    """Yield functions that each call the next `calls` times."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for k in range(count):
        callee = "f0" if recursive else f"f{k + 1}"
        nodes = [helper.make_node(callee, ["x"], [f"y{j}"], domain="own") for j in range(calls)]
        nodes.append(helper.make_node("Identity", ["x"], ["y"]))
        yield helper.make_function("own", f"f{k}", ["x"], ["y"], nodes, opset)


@pytest.mark.parametrize(
    ("made", "match"),
    [
        ([*functions(30, 2)], "call each other for more than"),
        ([*functions(60, 1)], "nested more than 40 deep"),
        ([*functions(1, 1, recursive=True)], "nested more than 40 deep"),
        ([*functions(1, 5, recursive=True)], "nested more than 40 deep|call each other"),
    ],
    ids=["doubling", "deep", "itself", "itself often"],
)
def test_functions_that_call_each_other_without_end(made, match):
    refused(made_by.model([helper.make_node("f0", ["X"], ["Y"], domain="own")], {}, functions=made), match)


def test_a_function_with_many_names_called_often():
    wide = helper.make_function(
        "own", "f0", [f"x{k}" for k in range(5000)], [], [], [helper.make_opsetid("", 17)]
    )
    calls = [helper.make_node("f0", [], [], domain="own") for _ in range(5000)]
    refused(made_by.model(calls, {}, functions=[wide]), "call each other for more than")


def test_a_file_of_nothing_but_nodes():
    """Two bytes each: the graph is field 7 of a model, a node field 1 of a graph."""
    graph = b"\x0a\x00" * 300_000
    model = onnx.ModelProto.FromString(b"\x3a" + b"\xc0\xcf\x24" + graph)
    assert len(model.graph.node) == 300_000
    refused(model, "has more than 100,000 nodes")


def test_cycles_and_names_that_mean_nothing():
    arrays = made_by.weights("LSTM")
    nodes = [made_by.node("LSTM", arrays, x="Y1", outputs=["Y0"])]
    nodes += [
        helper.make_node("Identity", [a], [b]) for a, b in (("Y0", "Y1"), ("W", "W"), ("nothing", "nowhere"))
    ]
    stored = read_onnx(made_by.model(nodes, arrays))
    assert len(only_network(stored).layers) == 1


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"not a model", bytes(1000), b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(99)]
)
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    refused(path, "is not a readable ONNX model|is no ONNX model|no LSTM")


def test_names_that_are_no_text():
    """Protobuf gives them as bytes."""
    model = made_by.one_node("LSTM")
    for name in (b"lstm", b"LSTM", b"X"):
        data = model.SerializeToString().replace(name, b"\xff" * len(name))
        changed = onnx.ModelProto.FromString(data)
        if name == b"LSTM":
            refused(changed, "no LSTM, GRU or RNN node")
        else:
            read_whole(changed)


def test_a_place_that_is_no_text(tmp_path):
    path = external(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"model.data", b"\xff" * 5 + b".data"))
    refused(path, "not the name of a file|is not there")


def test_a_missing_file(tmp_path):
    refused(tmp_path / "model.onnx", "there is no such file")
    refused(tmp_path, "it is a folder")


def test_damaged_files_are_refused_or_read_and_nothing_is_written(tmp_path):
    """Cut off and with bytes changed: an error of ours, or weights; never another error."""
    data = made_by.one_node("GRU", directions=2, direction="bidirectional").SerializeToString()
    rng, path, refusals = np.random.default_rng(0), tmp_path / "model.onnx", 0
    for k in range(200):
        changed = bytearray(data[: rng.integers(len(data))] if k % 4 == 0 else data)
        near = (
            len(changed) if k % 2 else min(len(changed), 60)
        )  # names and sizes lie at the start and the end
        for at in rng.integers(near, size=rng.integers(1, 4)) if near else ():
            changed[at] = rng.integers(256)
        path.write_bytes(changed)
        try:
            for network in read_onnx(path).networks:
                for layer in network.layers:
                    for part in (layer.forward, layer.backward):
                        assert part is None or part.load()["weight_ih"].shape[1] == part.input_size
        except GatescopeError:
            refusals += 1
    assert 30 < refusals < 200
    assert [*tmp_path.iterdir()] == [path]


def test_long_names_are_shortened():
    model = made_by.one_node("LSTM")
    model.graph.node[0].name = "n" * 10**6
    (layer,) = only_network(read_onnx(model)).layers
    assert len(layer.name) <= 120
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "w" * 10**6
    model.graph.initializer[0].raw_data = b""
    with pytest.raises(WeightFormatError) as error:
        read_onnx(model)
    assert len(str(error.value)) < 500
