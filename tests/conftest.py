"""What holds for all tests: Ctrl-C arrives, workers take tests from each other, garbage is collected seldom."""

import gc
import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    """Let Ctrl-C, which tests raise, arrive: a shell without job control starts background programs deaf to it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """Give each worker a stretch of tests, which share kernels and fixtures, and let it take from another's end."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.option.dist == "load" else None


def pytest_collection_finish():
    """Take what has been imported out of the garbage collector's sight: compiling sets it off all the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
