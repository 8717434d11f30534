"""The loop itself: updates, epochs, and what is measured between them."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any

import numpy as np

from gatescope.datatypes import Status
from gatescope.storage.resumable import Resumable
from gatescope.training.arrays import Data
from gatescope.training.clipping import euclidean_norm
from gatescope.training.config import Config
from gatescope.training.engine import Engine
from gatescope.training.interrupts import DeferredInterrupt
from gatescope.training.minibatches import BatchSource
from gatescope.training.monitor import Probe
from gatescope.training.schedules import factor
from gatescope.training.state import PATIENCE, TARGET, State


class _Diverged(Exception):
    """Raised when a number is not finite; the message says which."""


class Windows:
    """The windows of all epochs, counted from 0: the learning rate and dropout go by their index.

    Every minibatch is given as many indices as the longest one has windows, so an index does not depend on the order
    of the sequences, nor on windows in which nothing counts.  `steps` is the length of a window.
    """

    def __init__(self, config: Config, source: BatchSource) -> None:
        self.steps = min(config.bptt_steps or source.steps, source.steps)
        self._batches, self._per_batch = source.batches, -(-source.steps // self.steps)
        self._lr, self._schedule, self._epochs = config.lr, config.schedule, config.epochs
        self._summed, self._sum = 0, 0.0

    def first(self, state: State) -> int:
        """Return the index of the first window of the minibatch that the state is at."""
        return (state.epoch * self._batches + state.batch) * self._per_batch

    def lr(self, index: int) -> float:
        """Return the learning rate of a window's update."""
        return self._lr * self._factor(index, self._epochs)

    def factor_sum(self, state: State, epochs: int | None = None) -> float:
        """Return the sum of the schedule's factors until now, for `epochs` epochs in all; default: those of the run.

        A schedule that is another one, or that goes by how many epochs there are, gives another sum.
        """
        done = self.first(state) + -(-state.begin // self.steps)
        if epochs is not None and epochs != self._epochs:
            return sum(self._factor(index, epochs) for index in range(done))
        while self._summed < done:
            self._sum += self._factor(self._summed, self._epochs)
            self._summed += 1
        return self._sum

    def _factor(self, index: int, epochs: int) -> float:
        return factor(self._schedule, index, epochs * self._batches * self._per_batch)


class Trainer:
    """The training of an engine's weights, from where `state` is, until an end is reached.

    The engine's `theta` is the state's; `validation` are pieces of it, none if nothing is validated; `bar` (tqdm) is
    advanced by one a minibatch.
    """

    def __init__(
        self,
        engine: Engine,
        source: BatchSource,
        windows: Windows,
        config: Config,
        state: State,
        checkpoint: Resumable,
        *,
        validation: list[Data],
        probe: Probe | None,
        bar: Any = None,
    ) -> None:
        self.engine, self.source, self.windows = engine, source, windows
        self.config, self.state, self.checkpoint = config, state, checkpoint
        self.validation, self.probe, self.bar = validation, probe, bar
        self._clip = config.clip()
        checkpoint.snapshot = self._arrays
        self._interrupt = DeferredInterrupt()
        self._whole = True  # whether the state is that between two updates
        self._since, self._loss = 0.0, math.nan

    def run(self, *, resumed: bool) -> tuple[Status, str]:
        """Train; return how that ended, and the same in a sentence."""
        state = self.state
        self._since = perf_counter()
        with self._interrupt:
            try:
                if resumed and state.carried is not None:
                    self.engine.carried = state.carried
                    state.carried = None
                if not resumed:
                    self._whole = False
                    self._observe()
                    self._whole = True
                while state.epoch < self.config.epochs and not state.ended:
                    self._epoch()
                self.checkpoint.write()
                if self._interrupt.asked:  # whoever called may have more to do than this
                    raise KeyboardInterrupt
            except _Diverged as error:
                np.copyto(state.theta, state.good)
                return Status.DIVERGED, self._diverged(str(error))
            except KeyboardInterrupt:
                return Status.INTERRUPTED, self._interrupted()
        return outcome(state, self.config, validated=bool(self.validation))

    def _epoch(self) -> None:
        state, config = self.state, self.config
        self._since = perf_counter()
        while state.batch < self.source.batches:
            self._minibatch()
        self._whole = False
        state.seconds += perf_counter() - self._since
        before = state.done == 1  # then the epoch's loss is that of one set of weights
        loss = state.end_epoch()
        if not self.validation:
            state.watch(loss, config.patience, config.target_loss, before=before)
        elif state.epoch % config.validate_every == 0:
            loss, accuracy = self._validate()
            state.validated(loss, accuracy)
            state.watch(loss, config.patience, config.target_loss, before=False)
        self._observe()
        self._since = perf_counter()
        self._whole = True
        self._between()

    def _minibatch(self) -> None:
        state = self.state
        data = self.source.get(state.epoch, state.batch)
        steps = len(data.mask)
        first = self.windows.first(state)
        ended = False
        while not ended:
            begin, end = state.begin, min(state.begin + self.windows.steps, steps)
            ended = end == steps
            self._whole = False
            self._update(data, first, begin, end)
            state.begin = 0 if ended else end
            state.batch += ended
            self._whole = True
            self._between()
        if self.bar is not None:
            self.bar.set_postfix_str(f"epoch {state.epoch + 1}, loss {self._loss:.4g}", refresh=False)
            self.bar.update()

    def _update(self, data: Data, first: int, begin: int, end: int) -> None:
        engine, state = self.engine, self.state
        index = first + begin // self.windows.steps
        carry = self.config.stateful and begin > 0
        score = engine.back(data, index, begin=begin, end=end, carry=carry, first=first)
        if score.count == 0:
            return
        self._loss = score.loss
        norm, clipped = self._clip.apply(engine.gradient, engine.sizes)
        if not math.isfinite(score.loss):
            raise _Diverged(f"the loss is {score.loss}")
        if not math.isfinite(norm):
            raise _Diverged("the gradient is not finite")
        np.copyto(state.good, state.theta)
        lr = self.windows.lr(index)
        self.config.optimizer.apply(state.theta, engine.gradient, state.optimizer, state.updates + 1, lr)
        engine.restore_fixed()
        if not math.isfinite(euclidean_norm(state.theta)):
            raise _Diverged("weights are no longer finite")
        state.count(score, norm, clipped, lr)

    def _validate(self) -> tuple[float, float]:
        """Return the loss and the accuracy of all pieces together."""
        loss = accuracy = 0.0
        count = 0
        for piece in self.validation:
            score = self.engine.evaluate(piece)
            if score.count:
                loss += score.loss * score.count
                accuracy += score.accuracy * score.count
                count += score.count
        return loss / count, accuracy / count

    def _observe(self) -> None:
        """Take the probes and snapshots that are due after this epoch."""
        state, config = self.state, self.config
        if self.probe is not None and config.probe_every and state.epoch % config.probe_every == 0:
            state.probed(*self.probe(self.engine.stack()))
        if config.snapshot_every and state.epoch % config.snapshot_every == 0:
            state.snapshot()

    def _between(self) -> None:
        if self._interrupt.asked:
            raise KeyboardInterrupt
        if self.checkpoint.due():
            self.state.seconds += perf_counter() - self._since
            self.checkpoint.write()
            self._since = perf_counter()

    def _arrays(self) -> dict[str, Any]:
        state = self.state
        state.carried = self.engine.carried if self.config.stateful and state.begin > 0 else None
        arrays: dict[str, Any] = state.arrays()
        arrays["factor_sum"] = np.float64(self.windows.factor_sum(state))
        arrays["epochs"] = np.int64(self.config.epochs)
        state.carried = None
        return arrays

    def _diverged(self, what: str) -> str:
        state, config = self.state, self.config
        return (
            f"diverged: {what} at update {state.updates + 1}, in epoch {state.epoch + 1}; the model has the last "
            "weights whose loss and gradient were finite (the first ones, if none were); "
            f"try a smaller learning rate than {config.lr:g}"
            + ("" if config.clip_norm is not None else ", or a limit on the norm of the gradient")
        )

    def _interrupted(self) -> str:
        state = self.state
        interrupted = f"interrupted after {state.epoch} epochs and {state.updates} updates"
        if not self.checkpoint.enabled:
            return f"{interrupted}; give a checkpoint to be able to resume another time"
        if self._whole:
            state.seconds += perf_counter() - self._since
            self.checkpoint.write()
        # A second Ctrl-C may have left an update half done: then what was written last is what counts.
        if self.checkpoint.written:
            return f"{interrupted}; call again with {self.checkpoint} to resume"
        return f"{interrupted}; nothing was written to {self.checkpoint} yet"


def outcome(state: State, config: Config, *, validated: bool) -> tuple[Status, str]:
    """Return how a run that was neither interrupted nor diverged has ended, and the same in a sentence."""
    name = "validation" if validated else "training"
    if state.ended == TARGET:
        return Status.FINISHED, (
            f"finished after {state.epoch} epochs: the {name} loss {state.watched:.6g} is below the target, "
            f"{config.target_loss:g}"
        )
    if state.ended == PATIENCE:
        return Status.EARLY_STOPPED, (
            f"early-stopped after {state.epoch} epochs: the {name} loss was lowest, {state.best_loss:.6g}, in epoch "
            f"{state.improved}, and not lower in the {config.patience} epochs since"
        )
    return Status.FINISHED, f"finished: {state.epoch} epochs, {state.updates} updates"
