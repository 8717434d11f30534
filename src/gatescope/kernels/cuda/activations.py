"""The functions of `gatescope.cells.activations` for the target "cuda", exact and fast.

The exact ones are the texts of `kernels.simd.activations`, so the GPU's gates are accurate to the same 3 units in the
last place.
The fast ones are NVIDIA's `tanh.approx` (float32 only): an absolute error of about 2^-11 in tanh and 2^-12 in
sigmoid (PTX ISA, section on tanh), so gates agree with the exact ones to three decimal digits.

Importing this module registers the exact functions; `with_fast_activations` copies a cell's function to call the fast.
"""

import types as python_types
from functools import cache

from numba.core import types
from numba.extending import register_jitable

from gatescope.cells import activations
from gatescope.kernels.cuda.driver import overload
from gatescope.kernels.cuda.primitives import approximate_reciprocal, approximate_tanh
from gatescope.kernels.simd import activations as simd_activations
from gatescope.kernels.simd.vector import fma


@overload(simd_activations.divide)
def _divide(a, b):
    if a != types.float32:
        return lambda a, b: a / b  # correctly rounded by the compiler's own sequence

    # The compiler's float32 division branches for numbers that cannot occur.  One step of refinement makes
    # the quotient as good as a rounded one but for rare ties.
    def quotient(a, b):
        r = approximate_reciprocal(b)
        q = a * r
        return fma(fma(-b, q, a), r, q)

    return quotient


for _function, _texts in simd_activations.TEXTS.items():
    simd_activations.register(_function, *_texts, "cuda", {"forceinline": True})


@register_jitable
def fast_tanh(x):
    return approximate_tanh(x)


@register_jitable
def fast_sigmoid(x):
    half = approximate_tanh(x * type(x)(0.5))
    return half * type(x)(0.5) + type(x)(0.5)


@cache
def with_fast_activations(function):
    """Return a copy of a cell's function that calls the fast tanh and sigmoid; None for None."""
    if function is None:
        return None
    names = {activations.tanh: fast_tanh, activations.sigmoid: fast_sigmoid}
    scope = {
        name: names.get(value, value) if callable(value) else value
        for name, value in function.__globals__.items()
    }
    copy = python_types.FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    return register_jitable(copy)
