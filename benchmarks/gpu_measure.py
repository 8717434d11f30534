"""One row of the GPU table: right results first, then the time of both sides."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import gpu_reference
from benchmarks.gpu_clock import Side, Timer, measure, sample, shortened, steps_for
from benchmarks.gpu_rows import AGREES, FLOORS, PEER, PEER_AGREES
from benchmarks.gpu_sides import CuDnn, Ours
from benchmarks.rows import Row

_MOST_OF_MEMORY = 0.3  # of what is free, for the longest series: results, scratch, and what waits to be freed
_PASSES = ("forward", "backward", "both")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How long a call is to take, how many are measured, at most how many seconds for a row."""

    aim: float = 0.1
    least: int = 5
    most: int = 11
    seconds: float = 30.0
    first: int = 1000

    @classmethod
    def quick(cls, seconds: float) -> Settings:
        """For a look at whether everything runs."""
        return cls(aim=0.01, least=3, most=3, seconds=seconds)


def launch_plan_of(row: Row, rows: int, *, backward: bool) -> dict[str, Any]:
    """How the sweep is spread: blocks, threads, and where a thread's weights are, as elements of its slice."""
    import numpy as np

    from gatescope.cells import get
    from gatescope.kernels.cuda import sweeps

    launch_plan = sweeps.plan_for(get(row.cell), row.hidden_size, np.dtype(row.dtype)).launch_plan(
        rows, backward=backward
    )
    row_data: dict[str, Any] = {
        name: getattr(launch_plan, name)
        for name in ("blocks", "threads", "units", "sequences", "together", "parts", "shared_bytes")
    }
    tiles = [launch_plan.first, launch_plan.second] if launch_plan.two_phase else [launch_plan.first]
    row_data["tiles"] = [
        {name: getattr(t, name) for name in ("slice", "outputs", "registers", "shared", "streamed")}
        for t in tiles
    ]
    return row_data


def longest(row: Row, free: int) -> int:
    """Return steps whose results fit on the device: trace, adjoints, gradients of the gates, inputs and seeds."""
    from gatescope.cells import get

    cell = get(row.cell)
    numbers = row.hidden_size * (len(cell.saved) + 2 * len(cell.states) + 2 * len(cell.gates) + 2)
    size = 4 if row.dtype == "float32" else 8
    a_step = row.batch * (numbers + 2 * row.input_size) * size
    return max(1, min(row.steps, int(_MOST_OF_MEMORY * free) // a_step))


def checked(side: Any, row: Row, expected: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Differences from the CPU over a few steps."""
    side.set(gpu_reference.check_problem(row))
    saved = side.forward()
    row_data = gpu_reference.differences(side.arrays(saved, side.backward(saved)), expected)
    return {
        "steps": gpu_reference.check_steps(row),
        "differences": row_data,
        "tolerance": tolerance,
        "agrees": gpu_reference.agrees(row_data, tolerance),
    }


class Progress:
    """What has been found out about one row so far, and what time is left for more."""

    def __init__(self, row: Row, timer: Timer, settings: Settings) -> None:
        self.row, self.timer, self.settings = row, timer, settings
        self._begun = time.monotonic()
        self.results: dict[str, Any] = {
            **dataclasses.asdict(row),
            "key": row.key,
            "title": row.title,
            "target": row.targets[PEER],
            "met": None,
        }
        self.broken = False  # whether the process had better not be used again

    def left(self) -> float:
        """Seconds that this row still has."""
        return max(0.0, self.settings.seconds - (time.monotonic() - self._begun))

    def time_side(self, side: Side, most: int, part: float) -> dict[str, Any]:
        """Find a length, then measure; `part` is the share of the row's seconds that the calls may take."""

        def seconds(steps: int) -> float:
            side.prepare(steps)
            sample(self.timer, side)
            return min(sum(sample(self.timer, side)[:2]) for _ in range(2))

        settings = self.settings
        side.prepare(1)
        sample(self.timer, side)
        fixed = 1e6 * min(sum(sample(self.timer, side)[:2]) for _ in range(5))
        steps, stopped = steps_for(
            seconds, most, settings.aim, settings.first, late=lambda: self.left() < settings.seconds / 4
        )
        budget = min(part * settings.seconds, self.left() / 2)
        result = measure(self.timer, side, steps, budget, settings.least, settings.most)
        # What one step takes is what a call takes whatever its length: launches, allocations, checks.
        return {**result, "limited_by": stopped, "us_of_one_step": fixed}


def usable(timer: Timer) -> bool:
    """Whether the device still answers: after an illegal access every call of a process fails."""
    try:
        timer.wait()
    except Exception:
        return False
    return True


def measure_row(
    progress: Progress,
    folder: Path,
    free: int,
    peers: Callable[[str], Any] | None,
    torch: Any = None,
    wait: float = 0.0,
) -> Iterator[None]:
    """Find out everything about a row, bit by bit: yields after each bit, so that what there is can be kept.

    Parameters
    ----------
    progress : Progress
        Fresh; its `results` is filled.
    folder : Path
        Where the CPU's results are, or will be.
    free : int
        Bytes of free memory on the device.
    peers : callable or None
        Makes the peer of a variant; None if there is none.
    torch : module, optional
        With CUDA; draws the inputs faster.
    wait : float, optional
        Seconds to wait for the CPU's results, if they are not there yet; after that they are made here.
    """
    row, row_data = progress.row, progress.results
    try:
        row_data["launch_plan"] = {
            "forward": launch_plan_of(row, row.batch, backward=False),
            "backward": launch_plan_of(row, row.batch, backward=True),
        }
        expected = gpu_reference.read(folder, row, wait)
        begun = time.perf_counter()
        ours = Ours(row, torch)
        row_data["check"] = checked(ours, row, expected, AGREES[row.dtype])
        row_data["check"]["seconds"] = time.perf_counter() - begun  # compiling included
        yield
        most = longest(row, free)
        row_data["ours"] = progress.time_side(ours, most, 0.15)
        ours.release()
        yield
        if peers is not None:
            _measure_peer(progress, peers, expected, most)
            yield
            if "both" in row_data[PEER] and progress.left() > 4 * row_data["ours"]["seconds_a_call"] + 1:
                # Once more, to see how much the machine itself has drifted meanwhile.
                ours.prepare(row_data["ours"]["steps"])
                again = measure(progress.timer, ours, row_data["ours"]["steps"], 0.5, 3, 5)
                row_data["ours"]["again"] = again["both"]["median"]
        ours.release()
    except Exception as error:
        row_data["failed"] = shortened(error)
        progress.broken = not usable(progress.timer)


def _measure_peer(
    progress: Progress, peers: Callable[[str], Any], expected: dict[str, Any], most: int
) -> None:
    """Every variant of the peer is checked and tried over a few steps; the fastest is measured as ours was."""
    row_data, row, settings = progress.results, progress.row, progress.settings
    peer: dict[str, Any] = {"trials_us_per_step": {}, "limits": {}}
    row_data[PEER] = peer
    steps, checks = min(most, settings.first), {}
    try:
        for name in CuDnn.VARIANTS:
            side: Any = None
            try:
                side = peers(name)
                checks[name] = checked(side, row, expected, PEER_AGREES[row.dtype])
                side.prepare(steps)
                sample(progress.timer, side)
                took = min(sum(sample(progress.timer, side)[:2]) for _ in range(3))
                peer["trials_us_per_step"][name] = 1e6 * took / steps
                side.release()
            except Exception as error:  # the other variants may do
                peer["limits"][name] = shortened(error)
        trials = peer["trials_us_per_step"]
        if not trials:
            raise RuntimeError("; ".join(f"{name}: {why}" for name, why in peer["limits"].items()))
        # A wrong result is no competitor, unless there is no right one.
        best = min(trials, key=lambda name: (not checks[name]["agrees"], trials[name]))
        side = peers(best)
        peer |= {"variant": best, "check": checks[best], **progress.time_side(side, most, 0.15)}
        side.release()
    except Exception as error:  # ours has been measured, and that is kept
        peer["failed"] = shortened(error)
        progress.broken = not usable(progress.timer)


def add_ratios(row_data: dict[str, Any]) -> None:
    """Ratios peer / ours of the medians, and the floor's share of our time, where there are numbers."""
    ours, peer = row_data.get("ours"), row_data.get(PEER, {})
    if not ours:
        return
    if row_data["dtype"] == "float32" and row_data["hidden_size"] in FLOORS:
        forward, backward = FLOORS[row_data["hidden_size"]]
        floor = {"forward": forward, "backward": backward, "both": forward + backward}
        row_data["floor"] = {
            name: {"us_per_step": floor[name], "share": floor[name] / ours[name]["median"]}
            for name in _PASSES
        }
    if "both" in peer:
        row_data["ratio"] = {name: peer[name]["median"] / ours[name]["median"] for name in _PASSES}
        target, right = row_data["target"], row_data.get("check", {}).get("agrees", False)
        # A wrong result is no faster than a right one, and a ratio to a peer that does something else says nothing.
        if target is not None and peer.get("check", {}).get("agrees", False):
            row_data["met"] = right and row_data["ratio"]["both"] >= target


def flatness(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Time a step at the largest batch over that of one sequence, for cells measured at both (H = 64, float32)."""
    row_data = []
    for cell in dict.fromkeys(row["cell"] for row in rows):
        us = {
            row["batch"]: row["ours"]["both"]["median"]
            for row in rows
            if row["cell"] == cell
            and row["hidden_size"] == 64
            and row["dtype"] == "float32"
            and row.get("ours")
        }
        if 1 in us and 256 in us:
            row_data.append({"cell": cell, "hidden_size": 64, "ratio_256_to_1": us[256] / us[1]})
    return row_data
