"""Words with tags, powers of two, and the activations as the GPU's compiler makes them."""

import numpy as np
import pytest
from helpers import machine_code as compiling
from numba import from_dtype, types

from gatescope.cells import activations as functions
from gatescope.cells import lstm
from gatescope.kernels.cuda import activations
from gatescope.kernels.cuda.driver import cuda, simulated
from gatescope.kernels.cuda.primitives import exponent, pause, poll, power_of_two, publish

u64, i32 = np.uint64, np.int32
DTYPES = [np.dtype("float32"), np.dtype("float64")]
WORDS = {dtype: dtype.itemsize // 4 for dtype in DTYPES}  # 64-bit words that a number takes
SPECIAL = [0.0, -0.0, 1.0, -1.5, 1e-40, 5e-324, 3e38, np.inf, -np.inf, np.nan, np.pi]

needs_emulator = pytest.mark.skipif(simulated, reason="the emulator needs the real numba.cuda")
needs_compiler = pytest.mark.skipif(compiling.why_not() is not None, reason=str(compiling.why_not()))


def values_of(dtype):
    with np.errstate(over="ignore"):
        return np.array(SPECIAL).astype(dtype)


def bits(array):
    return np.asarray(array).view(np.uint32 if array.dtype == np.float32 else np.uint64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tag", [1, 2, 2**31, 2**32 - 1])
def test_a_published_number_arrives_with_its_tag_and_all_its_bits(dtype, tag):
    values = values_of(dtype)
    words = np.zeros(len(values) * WORDS[dtype], np.uint64)
    for i in range(len(values)):
        assert not poll(words, u64(i), u64(tag), dtype.type(0))[0]
        publish(words, u64(i), values[i], u64(tag))
    for i in range(len(values)):
        arrived, value = poll(words, u64(i), u64(tag), dtype.type(0))
        assert arrived
        assert type(value) is dtype.type
        assert bits(np.array([value]))[0] == bits(values)[i]
        assert not poll(words, u64(i), u64(tag - 1), dtype.type(0))[0]


def test_half_of_a_float64_has_not_arrived():
    words = np.zeros(2, np.uint64)
    publish(words, u64(0), np.float64(np.pi), u64(7))
    for half in range(2):
        torn = words.copy()
        torn[half] = (u64(6) << u64(32)) | (torn[half] & u64(0xFFFFFFFF))
        assert not poll(torn, u64(0), u64(7), np.float64(0))[0]
    assert poll(words, u64(0), u64(7), np.float64(0)) == (True, np.pi)


def pass_on(words, out):
    """Block 0 publishes, the others wait for it."""
    j = u64(cuda.threadIdx.x)
    for t in range(3):
        if cuda.blockIdx.x == 0:
            publish(words, u64(t) * u64(32) + j, out[u64(t), u64(0), j], u64(t + 1))
        else:
            arrived = False
            while not arrived:
                arrived, value = poll(words, u64(t) * u64(32) + j, u64(t + 1), out[u64(0), u64(0), j])
                if not arrived:
                    pause()
            out[u64(t), u64(cuda.blockIdx.x), j] = value


@needs_emulator
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_blocks_pass_numbers_on(dtype, seed):
    from helpers.emulator import launch

    out = np.full((3, 3, 32), np.nan, dtype)
    out[:, 0] = np.random.default_rng(0).standard_normal((3, 32))
    launch(pass_on, 3, 32, (np.zeros(96 * WORDS[dtype], np.uint64), out), seed=seed)
    np.testing.assert_array_equal(out, np.repeat(out[:, :1], 3, axis=1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exponent_is_that_of_frexp(dtype):
    info = np.finfo(dtype)
    powers = np.arange(info.minexp, info.maxexp)
    for factor in (1, 1.25, 2 - float(info.eps)):
        for power in powers[:: max(1, len(powers) // 97)]:
            x = dtype.type(np.ldexp(float(factor), power))
            assert exponent(x) == np.frexp(x)[1] == power + 1
            assert type(exponent(x)) is np.int32
    for x in (0, np.inf, np.nan):
        assert exponent(dtype.type(x)) == 0
    smallest = info.smallest_subnormal
    # Near enough to choose a scale: below every normal number's.
    assert np.frexp(smallest)[1] <= exponent(smallest) <= info.minexp + 1
    assert exponent(info.max) == info.maxexp


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_power_of_two(dtype):
    info = np.finfo(dtype)
    for power in (info.minexp, -120, -33, -1, 0, 1, 33, 120, info.maxexp - 1):
        value = power_of_two(i32(power), dtype.type(0))
        assert type(value) is dtype.type
        assert value == np.ldexp(1.0, int(power))


# ---- as compiled ----------------------------------------------------------------------------------------------------


def ptx_of(function, dtype, cc=(9, 0)):
    def kernel(x, out):
        i = u64(cuda.threadIdx.x)
        out[i] = function(x[i])

    number = from_dtype(np.dtype(dtype))
    built = compiling.build(kernel, types.void(number[::1], number[::1]), cc)
    assert built.stack == built.spills == 0
    return built


@needs_compiler
@pytest.mark.parametrize("cc", [(7, 5), (10, 0)], ids="sm_{0[0]}{0[1]}".format)
@pytest.mark.parametrize("function", [functions.tanh, functions.sigmoid], ids=lambda f: f.__name__)
def test_an_exact_activation_in_float32_is_short(function, cc):
    built = ptx_of(function, "float32", cc)
    assert built.f64 == 0
    assert built.ptx.count("rcp.approx") == 1
    assert built.ptx.count(".approx") == 1
    assert "ex2" not in built.ptx
    assert "bra" not in built.ptx  # no branches, and no calls
    assert "call" not in built.ptx
    assert built.registers <= 32


@needs_compiler
@pytest.mark.parametrize("function", [functions.tanh, functions.sigmoid], ids=lambda f: f.__name__)
def test_an_exact_activation_in_float64_divides_exactly(function):
    built = ptx_of(function, "float64")
    assert "approx" not in built.ptx
    assert built.ptx.count("div.rn.f64") == 1


@needs_compiler
@pytest.mark.parametrize(
    "function", [activations.fast_tanh, activations.fast_sigmoid], ids=lambda f: f.__name__
)
def test_a_fast_activation_is_one_instruction(function):
    built = ptx_of(function, "float32")
    assert built.f64 == 0
    assert built.ptx.count("tanh.approx.f32") == built.ptx.count(".approx") == 1


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers_of_two_are_made_of_bits(dtype):
    """Compiled, subnormal numbers count as the smallest normal one: no library function, no branch."""

    def scale(x):
        return power_of_two(-exponent(x), x) * x

    built = ptx_of(cuda.jit(device=True)(scale), dtype)
    assert "call" not in built.ptx
    assert "bra" not in built.ptx
    assert dtype == "float64" or built.f64 == 0


# ---- a cell's copy with the fast activations ------------------------------------------------------------------------


def test_a_hurried_step_calls_the_fast_functions(monkeypatch):
    calls = []
    monkeypatch.setattr(activations, "approximate_tanh", lambda x: calls.append(x) or np.tanh(x))
    wx, rh = ((np.float32(0.3), np.float32(-0.7), np.float32(1.1), np.float32(0.2)),) * 2
    states = np.float32(0.5), np.float32(-0.25)
    new, kept = activations.with_fast_activations(lstm.step)(wx, rh, states)
    assert len(calls) == 5
    exact, exact_kept = lstm.step(wx, rh, states)
    assert len(calls) == 5  # the cell's own function is as it was
    np.testing.assert_allclose(new + kept, exact + exact_kept, rtol=0, atol=1e-6)
    assert all(type(value) is np.float32 for value in new + kept)


def test_hurried_keeps_one_copy_and_leaves_nothing_alone():
    assert activations.with_fast_activations(lstm.step) is activations.with_fast_activations(lstm.step)
    assert activations.with_fast_activations(None) is None
