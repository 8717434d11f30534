"""Each check of an array: what passes, and what the error says of what does not."""

import numpy as np
import pytest

from gatescope.checks.arrays import (
    check_array,
    check_finite,
    check_host,
    check_own_array,
    check_saved,
    check_shape,
    on_device,
    real_array,
    rectangular,
)
from gatescope.errors import DtypeError, ShapeError, ValueRangeError

F32, F64 = np.dtype("float32"), np.dtype("float64")


@pytest.mark.parametrize("value", [3, [[1, 2], [3, 4]], np.ones((2, 3), "int8"), np.ones((2, 2), bool)])
def test_what_is_converted(value):
    array = check_array("x", value, F32)
    assert (array.dtype, array.shape, array.flags.c_contiguous) == (F32, np.shape(value), True)
    np.testing.assert_array_equal(array, value)


def test_what_needs_no_conversion_is_not_copied():
    array = np.ones((2, 3))
    assert check_array("x", array, F64) is array
    assert check_array("x", np.asfortranarray(array), F64).flags.c_contiguous


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (np.zeros(2, complex), "complex128"),
        (np.full(2, "a"), "<U1"),
        (np.full(2, None), "object"),
        (np.zeros(2, "datetime64[s]"), "datetime64"),
    ],
)
def test_what_holds_no_real_numbers(value, seen):
    for check in (lambda: check_array("x", value, F32), lambda: real_array("x", value)):
        with pytest.raises(DtypeError, match=rf"^x has dtype {seen}.*; give real numbers"):
            check()


def test_ragged_lists():
    with pytest.raises(
        ShapeError, match=r"^x is not a rectangular array .*; give every row the same length$"
    ):
        rectangular("x", [[1.0, 2.0], [1.0]])


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_arrays_of_other_libraries_that_numpy_cannot_read(error):
    class Tensor:  # as PyTorch's and CuPy's on a GPU, or with gradients
        def __array__(self, dtype=None, copy=None):
            raise error("can't convert a tensor on cuda:0\nto numpy")

    message = (
        r"x is a Tensor that NumPy cannot read \(can't convert .* to numpy\); give a list or a NumPy array"
    )
    with pytest.raises(DtypeError, match=message):
        rectangular("x", Tensor())


def test_masked_values_are_not_read_as_if_they_were_none():
    masked = np.ma.masked_array(np.ones((4, 2)), mask=False)
    np.testing.assert_array_equal(check_array("x", masked, F64), np.ones((4, 2)))
    masked[2, 1] = masked[3, 0] = np.ma.masked
    for value in (masked, list(masked)):
        with pytest.raises(ValueRangeError, match=r"x has 2 masked elements; fill them.*`lengths`"):
            check_array("x", value, F64)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_what_is_not_finite(value, word):
    array = np.ones((6, 3))
    array[4, 1] = value
    array[5, 2] = np.nan  # a later one: the first is reported
    for check in (lambda: check_finite("x", array), lambda: check_array("x", array, F64)):
        with pytest.raises(
            ValueRangeError, match=rf"^x\[4, 1\] is {word}; remove .* \(there are 2 of them\)$"
        ):
            check()
    assert check_array("x", array, F64, finite=False) is array
    check_finite("x", np.full(3, 1.7e308))  # whose sum is infinite


def test_what_does_not_fit_float32():
    with pytest.raises(ValueRangeError, match=r"x\[1\] is 1e\+300; it is too large for float32; .*float64"):
        check_array("x", [0.0, 1e300], F32)


def test_shapes():
    check_shape("x", np.ones((2, 3)), (2, 3), "(B, H)")
    with pytest.raises(
        ShapeError, match=r"^x has shape \(2, 3\), but should have \(3, 2\), which is \(B, H\)$"
    ):
        check_shape("x", np.ones((2, 3)), (3, 2), "(B, H)")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(2, ">f8"), r"has dtype >f8, whose byte order .*\.astype\('float64'\)"),
        ([1.0], r"is a list; convert it with numpy\.asarray"),
        (np.ma.masked_array([1.0]), r"is a MaskedArray; convert it with \.filled"),
    ],
)
def test_arrays_that_the_kernels_cannot_read(value, message):
    with pytest.raises(DtypeError, match=rf"^x {message}"):
        check_saved("x", value)


def test_arrays_that_are_computed_with_as_they_are():
    array = np.ones((2, 3))
    assert check_own_array("x", array, "(T, B)") is array
    with pytest.raises(ShapeError, match=r"x has shape \(2, 3\), but should have \(N,\)"):
        check_own_array("x", array, "(N,)")
    with pytest.raises(DtypeError, match=r"x is a list; give a NumPy array \(N,\)"):
        check_own_array("x", [1.0], "(N,)")


def test_arrays_on_a_device():
    class OnDevice:
        def copy_to_host(self):
            return np.ones(2)

    array = OnDevice()
    assert (on_device(array), on_device(np.ones(2)), on_device([1.0])) == (True, False, False)
    assert check_saved("x", array) is array
    assert check_host("x", [1.0]) == [1.0]
    with pytest.raises(DtypeError, match=r"^x is on the GPU; give a list or a NumPy array$"):
        check_host("x", array)
