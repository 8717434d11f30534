"""The data of a run: what it is trained on, what it is judged by while it trains, and what it is tested on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, Batch
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.training.minibatches import made_seed

VALIDATED, TESTED = 200, 1000  # sequences of tasks that make as many as one asks for
_VALIDATION, _TEST, _EXAMPLES, _NOISE = 11, 12, 13, 14  # what a seed is for; training has 1, 2 and 3


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The data of a run.

    Attributes
    ----------
    train : Batch or callable
        A set that stays the same, or ``train(seed=...) -> Batch``.
    validation, test : Batch
    """

    train: Batch | Callable[..., Batch]
    validation: Batch
    test: Batch


def run_data(spec: RunSpec) -> RunData:
    """Make the data of a run, which depend on its task and its seed, not on its cell.

    A task that has splits has the same three for every seed, of which only order, noise and, where not all are trained
    on, the examples are drawn: what a setting was tuned on is never what it is tested on.
    `RunSpec.training_arguments` are of the training data alone.

    Raises
    ------
    ValueRangeError
        If the training split has fewer sequences than `examples`.
    """
    make = partial(spec.maker, **spec.arguments, dtype=spec.dtype)
    make_train = partial(make, **spec.training_arguments)
    train: Batch | Callable[..., Batch]
    if spec.has_splits:
        train, validation, test = make_train(split="train"), make(split="valid"), make(split="test")
        if spec.examples is not None:
            train = _drawn(train, spec.examples, spec.seed)
    else:
        train = partial(noisy, spec, make_train)
        validation = make(sequences=VALIDATED, seed=made_seed(spec.seed, _VALIDATION))
        test = make(sequences=TESTED, seed=made_seed(spec.seed, _TEST))
        if spec.examples is not None:
            train = make_train(sequences=spec.examples, seed=made_seed(spec.seed, _EXAMPLES))
    if isinstance(train, Batch):
        train = with_noise(spec, train, 0)
    return RunData(
        train=train,
        validation=with_noise(spec, validation, 1, labels=False),
        test=with_noise(spec, test, 2, labels=False),
    )


def _drawn(batch: Batch, count: int, seed: int) -> Batch:
    """Return so many sequences of a training split; with the same seed, the first ones of a larger number."""
    total = len(batch.lengths)
    check_count("examples", count, most=total, advice="the training split has no more")
    chosen = np.random.default_rng(made_seed(seed, _EXAMPLES)).permutation(total)[:count]
    by_step = {name: getattr(batch, name)[:, chosen] for name in ("inputs", "targets", "mask")}
    return dataclasses.replace(batch, **by_step, lengths=batch.lengths[chosen])


def noisy(spec: RunSpec, make: Callable[..., Batch], *, seed: int) -> Batch:
    """Make a batch with the noise of a spec."""
    return with_noise(spec, make(seed=seed), seed)


def with_noise(spec: RunSpec, batch: Batch, index: int, *, labels: bool = True) -> Batch:
    """Return a batch with the noise of a spec; `index` tells it from the others of the run."""
    if not (spec.input_noise or (labels and spec.label_noise)):
        return batch
    rng = np.random.default_rng(made_seed(spec.seed, _NOISE, index))
    inputs, targets = batch.inputs, batch.targets
    if spec.input_noise:
        inputs = (inputs + rng.normal(0, spec.input_noise, inputs.shape)).astype(inputs.dtype)
    if labels and spec.label_noise:
        targets = _noisy_targets(batch, spec.label_noise, rng)
    return dataclasses.replace(batch, inputs=inputs, targets=targets)


def _noisy_targets(batch: Batch, noise: float, rng: np.random.Generator) -> Array:
    """Return targets in which classes are replaced by others, bits turned, or numbers shifted."""
    targets, column = batch.targets.copy(), 0
    for head in batch.heads:
        part = targets[..., column : column + head.columns]
        if head.loss == "mse":
            part += rng.normal(0, noise, part.shape).astype(part.dtype)
        else:
            replaced = rng.random(part.shape) < noise
            if head.loss == "bernoulli":
                part[replaced] = 1 - part[replaced]
            else:
                other = rng.integers(1, head.size, part.shape)  # another class, each as likely
                part[replaced] = ((part + other) % head.size)[replaced]
        column += head.columns
    return targets
