"""What the command line shows on a terminal: tables, a spinner, and texts the terminal can encode."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from gatescope.comparison import Comparison
    from gatescope.kernels.gpu.api import Device

# What numbers and headings hold beyond ASCII; a minus must not become a question mark.
_ASCII = str.maketrans({"−": "-", "–": "-", "²": "^2", "∞": "inf", "×": "x", "·": "*", "±": "+-"})


def on_terminal() -> bool:
    """Whether someone watches: then progress is shown."""
    return sys.stderr.isatty()


def encodable(text: str) -> str:
    """The text, with plainer signs for those that stdout cannot encode, and ``?`` for the last resort."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def echo(text: str) -> None:
    """Print a line on stdout."""
    typer.echo(encodable(text))


@contextmanager
def working(message: str) -> Iterator[None]:
    """Show what is being done, with a spinner, if there is a terminal."""
    if not on_terminal():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(message)):
        yield


def print_comparison(found: Comparison, source: str) -> None:
    """The table of a comparison, and how its times were taken."""
    from rich.console import Console
    from rich.table import Table

    from gatescope.gallery import rows, timed_on
    from gatescope.report import counted, show

    steps, batch = found.measurements[0].trace.inputs.shape[:2]
    sequences = "one sequence" if batch == 1 else f"{batch} sequences"
    title = _literal(f"{source}: {counted(steps, 'step')}, {sequences}")
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for label in found.labels:
        table.add_column(_literal(label), justify="right")
    for row in rows(found):
        texts = (row["quantity"], *(show(row[label]) for label in found.labels))
        table.add_row(*map(_literal, texts))
    Console(width=_table_width()).print(table)
    first = found.measurements[0]
    echo(
        f"ns per step: median of {counted(first.timing_runs, 'run')} "
        f"{timed_on(found)}; "
        f"saturated: below {first.left:g} or above {first.right:g}"
    )


def print_measurement(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The table of a measurement: its first column names what the others say."""
    from rich.console import Console
    from rich.table import Table

    echo(title)  # a table's own title would be wrapped to its width
    table = Table(show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(_literal(column), justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(_literal, row))
    Console(width=_table_width()).print(table)


def print_devices() -> None:
    """The table of what the kernels can run on."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from gatescope.kernels.cpu import default_threads
    from gatescope.kernels.simd import host_lanes
    from gatescope.report import counted

    lanes = {name: int(host_lanes(np.dtype(name))) for name in ("float32", "float64")}
    table = Table(box=None, show_header=False, pad_edge=False)
    cores, threads = counted(os.cpu_count() or 1, "core"), counted(default_threads(), "thread")
    table.add_row("cpu", _literal(_cpu_name()))
    table.add_row("", f"{cores}, {threads} by default")
    listed = ", ".join(f"{count} {name}" for name, count in lanes.items())
    table.add_row("", f"lanes of a vector: {listed} ({lanes['float32'] * 32} bits)")
    for number, line in enumerate(_gpu_lines()):
        table.add_row("" if number else "cuda", _literal(line))
    Console(width=_table_width()).print(table)


def _gpu_lines() -> list[str]:
    """Each GPU, the versions of what serves it, and why none can be used, if so."""
    from gatescope.kernels.device import SIMULATOR
    from gatescope.kernels.gpu import api

    why, found, versions = api.why_unavailable(), api.devices(), api.versions()
    lines = [line for gpu in found for line in _one_gpu(gpu)]
    if api.simulated:
        lines.append("Numba's simulator of a GPU: kernels run in Python, slowly, for trying out")
    if why is not None:
        lines.append(f"cannot be used: {why}")
    texts = {
        "driver": "driver for CUDA {}",
        "compilers": "compilers of CUDA {}",
        "numba-cuda": "numba-cuda {}",
    }
    listed = [text.format(versions[name]) for name, text in texts.items() if name in versions]
    if listed:
        lines.append(", ".join(listed))
    if why is not None:
        lines.append(SIMULATOR)
    return lines


def _one_gpu(gpu: Device) -> list[str]:
    from gatescope.report import counted

    processors = counted(gpu.multiprocessors, "multiprocessor")
    lines = [
        f"GPU {gpu.index}: {gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}, {processors}"
    ]
    if gpu.memory_total is not None and gpu.memory_free is not None:
        lines.append(f"{gpu.memory_total / 2**30:.1f} GiB of memory, {gpu.memory_free / 2**30:.1f} GiB free")
    return lines


def _literal(text: str) -> Text:
    """A text in which rich finds neither markup nor emoji: labels come from the names of files."""
    from rich.text import Text

    return Text(encodable(text))


def _table_width() -> int | None:
    """Of tables: that of the terminal, but roomy where there is none."""
    return None if sys.stdout.isatty() else 160


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
