"""Files are written whole or not at all, and what killed writers left is removed."""

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gatescope.errors import OutputError
from gatescope.storage import atomic
from gatescope.storage.atomic import atomic_write, check_folder, same_file


def test_an_error_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as stream:
        stream.write(bytes([1 // (stream.write(b"new") - 3)]))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


WRITE_AND = (
    "import os, signal, sys\n"
    "from gatescope.storage.npz import atomic_write\n"
    "with atomic_write(sys.argv[1]) as stream:\n"
    "    stream.write(b'new' * 100_000)\n"
    "    stream.flush()\n"
)


def writer(path, then):
    """Return a process that does something in the middle of writing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", WRITE_AND + then, str(path)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def partials(path):
    return [file for file in path.parent.iterdir() if file.suffix == ".partial"]


def overwrite(path):
    with atomic_write(path) as stream:
        stream.write(b"newest")
    assert path.read_bytes() == b"newest"


@pytest.mark.skipif(os.name != "posix", reason="kills by signal, and locks with flock")
def test_a_kill_in_the_middle_leaves_the_old_file_and_the_next_write_removes_the_torn_one(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with writer(path, "    os.kill(os.getpid(), signal.SIGKILL)\n") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(partials(path)) == 1
    overwrite(tmp_path / "a.bi")  # another target, whose name begins as this one's does
    with pytest.raises(ZeroDivisionError), atomic_write(path):
        _ = 1 // 0
    assert len(partials(path)) == 1
    overwrite(path)
    assert not partials(path)


@pytest.mark.skipif(os.name != "posix", reason="locks with flock")
def test_a_partial_file_that_is_still_written_stays(tmp_path):
    path = tmp_path / "a.bin"
    with writer(path, "    print(flush=True)\n    sys.stdin.readline()\n") as process:
        process.stdout.readline()  # it is in the middle
        with atomic_write(path) as stream:  # and so is this process, a second time below
            overwrite(path)
            assert len(partials(path)) == 2
            stream.write(b"outer")
        assert path.read_bytes() == b"outer"
        process.communicate(b"\n", 60)
    assert process.returncode == 0
    assert path.read_bytes() == b"new" * 100_000
    assert not partials(path)


@pytest.mark.skipif(os.name != "posix", reason="locks with flock")
def test_only_partial_files_of_this_host_and_target_are_removed(tmp_path, monkeypatch):
    path, torn = tmp_path / "a.bin", []
    for host, name in (("here", "a.bin"), ("there", "a.bin"), ("here", "b.bin")):
        monkeypatch.setattr(atomic.platform, "node", lambda host=host: host)
        torn.append(tmp_path / f"{atomic._prefix(tmp_path / name)}xyz.partial")
        torn[-1].write_bytes(b"torn")
    monkeypatch.setattr(atomic.platform, "node", lambda: "here")
    pipe = torn[0].with_name(f"{torn[0].stem}.pipe.partial")
    os.mkfifo(pipe)  # opening it would block for ever
    overwrite(path)
    assert [file.exists() for file in (*torn, pipe)] == [False, True, True, True]


@pytest.mark.skipif(os.name != "posix", reason="locks with flock")
def test_a_file_system_without_locks_is_written_and_nothing_removed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    torn = tmp_path / f"{atomic._prefix(tmp_path / 'a.bin')}xyz.partial"
    torn.write_bytes(b"torn")
    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    overwrite(tmp_path / "a.bin")
    assert torn.exists()


@pytest.mark.skipif(os.name != "posix", reason="locks with flock")
def test_a_partial_file_that_another_process_removes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    path, made, real = tmp_path / "a.bin", [], tempfile.mkstemp

    def raced(**keywords):
        handle, name = real(**keywords)
        made.append(name)
        if len(made) == 1:
            os.unlink(name)
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", raced)
    overwrite(path)
    assert len(made) == 2
    assert not partials(path)


def test_a_replaced_file_keeps_its_permissions_and_its_link(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link = tmp_path / "link.bin"
    link.symlink_to(path)
    with atomic_write(link) as stream:
        stream.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_write(tmp_path / "ours") as stream:
        stream.write(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_long_names_are_written(tmp_path):
    path = tmp_path / ("x" * 250)
    with atomic_write(path) as stream:
        stream.write(b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/a.bin", "No such file or directory; choose a folder that exists"),
        ("file/a.bin", "Not a directory; choose a folder that exists"),
        ("folder", "it is a folder; give the name of a file in it"),
        ("null\0byte", "null"),
        ("x" * 300, "File name too long"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path, name, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=message), atomic_write(tmp_path / name) as stream:
        stream.write(b"x")


def test_a_device_is_not_replaced():
    with pytest.raises(OutputError, match=r"/dev/null.*not a regular file"), atomic_write("/dev/null"):
        pass
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_folder_without_permission(tmp_path, monkeypatch):
    # chmod does not stop root, who runs the tests in some containers.
    def refuse(**_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with (
        pytest.raises(OutputError, match=r"a\.bin.*Permission denied; choose a folder"),
        atomic_write(tmp_path / "a.bin"),
    ):
        pass


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"No space left.*has space"), atomic_write(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_bytes() == b"old"


def test_a_folder_with_a_file_that_cannot_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(b"old")
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != "a.npz"
    )  # root may write anything
    with pytest.raises(OutputError, match=r"a\.npz' cannot be written: the file is read-only"):
        check_folder(tmp_path, ["b.npz", "a.npz"])
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(OutputError, match=r"pipe\.npz' cannot be written: it is not a regular file"):
        check_folder(tmp_path, ["pipe.npz"])


def test_one_file_by_many_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "gone").symlink_to("new")
    os.link(tmp_path / "a", tmp_path / "hard")
    for name in ("a", "./a", tmp_path / "a", "link", "hard", f"../{tmp_path.name}/a"):
        assert same_file("a", name)
    assert same_file("gone", tmp_path / "new")
    assert not same_file("a", "b")
    assert not same_file("a\0", "a")
