"""Device memory is used again when, and only when, no array looks at it any more."""

import gc

import numpy as np
import pytest

from gatescope.kernels.cuda import driver as cuda_driver
from gatescope.kernels.cuda.pool import Pool, rounded

MIB = 1 << 20


class Driver:
    """Stands for the driver: addresses that are handed out and never used."""

    def __init__(self, room):
        self.room, self.used, self.asked = room, 0, []

    def allocate(self, size):
        if self.used + size > self.room:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        self.used += size
        self.asked.append(size)
        return Block(self, size)


class Block:
    def __init__(self, driver, size):
        self.driver, self.size = driver, size
        self.context, self.device_pointer = None, 0x1000 * (len(driver.asked) + 1)

    def __del__(self):
        self.driver.used -= self.size


class Lease:
    def __init__(self, block, size, give_back):
        self.block, self.size, self._give_back = block, size, give_back

    def __del__(self):
        self._give_back()


def pool_on(driver, lease=Lease):
    return Pool(driver.allocate, lease, cuda_driver.out_of_memory)


def test_a_block_is_used_again_when_its_lease_ends():
    driver = Driver(100 * MIB)
    pool = pool_on(driver)
    first = pool.take(5 * MIB)
    block = first.block
    second = pool.take(5 * MIB)
    assert second.block is not block
    assert pool.idle_bytes() == 0
    del first
    assert pool.idle_bytes() == rounded(5 * MIB)
    third = pool.take(5 * MIB - 17)  # nearly the same size
    assert third.block is block
    assert len(driver.asked) == 2


def test_small_memory_shares_a_size():
    driver = Driver(100 * MIB)
    pool = pool_on(driver)
    small = pool.take(1000)
    del small
    gc.collect()
    assert pool.idle_bytes() == driver.used == 4096
    other = pool.take(4000)
    assert (other.size, driver.asked) == (4096, [4096])


def test_without_room_the_free_blocks_go_first():
    driver = Driver(10 * MIB)
    pool = pool_on(driver)
    lease = pool.take(6 * MIB)
    del lease
    other = pool.take(8 * MIB)
    assert other.size == 8 * MIB
    assert driver.used == 8 * MIB
    with pytest.raises(RuntimeError, match="OUT_OF_MEMORY"):
        pool.take(8 * MIB)


def test_other_errors_are_passed_on():
    def fail(size):
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    with pytest.raises(RuntimeError, match="ILLEGAL"):
        Pool(fail, Lease, cuda_driver.out_of_memory).take(2 * MIB)


@pytest.mark.parametrize("size", [MIB, MIB + 1, 5 * MIB - 1, 123_456_789, 3 << 32])
def test_rounding_wastes_little(size):
    assert size <= rounded(size) <= size * 9 / 8
    assert rounded(rounded(size)) == rounded(size)


def test_numba_arrays_and_their_views_keep_the_block(monkeypatch):
    """The lease on numba-cuda's own classes, which need no driver for this."""
    if cuda_driver.simulated or "numba-cuda" not in cuda_driver.versions():
        pytest.skip("needs the package numba-cuda")
    driver = Driver(100 * MIB)
    pool = pool_on(driver, cuda_driver.lease)
    array = cuda_driver.array_on(pool.take(4 * MIB), (4, 8, 16), np.float32)
    assert array.shape == (4, 8, 16)
    assert array.strides == (512, 64, 4)
    assert array.is_c_contiguous()
    flat = array.reshape(-1)
    part = array.gpu_data.view(512, 1024)
    assert int(part.device_pointer) == int(array.gpu_data.device_pointer) + 512
    del array
    gc.collect()
    assert pool.idle_bytes() == 0  # `flat` still looks at it
    del flat
    gc.collect()
    assert pool.idle_bytes() == 0  # and `part`
    del part
    gc.collect()
    assert pool.idle_bytes() == 4 * MIB
    assert cuda_driver._LEASES == {}
