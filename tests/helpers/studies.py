"""A study whose arms a test has made, so that nothing is trained."""

import dataclasses

import gatescope as gs
from gatescope.datatypes import Arm
from gatescope.experiments.claims.study import Study
from helpers.arms import made_run


class FakeStudy(Study):
    """A study that asks ``arms(task, cell, scheme) -> Arm``."""

    def tuned(self, task, cell, scheme=None):
        return type(
            "Setting", (), {"lr": 0.01, "scheme": scheme or "pytorch", "biases": {}, "at_edge": False}
        )()

    def make(self, arms):
        for one in arms:
            assert self.arm(*one).runs

    def arm(self, task, cell, scheme=None):
        return self.arms(task, cell, scheme)

    def baseline(self, task):
        return self.floor


def fake_study(arms, *, floor=float("nan"), **options):
    """Return a study whose tasks state `floor` as the loss of who knows nothing."""
    study = FakeStudy(folder="nowhere", **options)
    object.__setattr__(study, "floor", floor)
    object.__setattr__(study, "arms", arms)
    return study


def arm_on(task, cell, *, n=2, scheme="pytorch", model=None, reached=True, **columns):
    """Return an arm of n runs on a task of a study; `model(seed)` makes what was trained, and a column a field."""
    spec = task.spec.with_(cell=cell, scheme=scheme, hidden_size=4)
    runs = []
    for seed in range(n):
        fields = {"reached": bool(reached if isinstance(reached, bool) else reached[seed])}
        fields |= {name: values[seed] for name, values in columns.items()}
        run = made_run(spec.with_(seed=seed), **fields)
        runs.append(run if model is None else dataclasses.replace(run, model=model(seed)))
    return Arm(name=cell, runs=tuple(runs))


def model_of(cell, task, *, units=4, **changes):
    """Return a network for a task, untrained; `changes` are fields of its layer."""
    batch = task.spec.maker(**{**task.spec.arguments, "sequences": 1})
    stack = gs.init_stack(cell, hidden_size=units, heads=batch, dtype="float32")
    return dataclasses.replace(stack, layers=(dataclasses.replace(stack.layers[0], **changes),))
