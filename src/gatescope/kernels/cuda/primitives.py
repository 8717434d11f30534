"""Primitives of the GPU kernels beside arithmetic: words passed between blocks, prefetches, powers of two.

Each function has a Python body, which Numba's simulator and the tests' emulator run, and a body for the GPU.

Blocks pass numbers through the level-2 cache as words of 64 bits: 32 bits of a number and, above them, a tag that says
which step the number belongs to.  A word is read and written whole, so who sees the tag sees the number: no fence and
no separate flag are needed, and an exchange costs one write and one read.  (NVIDIA's NCCL calls this protocol LL.)
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, register_jitable

from gatescope.kernels.cuda.driver import cuda, overload, simulated, simulated_kernel

FULL = 0xFFFFFFFF  # all 32 lanes of a warp take part


def pause():
    """Let others go on: the body of a waiting loop."""


@overload(pause)
def _pause():
    return lambda: None


# ---- memory ---------------------------------------------------------------------------------------------------------


def _pointer(context, builder, array_type, array, index_type, index):
    struct = context.make_array(array_type)(context, builder, array)
    element = builder.gep(struct.data, [context.cast(builder, index, index_type, types.uint64)])
    return builder.ptrtoint(element, ir.IntType(64))


def _assembly(builder, result, arguments, text, constraints):
    kinds = [argument.type for argument in arguments]
    code = ir.InlineAsm(ir.FunctionType(result, kinds), text, constraints, side_effect=True)
    return builder.call(code, arguments)


@intrinsic
def _prefetch(typingctx, array, index):
    def codegen(context, builder, sig, args):
        address = _pointer(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        _assembly(builder, ir.VoidType(), [address], "prefetch.L2 [$0];", "l")

    return types.void(array, index), codegen


def prefetch(array, index):
    """Ask for array[index] to be brought into the level-2 cache; the index must lie inside."""


@overload(prefetch)
def _prefetch_for(array, index):
    return lambda array, index: _prefetch(array, index)


@intrinsic
def _load_word(typingctx, words, index):
    def codegen(context, builder, sig, args):
        address = _pointer(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        return _assembly(builder, ir.IntType(64), [address], "ld.relaxed.gpu.u64 $0, [$1];", "=l,l,~{memory}")

    return types.uint64(words, index), codegen


@intrinsic
def _store_word(typingctx, words, index, word):
    def codegen(context, builder, sig, args):
        address = _pointer(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        _assembly(builder, ir.VoidType(), [address, args[2]], "st.relaxed.gpu.u64 [$0], $1;", "l,l,~{memory}")

    return types.void(words, index, types.uint64), codegen


# ---- lanes ----------------------------------------------------------------------------------------------------------


def _simulated_shuffle(value, mask):
    # The simulator has no shuffles, so numbers pass through shared memory.  Every thread comes here: no kernel
    # shuffles where only some of them do.
    simulator = simulated_kernel()
    thread = simulator.threadIdx.x
    values = simulator.shared.array(1024, types.float64)
    values[thread] = value
    simulator.syncthreads()
    received = type(value)(values[thread ^ mask])
    simulator.syncthreads()
    return received


if simulated:
    shuffle = _simulated_shuffle
else:

    @register_jitable
    def shuffle(value, mask):
        """Return the value of the lane whose number differs in the bits of `mask`."""
        return cuda.shfl_xor_sync(FULL, value, mask)


# ---- bits -----------------------------------------------------------------------------------------------------------


@intrinsic
def _bits_of(typingctx, x):
    integer = types.uint32 if x == types.float32 else types.uint64

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], ir.IntType(32 if x == types.float32 else 64))

    return integer(x), codegen


def _float_of(number, integer, kind):
    @intrinsic
    def of_bits(typingctx, bits):
        return number(integer), lambda context, builder, sig, args: builder.bitcast(args[0], kind)

    return of_bits


_float_32 = _float_of(types.float32, types.uint32, ir.FloatType())
_float_64 = _float_of(types.float64, types.uint64, ir.DoubleType())


# ---- words with tags ------------------------------------------------------------------------------------------------


def publish(words, index, value, tag):
    """Write number `index` with its tag (uint64 below 2^32) for other blocks."""
    tag = np.uint64(tag) << np.uint64(32)
    if isinstance(value, np.float32):
        words[index] = tag | np.uint64(np.float32(value).view(np.uint32))
    else:
        bits = np.float64(value).view(np.uint64)
        words[np.uint64(2) * index] = tag | (bits & np.uint64(0xFFFFFFFF))
        words[np.uint64(2) * index + np.uint64(1)] = tag | (bits >> np.uint64(32))


@overload(publish)
def _publish(words, index, value, tag):
    if value == types.float32:

        def in_32(words, index, value, tag):
            _store_word(words, index, (tag << np.uint64(32)) | np.uint64(_bits_of(value)))

        return in_32

    def in_64(words, index, value, tag):
        above, bits = tag << np.uint64(32), _bits_of(value)
        _store_word(words, np.uint64(2) * index, above | (bits & np.uint64(0xFFFFFFFF)))
        _store_word(words, np.uint64(2) * index + np.uint64(1), above | (bits >> np.uint64(32)))

    return in_64


def poll(words, index, tag, like):
    """Return whether number `index` has arrived with that tag, and the number; `like` gives its precision."""
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    if isinstance(like, np.float32):
        word = np.uint64(words[index])
        return (word >> high) == tag, np.uint32(word & low).view(np.float32)
    first = np.uint64(words[np.uint64(2) * index])
    second = np.uint64(words[np.uint64(2) * index + np.uint64(1)])
    value = np.uint64((first & low) | (second << high)).view(np.float64)
    return (first >> high) == tag and (second >> high) == tag, value


@overload(poll)
def _poll(words, index, tag, like):
    if like == types.float32:

        def in_32(words, index, tag, like):
            word = _load_word(words, index)
            return (word >> np.uint64(32)) == tag, _float_32(np.uint32(word))

        return in_32

    def in_64(words, index, tag, like):
        first = _load_word(words, np.uint64(2) * index)
        second = _load_word(words, np.uint64(2) * index + np.uint64(1))
        arrived = ((first >> np.uint64(32)) == tag) & ((second >> np.uint64(32)) == tag)
        return arrived, _float_64((first & np.uint64(0xFFFFFFFF)) | (second << np.uint64(32)))

    return in_64


# ---- powers of two --------------------------------------------------------------------------------------------------


def magnitude(x):
    """Return |x|."""
    return abs(x)


@intrinsic
def _absolute(typingctx, x):
    size = 32 if x == types.float32 else 64

    def codegen(context, builder, sig, args):
        integer = ir.IntType(size)
        bits = builder.and_(builder.bitcast(args[0], integer), ir.Constant(integer, (1 << (size - 1)) - 1))
        return builder.bitcast(bits, args[0].type)

    return x(x), codegen


@overload(magnitude)
def _magnitude(x):
    return lambda x: _absolute(x)


def exponent(x):
    """Return the power of two (int32) that x >= 0 is near: x = m * 2^exponent, 0.5 <= m < 1; 0 for 0, inf and NaN."""
    return np.int32(np.frexp(x)[1]) if np.isfinite(x) else np.int32(0)


@overload(exponent)
def _exponent(x):
    wide, bias, shift = (255, 126, 23) if x == types.float32 else (2047, 1022, 52)

    def body(x):
        # Subnormal numbers are called the smallest normal one: near enough for choosing a scale.
        bits = _bits_of(x)
        power = np.int32((bits >> shift) & wide)
        return np.int32(0) if power == wide or bits == 0 else power - np.int32(bias)

    return body


def power_of_two(power, like):
    """Return 2^power (int32, a normal number) in the precision of `like`."""
    return type(like)(np.ldexp(1.0, int(power)))


@overload(power_of_two)
def _power_of_two(power, like):
    if like == types.float32:
        return lambda power, like: _float_32(np.uint32(power + np.int32(127)) << np.uint32(23))
    return lambda power, like: _float_64(np.uint64(power + np.int32(1023)) << np.uint64(52))


# ---- approximate instructions ---------------------------------------------------------------------------------------


def _instruction(text):
    @intrinsic
    def instruction(typingctx, x):
        def codegen(context, builder, sig, args):
            code = ir.InlineAsm(ir.FunctionType(ir.FloatType(), [ir.FloatType()]), f"{text} $0, $1;", "=f,f")
            return builder.call(code, [args[0]])

        return types.float32(types.float32), codegen

    return instruction


_reciprocal, _tanh = _instruction("rcp.approx.ftz.f32"), _instruction("tanh.approx.f32")


def approximate_reciprocal(x):
    """Return 1 / x to within a unit in the last place, x and 1 / x normal numbers; float32."""
    return np.float32(1) / x


@overload(approximate_reciprocal)
def _approximate_reciprocal(x):
    return lambda x: _reciprocal(x)


def approximate_tanh(x):
    """Return tanh(x) with an absolute error of about 2^-11; float32."""
    return np.tanh(x)


@overload(approximate_tanh)
def _approximate_tanh(x):
    return lambda x: _tanh(x)
