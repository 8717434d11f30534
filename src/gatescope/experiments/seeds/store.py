"""The runs of a study as files, one a run, named by what was run and by the code that ran it."""

from __future__ import annotations

import os
from pathlib import Path

from gatescope.datatypes import SeedRun
from gatescope.errors import FileFormatError
from gatescope.experiments.seeds.code import code_fingerprint
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.storage.atomic import check_folder
from gatescope.storage.npz import decode_json


class RunStore:
    """A folder of runs, which several processes may use at once: each file appears whole or not at all.

    Parameters
    ----------
    folder : path
        It is made if it is not there.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = check_folder(folder)

    def path(self, spec: RunSpec) -> Path:
        """Return the file of a run, which need not be there."""
        return self.folder / f"{spec.key(code_fingerprint(spec.cell, spec.task))}.npz"

    def get(self, spec: RunSpec) -> SeedRun | None:
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
            run = SeedRun.load(path)
        except FileFormatError as error:
            raise _unusable(f"cannot be used ({error.problem})", path) from error
        if run.spec != decode_json(spec.text()) or run.code != code_fingerprint(spec.cell, spec.task):
            raise _unusable("holds another run than its name says", path)
        return run

    def put(self, spec: RunSpec, run: SeedRun) -> None:
        """Write a run."""
        run.save(self.path(spec))


def _unusable(problem: str, path: Path) -> FileFormatError:
    return FileFormatError(problem, seen=path, advice="delete it, and the same call makes that run anew")
