"""The compiled activations: accuracy over the whole range, special values, vectors and scalars, the code."""

import re

import mpmath as mp
import numpy as np
import pytest
from golden import derive_coefficients
from numba import njit

from gatescope.cells import activations
from gatescope.cells.activations import complement, positive, relu, sigmoid, tanh, zero
from gatescope.kernels.simd import activations as vm
from gatescope.kernels.simd import coefficients
from gatescope.kernels.simd.load_store import load, store

LANES = 8
DTYPES = (np.float32, np.float64)
CURVES = {"tanh": tanh, "sigmoid": sigmoid}
FUNCTIONS = (tanh, sigmoid, relu, positive, complement, zero)


def compiled(function, vector):
    @njit
    def on_vectors(x, out):
        for i in range(0, x.size, LANES):
            (v,) = load(x, i, 0, 1, LANES)
            store(out, i, 0, (function(v),))

    @njit
    def on_scalars(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return on_vectors if vector else on_scalars


KERNELS = {(f.__name__, vector): compiled(f, vector) for f in FUNCTIONS for vector in (True, False)}


def call(name, x, vector=True):
    padded = np.resize(x, -(-x.size // LANES) * LANES)
    out = np.empty_like(padded)
    KERNELS[name, vector](padded, out)
    return out[: x.size]


def exact_mp(name, values):
    """Return the exact function, in mpmath numbers of 40 digits."""
    with mp.workdps(40):
        # sigmoid(x) = (1 + tanh(x/2)) / 2 would cancel for x < 0.
        one = {"tanh": mp.tanh, "sigmoid": lambda v: 1 / (1 + mp.exp(-v))}[name]
        return [one(mp.mpf(float(v))) for v in values]


def reference(name, x):
    """Return the function to many more bits than x has: float64 for float32, long double for float64."""
    if x.dtype == np.float32:
        x = x.astype(np.float64)
    elif np.finfo(np.longdouble).nmant >= 63:
        x = x.astype(np.longdouble)
    else:
        raise RuntimeError("this test needs a long double of 64 bits or more to judge float64")
    if name == "tanh":
        return np.tanh(x)
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def units(truth, dtype):
    """One unit in the last place of `dtype` at `truth`: the distance of the floats round it."""
    info = np.finfo(dtype)
    exponent = np.frexp(truth)[1] - 1  # of the binade that holds the exact value
    return np.ldexp(truth.dtype.type(1), np.maximum(exponent, info.minexp) - info.nmant)


def errors(name, x, vector=True):
    """Signed, in units in the last place."""
    truth = reference(name, x)
    return (call(name, x, vector).astype(truth.dtype) - truth) / units(truth, x.dtype)


def joins(name, dtype):
    """Where the reduction steps to the next k, as floats, over all k in use; and the clamps."""
    step = np.log(2) / (2 if name == "tanh" else 1)
    low, high = ends(name, dtype)
    k = np.arange(np.floor(low / step), np.ceil(high / step)) + 0.5
    points = k * step
    return np.concatenate([points[(points > low) & (points < high)], [low, high]]).astype(dtype)


def ends(name, dtype):
    bits = 8 * np.dtype(dtype).itemsize
    if name == "tanh":
        return -float(getattr(vm, f"TANH_END_{bits}")), float(getattr(vm, f"TANH_END_{bits}"))
    return float(getattr(vm, f"SIGMOID_LOW_{bits}")), float(getattr(vm, f"SIGMOID_HIGH_{bits}"))


def neighbours(points, count):
    """For each point the `count` floats on either side of it (len(points), 2 count + 1), ascending."""
    integer = np.dtype(f"i{points.dtype.itemsize}")
    bits = points.view(integer)[:, None] + np.arange(-count, count + 1, dtype=integer)
    return np.sort(bits.view(points.dtype), axis=1)


def all_exponents(dtype, each, rng):
    """Finite floats of every exponent, subnormal ones too, both signs."""
    info = np.finfo(dtype)
    exponent = np.arange(1 - info.maxexp, info.maxexp)
    mantissa = rng.uniform(1, 2, (exponent.size, each))
    x = np.ldexp(mantissa, exponent[:, None]).ravel()
    x = np.concatenate([x, info.tiny * rng.uniform(0, 1, 10 * each)]).astype(dtype)
    return np.concatenate([x, -x])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_the_reference_is_exact_enough_to_judge(name, dtype):
    rng = np.random.default_rng(0)
    low, high = ends(name, dtype)
    x = np.concatenate([rng.uniform(low, high, 400), np.exp(rng.uniform(-30, 2, 400))]).astype(dtype)
    truth, reference_values = exact_mp(name, x), reference(name, x)
    unit = units(reference_values, dtype)
    worst = 0
    with mp.workdps(40):
        for g, t, u in zip(np.ldexp(reference_values, 300), truth, unit, strict=True):
            high = np.float64(
                g
            )  # a long double in two halves, scaled so that the lower one does not underflow
            exact = (mp.mpf(float(high)) + mp.mpf(float(g - high))) * mp.mpf(2) ** -300
            worst = max(worst, abs(exact - t) / mp.mpf(float(u)))
    assert worst < 0.01


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_within_three_ulp_over_the_whole_range(name, dtype):
    rng = np.random.default_rng(1)
    low, high = ends(name, dtype)
    x = np.concatenate(
        [
            all_exponents(dtype, 100, rng),
            rng.uniform(low * 1.01, high * 1.01, 400_000).astype(dtype),
            rng.uniform(-3, 3, 200_000).astype(dtype),
            neighbours(joins(name, dtype), 500).ravel(),
        ]
    )
    assert np.abs(errors(name, x)).max() < 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_within_three_ulp_of_mpmath(name, dtype):
    rng = np.random.default_rng(2)
    low, high = ends(name, dtype)
    x = np.concatenate(
        [
            rng.uniform(low, high, 3000).astype(dtype),
            rng.uniform(-2, 2, 2000).astype(dtype),
            neighbours(joins(name, dtype)[::8], 2).ravel(),
        ]
    )
    unit = units(reference(name, x), dtype)
    with mp.workdps(40):
        worst = max(
            abs(mp.mpf(float(g)) - t) / mp.mpf(float(u))
            for g, t, u in zip(call(name, x), exact_mp(name, x), unit, strict=True)
        )
    assert worst < 3


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
def test_every_seventh_float32(name):
    """Floats from "the result is x, or 1/2" to saturation: the error, the bound 1, any step back.

    1.2 million of every exponent; the default tests have all that are near the joins.
    """
    chunk = 7 << 15  # fits the caches
    for sign, end in zip((-1, 1), ends(name, np.float32), strict=True):
        first, last = (int(bits) for bits in np.array([2.0**-30, abs(end)], np.float32).view(np.uint32))
        for start in range(first, last + 1, chunk):
            x = np.arange(start, start + chunk, 7, dtype=np.uint32).view(np.float32) * np.float32(sign)
            result, truth = call(name, x), reference(name, x)
            unit = units(truth, np.float32)
            assert (np.abs(result - truth) / unit).max() < 3
            assert np.abs(result).max() <= 1
            drop = np.maximum.accumulate(sign * result) - sign * result
            assert (drop / unit).max() <= 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_joins_show_no_step(name, dtype):
    """Rising across every join, but for the rounding that neighbours anywhere have; no shift of the mean."""
    x = neighbours(joins(name, dtype)[:-2], 1000)
    shape = x.shape
    truth = reference(name, x.ravel()).reshape(shape)
    unit = units(truth, dtype)
    result = call(name, x.ravel()).reshape(shape).astype(truth.dtype)
    drop = (np.maximum.accumulate(result, axis=1) - result) / unit
    assert drop.max() <= 3
    error = (result - truth) / unit
    # A thousand neighbours near saturation can share one exact value: the means there are single roundings.
    left, right = error[:, :1000].mean(axis=1), error[:, 1001:].mean(axis=1)
    assert np.abs(left - right).max() < 2


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype, vector):
    info = np.finfo(dtype)
    inf = np.inf
    x = np.array([0.0, -0.0, inf, -inf, info.max, -info.max, 50, -50, 1000, -1000], dtype)
    y = call("tanh", x, vector)
    np.testing.assert_array_equal(y, [0, 0, 1, -1, 1, -1, 1, -1, 1, -1])
    np.testing.assert_array_equal(np.signbit(y), np.signbit(x))
    s = call("sigmoid", np.array([0.0, -0.0, inf, -inf, info.max, -info.max, 50, 1000, -1000], dtype), vector)
    np.testing.assert_array_equal(s, [0.5, 0.5, 1, 0, 1, 0, 1, 1, 0])
    nan = np.array([np.nan, -np.nan, 1.0], dtype)
    for name in ("tanh", "sigmoid", "relu", "complement"):
        np.testing.assert_array_equal(np.isnan(call(name, nan, vector)), [True, True, False])
    tiny = np.array([info.smallest_subnormal, info.tiny, -info.tiny / 2, info.eps**2], dtype)
    np.testing.assert_array_equal(call("tanh", tiny, vector), tiny)
    np.testing.assert_array_equal(call("sigmoid", tiny, vector), np.full(4, 0.5))


@pytest.mark.parametrize(("dtype", "x"), [(np.float32, -100.0), (np.float32, -90.0), (np.float64, -740.0)])
def test_sigmoid_reaches_into_the_subnormal_numbers(dtype, x):
    value = call("sigmoid", np.array([x], dtype))[0]
    assert 0 < value < np.finfo(dtype).tiny
    (truth,) = exact_mp("sigmoid", [x])
    assert abs(mp.mpf(float(value)) - truth) <= 2 * mp.mpf(float(np.finfo(dtype).smallest_subnormal))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_vectors_and_scalars_give_the_same_bits(function, dtype):
    rng = np.random.default_rng(3)
    x = np.concatenate([all_exponents(dtype, 40, rng), rng.uniform(-110, 20, 40_000).astype(dtype)])
    x = np.concatenate([x, np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)])
    name = function.__name__
    bits = f"u{x.itemsize}"
    np.testing.assert_array_equal(call(name, x, True).view(bits), call(name, x, False).view(bits))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_numpy_bodies_agree(function, dtype):
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.uniform(-110, 20, 20_000), rng.uniform(-2, 2, 20_000), [0.0, -0.0, np.nan]])
    x = x.astype(dtype)
    with np.errstate(all="raise", under="ignore"):
        expected = function(x)
    assert expected.dtype == dtype
    got = call(function.__name__, x)
    if function in (tanh, sigmoid):
        # 3 units of ours and as many of NumPy's exp or tanh, sum and quotient.
        unit = units(np.abs(np.nan_to_num(expected, nan=1.0)), dtype)
        finite = ~np.isnan(x)
        assert (np.abs(got - expected) / unit)[finite].max() <= 6
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    else:
        np.testing.assert_array_equal(got, expected)


def test_numpy_bodies_take_a_complex_step():
    x = np.array([-800.0, -100, -3, -0.25, 0, 0.25, 3, 40, 800])
    step = 1e-30
    with np.errstate(all="raise", under="ignore"):
        for function, slope in (
            (sigmoid, lambda v: sigmoid(v) * sigmoid(-v)),
            (tanh, lambda v: 1 / np.cosh(np.clip(v, -300, 300)) ** 2),
            (relu, positive),
            (complement, lambda v: -np.ones_like(v)),
        ):
            value = function(x + 1j * step)
            # Four roundings of each side.
            np.testing.assert_allclose(value.imag / step, slope(x), rtol=2e-15, atol=1e-250)
            np.testing.assert_allclose(value.real, function(x), rtol=1e-15)


def llvm(kernel, dtype):
    x = np.zeros(LANES, dtype)
    kernel(x, x.copy())
    return kernel.inspect_llvm()[
        next(s for s in kernel.signatures if s[0].dtype.name == np.dtype(dtype).name)
    ]


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_float32_code_holds_no_double(function, vector):
    kernel = compiled(function, vector)
    assert "double" not in llvm(kernel, np.float32)
    assert function is zero or "double" in llvm(kernel, np.float64)  # zero of float64 is a memset


@pytest.mark.parametrize("dtype", DTYPES)
def test_everything_is_inlined_with_one_division_each(dtype):
    @njit
    def kernel(x, out):
        for i in range(0, x.size, LANES):
            (v,) = load(x, i, 0, 1, LANES)
            for _ in range(2):
                v = sigmoid(tanh(sigmoid(tanh(sigmoid(tanh(v))))))
            store(out, i, 0, (v,))

    code = llvm(kernel, dtype)
    assert not [name for name in re.findall(r"call [^@]*@([\w.$]+)", code) if "gatescope" in name]
    assert code.count("fdiv") % 6 == 0
    assert code.count("fdiv") > 0


def test_no_other_dtype_is_taken():
    with pytest.raises(Exception, match="No implementation of function"):
        njit(lambda x: activations.tanh(x))(3)


def test_the_script_derives_the_coefficients():
    with open(coefficients.__file__, encoding="utf-8") as file:
        assert file.read() == derive_coefficients.source()
    # The text's decimals stand for exactly the numbers derived.
    for name in derive_coefficients.TERMS:
        constants, error = derive_coefficients.derive(name)
        assert error < {"float32": 2.0**-24, "float64": 2.0**-53}[name]
        for key, value in constants.items():
            stored = getattr(coefficients, f"{key}_{name[-2:]}")
            assert stored.dtype == np.dtype(name)
            assert stored == value
