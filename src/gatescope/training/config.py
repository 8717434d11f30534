"""The arguments of `train`, checked, and as plain values for the config of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope._version import __version__
from gatescope.checks.numbers import (
    check_above_zero,
    check_count,
    check_finite_or_none,
    check_flag,
    check_number,
)
from gatescope.datatypes import Batch
from gatescope.datatypes.stack import Stack
from gatescope.errors import ValueRangeError
from gatescope.storage.resumable import digest
from gatescope.training import optimizers, schedules
from gatescope.training.dropout import Dropout, check_dropout


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `train` was told, in the names of its arguments."""

    optimizer: optimizers.Optimizer
    lr: float
    schedule: schedules.Schedule
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

    def facts(self) -> dict[str, Any]:
        """All but `epochs`, flat and in plain values: what a run that goes on must have been told, too."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "epochs":
                found.update(_plain(field.name, value))
        return found


def checked(*, validation: Any, **given: Any) -> Settings:
    """`Settings` of arguments that can be used; errors name the one that cannot."""
    options: dict[str, Any] = dict(given)
    options["optimizer"] = optimizers.by_name(given["optimizer"])
    options["lr"] = check_above_zero("lr", given["lr"])
    options["schedule"] = schedules.by_name(given["schedule"])
    for name in ("clip_norm", "clip_tensor_norm", "clip_value"):
        options[name] = None if given[name] is None else check_above_zero(name, given[name])
    options["epochs"] = check_count("epochs", given["epochs"], least=0)
    options["updates_per_epoch"] = check_count("updates_per_epoch", given["updates_per_epoch"])
    options["validate_every"] = check_count("validate_every", given["validate_every"])
    for name in ("batch_size", "bptt_steps", "patience", "probe_every", "snapshot_every"):
        options[name] = None if given[name] is None else check_count(name, given[name])
    if check_flag("stateful", given["stateful"]) and given["bptt_steps"] is None:
        raise ValueRangeError(
            "stateful=True carries the state from one window to the next, but there are none; give bptt_steps too"
        )
    options["dropout"] = check_dropout(given["dropout"])
    options["weight_noise"] = check_number("weight_noise", given["weight_noise"], least=0)
    options["target_loss"] = check_finite_or_none("target_loss", given["target_loss"])
    options["seed"] = check_count("seed", given["seed"], least=0)
    settings = Settings(**options)
    if validation is None and settings.validate_every != 1:
        raise ValueRangeError(
            f"validate_every={settings.validate_every} says how often to validate, but there is nothing to validate "
            "on; give validation too"
        )
    if validation is not None and 0 < settings.epochs < settings.validate_every:
        raise ValueRangeError(
            f"validation: with validate_every={settings.validate_every} none comes in {settings.epochs} epochs, so "
            "there is nothing to choose the best weights by; validate more often"
        )
    return settings


def model_facts(stack: Stack) -> dict[str, Any]:
    """Which model is trained."""
    return {
        "cells": stack.cells,
        "input_size": stack.input_size,
        "hidden_sizes": tuple(layer.hidden_size for layer in stack.layers),
        "heads": tuple(tuple(head) for head in stack.heads),
        "dtype": stack.dtype.name,
        "initial weights": digest(*stack.weights().values()),
    }


def data_facts(batch: Batch, fresh: bool, validation: Batch | None) -> dict[str, Any]:
    """What it is trained on; of a callable task, the first batch stands for all."""
    return {
        "task": batch.name,
        "fresh data": fresh,
        "steps": int(np.shape(batch.inputs)[0]),
        "sequences": int(np.shape(batch.inputs)[1]),
        "data": _digest(batch),
        "validation": None if validation is None else _digest(validation),
        "gatescope": __version__,
    }


def _digest(batch: Batch) -> str:
    return digest(*(np.asarray(a) for a in (batch.inputs, batch.targets, batch.mask, batch.lengths)))


def _plain(name: str, value: Any) -> dict[str, Any]:
    """An object with settings of its own becomes a key for each of them."""
    if hasattr(value, "describe"):
        described = value.describe()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        described = dataclasses.asdict(value)
    else:
        return {name: value}
    return {name if key in ("name", "kind") else f"{name}.{key}": item for key, item in described.items()}
