"""Rows made orthonormal: against NumPy's QR, for every number of rows, graded, dependent and extreme ones."""

import numpy as np
import pytest

from gatescope.kernels.cpu.jacobian_product import carry_directions


def orthonormal(rows):
    """Return logs of R's diagonal, the orthonormal rows and the smallest sine; through one multiplication by 1."""
    logs, directions, sine, _, _ = carry_directions(np.eye(rows.shape[1])[None], rows, 1)
    return logs[0], directions, sine


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 17, 40])
@pytest.mark.parametrize("size", [40, 43])
def test_against_numpy(count, size):
    rows = np.random.default_rng(count).standard_normal((count, size))
    logs, directions, sine = orthonormal(rows)
    q, r = np.linalg.qr(rows.T)
    signs = np.sign(np.diag(r))
    np.testing.assert_allclose(logs, np.log(np.abs(np.diag(r))), rtol=0, atol=1e-13)
    np.testing.assert_allclose(directions, (q * signs).T, rtol=0, atol=1e-13)
    np.testing.assert_allclose(directions @ directions.T, np.eye(count), rtol=0, atol=1e-14)
    assert 0 < sine <= 1


@pytest.mark.parametrize("decades", [3, 6, 9])
def test_nearly_dependent_rows(decades):
    """Rows that all but coincide: orthonormal to rounding, because what rounding left is removed a second time."""
    rng = np.random.default_rng(0)
    rows = np.ones((20, 1)) * rng.standard_normal(32) + 10.0**-decades * rng.standard_normal((20, 32))
    logs, directions, sine = orthonormal(rows)
    np.testing.assert_allclose(directions @ directions.T, np.eye(20), rtol=0, atol=1e-12)
    expected = np.log(np.abs(np.diag(np.linalg.qr(rows.T)[1])))
    # The angle has lost `decades` digits of the sixteen there are.
    np.testing.assert_allclose(logs, expected, rtol=0, atol=10.0 ** (decades - 14))
    assert 10.0 ** (-decades - 2) < sine < 10.0 ** (-decades + 1)


def test_graded_rows():
    """Lengths that differ by 10^300 cost no digits: each row is judged on its own scale."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((12, 16))
    lengths = np.logspace(150, -150, 12)
    logs, directions, _ = orthonormal(rows * lengths[:, None])
    plain, same, _ = orthonormal(rows)
    np.testing.assert_allclose(logs - np.log(lengths), plain, rtol=0, atol=1e-12)
    np.testing.assert_allclose(directions, same, rtol=0, atol=1e-13)


def test_rows_whose_squares_are_no_floats():
    rows = np.diag([1e-300, 1e300, 1e-170, 1.0])
    logs, directions, _ = orthonormal(rows)
    np.testing.assert_allclose(logs, np.log(np.diag(rows)), rtol=1e-14)
    np.testing.assert_allclose(np.abs(directions), np.eye(4), atol=1e-15)


def test_lost_rows_get_another_direction():
    rows = np.zeros((3, 5))
    rows[0, 0], rows[2, 1] = 2.0, 3.0
    logs, directions, _ = orthonormal(rows)
    assert logs[0] == np.log(2.0)
    assert logs[1] == -np.inf
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-14)


def test_equal_rows_are_not_resolved():
    row = np.random.default_rng(2).standard_normal(9)
    logs, directions, _ = orthonormal(np.stack([row, row, row]))
    assert np.all(logs[1:] == -np.inf)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-13)
