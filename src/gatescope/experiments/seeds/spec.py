"""What one training run of a study is: everything its numbers depend on, as plain values."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gatescope import tasks
from gatescope.cells.registry import get
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import (
    check_above_zero,
    check_choice,
    check_count,
    check_fields,
    check_flag,
    check_number,
    check_type,
    or_none,
    set_checked,
)
from gatescope.datatypes import Batch
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.recurrence.schemes import scheme_of
from gatescope.storage.npz import encode_json
from gatescope.training import optimizers, schedules
from gatescope.training.dropout import Dropout

_SET_BY_THE_RUN = (
    "seed",
    "dtype",
    "split",
    "progress",
)  # arguments of makers that are no arguments of a spec


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A training run of a study over seeds, checked when it is made; equal specs are the same run.

    Attributes
    ----------
    task : str
        Name of a maker in `gatescope.tasks`: one that makes new data from a seed, or one that has splits.
    arguments : mapping
        Of the maker, without seed, dtype and split; those left out get the maker's defaults.
    training_arguments : mapping
        Arguments of the maker that differ for the training data alone, as of a set that is biased or smaller: what
        is validated and tested on has `arguments`.
    cell, hidden_size, layers
        The model, which has a linear read-out.
    scheme : str
        Of the initial weights, as in ``"chrono(100)"``.
    biases : mapping of str to float
        What is added to the initial bias of a gate, by its name, in every layer.
    clamp : mapping of str to float
        Gates that keep a value all along, by name, in every layer: an ablation.
    optimizer : str
    lr, clip_norm : float
    schedule : str
        Of the learning rate, as in `gatescope.train`: ``"constant"``, or ``"cosine"`` over the budget.
    updates : int
        The budget in minibatches, a multiple of `validate_every`.  Each is an update; with a `window`, several.
    validate_every : int
        Minibatches between two validations.
    window : int or None
        Steps of truncated back-propagation, `bptt_steps` of `gatescope.train`.  None: whole sequences.
    stateful : bool
        Whether a window starts from the state in which the one before ended.
    target_loss : float or None
        Training ends as soon as a validation is below it.
    examples : int or None
        Sequences of a training set that stays the same, of a task that has splits so many of its training split, drawn
        by the seed; fewer are some of those of a larger number.  None: new data for every update, or all of a
        training split.
    batch_size : int or None
        Sequences an update, of a training set that stays the same; all of them by default.  Where data are new, the
        maker's argument `sequences` says how many.
    input_noise : float
        Standard deviation of Gaussian noise on the inputs, in training as in the test.
    label_noise : float
        Of classes the fraction that is replaced by another class, of numbers the standard deviation of Gaussian noise;
        on the training data alone.
    weight_noise : float
    dropout : mapping of str to float
        Fields of `gatescope.Dropout`.
    seed : int
        Of the initial weights, the data, their order and their noise: the same for every cell.  A task that has splits
        has the same ones for every seed, those of its maker's default: what is tested on is never tuned on, and an
        interval over seeds is one over weights and orders, and where `examples` are fewer over these, not over other
        data.
    dtype : str

    Examples
    --------
    >>> from gatescope.experiments.seeds.spec import RunSpec
    >>> spec = RunSpec(task="adding", cell="gru", hidden_size=32, lr=0.01, updates=500, target_loss=0.02)
    >>> spec.arguments["steps"], spec == RunSpec(**spec.plain()), spec.with_(seed=1) == spec
    (100, True, False)
    """

    task: str
    cell: str
    hidden_size: int
    lr: float
    updates: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    training_arguments: Mapping[str, Any] = field(default_factory=dict)
    layers: int = 1
    scheme: str = "pytorch"
    biases: Mapping[str, float] = field(default_factory=dict)
    clamp: Mapping[str, float] = field(default_factory=dict)
    optimizer: str = "adam"
    clip_norm: float | None = 1.0
    schedule: str = "constant"
    window: int | None = None
    stateful: bool = False
    validate_every: int = 10
    target_loss: float | None = None
    examples: int | None = None
    batch_size: int | None = None
    input_noise: float = 0.0
    label_noise: float = 0.0
    weight_noise: float = 0.0
    dropout: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        from_0 = partial(check_number, least=0)
        check_fields(self, hidden_size=check_count, layers=check_count, updates=check_count)
        check_fields(self, validate_every=check_count, seed=partial(check_count, least=0))
        counts = ("examples", "batch_size", "window")
        check_fields(self, **dict.fromkeys(counts, or_none(check_count)), stateful=check_flag)
        check_fields(self, lr=check_above_zero, clip_norm=or_none(check_above_zero))
        check_fields(self, target_loss=or_none(check_number), input_noise=from_0, label_noise=from_0)
        check_fields(self, weight_noise=from_0, dtype=lambda name, value: float_dtype(value, name).name)
        gates = get(self.cell).gates
        scheme_of(self.scheme, None, None)
        optimizers.by_name(self.optimizer)
        check_type("schedule", self.schedule, str, advice="give a name, as in 'cosine'")
        schedules.by_name(self.schedule)
        set_checked(self, arguments=_arguments(self.task, self.arguments))
        trained = _known(self.task, "training_arguments", self.training_arguments)
        same = self.arguments
        set_checked(self, training_arguments={k: v for k, v in trained.items() if v != same[k]})
        for name in ("biases", "clamp", "dropout"):
            set_checked(self, **{name: _numbers(name, getattr(self, name))})
        for name in ("biases", "clamp"):
            for gate in getattr(self, name):
                check_choice(name, gate, gates)
        Dropout(**self.dropout)
        self._check_together()

    def _check_together(self) -> None:
        if self.updates % self.validate_every:
            advice = f"give a multiple of `validate_every`, {self.validate_every}"
            raise ValueRangeError(
                "ends between two validations", argument="updates", seen=self.updates, advice=advice
            )
        if self.batch_size is not None and self.fresh:
            advice = "give `sequences` in `arguments`"
            problem = "is for training sets that stay the same"
            raise ValueRangeError(problem, argument="batch_size", seen=self.batch_size, advice=advice)
        if self.stateful and self.window is None:
            problem = "carries the state from one window to the next, but there is only one"
            raise ValueRangeError(problem, argument="stateful", advice="give `window` too")

    @property
    def maker(self) -> Callable[..., Batch]:
        """Return the function that makes the task's data."""
        return _maker(self.task)

    @property
    def has_splits(self) -> bool:
        """Return whether the task has training, validation and test data of its own."""
        return "split" in inspect.signature(self.maker).parameters

    @property
    def fresh(self) -> bool:
        """Return whether every update has new data."""
        return not self.has_splits and self.examples is None

    def plain(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def with_(self, **changes: Any) -> RunSpec:
        """Return the spec with other fields."""
        return dataclasses.replace(self, **changes)

    def text(self) -> str:
        """Return the canonical JSON: of two specs that are equal, the same text."""
        return encode_json(self.plain(), "spec")

    def key(self, code: str) -> str:
        """Return the name of the run, of the spec, the code that makes it, and the file that a `path` names."""
        whole = hashlib.sha256(f"{self.text()}\n{code}".encode())
        path = Path(self.arguments.get("path") or "")
        if path.is_file():
            whole.update(path.read_bytes())
        return whole.hexdigest()[:32]

    def __hash__(self) -> int:
        return hash(self.text())


def _maker(task: str) -> Callable[..., Batch]:
    maker: Callable[..., Batch] = getattr(tasks, check_choice("task", task, tasks.__all__))
    names = inspect.signature(maker).parameters
    if not {"seed", "split"} & set(names):
        problem = "has neither new data for every seed nor a split to test on"
        raise ValueRangeError(problem, argument="task", seen=task, advice="choose another task")
    return maker


def _arguments(task: str, arguments: Any) -> dict[str, Any]:
    """Return the maker's arguments with its defaults, so that one run has one spec."""
    known, parameters = _known(task, "arguments", arguments), _parameters(task)
    for name, parameter in parameters.items():
        if name not in known and parameter.default is parameter.empty:
            problem = f"lacks `{name}`, without which {task} has no data"
            raise ValueRangeError(problem, argument="arguments", seen=dict(known), advice="give it too")
    return {name: known.get(name, parameter.default) for name, parameter in parameters.items()}


def _known(task: str, argument: str, values: Any) -> Mapping[str, Any]:
    """Return values by name if they are arguments of the maker."""
    check_type(argument, values, Mapping, advice="give a mapping, as in {'steps': 100}")
    names = _parameters(task)
    for name in values:
        if name not in names:
            advice = f"the arguments of {task} are {', '.join(names)}"
            raise UnknownNameError("is not known", argument=argument, seen=name, advice=advice)
    return values  # type: ignore[no-any-return]  # it was checked


def _parameters(task: str) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(_maker(task)).parameters.items()
        if name not in _SET_BY_THE_RUN
    }


def _numbers(name: str, values: Any) -> dict[str, float]:
    check_type(name, values, Mapping, advice="give numbers by name, as in {'f': 1.0}")
    return {str(key): check_number(f"{name}[{key!r}]", value) for key, value in values.items()}
