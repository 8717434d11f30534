"""Inputs read piece by piece: whatever they come from, the same numbers arrive, and errors say where."""

import os
import tempfile

import numpy as np
import pytest
from helpers.cases import random_params

from gatescope.errors import DtypeError, OutputError, ShapeError, ValueRangeError
from gatescope.recurrence.input_stream import open_series

T, B, I = 300, 2, 3


def params(dtype="float64"):
    return random_params("lstm", input_size=I, hidden_size=5, dtype=dtype)


def values(dtype="float64", batch=B):
    rng = np.random.default_rng(0)
    return rng.standard_normal((T, batch, I) if batch else (T, I)).astype(dtype)


def mapped(path, array, mode="r"):
    np.save(path, array)
    return np.load(path, mmap_mode=mode)


def cut(array, *lengths):
    at = 0
    for length in lengths:
        yield array[at : at + length]
        at += length
    yield array[at:]


def sources(array, folder):
    yield array
    yield mapped(folder / "series.npy", array)
    yield cut(array, 7, 0, 100, 1)
    if array.ndim == 2:
        yield iter(array)
        yield iter(array.tolist())


@pytest.mark.parametrize("stored_as", ["float64", "float32", ">f8", "int16"])
@pytest.mark.parametrize("batch", [B, None])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_sources_give_the_same(tmp_path, dtype, batch, stored_as):
    array = (values(batch=batch) * 100).astype(stored_as)
    expected = array.astype(dtype).reshape(T, -1, I)
    digests = set()
    for source in sources(array, tmp_path):
        with open_series(source, params(dtype)) as series:
            assert (series.steps, series.batch, series.input_size) == expected.shape
            for begin, end in [(0, T), (290, 300), (0, 1), (123, 200), (17, 17)]:
                piece = series.read(begin, end)
                assert piece.dtype == dtype
                assert piece.flags.c_contiguous
                assert piece.flags.aligned
                np.testing.assert_array_equal(piece, expected[begin:end])
            digests.add(series.digest())
    assert len(digests) == 1


def test_digests_tell_series_apart():
    digests = []
    for change in (None, 0, T - 1):
        array = values()
        if change is not None:
            array[change, 0, 0] += 1
        digests.append(open_series(array, params()).digest())
    digests.append(open_series(values()[:-1], params()).digest())
    assert len(set(digests)) == 4


def test_more_single_steps_than_are_put_together():
    array = np.random.default_rng(1).standard_normal((10_000, I))
    with open_series(iter(array), params()) as series:
        np.testing.assert_array_equal(series.read(0, 10_000)[:, 0], array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_mapped_file_is_checked_when_it_is_read(tmp_path, bad):
    array = values()
    array[123, 1, 2] = bad
    with open_series(mapped(tmp_path / "x.npy", array), params()) as series:
        series.read(0, 123)
        series.read(124, T)
        with pytest.raises(ValueRangeError, match=r"inputs at step 123 \(sequence 1, input 2\) is"):
            series.read(100, 200)


def test_what_is_too_large_for_float32(tmp_path):
    array = values()
    array[5, 0, 0] = 1e300
    series = open_series(mapped(tmp_path / "x.npy", array), params("float32"))
    with pytest.raises(ValueRangeError, match=r"step 5 .*1e\+300; it is too large for float32"):
        series.read(0, T)
    large = np.full((T, B, I), 3e38, "float32")  # finite, though their sum is not
    with open_series(mapped(tmp_path / "y.npy", large), params("float32")) as series:
        np.testing.assert_array_equal(series.read(0, T), large)


def test_an_iterator_is_checked_at_once():
    array = values()
    array[123, 1, 2] = np.nan
    with pytest.raises(ValueRangeError, match="inputs at step 123"):
        open_series(cut(array, 50, 60), params())


@pytest.mark.parametrize(
    ("pieces", "error", "message"),
    [
        ([], ShapeError, "gave nothing"),
        ([np.zeros((0, B, I))], ShapeError, "gave nothing"),
        (
            [np.zeros((4, B, I)), np.zeros((4, B + 1, I))],
            ShapeError,
            "piece 1 of inputs .*3 sequences|one form",
        ),
        ([np.zeros((4, B, I)), np.zeros((4, I))], ShapeError, "one form"),
        ([np.zeros((4, I)), np.zeros(I)], ShapeError, r"piece 1 of inputs has shape \(3,\)"),
        ([np.zeros((4, I + 1))], ShapeError, "input_size = 3"),
        ([np.zeros((4, 0, I))], ShapeError, "one sequence"),
        ([np.zeros(I), np.zeros(I + 1)], ShapeError, "same length"),
        ([0.0, 1.0], ShapeError, r"piece 0 of inputs has shape \(\)"),
        ([np.zeros((4, I), complex)], DtypeError, "complex128"),
        ([np.array([["a", "b", "c"]])], DtypeError, "real numbers"),
        ([np.ma.masked_equal(np.ones((2, I)), 1)], ValueRangeError, "masked"),
    ],
)
def test_iterators_that_do_not_fit(pieces, error, message):
    with pytest.raises(error, match=message):
        open_series(iter(pieces), params())


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((4, I), complex), DtypeError, "complex128"),
        (np.zeros(4), ShapeError, r"\(4,\)"),
        (np.zeros((4, I + 1)), ShapeError, "input_size = 3"),
        (np.zeros((2, 2, 2, I)), ShapeError, "T, B, I"),
    ],
)
def test_mapped_files_that_do_not_fit(tmp_path, array, error, message):
    with pytest.raises(error, match=message):
        open_series(mapped(tmp_path / "x.npy", array), params())


def test_an_error_inside_the_iterator_comes_through(monkeypatch, tmp_path):
    def broken():
        yield np.zeros((5, I))
        raise RuntimeError("the sensor is gone")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RuntimeError, match="the sensor is gone"):
        open_series(broken(), params())
    assert os.listdir(tmp_path) == []


def test_nothing_is_left_of_the_temporary_file(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_series(iter(values()), params()) as series:
        series.read(0, 1)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="TMPDIR"):
        open_series(iter(values()), params())


def test_changes_to_a_private_mapping_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("gatescope.recurrence.input_stream.MAPPED_BYTES", 100)
    for mode in ("c", "r+"):
        array = mapped(tmp_path / f"{mode}.npy", values(), mode)
        array[:] = 7
        with open_series(array, params()) as series:
            for _ in range(3):
                assert (series.read(0, T) == 7).all()


def test_a_series_within_a_series():
    with open_series(iter(values(batch=None)), params()) as series:
        with open_series(series, params()) as again:
            first = again.read(0, 10)
        np.testing.assert_array_equal(series.read(0, 10), first)  # still open
        with pytest.raises(DtypeError, match="float64"):
            open_series(series, params("float32"))
        with pytest.raises(ShapeError, match="input_size"):
            open_series(series, random_params("rnn", input_size=1, hidden_size=2))
