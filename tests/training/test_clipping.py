"""Clipping against PyTorch, and norms of gradients at the ends of the floats."""

import numpy as np
import pytest

from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.training.clipping import Clip

KINDS = ["norm", "tensor_norm", "value"]
SIZES = ((0, 6), (6, 8), (8, 21), (21, 22))


def draw(dtype, scale=1.0):
    return (scale * np.random.default_rng(0).standard_normal(22)).astype(dtype)


# float32: the coefficient is rounded once here, and the norm as well in PyTorch.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 5e-7)])
@pytest.mark.parametrize("limit", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("kind", KINDS)
def test_follows_pytorch(kind, limit, dtype, tolerance):
    torch = pytest.importorskip("torch")
    gradient = draw(dtype)
    parts = []
    for begin, end in SIZES:
        part = torch.zeros(end - begin, dtype=getattr(torch, dtype), requires_grad=True)
        part.grad = torch.tensor(gradient[begin:end])
        parts.append(part)
    utils = torch.nn.utils
    norm = float(np.linalg.norm(gradient.astype(float)))
    if kind == "norm":
        assert float(utils.clip_grad_norm_(parts, limit)) == pytest.approx(norm, rel=tolerance)
    for part in parts if kind == "tensor_norm" else ():
        utils.clip_grad_norm_(part, limit)
    if kind == "value":
        utils.clip_grad_value_(parts, limit)
    expected = np.concatenate([part.grad.numpy() for part in parts])
    changed = not np.array_equal(expected, gradient)

    global_norm, clipped = Clip(**{kind: limit}).apply(gradient, SIZES)
    assert global_norm == pytest.approx(norm, rel=1e-14)
    assert clipped is changed is (limit < 100)
    np.testing.assert_allclose(gradient, expected, rtol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formula_without_pytorch(dtype):
    gradient = draw(dtype)
    before = gradient.astype(float)
    Clip(norm=0.5).apply(gradient)
    expected = before * 0.5 / (np.linalg.norm(before) + 1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-15 if dtype == "float64" else 6e-8)
    gradient = draw(dtype)
    norm, clipped = Clip(tensor_norm=1.0).apply(gradient, SIZES)
    assert (norm, clipped) == (pytest.approx(np.linalg.norm(before), rel=1e-14), True)
    for begin, end in SIZES:
        length = np.linalg.norm(before[begin:end])
        np.testing.assert_allclose(
            gradient[begin:end], before[begin:end] * min(1, 1 / (length + 1e-6)), rtol=6e-8
        )
    gradient = draw(dtype)
    assert Clip(value=0.5).apply(gradient) == (norm, True)
    np.testing.assert_array_equal(gradient, np.clip(before.astype(dtype), -0.5, 0.5))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 1000])
def test_the_norm_takes_every_element_once(size):
    # Powers of two: exact in any order, and different for every subset of up to eight elements.
    vector = np.random.default_rng(size).integers(-9, 10, size).astype("float32")
    assert Clip().apply(vector)[0] == np.sqrt((vector.astype(float) ** 2).sum())


@pytest.mark.parametrize(
    ("dtype", "size"), [("float32", 1e30), ("float32", 1e-40), ("float64", 1e200), ("float64", 1e-200)]
)
def test_norms_at_the_ends_of_the_floats(dtype, size):
    gradient = draw(dtype, size)
    expected = float(np.linalg.norm(gradient.astype(float) / size)) * size
    norm, _ = Clip().apply(gradient)
    assert norm == pytest.approx(expected, rel=1e-13)
    if size > 1:
        assert Clip(norm=2.0).apply(gradient) == (norm, True)
        assert np.linalg.norm(gradient.astype(float)) == pytest.approx(2, rel=1e-6)


def test_the_largest_float32_gradient_keeps_its_direction():
    """Its norm is beyond float32, and the coefficient below the smallest normal one."""
    gradient = np.full(400, np.finfo("float32").max)
    gradient[::2] *= -1
    norm, clipped = Clip(norm=0.02).apply(gradient)
    assert clipped
    assert norm == pytest.approx(20 * float(np.finfo("float32").max), rel=1e-14)
    np.testing.assert_allclose(np.abs(gradient), 0.001, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_that_are_not_finite_are_left_alone(kind, bad, dtype):
    gradient = draw(dtype, 100)
    gradient[3] = bad
    before = gradient.copy()
    norm, clipped = Clip(**{kind: 1.0}).apply(gradient, SIZES)
    np.testing.assert_equal(norm, abs(bad))
    assert clipped is False
    np.testing.assert_array_equal(gradient, before)


def test_infinite_and_nan_at_once_is_nan():
    assert np.isnan(Clip().apply(np.array([np.inf, np.nan, 1.0]))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_no_limit_only_measures(kind):
    gradient = draw("float32", 1e6)
    before = gradient.copy()
    norm, clipped = Clip().apply(gradient, SIZES)
    assert clipped is False
    assert norm == pytest.approx(np.linalg.norm(before.astype(float)), rel=1e-14)
    np.testing.assert_array_equal(gradient, before)


def test_what_is_below_the_limit_keeps_every_bit():
    for kind in KINDS:
        gradient = draw("float32")
        _, clipped = Clip(**{kind: 100.0}).apply(gradient, SIZES)
        assert not clipped
        assert gradient.tobytes() == draw("float32").tobytes()
    assert Clip(norm=1e-9).apply(np.zeros(3)) == (0.0, False)


def test_errors_name_the_argument():
    for limit in (-1.0, float("nan"), float("inf"), "1", True):
        with pytest.raises(ValueRangeError, match="norm="):
            Clip(norm=limit)
    with pytest.raises(ValueRangeError, match="norm=0"):
        Clip(norm=0)
    with pytest.raises(ShapeError, match="sizes is empty"):
        Clip(tensor_norm=1.0).apply(np.ones(3))
    with pytest.raises(ShapeError, match=r"gradient has shape \(3, 1\)"):
        Clip().apply(np.ones((3, 1)))
    with pytest.raises(DtypeError, match="gradient has dtype int64"):
        Clip().apply(np.ones(3, int))
