"""Numbers that stand for missing values are no inputs in silence."""

import numpy as np
import pytest

from gatescope.errors import InputWarning
from gatescope.io.tables.series import read, read_series

MARKED = {
    "weather": ["0.5", "-9999", "1.25", "0.75", "-9999"],
    "a well log": ["80.5", "-999.25", "82.0"],
    "one decimal": ["3.5", "99.9", "4.5"],
    "pressure": ["990", "1020", "9999", "1005"],
    "netCDF": ["0.5", "9.96921e36", "0.25"],
}
NOT_MARKED = {
    "a hundred": ["97", "98", "99", "100", "99"],
    "the largest of many": ["0", "999", "500"],
    "a spike": ["0", "0", "1000", "0", "0.5"],
    "nines": ["0.5", "9", "0.25"],
    "alone": ["-9999"],
    "all": ["-9999", "-9999"],
}


@pytest.mark.parametrize("name", MARKED)
def test_numbers_for_missing_values_are_noted(name, tmp_path):
    cells = MARKED[name]
    (tmp_path / "x.csv").write_text("\n".join(["y", *cells]))
    (note,) = read(tmp_path / "x.csv", dtype="float64").notes
    assert f"of {len(cells)} steps of 'y', far from all others: if it is for a missing value" in note
    np.save(tmp_path / "x.npy", np.array(cells, float))
    with pytest.warns(InputWarning, match="steps of input 1, far from all others"):
        read_series(tmp_path / "x.npy")


@pytest.mark.parametrize("name", NOT_MARKED)
def test_other_numbers_are_not(name, tmp_path):
    (tmp_path / "x.csv").write_text("\n".join(["y", *NOT_MARKED[name]]))
    assert read(tmp_path / "x.csv").notes == ()


def test_the_column_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("2020-01-01,1.5,2\n2020-01-02,2.5,-999\n2020-01-03,0.5,4\n")
    assert read(tmp_path / "x.csv").notes == (
        "-999 stands at 1 of 3 steps of column 3, far from all others: if it is for a missing value, remove or fill it",
    )
