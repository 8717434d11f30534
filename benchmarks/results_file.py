"""Writing results: those that are committed are not replaced by rows that other processes disturbed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import timing
from gatescope.errors import OutputError
from gatescope.storage.atomic import atomic_write


def write_results(path: Path, data: dict[str, Any], committed: Path) -> Path:
    """Write results and return the file: beside `path` if that is `committed`, is there, and rows were disturbed."""
    rows = disturbed(data)
    if rows and path.resolve() == committed.resolve() and path.exists():
        print(f"not replaced: {path}; others took more than {timing.DISTURBED:.0%} beside {', '.join(rows)}")
        path = path.with_suffix(f".disturbed{path.suffix}")
    try:
        write_json(path, data)
    except (OSError, OutputError) as error:
        sys.exit(f"{error}")
    print(f"written: {path}")
    return path


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        stream.write((json.dumps(data, indent=1) + "\n").encode())


def disturbed(data: dict[str, Any]) -> list[str]:
    """Return the rows of results beside which other processes took too much of the machine."""
    rows = [row for name in ("rows", "runs", "second_thread") for row in data.get(name, ())]
    return [_name(row) for row in rows if _share(row) > timing.DISTURBED]


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
