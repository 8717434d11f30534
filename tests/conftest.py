"""Fewer compiled kernels, and Ctrl-C.

A register tile's rows depend on how many sequences there are, so that every batch size in
the tests would be a kernel of its own, seconds each.  No bit depends on them.  The slow tests take them as they are.

And lets Ctrl-C through, which tests raise: a shell without job control starts what it sends to the background with that
signal ignored.
"""

import signal

import pytest

from gatescope.kernels.cpu import layout


@pytest.fixture(autouse=True, scope="session")
def few_tiles(request):
    if request.config.option.markexpr != "not slow":
        yield
        return
    real = layout._rows
    layout._rows = lambda most, rows: min(2, real(most, rows))
    yield
    layout._rows = real


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)
