"""Threads that share the units of a layer: the same bits, whoever is late and whoever fails."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

import gatescope as gs
from gatescope.cells.registry import get
from gatescope.kernels.cpu import sweeps, unit_shares
from gatescope.kernels.cpu.loops.meeting import LAST, PATIENCE, SIZE, part_after
from gatescope.kernels.cpu.threads import open_pool
from gatescope.kernels.simd.vector import host_lanes

STEPS = 37


@pytest.fixture
def eager(monkeypatch):
    """Let threads share as little as a few steps of a few units."""
    monkeypatch.setattr(sweeps, "_THREAD_WORK", 0)
    monkeypatch.setattr(unit_shares, "_LEAST_UNITS", 1)
    monkeypatch.setattr(
        unit_shares, "_LEAST_VECTORS", 4
    )  # so that three can share with vectors of any length
    monkeypatch.setattr(unit_shares, "default_threads", lambda: 3)
    monkeypatch.setattr(unit_shares, "_LEAST_PIECES", 0)
    monkeypatch.setattr(unit_shares, "_PIECE_WORK", 0)  # pieces of 16 steps


def run(cell, threads, steps=STEPS, width=3):
    params = gs.init(cell, input_size=width, hidden_size=15 * host_lanes(np.dtype("float32")) + 2, seed=0)
    inputs = np.random.default_rng(1).standard_normal((steps, 2, width)).astype(np.float32)
    return gs.run(params, inputs, lengths=[steps, steps // 2], threads=threads)


def back(trace, threads):
    """Return all that `backprop` does of a trace of one of the cells above."""
    cell, width = trace.cell, trace.inputs.shape[2]
    params = gs.init(cell, input_size=width, hidden_size=trace.states.shape[-1], seed=0)
    adjoint = np.random.default_rng(2).standard_normal(trace.outputs.shape).astype(np.float32)
    found = gs.backprop(params, trace, output_adjoint=adjoint, threads=threads)
    weights = (getattr(found.params, name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return [*weights, found.inputs, found.initial_state]


@pytest.fixture
def teams(monkeypatch):
    """Return the set of how many threads there were in each piece."""
    original, seen = unit_shares.together, set()

    def together(call, begin, end, threads, pool):
        seen.add(threads)
        return original(call, begin, end, threads, pool)

    monkeypatch.setattr(unit_shares, "together", together)
    return seen


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_the_bits_are_those_of_one_thread(cell, eager, teams):
    alone, *shared = (run(cell, threads) for threads in (1, 2, 3))
    assert teams == {1, 2, 3}
    for trace in shared:
        np.testing.assert_array_equal(trace.states, alone.states)
        np.testing.assert_array_equal(trace.gates, alone.gates)


@pytest.mark.parametrize(("cell", "width"), [("lstm", 3), ("lstm", 6), ("gru", 3), ("gru_reset_before", 6)])
def test_the_bits_of_the_way_back_are_those_of_one_thread(cell, width, eager, teams):
    trace = run(cell, 1, 200, width)
    alone, *shared = (back(trace, threads) for threads in (1, 2, 3))
    assert teams == {1, 2, 3}
    for found in shared:
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_array_equal(one, other)


def test_who_shares(monkeypatch):
    monkeypatch.setattr(unit_shares, "default_threads", lambda: 16)
    size, enough = unit_shares.team_size, 1 << 30
    assert size(512, 64, 1, 4, enough) == 4
    assert size(2048, 256, 1, 64, enough) == 16, "no more than there are cores"
    assert size(128, 16, 1, 64, enough) == 2, "each has eight vectors at least"
    assert size(127, 16, 1, 64, enough) == 1
    assert size(512, 64, 8, 4, enough) == 1
    assert size(512, 64, 1, 4, 1000) == 1, "not for what takes a moment"


def test_a_late_member_ends_the_piece_for_all(eager, monkeypatch):
    original, reached = unit_shares.together, []

    def together(call, begin, end, threads, pool):
        def late(first, last, team):
            if team[0] == 1:
                time.sleep(0.2)  # a hundred times what the others wait
            return call(first, last, team)

        reached.append(original(late if begin == 0 else call, begin, end, threads, pool) - begin)
        return begin + reached[-1]

    expected = run("lstm", 1, steps=32)
    run("lstm", 2, steps=32)  # compiles
    monkeypatch.setattr(unit_shares, "together", together)
    np.testing.assert_array_equal(run("lstm", 2, steps=32).states, expected.states)
    assert reached[0] == 2, "it is said at the first meeting after the wait, and all part at the next"


def test_on_the_way_back_they_part_after_a_whole_segment(eager, monkeypatch):
    original, reached = unit_shares.together, []

    def together(call, begin, end, threads, pool):
        def late(first, last, team):
            if team[0] == 1:
                time.sleep(0.2)
            return call(first, last, team)

        reached.append(original(late, begin, end, threads, pool) - begin)
        return begin + reached[-1]

    trace = run("lstm", 1, steps=400)
    expected = back(trace, 1)
    back(trace, 2)  # compiles
    monkeypatch.setattr(unit_shares, "_PIECE_WORK", 1 << 40)  # one piece
    monkeypatch.setattr(unit_shares, "together", together)
    for one, other in zip(back(trace, 2), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    params = gs.init("lstm", input_size=3, hidden_size=trace.states.shape[-1], seed=0)
    segment = sweeps.plan_for(get("lstm"), params.hidden_size, params.dtype).segment(2, 400)
    assert reached[0] == 2 * segment < 400, "it is said at the first segment's end, and all part at the next"


@pytest.mark.parametrize("failing", [0, 1])
def test_the_others_do_not_wait_for_one_who_fails(failing):
    meetings = []

    def call(begin, end, team):
        meetings.append(team[2])
        if team[0] == failing:
            raise MemoryError("no scratch")
        while team[2][0] < 2:
            time.sleep(0.001)
        return end

    with open_pool(1) as pool, pytest.raises(MemoryError, match="no scratch"):
        unit_shares.together(call, 0, 16, 2, pool)
    assert len(meetings) == 2


@pytest.mark.parametrize("can", [0, 1])
def test_where_no_thread_can_be_started_one_does_all(can, eager, monkeypatch):
    """As at the end of Python, or where a system gives no more."""

    class Pool:
        def __init__(self, pool):
            self._pool, self._left = pool, can

        def submit(self, *work):
            if self._left == 0:
                raise RuntimeError("can't start new thread")
            self._left -= 1
            return self._pool.submit(*work)

    @contextmanager
    def few(threads):
        with open_pool(threads) as pool:
            yield Pool(pool)

    expected = run("lstm", 1)
    gradients = back(expected, 1)
    monkeypatch.setattr(unit_shares, "open_pool", few)
    np.testing.assert_array_equal(run("lstm", 3).states, expected.states)
    for one, other in zip(back(expected, 3), gradients, strict=True):
        np.testing.assert_array_equal(one, other)


def test_who_was_queued_without_a_thread_does_nothing(monkeypatch):
    """A pool queues work before it starts a thread for it, and one that is there already takes it later."""
    done = []

    def call(begin, end, team):
        done.append(team[0])
        while team[2][0] == 0:
            time.sleep(0.001)
        return end

    with open_pool(2) as pool:
        pool.submit(time.sleep, 0).result()  # one thread is there
        start = threading.Thread.start

        def refuse(thread):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        pool._idle_semaphore.acquire(blocking=False)  # it is not seen to be idle
        with pytest.raises(unit_shares.CannotStartError):
            unit_shares.together(call, 3, 16, 2, pool)
        monkeypatch.setattr(threading.Thread, "start", start)
        pool.submit(time.sleep, 0).result()  # after what was queued
    assert done == []


def test_all_hear_of_the_last_meeting_at_the_same_one():
    meeting = np.zeros(SIZE, np.int64)
    assert not part_after(meeting, 2, 4, looks=PATIENCE)
    assert not part_after(meeting, 2, 4, looks=PATIENCE + 1)
    assert meeting[LAST] == 4
    assert not part_after(meeting, 2, 4, looks=0), "one who looks after it was said does not part earlier"
    assert part_after(meeting, 4, 6, looks=0)


def test_the_faster_way_goes_on_and_the_other_is_tried_ever_less_often():
    pace = unit_shares.Pace((2, 1))
    chosen = []
    for _ in range(200):
        way = pace.way()
        pace.took(way, {1: 1.0, 2: 0.5}[way])
        chosen.append(way)
    assert [k for k, way in enumerate(chosen) if way == 1] == [1, 16, 49, 114]
    pace.took(2, 5.0)  # another process took its core
    assert pace.way() == 1
