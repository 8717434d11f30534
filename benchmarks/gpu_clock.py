"""Time: how much of it is left, and how long something takes on the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.timing import quartiles

# Events and the wall clock see the same call; if the events see less than this part of it, work went past them.
ON_STREAM = 0.8
_WARM = 0.2  # seconds of work before anything counts: a GPU that idles has slowed its clock down


class Budget:
    """Seconds until a deadline that nothing may pass.

    Parameters
    ----------
    seconds : float
        From now.
    now : callable, optional
        The clock; tests have one of their own.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begun = now()
        self._end = self._begun + seconds

    def left(self) -> float:
        """Seconds until the deadline, 0 after it."""
        return max(0.0, self._end - self._now())

    def used(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._begun

    def share(self, parts: int, most: float) -> float:
        """Seconds for the next of `parts` parts: twice its even share, because most parts take less than theirs."""
        return min(most, self.left(), 2 * self.left() / max(parts, 1))


class Timer(Protocol):
    """Marks in the stream of work, and the seconds between two of them."""

    name: str

    def mark(self) -> Any:
        """Return a point after everything that was started."""
        ...

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks that have been reached."""
        ...

    def wait(self) -> None:
        """Until everything that was started is done."""
        ...


class WallTimer:
    """For machines whose calls return when the work is done: the CPU, and the tests' emulator."""

    name = "wall clock"

    def mark(self) -> float:
        """Now."""
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        """Return the difference."""
        return end - start

    def wait(self) -> None:
        """Nothing is under way."""


class EventTimer:
    """CUDA events on the legacy default stream, on which both gatescope's and PyTorch's work is queued."""

    name = "CUDA events"

    def __init__(self) -> None:
        from gatescope.kernels.cuda.driver import cuda

        self._cuda = cuda

    def mark(self) -> Any:
        """Return an event, recorded."""
        event = self._cuda.event(timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """Between two events."""
        return float(self._cuda.event_elapsed_time(start, end)) * 1e-3

    def wait(self) -> None:
        """For the whole device."""
        self._cuda.synchronize()


class Side(Protocol):
    """One of the competitors on a row."""

    def prepare(self, steps: int) -> None:
        """Have random inputs of so many steps on the device."""
        ...

    def forward(self) -> Any:
        """Start the forward pass; what it returns goes to `backward`."""
        ...

    def backward(self, saved: Any) -> Any:
        """Start the backward pass."""
        ...

    def release(self) -> None:
        """Give all memory back."""
        ...


def sample(timer: Timer, side: Side) -> tuple[float, float, float]:
    """Seconds of one forward pass, of one backward pass, and of both by the wall clock."""
    timer.wait()
    begun = time.perf_counter()
    start = timer.mark()
    saved = side.forward()
    middle = timer.mark()
    result = side.backward(saved)
    end = timer.mark()
    timer.wait()
    wall = time.perf_counter() - begun
    del saved, result
    return timer.seconds(start, middle), timer.seconds(middle, end), wall


def steps_for(
    seconds: Callable[[int], float],
    most: int,
    aim: float,
    first: int = 1000,
    late: Callable[[], bool] | None = None,
) -> tuple[int, str | None]:
    """How many steps make a call take about `aim` seconds, at most `most`, and what kept it from more.

    Parameters
    ----------
    seconds : callable
        Of a call with so many steps; an exception it raises with more than the first number means: too many.
    most : int
    aim : float
    first : int
    late : callable, optional
        Whether there is no time to try more.
    """
    steps = min(first, most)
    taken = seconds(steps)
    while taken < aim / 2 and steps < most and not (late and late()):
        next_steps = min(most, int(steps * min(16.0, max(2.0, aim / taken))))
        try:
            taken = seconds(next_steps)
        except (
            Exception
        ) as error:  # out of memory, or a size the library does not take: whatever it is called
            stopped = f"{next_steps:,} steps: {shortened(error)}"
        else:
            steps = next_steps
            continue
        # Only here is what the failed call held free again, and the last size that worked can be made ready.
        seconds(steps)
        return steps, stopped
    return steps, None


def measure(timer: Timer, side: Side, steps: int, seconds: float, least: int, most: int) -> dict[str, Any]:
    """Medians and quartiles in microseconds a step, over `least` to `most` calls that take about `seconds`.

    The side is prepared.
    """
    samples, warm = [], time.perf_counter()
    while True:
        sample(timer, side)
        if time.perf_counter() - warm >= min(_WARM, seconds / 4):
            break
    begun = time.perf_counter()
    while len(samples) < most and (len(samples) < least or time.perf_counter() - begun < seconds):
        samples.append(sample(timer, side))
    scale = 1e6 / steps
    seen = min((forward + backward) / wall for forward, backward, wall in samples)
    return {
        "steps": steps,
        "calls": len(samples),
        "seconds_a_call": quartiles([f + b for f, b, _ in samples])["median"],
        "forward": quartiles([scale * f for f, _, _ in samples]),
        "backward": quartiles([scale * b for _, b, _ in samples]),
        "both": quartiles([scale * (f + b) for f, b, _ in samples]),
        "seen_by_events": seen,
        "on_stream": seen >= ON_STREAM,
        "timer": timer.name,
    }


def shortened(error: BaseException, most: int = 300) -> str:
    """Return an error in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= most else text[: most - 1] + "…"
