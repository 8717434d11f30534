"""Characters: streams that go on, the split, the vocabulary, the baseline, and files that are no text."""

import codecs
import math

import numpy as np
import pytest
from helpers.judging import loss, same
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.datatypes import Head
from gatescope.errors import DtypeError, FileFormatError, UnknownNameError, ValueRangeError
from gatescope.tasks._characters import characters

TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom...\r\n\tèé €𝄞"


@pytest.fixture
def write(tmp_path):
    def written(text, encoding="utf-8"):
        path = tmp_path / "text.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return written


def text_of(batch, values):
    """Return the streams as text, one a sequence."""
    known = batch.provenance["vocabulary"]
    classes = values.argmax(axis=2) if values.shape[2] == len(known) else values[:, :, 0].astype(int)
    return ["".join(known[k] for k in column) for column in classes.T]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streams_are_whole_text_and_the_target_is_the_next_character(write, dtype):
    batch = characters(write(TEXT), steps=20, sequences=4, dtype=dtype)
    count = len(set(TEXT))
    assert batch.inputs.shape == (20, 4, count)
    assert batch.targets.shape == (20, 4, 1)
    assert batch.inputs.dtype == batch.targets.dtype == dtype
    assert all(array.flags.c_contiguous for array in batch.arrays().values())
    assert batch.heads == (Head("character", count, "cross_entropy"),)
    assert batch.provenance["vocabulary"] == "".join(sorted(set(TEXT)))
    np.testing.assert_array_equal(batch.inputs.sum(axis=2), 1)
    assert "".join(text_of(batch, batch.inputs)) == TEXT[:80]
    assert "".join(text_of(batch, batch.targets)) == TEXT[1:81]
    assert batch.mask.all()
    assert batch.lengths.tolist() == [20] * 4


@given(st.text(st.characters(codec="utf-8"), min_size=2, max_size=60), st.integers(1, 8))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_text_comes_back(tmp_path_factory, text, streams):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text.encode())
    longest = (len(text) - 1) // streams
    if len(set(text)) == 1:
        with pytest.raises(ValueRangeError, match="alone, so there is nothing to predict"):
            characters(path, sequences=streams)
        return
    if not longest:
        with pytest.raises(ValueRangeError, match=rf"has {len(text)} characters"):
            characters(path, sequences=streams)
        return
    batch = characters(path, sequences=streams)
    assert batch.inputs.shape[:2] == (longest, streams)
    known = batch.provenance["vocabulary"]
    read = [known[k] for k in batch.inputs.argmax(axis=2).T.ravel()]
    following = [known[int(k)] for k in batch.targets[:, :, 0].T.ravel()]
    assert "".join(read) == text[: longest * streams]
    assert "".join(following) == text[1 : longest * streams + 1]


def test_the_splits_are_stretches_of_the_file(write):
    path = write("".join(chr(1000 + k) for k in range(200)))
    splits = {}
    for split in ("all", "train", "valid", "test"):
        fractions = {} if split == "all" else {"valid_fraction": 0.2, "test_fraction": 0.05}
        batch = characters(path, split=split, sequences=1, **fractions)
        recorded = {name: batch.provenance[name] for name in ("valid_fraction", "test_fraction")}
        assert recorded == (fractions or {"valid_fraction": 0, "test_fraction": 0})
        splits[split] = (
            batch.provenance["first_character"],
            text_of(batch, batch.inputs)[0] + text_of(batch, batch.targets)[0][-1],
        )
        assert batch.inputs.shape[2] == 200  # one vocabulary for all splits
    assert [splits[split][0] for split in ("all", "train", "valid", "test")] == [0, 0, 150, 190]
    assert splits["train"][1] + splits["valid"][1] + splits["test"][1] == splits["all"][1]


def test_the_baseline_is_the_entropy_of_the_targets(write):
    batch = characters(write(TEXT), sequences=3, dtype="float64")
    share = (
        np.bincount(batch.targets[:, :, 0].astype(int).ravel(), minlength=batch.output_size) / batch.mask.size
    )
    outputs = np.broadcast_to(np.log(np.maximum(share, 1e-300)), (*batch.mask.shape, len(share)))
    assert loss(batch, outputs) == pytest.approx(batch.baseline, rel=1e-12)
    assert characters(write("ab" * 50 + "a"), sequences=2).baseline == pytest.approx(math.log(2), rel=1e-12)
    assert characters(write("a" * 50), sequences=2, vocabulary="ab").baseline == 0


def test_a_vocabulary_that_is_given(write):
    first = characters(write("abcabcabc"), sequences=1)
    other = characters(write("ccbbaaab"), sequences=1, vocabulary=first.provenance["vocabulary"] + "?")
    assert other.inputs.shape == (7, 1, 4)
    assert text_of(other, other.inputs) == ["ccbbaaa"]
    turned = characters(write("abc"), sequences=1, vocabulary="cab")  # its order is that of the classes
    assert turned.inputs.argmax(axis=2).ravel().tolist() == [1, 2]
    assert turned.targets.ravel().tolist() == [2, 0]
    with pytest.raises(ValueRangeError, match=r"vocabulary does not have 'd', character 4 of the file"):
        characters(write("abcad"), sequences=1, vocabulary="abc")
    part = {"split": "test", "valid_fraction": 0.1, "test_fraction": 0.3}
    with pytest.raises(ValueRangeError, match=r"vocabulary does not have '!', character 9 of the file"):
        characters(write("abcabcabc!"), sequences=1, vocabulary="abc", **part)
    with pytest.raises(ValueRangeError, match=r"vocabulary has 'b' more than once"):
        characters(write("abc"), sequences=1, vocabulary="abcb")
    for vocabulary in ("", "a", ["a", "b"]):
        with pytest.raises(ValueRangeError, match=r"vocabulary=.* must be text with at least two characters"):
            characters(write("abc"), sequences=1, vocabulary=vocabulary)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "UTF8"])
def test_encodings(write, encoding):
    batch = characters(write(TEXT, encoding), sequences=1, encoding=encoding)
    assert text_of(batch, batch.inputs)[0] == TEXT[:-1]
    assert batch.provenance["encoding"] == codecs.lookup(encoding).name


def test_files_that_are_no_text(write, tmp_path):
    with pytest.raises(FileFormatError, match=r"'.*text.txt' is empty; give a file with text"):
        characters(write(b""))
    with pytest.raises(FileFormatError, match=r"is not utf-8 text at byte 3 .*give its `encoding`"):
        characters(write("abcè and more of it".encode("latin-1")))
    with pytest.raises(FileFormatError, match=r"is not utf-16 text"):
        characters(write(b"\xff\xfea\0b"), encoding="utf-16")
    assert characters(write(b"abc\xe8" * 20), encoding="latin-1").inputs.shape[2] == 4
    with pytest.raises(FileFormatError, match=r"there is no such file"):
        characters(tmp_path / "gone.txt")
    with pytest.raises(FileFormatError, match=r"it is a folder"):
        characters(tmp_path)


@pytest.mark.parametrize("encoding", ["klingon", "zlib", "rot13", "base64", "utf\0", "", None, 8])
def test_encodings_that_are_none(write, encoding):
    with pytest.raises(UnknownNameError, match=r"encoding=.* is (not a name|no text encoding)"):
        characters(write(TEXT), encoding=encoding)


def test_arguments_that_are_wrong(write):
    path = write(TEXT)
    with pytest.raises(
        ValueRangeError,
        match=r"split='all' of .* has 88 characters; `sequences`=8 streams of 11 steps need 89",
    ):
        characters(write(TEXT[:88]), steps=11, sequences=8)
    assert characters(write(TEXT + "!"), steps=11, sequences=8).inputs.shape[0] == 11
    with pytest.raises(
        ValueRangeError, match=r"split='test' of .* `sequences`=32 streams of at least 1 steps need 33"
    ):
        characters(path, split="test")
    with pytest.raises(ValueRangeError, match=r"sequences=0 must be a whole number of at least 1"):
        characters(path, sequences=0)
    with pytest.raises(ValueRangeError, match=r"steps=2.5 must be a whole number"):
        characters(path, steps=2.5)
    with pytest.raises(
        ValueRangeError, match=r"valid_fraction=0.5 and `test_fraction`=0.5 leave nothing to train on"
    ):
        characters(path, split="train", valid_fraction=0.5, test_fraction=0.5)
    with pytest.raises(ValueRangeError, match=r"valid_fraction=-1 must be a finite number from 0"):
        characters(path, valid_fraction=-1)
    with pytest.raises(
        UnknownNameError, match=r"split='dev' is not known; choose from all, train, valid, test"
    ):
        characters(path, split="dev")
    with pytest.raises(DtypeError, match=r"dtype='int64'"):
        characters(path, dtype="int64")


def test_a_text_of_one_character_has_nothing_to_predict(write):
    with pytest.raises(
        ValueRangeError, match=r"text.txt' holds the character 'a' alone, .*a `vocabulary` of at least"
    ):
        characters(write("aaaaaaaa"), sequences=2)
    assert (
        characters(write("aaaaaaaa"), sequences=2, vocabulary="ab").heads[0].size == 2
    )  # as of another text


def test_one_hot_inputs_that_would_be_absurdly_large(write):
    text = "".join(chr(0x4E00 + k % 20_000) for k in range(60_000))
    with pytest.raises(ValueRangeError, match=r"would take 4\.5 GiB in float32, .*give fewer steps"):
        characters(write(text))
    assert characters(write(text), steps=2, sequences=3).inputs.shape == (2, 3, 20_000)


def test_the_same_file_gives_the_same_bytes_and_they_are_saved(write, tmp_path):
    path = write(TEXT)
    batch = characters(path, sequences=4)
    assert same(batch, characters(path, sequences=4))
    assert batch.provenance["file"] == "text.txt"
    batch.save(tmp_path / "batch.npz")
    loaded = type(batch).load(tmp_path / "batch.npz")
    assert loaded == batch
    assert loaded.provenance == batch.provenance
