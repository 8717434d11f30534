"""How weights follow their gradient: Adam, RMSprop, gradient descent with momentum."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.arrays import check_own_array
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import (
    check_above_zero,
    check_count,
    check_flag,
    check_fraction,
    check_number,
    set_checked,
)
from gatescope.datatypes import Array
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu.loops import optimizers as kernels

# What a kernel is handed in the place of a slot it does not read.
_NO_SLOT = {np.dtype(kind): np.zeros(0, kind) for kind in (np.float32, np.float64)}


@runtime_checkable
class Optimizer(Protocol):
    """What training asks of an optimizer; it holds constants only, and what changes is in its slots.

    Examples
    --------
    One of your own, which goes by the signs of the gradient:

    >>> import numpy as np, gatescope as gs
    >>> class Signs:
    ...     def slots(self, size, dtype):
    ...         return {}
    ...     def update(self, theta, gradient, slots, step, lr):
    ...         theta -= theta.dtype.type(lr) * np.sign(gradient)
    ...     def describe(self):
    ...         return {"name": "signs"}
    >>> task = gs.tasks.adding(steps=5, sequences=4, seed=0)
    >>> run = gs.train(gs.init("gru", input_size=2, hidden_size=4, seed=0), task, optimizer=Signs(), epochs=2)
    >>> run.config["optimizer"]
    'signs'
    """

    def slots(self, size: int, dtype: DTypeLike) -> dict[str, Array]:
        """The vectors (size,) that it keeps between updates, as they are before the first."""

    def update(self, theta: Array, gradient: Array, slots: Mapping[str, Array], step: int, lr: float) -> None:
        """Change the weights `theta` and the slots in place; steps count from 1."""

    def describe(self) -> dict[str, Any]:
        """Name and constants, for the configuration of a run."""


@dataclass(frozen=True, kw_only=True)
class Adam:
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

    Raises
    ------
    ValueRangeError
        If a constant is out of range.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
    .. [2] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.training.optimizers import Adam
    >>> adam, theta = Adam(), np.ones(2)
    >>> slots = adam.slots(2, "float64")
    >>> adam.update(theta, np.array([3.0, -0.5]), slots, step=1, lr=0.1)
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
            raise ValueRangeError(f"betas={self.betas!r} must be two numbers such as (0.9, 0.999)") from None
        set_checked(self, betas=(check_fraction("betas[0]", first), check_fraction("betas[1]", second)))
        set_checked(self, eps=check_above_zero("eps", self.eps))
        set_checked(self, weight_decay=check_number("weight_decay", self.weight_decay, least=0))
        check_flag("decoupled", self.decoupled)

    @property
    def _kept(self) -> tuple[str, ...]:
        return "mean", "square"

    def slots(self, size: int, dtype: DTypeLike) -> dict[str, Array]:
        """Running means of the gradient and of its square, all 0."""
        return _zeros(self._kept, size, dtype)

    def update(self, theta: Array, gradient: Array, slots: Mapping[str, Array], step: int, lr: float) -> None:
        """One step, in place.

        Parameters
        ----------
        theta, gradient : (N,)
            Of one dtype, float32 or float64; theta is changed.
        slots : mapping
            Made by `slots`; changed.
        step : int
            Counts from 1.
        lr : float
        """
        _check(theta, gradient, slots, self._kept, step)
        (beta1, beta2), decay = self.betas, self.weight_decay
        kernels.adam(
            theta,
            gradient,
            slots["mean"],
            slots["square"],
            (lr / (1 - beta1**step), math.sqrt(1 - beta2**step)),
            (
                1 - beta1,
                beta2,
                1 - beta2,
                self.eps,
                0.0 if self.decoupled else decay,
                1 - lr * decay if self.decoupled else 1.0,
            ),
        )

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return _description("adam", self)


@dataclass(frozen=True, kw_only=True)
class RMSprop:
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

    Raises
    ------
    ValueRangeError
        If a constant is out of range.

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
    >>> list(RMSprop(centered=True).slots(3, "float32"))
    ['square', 'mean']
    """

    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        set_checked(
            self, **{name: check_fraction(name, getattr(self, name)) for name in ("alpha", "momentum")}
        )
        set_checked(self, eps=check_above_zero("eps", self.eps))
        set_checked(self, weight_decay=check_number("weight_decay", self.weight_decay, least=0))
        check_flag("centered", self.centered)

    @property
    def _kept(self) -> tuple[str, ...]:
        return ("square", *["mean"] * self.centered, *["velocity"] * (self.momentum > 0))

    def slots(self, size: int, dtype: DTypeLike) -> dict[str, Array]:
        """Running mean of the squared gradient, and of the gradient and the velocity where they are used; all 0."""
        return _zeros(self._kept, size, dtype)

    def update(self, theta: Array, gradient: Array, slots: Mapping[str, Array], step: int, lr: float) -> None:
        """One step, in place; arguments as in `Adam.update`."""
        _check(theta, gradient, slots, self._kept, step)
        unused = _NO_SLOT[theta.dtype]
        kernels.make_rmsprop(self.centered, self.momentum > 0)(
            theta,
            gradient,
            slots["square"],
            slots.get("mean", unused),
            slots.get("velocity", unused),
            float(lr),
            (self.alpha, 1 - self.alpha, self.eps, self.momentum, self.weight_decay),
        )

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return _description("rmsprop", self)


@dataclass(frozen=True, kw_only=True)
class SGD:
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

    Raises
    ------
    ValueRangeError
        If a constant is out of range.

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
        set_checked(self, momentum=check_fraction("momentum", self.momentum))
        set_checked(
            self, **{n: check_number(n, getattr(self, n), least=0) for n in ("dampening", "weight_decay")}
        )
        if self.dampening > 1:
            raise ValueRangeError(f"dampening={self.dampening!r} must lie in 0..1")
        check_flag("nesterov", self.nesterov)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueRangeError(
                f"nesterov=True with momentum={self.momentum} and dampening={self.dampening}; "
                "it needs momentum above 0 and no dampening"
            )

    @property
    def _kept(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum > 0 else ()

    def slots(self, size: int, dtype: DTypeLike) -> dict[str, Array]:
        """The velocity, 0, if there is momentum."""
        return _zeros(self._kept, size, dtype)

    def update(self, theta: Array, gradient: Array, slots: Mapping[str, Array], step: int, lr: float) -> None:
        """One step, in place; arguments as in `Adam.update`."""
        _check(theta, gradient, slots, self._kept, step)
        kernels.make_sgd(self.momentum > 0, self.nesterov)(
            theta,
            gradient,
            slots.get("velocity", _NO_SLOT[theta.dtype]),
            float(lr),
            (self.momentum, 1.0 if step == 1 else 1 - self.dampening, self.weight_decay),
        )

    def describe(self) -> dict[str, Any]:
        """Name and constants, as JSON holds them."""
        return _description("sgd", self)


def _zeros(names: tuple[str, ...], size: int, dtype: DTypeLike) -> dict[str, Array]:
    kind = float_dtype(dtype)
    return {name: np.zeros(check_count("size", size, least=0), kind) for name in names}


def _check(
    theta: Array, gradient: Array, slots: Mapping[str, Array], names: tuple[str, ...], step: int
) -> None:
    """The kernels do not look at sizes, so nothing else may reach them."""
    if check_own_array("theta", theta, "(N,)").dtype not in _NO_SLOT:
        raise DtypeError(f"theta has dtype {theta.dtype}; give float32 or float64")
    check_count("step", step)  # 1 is the first
    if slots.keys() != set(names):
        raise ShapeError(
            f"slots has {', '.join(slots) or 'nothing'}, but should have {', '.join(names) or 'nothing'}; "
            "make it with this optimizer's slots()"
        )
    for name, vector in (("gradient", gradient), *slots.items()):
        check_own_array(name, vector, "(N,)")
        if vector.shape != theta.shape or vector.dtype != theta.dtype:
            raise ShapeError(
                f"{name} has shape {vector.shape} and dtype {vector.dtype}, but theta has "
                f"{theta.shape} and {theta.dtype}; make them equal"
            )


def _description(name: str, constants: Any) -> dict[str, Any]:
    values = {f.name: getattr(constants, f.name) for f in dataclasses.fields(constants)}
    return {"name": name, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


_BY_NAME: dict[str, Optimizer] = {
    "adam": Adam(),
    "adamw": Adam(weight_decay=0.01, decoupled=True),  # PyTorch's default decay
    "rmsprop": RMSprop(),
    "sgd": SGD(),
}
NAMES = tuple(_BY_NAME)


def by_name(optimizer: str | Optimizer) -> Optimizer:
    """The optimizer of that name, with PyTorch's constants; an optimizer is handed back as it is.

    Parameters
    ----------
    optimizer : str or Optimizer
        ``"adam"``, ``"adamw"``, ``"rmsprop"``, ``"sgd"``, or an object made by the caller.

    Returns
    -------
    Optimizer

    Raises
    ------
    UnknownNameError
        If it is neither.

    Examples
    --------
    >>> from gatescope.training.optimizers import by_name
    >>> by_name("adam").describe()["betas"]
    [0.9, 0.999]
    """
    if isinstance(optimizer, str) and optimizer in _BY_NAME:
        return _BY_NAME[optimizer]
    if isinstance(optimizer, Optimizer) and not isinstance(optimizer, type):
        return optimizer
    raise UnknownNameError(
        f"optimizer={optimizer!r} is not known; choose one of {', '.join(NAMES)}, "
        "or give an object such as gatescope.training.Adam(betas=(0.9, 0.99))"
    )
