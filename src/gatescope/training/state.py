"""Everything that changes while a model is trained, and its way into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes import History

RUNNING, PATIENCE, TARGET = 0, 1, 2  # why training ended before its last epoch

_COUNTERS = (
    *("epoch", "batch", "begin", "updates", "best_epoch", "improved", "ended"),
    *("counted", "done", "cut"),  # these three and all of _SUMS from "loss" on: of the epoch so far
)
_SUMS = ("best_loss", "watched", "lr", "loss", "accuracy", "norm", "largest", "seconds")
_WHOLE = ("epoch", "updates", "validation_epoch", "probe_epoch", "snapshot_epoch")
_BY_EPOCH = (
    *("epoch", "loss", "head_loss", "accuracy", "gradient_norm", "largest_gradient_norm", "clipped"),
    *("learning_rate", "updates", "seconds"),
)
_BY_VALIDATION = ("validation_epoch", "validation_loss", "validation_accuracy")
_BY_PROBE = ("probe_epoch", "decay_rate", "half_life", "saturation")
_BY_SNAPSHOT = ("snapshot_epoch", "snapshots")


class Rows:
    """An array that grows by rows; its memory doubles, so that most rows allocate nothing."""

    def __init__(self, shape: tuple[int, ...] = (), dtype: Any = np.float64) -> None:
        self._buffer, self._count = np.empty((16, *shape), dtype), 0

    def __len__(self) -> int:
        return self._count

    def append(self, value: Any) -> None:
        """Add a row."""
        if self._count == len(self._buffer):
            self._grow(2 * self._count)
        self._buffer[self._count] = value
        self._count += 1

    def array(self) -> Array:
        """Return a copy of the rows."""
        return self._buffer[: self._count].copy()

    def restore(self, rows: Array) -> None:
        """Replace the rows."""
        if rows.shape[1:] != self._buffer.shape[1:] or rows.dtype != self._buffer.dtype:
            raise ValueError(
                f"rows {rows.dtype} {rows.shape[1:]}, not {self._buffer.dtype} {self._buffer.shape[1:]}"
            )
        self._count = 0
        self._grow(len(rows) + 16)
        self._buffer[: len(rows)] = rows
        self._count = len(rows)

    def _grow(self, size: int) -> None:
        larger = np.empty((size, *self._buffer.shape[1:]), self._buffer.dtype)
        larger[: self._count] = self._buffer[: self._count]
        self._buffer = larger


class State:
    """Where training is: weights, the optimizer's state, counters, sums over the epoch so far, and the history.

    Attributes
    ----------
    theta, good, best : (N,)
        The weights; the last ones whose loss and gradient were finite; those of the lowest loss.
    optimizer : dict of str to (N,) array
        The state of the optimizer.
    epoch, batch, begin : int
        Epochs done, minibatches done in this one, and where the next window of this minibatch begins.
    carried : array or None
        The state from which that window starts, while this is being restored.
    updates : int
        Done since the beginning.
    best_loss, best_epoch, improved : float, int, int
        The lowest loss watched, the epoch of its weights, and that in which it was seen.
    watched : float
        The loss watched last.
    ended : int
        RUNNING, PATIENCE or TARGET.
    counted, done, cut : int
        Steps that counted, updates, and updates whose gradient was clipped.
    loss, head_loss, accuracy, norm, largest, lr, seconds
        Sums weighted by the steps that counted, sum and maximum of the gradient's norm, last learning rate, time.
    doubts : list of tuple of str
        A row a probe, see `History`.
    rows : dict of str to Rows
        Fields of `History`, and the snapshots.
    """

    def __init__(
        self, theta: Array, optimizer: dict[str, Array], heads: int, gates: tuple[tuple[str, ...], ...]
    ) -> None:
        self.theta, self.good, self.best = theta, theta.copy(), theta.copy()
        self.optimizer, self._gates = optimizer, gates
        self.epoch = self.batch = self.begin = self.updates = 0
        self.best_epoch = self.improved = self.ended = 0
        self.best_loss, self.watched, self.lr = np.inf, np.nan, np.nan
        self.counted = self.done = self.cut = 0
        self.loss = self.accuracy = self.norm = self.largest = self.seconds = 0.0
        self.head_loss, self._weighted = np.zeros(heads), np.zeros(heads)
        self.carried: Array | None = None
        self.doubts: list[tuple[str, ...]] = []
        layers, most = len(gates), max(map(len, gates))
        shapes = {
            "head_loss": (heads,),
            "decay_rate": (layers,),
            "half_life": (layers,),
            "saturation": (layers, most, 2),
            "snapshots": theta.shape,
        }
        dtypes = dict.fromkeys(_WHOLE, np.dtype(np.int64)) | {"snapshots": theta.dtype}
        self.rows = {
            name: Rows(shapes.get(name, ()), dtypes.get(name, np.float64))
            for name in (*_BY_EPOCH, *_BY_VALIDATION, *_BY_PROBE, *_BY_SNAPSHOT)
        }

    def count(self, score: Any, norm: float, clipped: bool, lr: float) -> None:
        """Add an update to the epoch's sums."""
        self.counted += score.count
        self.loss += score.loss * score.count
        self.accuracy += score.accuracy * score.count
        np.multiply(score.head_loss, score.count, out=self._weighted)
        self.head_loss += self._weighted
        self.norm += norm
        self.largest = max(self.largest, norm)
        self.cut += clipped
        self.lr = lr
        self.done += 1
        self.updates += 1

    def end_epoch(self) -> float:
        """Turn the sums into a row of the history, begin them anew, and return the epoch's loss."""
        self.epoch += 1
        weight, updates = self.counted or np.nan, self.done or np.nan
        loss = self.loss / weight
        row = (self.epoch, loss, self.head_loss / weight, self.accuracy / weight, self.norm / updates)
        self._append(_BY_EPOCH, *row, self.largest, self.cut / updates, self.lr, self.updates, self.seconds)
        self.batch = self.begin = 0
        self.counted = self.done = self.cut = 0
        self.loss = self.accuracy = self.norm = self.largest = self.seconds = 0.0
        self.head_loss[:] = 0
        return float(loss)

    def validated(self, loss: float, accuracy: float) -> None:
        """Record a validation after this epoch."""
        self._append(_BY_VALIDATION, self.epoch, loss, accuracy)

    def probed(self, decay_rate: Array, half_life: Array, saturation: Array, doubts: tuple[str, ...]) -> None:
        """Record a probe after this epoch."""
        self.doubts.append(doubts)
        self._append(_BY_PROBE, self.epoch, decay_rate, half_life, saturation)

    def snapshot(self) -> None:
        """Record the weights after this epoch."""
        self._append(_BY_SNAPSHOT, self.epoch, self.theta)

    def watch(self, loss: float, patience: int | None, target: float | None, *, before: bool) -> None:
        """Take a loss that decides which weights are best, and whether to stop.

        Parameters
        ----------
        loss : float
        patience : int or None
        target : float or None
        before : bool
            Whether it is the loss of the weights as they were before the last update.
        """
        self.watched = loss
        if loss < self.best_loss:
            self.best_loss, self.improved = loss, self.epoch
            self.best_epoch = self.epoch - before
            np.copyto(self.best, self.good if before else self.theta)
        if target is not None and loss < target:
            self.ended = TARGET
        elif patience is not None and self.epoch - self.improved >= patience:
            self.ended = PATIENCE

    def history(self) -> History:
        """Return the history of the epochs that are done."""
        fields: dict[str, Any] = {
            name: self.rows[name].array() for name in (*_BY_EPOCH, *_BY_VALIDATION, *_BY_PROBE)
        }
        return History(**fields, probe_gates=self._gates, probe_doubts=tuple(self.doubts))

    def arrays(self) -> dict[str, Array]:
        """Return all of it, for a checkpoint."""
        arrays = {
            "counters": np.array([getattr(self, name) for name in _COUNTERS], np.int64),
            "sums": np.array([getattr(self, name) for name in _SUMS], np.float64),
            "head_sums": self.head_loss,
            "doubts": np.array(self.doubts, np.str_).reshape(-1, len(self._gates)),
            **{name: getattr(self, name) for name in ("theta", "good", "best")},
            **{f"optimizer.{name}": value for name, value in self.optimizer.items()},
            **{f"history.{name}": rows.array() for name, rows in self.rows.items()},
        }
        if self.carried is not None:
            arrays["carried"] = self.carried
        return arrays

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take what `arrays` returned.

        Raises
        ------
        ValueError, KeyError
            If it does not fit.
        """
        vectors = {name: getattr(self, name) for name in ("theta", "good", "best")}
        vectors |= {f"optimizer.{name}": value for name, value in self.optimizer.items()}
        for name, vector in {**vectors, "head_sums": self.head_loss}.items():
            stored = arrays[name]
            if stored.shape != vector.shape or stored.dtype != vector.dtype:
                raise ValueError(f"{name} {stored.dtype} {stored.shape}, not {vector.dtype} {vector.shape}")
            vector[...] = stored
        if arrays["counters"].dtype != np.int64 or (arrays["counters"] < 0).any():
            raise ValueError(f"counters {arrays['counters'].tolist()[:12]}")
        for names, key, kind in ((_COUNTERS, "counters", int), (_SUMS, "sums", float)):
            for name, value in zip(names, arrays[key], strict=True):
                setattr(self, name, kind(value))
        for name, rows in self.rows.items():
            rows.restore(arrays[f"history.{name}"])
        doubts = arrays["doubts"]
        if doubts.dtype.kind != "U" or doubts.shape != (len(self.rows["probe_epoch"]), len(self._gates)):
            raise ValueError(f"doubts {doubts.dtype} {doubts.shape}")
        self.doubts = [tuple(row) for row in doubts.tolist()]
        lengths = {len(self.rows[name]) for name in _BY_EPOCH}
        if lengths != {self.epoch} or max(self.best_epoch, self.improved) > self.epoch or self.ended > TARGET:
            raise ValueError(f"{self.epoch} epochs, and histories of {sorted(lengths)}")
        sums = [self.norm, self.largest, self.seconds]  # the others may be NaN, as an accuracy of no head is
        if not np.isfinite(sums).all() or min(sums) < 0:
            raise ValueError(f"sums {sums}")
        self.carried = arrays.get("carried")

    def _append(self, names: tuple[str, ...], *values: Any) -> None:
        for name, value in zip(names, values, strict=True):
            self.rows[name].append(value)
