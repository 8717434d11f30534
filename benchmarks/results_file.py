"""Writing results: those that are committed are not replaced by what is not finished, or was disturbed by others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gatescope.errors import OutputError
from gatescope.experiments import machine
from gatescope.storage.atomic import atomic_write


class ResultsFile:
    """A file that results are written to, once or again and again as they come.

    Parameters
    ----------
    path : Path
    committed : Path
        Where those are that are committed.  If that is `path`, what is there now is replaced by finished results
        without disturbed rows alone; others go beside it.
    """

    def __init__(self, path: Path, committed: Path) -> None:
        self.path = path
        self._guarded = path.exists() and path.resolve() == committed.resolve()

    @property
    def latest(self) -> Path:
        """The file that was written last: with disturbed rows, if there are such results."""
        beside = self._beside("disturbed")
        return beside if self._guarded and beside.exists() else self.path

    def _beside(self, what: str) -> Path:
        return self.path.with_suffix(f".{what}{self.path.suffix}")

    def write(self, data: dict[str, Any]) -> Path:
        """Write results, and return the file; `data["finished"]` is False as long as they are not whole."""
        if not self._guarded:
            write_json(self.path, data)
            return self.path
        finished = data.get("finished", True)
        kinds = {"unfinished": not finished, "disturbed": bool(disturbed(data))}
        path = next((self._beside(what) for what, is_so in kinds.items() if is_so), self.path)
        write_json(path, data)
        for what in kinds if finished else ():
            if self._beside(what) != path:
                self._beside(what).unlink(missing_ok=True)
        return path

    def report(self, data: dict[str, Any], path: Path) -> None:
        """Print where results were written to, and why not in the place of those that are committed."""
        rows = disturbed(data)
        if path != self.path and rows:
            print(
                f"not replaced: {self.path}; others took more than {machine.DISTURBED:.0%} beside {', '.join(rows)}"
            )
        print(f"written: {path}", flush=True)


def write_results(path: Path, data: dict[str, Any], committed: Path) -> Path:
    """Write results as a `ResultsFile` does, say where, and return the file."""
    file = ResultsFile(path, committed)
    try:
        place = file.write(data)
    except (OSError, OutputError) as error:
        sys.exit(f"{error}")
    file.report(data, place)
    return place


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        stream.write((json.dumps(data, indent=1) + "\n").encode())


def disturbed(data: dict[str, Any]) -> list[str]:
    """Return the rows of results beside which other processes took too much of the machine."""
    rows = [row for name in ("rows", "runs", "second_thread") for row in data.get(name, ())]
    shares = [(_name(row), _share(row)) for row in rows] + list(data.get("others_share", {}).items())
    return [name for name, share in shares if share > machine.DISTURBED]


def _name(row: dict[str, Any]) -> str:
    parts = (str(row[name]) for name in ("cell", "n", "steps", "dtype") if name in row)
    return str(row.get("key") or row.get("title") or " ".join(parts))


def _share(value: Any) -> float:
    """Return the largest share of others that is anywhere in a row."""
    if isinstance(value, list):
        return max(map(_share, value), default=0.0)
    if not isinstance(value, dict):
        return 0.0
    own = (part for name, part in value.items() if name in ("others", "others_share"))
    inner = (_share(part) for part in value.values())
    return max((*(float(part) for part in own), *inner), default=0.0)
