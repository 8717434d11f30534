"""Each check of a single value: what passes, and what the error says of what does not."""

import math

import numpy as np
import pytest

from gatescope.checks.numbers import (
    check_above_zero,
    check_call,
    check_choice,
    check_count,
    check_flag,
    check_fraction,
    check_index,
    check_number,
    check_result,
    check_text,
    check_threads,
    check_type,
    default_threads,
    is_whole,
    or_none,
)
from gatescope.datatypes import GradientFlow
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError

NO_NUMBERS = ["1.5", None, True, 1j, [2.0], math.nan, math.inf, -math.inf, 10**400]


@pytest.mark.parametrize("value", [1, 5, np.int64(5), np.uint8(1)])
def test_counts(value):
    count = check_count("n", value, most=5)
    assert (count, type(count), is_whole(value)) == (value, int, True)


@pytest.mark.parametrize("value", [0, -3, 6, 2.0, "2", None, True, np.float32(2), [2]])
def test_what_is_no_count(value):
    with pytest.raises(ValueRangeError, match=r"^n=.* must be a whole number from 1 to 5; try 2$") as error:
        check_count("n", value, most=5, advice="try 2")
    assert (error.value.argument, error.value.seen) == ("n", value)
    if value != 6:
        with pytest.raises(ValueRangeError, match=r"must be a whole number of at least 3$"):
            check_count("n", value, least=3)


def test_threads():
    assert check_threads(None) == default_threads() >= 1
    assert check_threads(np.int32(3)) == 3
    for value in (0, -2, 1.5, "two", True, 10**9):
        with pytest.raises(
            ValueRangeError, match=r"^threads=.* number from 1 to \d+; leave it out to use all cores$"
        ):
            check_threads(value)


def test_indices():
    assert check_index("sequence", np.int64(2), 3, "sequences") == 2
    for value in (-1, 3, 1.0, "0", True, None):
        with pytest.raises(ValueRangeError, match=r"out of range: there are 3 sequences, numbered from 0$"):
            check_index("sequence", value, 3, "sequences")
    with pytest.raises(ValueRangeError, match=r"^unit=1 is out of range: there is 1 unit, numbered from 0$"):
        check_index("unit", 1, 1, "units")


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), np.int64(3)])
def test_numbers(value):
    for check in (check_number, check_above_zero, or_none(check_number)):
        number = check("x", value)
        assert (number, type(number)) == (3.0, float)
    assert check_number("x", value, least=3, most=3) == 3
    assert or_none(check_number)("x", None) is None


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number(value):
    for check, message in (
        (check_number, "must be a finite number$"),
        (check_above_zero, "must be a finite number above 0$"),
        (check_fraction, r"must lie in \[0, 1\)$"),
    ):
        with pytest.raises(ValueRangeError, match=message) as error:
            check("x", value)
        assert error.value.argument == "x"


def test_numbers_out_of_range():
    for limits, message in (
        ({"least": 4}, "of at least 4"),
        ({"most": 2}, "of at most 2"),
        ({"least": 0, "most": 2}, "from 0 to 2"),
    ):
        with pytest.raises(ValueRangeError, match=rf"x=3 must be a finite number {message}$"):
            check_number("x", 3, **limits)
    for value in (0, -1e-300):
        with pytest.raises(ValueRangeError, match="above 0"):
            check_above_zero("x", value)
    assert check_fraction("x", 0) == 0
    for value in (1, 1.5, -0.1):
        with pytest.raises(ValueRangeError, match=r"\[0, 1\)"):
            check_fraction("x", value)


def test_flags():
    assert check_flag("f", np.bool_(True)) is True
    assert check_flag("f", False) is False
    for value in ("no", 0, 1, None, 1.0):
        with pytest.raises(ValueRangeError, match="must be True or False"):
            check_flag("f", value)


def test_choices():
    assert check_choice("norm", "l2", ("l1", "l2")) == "l2"
    for value in ("L2", "", None, 2, ["l2"]):
        with pytest.raises(UnknownNameError, match=r"^norm=.* is not known; choose from l1, l2$"):
            check_choice("norm", value, ("l1", "l2"))


def test_types():
    check_type("x", 3, int, str, advice="give a number")
    with pytest.raises(DtypeError, match=r"^x is a float; give a number$"):
        check_type("x", 3.0, int, str, advice="give a number")
    with pytest.raises(
        DtypeError, match=r"^flow is a dict; give a GradientFlow, as gatescope.gradient_flow returns it$"
    ):
        check_result("flow", {}, GradientFlow, "gradient_flow")


def test_functions():
    called = []
    check_call("schedule", lambda update, updates: called.append(update), "(update, updates)", 0, 1)
    check_call("schedule", max, "(update, updates)", 0, 1)  # written in C: nothing can be seen
    assert called == []
    with pytest.raises(DtypeError, match=r"^log is an int; give a function that is called with log\(text\)$"):
        check_call("log", 3, "log(text)", "")
    with pytest.raises(
        DtypeError, match=r"^schedule is a function that cannot be called with \(update, updates\)"
    ):
        check_call("schedule", lambda update: 1.0, "(update, updates)", 0, 1)


def test_texts():
    assert check_text("cell", "größer als 3") == "größer als 3"
    for text in ("\x1b[31mred", "two\nlines", "half \ud800"):
        with pytest.raises(ValueRangeError, match=r"^cell"):
            check_text("cell", text)
