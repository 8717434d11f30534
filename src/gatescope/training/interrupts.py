"""Ctrl-C that waits until what is being changed in place is whole, and so do signals that are treated like it."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class DeferredInterrupt:
    """A block in which the first Ctrl-C only sets `asked`; a second one interrupts at once, as ever.

    So do other signals whose handler says that it raises KeyboardInterrupt (it has a method `interrupt_asked`, which is
    called with the signal's number).  Where a signal does not do that anyway, and in threads that no signal reaches,
    nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
                handler = signal.getsignal(number)
                if handler is signal.default_int_handler or hasattr(handler, "interrupt_asked"):
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        handler: Any = self._before.get(number)
        if hasattr(handler, "interrupt_asked"):
            handler.interrupt_asked(number)
        self._put_back()

    def _put_back(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
