"""Emulated threads wait for each other as on a GPU, under every schedule, and what would hang there is an error."""

import os

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
    pytest.skip("Numba's simulator replaces what the emulator stands on", allow_module_level=True)

from helpers import emulator, emulator_threads
from helpers.emulator import EmulatedGpu, KernelFault, launch
from numba import float32

from gatescope.kernels.cuda import primitives
from gatescope.kernels.cuda.driver import cuda

u64, f32 = np.uint64, np.float32
FULL = 0xFFFFFFFF
SEEDS = range(6)


def result(n=1, dtype="float32"):
    return np.zeros(n, dtype)


def test_divergent_barrier():
    @cuda.jit
    def kernel():
        if cuda.threadIdx.x < 16:
            cuda.syncthreads()
        else:
            cuda.syncthreads()

    with pytest.raises(KernelFault, match="divergent barrier: this thread is at kernel, line"):
        launch(kernel, 1, 32, ())


def test_a_barrier_that_some_threads_never_reach():
    @cuda.jit
    def kernel():
        if cuda.threadIdx.x < 16:
            cuda.syncthreads()

    with pytest.raises(KernelFault, match="deadlock: 16 of 32 threads at the barrier in kernel, line"):
        launch(kernel, 1, 32, ())


def test_a_flag_that_never_comes(monkeypatch):
    monkeypatch.setattr(emulator_threads, "IDLE_ROUNDS", 100)

    @cuda.jit
    def kernel(flag):
        while flag[0] == 0:
            cuda.nanosleep(10)

    with pytest.raises(KernelFault, match=r"deadlock.*3 threads poll"):
        launch(kernel, 1, 3, (result(),))


def flag_kernel(capacity, steps, wait):
    @cuda.jit
    def kernel(flags, ring, out):
        """Block 0 hands numbers to block 1 through a ring; each waits for the other's flag."""
        b = u64(cuda.blockIdx.x)
        total = float32(0)
        for t in range(steps):
            if b == u64(0):
                while t - flags[u64(1)] >= capacity:
                    wait()
                ring[u64(t % 2)] = float32(t)
                cuda.threadfence()
                flags[u64(0)] = t + 1
            else:
                while flags[u64(0)] <= t:
                    wait()
                total += ring[u64(t % 2)]
                flags[u64(1)] = t + 1
        if b == u64(1):
            out[u64(0)] = total

    return kernel


def plain_pause():
    pass


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_wait_for_each_others_flags(seed):
    out = result()
    kernel = flag_kernel(2, 20, plain_pause)
    args = (result(2, "int64"), result(2), out)
    launch(kernel, 2, 1, args, seed=seed, substitutes={plain_pause: emulator.pause})
    assert out[0] == sum(range(20))


def test_the_primitives_pause_is_always_replaced():
    out = result()
    launch(flag_kernel(2, 20, primitives.pause), 2, 1, (result(2, "int64"), result(2), out))
    assert out[0] == sum(range(20))


def test_a_block_runs_ahead_where_its_flags_let_it():
    """A ring of two that is used as one of three is wrong under some emulator_threads."""
    totals = []
    for seed in range(12):
        args = (result(2, "int64"), result(2), result())
        launch(
            flag_kernel(3, 20, plain_pause), 2, 1, args, seed=seed, substitutes={plain_pause: emulator.pause}
        )
        totals.append(args[2][0])
    assert any(total != sum(range(20)) for total in totals)


@pytest.mark.parametrize("seed", SEEDS)
def test_shuffles(seed):
    @cuda.jit
    def kernel(x, out):
        lane = cuda.laneid
        total = x[lane]
        m = 16
        while m > 0:
            total += cuda.shfl_xor_sync(FULL, total, m)
            m //= 2
        out[0, lane] = total
        out[1, lane] = cuda.shfl_down_sync(FULL, x[lane], 1)
        out[2, lane] = cuda.shfl_up_sync(FULL, x[lane], 2)
        out[3, lane] = cuda.shfl_sync(FULL, x[lane], 5)

    x = np.arange(32, dtype=f32) ** 2
    out = np.zeros((4, 32), f32)
    launch(kernel, 1, 32, (x, out), seed=seed)
    assert (out[0] == x.sum()).all()
    np.testing.assert_array_equal(out[1], np.append(x[1:], x[31]))
    np.testing.assert_array_equal(out[2], np.append(x[:2], x[:30]))
    assert (out[3] == 25).all()


def test_a_shuffle_from_a_lane_that_does_not_take_part_is_poison():
    @cuda.jit
    def kernel(out, words):
        lane = u64(cuda.laneid)
        if lane < u64(16):
            out[lane] = cuda.shfl_xor_sync(0xFFFF, float32(lane), 16 if lane == u64(3) else 1)
            words[lane] = cuda.shfl_sync(0xFFFF, np.int32(lane), 20)

    out, words = result(16), result(16, "int32")
    launch(kernel, 1, 32, (out, words))
    assert np.isnan(out[3])
    np.testing.assert_array_equal(np.delete(out, 3), np.delete(np.arange(16) ^ 1, 3))
    assert (words == -1).all()
    with np.errstate(invalid="ignore"):
        launch(kernel, 1, 20, (out, words))  # a warp that is not full


def test_a_lane_must_be_in_its_own_mask():
    @cuda.jit
    def kernel():
        cuda.syncwarp(0b1)

    with pytest.raises(KernelFault, match="leaves out the calling lane 1"):
        launch(kernel, 1, 2, ())


def test_votes():
    @cuda.jit
    def kernel(out):
        j = cuda.threadIdx.x
        out[0, j] = cuda.syncthreads_or(j == 3)
        out[1, j] = cuda.syncthreads_and(j < 39)
        out[2, j] = cuda.syncthreads_count(j >= 10)
        out[3, j] = cuda.ballot_sync(FULL, j % 2)

    out = np.zeros((4, 40), "int64")
    launch(kernel, 1, 40, (out,))
    assert [set(row) for row in out] == [{1}, {0}, {30}, {0xAAAAAAAA, 0xAA}]


@pytest.mark.parametrize("seed", SEEDS)
def test_grid_barrier_and_indices_in_three_dimensions(seed):
    @cuda.jit
    def kernel(x, total):
        grid = cuda.cg.this_grid()
        b = cuda.blockIdx.x + cuda.gridDim.x * (cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z)
        j = cuda.threadIdx.x + cuda.blockDim.x * (cuda.threadIdx.y + cuda.blockDim.y * cuda.threadIdx.z)
        x[b, j] = b * 24 + j
        grid.sync()
        if j == 0:
            for k in range(x.shape[0]):
                cuda.atomic.add(total, b, x[k].sum())

    x, total = np.full((12, 24), -1), np.zeros(12, "int64")
    launch(kernel, (2, 3, 2), (2, 4, 3), (x, total), seed=seed)
    np.testing.assert_array_equal(x.reshape(-1), np.arange(12 * 24))
    assert (total == np.arange(12 * 24).sum()).all()


def test_blocks_that_are_not_resident_together_cannot_wait_for_each_other(monkeypatch):
    monkeypatch.setattr(emulator_threads, "IDLE_ROUNDS", 100)

    @cuda.jit
    def kernel(arrived):
        cuda.atomic.add(arrived, 0, 1)
        while arrived[0] < 3:
            cuda.nanosleep(1)

    arrived = result(1, "int64")
    EmulatedGpu(multiprocessors=3).launch(kernel, 3, 1, (arrived,), cooperative=True)
    assert arrived[0] == 3
    with pytest.raises(KernelFault, match="deadlock"):
        EmulatedGpu(multiprocessors=2).launch(kernel, 3, 1, (result(1, "int64"),))

    @cuda.jit
    def with_grid_barrier():
        cuda.cg.this_grid().sync()

    with pytest.raises(KernelFault, match="not cooperative"):
        EmulatedGpu().launch(with_grid_barrier, 2, 1, ())
