"""Ctrl-C, which tests raise, arrives: a shell without job control starts what it sends to the background without it."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)
