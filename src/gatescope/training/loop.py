"""The loop itself: updates, epochs, and what is looked at between them."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any

import numpy as np

from gatescope.datatypes import Array, Status
from gatescope.training.arrays import Data
from gatescope.training.checkpoints import Checkpoint
from gatescope.training.clipping import Clip
from gatescope.training.config import Settings
from gatescope.training.engine import Engine
from gatescope.training.interrupts import DeferredInterrupt
from gatescope.training.minibatches import Feed
from gatescope.training.monitor import Probe
from gatescope.training.state import PATIENCE, TARGET, State

_PROBES = 64  # of a schedule, in a checkpoint


class _Diverged(Exception):
    """The message says what is not finite."""


class Trainer:
    """Trains what an engine holds, from where `state` is, until an end is reached.

    Parameters
    ----------
    engine : Engine
        Its `theta` is the state's.
    feed : Feed
    settings : Settings
    state : State
    checkpoint : Checkpoint
    validation : list of Data
        Pieces of it; empty: nothing is validated.
    probe : Probe or None
    bar : tqdm or None
        Advanced by one a minibatch.
    """

    def __init__(
        self,
        engine: Engine,
        feed: Feed,
        settings: Settings,
        state: State,
        checkpoint: Checkpoint,
        *,
        validation: list[Data],
        probe: Probe | None,
        bar: Any = None,
    ) -> None:
        self.engine, self.feed, self.settings, self.state = engine, feed, settings, state
        self.checkpoint, self.validation, self.probe, self.bar = checkpoint, validation, probe, bar
        self.slots = Slots(settings, feed)
        self._clips = _clips(settings)
        self._measure = Clip("global", None)
        self._interrupt = DeferredInterrupt()
        self._whole = True  # whether the state is that between two updates
        self._since, self._loss = 0.0, math.nan

    def run(self, *, resumed: bool) -> tuple[Status, str]:
        """Train; how that ended, and the same in a sentence."""
        state = self.state
        self._since = perf_counter()
        with self._interrupt:
            try:
                if resumed and state.carried is not None:
                    self.engine.carried = state.carried
                    state.carried = None
                if not resumed:
                    self._whole = False
                    self._look()
                    self._whole = True
                while state.epoch < self.settings.epochs and not state.ended:
                    self._epoch()
                self.checkpoint.write(self._arrays)
                if self._interrupt.asked:  # whoever called may have more to do than this
                    raise KeyboardInterrupt
            except _Diverged as error:
                np.copyto(state.theta, state.good)
                return Status.DIVERGED, self._diverged(str(error))
            except KeyboardInterrupt:
                return Status.INTERRUPTED, self._interrupted()
        return outcome(state, self.settings, validated=bool(self.validation))

    def _epoch(self) -> None:
        state = self.state
        self._since = perf_counter()
        while state.batch < self.feed.batches:
            self._minibatch()
        self._whole = False
        state.seconds += perf_counter() - self._since
        before = state.done == 1  # then the epoch's loss is that of one set of weights
        loss = state.end_epoch()
        settings = self.settings
        if not self.validation:
            state.watch(loss, settings.patience, settings.target_loss, before=before)
        elif state.epoch % settings.validate_every == 0:
            loss, accuracy = self._validate()
            state.validated(loss, accuracy)
            state.watch(loss, settings.patience, settings.target_loss, before=False)
        self._look()
        self._since = perf_counter()
        self._whole = True
        self._between()

    def _minibatch(self) -> None:
        state, window, stateful = self.state, self.slots.window, self.settings.stateful
        data = self.feed.get(state.epoch, state.batch)
        steps = len(data.mask)
        slot = self.slots.first(state)
        ended = False
        while not ended:
            begin, end = state.begin, min(state.begin + window, steps)
            ended = end == steps
            self._whole = False
            self._update(data, slot, begin, end, stateful and begin > 0)
            state.begin = 0 if ended else end
            state.batch += ended
            self._whole = True
            self._between()
        if self.bar is not None:
            self.bar.set_postfix_str(f"epoch {state.epoch + 1}, loss {self._loss:.4g}", refresh=False)
            self.bar.update()

    def _update(self, data: Data, first: int, begin: int, end: int, carry: bool) -> None:
        engine, state = self.engine, self.state
        slot = first + begin // self.slots.window
        score = engine.back(data, slot, begin, end, carry, first)
        if score.count == 0:
            return
        self._loss = score.loss
        norm, clipped = self._clip()
        if not math.isfinite(score.loss):
            raise _Diverged(f"the loss is {score.loss}")
        if not math.isfinite(norm):
            raise _Diverged("the gradient is not finite")
        np.copyto(state.good, state.theta)
        lr = self.slots.lr(slot)
        self.settings.optimizer.update(state.theta, engine.gradient, state.slots, state.updates + 1, lr)
        if not math.isfinite(self._measure.apply(state.theta)[0]):
            raise _Diverged("weights are no longer finite")
        state.count(score, norm, clipped, lr)

    def _clip(self) -> tuple[float, bool]:
        """Clip by every limit; the norm before, and whether anything was changed."""
        first, *more = self._clips
        norm, clipped = first.apply(self.engine.gradient, self.engine.sizes)
        for clip in more:
            clipped |= clip.apply(self.engine.gradient, self.engine.sizes)[1]
        return norm, clipped

    def _validate(self) -> tuple[float, float]:
        """Loss and accuracy of all pieces together."""
        loss = accuracy = 0.0
        count = 0
        for piece in self.validation:
            score = self.engine.evaluate(piece)
            if score.count:
                loss += score.loss * score.count
                accuracy += score.accuracy * score.count
                count += score.count
        return loss / count, accuracy / count

    def _look(self) -> None:
        """Probes and snapshots after this epoch."""
        state, settings = self.state, self.settings
        if self.probe is not None and settings.probe_every and state.epoch % settings.probe_every == 0:
            state.probed(*self.probe(self.engine.stack()))
        if settings.snapshot_every and state.epoch % settings.snapshot_every == 0:
            state.snapshot()

    def _between(self) -> None:
        if self._interrupt.asked:
            raise KeyboardInterrupt
        if self.checkpoint.due():
            self.state.seconds += perf_counter() - self._since
            self.checkpoint.write(self._arrays)
            self._since = perf_counter()

    def _arrays(self) -> dict[str, Any]:
        state = self.state
        state.carried = self.engine.carried if self.settings.stateful and state.begin > 0 else None
        found = {**state.arrays(), "factors": self.slots.factors(state)}
        state.carried = None
        return found

    def _diverged(self, what: str) -> str:
        state, settings = self.state, self.settings
        return (
            f"diverged: {what} at update {state.updates + 1}, in epoch {state.epoch + 1}; the model has the last "
            "weights whose loss and gradient were finite (the first ones, if none were); "
            f"try a smaller lr than {settings.lr:g}"
            + ("" if settings.clip_norm is not None else ", or clip_norm")
        )

    def _interrupted(self) -> str:
        state = self.state
        where = f"interrupted after {state.epoch} epochs and {state.updates} updates"
        if not self.checkpoint.wanted:
            return f"{where}; give a checkpoint to be able to go on another time"
        if self._whole:
            state.seconds += perf_counter() - self._since
            self.checkpoint.write(self._arrays)
        # A second Ctrl-C may have left an update half done: then what was written last is what counts.
        if self.checkpoint.there:
            return f"{where}; call again with {self.checkpoint.named()} to go on"
        return f"{where}; nothing was written to {self.checkpoint.named()} yet"


class Slots:
    """The places of windows in all epochs, counted from 0: what dropout and the learning rate go by.

    Every minibatch has room for as many windows as the longest one, so a place does not depend on the order in which
    sequences came, nor on windows in which nothing counts.
    """

    def __init__(self, settings: Settings, feed: Feed) -> None:
        self.window = min(settings.bptt_steps or feed.steps, feed.steps)
        self._batches, self._windows = feed.batches, -(-feed.steps // self.window)
        self._lr, self._schedule = settings.lr, settings.schedule
        self._planned = self.planned(settings.epochs)

    def planned(self, epochs: int) -> int:
        """How many there are in so many epochs."""
        return epochs * self._batches * self._windows

    def first(self, state: State) -> int:
        """The place of the first window of the minibatch that the state is at."""
        return (state.epoch * self._batches + state.batch) * self._windows

    def lr(self, slot: int) -> float:
        """The learning rate of an update."""
        return float(self._lr * self._schedule.factor(slot, self._planned))

    def same_rates(self, state: State, epochs: int) -> bool:
        """Whether the learning rates until now are what they would be if there were so many epochs."""
        other = self.planned(epochs)
        return all(
            self._schedule.factor(k, other) == self._schedule.factor(k, self._planned)
            for k in range(self._done(state))
        )

    def factors(self, state: State) -> Array:
        """Some of the updates that are done, evenly apart, and the schedule's factors there: (2, N)."""
        done = self._done(state)
        places = np.unique(np.linspace(0, done - 1, min(done, _PROBES)).astype(np.int64))
        return np.array([places, [self._schedule.factor(int(k), self._planned) for k in places]], np.float64)

    def changed(self, factors: Array, epochs: int) -> tuple[int, float, float] | None:
        """The first update whose factor is another than `factors` of a call with so many epochs says: both, too."""
        planned = self.planned(epochs)
        for place, there in factors.T.tolist():
            here = self._schedule.factor(int(place), planned)
            # Another machine's cosine may differ in the last bit.
            if not math.isclose(there, here, rel_tol=1e-12):
                return int(place), there, here
        return None

    def _done(self, state: State) -> int:
        """How many are done."""
        return self.first(state) + -(-state.begin // self.window)


def outcome(state: State, settings: Settings, *, validated: bool) -> tuple[Status, str]:
    """How a run that was neither interrupted nor diverged has ended."""
    name = "validation" if validated else "training"
    if state.ended == TARGET:
        return Status.FINISHED, (
            f"finished after {state.epoch} epochs: the {name} loss {state.watched:.6g} is below "
            f"target_loss={settings.target_loss:g}"
        )
    if state.ended == PATIENCE:
        return Status.EARLY_STOPPED, (
            f"early-stopped after {state.epoch} epochs: the {name} loss was lowest, {state.best_loss:.6g}, in epoch "
            f"{state.improved}, and not lower in the patience={settings.patience} epochs since"
        )
    return Status.FINISHED, f"finished: {state.epoch} epochs, {state.updates} updates"


def _clips(settings: Settings) -> list[Clip]:
    """The smallest unit first: the last limit holds for what is left by those before."""
    limits = {"value": settings.clip_value, "tensor": settings.clip_tensor_norm, "global": settings.clip_norm}
    chosen = [Clip(kind, limit) for kind, limit in limits.items() if limit is not None]
    return chosen or [Clip("global", None)]
