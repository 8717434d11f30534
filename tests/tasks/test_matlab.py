"""MATLAB's archives: read as SciPy reads them, and files that are damaged or hostile, built byte by byte."""

import functools
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import scipy.io
from helpers.piano_rolls import make_archive, pieces, save_archive

from gatescope.errors import FileFormatError, GatescopeError
from gatescope.tasks._matlab import read_cells
from gatescope.tasks._piano_roll import piano_roll


@pytest.fixture
def archive():
    return make_archive()


@pytest.fixture
def write(tmp_path):
    return functools.partial(save_archive, tmp_path / "music.mat")


NUMBERS = {"u1": (2, 9), "f8": (9, 6)}  # type of the data, class of the matrix


def element(code, payload, order="<"):
    return struct.pack(order + "II", code, len(payload)) + payload + b"\0" * (-len(payload) % 8)


def matrix(kind, shape, body, name="", order="<", flags=0):
    return element(
        14,
        element(6, struct.pack(order + "II", kind | flags, 0), order)
        + element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
        + element(1, name.encode(), order)
        + body,
        order,
    )


def numbers(values, kind="u1", order="<"):
    code, number_class = NUMBERS[kind]
    data = np.asarray(values).astype(order + kind).tobytes(order="F")
    return matrix(number_class, np.shape(values), element(code, data, order), order=order)


def file_of(*variables, order="<"):
    version = struct.pack(order + "H", 0x100) + (b"IM" if order == "<" else b"MI")
    return b"made by a test".ljust(124) + version + b"".join(variables)


def packed(variable, cut=0):
    data = zlib.compress(variable)
    data = data[: len(data) - cut]
    return struct.pack("<II", 15, len(data)) + data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "f8"])
def test_both_byte_orders(write, kind, order):
    rolls = list(pieces((3, 4))[0])
    cells = b"".join(numbers(roll, kind, order) for roll in rolls)
    path = write(file_of(matrix(1, (1, 2), cells, "traindata", order), order=order))
    batch = piano_roll(path)
    assert batch.lengths.tolist() == [3, 4]
    np.testing.assert_array_equal(batch.targets[:4, 1], rolls[1])
    np.testing.assert_array_equal(
        scipy.io.loadmat(path)["traindata"][0, 1], rolls[1]
    )  # the case is a real file


def test_the_same_as_scipy_reads(write):
    rng = np.random.default_rng(5)
    cells = np.empty((7, 1), object)
    for k, dtype in enumerate(("u1", "i1", "i2", "u4", "i8", "f4", "f8")):
        cells[k, 0] = (100 * rng.random((k + 1, 3))).astype(dtype)
    cells[6, 0][0, 1] = -1e300
    for compressed in (True, False):
        path = write({"a": cells}, do_compression=compressed)
        rolls = read_cells(path.read_bytes(), "file", ["a"])["a"]
        for mine, theirs in zip(rolls, scipy.io.loadmat(path)["a"].ravel(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype.isnative


ROLL = numbers(np.zeros((2, 88)))
LONG = matrix(1, (1, 1), numbers(np.zeros((100, 88))), "traindata")  # more than is unpacked to see the name
HOSTILE = {
    "a cell array of 2^31 - 1 cells": (
        matrix(1, (2**31 - 1, 1), ROLL, "traindata"),
        r"states 2147483647 pieces, more than the 100000",
    ),
    "a matrix of 2^62 numbers": (
        matrix(1, (1, 1), matrix(9, (2**31 - 1, 2**31 - 1), element(2, b"\0" * 8)), "traindata"),
        r"damaged .mat file \(8 numbers in a matrix of the shape \(2147483647, 2147483647\)",
    ),
    "more cells than there are": (matrix(1, (1, 3), ROLL * 2, "traindata"), r"another number of cells than the 3"),
    "fewer cells than there are": (matrix(1, (1, 1), ROLL * 2, "traindata"), r"another number of cells than the 1"),
    "negative sizes": (matrix(1, (-1, -1), ROLL, "traindata"), r"a matrix of the shape \(-1, -1\)"),
    "a variable twice": (matrix(1, (1, 1), ROLL, "traindata") * 2, r"holds 'traindata' twice"),
    "4 GiB in a stream of bytes": (
        packed(struct.pack("<II", 14, 2**32 - 8) + matrix(1, (1, 1), ROLL, "traindata")[8:]),
        r"would unpack to more than 16777216, which looks like a decompression bomb",
    ),
    "a stream that goes on": (packed(matrix(1, (1, 1), ROLL, "traindata") + b"\0" * 8), r"unpacks to another number"),
    "a long stream that goes on": (packed(LONG + b"\0"), r"unpacks to another number"),
    "a long stream without its checksum": (packed(LONG, cut=4), r"unpacks to another number"),
    "a stream that is no variable": (packed(b"12"), r"damaged .mat file"),
    "no stream": (struct.pack("<II", 15, 8) + b"nonsense", r"damaged .mat file"),
    "a size beyond the end": (struct.pack("<II", 14, 10_000) + b"\0" * 64, r"ends after 64 of 10000 bytes"),
    "another type": (element(9, b"\0" * 8), r"a variable of type 9"),
    "a small element that is too large": (struct.pack("<II", 9 << 16 | 14, 0), r"9 bytes in a tag for 4"),
    "a header cut off": (element(14, element(6, b"\0" * 8)), r"a matrix without a name"),
    "2^20 sizes": (
        element(14, element(6, b"\1" + b"\0" * 7) + element(5, b"\1\0\0\0" * 2**20) + element(1, b"x")),
        r"a matrix whose header is wrong"),
    "numbers of an unknown type": (
        matrix(1, (1, 1), matrix(9, (1, 88), element(99, b"\0" * 88)), "traindata"), r"numbers of type 99"),
    "a matrix without numbers": (matrix(1, (1, 1), matrix(9, (1, 88), b""), "traindata"), r"numbers of type 0"),
    "an empty cell": (matrix(1, (1, 1), element(14, b""), "traindata"), r"piece 0 of traindata .* is empty"),
    "an object": (matrix(1, (1, 1), matrix(3, (1, 1), b""), "traindata"), r"piece 0 of .* is a MATLAB object, not"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files(write, what):
    content, message = HOSTILE[what]
    path = write(file_of(content))
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message):
            piano_roll(path)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20  # the largest of these files has 4 MiB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compressed", [True, False])
def test_damage_anywhere_is_reported_or_harmless(write, archive, compressed):
    whole = write(archive, do_compression=compressed).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        damaged = bytearray(whole)
        if trial % 3:
            for at in rng.integers(0, len(whole), 1 + trial % 4):
                damaged[at] = rng.integers(256)
        else:
            del damaged[rng.integers(len(whole)) :]
        try:
            piano_roll(write(bytes(damaged)))
        except GatescopeError:
            refused += 1
    # The test split is not read, nor the text at the beginning; of the rest every cut and most changes are seen.
    assert refused > 100
