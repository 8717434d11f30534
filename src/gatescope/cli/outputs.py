"""Files that a command will write: checked before the work, not after it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gatescope.errors import OutputError, ValueRangeError


def check_file(argument: str, path: Path, *suffixes: str) -> None:
    """Refuse the name of a file that is a folder or has none of the suffixes."""
    if os.path.isdir(path):
        example = path / f"{argument}{suffixes[0]}"
        raise OutputError(
            "is a folder", argument=argument, seen=path, advice=f"name a file in it, as in {example}"
        )
    if path.suffix not in suffixes:
        endings = suffixes[0] if len(suffixes) == 1 else f"one of {', '.join(suffixes)}"
        raise ValueRangeError(f"must end in {endings}", argument=argument, seen=str(path))


def check_not_read(argument: str, path: Path, **read: Path | Iterable[Path] | None) -> None:
    """Refuse to write over a file that is read; `read` has the files by their arguments."""
    from gatescope.storage.atomic import same_file

    for name, files in read.items():
        for file in [files] if isinstance(files, Path) else files or ():
            if same_file(file, path):
                raise ValueRangeError(
                    f"is the file of `{name}` too, and would be lost",
                    argument=argument,
                    seen=str(path),
                    advice=f"give another name to `{argument}`",
                )


def check_outputs(
    argument: str, folder: Path, names: Sequence[str], **read: Path | Iterable[Path] | None
) -> None:
    """Make a folder, and refuse one in which a file of these names cannot be written, or is one that is read."""
    check_writable(argument, folder, folder, names)
    for name in names:
        check_not_read(argument, folder / name, **read)


def check_new(argument: str, path: Path, overwrite: bool) -> None:
    """Refuse to write over a file that is there, of another run, unless that is asked for."""
    if not overwrite and os.path.lexists(path):
        raise OutputError(
            "is there already",
            argument=argument,
            seen=path,
            advice="give another name, or `overwrite` to replace it",
        )


def check_writable(argument: str, path: Path, folder: Path, names: Sequence[str]) -> None:
    """Make a folder, and refuse one in which files of these names cannot be written."""
    from gatescope.storage.atomic import check_folder

    if os.path.exists(folder) and not os.path.isdir(folder):
        raise OutputError(
            f"cannot be written: {str(folder)!r} is a file, not a folder",
            argument=argument,
            seen=path,
            advice="choose another name",
        )
    check_folder(folder, names)
