"""The compiler's findings: a good kernel keeps its weights in registers, and one with too many must show it."""

import functools
import itertools
import math
import re

import numpy as np
import pytest
from helpers import machine_code as compiling
from numba import from_dtype, types
from numba.extending import register_jitable

from gatescope.kernels.cuda.driver import cuda

pytestmark = pytest.mark.skipif(compiling.why_not() is not None, reason=str(compiling.why_not()))

ARCHITECTURES = [(7, 5), (8, 0), (9, 0), (10, 0)]
u64, f32 = np.uint64, np.float32


def make_recurrence(units, gates, number=f32):
    """Return a recurrence whose thread holds `gates * units` weights, one barrier a step."""
    dtype = from_dtype(np.dtype(number))
    count, twice, one, zero = gates * units, 2 * units, number(1), number(0)

    @register_jitable
    def squash(x):
        return one / (one + math.exp(-x))

    def kernel(weights, states):
        j = u64(cuda.threadIdx.x)
        shared = cuda.shared.array(twice, dtype)
        w = cuda.local.array(count, dtype)
        sums = cuda.local.array(gates, dtype)
        for k in range(count):
            w[k] = weights[u64(k), j]
        shared[j] = states[u64(0), j]
        cuda.syncthreads()
        now = u64(0)
        t = u64(0)
        while t + u64(1) < u64(states.shape[0]):
            for g in range(gates):
                sums[g] = zero
            for k in range(units):
                x = shared[now + u64(k)]
                for g in range(gates):
                    sums[g] += w[g * units + k] * x
            h = squash(sums[0])
            for g in range(1, gates):
                h = h * squash(sums[g])
            now = u64(units) - now
            shared[now + j] = h
            cuda.syncthreads()
            t += u64(1)
            states[t, j] = h

    return kernel


def signature(number=f32):
    dtype = from_dtype(np.dtype(number))
    return types.void(dtype[:, ::1], dtype[:, ::1])


@pytest.mark.parametrize("cc", ARCHITECTURES, ids="sm_{0[0]}{0[1]}".format)
def test_a_small_kernel_fits_into_registers(build, cc):
    built = build(make_recurrence(16, 3), signature(), cc)
    assert built.stack == 0
    assert built.spills == 0
    assert 48 < built.registers <= 255  # the 48 weights are in them
    assert built.shared == 2 * 16 * 4
    assert built.f64 == 0
    assert f".target sm_{cc[0]}{cc[1]}" in built.ptx
    assert built.cubin[:4] == b"\x7fELF"


def test_one_kernel_for_several_gpus_in_any_order(build):
    """Numba keeps what it compiled of the device functions; that must not tie them to the first GPU."""
    kernel = make_recurrence(8, 2)
    first, *others = (build(kernel, signature(), cc) for cc in ((10, 0), (7, 5), (9, 0), (7, 5)))
    assert "sm_100" in first.ptx
    for built in others[::2]:
        alone = build(make_recurrence(8, 2), signature(), (7, 5))
        assert "sm_75" in built.ptx
        # The kernel's name has a serial number, so the machine code is compared by its instructions.
        assert (built.registers, compiling.sass(built.cubin)) == (
            alone.registers,
            compiling.sass(alone.cubin),
        )


def test_the_intermediate_code_is_the_same_for_every_gpu():
    """So it is made once for all of them here, though a launch makes it for its own."""

    def text(cc):
        library = compiling.intermediate(make_recurrence(8, 2), signature(), cc)
        return sorted(anonymous(module) for module in library.llvm_strs)

    def anonymous(module):
        numbers = itertools.count()
        name = functools.cache(lambda _: f"@{next(numbers)}")  # in the order of their use
        module = re.sub("ModuleID.*", "", module)
        return re.sub(r'@"[^"]*"', lambda match: name(match[0]), module)

    assert text((10, 0)) == text((7, 5))


def test_too_many_weights_show():
    """Negative control: 3 * 96 weights cannot be in a thread's 255 registers."""
    built = compiling.build(make_recurrence(96, 3), signature(), (9, 0))
    assert built.stack > 0 or built.spills > 0


def test_float64_shows():
    """Negative control of `f64`."""
    assert compiling.build(make_recurrence(4, 2, np.float64), signature(np.float64), (9, 0)).f64 > 0


def test_a_python_float_shows_as_float64():
    def kernel(weights, states):
        states[u64(0), u64(0)] = weights[u64(0), u64(0)] * 0.1  # not a float32

    assert compiling.build(kernel, signature(), (9, 0)).f64 > 0


def test_instructions_are_counted(build):
    built = build(make_recurrence(16, 3), signature(), (9, 0))
    counts = compiling.sass(built.cubin)
    if counts is None:
        pytest.skip("nvdisasm is not installed (the package nvidia-cuda-nvdisasm)")
    assert counts["FFMA"] >= 3 * 16
    assert sum(count for name, count in counts.items() if name.startswith("LDS")) > 0
    assert counts["BAR.SYNC.DEFER_BLOCKING"] >= 1
    assert counts["EXIT"] >= 1
    assert not any(name.startswith(("DFMA", "DADD", "DMUL", "LDL", "STL")) for name in counts)


def test_the_patch_ends_with_the_build():
    import numba.cuda.dispatcher as dispatcher

    before = dispatcher.get_current_device
    compiling.build(make_recurrence(4, 2), signature(), (8, 0))
    assert dispatcher.get_current_device is before
    with pytest.raises(ZeroDivisionError), compiling.as_if_on((9, 0)):
        raise ZeroDivisionError
    assert dispatcher.get_current_device is before
