import base64
import gzip

import numpy as np
import pytest

from gatescope.explorer.encoding import coding_of, decode, encode, odds, packed


@pytest.mark.parametrize("bits", [8, 16])
def test_values_come_back_within_the_error_that_is_said(bits):
    series = np.random.default_rng(0).normal(size=(500, 4)) * [1, 10, 0.1, 0]
    coding = coding_of(series, bits)
    codes = encode(series, coding)
    assert codes.shape == (4, 500)
    assert codes.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert codes.min() >= 1
    np.testing.assert_allclose(decode(codes, coding).T, series, rtol=0, atol=coding.error * (1 + 1e-9))


@pytest.mark.parametrize("bits", [8, 16])
def test_an_open_gate_is_right_where_it_matters(bits):
    values = np.array([[0.001], [0.5], [0.99], [0.9999], [0.999999]])
    coding = coding_of(values, bits, gate=True)
    back = decode(encode(values, coding), coding).T
    np.testing.assert_allclose(odds(back), odds(values), rtol=0, atol=coding.error * (1 + 1e-6))
    # A code a step of the value would give 0.99 and 0.9999 nearly the same one.
    np.testing.assert_allclose(1 - back, 1 - values, rtol=1.01 * coding.error)


def test_gates_at_their_ends_and_what_is_no_number():
    values = np.array([[0.0, 0.2], [1.0, np.nan], [0.5, np.inf]])
    coding = coding_of(values, 8, gate=True)
    codes = encode(values, coding)
    assert codes.tolist()[0][:2] == [1, 255]
    assert codes[1, 1:].tolist() == [0, 0]
    assert np.isnan(decode(codes, coding)[1, 1:]).all()


def test_the_widest_range_does_not_overflow():
    values = np.array([[-1.7e308], [0.0], [1.7e308]])
    coding = coding_of(values, 8)
    assert encode(values, coding).tolist() == [[1, 128, 255]]


def test_nothing_finite_gives_code_0():
    values = np.full((3, 2), np.nan)
    assert not encode(values, coding_of(values, 16)).any()


def test_what_is_packed_is_the_bytes_little_end_first_and_always_the_same():
    array = np.arange(300, dtype=">u2").reshape(3, 100)
    text = packed(array)
    assert text == packed(array.astype("<u2"))
    np.testing.assert_array_equal(
        np.frombuffer(gzip.decompress(base64.b64decode(text)), "<u2"), np.arange(300)
    )
