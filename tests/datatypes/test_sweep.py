"""The table that a sweep returns."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import DtypeError, ShapeError, UnknownNameError


def made(**changes):
    fields = {
        "function": "study.loss",
        "points": ({"cell": "gru", "seed": 0}, {"cell": "gru", "seed": 1}, {"cell": "lstm", "seed": 0}),
        "values": ({"loss": 0.5, "curve": [1.0, 2.0]}, {"loss": None, "curve": [3.0, 4.0]}, {}),
        "status": ("done", "done", "raised"),
        "messages": ("", "", "ValueError: no"),
        "seconds": np.array([1.0, 2.0, np.nan]),
    }
    return gs.SweepResult(**{**fields, **changes})


def test_columns_are_arrays():
    result = made()
    np.testing.assert_array_equal(result.column("seed"), [0, 1, 0])
    np.testing.assert_array_equal(result.column("loss"), [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(result.column("curve"), [[1, 2], [3, 4], [np.nan, np.nan]])
    with pytest.raises(UnknownNameError, match="choose from cell, seed, loss, curve"):
        result.column("cells")
    with pytest.raises(DtypeError, match="make no array of numbers"):
        result.column("cell")
    with pytest.raises(DtypeError, match="make no array of numbers"):
        made(values=({"loss": 10**400}, {}, {})).column("loss")
    with pytest.raises(DtypeError, match="make no array of numbers"):
        made(values=({"loss": [1.0]}, {"loss": [1.0, 2.0]}, {})).column("loss")


def test_the_table_says_what_is_not_done():
    table = made().table()
    assert table.header == ("cell", "seed", "loss", "curve", "status")
    assert table.texts() == [
        ["gru", "0", "0.5", "1, 2", "done"],
        ["gru", "1", "–", "3, 4", "done"],
        ["lstm", "0", "–", "–", "raised: ValueError: no"],
    ]
    whole = made(status=("done",) * 3, messages=("",) * 3).table()
    assert whole.header == ("cell", "seed", "loss", "curve")


def test_the_summary_counts_and_names_the_first_that_failed():
    assert made().summary() == "study.loss: 3 points, 2 done, 1 raised\ncell lstm, seed 0: ValueError: no"
    many = made(
        points=tuple({"seed": k} for k in range(7)),
        values=({},) * 7,
        status=("killed",) * 7,
        messages=("it died",) * 7,
        seconds=np.full(7, np.nan),
    )
    assert many.summary().splitlines()[0] == "study.loss: 7 points, 7 killed"
    assert many.summary().splitlines()[-2:] == ["seed 4: it died", "and 2 points more"]


def test_it_is_saved(tmp_path):
    made().save(tmp_path / "sweep.npz")
    assert gs.load(tmp_path / "sweep.npz") == made()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"status": ("done", "done", "lost")}, UnknownNameError),
        ({"messages": ("",)}, ShapeError),
        ({"seconds": np.zeros(3, np.float32)}, ShapeError),
        ({"values": (1, 2, 3)}, DtypeError),
    ],
)
def test_what_is_no_sweep(changes, error):
    with pytest.raises(error):
        made(**changes)
