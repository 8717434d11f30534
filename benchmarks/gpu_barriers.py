"""What it costs to wait for each other on a GPU: within a block, and between blocks in two ways.

The recurrent sweeps are chains of such waits, so these numbers, in cycles, are what the designs rest on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from benchmarks.gpu_clock import Timer, shortened
from gatescope.kernels.cuda.driver import cuda, overload
from gatescope.kernels.cuda.primitives import pause, poll, publish

u64, f32 = np.uint64, np.float32
_AT_ONCE = 16  # barriers in a turn of the loop, so that the loop itself costs next to nothing
_COPY_BYTES = 4 << 30


@intrinsic
def _cycles(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(64), [])
        code = ir.InlineAsm(kind, "mov.u64 $0, %clock64;", "=l,~{memory}", side_effect=True)
        return builder.call(code, [])

    return types.uint64(), codegen


def cycles() -> Any:
    """Cycles of the multiprocessor that the calling thread is on; 0 where there is none."""
    return u64(0)


@overload(cycles)
def _cycles_of_gpu() -> Any:
    return lambda: _cycles()


@cache
def make_barriers() -> Any:
    """Kernel: steps * 16 barriers in each block."""
    AT_ONCE = _AT_ONCE

    def barriers(steps, out, taken):  # type: ignore[no-untyped-def]
        # out (1,) float32: how many barriers; taken (1,) uint64: cycles
        first = cuda.threadIdx.x == 0 and cuda.blockIdx.x == 0
        begun, t = cycles(), u64(0)
        while t < steps:
            for _ in range(AT_ONCE):
                cuda.syncthreads()
            t += u64(1)
        ended = cycles()
        if first:
            out[0] = f32(t * u64(AT_ONCE))
            taken[0] = ended - begun

    return cuda.jit(barriers)


@cache
def make_exchange(blocks: int, numbers: int, threads: int) -> Any:
    """Kernel: at each step every block publishes its share of `numbers` and waits for all of them."""
    EACH, NUMBERS, THREADS = numbers // blocks, numbers, threads
    ZERO, ONE = f32(0), f32(1)

    def exchange(words, steps, out, taken):  # type: ignore[no-untyped-def]
        # words (2 * numbers,) uint64, all 0; out (blocks,) float32: steps - 1 if all arrived; taken (1,) uint64
        thread, block = u64(cuda.threadIdx.x), u64(cuda.blockIdx.x)
        own = block * u64(EACH) + thread
        turn, tag, t, value = u64(0), u64(1), u64(0), ZERO
        if thread < u64(EACH):
            publish(words, own, value, tag)
        begun = cycles()
        while t < steps:
            i = thread
            while i < u64(NUMBERS):
                waiting = True
                while waiting:
                    arrived, incoming = poll(words, turn * u64(NUMBERS) + i, tag, ZERO)
                    value = incoming
                    waiting = not arrived
                    if waiting:
                        pause()
                i += u64(THREADS)
            # Nobody writes the next numbers before the whole block has read these: that makes two turns enough.
            cuda.syncthreads()
            turn = u64(1) - turn
            tag += u64(1)
            t += u64(1)
            if thread < u64(EACH) and t < steps:
                publish(words, turn * u64(NUMBERS) + own, value + ONE, tag)
        ended = cycles()
        if thread == u64(0):
            out[block] = value
            if block == u64(0):
                taken[0] = ended - begun

    return cuda.jit(exchange)


@cache
def make_grid_sync() -> Any:
    """Kernel: as many barriers of the whole grid as steps."""

    def grid_sync(steps, out, taken):  # type: ignore[no-untyped-def]
        first = cuda.threadIdx.x == 0 and cuda.blockIdx.x == 0
        grid = cuda.cg.this_grid()
        begun, t = cycles(), u64(0)
        while t < steps:
            grid.sync()
            t += u64(1)
        ended = cycles()
        if first:
            out[0] = f32(t)
            taken[0] = ended - begun

    return cuda.jit(grid_sync)


def _timed(
    backend: Any, timer: Timer, start: Callable[[], tuple[Any, Any]], count: int, expected: float
) -> dict[str, Any]:
    """Launch twice to warm up and five times to measure; `start` gives the kernel's results."""
    seconds, taken = [], []
    for turn in range(7):
        timer.wait()
        begin = timer.mark()
        out, spent = start()
        end = timer.mark()
        timer.wait()
        seen = backend.to_host(out)
        if not (seen == expected).all():
            raise AssertionError(f"the kernel counted {seen.tolist()}, {expected:g} expected")
        if turn >= 2:
            seconds.append(timer.seconds(begin, end))
            taken.append(int(backend.to_host(spent)[0]))
    us = 1e6 * float(np.median(seconds))
    cycles_in_all = float(np.median(taken))
    return {
        "us": us / count,
        "cycles": cycles_in_all / count,
        # Of the multiprocessor while this ran: cycles by its own counter over time by events.
        "clock_mhz": cycles_in_all / us if us else None,
        "count": count,
    }


def _within_a_block(backend: Any, timer: Timer, threads: int, steps: int) -> dict[str, Any]:
    def start() -> tuple[Any, Any]:
        out, taken = backend.zeros(1, np.float32), backend.zeros(1, np.uint64)
        backend.launch(make_barriers(), 1, threads, (u64(steps), out, taken))
        return out, taken

    return _timed(backend, timer, start, steps * _AT_ONCE, steps * _AT_ONCE)


def _exchange(
    backend: Any, timer: Timer, blocks: int, numbers: int, threads: int, steps: int
) -> dict[str, Any]:
    kernel = make_exchange(blocks, numbers, threads)

    def start() -> tuple[Any, Any]:
        out, taken = backend.zeros(blocks, np.float32), backend.zeros(1, np.uint64)
        words = backend.zeros(2 * numbers, np.uint64)
        backend.launch(kernel, blocks, threads, (words, u64(steps), out, taken), 0, True)
        return out, taken

    return _timed(backend, timer, start, steps, steps - 1)


def _over_the_grid(backend: Any, timer: Timer, blocks: int, threads: int, steps: int) -> dict[str, Any]:
    def start() -> tuple[Any, Any]:
        out, taken = backend.zeros(1, np.float32), backend.zeros(1, np.uint64)
        backend.launch(make_grid_sync(), blocks, threads, (u64(steps), out, taken), 0, True)
        return out, taken

    return _timed(backend, timer, start, steps, steps)


def _copy(backend: Any, timer: Timer, size: int) -> dict[str, Any]:
    """Bandwidth of a copy on the device, bytes read and written both counted."""
    size = min(size, backend.memory()[0] // 4) // 8 * 8
    source, target = backend.empty(size // 8, np.uint64), backend.empty(size // 8, np.uint64)
    # Random bits: zeros may be cheaper to move.
    piece = np.random.default_rng(0).integers(0, 1 << 63, min(size // 8, 1 << 24), np.uint64)
    on_device = backend.to_device(piece)
    for start in range(0, size // 8, piece.size):
        end = min(start + piece.size, size // 8)
        backend.copy(on_device[: end - start], source[start:end])
    seconds = []
    for turn in range(8):
        timer.wait()
        begin = timer.mark()
        backend.copy(source, target)
        end = timer.mark()
        timer.wait()
        if turn >= 3:
            seconds.append(timer.seconds(begin, end))
    took = float(np.median(seconds))
    return {"bytes": size, "gb_per_second": 2e-9 * size / took if took else None}


def measure_barriers(
    backend: Any, timer: Timer, *, blocks: tuple[int, ...] = (2, 8, 32), threads: tuple[int, ...] = (128, 256),
    steps: int = 20_000, copy_bytes: int = _COPY_BYTES, warm: float = 0.5,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Measure one after the other; yields what there is so far after each.

    A cost is in microseconds (events around the launch) and in cycles (the multiprocessor's own counter).
    """
    times: dict[str, Any] = {"bar_sync": [], "exchange": [], "grid_sync": [], "copy": None}
    jobs: list[tuple[str, dict[str, int], Callable[[], dict[str, Any]]]] = []
    for t in threads:
        jobs.append(("bar_sync", {"threads": t}, lambda t=t: _within_a_block(backend, timer, t, steps)))
    for b in blocks:
        for t in threads:
            # One number a block is the bare latency; a number a thread is what the sweeps pass on.
            for n in (b, t // b * b):
                job = {"blocks": b, "threads": t, "numbers": n}
                jobs.append(
                    ("exchange", job, lambda b=b, n=n, t=t: _exchange(backend, timer, b, n, t, steps))
                )
    for b in blocks:
        for t in threads:
            job = {"blocks": b, "threads": t}
            jobs.append(("grid_sync", job, lambda b=b, t=t: _over_the_grid(backend, timer, b, t, steps)))
    begun = time.perf_counter()
    with contextlib.suppress(Exception):  # reported when it is measured
        while time.perf_counter() - begun < warm:  # a GPU that idles has slowed its clock down
            _within_a_block(backend, timer, threads[0], steps)
    for kind, job, call in jobs:
        try:
            times[kind].append({**job, **call()})
        except Exception as error:  # the others are still worth having
            times[kind].append({**job, "failed": shortened(error)})
        yield times
    try:
        times["copy"] = _copy(backend, timer, copy_bytes)
    except Exception as error:
        times["copy"] = {"failed": shortened(error)}
    yield times
