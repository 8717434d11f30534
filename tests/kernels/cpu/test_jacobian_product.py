"""Products of many matrices: every singular value against mpmath, where they differ by hundreds of decades."""

import mpmath
import numpy as np
import pytest

from gatescope.kernels.cpu.jacobian_product import JacobianProduct


def logs_of(matrix):
    values = mpmath.svd_r(matrix, compute_uv=False)
    return np.sort([float(mpmath.log(value)) for value in values])[::-1]


def exact(matrices, digits):
    """Return the product in so many digits."""
    with mpmath.workdps(digits):
        total = mpmath.eye(matrices.shape[1])
        for matrix in matrices:
            total = total * mpmath.matrix(matrix.tolist())
        return total


@pytest.mark.parametrize(("size", "steps"), [(1, 10), (2, 400), (3, 300), (6, 100)])
def test_random_products(size, steps):
    rng = np.random.default_rng(size)
    matrices = rng.standard_normal((steps, size, size)) / 2
    matrices[:, -1] *= 0.05
    chain = JacobianProduct(np.eye(size))
    chain.multiply(matrices[: steps // 3])
    chain.multiply(matrices[steps // 3 :])
    with mpmath.workdps(1000):
        expected = logs_of(exact(matrices, 1000))
    np.testing.assert_allclose(chain.log_singular_values(), expected, rtol=1e-13)


def test_blocks_of_a_product():
    matrices = np.random.default_rng(3).standard_normal((150, 6, 6)) / 3
    total = exact(matrices, 800)
    for rows, columns in ((slice(0, 3), slice(3, 6)), (slice(3, 6), slice(0, 3)), (slice(0, 2), slice(1, 5))):
        chain = JacobianProduct(np.eye(6)[rows])
        chain.multiply(matrices)
        with mpmath.workdps(800):
            expected = logs_of(total[rows, columns])
        np.testing.assert_allclose(chain.log_singular_values(columns), expected, rtol=1e-12)


def test_order_of_growth_that_turns_round():
    """First one direction grows, then the other: the product is not graded as its last factors are."""
    first, second = np.diag([3.0, 0.2]), np.diag([0.3, 4.0])
    turn = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    matrices = np.concatenate(
        [np.repeat(m[None], 60, axis=0) for m in (first, turn @ second @ turn.T, first)]
    )
    chain = JacobianProduct(np.eye(2))
    chain.multiply(matrices)
    with mpmath.workdps(400):
        expected = logs_of(exact(matrices, 400))
    np.testing.assert_allclose(chain.log_singular_values(), expected, rtol=1e-12, atol=1e-12)


def test_diagonal_in_no_order():
    rates = np.array([0.5, 0.9, 0.99, 0.1])
    chain = JacobianProduct(np.eye(4))
    chain.multiply(np.repeat(np.diag(rates)[None], 2000, axis=0))
    np.testing.assert_allclose(chain.log_singular_values(), 2000 * np.sort(np.log(rates))[::-1], rtol=1e-13)


def test_lost_directions():
    matrices = np.repeat(np.diag([0.5, 0.0, 0.25])[None], 5, axis=0)
    chain = JacobianProduct(np.eye(3))
    chain.multiply(matrices)
    np.testing.assert_allclose(chain.log_singular_values(), [5 * np.log(0.5), 5 * np.log(0.25), -np.inf])
    chain.multiply(np.zeros((1, 3, 3)))
    assert np.all(chain.log_singular_values() == -np.inf)


def test_ranks_of_a_block():
    """A block that nothing enters is -inf, and one that less enters than it has rows has as many values as that."""
    matrices = np.random.default_rng(4).standard_normal((3, 4, 4))
    matrices[:, :2, 2:] = 0
    chain = JacobianProduct(np.eye(4)[:2])
    chain.multiply(matrices)
    assert np.all(chain.log_singular_values(slice(2, 4)) == -np.inf)
    assert chain.log_singular_values(slice(0, 1)).shape == (1,)
