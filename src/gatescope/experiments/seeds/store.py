"""The runs of a study as files, one a run, named by what was run and by the code that ran it."""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from time import process_time
from typing import Any, Generic, Protocol, TypeVar

from gatescope.cells.registry import get
from gatescope.datatypes import SeedRun
from gatescope.datatypes.result import Result
from gatescope.errors import FileFormatError
from gatescope.experiments.seeds.code import code_fingerprint
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.training import make_run
from gatescope.storage.atomic import check_folder
from gatescope.storage.npz import decode_json

_STEPS = 60  # of a sequence whose length is not said, as of music


class Spec(Protocol):
    """What a run is: specs that are equal have one text, and one key for the same code."""

    def text(self) -> str:
        """Return all that tells the run from others, as JSON."""

    def key(self, code: str) -> str:
        """Return the name of the run, made by that code."""


AnySpec = TypeVar("AnySpec", bound=Spec)
AnyRun = TypeVar("AnyRun", bound=Result)


class Store(ABC, Generic[AnySpec, AnyRun]):
    """A folder of runs, which several processes may use at once: each file appears whole or not at all.

    A subclass says what its runs are, and how one is made.

    Parameters
    ----------
    folder : path
        It is made if it is not there.

    Attributes
    ----------
    kind : type
        What a file holds.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """

    kind: type[AnyRun]

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = check_folder(folder)

    @abstractmethod
    def code(self, spec: AnySpec) -> str:
        """Return the fingerprint of the code that makes a run."""

    @abstractmethod
    def origin(self, run: AnyRun) -> tuple[Mapping[str, Any], str]:
        """Return the spec of a run, as plain values, and the fingerprint of the code that made it."""

    @abstractmethod
    def make(self, spec: AnySpec) -> AnyRun:
        """Make a run, without storing it."""

    @abstractmethod
    def kernels(self, spec: AnySpec) -> tuple[Any, ...]:
        """Return what is the same for runs that need the same kernels compiled."""

    @abstractmethod
    def work(self, spec: AnySpec) -> float:
        """Return about how long a run takes, in no unit."""

    def path(self, spec: AnySpec) -> Path:
        """Return the file of a run, which need not be there."""
        return self.folder / f"{spec.key(self.code(spec))}.npz"

    def get(self, spec: AnySpec) -> AnyRun | None:
        """Return a run if its file is there.

        Raises
        ------
        FileFormatError
            If the file is damaged, or holds something else.
        """
        path = self.path(spec)
        if not os.path.lexists(path):
            return None
        try:
            run = self.kind.load(path)
        except FileFormatError as error:
            raise unusable(f"cannot be used ({error.problem})", path) from error
        if self.origin(run) != (decode_json(spec.text()), self.code(spec)):
            raise unusable("holds another run than its name says", path)
        return run

    def put(self, spec: AnySpec, run: AnyRun) -> None:
        """Write a run."""
        run.save(self.path(spec))


class RunStore(Store[RunSpec, SeedRun]):
    """The runs that a `RunSpec` says."""

    kind = SeedRun

    def code(self, spec: RunSpec) -> str:
        return code_fingerprint(spec.cell, spec.task)

    def origin(self, run: SeedRun) -> tuple[Mapping[str, Any], str]:
        return run.spec, run.code

    def make(self, spec: RunSpec) -> SeedRun:
        began = process_time()  # not the wall's, which others that share the cores lengthen
        run = make_run(spec)
        return dataclasses.replace(run, seconds=process_time() - began)

    def kernels(self, spec: RunSpec) -> tuple[Any, ...]:
        return spec.cell, spec.hidden_size, spec.layers, spec.dtype

    def work(self, spec: RunSpec) -> float:
        # How many times a unit of a gate is updated.
        steps = spec.arguments.get("steps") or _STEPS
        gates = len(get(spec.cell).gates)
        return float(spec.updates * steps * spec.layers * gates * spec.hidden_size)


def unusable(problem: str, path: Path) -> FileFormatError:
    """Return the error of a file of a store that is not as it should be."""
    return FileFormatError(problem, seen=path, advice="delete it, and the same call makes that run anew")
