"""A study whose runs nobody trained: a test says what each arm has come to."""

import dataclasses
from types import SimpleNamespace

import numpy as np

from gatescope.experiments.claims.study import Study, study_cell
from helpers.arms import made_arm


class MadeUpStudy(Study):
    """A study of which `numbers(task, cell, **setting)` gives the columns of an arm, a field of its runs each."""

    def tuned(self, task, cell, scheme=None):
        return SimpleNamespace(lr=0.01, scheme=scheme or "pytorch", at_edge=False)

    def make(self, arms):
        self.made.update(arms)

    def arm(self, task, cell, scheme=None):
        assert not self.made or (task, cell) in self.made  # or it would wait for a round of its own
        return self._made(cell, self.numbers(task, cell))

    def fixed(self, task, cell, **setting):
        return self._made(cell, self.numbers(task, cell, **setting))

    def baseline(self, task):
        return float("nan")  # the task's own would need its data, and their package

    def _made(self, cell, columns):
        one = study_cell(cell)
        return dataclasses.replace(made_arm(one.cell, **columns), name=one.name)


def made_up_study(numbers):
    study = MadeUpStudy(folder="nowhere")
    object.__setattr__(study, "numbers", numbers)
    object.__setattr__(study, "made", set())
    return study


def around(mean, spread=0.02, n=10):
    """Return a number of every seed near a mean: each is off by up to a fraction of it, in no order."""
    off = np.linspace(-1, 1, n)[np.arange(n) * 7 % n]
    return mean * (1 + spread * off)
