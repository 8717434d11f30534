"""A forked child computes, whatever other threads of its parent were in the middle of."""

import os
import signal
import sys
import threading

import numpy as np
import pytest
from helpers.subprocess_python import python
from numba.core.compiler_lock import global_compiler_lock

import gatescope as gs
from gatescope.kernels import forks
from gatescope.kernels.cpu import aligned
from gatescope.kernels.cpu.threads import Workers
from gatescope.recurrence.input_stream import open_series

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]
SECONDS = 10


def in_child(work):
    """Return the exit status of a forked child that does `work`; one that hangs ends by a signal."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def while_locked(lock, work):
    """Return what `work` does while another thread has a lock."""
    locked, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            locked.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()
    try:
        return work()
    finally:
        done.set()
        thread.join()


def test_no_lock_of_the_pool_survives():
    status = while_locked(
        aligned._pool._lock, lambda: in_child(lambda: aligned.aligned_empty(1 << 20, "float64"))
    )
    assert status == 0


def test_no_lock_of_a_spooled_series_survives():
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
    with open_series(iter(np.ones((4, 1))), params) as series:
        assert while_locked(series._lock, lambda: in_child(lambda: series.read(0, 4))) == 0


def test_threads_that_stayed_in_the_parent_are_not_waited_for():
    workers = Workers(2)
    workers.each(lambda _: None, 4)
    try:
        assert in_child(lambda: workers.each(lambda _: None, 4)) == 0
    finally:
        workers.close()


def test_a_fork_waits_until_nothing_compiles():
    order = []

    def hold():
        with global_compiler_lock:
            locked.set()
            go.wait(SECONDS)
            order.append("compiled")

    locked, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()
    threading.Timer(0.05, go.set).start()
    status = in_child(lambda: global_compiler_lock.acquire())
    order.append("forked")
    thread.join()
    assert status == 0
    assert order == ["compiled", "forked"]


def test_what_is_gone_is_not_renewed():
    before = len(forks._RENEWED)
    pool = aligned._Pool(1)
    assert len(forks._RENEWED) == before + 1
    del pool
    assert len(forks._RENEWED) == before


STRESS = """
import os, signal, threading, time
from gatescope.kernels.cpu import aligned

def work():
    size = 0
    while not stop:
        size = (size + 1) % 200
        aligned.aligned_empty((1 << 22) + 64 * size, "uint8")

stop = False
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
time.sleep(0.1)
hung = 0
for _ in range(40):
    child = os.fork()
    if child == 0:
        signal.alarm(2)
        aligned.aligned_empty(1 << 23, "uint8")
        os._exit(0)
    hung += os.waitpid(child, 0)[1] != 0
stop = True
for thread in threads:
    thread.join()
print(hung)
"""


@pytest.mark.slow
def test_forks_under_stress():
    version = {"PYTHONWARNINGS": "ignore"} if sys.version_info >= (3, 12) else {}
    assert python(STRESS, **version) == "0"
