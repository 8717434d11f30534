"""A damaged disk cache costs time, and nothing else."""

import os
import shutil
import subprocess
import sys
import warnings

import pytest
from helpers.subprocess_python import python

from gatescope.kernels.cpu.loops import kernel_cache
from gatescope.kernels.cpu.loops.compiling import compiled

LOOP = "def double(x):\n    return 2 * x\n"


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that returns a fresh loop each time, as a process that begins does."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_cache, "_noted", False)
    file = tmp_path / "loops.py"
    file.write_text(LOOP)

    def fresh():
        space = {"__name__": "loops", "__file__": str(file)}
        exec(compile(LOOP, str(file), "exec"), space)
        return compiled(space["double"])

    return fresh


def files(tmp_path, suffix):
    return list((tmp_path / "cache").rglob(f"*.{suffix}"))


def test_a_loop_is_compiled_once(make, tmp_path):
    first = make()
    assert first(2) == 4
    assert len(files(tmp_path, "nbi")) == len(files(tmp_path, "nbc")) == 1
    again = make()
    assert again(2) == 4
    assert sum(again.stats.cache_hits.values()) == 1


# It takes a second to compile, and says how often it was found in the cache.
SLOW_LOOP = """
import pathlib, time
from numba.extending import overload
from gatescope.kernels.cpu.loops.compiling import compiled

def doubled(x):
    return 2 * x

@overload(doubled)
def _doubled(x):
    time.sleep(1)
    return doubled

@compiled
def double(x):
    return doubled(x)

print("ready", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.01)
assert double(2) == 4
print(sum(double.stats.cache_hits.values()))
"""


@pytest.mark.skipif(kernel_cache.fcntl is None, reason="locks parts of files, which Windows does not")
def test_of_two_processes_that_need_it_one_compiles_it(tmp_path):
    """The other waits, and finds it stored."""
    (tmp_path / "slow_loop.py").write_text(SLOW_LOOP)
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", "import slow_loop"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for one in both:
        assert one.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    assert sorted(one.communicate(timeout=60)[0] for one in both) == ["0\n", "1\n"]


@pytest.mark.skipif(kernel_cache.fcntl is None, reason="locks parts of files, which Windows does not")
def test_a_turn_within_another_does_not_end_it(tmp_path):
    """A closed loop's is around those of the kernels that it calls; a file that is closed loses all its locks."""
    take = "import fcntl; fcntl.lockf(open('lock', 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1)"

    def is_free():
        command = [sys.executable, "-S", "-c", take]
        return not subprocess.run(command, cwd=tmp_path, stderr=subprocess.DEVNULL, check=False).returncode

    with kernel_cache._turn(tmp_path / "lock", 1):
        with kernel_cache._turn(tmp_path / "lock", 2):
            pass
        assert not is_free()
    assert is_free()


def torn(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


def noise(path):
    path.write_bytes(b"\x80\x04\x95" + bytes(range(200)))


def another(path):
    import pickle

    path.write_bytes(pickle.dumps([1, 2, 3]))


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [torn, empty, noise, another, folder], ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_skipped_and_replaced_with_a_note(make, tmp_path, damage, suffix):
    make()(2)
    (path,) = files(tmp_path, suffix)
    damage(path)
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        assert make()(2) == 4
        assert make()(2) == 4
    quiet = damage is another and suffix == "nbi"  # counts as of another version of Numba
    notes = [str(one.message) for one in noted if "compiled kernels" in str(one.message)]
    assert len(notes) == (0 if quiet or (damage is folder and suffix == "nbc") else 1) or damage is folder
    if damage is folder:
        shutil.rmtree(path)
        make()(2)
    again = make()
    assert again(2) == 4
    assert sum(again.stats.cache_hits.values()) == 1


def test_where_nothing_can_be_stored_loops_are_compiled_all_the_same(make, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._open_for_write", full)
    with pytest.warns(RuntimeWarning, match=r"cannot be used \(.*No space left on device\)"):
        assert make()(2) == 4
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    monkeypatch.setattr(kernel_cache, "_noted", False)
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR"):
        loop = make()
    assert loop(2) == 4


def test_without_the_compiler_it_says_so():
    code = (
        "import os\nos.environ['NUMBA_DISABLE_JIT'] = '1'\nimport numpy as np, gatescope as gs\n"
        "params = gs.init('lstm', input_size=1, hidden_size=5, seed=0)\n"
        "try:\n    gs.run(params, np.ones((3, 1)))\nexcept gs.DeviceError as error:\n    print(error)"
    )
    said = python(code)
    assert said.startswith("NUMBA_DISABLE_JIT is set, and the loops of gatescope run only compiled; unset it")
