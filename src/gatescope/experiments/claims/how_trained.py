"""How the networks behind a verdict were trained, in words: what a reader needs to train such networks again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from gatescope.experiments.seeds.spec import RunSpec
from gatescope.reporting.text import counted, listing, show

# Of an arm or a seed: what was chosen for it stands elsewhere.
_VARIED = {"cell": "rnn", "hidden_size": 1, "layers": 1, "lr": 1.0, "scheme": "pytorch", "seed": 0}
_ALWAYS = ("updates", "validate_every", "optimizer", "clip_norm", "dtype")
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(RunSpec)}


def how_trained(specs: Iterable[RunSpec]) -> tuple[str, ...]:
    """Return a text for each kind of run among specs: task, units, and every setting that is no arm's.

    Examples
    --------
    >>> from gatescope.experiments.claims.how_trained import how_trained
    >>> from gatescope.experiments.seeds.spec import RunSpec
    >>> spec = RunSpec(task="adding", cell="gru", hidden_size=32, lr=0.01, updates=500, target_loss=0.02)
    >>> text, = how_trained([spec, spec.with_(seed=1, lr=0.003)])
    >>> text.partition(": ")[0]
    'adding (steps 100, sequences 50, largest 1), 32 units'
    >>> text.partition(": ")[2]
    'updates 500, optimizer adam, clip norm 1, validate every 10, target loss 0.02, dtype float32'
    """
    kinds: dict[RunSpec, dict[tuple[int, int], None]] = {}
    for spec in specs:
        kind = spec.with_(**_VARIED, biases={}, clamp={})
        kinds.setdefault(kind, {})[spec.layers, spec.hidden_size] = None
    return tuple(_text(kind, sizes) for kind, sizes in kinds.items())


def _text(kind: RunSpec, sizes: Iterable[tuple[int, int]]) -> str:
    units = listing(
        f"{counted(layers, 'layer')} of " * (layers > 1) + counted(units, "unit")
        for layers, units in sorted(sizes)
    )
    settings: dict[str, Any] = {
        name.replace("_", " "): value
        for name, value in kind.plain().items()
        if name not in (*_VARIED, "task", "arguments")
        and (name in _ALWAYS or (value != _DEFAULTS[name] and value not in ({}, None)))
    }
    return f"{kind.task} ({show(kind.arguments)}), {units}: {show(settings)}"
