"""Aligned arrays, and large ones recycled without ever being shared by two owners."""

import gc

import pytest

from gatescope.kernels.cpu import aligned


@pytest.fixture
def pool(monkeypatch):
    fresh = aligned._Pool(1 << 25)
    monkeypatch.setattr(aligned, "_pool", fresh)
    return fresh


@pytest.mark.parametrize("shape", [(1,), (3, 5), (1000, 1000, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_start_on_a_cache_line(shape, dtype):
    array = aligned.aligned_empty(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.ctypes.data % aligned.CACHE_LINE == 0


def test_zeros():
    assert not aligned.aligned_zeros((7, 3), "float32").any()


def test_memory_comes_back_when_the_last_view_is_gone(pool):
    array = aligned.aligned_empty(1 << 20, "float64")
    address, view = array.ctypes.data, array[::2]
    del array
    gc.collect()
    other = aligned.aligned_empty(1 << 20, "float64")
    assert other.ctypes.data != address  # the view still looks at it
    view[:] = 1
    del view
    gc.collect()
    assert aligned.aligned_empty(1 << 20, "float64").ctypes.data == address


def test_idle_memory_is_bounded(pool):
    arrays = [aligned.aligned_empty(1 << 20, "float64") for _ in range(6)]
    del arrays
    gc.collect()
    assert 0 < sum(block.nbytes for block in pool._idle) <= 1 << 25


def test_small_arrays_are_not_pooled(pool):
    array = aligned.aligned_empty(100, "float32")
    del array
    gc.collect()
    assert not pool._idle


def test_a_pickled_or_copied_result_owns_its_memory(pool):
    array = aligned.aligned_empty(1 << 20, "float64")
    array[:] = 3
    copy = array.copy()
    del array
    gc.collect()
    aligned.aligned_empty(1 << 20, "float64")[:] = 5
    assert (copy == 3).all()


def test_too_little_memory_leaves_nothing_behind(pool, monkeypatch, recwarn):
    def nothing(size):
        raise MemoryError

    monkeypatch.setattr(pool, "take", nothing)
    with pytest.raises(MemoryError):
        aligned.aligned_empty(1 << 20, "float64")
    gc.collect()
    assert not pool._idle
    assert not recwarn.list
