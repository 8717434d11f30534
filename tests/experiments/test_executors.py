"""Who does a piece of work again when its worker dies, with executors that are made up."""

import os
import signal
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from concurrent.futures.process import BrokenProcessPool

import pytest
from helpers.sweep_points import process

from gatescope.errors import DtypeError, MissingPackageError, ValueRangeError
from gatescope.experiments.executors import LOST, Processes, check_executor, each, opened


class KilledWorker(Exception):
    """Is called as that of Dask."""


class Scripted(Executor):
    """Ends each piece at once as its list says, from one try to the next."""

    def __init__(self, **ends):
        self.ends, self.calls, self.names = ends, [], set()

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        _, item, name = args
        self.names.add(name)
        self.calls.append(item)
        ends = self.ends.get(item, [])
        end = ends.pop(0) if ends else None
        if end is None:
            future.set_result(fn(*args))
        else:
            future.set_exception(end)
        return future


def outcomes(executor, items="abc"):
    return dict(each(str.upper, items, executor))


def test_what_was_lost_is_done_again_at_the_end_and_alone():
    executor = Scripted(a=[KilledWorker()])
    assert outcomes(executor) == {0: "A", 1: "B", 2: "C"}
    assert executor.calls == ["a", "b", "c", "a"]
    assert len(executor.names) == 4  # Dask remembers how a call ended that was made before


def test_what_kills_its_worker_twice_is_passed_over():
    executor = Scripted(b=[KilledWorker(), KilledWorker()], c=[KilledWorker()])
    assert outcomes(executor) == {0: "A", 1: LOST, 2: "C"}
    assert executor.calls == ["a", "b", "c", "b", "c"]


@pytest.mark.parametrize(
    ("end", "argument", "text"),
    [
        (BrokenExecutor("gone"), "executor", "cannot go on (BrokenExecutor: gone); leave it out"),
        (BrokenProcessPool("gone"), "executor", "cannot go on"),
        (CancelledError(), "executor", "cannot go on"),
        (ModuleNotFoundError("no study"), "function", "they need the module that it is in"),
    ],
)
def test_an_executor_that_cannot_go_on_ends_the_sweep(end, argument, text):
    with pytest.raises(ValueRangeError) as caught:
        outcomes(Scripted(b=[end]))
    assert caught.value.argument == argument
    assert text in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), MissingPackageError("no h5py")])
def test_what_the_work_raises_is_raised(error):
    with pytest.raises(type(error)) as caught:
        outcomes(Scripted(b=[error]))
    assert caught.value is error


def test_an_executor_that_is_shut_down_is_named():
    class Ended(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise RuntimeError("cannot schedule new futures after shutdown")

    with pytest.raises(ValueRangeError, match=r"executor cannot go on .*after shutdown"):
        outcomes(Ended())


def test_processes_get_as_many_as_they_are_and_those_that_wait_are_called_off():
    class Waiting(Processes):
        def prepare(self, work):
            self.futures = []

        def submit(self, fn, /, *args, **kwargs):
            self.futures.append(Future())
            if len(self.futures) == 2:
                self.futures[0].set_result("A")
            return self.futures[-1]

    executor = Waiting(2)
    steps = each(str.upper, "abcdef", executor)
    assert next(steps) == (0, "A")
    assert len(executor.futures) == 2
    steps.close()
    assert executor.futures[1].cancelled()


@pytest.mark.parametrize(
    ("executor", "workers", "error", "text"),
    [
        (3, None, DtypeError, "executor is an int; give one of concurrent.futures"),
        ("localhost", None, ValueRangeError, "executor='localhost' is no address"),
        (Scripted(), 2, ValueRangeError, "workers=2 has no effect with `executor`"),
        (None, 0, ValueRangeError, "workers=0 must be a whole number from 1 to"),
    ],
)
def test_what_is_no_executor(executor, workers, error, text):
    with pytest.raises(error) as caught:
        check_executor(executor, workers)
    assert text in str(caught.value)


def test_processes_serve_one_study_after_another_and_are_replaced_when_they_die():
    with Processes(1) as pool:
        first = dict(each(process, [0], pool))
        assert dict(each(process, [0], pool)) == first
        os.kill(first[0], signal.SIGTERM)
        assert dict(each(process, [0], pool)) != first


def test_work_that_cannot_be_sent():
    with pytest.raises(DtypeError, match=r"cannot be sent to another process .* at the top of a module"):
        next(each(lambda item: item, [0], Processes(1)))


def test_without_dask_an_address_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingPackageError, match=r'pip install "gatescope\[cluster\]"'):
        opened("tcp://127.0.0.1:1").__enter__()
