"""Measurements of every layer and direction of a stack on what it really receives: each layer below is run once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from gatescope.cells.registry import Cell
from gatescope.checks.network import as_stack, check_params, of_layer
from gatescope.datatypes import Array, Bidirectional, Params, Stack
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.result import Result
from gatescope.errors import ValueRangeError
from gatescope.measurements.problem import Problem, prepare
from gatescope.recurrence.clamping import stack_clamps
from gatescope.recurrence.input_stream import open_series
from gatescope.recurrence.layers import merged, outputs_over
from gatescope.recurrence.stack_run import by_name

Arguments = ParamSpec("Arguments")
Measured = TypeVar("Measured")
Part = TypeVar("Part", bound=Result)
Part_co = TypeVar("Part_co", bound=Result, covariant=True)
Whole_co = TypeVar("Whole_co", bound=Result, covariant=True)
Whole = TypeVar("Whole", bound=Result)


class OfStacks(Protocol[Arguments, Part_co, Whole_co]):
    """A measurement that returns one thing of a cell, and another of a stack."""

    @overload
    def __call__(
        self, params: Params, inputs: Any, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Part_co: ...
    @overload
    def __call__(
        self, params: Stack | Bidirectional, inputs: Any, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Whole_co: ...


class OfStacksToo(Generic[Part, Whole]):
    """Say for type checkers that a measurement returns a `part` of Params, and of a stack a `whole`; a decorator."""

    def __init__(self, part: type[Part], whole: type[Whole]) -> None:
        self.part, self.whole = part, whole

    def __call__(
        self, function: Callable[Concatenate[Any, Any, Arguments], Part | Whole]
    ) -> OfStacks[Arguments, Part, Whole]:
        """Return the function as it is."""
        return cast(OfStacks[Arguments, Part, Whole], function)


def each_layer(
    params: Params | Stack | Bidirectional,
    inputs: Any,
    lengths: Any,
    initial_state: Any,
    clamp: Any,
    measure: Callable[[Problem], Part],
    **arguments: Any,
) -> Part | ByLayer[Part]:
    """Measure one cell, or each layer and direction of a stack: `measure` is given the problem of each.

    The arguments are those of `problems`.
    """
    parts = problems(params, inputs, lengths, initial_state, clamp, measure, **arguments)
    first = next(iter(parts.values()))
    if isinstance(params, Params):
        return first
    return ByLayer(names=tuple(parts), results=tuple(parts.values()), provenance=first.provenance)


def one_way(stack: Stack) -> bool:
    """Return whether all layers of a stack take the steps in one order, so that there is a joint state."""
    return len({params.reverse for params in stack.directions().values()}) == 1


def problems(
    params: Params | Stack | Bidirectional,
    inputs: Any,
    lengths: Any,
    initial_state: Any,
    clamp: Any,
    measure: Callable[[Problem], Measured],
    *,
    check: Callable[[Cell, Params], object] | None = None,
    scale: bool = True,
    **arguments: Any,
) -> dict[str, Measured]:
    """Return what `measure` makes of the problem of each layer and direction of a stack, by its name.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
        Params are one layer, ``"layers.0"``.
    inputs, lengths
        As for `gradient_flow`; each layer gets the outputs of the one below.
    initial_state : mapping of str to (B, S, H) array_like, "random", or None
        By layer and direction, ``{"layers.1": ...}``; those of which nothing is said begin with zeros.  Of Params the
        numbers themselves.
    clamp : mapping of str to values, or None
        By layer and gate, ``{"layers.1.f": 1.0}``; of Params as for `gradient_flow`.
    measure : callable
    check, scale, arguments
        As for `prepare`.
    """
    if not isinstance(params, Stack | Bidirectional):
        with prepare(
            params, inputs, lengths, initial_state, clamp, check=check, scale=scale, **arguments
        ) as problem:
            return {"layers.0": measure(problem)}
    stack = as_stack(params)
    weights = stack.directions()
    clamps = stack_clamps(stack, clamp)
    drawn = isinstance(initial_state, str)
    states = (
        dict.fromkeys(weights, initial_state) if drawn else by_name(stack, "initial_state", initial_state)
    )
    if len(weights) > 1 and arguments.get("resume") is not None:
        raise ValueRangeError(
            "is the file of one measurement, and each layer of a stack is measured by itself",
            argument="resume",
            advice="leave it out, or measure one layer at a time",
        )
    for prefix, one in weights.items():
        with of_layer(prefix):
            cell = check_params(one, any_device=True)
            if check is not None:
                check(cell, one)
    measured: dict[str, Measured] = {}
    lowest = next(iter(weights.values()))
    with open_series(inputs, lowest.astype(arguments.get("dtype") or lowest.dtype)) as series:
        received: Any = series
        for number, layer in enumerate(stack.layers):
            outputs: list[Array] = []
            for prefix in stack.prefixes(number).values():
                common = {**arguments, "check": check, "scale": scale and number == 0}
                given = weights[prefix], received, lengths, states.get(prefix), clamps[prefix]
                with of_layer(prefix), prepare(*given, **common) as problem:
                    measured[prefix] = measure(problem)
                    if number + 1 < len(stack.layers):
                        outputs.append(_outputs(problem))
                    lengths = problem.lengths  # asked about once
            if outputs:
                received = merged(layer, outputs)
    return measured


def _outputs(problem: Problem) -> Array:
    state, lengths = problem.initial_state, problem.lengths
    return outputs_over(problem.series, problem.params, problem.open_device(), state, lengths)
