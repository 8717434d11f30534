"""Activations that know their margins, compiled: `gatescope.cells.margins` on SIMD vectors.

The texts of its functions are those of NumPy.  What is added here is the number itself, a pair of vectors, and its
operators.  Importing this module registers them with Numba.
"""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import (
    intrinsic,
    lower_builtin,
    make_attribute_wrapper,
    models,
    overload,
    register_model,
    type_callable,
)

from gatescope.cells import activations, margins
from gatescope.cells.margins import Activation, negative, times, value_of
from gatescope.kernels.simd.vector import (
    Vec,
    _emit_absolute,
    absolute,
    constant,
    llvm_type,
    select_less,
    splat,
)


class Margined(types.Type):
    """An `Activation` whose value and margin are vectors `vec`."""

    def __init__(self, vec):
        self.vec = vec
        super().__init__(name=f"Margined({vec})")


@register_model(Margined)
class _MarginedModel(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("value", kind.vec), ("margin", kind.vec)])


make_attribute_wrapper(Margined, "value", "value")
make_attribute_wrapper(Margined, "margin", "margin")


@type_callable(Activation)
def _type_activation(context):
    def typer(value, margin):
        return Margined(value) if isinstance(value, Vec) and value == margin else None

    return typer


@lower_builtin(Activation, Vec, Vec)
def _make_activation(context, builder, sig, args):
    pair = cgutils.create_struct_proxy(sig.return_type)(context, builder)
    pair.value, pair.margin = args
    return pair._getvalue()


@overload(value_of)
def _value_of(x):
    return (lambda x: x.value) if isinstance(x, Margined) else (lambda x: x)


@overload(abs)
def _abs(x):
    return (lambda x: absolute(x)) if isinstance(x, Vec) else None


@overload(margins.complement)
def _complement(x):
    if isinstance(x, Margined):
        return lambda x: select_less(constant(x.value, 0), x.value, x.margin, activations.complement(x.value))
    return lambda x: activations.complement(x)


# ---- operators -----------------------------------------------------------------------------------------------------


def _any_margined(*kinds):
    return any(isinstance(kind, Margined) for kind in kinds)


@overload(operator.mul)
def _mul(a, b):
    if isinstance(a, Margined) and isinstance(b, Margined):
        return lambda a, b: times(a, b)
    return (lambda a, b: value_of(a) * value_of(b)) if _any_margined(a, b) else None


@overload(operator.add)
def _add(a, b):
    return (lambda a, b: value_of(a) + value_of(b)) if _any_margined(a, b) else None


@overload(operator.sub)
def _sub(a, b):
    return (lambda a, b: value_of(a) - value_of(b)) if _any_margined(a, b) else None


@overload(operator.truediv)
def _truediv(a, b):
    return (lambda a, b: value_of(a) / value_of(b)) if _any_margined(a, b) else None


@overload(operator.neg)
def _neg(x):
    return (lambda x: negative(x)) if isinstance(x, Margined) else None


@intrinsic
def count_small(typingctx, values, least, beyond, weights):
    """Add up the weights, lane by lane, of activations of a margin below `least` and other values past `beyond`.

    `values` is a tuple of both kinds, `weights` as many vectors.
    """
    vec = weights.dtype

    def codegen(context, builder, sig, args):
        kinds, count = sig.args[0], len(sig.args[0])
        values, weights = (cgutils.unpack_tuple(builder, args[k], count) for k in (0, 3))
        least, beyond = (splat(builder, vec, args[k]) for k in (1, 2))
        none = ir.Constant(llvm_type(vec), [0.0] * vec.lanes)
        total = none
        for kind, value, weight in zip(kinds, values, weights, strict=True):
            if isinstance(kind, Margined):
                pair = cgutils.create_struct_proxy(kind)(context, builder, value=value)
                small = builder.fcmp_ordered("<", pair.margin, least)
            else:
                small = builder.fcmp_ordered(">", _emit_absolute(builder, vec, [value]), beyond)
            total = builder.fadd(total, builder.select(small, weight, none))
        return total

    return vec(values, least, beyond, weights), codegen
