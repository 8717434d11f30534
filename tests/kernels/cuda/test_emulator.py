"""The emulator finds what it is for: each fault of a kernel, and only the faults."""

import os
import warnings

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
    pytest.skip("Numba's simulator replaces what the emulator stands on", allow_module_level=True)

from helpers import emulator
from helpers.emulator import EmulatedGpu, KernelFault, launch
from numba import float32, int32, uint64
from numba.extending import register_jitable

from gatescope.kernels.cuda.driver import cuda

u64, f32 = np.uint64, np.float32
FULL = 0xFFFFFFFF
SEEDS = range(6)


def result(n=1, dtype="float32"):
    return np.zeros(n, dtype)


@cuda.jit
def neighbour(x, out):
    s = cuda.shared.array(64, float32)
    j = u64(cuda.threadIdx.x)
    s[j] = x[j]
    cuda.syncthreads()
    out[j] = s[(j + u64(1)) % u64(64)]


@cuda.jit
def neighbour_without_barrier(x, out):
    s = cuda.shared.array(64, float32)
    j = u64(cuda.threadIdx.x)
    s[j] = x[j]
    out[j] = s[(j + u64(1)) % u64(64)]


@cuda.jit
def roll_often(x, out):
    """Right only with the second barrier of each step, which is missing."""
    s = cuda.shared.array(64, float32)
    j = u64(cuda.threadIdx.x)
    h = x[j]
    for _ in range(5):
        s[j] = h
        cuda.syncthreads()
        h = s[(j + u64(1)) % u64(64)]
    out[j] = h


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("races", [False, True])
def test_a_barrier_orders_shared_memory(seed, races):
    x, out = np.arange(64, dtype=f32), result(64)
    launch(neighbour, 1, 64, (x, out), seed=seed, races=races)
    np.testing.assert_array_equal(out, np.roll(x, -1))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_missing_barrier_reads_nan(seed):
    x, out = np.arange(64, dtype=f32), result(64)
    launch(neighbour_without_barrier, 1, 64, (x, out), seed=seed)
    assert np.isnan(out).any()


def test_a_missing_second_barrier_gives_other_numbers():
    x, outs = np.arange(64, dtype=f32), []
    for seed in SEEDS:
        outs.append(result(64))
        launch(roll_often, 1, 64, (x, outs[-1]), seed=seed)
        assert not np.array_equal(outs[-1], np.roll(x, -5))
    assert not np.array_equal(outs[0], outs[1])  # the schedule is another for each seed
    again = result(64)
    launch(roll_often, 1, 64, (x, again), seed=0)
    np.testing.assert_array_equal(again, outs[0])  # and the same for the same seed


@pytest.mark.parametrize("kernel", [neighbour_without_barrier, roll_often])
@pytest.mark.parametrize("seed", SEEDS)
def test_races_are_found(kernel, seed):
    with pytest.raises(KernelFault, match=r"race in the shared array of 64 float32.*no barrier between"):
        launch(kernel, 1, 64, (np.arange(64, dtype=f32), result(64)), seed=seed, races=True)


def test_races_in_views_of_dynamic_memory_and_within_a_warp():
    @cuda.jit
    def kernel(out, ordered):
        s = cuda.shared.array(0, float32)
        upper = s[32:64]
        j = u64(cuda.threadIdx.x)
        upper[j] = float32(j)
        if ordered:
            cuda.syncwarp()
        out[j] = s[u64(63) - j]

    out = result(32)
    launch(kernel, 1, 32, (out, True), shared=256, races=True)
    np.testing.assert_array_equal(out, np.arange(32)[::-1])
    with pytest.raises(KernelFault, match="race in dynamic shared memory"):
        launch(kernel, 1, 32, (out, False), shared=256, races=True)


def test_writing_the_same_value_twice_is_no_race():
    @cuda.jit
    def kernel(out):
        s = cuda.shared.array(1, float32)
        s[0] = float32(7)
        cuda.syncthreads()
        out[cuda.threadIdx.x] = s[0]

    out = result(64)
    launch(kernel, 1, 64, (out,), races=True)
    assert (out == 7).all()


@pytest.mark.parametrize("index", [-1, np.int64(-1), np.int32(-3), (0, -1)])
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("memory", ["global", "shared", "local"])
def test_negative_index(index, write, memory):
    @cuda.jit
    def kernel(x):
        if memory == "shared":
            x = cuda.shared.array(4, float32)
        elif memory == "local":
            x = cuda.local.array(4, float32)
        i = index if memory == "global" or not isinstance(index, tuple) else index[1]
        if write:
            x[i] = float32(0)
        elif x[i] == float32(0):
            x[0] = float32(1)

    x = np.zeros((4, 4) if isinstance(index, tuple) else 4, f32)
    with pytest.raises(KernelFault, match=r"thread 0 of block 0: IndexError: index \[.*\] is negative"):
        launch(kernel, 1, 1, (x,))


@pytest.mark.parametrize("index", [4, u64(4), u64(2**64 - 1), (1, 1, 1), (u64(1), u64(4))])
def test_index_out_of_bounds(index):
    @cuda.jit
    def kernel(x):
        if cuda.blockIdx.x == 3 and cuda.threadIdx.x == 2:
            x[index] = float32(0)

    with pytest.raises(KernelFault, match=r"thread 2 of block 3: (IndexError|OverflowError)"):
        launch(kernel, 5, 3, (np.zeros((4, 4), f32),))


def test_memory_starts_as_poison():
    @cuda.jit
    def kernel(out, words):
        static = cuda.shared.array((2, 3), float32)
        dynamic = cuda.shared.array(0, float32)
        local = cuda.local.array(2, float32)
        whole = cuda.shared.array(2, int32)
        out[0], out[1], out[2] = static[1, 2], dynamic[3], local[1]
        words[0], words[1] = whole[0], dynamic.size

    out, words = result(3), result(2, "int64")
    launch(kernel, 1, 1, (out, words), shared=16)
    assert np.isnan(out).all()
    assert list(words) == [-1, 4]


def test_arrays_from_two_places_on_one_line_are_two():
    @cuda.jit
    def kernel(out):
        a, b = cuda.shared.array(1, float32), cuda.shared.array(1, float32)
        a[0], b[0] = float32(1), float32(2)
        out[0] = a[0]

    out = result()
    launch(kernel, 1, 1, (out,))
    assert out[0] == 1


def test_atomics():
    @cuda.jit
    def kernel(a):
        j = cuda.grid(1)
        cuda.atomic.add(a, 0, 1)
        cuda.atomic.max(a, 1, j)
        cuda.atomic.min(a, (2,), j)
        cuda.atomic.cas(a, 3, 0, j + 1)
        if j == 5:
            a[5] = cuda.atomic.exch(a, 4, 8)

    a = np.array([0, 0, 100, 0, 7, 0])
    launch(kernel, 3, 10, (a,))
    assert list(a[:3]) == [30, 29, 0]
    assert 1 <= a[3] <= 30
    assert list(a[4:]) == [8, 7]


def plain_pause():
    pass


@register_jitable
def inner_pause():
    plain_pause()


@cuda.jit(device=True)
def through_a_dispatcher(flag):
    while flag[0] == 0:
        inner_pause()


def test_substitutes_are_found_through_globals_closures_tuples_and_dispatchers():
    steps = (through_a_dispatcher, lambda flag: inner_pause())

    @cuda.jit
    def kernel(flag, out):
        if cuda.threadIdx.x == 0:
            steps[0](flag)
            steps[1](flag)
            out[0] = 1
        else:
            flag[0] = 1

    for seed in SEEDS:
        out = result()
        launch(kernel, 1, 2, (result(), out), seed=seed, substitutes={plain_pause: emulator.pause})
        assert out[0] == 1
    assert inner_pause.__globals__["plain_pause"] is plain_pause  # the functions themselves stay as they are


def test_only_concerned_functions_are_copied_and_only_once():
    def bystander(x):
        return x

    def kernel(x):
        x[cuda.threadIdx.x] = bystander(x[0])

    first, second = (emulator._emulated(kernel, frozenset()) for _ in range(2))
    assert first is second is not kernel
    assert first.__closure__[0].cell_contents is bystander
    assert emulator._emulated(bystander, frozenset()) is bystander


def test_float_arguments_promote_as_in_a_compiled_kernel():
    @cuda.jit
    def kernel(x, factor, out):
        out[0] = x[0] * factor

    out = result(dtype="float64")
    launch(kernel, 1, 1, (np.ones(1, f32), 0.1, out))
    assert out[0] == 0.1


def test_numpy_warnings_and_settings_stay_outside():
    @cuda.jit
    def kernel(x):
        x[0] = x[0] / x[1]

    before = np.geterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        launch(kernel, 1, 4, (result(2),))
    assert np.geterr() == before


def test_what_is_not_emulated_says_so():
    @cuda.jit
    def kernel():
        cuda.match_any_sync(FULL, 1)

    with pytest.raises(KernelFault, match=r"cuda\.match_any_sync is not emulated"):
        launch(kernel, 1, 1, ())


def test_emulated_gpu():
    gpu = EmulatedGpu(multiprocessors=2, shared_limit=1024, memory=(10, 20))
    assert gpu.memory() == (10, 20)
    assert np.isnan(gpu.empty((2, 3), np.float64)).all()
    assert not gpu.zeros(3, f32).any()
    host = np.arange(64, dtype=f32)
    x, out = gpu.to_device(host), gpu.empty(64, f32)
    assert not np.shares_memory(x, host)
    gpu.launch(neighbour, 1, 64, (x, out))
    np.testing.assert_array_equal(gpu.to_host(out), np.roll(host, -1))
    first, second = gpu.empty(64, f32), gpu.empty(64, f32)
    gpu.launch(roll_often, 1, 64, (x, first))
    gpu.launch(roll_often, 1, 64, (x, second))
    assert not np.array_equal(first, second)
    assert [record.kernel for record in gpu.launches] == [neighbour, roll_often, roll_often]
    with pytest.raises(KernelFault, match="1000 bytes of dynamic and 256 of static"):
        gpu.launch(neighbour, 1, 64, (x, out), shared=1000)
    with pytest.raises(KernelFault, match="3 blocks on 2 multiprocessors"):
        gpu.launch(neighbour, 3, 64, (x, out), cooperative=True)


def test_more_static_shared_memory_than_the_assembler_takes():
    @cuda.jit
    def kernel():
        cuda.shared.array(6145, uint64)

    with pytest.raises(KernelFault, match="49160 bytes of static shared memory"):
        launch(kernel, 1, 1, ())
