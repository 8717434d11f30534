"""How weights follow their gradient: Adam, RMSprop, gradient descent with momentum."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.arrays import check_own_array
from gatescope.checks.dtypes import FLOATS, float_dtype
from gatescope.checks.memory import check_memory
from gatescope.checks.numbers import (
    check_above_zero,
    check_count,
    check_fields,
    check_flag,
    check_fraction,
    check_number,
    check_type,
    check_unused,
    set_checked,
)
from gatescope.datatypes import Array
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu.loops import optimizers as kernels

# What a kernel is handed in the place of a vector that it does not read.
_MOST_STEPS = 2**53  # that a float counts
_UNUSED = {kind: np.zeros(0, kind) for kind in FLOATS}
_check_decay = partial(check_number, least=0)


class Optimizer(ABC):
    """A rule by which weights follow their gradient; it holds constants only, what changes is in its state.

    One of your own has `apply`, and the names of the vectors it keeps between updates, if it keeps any.  A run records
    its repr, and a checkpoint is resumed only with an optimizer of the same repr.

    Attributes
    ----------
    vectors : tuple of str
        Names of the vectors of its state.

    Examples
    --------
    One that goes by the signs of the gradient:

    >>> import numpy as np, gatescope as gs
    >>> class Signs(gs.training.Optimizer):
    ...     def apply(self, theta, gradient, state, step, lr):
    ...         theta -= theta.dtype.type(lr) * np.sign(gradient)
    >>> batch = gs.tasks.adding(steps=5, sequences=4, seed=0)
    >>> run = gs.train(gs.init("gru", input_size=2, hidden_size=4, seed=0), batch, optimizer=Signs(), epochs=2)
    >>> run.message
    'finished: 2 epochs, 2 updates'
    """

    @property
    def vectors(self) -> tuple[str, ...]:
        """Return the names of the vectors that are kept between updates."""
        return ()

    def state(self, size: int, dtype: DTypeLike) -> dict[str, Array]:
        """Return the vectors (size,) that are kept between updates, as they are before the first: 0."""
        kind, count = float_dtype(dtype), check_count("size", size, least=0)
        names = self.vectors
        check_memory("size", count, lambda count: count * kind.itemsize * len(names), "the optimizer's state")
        return {name: np.zeros(count, kind) for name in names}

    def update(self, theta: Array, gradient: Array, state: Mapping[str, Array], step: int, lr: float) -> None:
        """Check the arrays and do one update in place.

        Parameters
        ----------
        theta, gradient : (N,)
            Of one dtype, float32 or float64; theta is changed.
        state : mapping of str to (N,) array
            Made by `state`; changed.
        step : int
            Number of the update, from 1.
        lr : float
            Learning rate.
        """
        if check_own_array("theta", theta, "(N,)", written=True).dtype not in _UNUSED:
            raise DtypeError(argument="theta", seen=theta.dtype, advice="give float32 or float64")
        step = check_count("step", step, most=_MOST_STEPS)
        lr = check_number("lr", lr, least=0)
        check_type("state", state, Mapping, advice="make it with the state() of this optimizer")
        if state.keys() != set(self.vectors):
            names = ", ".join(map(str, state)) or "none"
            raise ShapeError(
                f"has the vectors {names}, but should have {', '.join(self.vectors) or 'none'}",
                argument="state",
                advice="make it with the state() of this optimizer",
            )
        for name, vector in (("gradient", gradient), *state.items()):
            if check_own_array(name, vector, "(N,)", written=name != "gradient").shape != theta.shape:
                raise ShapeError(f"should have {theta.shape} as theta", argument=name, seen=vector.shape)
            if vector.dtype != theta.dtype:
                raise DtypeError(f", but theta has {theta.dtype}", argument=name, seen=vector.dtype)
        self.apply(theta, gradient, state, step, lr)

    @abstractmethod
    def apply(self, theta: Array, gradient: Array, state: Mapping[str, Array], step: int, lr: float) -> None:
        """Do one update in place, of arrays that fit each other; arguments as in `update`."""


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam [1]_, with decoupled weight decay (AdamW [2]_) if wanted.

    With g the gradient (plus weight_decay theta, if it is not decoupled) and k the step::

        m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
        theta <- theta - lr m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k)) + eps)

    Decoupled, theta is multiplied by ``1 - lr weight_decay`` first.

    Parameters
    ----------
    betas : (float, float)
        beta1 and beta2, both in [0, 1).
    eps : float
        Above 0.  (PyTorch takes 0, too: a weight whose gradient has always been 0 is NaN then.)
    weight_decay : float
        At least 0.
    decoupled : bool

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
    .. [2] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.training.optimizers import Adam
    >>> adam, theta = Adam(), np.ones(2)
    >>> state = adam.state(2, "float64")
    >>> adam.update(theta, np.array([3.0, -0.5]), state, step=1, lr=0.1)
    >>> theta.round(6).tolist()
    [0.9, 1.1]
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        try:
            first, second = self.betas
        except (TypeError, ValueError):
            problem = "must be two numbers such as (0.9, 0.999)"
            raise ValueRangeError(problem, argument="betas", seen=self.betas) from None
        set_checked(self, betas=(check_fraction("betas[0]", first), check_fraction("betas[1]", second)))
        check_fields(self, eps=check_above_zero, weight_decay=_check_decay, decoupled=check_flag)
        if self.weight_decay == 0:
            check_unused("without `weight_decay`", decoupled=self.decoupled or None)

    @property
    def vectors(self) -> tuple[str, ...]:
        return "mean", "square"

    def apply(self, theta: Array, gradient: Array, state: Mapping[str, Array], step: int, lr: float) -> None:
        (beta1, beta2), decay = self.betas, self.weight_decay
        added, factor = (0.0, 1 - lr * decay) if self.decoupled else (decay, 1.0)
        rates = lr / (1 - beta1**step), math.sqrt(1 - beta2**step)
        constants = 1 - beta1, beta2, 1 - beta2, self.eps, added, factor
        kernels.adam(theta, gradient, state["mean"], state["square"], rates, constants)


@dataclass(frozen=True, kw_only=True)
class RMSprop(Optimizer):
    """RMSprop [1]_, centered [2]_ and with momentum if wanted.

    With g the gradient plus weight_decay theta::

        v <- alpha v + (1 - alpha) g^2
        m <- alpha m + (1 - alpha) g            only if centered; otherwise m = 0
        u <- momentum u + g / (sqrt(v - m^2) + eps)
        theta <- theta - lr u

    Parameters
    ----------
    alpha : float
        In [0, 1).
    eps : float
        Above 0.  (PyTorch takes 0, too: a weight whose gradient has always been 0 is NaN then.)
    momentum : float
        In [0, 1).
    centered : bool
    weight_decay : float
        At least 0.

    Notes
    -----
    Where rounding makes v - m^2 negative it counts as 0; PyTorch's is NaN there.

    References
    ----------
    .. [1] T. Tieleman and G. Hinton, "Lecture 6.5: rmsprop", Coursera: Neural Networks for Machine Learning, 2012.
    .. [2] A. Graves, "Generating sequences with recurrent neural networks", 2013, equations 38 to 41.

    Examples
    --------
    >>> from gatescope.training.optimizers import RMSprop
    >>> RMSprop(centered=True).vectors
    ('square', 'mean')
    """

    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, alpha=check_fraction, momentum=check_fraction, eps=check_above_zero)
        check_fields(self, weight_decay=_check_decay, centered=check_flag)

    @property
    def vectors(self) -> tuple[str, ...]:
        return ("square", *["mean"] * self.centered, *["velocity"] * (self.momentum > 0))

    def apply(self, theta: Array, gradient: Array, state: Mapping[str, Array], step: int, lr: float) -> None:
        mean, velocity = (state.get(name, _UNUSED[theta.dtype]) for name in ("mean", "velocity"))
        constants = self.alpha, 1 - self.alpha, self.eps, self.momentum, self.weight_decay
        kernel = kernels.make_rmsprop(self.centered, self.momentum > 0)
        kernel(theta, gradient, state["square"], mean, velocity, float(lr), constants)


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Gradient descent, with momentum, Nesterov's [1]_ if wanted.

    With g the gradient plus weight_decay theta::

        u <- momentum u + (1 - dampening) g     at the first step u = g
        theta <- theta - lr u                   nesterov: theta <- theta - lr (g + momentum u)

    Parameters
    ----------
    momentum : float
        In [0, 1).
    dampening : float
        In [0, 1].
    nesterov : bool
        Needs momentum, and no dampening.
    weight_decay : float
        At least 0.

    References
    ----------
    .. [1] I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and momentum in deep
       learning", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.training.optimizers import SGD
    >>> theta = np.ones(1)
    >>> SGD().update(theta, np.array([2.0]), {}, step=1, lr=0.25)
    >>> theta
    array([0.5])
    """

    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, momentum=check_fraction, dampening=partial(check_number, least=0, most=1))
        check_fields(self, weight_decay=_check_decay, nesterov=check_flag)
        if self.momentum == 0 and not self.nesterov:
            check_unused("without `momentum`", dampening=self.dampening or None)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            both = f"{self.momentum} and {self.dampening}"
            problem = f"needs `momentum` above 0 and no `dampening`, but they are {both}"
            raise ValueRangeError(problem, argument="nesterov")

    @property
    def vectors(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum > 0 else ()

    def apply(self, theta: Array, gradient: Array, state: Mapping[str, Array], step: int, lr: float) -> None:
        velocity = state.get("velocity", _UNUSED[theta.dtype])
        constants = self.momentum, 1.0 if step == 1 else 1 - self.dampening, self.weight_decay
        kernel = kernels.make_sgd(self.momentum > 0, self.nesterov)
        kernel(theta, gradient, velocity, float(lr), constants)


_BY_NAME: dict[str, Optimizer] = {
    "adam": Adam(),
    "adamw": Adam(weight_decay=0.01, decoupled=True),  # PyTorch's default decay
    "rmsprop": RMSprop(),
    "sgd": SGD(),
}
NAMES = tuple(_BY_NAME)


def by_name(optimizer: str | Optimizer) -> Optimizer:
    """Return the optimizer of a name, with PyTorch's constants; an optimizer is handed back as it is.

    Parameters
    ----------
    optimizer : {"adam", "adamw", "rmsprop", "sgd"} or Optimizer

    Raises
    ------
    UnknownNameError
        If it is neither.

    Examples
    --------
    >>> from gatescope.training.optimizers import by_name
    >>> by_name("adamw")
    Adam(betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, decoupled=True)
    """
    if isinstance(optimizer, str) and optimizer in _BY_NAME:
        return _BY_NAME[optimizer]
    if isinstance(optimizer, Optimizer):
        return optimizer
    raise UnknownNameError(
        "is not known", argument="optimizer", seen=optimizer, advice=f"choose from {', '.join(NAMES)}"
    )
