"""Files that appear whole or not at all: written beside their final name and renamed."""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gatescope.checks.numbers import check_type
from gatescope.errors import FileFormatError, GatescopeError, OutputError

if sys.platform != "win32":
    import fcntl


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the name `path` only when the block ends without an error.

    A link is followed, and a file that is replaced keeps its permissions.  Should the process be killed,
    the old file is still there whole; a hidden ``.partial`` file may stay beside it.  The next write to
    `path` from the same host removes it (not on Windows, nor where the file system has no locks).

    Raises
    ------
    OutputError
        If the folder does not exist or cannot be written, or `path` is a folder or a device.
    """
    target = writable(path)
    try:
        handle, name, lock = _new_partial(target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # the bytes reach the disk before the name does
        os.chmod(name, stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, GatescopeError):
            raise _cannot_write(path, error) from error
        raise
    finally:
        if lock is not None:
            os.close(lock)
    _remove_stale(target)


def _prefix(target: Path) -> str:
    """Return how this host's partial files of this target begin: other hosts may not see its locks."""
    whole = hashlib.sha256(os.fsencode(f"{platform.node()}\0{target.name}")).hexdigest()
    return f".{target.name[:40]}.{whole[:12]}."  # the name itself might leave no room for what mkstemp adds


def _new_partial(target: Path) -> tuple[int, str, int | None]:
    """Make a partial file; return its handle, its name, and a second handle that keeps it locked until it is closed.

    The lock ends with the process, however that ends, so it shows who still writes.
    """
    while True:
        handle, name = tempfile.mkstemp(prefix=_prefix(target), suffix=".partial", dir=target.parent)
        if sys.platform == "win32":
            return handle, name, None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                return handle, name, os.dup(handle)
        except BlockingIOError:
            pass
        except OSError:  # a file system without locks, where nothing is removed either
            return handle, name, None
        os.close(handle)  # another process took it for stale before it was locked, and removes it


def _remove_stale(target: Path) -> None:
    """Remove partial files of processes that were killed while they wrote to `target`."""
    if sys.platform == "win32":
        return
    prefix = _prefix(target)
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if not (entry.name.startswith(prefix) and entry.name.endswith(".partial")):
                continue
            with suppress(OSError):  # still locked, of another user, or gone
                if entry.is_file(follow_symlinks=False):
                    with open(entry.path, "r+b") as stream:
                        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(entry.path)


def writable(path: str | os.PathLike[str], argument: str | None = None) -> Path:
    """Return the file behind `path`, links followed, if it may be replaced.

    Raises
    ------
    OutputError
        If it may not; `argument` is the name of the path.
    """
    try:
        _check_text(path)
        target = Path(os.path.realpath(path))
        mode = target.stat().st_mode if target.exists() else None
    except (OSError, ValueError, TypeError) as error:  # ValueError: a null byte in the name
        raise _cannot_write(path, error, argument=argument) from error
    if mode is None:
        return target
    if stat.S_ISDIR(mode):
        raise _cannot_write(path, "it is a folder", "give the name of a file in it", argument)
    if not stat.S_ISREG(mode):  # renaming over /dev/null would replace the device itself
        raise _cannot_write(path, "it is not a regular file", "give another name", argument)
    if not os.access(target, os.W_OK):
        raise _cannot_write(path, "the file is read-only", "give another name", argument)
    return target


def _cannot_write(
    path: object,
    reason: Exception | str,
    advice: str = "choose a folder that exists, can be written and has space",
    argument: str | None = None,
) -> OutputError:
    return OutputError(f"cannot be written: {_text(reason)}", argument=argument, seen=path, advice=advice)


def _text(reason: Exception | str) -> str:
    """Return what went wrong, without the number and the path that an OSError adds."""
    return str(getattr(reason, "strerror", None) or reason)


def as_path(value: str | bytes | os.PathLike[Any], argument: str = "path") -> Path:
    """Return the name of a file or folder as a `Path`, which need not be one that the system takes.

    Raises
    ------
    DtypeError
        If it is no name at all.

    Examples
    --------
    >>> from gatescope.storage.atomic import as_path
    >>> as_path(b"out/run.npz").name
    'run.npz'
    """
    check_type(argument, value, str, bytes, os.PathLike, advice="give a name, as a text or a pathlib.Path")
    return Path(os.fsdecode(value))


def _check_text(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for a name that is no text: it could be in no summary, no page and no message."""
    name = os.fspath(path)
    try:
        name.encode() if isinstance(name, str) else name.decode()
    except UnicodeError as error:
        raise ValueError("its name is not UTF-8") from error


def _umask() -> int:
    """Return the mask of a new file's permissions; mkstemp alone would make it private."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o022


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], int]]:
    """Open a regular file to read; yield the stream and the file's size in bytes.

    Raises
    ------
    FileFormatError
        If it is missing, a folder, a pipe or a device, or cannot be read.
    """

    def cannot_read(reason: Exception | str, advice: str) -> FileFormatError:
        return FileFormatError(f"cannot be read: {_text(reason)}", seen=path, advice=advice)

    try:
        _check_text(path)
        mode = os.stat(os.fspath(path)).st_mode
        if stat.S_ISDIR(mode):
            raise cannot_read("it is a folder", "give the name of a file in it")
        if not stat.S_ISREG(mode):  # a pipe would block, a device may never end
            raise cannot_read("it is not a regular file", "save it to one first")
        stream = open(path, "rb")  # noqa: SIM115 - closed below
    except GatescopeError:
        raise
    except FileNotFoundError as error:
        raise cannot_read("there is no such file", "check the name") from error
    except (OSError, ValueError, TypeError) as error:  # ValueError: a null byte in the name
        raise cannot_read(error, "check the name and the permissions") from error
    with stream:
        try:
            yield stream, os.fstat(stream.fileno()).st_size
        except OSError as error:
            if isinstance(error, GatescopeError):
                raise
            raise cannot_read(error, "check the disk") from error


def check_folder(folder: str | os.PathLike[str], names: Iterable[str] = ()) -> Path:
    """Make the folder, and fail early if files cannot be written into it.

    Raises
    ------
    OutputError
        If it cannot be made or written, or one of `names` in it cannot be replaced: a folder, a device, a file that is
        read-only.
    """
    path = as_path(folder, "folder")
    try:
        _check_text(path)
        for parent in (path, *{(path / name).parent for name in names}):
            parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent):
                pass
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise _cannot_write(folder, error, "choose a folder that can be written") from error
    for name in names:
        if os.path.isdir(path / name):
            raise _cannot_write(path / name, "it is a folder", "move it away")
        writable(path / name)
    return path


def same_file(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Return whether two names are of one file, by whatever links and spelling; it need not be there."""
    try:
        if os.path.exists(path) and os.path.exists(other):
            return os.path.samefile(path, other)
        return os.path.realpath(path) == os.path.realpath(other)
    except (OSError, ValueError):  # names that no file can have
        return os.fspath(path) == os.fspath(other)
