"""The decorator of a task's maker: arguments are checked by their annotations, and recorded."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from gatescope._version import __version__
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_count, check_flag, check_number, set_checked
from gatescope.datatypes import Batch

P = ParamSpec("P")
Check = Callable[
    [str, Any], Any
]  # of an argument's name and value: the value as it is to be used, or an error

_BY_NAME: dict[str, Check] = {
    "seed": functools.partial(check_count, least=0),
    "dtype": lambda name, value: float_dtype(value, name),
}
_BY_TYPE: dict[str, Check] = {"int": check_count, "float": check_number, "bool": check_flag}
_NOT_RECORDED = ("progress",)


def task(**checks: Check | None) -> Callable[[Callable[P, Batch]], Callable[P, Batch]]:
    """Check the arguments of a maker before it is called, and write name and provenance into the batch that it makes.

    An ``int`` is a whole number of at least 1, `seed` one of at least 0, a ``bool`` True or False, a ``float`` finite,
    and `dtype` becomes float32 or float64 as a NumPy dtype; None passes where the annotation allows it.  `checks` holds
    the checks of other arguments, by name; None leaves an argument to the maker.

    The provenance has the task's name, its keyword arguments, what the maker put into it (which wins), and the versions
    that random numbers depend on.
    """

    def decorate(maker: Callable[P, Batch]) -> Callable[P, Batch]:
        signature = inspect.signature(maker)
        chosen = {name: _check(parameter, checks) for name, parameter in signature.parameters.items()}
        recorded = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and name not in _NOT_RECORDED
        ]

        @functools.wraps(maker)
        def make(*args: P.args, **kwargs: P.kwargs) -> Batch:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for name, check in chosen.items():
                if check is not None:
                    bound.arguments[name] = check(name, bound.arguments[name])
            batch = maker(*bound.args, **bound.kwargs)
            name = batch.name or maker.__name__
            arguments = {key: bound.arguments[key] for key in recorded}
            provenance = {
                "task": name,
                **arguments,
                **batch.provenance,
                "dtype": batch.inputs.dtype.name,
                "gatescope": __version__,
                "numpy": np.__version__,
            }
            named = copy.copy(batch)  # not checked once more, as a replaced one would be
            set_checked(named, name=name, provenance=provenance)
            return named

        return make

    return decorate


def _check(parameter: inspect.Parameter, checks: dict[str, Check | None]) -> Check | None:
    """Return the check of an argument, or None if it has none."""
    if parameter.name in checks:
        return checks[parameter.name]
    kind, _, rest = str(parameter.annotation).partition(" | ")  # annotations are text: they are not evaluated
    check = _BY_NAME.get(parameter.name, _BY_TYPE.get(kind))
    if check is None or rest != "None":
        return check
    return lambda name, value: None if value is None else check(name, value)
