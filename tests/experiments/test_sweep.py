"""Points of a grid: each is computed once, stored, and done again where its worker was lost."""

import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.sweep_points import deadly, dies_once, endless, interrupted, odd, picky, rate, wave

import gatescope as gs
from gatescope.errors import DtypeError, FileFormatError, GatescopeError, OutputError, ValueRangeError

GRID = {"gain": [0.5, 1.0, 2.0], "seed": range(4)}


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as executor:
        yield executor


def lines(path):
    return path.read_text().splitlines()


def test_the_table_is_what_a_loop_computes_and_a_second_call_does_no_work(pool, tmp_path):
    log = tmp_path / "log"
    sweep = functools.partial(gs.sweep, functools.partial(wave, log=str(log)), folder=tmp_path / "points")
    result = sweep(GRID, executor=pool)
    points = [(gain, seed) for gain in GRID["gain"] for seed in GRID["seed"]]
    assert [tuple(point.values()) for point in result.points] == points
    for name in ("level", "largest", "first"):
        np.testing.assert_array_equal(result.column(name), [wave(*point)[name] for point in points])
    assert result.summary() == "helpers.sweep_points.wave: 12 points, 12 done"
    assert (result.seconds > 0).all()
    assert len(lines(log)) == 12
    assert sweep(GRID) == result  # no executor is opened where there is nothing to do
    more = sweep([*result.points, {"gain": 3.0, "seed": 0}], executor=pool)
    assert more.points[:12] == result.points
    assert more.values[:12] == result.values
    assert len(lines(log)) == 13
    assert len([*(tmp_path / "points").iterdir()]) == 13


def test_a_function_that_was_changed_is_another_one(pool, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    for k, body in enumerate(("x", "x", "2 * x")):
        folder = tmp_path / str(k)
        folder.mkdir()
        (folder / "study.py").write_text(f"def loss(x):\n    return {body}\n")
        space = {"__name__": "study"}
        exec(compile((folder / "study.py").read_text(), str(folder / "study.py"), "exec"), space)
        result = gs.sweep(space["loss"], {"x": [3]}, executor=pool, folder=tmp_path / "points")
        seen.append((result.column("value")[0], len([*(tmp_path / "points").iterdir()])))
    assert seen == [(3, 1), (3, 1), (6, 2)]
    for keyword, count in ((1, 3), (2, 4), (1, 4)):
        partial = functools.partial(space["loss"], **{"x": keyword})
        gs.sweep(partial, [{}], executor=pool, folder=tmp_path / "points")
        assert len([*(tmp_path / "points").iterdir()]) == count


def test_a_point_that_raises_is_recorded_with_its_error(pool, tmp_path):
    log = tmp_path / "log"
    sweep = functools.partial(
        gs.sweep,
        functools.partial(picky, log=str(log)),
        {"x": [0, 1, 2]},
        executor=pool,
        folder=tmp_path / "points",
    )
    result = sweep()
    assert result.status == ("done", "raised", "done")
    assert result.messages[1].startswith(r"ValueError: no 1 \x1b[31m!!!")
    assert len(result.messages[1]) < 300
    np.testing.assert_array_equal(result.column("value"), [0, np.nan, 2])
    stored = [json.loads(path.read_text()) for path in (tmp_path / "points").iterdir()]
    assert (
        'raise ValueError("no 1'
        in next(entry for entry in stored if entry["status"] == "raised")["traceback"]
    )
    assert sweep() == result
    assert len(lines(log)) == 3
    assert sweep(retry=True) == result
    assert sorted(lines(log)) == ["0", "1", "1", "2"]


def test_what_may_be_returned(pool, tmp_path):
    result = gs.sweep(odd, {"x": range(7)}, executor=pool, folder=tmp_path)
    assert result.status == ("done", "raised", "raised", "done", "raised", "done", "done")
    assert result.values[0] == {"value": [1.0, 1.0, 1.0]}
    assert [result.values[k]["value"] for k in (3, 5, 6)] == [None, True, "text"]
    assert "value['value'] is an object, which is not saved" in result.messages[1]
    assert result.messages[2] == "ValueError: returned 'x', which is the name of an argument"
    assert "has the key 1, which is not saved" in result.messages[4]


def test_parts_are_the_whole(pool, tmp_path):
    whole = gs.sweep(wave, GRID, executor=pool, folder=tmp_path / "whole")
    first = gs.sweep(wave, GRID, executor=pool, folder=tmp_path / "parts", part="1/3")
    assert first.status == ("done", "missing", "missing") * 4
    assert gs.sweep(wave, GRID, executor=pool, folder=tmp_path / "parts", part=" 3 / 3 ").status[2] == "done"
    assert gs.sweep(wave, GRID, executor=pool, folder=tmp_path / "parts", part="2/3") == whole
    assert gs.sweep(wave, GRID, executor=pool, folder=tmp_path / "parts", part="99/100") == whole


def test_ctrl_c_leaves_a_folder_that_continues(pool, tmp_path):
    log = tmp_path / "log"
    function = functools.partial(interrupted, log=str(log))
    with ThreadPoolExecutor(1) as one, pytest.raises(KeyboardInterrupt) as caught:
        gs.sweep(function, {"x": range(5)}, executor=one, folder=tmp_path / "points")
    assert "2 of 5 points are in" in caught.value.__notes__[0]
    result = gs.sweep(function, {"x": range(5)}, executor=pool, folder=tmp_path / "points")
    np.testing.assert_array_equal(result.column("value"), range(5))
    assert lines(log).count("0") == lines(log).count("1") == 1


def test_progress_is_shown_on_a_terminal(pool, tmp_path, capsys, monkeypatch):
    gs.sweep(picky, {"x": [0]}, executor=pool, folder=tmp_path, progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    gs.sweep(picky, {"x": [2, 3]}, executor=pool, folder=tmp_path, progress=True)
    assert "helpers.sweep_points.picky: 100%" in capsys.readouterr().err


def times(factor):
    """Return one of several functions of the same source."""

    def product(gain, seed):
        return factor * gain

    return product


class Callable:
    def __call__(self, gain, seed):
        return 0


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"grid": {}}, ValueRangeError, "grid is empty; give values by argument"),
        ({"grid": []}, ValueRangeError, "grid has 0 points"),
        ({"grid": 3}, DtypeError, "grid is an int"),
        ({"grid": [3]}, DtypeError, "grid is a list"),
        ({"grid": {"gain": [], "seed": [0]}}, ValueRangeError, "grid['gain'] is empty"),
        ({"grid": {"gain": 0.5, "seed": [0]}}, DtypeError, "grid['gain'] is a float; give a list of values"),
        ({"grid": {"gain": "abc", "seed": [0]}}, DtypeError, "grid['gain'] is a str"),
        ({"grid": {"gain": [object()], "seed": [0]}}, DtypeError, "grid['gain'][0] is an object"),
        (
            {"grid": {"gain": [1], "seed": [0, 1, 0]}},
            ValueRangeError,
            "{'gain': 1, 'seed': 0} has a point twice",
        ),
        ({"grid": {"gain": [1], "seeds": [0]}}, DtypeError, "cannot be called with function(**point)"),
        ({"grid": {"gain": [1], 3: [0]}}, ValueRangeError, "grid=3 is named as an argument"),
        ({"grid": {"gain": range(1001), "seed": range(1001)}}, ValueRangeError, "1,002,001 points"),
        ({"function": 3}, DtypeError, "function is an int"),
        ({"function": Callable()}, DtypeError, "function is a Callable"),
        ({"function": Callable().__call__}, DtypeError, "function depends on values of its own"),
        ({"function": times(2.0)}, DtypeError, "function depends on values of its own"),
        (
            {"function": functools.partial(times(2.0), 1.0)},
            DtypeError,
            "function depends on values of its own",
        ),
        (
            {"function": lambda gain, seed: 0, "executor": None},
            DtypeError,
            "cannot be sent to another process",
        ),
        ({"part": "0/3"}, ValueRangeError, "part='0/3' is no part"),
        ({"part": "4/3"}, ValueRangeError, "the first is 1 (sbatch --array=1-8)"),
        ({"part": (1, 3)}, ValueRangeError, "part=(1, 3) is no part"),
        ({"workers": 2}, ValueRangeError, "workers=2 has no effect with `executor`"),
        ({"retry": "no"}, ValueRangeError, "retry='no' must be True or False"),
        ({"folder": __file__}, OutputError, "choose a folder"),
        ({"folder": 3}, DtypeError, "folder is an int"),
    ],
)
def test_what_is_refused(pool, tmp_path, changes, error, text):
    arguments = {"function": wave, "grid": GRID, "executor": pool, "folder": tmp_path / "points", **changes}
    with pytest.raises(error) as caught:
        gs.sweep(arguments.pop("function"), arguments.pop("grid"), **arguments)
    assert text in str(caught.value)
    assert not [*tmp_path.rglob("*.json")]


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{}",
        b"[3]",
        b'{"function": "helpers.sweep_points.picky"}',
        b"\xff",
        {"status": "well"},
        {"point": {"x": 3}},
        {"values": 3},
        {"seconds": "1"},
    ],
)
def test_a_damaged_file_is_named(pool, tmp_path, entry):
    gs.sweep(picky, {"x": [0]}, executor=pool, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    if isinstance(entry, dict):
        entry = json.dumps({**json.loads(file.read_text()), **entry}).encode()
    file.write_bytes(entry)
    with pytest.raises(FileFormatError, match=r"is damaged .*; delete it") as caught:
        gs.sweep(picky, {"x": [0]}, executor=pool, folder=tmp_path)
    assert file.name in str(caught.value)


def test_processes_give_the_bits_of_this_one(tmp_path):
    result = gs.sweep(wave, {"gain": [0.5], "seed": [1, 2]}, folder=tmp_path, workers=1)
    for name in ("level", "first"):
        np.testing.assert_array_equal(result.column(name), [wave(0.5, seed)[name] for seed in (1, 2)])


@pytest.mark.slow
def test_a_point_that_kills_its_workers_is_passed_over(tmp_path):
    log = tmp_path / "log"
    function = functools.partial(deadly, log=str(log))
    result = gs.sweep(function, {"x": range(6)}, folder=tmp_path / "points", workers=2)
    assert result.status == ("done", "done", "killed", "done", "done", "done")
    assert result.messages[2] == "killed the process it ran in, 2 times"
    assert lines(log).count("2") == 2
    assert gs.sweep(function, {"x": range(6)}, folder=tmp_path / "points") == result
    assert lines(log).count("2") == 2


def start(code, *arguments):
    """Start a program that sees what this one sees; a script, whose processes can be spawned."""
    script = Path(arguments[0]) / "script.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


PART = """
import sys
import gatescope as gs
from helpers.sweep_points import rate

if __name__ == "__main__":
    folder, part = sys.argv[1:]
    gs.sweep(rate, {"gain": [0.5, 1.5], "seed": [0, 1]}, folder=folder + "/points", part=part, workers=1)
"""


@pytest.mark.slow
def test_two_parts_in_two_processes_give_the_bits_of_one(tmp_path):
    parts = [start(PART, tmp_path, f"{k}/2") for k in (1, 2)]
    for part in parts:
        _, said = part.communicate(timeout=120)
        assert part.returncode == 0, said
    grid = {"gain": [0.5, 1.5], "seed": [0, 1]}
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "points").iterdir()}
    result = gs.sweep(rate, grid, folder=tmp_path / "points")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "points").iterdir()} == before
    expected = [rate(gain, seed) for gain in grid["gain"] for seed in grid["seed"]]
    np.testing.assert_array_equal(result.column("value"), expected)


STOPPED = """
import functools, sys
import gatescope as gs
from helpers.sweep_points import endless

if __name__ == "__main__":
    folder, log = sys.argv[1:]
    gs.sweep(functools.partial(endless, log=log), {"x": [0, 1, 2]}, folder=folder + "/points", workers=2)
"""
UNGUARDED = STOPPED.replace('if __name__ == "__main__":', "if True:")


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or not Path("/proc").exists(), reason="looks at processes of Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_it_its_processes_end_and_the_folder_continues(tmp_path, number):
    log = tmp_path / "log"
    process = start(STOPPED, tmp_path, log)
    until = time.monotonic() + 60
    while not (log.exists() and len(lines(log)) == 3):
        assert time.monotonic() < until
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert "1 of 3 points are in" in said
    workers = {int(line.split()[1]) for line in lines(log)}
    while any(map(alive, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)
    function = functools.partial(endless, log=str(log))
    with ThreadPoolExecutor(2) as pool:
        result = gs.sweep(function, {"x": [0, 1, 2]}, executor=pool, folder=tmp_path / "points")
    np.testing.assert_array_equal(result.column("value"), [0, 1, 2])
    assert [line.split()[0] for line in lines(log)].count("0") == 1


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(tmp_path):
    process = start(UNGUARDED, tmp_path, tmp_path / "log")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ends the processes it is sent to" in said
    assert not [*(tmp_path / "points").iterdir()]


@pytest.mark.slow
def test_a_real_scheduler_whose_workers_die(tmp_path):
    """Two workers on loopback: one is killed in the middle, and a point kills every worker it is given."""
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    log = tmp_path / "log"
    # The scheduler gives a point up with its first worker, not with the fourth, so that fewer are started again.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
        ) as cluster,
    ):
        function = functools.partial(dies_once, log=str(log))
        result = gs.sweep(
            function, {"x": range(6)}, executor=cluster.scheduler_address, folder=tmp_path / "points"
        )
        np.testing.assert_array_equal(result.column("value"), [math.sqrt(x) for x in range(6)])
        assert lines(log).count("2") == 2
        with distributed.Client(cluster, set_as_default=False) as client:
            killed = gs.sweep(
                deadly, {"x": [0, 2, 3]}, executor=client.get_executor(), folder=tmp_path / "points"
            )
        assert killed.status == ("done", "killed", "done")
    with pytest.raises(GatescopeError, match="is no Dask scheduler that answers"):
        gs.sweep(picky, {"x": [0]}, executor=cluster.scheduler_address, folder=tmp_path / "points")
