"""A SIMD vector as a Numba type: what the cells' equations run on in the CPU kernels.

Lanes run over hidden units.  A value of `Vec(float32, 16)` is one LLVM vector; ``+ - * /`` work on vectors and on a
vector with a scalar, so that a cell's `step` is the same plain Python for vectors, scalars and NumPy arrays.

The primitives below work on vectors and on scalar floats alike, because the activations are written in them once
for both (`simd.activations`).  Every intrinsic is a module global and takes the number of lanes as a literal: Numba's
disk cache misses on kernels that close over objects made at run time.
"""

import operator
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model


class Vec(types.Type):
    """`lanes` floats of `dtype` side by side in one register (or a few)."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vec({dtype}, {lanes})")


def host_lanes(dtype: Any) -> int:
    """Return how many floats of `dtype` (a NumPy dtype) a register of this machine holds."""
    features = llvm.get_host_cpu_features()
    bits = 512 if features.get("avx512f") else 256 if features.get("avx") else 128
    return int(bits // (8 * dtype.itemsize))


@cache
def host_registers() -> int:
    """Return how many vector registers this machine has: 32 with AVX-512 and on ARM, else 16."""
    features = llvm.get_host_cpu_features()
    return 32 if features.get("avx512f") or features.get("neon") else 16


def _scalar(dtype):
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def llvm_type(kind):
    """Return the LLVM type of a Vec or of a scalar float."""
    return ir.VectorType(_scalar(kind.dtype), kind.lanes) if isinstance(kind, Vec) else _scalar(kind)


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, manager, vec):
        super().__init__(manager, vec, llvm_type(vec))


def splat(builder, kind, scalar):
    """Return the LLVM value of `kind` whose every lane is `scalar`."""
    if not isinstance(kind, Vec):
        return scalar
    target = llvm_type(kind)
    one = builder.insert_element(ir.Constant(target, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
    return builder.shuffle_vector(one, ir.Constant(target, ir.Undefined), lanes)


def _common(kinds):
    """Return the type that operands have in common: the vector if there is one, else the scalar float."""
    vectors = [kind for kind in kinds if isinstance(kind, Vec)]
    if vectors:
        return vectors[0]
    floats = [kind for kind in kinds if isinstance(kind, types.Float)]
    return floats[0] if floats else None


def _lift(context, builder, kinds, values, target):
    dtype = target.dtype if isinstance(target, Vec) else target
    return [
        value if isinstance(kind, Vec) else splat(builder, target, context.cast(builder, value, kind, dtype))
        for kind, value in zip(kinds, values, strict=True)
    ]


# ---- operators -----------------------------------------------------------------------------------------------------


def _binary(op, instruction):
    @infer_global(op)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            vec = next((a for a in args if isinstance(a, Vec)), None)
            if vec is not None and len(args) == 2 and all(isinstance(a, Vec | types.Number) for a in args):
                return signature(vec, *args)
            return None

    def lower(context, builder, sig, args):
        left, right = _lift(context, builder, sig.args, args, sig.return_type)
        # A product and a sum may become one fused operation; nothing else is relaxed, so NaN survives.
        return getattr(builder, instruction)(left, right, flags=("contract",))

    for pair in ((Vec, Vec), (Vec, types.Number), (types.Number, Vec)):
        lower_builtin(op, *pair)(lower)


for _op, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _binary(_op, _instruction)


@infer_global(operator.neg)
class _Negate(AbstractTemplate):
    def generic(self, args, kws):
        return signature(args[0], args[0]) if len(args) == 1 and isinstance(args[0], Vec) else None


@lower_builtin(operator.neg, Vec)
def _lower_negate(context, builder, sig, args):
    return builder.fneg(args[0])


# ---- primitives on vectors and scalars ------------------------------------------------------------------------------


def _suffix(kind):
    bits = "f32" if (kind.dtype if isinstance(kind, Vec) else kind) == types.float32 else "f64"
    return f"v{kind.lanes}{bits}" if isinstance(kind, Vec) else bits


def _call(builder, name, kind, values):
    target = llvm_type(kind)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(target, [target] * len(values)), f"llvm.{name}.{_suffix(kind)}"
    )
    return builder.call(function, values)


def _primitive(arity, emit):
    """Make an intrinsic of `arity` operands, vectors or scalars, whose code `emit(builder, kind, values)` writes."""

    def build(kinds):
        target = _common(kinds)
        if target is None:
            return None

        def codegen(context, builder, sig, args):
            return emit(builder, target, _lift(context, builder, sig.args, args, target))

        return target(*kinds), codegen

    if arity == 1:
        return intrinsic(lambda typingctx, a: build((a,)))
    if arity == 2:
        return intrinsic(lambda typingctx, a, b: build((a, b)))
    if arity == 3:
        return intrinsic(lambda typingctx, a, b, c: build((a, b, c)))
    return intrinsic(lambda typingctx, a, b, c, d: build((a, b, c, d)))


def _less(builder, values):
    return builder.fcmp_ordered("<", values[0], values[1])


def _emit_minimum(builder, kind, values):
    return builder.select(_less(builder, values), values[0], values[1])


def _emit_maximum(builder, kind, values):
    return builder.select(builder.fcmp_ordered(">", values[0], values[1]), values[0], values[1])


def _bits(builder, kind, value, keep_sign):
    """Return the bits of a float as integers, with everything but the sign cleared, or the sign alone."""
    size = 32 if (kind.dtype if isinstance(kind, Vec) else kind) == types.float32 else 64
    mask = 1 << (size - 1) if keep_sign else (1 << (size - 1)) - 1
    integer = ir.IntType(size)
    if isinstance(kind, Vec):
        vector = ir.VectorType(integer, kind.lanes)
        return builder.and_(builder.bitcast(value, vector), ir.Constant(vector, [mask] * kind.lanes))
    return builder.and_(builder.bitcast(value, integer), ir.Constant(integer, mask))


# Written with bits, not with llvm.fabs and llvm.copysign, which NVIDIA's compiler does not know.
def _emit_absolute(builder, kind, values):
    return builder.bitcast(_bits(builder, kind, values[0], False), llvm_type(kind))


def _emit_copysign(builder, kind, values):
    magnitude, sign = _bits(builder, kind, values[0], False), _bits(builder, kind, values[1], True)
    return builder.bitcast(builder.or_(magnitude, sign), llvm_type(kind))


fma = _primitive(3, lambda builder, kind, v: _call(builder, "fma", kind, v))
absolute = _primitive(1, _emit_absolute)
copysign = _primitive(2, _emit_copysign)
# The second operand where either is NaN: one machine instruction, and NaN stays NaN if the constant comes first.
minimum = _primitive(2, _emit_minimum)
maximum = _primitive(2, _emit_maximum)
# x where a < b, else y.
select_less = _primitive(4, lambda builder, kind, v: builder.select(_less(builder, v[:2]), v[2], v[3]))
# The second operand, spread over the type of the first.
constant = _primitive(2, lambda builder, kind, v: v[1])


# ---- across the lanes -----------------------------------------------------------------------------------------------


def across(combine, builder, value, width):
    """Halve an LLVM vector until one lane is left; the order is fixed, so the rounding is too."""
    while width > 1:
        width //= 2
        undefined = ir.Constant(value.type, ir.Undefined)
        halves = [
            builder.shuffle_vector(
                value,
                undefined,
                ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(at, at + width))),
            )
            for at in (0, width)
        ]
        value = combine(builder, *halves)
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def add_lanes(builder, value, width):
    """Return the sum of an LLVM vector's lanes."""
    return across(lambda b, x, y: b.fadd(x, y), builder, value, width)
