"""SIGTERM and SIGHUP, which end the command line as Ctrl-C does: what can be resumed is saved first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SAVING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Interrupt:
    """A handler that interrupts as Ctrl-C does; `training.interrupts` may defer it."""

    def __init__(self) -> None:
        self.came: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.interrupt_asked(number)
        raise KeyboardInterrupt

    def interrupt_asked(self, number: int) -> None:
        """Remember which signal it was."""
        self.came = number


_interrupt = _Interrupt()


@contextmanager
def saving_signals() -> Iterator[None]:
    """Let these signals interrupt what is done inside; one that is ignored, as by nohup, stays ignored."""
    before = {}
    for number in _SAVING:
        if signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted_by(default: int) -> int:
    """Return the exit status that a shell gives to the signal that came; `default` if none of these did."""
    return default if _interrupt.came is None else 128 + _interrupt.came
