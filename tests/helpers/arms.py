"""Runs and effects with numbers as a test wants them, without any training."""

import functools

import numpy as np

import gatescope as gs
from gatescope.datatypes import Arm, SeedRun
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import paired

SPEC = RunSpec(
    task="adding",
    arguments={"steps": 6, "sequences": 3},
    cell="lstm",
    hidden_size=5,
    lr=0.01,
    updates=40,
    target_loss=0.1,
    dtype="float64",
)


@functools.cache
def tiny_model():
    return gs.init_stack("lstm", hidden_size=5, heads=gs.tasks.adding(steps=6, sequences=3), dtype="float64")


def made_run(spec=SPEC, **fields):
    """Return a run that nobody trained; a run that is told its updates has reached the target."""
    numbers = {
        "reached": "updates" in fields,
        "updates": spec.updates,
        "test_loss": 0.5,
        "test_accuracy": float("nan"),
        "test_answers": 0,
        "final_test_loss": 0.5,
        "final_train_loss": 0.25,
        "validation_loss": np.array([0.5, 0.25]),
        "training_loss": np.array([0.75, 0.5]),
        "first_training_loss": 1.0,
        **fields,
    }
    return SeedRun(
        spec=spec.plain(),
        code="code",
        status="finished",
        model=tiny_model(),
        validation_update=10 * np.arange(1, len(numbers["validation_loss"]) + 1),
        **numbers,
    )


def made_arm(cell, **columns):
    """Return an arm of runs with seeds 0, 1, ...; a column a field, None where a run has not reached the target."""
    spec = SPEC.with_(cell=cell)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    runs = [
        made_run(spec.with_(seed=seed), **{k: v for k, v in row.items() if v is not None})
        for seed, row in enumerate(rows)
    ]
    return Arm(name=cell, runs=tuple(runs))


def spread(mean, half, *, n=10, margin=0.2, name="task"):
    """Return an effect of n differences with this mean, whose 95 % interval reaches `half` to both sides."""
    from scipy.stats import t

    d = np.linspace(-1, 1, n)
    d *= half * np.sqrt(n) / t.ppf(0.975, n - 1) / d.std(ddof=1)
    return paired(mean + d, margin=margin, name=name)
