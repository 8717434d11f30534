"""Processes beside a command's own: when they are asked to compile, and that this is all that is needed."""

import multiprocessing
import subprocess
import sys
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from numba import njit

from gatescope.checks.numbers import check_threads
from gatescope.cli import beside
from gatescope.errors import ValueRangeError

# Calls as `gatescope compare` makes them, and then all steps of the same cells: is anything compiled a second time?
_COMPILING = """
import numpy as np, gatescope as gs
from numba.core import event
from gatescope.cli.compare import _that_compile

class Counter(event.Listener):
    count = 0
    def on_start(self, _): self.count += 1
    def on_end(self, _): pass

counter = Counter()
event.register("numba:compile", counter)
models = {name: gs.init(name, input_size=2, hidden_size=6, seed=0) for name in ("rnn", "gru", "lstm")}
values = np.random.default_rng(0).standard_normal((3000, 3, 2))
options = {"lengths": np.array([3000, 2000, 10]), "seed": 0, "device": "cpu", "threads": 2}
for call in _that_compile(models, dict.fromkeys(models, values), options):
    call()
print(counter.count)
gs.compare({name: models[name] for name in ("gru", "lstm")}, values, **options)
print(counter.count)
"""


class Processes:
    """Workers that note what they are asked for."""

    workers = 2

    def __init__(self, error=None):
        self.asked, self.error = [], error

    def prepare(self, work):
        if self.error:
            raise self.error

    def submit(self, function, call):
        self.asked.append((function, call))
        done = Future()
        done.set_result(None)
        return done


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def compiles():
    njit(lambda x: x + 1)(1)


def asked_for(others, processes, pool):
    pool.submit(int).result()  # of one thread: all that was submitted before is done
    imported = [(beside._imported, "json")] * processes.workers
    assert processes.asked[: len(imported)] == imported
    return processes.asked[len(imported) :]


def test_nothing_is_asked_for_where_nothing_is_compiled(pool):
    processes = Processes()
    others = beside.Beside("json", processes, pool)
    with others.compiling([str, int]):
        pass
    compiles()  # after the block
    assert asked_for(others, processes, pool) == []


def test_the_first_compilation_asks_for_all_calls_once(pool):
    processes = Processes()
    others = beside.Beside("json", processes, pool)
    with others.compiling([str, int]):
        compiles()
        compiles()
    assert asked_for(others, processes, pool) == [(beside._called, str), (beside._called, int)]
    assert others.executor() is processes


@pytest.mark.parametrize(
    "error",
    [
        ValueRangeError("cannot begin", argument="function", seen=None),
        OSError(38, "no semaphores here"),
        NotImplementedError("nor here"),
    ],
)
def test_where_no_process_can_begin_this_one_does_all(error, pool):
    processes = Processes(error)
    others = beside.Beside("json", processes, pool)
    with others.compiling([str]):
        compiles()
    others.wait()
    assert others.executor() is None
    assert processes.asked == []


def test_times_are_taken_when_the_others_have_nothing_to_do(pool):
    processes = Processes()
    others = beside.Beside("json", processes, pool)
    unfinished = Future()
    others._work.append(unfinished)
    with ThreadPoolExecutor(1) as another:
        waiting = another.submit(others.wait)
        time.sleep(0.05)
        assert not waiting.done()
        unfinished.set_result(None)
        waiting.result(timeout=10)


def test_one_thread_is_alone(monkeypatch):
    monkeypatch.setattr(beside, "check_threads", check_threads)
    with beside.beside("json", 1) as others:
        assert isinstance(others, beside.Alone)
        assert others.executor() is None
        others.wait()
        with others.compiling([str]):
            compiles()


def test_what_a_call_warns_of_is_not_said_twice():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        beside._called(lambda: warnings.warn("of the same inputs", UserWarning, stacklevel=1))


@pytest.mark.slow  # compiles six kernels
def test_few_steps_need_all_kernels_that_many_need(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", _COMPILING], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 0
    assert after == before


@pytest.mark.slow  # begins processes
@pytest.mark.parametrize("wait", [True, False], ids=["begun", "beginning"])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueRangeError("of the block")])
def test_processes_end_with_the_block(error, wait, monkeypatch):
    monkeypatch.setattr(beside, "check_threads", check_threads)
    before = set(multiprocessing.active_children())
    begun = time.monotonic()
    try:
        with beside.beside("json", 2) as others:
            if wait:
                assert others.executor().submit(int, "7").result() == 7
                assert len(set(multiprocessing.active_children()) - before) == 1
            if error is not None:
                raise error
    except (KeyboardInterrupt, ValueRangeError):
        pass
    while set(multiprocessing.active_children()) - before and time.monotonic() < begun + 60:
        time.sleep(0.01)
    assert not set(multiprocessing.active_children()) - before
