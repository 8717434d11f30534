"""A first line of whole numbers: names of columns as pandas writes them, or the first step of a series."""

import numpy as np
import pytest

from gatescope.errors import FileFormatError, InputWarning, UnknownNameError, ValueRangeError
from gatescope.io.tables.cells import is_plain
from gatescope.io.tables.series import read, read_series

SINE = np.sin(0.1 * np.arange(100))
NOISE = np.random.default_rng(0).standard_normal(100)


def column(values, form, first="0"):
    return "\n".join([first, *(form(float(value)) for value in values)])


def short(value):
    return f"{value:.4g}"


CASES = {
    # What is in the file, how many steps it has, and what is said of the first line.
    "MATLAB, a sine": (column(SINE[1:], short), 100, "numbers"),
    "MATLAB, 15 digits": (column(SINE[1:], "{:.15g}".format), 100, "numbers"),
    "MATLAB, a sine and a cosine": (
        "\n".join(f"{a:.5g},{b:.5g}" for a, b in zip(SINE, np.cos(0.1 * np.arange(100)), strict=True)),
        100,
        "numbers",
    ),
    "a whole number far below": (column([*NOISE, 1], short), 102, ""),
    "MATLAB, three columns": ("0,1,2\n0.7,1.5,2\n1,1,3\n", 3, ""),
    "numpy.savetxt with %g": (column([0.25, 3, 0.5], "{:g}".format), 4, ""),
    "pandas, noise": (column(NOISE, repr), 100, "names of columns"),
    "pandas, prices": (column(100 + NOISE.cumsum(), repr), 100, "names of columns"),
    "pandas, four decimals": (column(NOISE, "{:.4f}".format), 100, "names of columns"),
    "pandas, a round number far below": (column([*NOISE, 2.0], lambda v: repr(round(v, 3))), 101, "names of"),
    "exponents": (column(NOISE, "{:.9e}".format), 100, "names of columns"),
    "MATLAB, small numbers": (column(1e-7 * SINE[1:], short), 100, "numbers"),
    "pandas, whole numbers beside floats": ("0,1\n1.5,3\n2.5,4\n1.0,5\n", 3, "names of columns"),
    "pandas, one name": (column([1.5, 2.0], repr, first="5"), 2, "names of columns"),
    "pandas, three columns": ("0,1,2\n1,0.5,3\n2,0.25,4\n5,0.125,1\n", 3, "names of columns"),
    "Excel, a cosine": (column(np.cos(0.1 * np.arange(1, 60)), "{:.15g}".format, first="1"), 60, ""),
    "whole numbers that go on": ("0\n1\n2\n3\n", 4, "numbers"),
    "counts that go up": (column(133 * np.arange(1, 20), "{:.0f}".format), 20, "numbers"),
    "spikes": (column([0, 1, 0, 0] * 9, "{:.0f}".format), 37, "numbers"),
    "two columns that are often so": ("0,1\n0,0\n1,1\n0,1\n", 4, "numbers"),
    "pandas, counts": (column([133, 131, 137, 130] * 3, "{:.0f}".format), 12, "names of columns"),
    "pandas, counts of years": ("2019,2020\n" + "7,5\n3,2\n" * 5, 10, "names of columns"),
    "no years": ("5,6\n7,5\n3,8\n", 3, ""),
    "a start of 5": (column(NOISE, short, first="5"), 101, ""),
}


@pytest.mark.parametrize("name", CASES)
def test_how_numbers_are_written_tells_names_from_numbers(name, tmp_path):
    text, steps, said = CASES[name]
    path = tmp_path / "x.csv"
    path.write_text(text)
    reading = read(path)
    assert len(reading.values) == steps
    assert any(f"taken for {said}" in note for note in reading.notes) if said else not reading.notes


UNCLEAR = {
    "noise of few digits": column(NOISE, short),
    "pandas, rounded": column(NOISE, lambda value: repr(round(value, 4))),
    "a sine as Python and JavaScript write it": column(SINE[1:], repr),
    "years": "2019,2020\n1.5,2.5\n",
    "counts of few years": "2019,2020\n7,5\n3,2\n",
    "whole numbers": "0\n3\n5\n2\n9\n4\n7\n",
    "two columns of whole numbers": "0,1\n3,7\n5,1\n2,2\n9,0\n",
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_may_be_both_is_asked_about(name, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(UNCLEAR[name])
    rows = len(UNCLEAR[name].splitlines())
    with pytest.raises(
        FileFormatError, match=r"x\.csv', line 1 \(.*\) may be names of columns, .* say which with"
    ):
        read(path)
    assert len(read(path, header=True).values) == rows - 1
    reading = read(path, header=False)
    assert (len(reading.values), reading.notes) == (rows, ())


def test_what_is_said_can_be_read_as_the_arguments_of_a_function(tmp_path):
    (tmp_path / "x.csv").write_text("0\n0.5\n1.0\n")
    with pytest.warns(
        InputWarning, match=r"line 1 \(0\) taken for names of columns \(header= can say otherwise\)"
    ):
        read_series(tmp_path / "x.csv")
    assert read_series(tmp_path / "x.csv", header=False).ravel().tolist() == [0, 0.5, 1]


def test_a_header_is_for_text(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(ValueRangeError, match=r"header is for tables, and .*x\.npy' holds an array"):
        read_series(tmp_path / "x.npy", header=True)
    (tmp_path / "x.csv").write_text("y\n1\n2\n")
    with pytest.raises(FileFormatError, match="line 1, column 1: 'y' is not a number"):
        read_series(tmp_path / "x.csv", header=False)
    (tmp_path / "x.csv").write_text('2019,",1.234,5\n0.5,10,1.234,5\n')  # a quote that is not closed
    with pytest.raises(FileFormatError, match="line 2 has 4 columns and the header has 2"):
        read_series(tmp_path / "x.csv", header=True)


@pytest.mark.parametrize(
    "cells", ["{}\n1\n", "{},{}\n1,2\n", "x\n{},5\n", "{},1991,1992\n1.5,2.5,3\n", "1e{}\n2\n"]
)
def test_numbers_of_more_digits_than_python_reads(cells, tmp_path):
    (tmp_path / "x.csv").write_text(cells.replace("{}", "9" * 5000))
    with pytest.raises(FileFormatError, match="is not finite"):
        read(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n2,7\n")
    for column_name in ("9" * 5000, 10**5000):
        with pytest.raises(UnknownNameError, match="is no column"):
            read(tmp_path / "x.csv", columns=column_name)


def test_many_digits_are_looked_at_once():
    """A form that can share digits out in several ways takes hours for these."""
    assert not is_plain("9" * 1_000_000 + "x")
    assert is_plain("9" * 1_000_000 + ".5e3")
