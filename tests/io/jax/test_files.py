"""Files of JAX weights: msgpack of Flax and rows of arrays of Equinox, torn and hostile ones too."""

import io
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.jax_trees import normal
from helpers.stored_networks import only_network

from gatescope.errors import (
    FileFormatError,
    GatescopeError,
    MissingPackageError,
)
from gatescope.io.jax.networks import read_jax

FOLDER = Path(__file__).parents[2] / "golden" / "weights"
GOLDEN = sorted(path for path in FOLDER.glob("jax_*") if path.suffix != ".npz" or path.stem.endswith(".tree"))


def test_a_folder_of_orbax_is_refused_with_what_converts_it(tmp_path):
    with pytest.raises(FileFormatError, match=r"Orbax.*flatten_dict"):
        read_jax(tmp_path)


def test_a_message_names_the_package(monkeypatch, tmp_path):
    path = tmp_path / "weights.msgpack"
    path.write_bytes(b"\x80")
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MissingPackageError, match=r"gatescope\[flax\]"):
        read_jax(path)


def refused(path, data, match):
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=match):
            read_jax(path)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    assert [*path.parent.iterdir()] == [path]


def packed(shape, dtype, data):
    msgpack = pytest.importorskip("msgpack")
    return msgpack.packb({"w": msgpack.ExtType(1, msgpack.packb((shape, dtype, data)))})


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (((2**29, 2**29), "float32", b""), "0 bytes that promises shape"),
        (((3,), "float32", bytes(11)), "11 bytes that promises shape"),
        (((-3, -4), "float32", bytes(48)), "promises shape"),
        (((1,) * 40, "float32", bytes(4)), "promises shape"),
        (((3.0,), "float32", bytes(12)), "promises shape"),
        (((2**40, "a"), "float32", bytes(12)), "promises shape"),
        ((3, "float32", bytes(12)), "none of Flax's"),
        (((3,), 7, bytes(12)), "none of Flax's"),
        (((3,), b"\xff", bytes(12)), "none of Flax's"),
        (((3,), "float32", 3), "none of Flax's"),
    ],
)
def test_arrays_of_msgpack_that_lie(tmp_path, arguments, match):
    refused(tmp_path / "weights.msgpack", packed(*arguments), match)


@pytest.mark.parametrize(
    "data",
    [
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1w\xdd\xff\xff\xff\xff",
        b"\x81\xa1w" + b"\xdd\x00\x0f\x00\x00" * 300,
        b"\x81\xa1w" * 10_000,
        b"\x81" * 10_000,
        b"\x81\xa1w\xc9\xff\xff\xff\xff\x01",
        b"\x81\xa1w\xc6\xff\xff\xff\xff",
        b"\x81\xa1w\xc7\x00\x01",
        b"\x81\xa1w\xc0\xc0",
        b"\x81\xc1\xc0",
        b"\x81\x80\x80",
    ],
    ids=range(11),
)
def test_msgpack_that_claims_or_nests_without_end(tmp_path, data):
    pytest.importorskip("msgpack")
    refused(tmp_path / "weights.msgpack", data, "is not a readable msgpack|none of Flax's|without arrays")


def test_arrays_in_chunks_are_refused(tmp_path):
    msgpack = pytest.importorskip("msgpack")
    data = msgpack.packb({"w": {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {}}})
    refused(tmp_path / "weights.msgpack", data, "in several chunks")


def test_bfloat16_of_flax(tmp_path):
    msgpack = pytest.importorskip("msgpack")
    values = {"dense_i": normal(3, 20), "dense_h": normal(5, 20)}
    tree = {
        name: {
            "kernel": msgpack.ExtType(
                1,
                msgpack.packb(
                    (value.shape, "bfloat16", (value.view(np.uint32) >> 16).astype(np.uint16).tobytes())
                ),
            )
        }
        for name, value in values.items()
    }
    path = tmp_path / "weights.msgpack"
    path.write_bytes(msgpack.packb(tree))
    part = only_network(read_jax(path)).layers[0].forward
    assert part.dtype == "bfloat16"
    expected = (values["dense_h"].view(np.uint32) & 0xFFFF0000).view(np.float32).T
    np.testing.assert_array_equal(part.load()["weight_hh"], expected)


def in_a_row(*arrays):
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array)
    return stream.getvalue()


def test_cells_among_other_arrays_of_equinox(tmp_path):
    arrays = [normal(7, 4), normal(7), normal(20, 7), normal(20, 5), normal(20), np.float32(3)]
    arrays += [normal(15, 4), normal(15, 5), normal(15), normal(5), normal(2, 5)]
    path = tmp_path / "model.eqx"
    path.write_bytes(b'{"size": 5}\n' + in_a_row(*arrays))
    stored = read_jax(path)
    assert [network.prefix for network in stored.networks] == ["2", "6"]
    assert [network.layers[0].forward.cell for network in stored.networks] == ["lstm", "gru"]
    assert stored.unused == ("0/weight", "0/bias", "5/value", "10/value")


def test_cells_in_a_row_whose_sizes_fit(tmp_path):
    path = tmp_path / "model.eqx"
    path.write_bytes(in_a_row(normal(20, 3), normal(20, 5), normal(24, 5), normal(24, 6), normal(24)))
    stored = read_jax(path)
    assert [layer.forward.hidden_size for layer in only_network(stored).layers] == [5, 6]
    assert "'0', '2' are taken for the layers of one network" in stored.notes[0]


def test_layouts_of_equinox_files(tmp_path):
    path = tmp_path / "model.eqx"
    half = normal(20, 3).astype(np.float16)
    bits = (normal(20, 5).view(np.uint32) >> 16).astype(np.uint16)
    path.write_bytes(in_a_row(np.asfortranarray(half), bits.view("V2"), normal(20).astype(">f4")))
    weights = only_network(read_jax(path)).layers[0].forward.load()
    np.testing.assert_array_equal(weights["weight_ih"], half)
    np.testing.assert_array_equal(weights["weight_hh"].view(np.uint32) >> 16, bits)
    np.testing.assert_array_equal(weights["bias_ih"], normal(20))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"{" + b" " * 10**6, "not with a line of hyperparameters"),
        (b'{"size": 5}\nnothing', "at byte 12 there is no array"),
        (in_a_row(normal(3, 3))[:-1], "promises 36 bytes"),
        (in_a_row(normal(3, 3)) + b"\x93NUMPY", "there is no array"),
        (
            in_a_row(normal(3, 3)).replace(b"(3, 3)", b"(3,-3)"),
            "which are never loaded|there is no array|promises",
        ),
        (in_a_row(normal(3, 3)).replace(b"(3, 3), }  ", b"(9**9, 3), }"), "there is no array"),
        (
            in_a_row(np.zeros((9, 9), np.float32)).replace(b"(9, 9), }     ", b"(2**40, 9), }"),
            "no array|promises",
        ),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 70_000, "there is no array|header"),
    ],
    ids=["brace", "text", "short", "torn", "negative", "formula", "claim", "header"],
)
def test_hostile_files_of_equinox(tmp_path, data, match):
    refused(tmp_path / "model.eqx", data, match)


def test_pickles_are_not_loaded(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    refused(tmp_path / "model.eqx", stream.getvalue(), "pickled objects, which are never loaded")


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"text", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(50)])
def test_other_files_are_refused(tmp_path, data):
    pytest.importorskip("msgpack")  # a pickle begins as one
    refused(tmp_path / "weights", data, "no tree of JAX weights|not a readable|without arrays")


@pytest.mark.parametrize("name", ["jax_linen_lstm.msgpack", "jax_equinox_gru.eqx", "jax_haiku_rnn.tree.npz"])
def test_damaged_files_are_refused_or_read(tmp_path, name):
    """Cut off and with bytes changed: an error of ours, or weights; never another error."""
    if name.endswith("msgpack"):
        pytest.importorskip("msgpack")
    data, rng = (FOLDER / name).read_bytes(), np.random.default_rng(0)
    path, refusals = tmp_path / "weights", 0
    for k in range(150):
        changed = bytearray(data[: rng.integers(len(data))] if k % 4 == 0 else data)
        for at in rng.integers(len(changed), size=rng.integers(1, 4)) if changed else ():
            changed[at] = rng.integers(256)
        path.write_bytes(changed)
        try:
            for network in read_jax(path).networks:
                for layer in network.layers:
                    assert layer.forward is None or layer.forward.load()["weight_ih"].size
        except GatescopeError:
            refusals += 1
    assert refusals > 20
    assert [*tmp_path.iterdir()] == [path]
