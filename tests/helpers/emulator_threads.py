"""The emulated GPU's threads: one greenlet each, the places where they wait for each other, and who goes next."""

import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet

from helpers.checked_arrays import KernelFault, Watch, checked, poisoned, watched

STATIC_LIMIT = 48 * 1024  # bytes of static shared memory a block that the assembler takes
IDLE_ROUNDS = 10_000  # so many polls in a row without any other event are a deadlock
LANES = 32


class Dim3:
    """A triple as `threadIdx` and its like give it; `str` is short, for messages."""

    __slots__ = ("x", "y", "z")

    def __init__(self, x: int = 1, y: int = 1, z: int = 1):
        self.x, self.y, self.z = int(x), int(y), int(z)

    def __str__(self) -> str:
        return str(self.x) if self.y == self.z == 0 else f"({self.x}, {self.y}, {self.z})"


class Thread(greenlet):
    """One CUDA thread: its place, and what it brought to the meeting it waits for."""

    def __init__(self, body: Callable[[], None], launched: "Launch", warp: "Warp", index: Dim3, lane: int):
        super().__init__(body, launched.hub)
        self.launched, self.warp, self.block, self.index, self.lane = launched, warp, warp.block, index, lane
        self.seen = 0  # the warp's synchronisations that this thread took part in (for races)
        self.value: Any = None  # brought to a vote or shuffle
        self.source = lane  # lane to read from in a shuffle
        self.answer: Any = None

    @property
    def name(self) -> str:
        return f"{self.index} of block {self.block.index}"


class Meeting:
    """Threads that wait for each other at one place in the code."""

    def __init__(self, kind: str):
        self.kind = kind
        self.waiting: list[Thread] = []
        self.code: CodeType | None = None
        self.at = -1

    def join(self, thread: Thread, code: CodeType, at: int) -> None:
        if not self.waiting:
            self.code, self.at = code, at
        elif self.at != at or self.code is not code:
            raise KernelFault(
                f"divergent {self.kind}: this thread is at {_line(code, at)}, thread {self.waiting[0].name} "
                f"at {_line(self.code, self.at)}"
            )
        self.waiting.append(thread)

    def leave(self) -> list[Thread]:
        threads, self.waiting = self.waiting, []
        return threads


def _line(code: CodeType | None, at: int) -> str:
    assert code is not None
    line = list(code.co_positions())[at // 2][0]
    return f"{code.co_name}, line {line}"


class Warp:
    """Up to 32 threads, and the shuffles and syncwarps they wait in, by mask."""

    def __init__(self, block: "Block"):
        self.block = block
        self.ready: list[Thread] = []
        self.queued = False
        self.alive = 0  # bit mask of lanes
        self.epoch = 0
        self.meetings: dict[int, Meeting] = {}


class Block:
    """A block's shared memory and barrier."""

    def __init__(self, launched: "Launch", index: Dim3, dynamic: int):
        self.launched, self.index, self.size, self.alive = launched, index, 0, 0
        self.epoch = 0
        self.barrier = Meeting("barrier")
        self.dynamic = poisoned(dynamic, np.uint8)
        self.dynamic_watch = Watch("dynamic shared memory") if launched.races else None
        self.static: dict[Any, Any] = {}
        self.static_bytes = 0

    def shared(self, location: Any, shape: Any, dtype: np.dtype) -> Any:
        if shape == 0:
            array = np.frombuffer(self.dynamic, dtype, self.dynamic.size // dtype.itemsize)
            return checked(array) if self.dynamic_watch is None else watched(array, self.dynamic_watch)
        array = self.static.get(location)
        if array is None:
            memory = poisoned(shape, dtype)
            self.static_bytes += memory.nbytes
            self.launched.check_shared(self.static_bytes)
            name = f"the shared array of {memory.size} {dtype}"
            array = watched(memory, Watch(name)) if self.launched.races else checked(memory)
            self.static[location] = array
        return array


class Launch:
    """One run of a kernel: its blocks, and the loop that decides who goes next."""

    def __init__(
        self, body: Callable[[], None], grid: tuple, block: tuple, shared: int, options: dict[str, Any]
    ):
        self.body, self.grid_dim, self.block_dim, self.dynamic = body, Dim3(*grid), Dim3(*block), shared
        self.races, self.shared_limit = options["races"], options["shared_limit"]
        self.cooperative = options["cooperative"]
        self.rng = np.random.default_rng(options["seed"])
        # Fair schedules mix everybody; eager ones let one warp run as far ahead of the others as it can.
        self.eagerness = (0.0, 0.9, 1.0)[self.rng.integers(3)]
        self.draws: list[float] = []
        self.hub = getcurrent()
        self.queue: list[Warp] = []
        self.polling: list[Thread] = []
        self.grid_barrier = Meeting("grid barrier")
        self.events = self.events_before = self.idle = 0
        g = self.grid_dim
        locations = [Dim3(x, y, z) for z in range(g.z) for y in range(g.y) for x in range(g.x)]
        self.to_start = [locations[i] for i in self.rng.permutation(len(locations))]
        self.size = len(locations) * self.block_dim.x * self.block_dim.y * self.block_dim.z
        self.threads: set[Thread] = set()
        self.check_shared(0)
        for _ in range(min(len(locations), options["resident"] or len(locations))):
            self.start_block()

    def check_shared(self, static: int) -> None:
        if static > STATIC_LIMIT:
            raise KernelFault(f"{static} bytes of static shared memory; at most {STATIC_LIMIT} assemble")
        if self.shared_limit is not None and self.dynamic + static > self.shared_limit:
            raise KernelFault(
                f"{self.dynamic} bytes of dynamic and {static} of static shared memory; "
                f"a block has at most {self.shared_limit}"
            )

    def start_block(self) -> None:
        block = Block(self, self.to_start.pop(), self.dynamic)
        d = self.block_dim
        locations = [Dim3(x, y, z) for z in range(d.z) for y in range(d.y) for x in range(d.x)]
        for first in range(0, len(locations), LANES):
            warp = Warp(block)
            for lane, location in enumerate(locations[first : first + LANES]):
                thread = Thread(self.body, self, warp, location, lane)
                warp.alive |= 1 << lane
                self.threads.add(thread)
                self.wake(thread)
        block.size = block.alive = len(locations)

    def wake(self, thread: Thread) -> None:
        warp = thread.warp
        warp.ready.append(thread)
        if not warp.queued:
            warp.queued = True
            self.queue.append(warp)

    def wake_all(self, warp: Warp, threads: list[Thread]) -> None:
        """Wake threads of one warp."""
        warp.ready.extend(threads)
        if not warp.queued:
            warp.queued = True
            self.queue.append(warp)

    def wake_polling(self) -> None:
        polling, self.polling = self.polling, []
        for thread in polling:
            self.wake(thread)

    def next_warp(self) -> Warp:
        if len(self.draws) < 3:
            self.draws = self.rng.random(3000).tolist()
        draws = self.draws
        # Pollers wake when nobody else can run; in a fair schedule now and then before that too.
        if self.polling and self.eagerness < 1 and draws.pop() < 0.1:
            self.wake_polling()
        queue = self.queue
        if len(queue) > 1 and (self.eagerness == 0 or draws.pop() >= self.eagerness):
            i = int(draws.pop() * len(queue))
            queue[i], queue[-1] = queue[-1], queue[i]
        warp = queue.pop()
        warp.queued = False
        return warp

    def run(self) -> None:
        try:
            while self.threads:
                if not self.queue:
                    self.idle = self.idle + 1 if self.events == self.events_before else 0
                    self.events_before = self.events
                    if not self.polling or self.idle > IDLE_ROUNDS:
                        raise KernelFault(self.deadlock())
                    self.wake_polling()
                warp = self.next_warp()
                threads, warp.ready = warp.ready, []
                if len(threads) > 1:
                    threads = [threads[i] for i in self.rng.permutation(len(threads)).tolist()]
                for thread in threads:
                    try:
                        thread.switch()
                    except Exception as error:
                        raise KernelFault(f"thread {thread.name}: {type(error).__name__}: {error}") from error
                    if thread.dead:
                        self.end(thread)
        finally:
            for thread in self.threads:
                thread.throw()  # ends what a fault left suspended

    def end(self, thread: Thread) -> None:
        """Count a thread out that has come to its end."""
        self.events += 1
        self.threads.discard(thread)
        warp, block = thread.warp, thread.block
        warp.alive &= ~(1 << thread.lane)
        for mask in list(warp.meetings):  # those that waited for this lane alone
            settle(warp, mask)
        block.alive -= 1
        if not block.alive and self.to_start:
            self.start_block()

    def deadlock(self) -> str:
        """Who waits for what."""
        lines = ["deadlock:"]
        barriers = [(self.grid_barrier, self.size)] if self.grid_barrier.waiting else []
        meetings: set[Meeting] = set()
        for thread in self.threads:
            if thread.block.barrier.waiting and thread.block.barrier not in meetings:
                meetings.add(thread.block.barrier)
                barriers.append((thread.block.barrier, thread.block.size))
            for meeting in thread.warp.meetings.values():
                if meeting not in meetings:
                    meetings.add(meeting)
                    barriers.append((meeting, thread.warp.alive.bit_count()))
        for meeting, size in barriers[:8]:
            lines.append(
                f"{len(meeting.waiting)} of {size} threads at the {meeting.kind} in "
                f"{_line(meeting.code, meeting.at)} (thread {meeting.waiting[0].name} is one);"
            )
        if self.polling:
            lines.append(f"{len(self.polling)} threads poll (thread {self.polling[0].name} is one);")
        lines.append(f"{self.size - len(self.threads)} of {self.size} threads have ended or not begun")
        return " ".join(lines)


def settle(warp: Warp, mask: int) -> None:
    """Let the lanes of `mask` go on once all that are alive have come, each with its answer."""
    meeting = warp.meetings[mask]
    if len(meeting.waiting) < (mask & warp.alive).bit_count():
        return
    del warp.meetings[mask]
    threads = meeting.leave()
    answer = _ANSWERS[meeting.kind]
    answer(threads)
    warp.epoch += 1
    launched = warp.block.launched
    launched.events += 1
    for thread in threads:
        thread.seen = warp.epoch
    launched.wake_all(warp, threads)


def _poison(value: Any) -> Any:
    if isinstance(value, np.generic):
        return poisoned(1, value.dtype)[0]
    return float("nan") if isinstance(value, float) else -1


def _shuffled(threads: list[Thread]) -> None:
    values = {thread.lane: thread.value for thread in threads}
    for thread in threads:
        source = thread.source
        thread.answer = values[source] if source in values else _poison(thread.value)


def _voted(combine: Callable[[list[Any]], Any]) -> Callable[[list[Thread]], None]:
    def answer(threads: list[Thread]) -> None:
        combined = combine([thread.value for thread in threads])
        for thread in threads:
            thread.answer = combined

    return answer


def _ballot(threads: list[Thread]) -> None:
    bits = sum(1 << thread.lane for thread in threads if thread.value)
    for thread in threads:
        thread.answer = bits


_ANSWERS: dict[str, Callable[[list[Thread]], None]] = {
    "barrier": lambda threads: None,
    "barrier with or": _voted(lambda values: int(any(values))),
    "barrier with and": _voted(lambda values: int(all(values))),
    "barrier with count": _voted(lambda values: sum(map(bool, values))),
    "syncwarp": lambda threads: None,
    "shuffle": _shuffled,
    "vote for any": _voted(any),
    "vote for all": _voted(all),
    "ballot": _ballot,
}


def at_barrier(kind: str, value: Any = None) -> Any:
    thread = getcurrent()
    frame = sys._getframe(2)
    block, barrier = thread.block, thread.block.barrier
    if not barrier.waiting:
        barrier.kind = kind
    thread.value = value
    barrier.join(thread, frame.f_code, frame.f_lasti)
    launched = thread.launched
    if len(barrier.waiting) == block.size:
        threads = barrier.leave()
        if kind != "barrier":
            _ANSWERS[kind](threads)
        block.epoch += 1
        launched.events += 1
        for other in threads:
            launched.wake(other)
    launched.hub.switch()
    return thread.answer


def in_warp(kind: str, mask: int, value: Any = None, source: int = 0) -> Any:
    thread = getcurrent()
    frame = sys._getframe(2)
    mask = int(mask) & 0xFFFFFFFF
    if not mask >> thread.lane & 1:
        raise KernelFault(f"{kind} with mask {mask:#x}, which leaves out the calling lane {thread.lane}")
    thread.value, thread.source = value, source
    warp = thread.warp
    meeting = warp.meetings.get(mask)
    if meeting is None:
        meeting = warp.meetings[mask] = Meeting(kind)
    meeting.join(thread, frame.f_code, frame.f_lasti)
    if len(meeting.waiting) >= (mask & warp.alive).bit_count():
        settle(warp, mask)
    thread.launched.hub.switch()
    return thread.answer


def at_grid_barrier() -> None:
    thread = getcurrent()
    launched, frame = thread.launched, sys._getframe(2)
    if not launched.cooperative:
        raise KernelFault("grid barrier in a launch that is not cooperative")
    barrier = launched.grid_barrier
    barrier.join(thread, frame.f_code, frame.f_lasti)
    if len(barrier.waiting) == launched.size:
        launched.events += 1
        threads = barrier.leave()
        for block in {other.block for other in threads}:
            block.epoch += 1
        for other in threads:
            launched.wake(other)
    launched.hub.switch()


def pause() -> None:
    """Let the other threads run: what a kernel calls while it polls."""
    launched = getcurrent().launched
    launched.polling.append(getcurrent())
    launched.hub.switch()
