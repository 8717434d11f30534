"""A watch over the recurrent layers of a live model while somebody's own loop trains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any

import numpy as np

from gatescope.checks.numbers import check_call, check_count, check_flag
from gatescope.datatypes.watch import WatchHistory
from gatescope.errors import shortened, warn_accuracy
from gatescope.integrations import torch_calls
from gatescope.integrations.budget import Budget
from gatescope.integrations.capture import capture
from gatescope.integrations.probe import LEAST, Probe, Reading
from gatescope.storage.provenance import provenance

_TRIES = 3  # of which the fastest counts: others may have waited for something else
_MOST_CHARACTERS = 300  # of why a reading failed
Log = Callable[[dict[str, float]], object]
_Row = tuple[int, int, float, float, Reading]


def watch(
    module: Any, *, inputs: Any, every: int = 100, log: Log | None = None, progress: bool = False
) -> Watch:
    """Watch half-life, decay rate and saturation of a model's recurrent layers while your own loop trains it.

    Call ``.step()`` after each step of the loop; ``.history`` is what was read so far.  Each reading runs the model
    once on `inputs`, as `capture` does, and measures what each recurrent layer received, in float64, on the four
    longest sequences, cut to the shortest of them (those shorter than half the longest are left out).  There are no
    hooks between readings, and none of autograd.

    Readings together take less than 2 % of the loop's own time.  What they cost is measured before the loop begins and
    then at each of them.  The sequences that are looked at are shortened to what is left of that, to at least 20 steps,
    which a rate needs; where that is too much still, the reading is put off to a later multiple of `every`.  Kernels
    are compiled here, not in the loop: some ten seconds for cells and sizes that were never used on this machine.

    A reading that fails (weights that are not finite, a module that is not there any more) is recorded and warned of
    once; it never raises into the loop.

    Parameters
    ----------
    module : torch.nn.Module, keras.Model or keras.Layer
        As for `capture`; compiled, frozen, or moved to another device or dtype later, or not.
    inputs : object
        What the module is called with, the same at each reading: one argument, or several in a tuple, or in a mapping
        by name (Keras takes a mapping as it is).
    every : int
        A reading is due after so many steps.
    log : callable, optional
        ``log(numbers)`` is called after each reading that did not fail, the one before the loop too; numbers by name:
        ``{"step": 100, "lstm/half_life": 12.5, "lstm/decay_rate": 0.055, "lstm/f/shut": 0.01, "lstm/f/open": 0.2}``.
    progress : bool
        Show a progress bar of the compiling on stderr.

    Returns
    -------
    Watch

    Raises
    ------
    WeightFormatError
        If the module has no recurrent layer, or none that can be read.
    DtypeError, ValueRangeError
        If an argument does not fit.

    Examples
    --------
    In a loop of PyTorch::

        watch = gs.watch(model, inputs=tokens, every=100, log=print)
        for batch in batches:
            loss = train(model, batch)
            watch.step()
        print(watch.history.summary())
        gs.plotting.plot_watch(watch.history)
    """
    return Watch(module, inputs=inputs, every=every, log=log, progress=progress)


class Watch:
    """What `watch` returns: ``step()`` counts the steps of a loop, ``history`` is what was read.

    Attributes
    ----------
    module : object
    every : int
    """

    def __init__(
        self,
        module: Any,
        *,
        inputs: Any,
        every: int = 100,
        log: Log | None = None,
        progress: bool = False,
    ) -> None:
        progress = check_flag("progress", progress)
        self.module, self.every = module, check_count("every", every)
        if log is not None:
            check_call("log", log, "log(numbers)", {})
        self._log, self._inputs, self._steps = log, inputs, 0
        self._dtype = torch_calls.dtype_of(module)
        self._warned: set[str] = set()
        self._rows: list[_Row] = []
        captured = self._capture()
        self._probe = Probe(captured)
        self._probe.compile(captured, progress=progress)
        most = self._probe.steps
        least = min(LEAST, most)
        reading = self._read(most)
        seconds = [min(self._seconds(steps) for _ in range(_TRIES)) for steps in (least, most)]
        self._budget = Budget(least, most, *seconds)
        self._record(most, seconds[1], 0.0, reading)
        self._loop_seconds, self._ended = 0.0, perf_counter()

    def __repr__(self) -> str:
        return (
            f"<watch over {', '.join(self._probe.layers)}: {len(self._rows)} readings in {self._steps} steps>"
        )

    @property
    def due(self) -> bool:
        """Whether the next `step` may take a reading."""
        return (self._steps + 1) % self.every == 0

    def step(self) -> None:
        """Count a step of the loop, and take a reading where one is due and affordable; no error comes out."""
        self._steps += 1
        if self._steps % self.every:
            return
        with suppress(Exception):  # of a device that failed, which the loop will meet itself
            torch_calls.wait_for(self.module)
        begin = perf_counter()
        self._budget.looped(begin - self._ended)
        self._loop_seconds += begin - self._ended
        steps = self._budget.steps()
        if steps is not None:
            try:
                reading = self._read(steps)
            except Exception as error:
                reading = self._probe.failed(f"{type(error).__name__}: {error}")
            seconds = perf_counter() - begin
            self._budget.read(steps, seconds, failed=bool(reading.failure))
            self._record(steps, seconds, self._loop_seconds, reading)
            self._loop_seconds = 0.0
        self._ended = perf_counter()

    @property
    def history(self) -> WatchHistory:
        """What was read so far."""
        return self._history(self._rows)

    def _history(self, rows: list[_Row]) -> WatchHistory:
        step, probe_steps, seconds, loop_seconds, readings = zip(*rows, strict=True)
        return WatchHistory(
            layers=self._probe.layers,
            cells=self._probe.cells,
            gates=self._probe.gates,
            every=self.every,
            loop_steps=self._steps,
            step=np.array(step, np.int64),
            decay_rate=np.array([reading.decay_rate for reading in readings]),
            half_life=np.array([reading.half_life for reading in readings]),
            saturation=np.array([reading.saturation for reading in readings]),
            probe_steps=np.array(probe_steps, np.int64),
            doubts=tuple(reading.doubts for reading in readings),
            failures=tuple(reading.failure for reading in readings),
            seconds=np.array(seconds),
            loop_seconds=np.array(loop_seconds),
            provenance=provenance(source=f"{type(self.module).__module__}.{type(self.module).__qualname__}"),
        )

    def _capture(self) -> Any:
        inputs = torch_calls.placed(self._inputs, self.module, self._dtype)
        if type(inputs) in (tuple, list):
            return capture(self.module, *inputs)
        if isinstance(inputs, Mapping) and torch_calls.is_module(self.module):
            return capture(self.module, **inputs)
        return capture(self.module, inputs)

    def _read(self, steps: int) -> Reading:
        return self._probe.read(self._capture(), steps)

    def _seconds(self, steps: int) -> float:
        """Return what a reading takes."""
        begin = perf_counter()
        self._read(steps)
        return perf_counter() - begin

    def _record(self, steps: int, seconds: float, loop_seconds: float, reading: Reading) -> None:
        """Add a reading to the history, and tell whoever is to be told."""
        reading = reading._replace(failure=shortened(reading.failure, _MOST_CHARACTERS))
        self._rows.append((self._steps, steps, seconds, loop_seconds, reading))
        if reading.failure:
            self._warn(f"The watch could not read all layers after {self._steps} steps: {reading.failure}")
        elif self._log is not None:
            try:
                self._log({"step": self._steps, **self._history(self._rows[-1:]).numbers(0)})
            except Exception as error:
                self._warn(f"The log of the watch failed after {self._steps} steps: {error!r}")

    def _warn(self, text: str) -> None:
        """Warn once of each kind of failure; a filter that makes errors of warnings does not stop the loop."""
        kind = text.partition(" after ")[0]
        if kind not in self._warned:
            self._warned.add(kind)
            with suppress(Warning):
                warn_accuracy(f"{text}; later failures are in its history alone")
