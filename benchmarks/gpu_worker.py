"""The process that touches the GPU: it takes one job a line and answers each with lines of JSON.

Kernels that wait for each other hang for ever when one is wrong, and after an illegal access a process is of no use
any more; so somebody else holds the clock, and ends this process where it must (see `benchmarks.gpu_process`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARK = "\x1e"  # before every answer: other lines are somebody's prints
FRESH = "fresh"  # in an answer: start another process for the next job


class Worker:
    """Jobs by name; each yields what it has found so far."""

    def __init__(self) -> None:
        self._torch: Any = None
        self._why_no_torch: str | None = None
        self.broken = False

    def _peer_library(self) -> Any | None:
        """PyTorch with CUDA, brought in once; None if it is not there."""
        if self._torch is None and self._why_no_torch is None:
            from benchmarks.gpu_sides import exactly, torch_with_cuda

            try:
                self._torch = torch_with_cuda()
                exactly(self._torch)
            except Exception as error:
                self._why_no_torch = " ".join(str(error).split())
        return self._torch

    def hardware(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Return the GPU, and the libraries beside it."""
        from gatescope.kernels.cuda import driver

        devices = driver.devices()
        if not devices:
            raise RuntimeError(driver.why_unavailable() or "no GPU was found")
        device = devices[0]
        results: dict[str, Any] = {
            "gpu": device.name,
            "capability": f"{device.capability[0]}.{device.capability[1]}",
            "multiprocessors": device.multiprocessors,
            "memory_bytes": device.memory_total,
            "memory_free_bytes": device.memory_free,
            "cuda": driver.versions(),
        }
        yield results
        torch = self._peer_library()
        if torch is None:
            results["peer_missing"] = self._why_no_torch
        else:
            from benchmarks.gpu_sides import exactly

            results["torch"] = {"version": torch.__version__, "cuda": torch.version.cuda, **exactly(torch)}
        yield results

    def barriers(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Return the costs of waiting, and the bandwidth of a copy."""
        from benchmarks.gpu_barriers import measure_barriers
        from benchmarks.gpu_clock import EventTimer
        from gatescope.kernels.cuda import backend

        options = {"steps": 2_000, "copy_bytes": 1 << 28} if job.get("quick") else {}
        yield from measure_barriers(backend.current(), EventTimer(), **options)

    def row(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """One row of the table."""
        from benchmarks import gpu_measure
        from benchmarks.gpu_clock import EventTimer
        from benchmarks.gpu_rows import PEER, by_key
        from benchmarks.gpu_sides import CuDnn, free_memory
        from gatescope.kernels.cuda import backend

        torch, row = self._peer_library(), by_key(job["key"])
        seconds = float(job["seconds"])
        settings = (
            gpu_measure.Settings.quick(seconds) if job.get("quick") else gpu_measure.Settings(seconds=seconds)
        )
        free_memory(torch)
        progress = gpu_measure.Progress(row, EventTimer(), settings)
        peers = None if torch is None else lambda variant: CuDnn(row, torch, variant)
        if torch is None:
            progress.results[PEER] = {"failed": self._why_no_torch}
        free = backend.current().memory()[0]
        for _ in gpu_measure.measure_row(progress, Path(job["folder"]), free, peers, torch, job["wait"]):
            yield progress.results
        gpu_measure.add_ratios(progress.results)
        self.broken = self.broken or progress.broken
        yield progress.results

    def flow(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """gradient_flow on both devices."""
        from benchmarks.gpu_flow import measure_flow

        yield from measure_flow(float(job["seconds"]))

    def answer(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Answers to one job: what there is, again and again, and last the whole, marked as done."""
        results: dict[str, Any] = {}
        try:
            for results in getattr(self, job["job"])(job):
                yield {"results": results, "done": False}
        except Exception as error:
            from benchmarks.gpu_clock import shortened

            results = {**results, "failed": shortened(error)}
            self.broken = True
        yield {"results": results, "done": True, FRESH: self.broken}


def main() -> None:
    """Read jobs until there are no more, or this process has had it."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    worker = Worker()
    for line in sys.stdin:
        for answer in worker.answer(json.loads(line)):
            out.write(MARK + json.dumps(answer, default=float) + "\n")
            out.flush()
        if worker.broken:
            break


if __name__ == "__main__":
    main()
