"""The functions of `gatescope.cells.activations`, compiled: SIMD vectors and scalar floats alike.

tanh and sigmoid rest on one small function, T = tanh(r) for |r| <= ln(2)/4.  The argument is split into a
whole number k of ln(2)/2 and a rest r; with s = 2**k

    tanh(x)    = (s - 1 + (s + 1) T) / (s + 1 + (s - 1) T)      |x| =  k ln(2)/2 + r
    sigmoid(x) = (1 + T) / (1 + s + (1 - s) T)                  x/2 = -k ln(2)/2 + r

This is free of branches and takes one division and one short chain of dependent operations.  Each text serves vectors
and scalars: it uses the primitives of `simd.vector`, and `fma` wherever a product is added to, so that the compiler has
nothing left to fuse and both give the same bits.  Results are within 3 units in the last place, subnormal ones too.
The constants come from tests/golden/derive_coefficients.py.

Importing this module registers the functions with Numba for the target "cpu"; `gatescope.kernels.cuda.activations`
registers the same texts for the target "cuda", with a `divide` of its own.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import overload

from gatescope.cells import activations
from gatescope.kernels.simd.coefficients import (
    HALF_LN2_32,
    HALF_LN2_64,
    HALF_LN2_REST_32,
    HALF_LN2_REST_64,
    LOG2_E_32,
    LOG2_E_64,
    P1_32,
    P1_64,
    P2_32,
    P2_64,
    P3_64,
    P4_64,
    P5_64,
    P6_64,
    TWO_LOG2_E_32,
    TWO_LOG2_E_64,
)
from gatescope.kernels.simd.vector import (
    Vec,
    _primitive,
    absolute,
    constant,
    copysign,
    fma,
    llvm_type,
    maximum,
    minimum,
    select_less,
)

ONE_32, HALF_32 = np.float32(1), np.float32(0.5)
ONE_64, HALF_64 = np.float64(1), np.float64(0.5)

# Adding 1.5 * 2**(mantissa bits) rounds to a whole number and leaves it in the lowest bits.  With the bias of
# the exponent added too, a shift of those bits makes 2**k: see `power`.
ROUND_32 = np.float32(1.5 * 2.0**23 + 127)
ROUND_64 = np.float64(1.5 * 2.0**52 + 1023)

# Where tanh is 1 to the last bit, and s = s + 1 = s - 1 makes the quotient exactly 1.
TANH_END_32, TANH_END_64 = np.float32(10), np.float64(20)

# Where sigmoid rounds to 0 (past the subnormal numbers) and to 1.
SIGMOID_LOW_32, SIGMOID_HIGH_32 = np.float32(-104.5), np.float32(20)
SIGMOID_LOW_64, SIGMOID_HIGH_64 = np.float64(-746), np.float64(38)

# sigmoid's numerator and denominator both carry a factor.  Its power of two keeps s in range where the result
# is subnormal; its 1.625 puts both high in a binade, where a rounding weighs least.
SHIFT_32, SHIFT_64 = 32, 100
SCALE_32, SCALE_64 = np.float32(1.625), np.float64(1.625)
SMALL_32, SMALL_64 = np.float32(1.625 * 2.0**-SHIFT_32), np.float64(1.625 * 2.0**-SHIFT_64)
ROUND_SHIFTED_32 = np.float32(ROUND_32 - SHIFT_32)
ROUND_SHIFTED_64 = np.float64(ROUND_64 - SHIFT_64)


def _emit_power(builder, kind, values):
    dtype = kind.dtype if isinstance(kind, Vec) else kind
    bits, mantissa = (32, 23) if dtype == types.float32 else (64, 52)
    integer = ir.IntType(bits)
    if isinstance(kind, Vec):
        target = ir.VectorType(integer, kind.lanes)
        shift = ir.Constant(target, [mantissa] * kind.lanes)
    else:
        target, shift = integer, ir.Constant(integer, mantissa)
    return builder.bitcast(builder.shl(builder.bitcast(values[0], target), shift), llvm_type(kind))


# 2**k from k + ROUND: one shift, where a conversion, an addition and a shift would do the same.
power = _primitive(1, _emit_power)


def divide(a, b):
    """Return a / b, which each target implements; numerators and denominators here are far from overflow."""
    return a / b


@overload(divide, target="cpu", jit_options={"forceinline": True, "error_model": "numpy"})
def _divide(a, b):
    return lambda a, b: a / b


def _tanh_32(x):
    a = minimum(TANH_END_32, absolute(x))
    t = fma(a, TWO_LOG2_E_32, ROUND_32)
    s, k = power(t), t - ROUND_32
    # One term of ln(2)/2 is enough: its error of 1e-9 k has no weight left where k is large.
    r = fma(k, -HALF_LN2_32, a)
    y = r * r
    tanh_r = fma(r * y, fma(y, P2_32, P1_32), r)
    less, more = s - ONE_32, s + ONE_32
    return copysign(divide(fma(more, tanh_r, less), fma(less, tanh_r, more)), x)


def _tanh_64(x):
    a = minimum(TANH_END_64, absolute(x))
    t = fma(a, TWO_LOG2_E_64, ROUND_64)
    s, k = power(t), t - ROUND_64
    # The rest of ln(2)/2 matters in the leading term alone; taking it there only shortens the chain.
    r = fma(k, -HALF_LN2_64, a)
    y = r * r
    z = y * y
    p = fma(fma(fma(y, P6_64, P5_64), z, fma(y, P4_64, P3_64)), z, fma(y, P2_64, P1_64))
    tanh_r = fma(r * y, p, fma(k, -HALF_LN2_REST_64, r))
    less, more = s - ONE_64, s + ONE_64
    return copysign(divide(fma(more, tanh_r, less), fma(less, tanh_r, more)), x)


def _sigmoid_32(x):
    x = maximum(SIGMOID_LOW_32, minimum(SIGMOID_HIGH_32, x))
    t = fma(x, -LOG2_E_32, ROUND_SHIFTED_32)
    s, k = power(t), t - ROUND_SHIFTED_32
    r = fma(k, HALF_LN2_32, x * HALF_32)
    y = r * r
    tanh_r = fma(r * y, fma(y, P2_32, P1_32), fma(k, HALF_LN2_REST_32, r))
    less, more = fma(s, -SCALE_32, SMALL_32), fma(s, SCALE_32, SMALL_32)
    return divide(fma(tanh_r, SMALL_32, SMALL_32), fma(less, tanh_r, more))


def _sigmoid_64(x):
    x = maximum(SIGMOID_LOW_64, minimum(SIGMOID_HIGH_64, x))
    t = fma(x, -LOG2_E_64, ROUND_SHIFTED_64)
    s, k = power(t), t - ROUND_SHIFTED_64
    r = fma(k, HALF_LN2_REST_64, fma(k, HALF_LN2_64, x * HALF_64))
    y = r * r
    z = y * y
    p = fma(fma(fma(y, P6_64, P5_64), z, fma(y, P4_64, P3_64)), z, fma(y, P2_64, P1_64))
    tanh_r = fma(r * y, p, r)
    less, more = fma(s, -SCALE_64, SMALL_64), fma(s, SCALE_64, SMALL_64)
    return divide(fma(tanh_r, SMALL_64, SMALL_64), fma(less, tanh_r, more))


def _relu(x):
    return maximum(0, x)


def _positive(x):
    return select_less(constant(x, 0), x, constant(x, 1), constant(x, 0))


def _complement(x):
    return constant(x, 1) - x


def _zero(x):
    return constant(x, 0)


# What each function is in float32 and in float64.
TEXTS = {
    activations.tanh: (_tanh_32, _tanh_64),
    activations.sigmoid: (_sigmoid_32, _sigmoid_64),
    activations.relu: (_relu, _relu),
    activations.positive: (_positive, _positive),
    activations.complement: (_complement, _complement),
    activations.zero: (_zero, _zero),
}


def register(function, in_32, in_64, target, jit_options):
    """Give `function` to Numba for a target."""

    @overload(function, target=target, jit_options=jit_options)
    def choose(x):
        dtype = x.dtype if isinstance(x, Vec) else x
        return {types.float32: in_32, types.float64: in_64}.get(dtype)


for _function, _texts in TEXTS.items():
    # Always inlined, whatever LLVM's cost model says: a call would pass vectors through memory.
    # NumPy's error model: Python's would test every denominator for 0.
    register(_function, *_texts, "cpu", {"forceinline": True, "error_model": "numpy"})
