"""Dates of a table that go back in time, and dates that are written as numbers."""

import pytest

from gatescope.errors import FileFormatError
from gatescope.io.tables.dates import go_back
from gatescope.io.tables.series import read

BACK = {
    "ISO": ["2020-02-01", "2020-01-31", "2020-01-30"],
    "Nasdaq": ["02/03/2020", "01/31/2020", "01/30/2020", "01/29/2020"],
    "day first": ["03.02.2020", "31.01.2020", "30.01.2020"],
    "month names": ["Feb 01, 2020", "Jan 31, 2020", "Jan 30, 2020"],
    "MATLAB": ["01-Feb-2020 00:00:01", "01-Feb-2020 00:00:00", "31-Jan-2020 23:59:59"],
    "times": ["2020-01-01 03:00", "2020-01-01 02:00", "2020-01-01 02:00", "2020-01-01 01:00"],
    "afternoon": ["1/2/2020 1:00 PM", "1/2/2020 11:00 AM", "1/2/2020 10:00 AM"],
}
NOT_BACK = {
    "two rows": ["2020-02-01", "2020-01-31"],
    "all alike": ["2020-02-01"] * 3,
    "either": ["03/02/2020", "02/02/2020", "01/03/2020"],  # forwards with the day first
    "times of day": ["23:00:00", "22:00:00", "21:00:00"],
    "mixed": ["2020-02-01", "2020-03-31", "2020-01-30"],
}


@pytest.mark.parametrize("name", BACK)
def test_dates_from_late_to_early_are_noted(name, tmp_path):
    assert go_back(BACK[name])
    assert not go_back(BACK[name][::-1])
    rows = "".join(f"{date};{k * k % 5}\n" for k, date in enumerate(BACK[name]))
    (tmp_path / "x.csv").write_text(f"Date;y\n{rows}")
    reading = read(tmp_path / "x.csv")
    assert reading.left_out == ("'Date' (dates)",)
    said = "'Date' goes from late to early: turn the rows round if the earliest is to be the first step"
    assert reading.notes == (said,)


@pytest.mark.parametrize("name", NOT_BACK)
def test_what_has_no_such_order_is_not(name):
    assert not go_back(NOT_BACK[name])


NUMBERS = {
    # Names and rows; what is left out, and whether that goes back.
    "compact": ("d,y\n20200130,1\n20200131,3\n20200203,2\n", "'d' (dates)", False),
    "compact, back": ("d,y\n20200203,1\n20200131,3\n20200130,2\n", "'d' (dates)", True),
    "compact, last column": ("y,d\n5,20200130\n1,20200131\n2,20200203\n", "'d' (dates)", False),
    "a time, back": ("time,y\n0.3,1\n0.2,3\n0.1,2\n", "'time' (a time that descends)", True),
    "with the time": ("d,y\n20200130093000,1\n20200130093100,3\n20200131000000,2\n", "'d' (dates)", False),
    "no dates": ("d,y\n20201330,1\n20200131,3\n20200203,2\n", "", False),
    "alone": ("d\n20200130\n20200131\n20200203\n", "", False),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_dates_and_times_that_are_numbers(name, tmp_path):
    text, left_out, back = NUMBERS[name]
    (tmp_path / "x.csv").write_text(text)
    reading = read(tmp_path / "x.csv")
    assert reading.left_out == ((left_out,) if left_out else ())
    assert any("goes from late to early" in note for note in reading.notes) == back


STACKED = {
    # A table of series below one another, and the note: which column goes back, and where.
    "dates": (
        "date,y\n" + "".join(f"2020-01-{1 + k % 20:02},{k * k % 5}\n" for k in range(60)),
        "'date'",
        21,
    ),
    "dates, decimal commas": (
        "date;y\n" + "".join(f"2020-01-{1 + k % 9:02};{k * k % 5},5\n" for k in range(27)),
        "'date'",
        10,
    ),
    "no header": ("".join(f"{k % 9} {k * k % 5}.5\n" for k in range(27)), "column 1", 10),
    "an index of pandas": (",y\n" + "".join(f"{k % 8},{k * k % 5}\n" for k in range(16)), "column 1", 9),
    "levels": ("id,n,y\n" + "".join(f"{k // 9},{k % 9},{k * k % 5}\n" for k in range(27)), "'n'", 10),
    "a time": ("id,time,y\n" + "".join(f"{k // 9},{k % 9},{k * k % 5}\n" for k in range(27)), "'time'", 10),
    "years": ("Year,y\n" + "".join(f"{1990 + k // 2 % 9},{k * k % 5}\n" for k in range(36)), "'Year'", 19),
    "compact": (
        "y,day\n" + "".join(f"{k * k % 5},{20200101 + k % 9}\n" for k in range(27)),
        "'day'",
        10,
    ),
}


@pytest.mark.parametrize("name", STACKED)
def test_series_below_one_another_are_noted(name, tmp_path):
    text, column, step = STACKED[name]
    (tmp_path / "x.csv").write_text(text)
    assert any(
        note.startswith(f"{column} goes back at step {step}: if several series")
        for note in read(tmp_path / "x.csv").notes
    )


def test_series_that_share_their_times_are_noted(tmp_path):
    rows = "".join(f"{k // 3},{k % 3},{k * k % 5}.5\n" for k in range(60))
    (tmp_path / "x.csv").write_text(f"t,id,y\n{rows}")
    reading = read(tmp_path / "x.csv")
    assert reading.left_out == ("'t' (an index)", "'id' (an index)")
    assert reading.notes == ("rows share 't': if they are of several series, read each of them alone",)


IN_ORDER = {
    # Nothing is to be said of these, but what is left out.
    "times of day": ("day,time,y\n2020-01-01,23:00,1\n2020-01-01,23:30,3\n2020-01-02,00:00,2\n", 2),
    "the end of summer time": (
        "at,y\n2020-10-25 02:30:00+02:00,1\n2020-10-25 02:00:00+01:00,3\n2020-10-25 03:00:00+01:00,2\n",
        1,
    ),
    "days without a 0": ("at,y\n2020-1-8,1\n2020-1-9,3\n2020-1-10,2\n", 1),
    "several rows a second": ("y,timestamp\n1,1600000000\n5,1600000000\n2,1600000001\n", 1),
    "years and months": (
        "Year,Month,y\n" + "".join(f"{1990 + k // 4},{1 + k % 4 * 3},{k * k % 5}\n" for k in range(40)),
        2,
    ),
    "a temperature": ("T,y\n20.5,1\n19.0,3\n21.5,2\n18.0,4\n", 0),
    "a step": ("T,y\n0,1\n0,3\n1,2\n1,5\n", 0),
}


@pytest.mark.parametrize("name", IN_ORDER)
def test_what_is_in_order_is_not(name, tmp_path):
    text, left_out = IN_ORDER[name]
    (tmp_path / "x.csv").write_text(text)
    reading = read(tmp_path / "x.csv")
    assert (len(reading.left_out), reading.notes) == (left_out, ())


def test_an_index_that_counts_down_is_noted(tmp_path):
    (tmp_path / "x.csv").write_text(",y\n2,1.5\n1,0.5\n0,2.5\n")
    (note,) = read(tmp_path / "x.csv").notes
    assert note.startswith("column 1 goes from late to early")


def test_an_index_in_no_order_is_noted(tmp_path):
    (tmp_path / "x.csv").write_text(",y\n0.5,1\n0.25,3\n0.75,2\n0.1,5\n")
    assert read(tmp_path / "x.csv").notes == (
        "column 1 is in no order: sort the rows by it, if it says which is first",
    )


ACROSS = {
    "months": "Year,Jan,Feb,Mar\n1990,1,5,2\n1991,3,0,4\n1992,2,2,1\n",
    "years": "country,1990,1991,1992\n1,0.5,0.25,2.5\n5,1.5,3.5,0.5\n",
    "dates": "id,2020-01-01,2020-01-02,2020-01-03\n1,0.5,0.6,1\n2,0,1,2\n",
}


@pytest.mark.parametrize("name", ACROSS)
def test_times_as_names_are_noted(name, tmp_path):
    (tmp_path / "x.csv").write_text(ACROSS[name])
    said = "and each is an input: if time goes across, write one step a row"
    assert any(said in note for note in read(tmp_path / "x.csv", skip_columns=1).notes)
    assert not any(said in note for note in read(tmp_path / "x.csv", columns=[2, 3, 4]).notes)


def test_a_total_below_dates_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("day,y\n1/1/2020,2\n1/2/2020,4\nTotal,6\n")
    with pytest.raises(
        FileFormatError, match=r"line 4, column 1 \('day'\): 'Total' is no date, .*remove its row"
    ):
        read(tmp_path / "x.csv")
