"""Text tables as pandas, R, MATLAB and Excel write them: what is an input, what a header, what a number."""

import warnings

import numpy as np
import pytest

from gatescope.errors import (
    DtypeError,
    FileFormatError,
    InputWarning,
    MissingPackageError,
    UnknownNameError,
    ValueRangeError,
)
from gatescope.io.tables.series import read, read_series

TAKEN = {
    # What is in the file, the inputs (T, I), and what is left out.
    "pandas": (",y\n0,1.5\n1,1.2\n2,0.9\n", [[1.5], [1.2], [0.9]], ["column 1 (an index)"]),
    "pandas, unnamed columns": (
        ",0,1\n0,1.5,2.5\n1,1.2,2.0\n",
        [[1.5, 2.5], [1.2, 2.0]],
        ["column 1 (an index)"],
    ),
    "pandas, one row": (",y\n0,1.5\n", [[1.5]], ["column 1 (an index)"]),
    "pandas, some rows": (",y\n7,1.5\n3,1.2\n9,2.0\n", [[1.5], [1.2], [2]], ["column 1 (an index)"]),
    "pandas, no index": ("0,1\n1.5,2.5\n1.0,0.5\n", [[1.5, 2.5], [1, 0.5]], []),
    "pandas, a series": ("0\n1.5\n1.0\n", [[1.5], [1]], []),
    "pandas, years": ("2019,2020\n1.5,2.0\n", [[1.5, 2]], []),
    "pandas, whole numbers": ("0,1,2\n7,5,3\n8,1,0\n", [[7, 5, 3], [8, 1, 0]], []),
    "counting is no header": ("0,1,2\n3,4,5\n", [[0, 1, 2], [3, 4, 5]], []),
    "a zero is no header": ("0\n1.5\n1\n", [[0], [1.5], [1]], []),
    "pandas, read and written again": ("Unnamed: 0,y\n0,2\n1,3\n", [[2], [3]], ["'Unnamed: 0' (an index)"]),
    "pandas, two tables": (",y\n0,1.5\n1,1.2\n0,2\n1,3\n", [[1.5], [1.2], [2], [3]], ["column 1 (an index)"]),
    "pandas, an index of floats in no order": (
        ",y\n0.5,1\n0.25,3\n0.75,2\n0.1,5\n",
        [[1], [3], [2], [5]],
        ["column 1 (an index)"],
    ),
    "pandas, an index of floats, read and written again": (
        "Unnamed: 0,y\n0.5,1\n0.25,3\n0.75,2\n",
        [[1], [3], [2]],
        ["'Unnamed: 0' (an index)"],
    ),
    "pandas, levels of a year and a counter": (
        "year,n,y\n2020,0,1.5\n2020,1,2.5\n2020,2,0.5\n",
        [[1.5], [2.5], [0.5]],
        ["'year' (an index)", "'n' (an index)"],
    ),
    "pandas, levels of series below one another": (
        "id,n,y\n7,0,1.5\n7,1,2.5\n7,2,0.5\n3,0,1\n3,1,0.5\n",
        [[1.5], [2.5], [0.5], [1], [0.5]],
        ["'id' (an index)", "'n' (an index)"],
    ),
    "a year, a month and a day": (
        "Year,Month,Day,y\n" + "".join(f"2020,{1 + k // 28},{1 + k % 28},{k % 5}\n" for k in range(60)),
        [[k % 5] for k in range(60)],
        ["'Year' (an index)", "'Month' (an index)", "'Day' (an index)"],
    ),
    "a year that stays the same": (
        "Year,y\n2020,1\n2020,4\n2020,2\n",
        [[1], [4], [2]],
        ["'Year' (a time that is always the same)"],
    ),
    "a constant and no counter": (
        "u,x,y\n1,0.5,3\n1,1.5,5\n1,0.5,4\n",
        [[1, 0.5, 3], [1, 1.5, 5], [1, 0.5, 4]],
        [],
    ),
    "a time of one letter, repeated": (
        "t,y\n0,1.5\n0,2.5\n1,0.5\n1,0.1\n2,2\n",
        [[1.5], [2.5], [0.5], [0.1], [2]],
        ["'t' (a time that ascends)"],
    ),
    "pandas, dates below a number": (
        "0,1\n2020-01-01,5\n2020-01-02,3\n",
        [[5], [3]],
        ["'0' (dates)"],
    ),
    "pandas, an index of two levels": (
        ",,y\na,0,1.5\na,1,2.5\nb,0,0.5\n",
        [[1.5], [2.5], [0.5]],
        ["column 1 (an index of names)", "column 2 (an index)"],
    ),
    "a minus of typography": ("x\n\u22121.5\n2.5\n", [[-1.5], [2.5]], []),
    "pandas, dates": (",y\n2020-01-01,1.5\n2020-01-02,1.2\n", [[1.5], [1.2]], ["column 1 (dates)"]),
    "pandas, names": (",y\nfoo,1.5\nbar,1.2\n", [[1.5], [1.2]], ["column 1 (an index of names)"]),
    "pandas, time zone": ("at,y\n2020-01-01 00:00:00+00:00,1.5\n", [[1.5]], ["'at' (dates)"]),
    "pandas, duration": ("at,y\n0 days 00:00:01,1.5\n1 days 02:00:01.5,2\n", [[1.5], [2]], ["'at' (dates)"]),
    "pandas, levels": (
        "Price,Close,High\nTicker,A,A\nDate,,\n2020-01-01,1,2\n",
        [[1, 2]],
        ["'Price/Ticker/Date' (dates)"],
    ),
    "pandas, levels of numbers": (
        ",a,a\n,0,1\n0,1.5,2.5\n1,3,4\n",
        [[1.5, 2.5], [3, 4]],
        ["column 1 (an index)"],
    ),
    "pandas, dates across": ("id,2020-01-01,2020-01-02\n1,0.5,0.6\n2,0,1\n", [[1, 0.5, 0.6], [2, 0, 1]], []),
    "R, write.csv": ('"","x"\n"1",0.5\n"2",0.25\n"3",0.5\n', [[0.5], [0.25], [0.5]], ["column 1 (an index)"]),
    "R, write.table": ('"x" "y"\n"1" 0.5 2\n"2" 0.25 3\n', [[0.5, 2], [0.25, 3]], ["column 1 (an index)"]),
    "unit steps": ("n,y\n5,1\n6,3\n7,2\n", [[1], [3], [2]], ["'n' (an index)"]),
    "unit steps, no header": ("0 3\n1 1\n2 2\n", [[3], [1], [2]], ["column 1 (an index)"]),
    "unit steps alone": ("y\n1\n2\n3\n", [[1], [2], [3]], []),
    "unit steps, not first": ("y,n\n3,0\n1,1\n2,2\n", [[3, 0], [1, 1], [2, 2]], []),
    "two rows are no steps": ("1,5\n2,7\n", [[1, 5], [2, 7]], []),
    "times": ("time,y\n0.0,1\n0.1,3\n0.2,2\n", [[1], [3], [2]], ["'time' (a time that ascends)"]),
    "MATLAB, datetime": (
        "At,y\n01-Jan-2020 12:00:00,1\n02-Jan-2020 12:00:00,2\n",
        [[1], [2]],
        ["'At' (dates)"],
    ),
    "date and time": (
        "day;time;y\n01.02.2020;12:00;1,5\n02.02.2020;13:00;0,123\n",
        [[1.5], [0.123]],
        ["'day' (dates)", "'time' (dates)"],
    ),
    "Excel, German": ("y;z\n1,5;1.234,5\n2;1.000\n", [[1.5, 1234.5], [2, 1000]], []),
    "Excel, sep": ("sep=;\ny;z\n1;2\n", [[1, 2]], []),
    "decimal commas alone": ("0\n0,0998\n0,1987\n", [[0], [0.0998], [0.1987]], []),
    "decimal commas below a name": ("x\n0,25\n0,5\n-1,75\n", [[0.25], [0.5], [-1.75]], []),
    "decimal commas of some": ("0\n0,25\n0,5\n1\n1,25\n", [[0], [0.25], [0.5], [1], [1.25]], []),
    "decimal commas below 0": ("-0,5\n1,5\n2,25\n", [[-0.5], [1.5], [2.25]], []),
    "R, names of rows without a name": ("x\n1,5\n2,7\n3,4\n", [[5], [7], [4]], ["column 1 (an index)"]),
    "two columns of whole numbers": ("1,5\n4,25\n2,7\n", [[1, 5], [4, 25], [2, 7]], []),
    "decimal commas, blanks": ("1,5 2,5\n3,5 4,25\n", [[1.5, 2.5], [3.5, 4.25]], []),
    "decimal commas, tabs": ("1,5\t2\n3,5\t4\n", [[1.5, 2], [3.5, 4]], []),
    "thousands": ('y,z\n"1,234",1.5\n"2,345,678",2.5\n', [[1234, 1.5], [2345678, 2.5]], []),
    "thousands, French": ("y;z\n1\u202f234,5;2\n12\xa0345,25;3\n", [[1234.5, 2], [12345.25, 3]], []),
    "thousands, Swiss": ("y;z\n1'234.5;2\n1;3\n", [[1234.5, 2], [1, 3]], []),
    "quoted numbers": ('"y","z"\n"1","2"\n"3","4"\n', [[1, 2], [3, 4]], []),
    "names with commas": ('"a, b","c"\n1,2\n', [[1, 2]], []),
    "powers of one letter": ("x,\u00b2\n1,2\n3,5\n", [[1, 2], [3, 5]], []),
    "a power": ("\u00b2\n1\n3\n", [[1], [3]], []),
    "quantiles": ("5%,50%,95%\n1,2,3\n4,5,7\n", [[1, 2, 3], [4, 5, 7]], []),
    "names with digits": ("2m_temp,10m wind\n1,2\n", [[1, 2]], []),
    "a comma at the end": ("y,z,\n1,2,\n3,4,\n", [[1, 2], [3, 4]], ["column 3 (nothing)"]),
    "a comma at the end of rows alone": (
        "y,z\n1.5,2,\n3,5,\n4,2,\n",
        [[1.5, 2], [3, 5], [4, 2]],
        ["column 3 (nothing)"],
    ),
    "decimal commas and thousands": ("y\n1.000,5\n2,5\n", [[1000.5], [2.5]], []),
    "decimal commas and thousands, French": ("y\n1\u202f234,5\n2\xa0345,5\n", [[1234.5], [2345.5]], []),
    "decimal commas and thousands, blanks": (
        "y\n1 234,5\n12 345,5\n999,5\n",
        [[1234.5], [12345.5], [999.5]],
        [],
    ),
    "MetaTrader": (
        "<DATE>,<CLOSE>\n2020.01.01,1.5\n2020.01.02,1.25\n",
        [[1.5], [1.25]],
        ["'<DATE>' (dates)"],
    ),
    "months and years": ("m,y\n01/2020,1.5\n02/2020,1.25\n", [[1.5], [1.25]], ["'m' (dates)"]),
    "weeks": ("w,y\n2020-W52,1.5\n2020-W53,1.25\n", [[1.5], [1.25]], ["'w' (dates)"]),
    "TensorBoard": (
        "Wall time,Step,Value\n1600000000.5,0,2.5\n1600000010.5,10,1.5\n1600000023.5,20,1.25\n",
        [[0, 2.5], [10, 1.5], [20, 1.25]],
        ["'Wall time' (a time that ascends)"],
    ),
    "marks that nobody sees": ("\u202a1.5\n\u200b2\n\ufeff3\n", [[1.5], [2], [3]], []),
    "bars": ("y|z\n1|2\n", [[1, 2]], []),
    "a name with blanks": ("open price\n1\n2\n", [[1], [2]], []),
    "no header, a word over numbers": ("1,a\n2,3\n", [[2, 3]], []),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name, tmp_path):
    text, expected, left_out = TAKEN[name]
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    reading = read(path, dtype="float64")
    np.testing.assert_array_equal(reading.values, np.array(expected, float)[:, None, :])
    assert list(reading.left_out) == left_out


def test_what_is_left_out_is_said(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(",y\n0,1.5\n1,1.2\n2,0.9\n")
    with pytest.warns(
        InputWarning, match=r"x\.csv': left out: column 1 \(an index\); name the inputs with columns="
    ):
        assert read_series(path).shape == (3, 1, 1)
    path.write_text("2019,2020\n1.5,2.0\n")
    with pytest.warns(
        InputWarning, match=r"line 1 \(2019, 2020\) taken for names .*header= can say otherwise"
    ):
        read_series(path)
    path.write_text("".join(f"{0.1 * k:.1f},{k % 3}\n" for k in range(30)))
    with pytest.warns(
        InputWarning, match=r"column 1 goes up by 0\.1 at every step: skip_columns= leaves it out"
    ):
        assert read_series(path).shape == (30, 1, 2)
    path.write_text("y;z\n1,5;2\n")
    with pytest.warns(InputWarning, match=r"commas are decimal \(1,5\)"):
        read_series(path)
    path.write_text("y,z\n1,2\n2,5\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_series(path)


def test_columns_are_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("date,open,close,symbol\n2020-01-01,1,2,A\n2020-01-02,3,4,B\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left out that was not said to be
        assert read_series(path, columns=["close", "open"]).tolist() == [[[2, 1]], [[4, 3]]]
        assert read_series(path, columns="close").tolist() == [[[2]], [[4]]]
        assert read_series(path, columns=(3, 2)).tolist() == [[[2, 1]], [[4, 3]]]
        assert read_series(path, columns=np.array([3, 2])).tolist() == [[[2, 1]], [[4, 3]]]
        with pytest.raises(DtypeError, match="columns is a bytes; give names of columns"):
            read_series(path, columns=b"\3\2")
    reading = read(path, skip_columns="symbol")
    assert (reading.names, reading.left_out) == (("open", "close"), ("'date' (dates)", "'symbol' (skipped)"))
    assert reading.text(str) == "open, close; left out: 'date' (dates), 'symbol' (skipped)"
    with pytest.raises(
        UnknownNameError, match=r"columns='high' is no column of .*; its columns are date, open, close"
    ):
        read_series(path, columns="high")
    with pytest.raises(UnknownNameError, match="columns='\u00b2' is no column"):
        read_series(path, columns="\u00b2")
    with pytest.raises(FileFormatError, match="holds no numbers in the column 'date'"):
        read_series(path, columns="date")
    with pytest.raises(ValueRangeError, match="skip_columns='open' is given with `columns`"):
        read_series(path, columns="close", skip_columns="open")
    path.write_text("0 3\n1 1\n2 2\n")
    assert read_series(path, columns=[1, 2]).tolist() == [[[0, 3]], [[1, 1]], [[2, 2]]]
    with pytest.raises(UnknownNameError, match="have no names and are numbered from 1 to 2"):
        read_series(path, columns=3)
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    with pytest.raises(ValueRangeError, match="is for tables"):
        read_series(tmp_path / "x.npy", columns=1)


@pytest.mark.parametrize(
    "cell", ["(1.5)", "$1.50", "-$1,234.50", "3 €", "0x1F", "1.0D+00", "1+2j", "3 USD", "1.5i"]
)
@pytest.mark.parametrize("header", ["x\n", ""])
def test_a_number_with_something_added_is_no_name(cell, header, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(f'{header}"{cell}"\n2.5\n3.5\n', encoding="utf-8")
    line = 2 if header else 1
    with pytest.raises(FileFormatError, match=rf"line {line}, column 1.* is not a number"):
        read_series(path)


def test_points_that_may_stand_between_thousands_are_noted(tmp_path):
    path = tmp_path / "x.csv"
    for text, notes in (("1.234;2\n2.345;3\n", ("points are decimal (1.234)",)), ("1.234;2\n2.34;3\n", ())):
        path.write_text(text)
        assert read(path).notes == notes


def test_series_in_rows_are_asked_about(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 30))
    np.savetxt(tmp_path / "x.csv", values, delimiter=",")
    np.save(tmp_path / "x.npy", values)
    for name in ("x.csv", "x.npy"):
        assert read(tmp_path / name).notes == ("if these are 2 series of 30 steps, transpose the file",)
    assert read(tmp_path / "x.csv", columns=[1, 2, 3]).notes == ()
    (tmp_path / "x.csv").write_text("a,b,c\n1.5,2,3\n")  # columns with names are inputs
    assert read(tmp_path / "x.csv").notes == ()


def test_a_single_row_is_asked_about(tmp_path):
    row = np.random.default_rng(0).normal(size=(1, 50))
    np.savetxt(tmp_path / "x.csv", row, delimiter=",")
    np.save(tmp_path / "x.npy", row)
    (tmp_path / "y.csv").write_text(",0,1,2\ny,1.5,2.5,3\n")  # a series that pandas transposed
    for name in ("x.csv", "x.npy", "y.csv"):
        with pytest.raises(
            FileFormatError, match=r"holds a single row of (50|3) numbers: one step of .* or a series"
        ):
            read(tmp_path / name)
    assert read(tmp_path / "x.csv", columns=range(1, 51)).values.shape == (1, 1, 50)
    np.save(tmp_path / "x.npy", row[:, None])
    assert read(tmp_path / "x.npy").values.shape == (1, 1, 50)


@pytest.mark.parametrize("text", ["1,5, 2,5\n3,5, 4,25\n", "x, y\n1,5, 2,5\n3,5, 4,25\n"])
def test_commas_of_two_kinds_are_asked_about(text, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(
        FileFormatError, match=r"line [12] \(1,5, 2.*\) has commas with a blank behind and commas without"
    ):
        read(path)
    path.write_text("a, b, c, d\n1,5, 2,5\n3,5, 4,25\n4,1, 2,2\n")  # as many names as numbers
    assert read(path).values.shape == (3, 1, 4)


ADVANCING = {
    "equal steps": (
        "".join(f"{0.1 * k:.1f},{k % 3}\n" for k in range(30)),
        "column 1 goes up by 0.1 at every step",
    ),
    "rounded": ("".join(f"{k / 30:.4f};{k % 3}\n" for k in range(30)), "column 1 goes up by 0.0333"),
    "minutes": (
        "at_,y\n" + "".join(f"{1.6e9 + 60 * k:.0f},{k % 3}\n" for k in range(9)),
        "'at_' goes up by 60 at",
    ),
    "backwards": ("".join(f"{9 - 3 * k},{k % 3}\n" for k in range(5)), "column 1 goes down by 3"),
    "uneven": (
        "".join(f"{(k + 1) ** 1.5:.3f},{k % 3}\n" for k in range(30)),
        "column 1 goes up at every step",
    ),
    "after a column of ones": (
        "".join(f"1,{0.1 * k:.1f},{k % 3}\n" for k in range(9)),
        "column 2 goes up by 0.1 at every step",
    ),
    "hours of days": (
        "hour,y\n" + "".join(f"{k % 24},{k % 5}\n" for k in range(72)),
        "'hour' goes back at step 25: if several series stand below one another, read each of them alone; "
        "`skip_columns` leaves it out, if it is a time",
    ),
    "alone": ("".join(f"{0.5 + 0.25 * k}\n" for k in range(9)), ""),
    "two rows": ("0.5,1\n1.5,4\n", ""),
    "noise": ("".join(f"{(7 * k) % 5},{k % 3}\n" for k in range(30)), ""),
}


@pytest.mark.parametrize("name", ADVANCING)
def test_a_first_column_that_may_be_a_time_is_named(name, tmp_path):
    text, said = ADVANCING[name]
    path = tmp_path / "x.csv"
    path.write_text(text)
    reading = read(path)
    assert [said in note for note in reading.notes] == [True] * bool(said)
    if said:
        assert read(path, skip_columns=2 if "column 2" in said else 1).notes == ()
        assert read(path, columns=[1, 2]).notes == ()


def test_a_date_that_is_torn_later_is_reported(tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"2020-01-{1 + k % 28:02},{k % 7}" for k in range(60)]
    path.write_text("\n".join(["date,y", *rows, "2020-01-30,x"]))
    with pytest.raises(FileFormatError, match=r"line 62, column 2 \('y'\): 'x' is not a number"):
        read_series(path)


def test_a_batch_first_file(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(
        read_series(tmp_path / "x.npy", batch_first=True, dtype="float64"), values.swapaxes(0, 1)
    )
    (tmp_path / "x.csv").write_text("1\n2\n")
    with pytest.raises(ValueError, match=r"is for files of \(B, T, I\), and .* has the shape \(2, 1\)"):
        read_series(tmp_path / "x.csv", batch_first=True)


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    times = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[ns]")
    columns = {"at": times, "y": [1.5, 2.5, 0.5], "n": [3, 1, 2], "__index_level_0__": [0, 5, 7]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    reading = read(tmp_path / "x.parquet", dtype="float64")
    assert reading.values.tolist() == [[[1.5, 3]], [[2.5, 1]], [[0.5, 2]]]
    assert reading.left_out == ("'at' (dates)", "'__index_level_0__' (an index)")
    parquet.write_table(pyarrow.table({"y": [1.5, None]}), tmp_path / "x.parquet")
    with pytest.raises(FileFormatError, match="has 1 missing values in 'y'"):
        read(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1torn")
    with pytest.raises(FileFormatError, match="is not a readable parquet file"):
        read(tmp_path / "x.parquet")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        MissingPackageError, match="is read with pyarrow, which is not installed; pip install pyarrow"
    ):
        read(tmp_path / "x.parquet")


def test_a_quote_is_no_separator(tmp_path):
    (tmp_path / "a.csv").write_text('sep="\n1;2\n5;4\n')
    with pytest.warns(InputWarning, match=r"left out: column 1 \(an index\)"):  # which has no name
        assert read_series(tmp_path / "a.csv").tolist() == [[[2]], [[4]]]
