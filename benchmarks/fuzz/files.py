"""Mutated files: valid ones of every format, with something changed, given to the door that reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.fuzz.case import Case
from benchmarks.fuzz.mutations import mutate
from benchmarks.fuzz.seeds import make


class Files:
    """The cases of mutated files; `folder` is where files are written to."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed, self._folder = seed, folder
        self._seeds = make(folder)
        self._others = [seed.data for seed in self._seeds]

    def case(self, number: int) -> Case:
        """Return a case by its number."""
        rng = np.random.default_rng([self._seed, 0, number])
        seed = self._seeds[int(rng.integers(len(self._seeds)))]
        suffix = Path(seed.name).suffix
        data = mutate(seed.data, suffix, rng, self._others)
        path = self._folder / f"case{suffix}"

        def run() -> object:
            path.write_bytes(data)
            return seed.door(path)

        return Case(f"{seed.name}, {len(data)} bytes", run, data, suffix)
