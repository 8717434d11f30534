"""The arguments of `train`, checked, and as plain values for the configuration of a run."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gatescope.checks.numbers import (
    check_above_zero,
    check_count,
    check_fields,
    check_flag,
    check_number,
    or_none,
)
from gatescope.datatypes import Batch, Stack
from gatescope.datatypes.stack import first_backward
from gatescope.errors import ValueRangeError
from gatescope.storage.resumable import digest
from gatescope.training.clipping import Clip
from gatescope.training.dropout import Dropout
from gatescope.training.optimizers import Optimizer
from gatescope.training.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Config:
    """The arguments of `train` that the numbers depend on, checked when it is made; see there for what they mean."""

    optimizer: Optimizer
    lr: float
    schedule: Schedule
    clip_norm: float | None
    clip_tensor_norm: float | None
    clip_value: float | None
    epochs: int
    batch_size: int | None
    updates_per_epoch: int
    at: str | None
    bptt_steps: int | None
    stateful: bool
    dropout: Dropout
    weight_noise: float
    validate_every: int
    patience: int | None
    target_loss: float | None
    probe_every: int | None
    snapshot_every: int | None
    seed: int

    def __post_init__(self) -> None:
        limits = ("clip_norm", "clip_tensor_norm", "clip_value")
        counts = ("batch_size", "bptt_steps", "patience", "probe_every", "snapshot_every")
        from_0 = partial(check_count, least=0)
        check_fields(self, lr=check_above_zero, epochs=from_0, updates_per_epoch=check_count)
        check_fields(self, validate_every=check_count, stateful=check_flag, seed=from_0)
        check_fields(self, weight_noise=partial(check_number, least=0), target_loss=or_none(check_number))
        check_fields(self, **dict.fromkeys(limits, or_none(check_above_zero)))
        check_fields(self, **dict.fromkeys(counts, or_none(check_count)))
        if self.stateful and self.bptt_steps is None:
            problem = "carries the state from one window to the next, but there is only one"
            raise ValueRangeError(problem, argument="stateful", advice="give `bptt_steps` too")

    def check_validation(self, *, validated: bool) -> None:
        """Refuse a `validate_every` by which nothing is validated."""
        every = self.validate_every
        if not validated and every != 1:
            problem = "says how often to validate, but there is nothing to validate on"
            advice = "give `validation` too"
        elif validated and 0 < self.epochs < every:
            problem = (
                f"is more than `epochs`, {self.epochs}, so there is nothing to choose the best weights by"
            )
            advice = "validate more often"
        else:
            return
        raise ValueRangeError(problem, argument="validate_every", seen=every, advice=advice)

    def check_windows(self, stack: Stack) -> None:
        """Refuse windows of steps for a model with a direction that takes sequences from their end."""
        name = first_backward(stack)
        if not name:
            return
        if self.stateful:
            problem = f"carries states on to later steps, and those of {name} come from later ones"
            advice = "leave out `stateful` and `bptt_steps`"
            raise ValueRangeError(problem, argument="stateful", advice=advice)
        if self.bptt_steps is not None:
            problem = (
                f"cuts sequences, and {name} takes them from their last step on: it would be another model"
            )
            advice = "leave it out, or give shorter sequences"
            raise ValueRangeError(problem, argument="bptt_steps", seen=self.bptt_steps, advice=advice)

    def clip(self) -> Clip:
        """Return the limits on the gradient."""
        return Clip(value=self.clip_value, tensor_norm=self.clip_tensor_norm, norm=self.clip_norm)

    def metadata(self) -> dict[str, Any]:
        """Return everything but `epochs` as plain values: what a run that is resumed must agree in."""
        names = (field.name for field in dataclasses.fields(self) if field.name != "epochs")
        values, plain = {name: getattr(self, name) for name in names}, (int, float, str, type(None))
        return {name: v if isinstance(v, plain) else _described(v) for name, v in values.items()}


def model_metadata(stack: Stack) -> dict[str, Any]:
    """Return which model is trained."""
    return {
        "cells": stack.cells,
        "input_size": stack.input_size,
        "backward_directions": tuple(n for n, params in stack.directions().items() if params.reverse),
        "hidden_sizes": tuple(params.hidden_size for params in stack.directions().values()),
        "heads": tuple(tuple(head) for head in stack.heads),
        "dtype": stack.dtype.name,
        "initial weights": digest(*stack.weights().values()),
    }


def data_metadata(batch: Batch, fresh: bool, validation: Batch | None) -> dict[str, Any]:
    """Return what it is trained on; of callable data, the first batch stands for all."""
    return {
        "task": batch.name,
        "fresh data": fresh,
        "steps": int(np.shape(batch.inputs)[0]),
        "sequences": int(np.shape(batch.inputs)[1]),
        "data": _digest(batch),
        "validation": None if validation is None else _digest(validation),
    }


def _digest(batch: Batch) -> str:
    return digest(*(np.asarray(a) for a in (batch.inputs, batch.targets, batch.mask, batch.lengths)))


def _described(value: Any) -> str:
    """Return the repr of an optimizer, a schedule or dropout, without the addresses that functions have in it."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
