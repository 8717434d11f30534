"""Files of Keras that mean harm, and what is no file of Keras: refused without taking memory or running anything."""

import json
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from gatescope.errors import (
    FileFormatError,
    MissingPackageError,
)
from gatescope.io.keras.networks import read_keras

pytest.importorskip("h5py")
from helpers import keras_files as files
from helpers.keras_files import inbound, keras_2, only_layer, read_archive

MOST_MEMORY = 64 * 2**20  # bytes, whatever a file claims


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def refused(path, reason):
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=reason) as info:
            read_keras(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert len(str(info.value)) < 500
    assert str(path) in str(info.value)


def good():
    return files.hdf5({"lstm": ("lstm", files.recurrent("lstm"))}), files.config(files.lstm())


def test_what_is_no_file_of_keras(path):
    for data, reason in (
        (b"", "is no file of Keras"),
        (b"PK\x03\x04", "has no list of members"),
        (b"\x89HDF\r\n\x1a\n", "is not a readable HDF5 file"),
        (
            b'{"metadata": {}, "weight_map": {}}',
            "is a text: the list of the files that the weights are shared out to",
        ),
    ):
        path.write_bytes(data)
        refused(path, reason)
    refused(path.parent, "it is a folder")
    refused(path.parent / "nothing", "there is no such file")


def test_archives_with_other_members(path):
    weights, said = good()
    refused(files.archive(path, None, said), "is a zip file without 'model.weights.h5'")
    refused(files.archive(path, None, said, **{"../model.weights.h5": weights}), "without 'model.weights.h5'")
    stored = read_keras(files.archive(path, weights, said, **{"../../evil": b"x", "/etc/evil": b"x"}))
    assert only_layer(stored).refused == ""
    assert sorted(each.name for each in path.parent.iterdir()) == ["model"]  # nothing was unpacked
    with pytest.warns(UserWarning, match="Duplicate name"):
        files.archive(path, weights, said, **{"model.weights.h5": weights})
    refused(path, "holds 'model.weights.h5' twice")


def test_members_that_unpack_to_gigabytes(path):
    weights, said = good()
    refused(
        files.archive(path, weights, said, zipfile.ZIP_DEFLATED),
        "compressed or encrypted, as Keras never writes it",
    )
    data = files.archive(path, bytes(2**24), said, zipfile.ZIP_DEFLATED).read_bytes()
    assert len(data) < 2**15
    refused(path, "compressed or encrypted")


def test_members_that_are_not_where_they_are_said_to_be(path):
    weights, said = good()
    data = files.archive(path, weights, said).read_bytes()
    size = len(weights).to_bytes(4, "little")
    path.write_bytes(data.replace(size + size, (2**31).to_bytes(4, "little") * 2))
    refused(path, "ends before 'model.weights.h5' does")
    path.write_bytes(data[: len(data) // 2])
    refused(path, "has no list of members")
    with zipfile.ZipFile(path, "w") as file:
        for k in range(4000):
            file.writestr(f"assets/{k}/{'x' * 250}", b"")
    refused(path, "has a list of members that Keras does not write")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{" * 50, "no readable JSON"),
        ("[" * 100_000, "no readable JSON"),
        ('{"class_name":' * 30_000, "no readable JSON"),
        (" " * (3 * 2**20 + 1), "of 3145729 bytes, more than any model needs"),
        (json.dumps({"config": {"layers": [{}] * 10_001}}), "describes a model of 10,001 layers"),
    ],
)
def test_descriptions_without_end(path, text, reason):
    refused(files.archive(path, good()[0], text), reason)


def test_a_description_in_an_older_file_without_end(path):
    names = {"a/kernel:0": np.ones(3, np.float32)}
    said = {"class_name": "Sequential", "config": {"name": "", "layers": []}}
    for _ in range(150):
        said = {"class_name": "Sequential", "config": {"name": "a", "layers": [said]}}
    refused(keras_2(path, names, said), "has layers in layers without end|in more than 16 layers")


def test_a_layer_that_feeds_itself(path):
    layers = {
        "lstm": ("a", files.recurrent("lstm", inputs=3)),
        "lstm_1": ("b", files.recurrent("lstm", inputs=3)),
    }
    said = files.config((*files.lstm("a"), inbound("b")), (*files.lstm("b"), inbound("a")), kind="Functional")
    stored = read_archive(path, layers, said)
    assert sorted(layer.name for network in stored.networks for layer in network.layers) == ["a", "b"]
    said = files.config(
        (*files.lstm("a"), inbound("d")), ("Dropout", {"name": "d"}, inbound("d")), kind="Functional"
    )
    assert len(read_archive(path, layers, said).networks) == 2


def test_code_in_a_description_is_not_run(path):
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAA", "defaults": None, "closure": None}}
    said = files.config(files.lstm(), ("Lambda", {"name": "lambda", "function": code, "output_shape": None}))
    stored = read_archive(path, {"lstm": ("lstm", files.recurrent("lstm")), "lambda": ("lambda", {})}, said)
    assert only_layer(stored).refused == ""


@pytest.mark.parametrize(
    "said", [3, [], "text", None, {"config": 3}, {"class_name": ["x"], "config": {"layers": 3}}]
)
def test_descriptions_of_nothing(path, said):
    stored = read_keras(files.archive(path, good()[0], json.dumps(said)))
    assert only_layer(stored).forward.cell == "lstm"


def test_descriptions_of_any_shape(path):
    """Each value in a description is replaced by others: a result or a FileFormatError, and nothing else."""
    weights, said = good()
    said["config"]["layers"][0].update(inbound("entry"))
    said["class_name"] = "Functional"

    def places(value, way=()):
        yield way
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, child in items:
            yield from places(child, (*way, key))

    for way in places(said):
        for other in (None, [], {"config": []}):
            changed = json.loads(json.dumps({"whole": said}))
            value = changed
            for key in ("whole", *way)[:-1]:
                value = value[key]
            value[("whole", *way)[-1]] = other
            files.archive(path, weights, json.dumps(changed["whole"]))
            assert len(read_keras(path).networks) >= 0


def test_without_h5py(path, monkeypatch):
    files.archive(path, *good())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        MissingPackageError, match=r"read with h5py, which is not installed; pip install h5py"
    ):
        read_keras(path)
