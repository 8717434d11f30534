"""Input series: every format, every shape, and errors that say where."""

import numpy as np
import pytest

from gatescope.errors import DtypeError, FileFormatError
from gatescope.io.tables.series import read_series


def text_file(folder, text, name="x.csv"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("shape", "expected"), [((7,), (7, 1, 1)), ((7, 3), (7, 1, 3)), ((7, 2, 3), (7, 2, 3))]
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays(tmp_path, shape, expected, kind):
    values = np.random.default_rng(0).normal(size=shape)
    path = tmp_path / f"x.{kind}"
    np.save(path, values) if kind == "npy" else np.savez(path, anything=values)
    series = read_series(path, dtype="float64")
    assert series.flags.c_contiguous
    np.testing.assert_array_equal(series, values.reshape(expected))
    assert read_series(path).dtype == np.float32


def test_npz_with_several_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", inputs=np.arange(3.0), other=np.zeros(2))
    assert read_series(tmp_path / "x.npz").ravel().tolist() == [0, 1, 2]
    np.savez(tmp_path / "y.npz", a=np.arange(3.0), b=np.zeros(2))
    with pytest.raises(FileFormatError, match=r"y\.npz' holds 2 arrays \(a, b\) and none is named 'inputs'"):
        read_series(tmp_path / "y.npz")


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", ">f4"])
def test_other_numbers_are_converted(tmp_path, dtype):
    np.save(tmp_path / "x.npy", np.array([1, 0, 1]).astype(dtype))
    series = read_series(tmp_path / "x.npy")
    assert series.dtype == np.float32
    assert series.ravel().tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n2\n3\n", [[1], [2], [3]]),
        ("1\n2\n3", [[1], [2], [3]]),
        ("1\r\n2\r\n\r\n", [[1], [2]]),
        ("\ufeff1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1, 2\n 3 ,4\n", [[1, 2], [3, 4]]),
        ("1;2\n3;4\n", [[1, 2], [3, 4]]),
        ("1 2\n3   4\n", [[1, 2], [3, 4]]),
        ("  1\t2\n3\t4\n", [[1, 2], [3, 4]]),
        ("open,close\n1,2\n", [[1, 2]]),
        ('"open price","close"\n1,2\n', [[1, 2]]),
        ("# made by hand\n# twice\n\nintensity\n1e-3\n-2.5E2\n", [[1e-3], [-250]]),
        ("1\n\n\n", [[1]]),
        ("\n\n1\n2\n", [[1], [2]]),
    ],
)
def test_text(tmp_path, text, expected):
    series = read_series(text_file(tmp_path, text), dtype="float64")
    np.testing.assert_array_equal(series, np.array(expected)[:, None, :])


@pytest.mark.parametrize("name", ["x.csv", "x.TXT", "x.tsv", "x.dat"])
def test_text_suffixes(tmp_path, name):
    assert read_series(text_file(tmp_path, "1\n2\n", name)).shape == (2, 1, 1)


def test_what_numpy_writes_as_text(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 3))
    np.savetxt(tmp_path / "x.txt", values, header="a b c")
    np.testing.assert_allclose(read_series(tmp_path / "x.txt", dtype="float64")[:, 0], values, rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no numbers"),
        ("\n \n", "holds no numbers"),
        ("open,close\n", "holds no numbers"),
        ("# only a comment\n", "holds no numbers"),
        ("1,2\n3,x\n", r"x\.csv', line 2, column 2: 'x' is not a number"),
        ("a,b\n1,2\n3,4\n5,six\n", r"line 4, column 2 \('b'\): 'six' is not a number"),
        ("1.5,a\n2,3\n", r"line 1, column 2: 'a' is not a number"),
        ("1,2\n3\n", r"line 2 has 1 columns and the lines before it have 2"),
        ("1,2\n3,4,5\n", r"line 2 has 3 columns and the lines before it have 2"),
        ("1,2\n3,\n", r"line 2, column 2: the cell is empty"),
        ("1,2\n,4\n", r"line 2, column 1: the cell is empty"),
        ("1\t2\n3\t\n", r"line 2, column 2: the cell is empty"),
        ("1\n2\n\n4\n", r"line 3 is empty"),
        ("1\n2\n\n\n4\n", r"line 3 is empty"),
        ("1\nnan\n3\n", r"line 2, column 1: 'nan' is not finite"),
        ("nan\n1\n", r"line 1, column 1: 'nan' is not finite"),
        ("1;2\n3;-inf\n", r"line 2, column 2: '-inf' is not finite"),
        ("1\n1e999\n", r"line 2, column 1: '1e999' is not finite"),
        (
            "1,234;5,678\n",
            r"'1,234', which may have a decimal comma or be thousands; write decimals with a point",
        ),
        ("1,5;2\n3;4.5\n", r"with a decimal comma \('1,5'\) and with a decimal point \('4\.5'\)"),
        ("1\nNA\n", r"line 2, column 1: 'NA' is a missing value; remove or fill it"),
        ("y,z\n1,\n2,3\n", r"line 2, column 2 \('z'\): the cell is empty"),
        (
            "y,z\n1,AAPL\n2,IBM\n",
            r"line 2, column 2 \('z'\): 'AAPL' is not a number; give a number, or leave the",
        ),
        ("AAPL,1.5\nIBM,2.5\n", r"line 1, column 1: 'AAPL' is not a number"),
        ("date\n2020-01-01\n", "has no column of numbers"),
        ("x,y\n1,5,2,5\n3,5,4,5\n", "line 2 has 4 columns and the header has 2"),
        ("a,b,c\n1,2\n", "line 2 has 2 columns and the header has 3"),
        (
            "1\n2 # why\n",
            r"line 2, column 1: '2 # why' is not a number|line 2, column 2: '#' is not a number",
        ),
        ("1\n1_000\n", r"line 2, column 1: '1_000' is not a number"),
        ("1\r2\r3", "line 1 has bare carriage returns"),
        ("1\n" + "7x" * 500 + "\n", r"line 2, column 1: '(7x){20}\.\.\.' is not a number"),
        (b"1\n\xff\xfe\n", "not UTF-8 text"),
        ("1\n2\n".encode("utf-16"), "not UTF-8 text"),
        (b"1\n\0\0\n", r"line 2, column 1: '\\x00\\x00' is not a number"),
    ],
)
def test_text_that_is_no_table(tmp_path, text, message):
    with pytest.raises(FileFormatError, match=message):
        read_series(text_file(tmp_path, text))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(0), r"empty array of shape \(0,\); inputs need one step"),
        (np.zeros((5, 0)), r"empty array of shape \(5, 0\)"),
        (np.float64(1), r"shape \(\); inputs are \(T,\), \(T, I\) or \(T, B, I\)"),
        (np.zeros((1, 2, 3, 4)), r"shape \(1, 2, 3, 4\)"),
        (np.array([1j]), "complex128; inputs are real"),
        (np.array(["1", "2"]), "<U1; inputs are real"),
        (
            np.array([[0, 1], [np.nan, 2]]),
            r"1 values .*not finite in float32, the first nan at index \[1, 0\]",
        ),
        (np.array([1, 1e39]), r"the first 1e\+39 at index \[1\]; scale the series, or use float64"),
        (np.array([None, 1]), "pickled Python objects"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_that_are_no_series(tmp_path, values, message, kind):
    path = tmp_path / f"x.{kind}"
    np.save(path, values) if kind == "npy" else np.savez(path, inputs=values)
    with pytest.raises(FileFormatError, match=message):
        read_series(path)


def test_float64_holds_what_float32_cannot(tmp_path):
    np.save(tmp_path / "x.npy", np.array([1, 1e39]))
    assert read_series(tmp_path / "x.npy", dtype="float64")[1, 0, 0] == 1e39


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    for name in ("a.npy", "a.npz", "a.csv"):
        with pytest.raises(FileFormatError, match=rf"{name}.*no such file"):
            read_series(tmp_path / name)
    with pytest.raises(FileFormatError, match=r"ends in '\.xlsx'; inputs are read from \.npy, \.npz, \.csv"):
        read_series(text_file(tmp_path, "1\n", "a.xlsx"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileFormatError, match="it is a folder"):
        read_series(tmp_path / "folder.csv")


@pytest.mark.parametrize("dtype", ["float16", "int32", None])
def test_other_dtypes(tmp_path, dtype):
    with pytest.raises(DtypeError, match=rf"dtype={dtype!r} .*use 'float32' or 'float64'"):
        read_series(text_file(tmp_path, "1\n"), dtype=dtype)


@pytest.mark.parametrize(
    ("suffix", "advice"),
    [
        ("csv.gz", "unpack it"),
        ("xlsx", "as csv"),
        ("mat", "writematrix"),
        ("pt", "save its array with numpy.save"),
    ],
)
def test_what_to_do_with_other_files_is_said(tmp_path, suffix, advice):
    (tmp_path / f"x.{suffix}").write_bytes(b"PK\0\1")
    with pytest.raises(FileFormatError, match=advice):
        read_series(tmp_path / f"x.{suffix}")
