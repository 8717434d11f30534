"""``gatescope devices``: what the kernels can run on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gatescope.reporting.terminal import literal, show

if TYPE_CHECKING:
    from gatescope.kernels.cuda.driver import Gpu


def devices() -> None:
    """Show what the kernels can run on, and why not on a GPU, if so."""
    import numpy as np
    from rich.table import Table

    from gatescope.checks.numbers import default_threads
    from gatescope.kernels.simd.vector import host_lanes
    from gatescope.reporting.text import counted, listing
    from gatescope.storage.provenance import cpu_name

    lanes = {name: int(host_lanes(np.dtype(name))) for name in ("float32", "float64")}
    table = Table(box=None, show_header=False, pad_edge=False)
    cores, threads = counted(os.cpu_count() or 1, "core"), counted(default_threads(), "thread")
    table.add_row("cpu", literal(cpu_name()))
    table.add_row("", f"{cores}, {threads} by default")
    lane_counts = listing(f"{count} {name}" for name, count in lanes.items())
    table.add_row("", f"lanes of a vector: {lane_counts} ({lanes['float32'] * 32} bits)")
    for index, line in enumerate(_gpu_lines()):
        table.add_row("" if index else "cuda", literal(line))
    show(table)


def _gpu_lines() -> list[str]:
    """Return lines about each GPU, the versions of its software, and why none can be used, if so."""
    from gatescope.kernels.cuda import driver
    from gatescope.kernels.device import SIMULATOR

    why, versions = driver.why_unavailable(), driver.versions()
    lines = [line for gpu in driver.devices() for line in _one_gpu(gpu)]
    if driver.simulated:
        lines.append("Numba's simulator of a GPU: kernels run in Python, slowly, for trying out")
    if why is not None:
        lines.append(f"cannot be used: {why}")
    texts = {
        "driver": "driver for CUDA {}",
        "compilers": "compilers of CUDA {}",
        "numba-cuda": "numba-cuda {}",
    }
    software = [text.format(versions[name]) for name, text in texts.items() if name in versions]
    if software:
        lines.append(", ".join(software))
    if why is not None:
        lines.append(SIMULATOR)
    return lines


def _one_gpu(gpu: Gpu) -> list[str]:
    from gatescope.reporting.text import counted

    processors = counted(gpu.multiprocessors, "multiprocessor")
    lines = [
        f"GPU {gpu.index}: {gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}, {processors}"
    ]
    if gpu.memory_total is not None and gpu.memory_free is not None:
        lines.append(f"{gpu.memory_total / 2**30:.1f} GiB of memory, {gpu.memory_free / 2**30:.1f} GiB free")
    return lines
