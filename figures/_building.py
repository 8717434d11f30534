"""What every figure goes through: compute, write the data file, draw from the data file."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from gatescope import plotting
from gatescope.errors import OutputError
from gatescope.storage.atomic import atomic_write
from gatescope.storage.npz import read_npz, write_npz

HERE = Path(__file__).parent
FAST_STEPS = 400


def names() -> list[str]:
    """Return the figures, by the names of their scripts."""
    modules = (module.name for module in pkgutil.iter_modules([str(HERE)]))
    return sorted(name for name in modules if not name.startswith("_"))


def build(module: ModuleType, folder: Path, steps: int | None) -> list[Path]:
    """Compute and draw one figure; the data file comes first, and the picture is drawn from it alone.

    Parameters
    ----------
    module : module
        Has ``compute(steps) -> dict of arrays`` and ``draw(arrays) -> Figure``; what its ``page(arrays)`` returns, if
        it has one, is written as ``out/NAME.md``.
    folder : Path
        Gets ``data/NAME.npz`` and ``out/NAME.png`` and ``.svg``.
    steps : int or None
        How much of the series is used; None is all of it.
    """
    name = module.__name__.rpartition(".")[2]
    for part in ("data", "out"):
        try:
            (folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {str(folder / part)!r}: {error.strerror}") from error
    data = folder / "data" / f"{name}.npz"
    write_npz(data, module.compute(steps))
    arrays = read_npz(data)
    with plotting.style():
        figure = module.draw(arrays)
    files = [data, *plotting.save_figure(figure, folder / "out" / name)]
    if hasattr(module, "page"):
        files.append(folder / "out" / f"{name}.md")
        with atomic_write(files[-1]) as stream:
            stream.write(module.page(arrays).encode())
    return files


def text(array: np.ndarray) -> str:
    """Return a text that was stored as an array."""
    return str(array[()])


def main(arguments: Sequence[str] | None = None, only: str | None = None) -> None:
    """Build all figures, or one."""
    parser = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    parser.add_argument("--fast", action="store_true", help=f"{FAST_STEPS} steps, into a temporary folder")
    parser.add_argument("--only", metavar="NAME", choices=names(), default=only, help=", ".join(names()))
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="instead of the folder of these scripts")
    chosen = parser.parse_args(arguments)
    folder = chosen.out or (Path(tempfile.mkdtemp(prefix="figures-")) if chosen.fast else HERE)
    for name in names() if chosen.only is None else [chosen.only]:
        module = importlib.import_module(f"figures.{name}")
        for file in build(module, folder, FAST_STEPS if chosen.fast else None):
            print(f"{file} ({file.stat().st_size / 1024:.0f} KiB)")
