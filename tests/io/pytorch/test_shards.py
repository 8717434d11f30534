"""Weights in several files, by the list that lies beside them; none of the files alone."""

import hashlib
import json

import numpy as np
import pytest
from helpers.torch_zip import Tensor, write_torch
from helpers.weights import entries, in_several_files, linear

import gatescope as gs
from gatescope.errors import FileFormatError, WeightFormatError

NAMES = ("rnn.weight_ih_l0", "rnn.weight_hh_l0")
WEIGHTS = entries("lstm", 3, 5, layers=2, prefix="model.rnn.") | linear("head", 5)


def test_the_list_gives_what_one_file_does(tmp_path):
    index = in_several_files(tmp_path, WEIGHTS, count=3)
    stored = gs.list_weights(index)
    assert stored.format == "weights in 3 files"
    assert stored.networks[0].readout.name == "head"
    model = gs.load_weights(index)
    assert model == gs.load_weights(WEIGHTS)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert model.provenance["files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards
    }
    (tmp_path / "renamed").write_bytes(index.read_bytes())  # what counts is what is in it
    assert gs.load_weights(tmp_path / "renamed") == model


def test_files_of_torch_save(tmp_path):
    def save(weights, path):
        write_torch(path, {name: Tensor(value, str(k)) for k, (name, value) in enumerate(weights.items())})

    index = in_several_files(tmp_path, WEIGHTS, save=save, suffix="bin")
    assert gs.load_weights(index) == gs.load_weights(WEIGHTS)


def test_only_files_that_are_needed_are_opened(tmp_path):
    index = in_several_files(tmp_path, {name: WEIGHTS[name] for name in WEIGHTS if "rnn" in name})
    listed = json.loads(index.read_text())
    listed["weight_map"]["other.weight"] = "model-00009-of-00009.safetensors"  # of which nothing is read
    index.write_text(json.dumps(listed))
    assert gs.load_weights(index).cells == ("lstm", "lstm")


@pytest.mark.parametrize("number", [1, 2])
def test_one_of_the_files_alone_is_refused(number, tmp_path):
    in_several_files(tmp_path, WEIGHTS)
    path = tmp_path / f"model-{number:05}-of-00002.safetensors"
    with pytest.raises(WeightFormatError, match=r"one of the 2 files .* 'model\.safetensors\.index\.json'"):
        gs.load_weights(path)
    whole = tmp_path / "model-00001-of-00001.safetensors"
    whole.write_bytes(path.read_bytes())
    assert gs.list_weights(whole).format == "safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_map": {"a": "../model.safetensors"}}, "no file beside it"),
        ({"weight_map": {"a": "/etc/passwd"}}, "no file beside it"),
        ({"weight_map": {"a": ".."}}, "no file beside it"),
        ({"weight_map": {"a": ["x.h5"]}}, "Keras saved in several files"),
        ({"weight_map": {"a": "x.weights.h5"}}, "Keras saved in several files"),
        ({"weight_map": [1, 2]}, "no readable list"),
        (
            {"weight_map": dict.fromkeys(NAMES, "none.safetensors")},
            "lies in 'none.safetensors', which is not",
        ),
        ({"weight_map": dict.fromkeys(NAMES, "y" * 5000)}, "no file beside it"),
        ({"weight_map": dict.fromkeys(NAMES, "index.json")}, "not a readable safetensors file"),
        ({"weight_map": {}}, "no recurrent layer"),
    ],
)
def test_lists_that_are_none(change, message, tmp_path):
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"metadata": {}, **change}))
    with pytest.raises(FileFormatError, match=message):
        gs.load_weights(path)


def test_a_file_that_lacks_what_is_said_of_it(tmp_path):
    index = in_several_files(tmp_path, WEIGHTS)
    text = index.read_text()
    listed = json.loads(text)
    files = listed["weight_map"]
    files["model.rnn.weight_hh_l0"] = next(
        file for file in files.values() if file != files["model.rnn.weight_hh_l0"]
    )
    index.write_text(json.dumps(listed))
    with pytest.raises(FileFormatError, match=r"'model.rnn.weight_hh_l0' lies in .* no such entry"):
        gs.load_weights(index)
    index.write_text(text[: len(text) // 2])
    with pytest.raises(FileFormatError, match="no readable list"):
        gs.load_weights(index)


def test_folders_say_which_file_to_give(tmp_path):
    in_several_files(tmp_path, WEIGHTS)
    with pytest.raises(
        WeightFormatError, match=r"is a folder; give the file .*: 'model\.safetensors\.index\.json'"
    ):
        gs.load_weights(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"")
    with pytest.raises(WeightFormatError, match="SavedModel of TensorFlow"):
        gs.load_weights(saved)
    np.save(tmp_path / "x.npy", np.zeros(3))
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001"):
        (tmp_path / name).write_bytes(bytes(40))
        with pytest.raises(WeightFormatError, match="checkpoint of TensorFlow"):
            gs.load_weights(tmp_path / name)


def test_a_list_larger_than_any_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "index.json"
    with open(path, "wb") as file:
        file.write(b'{"weight_map": {"a": "')
        file.truncate(1 << 30)
    with pytest.raises(FileFormatError, match="more than any list of files needs"):
        gs.load_weights(path)
