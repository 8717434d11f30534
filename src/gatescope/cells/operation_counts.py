"""The operations of one step of a cell, counted in the cell's own equations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from gatescope.cells import activations
from gatescope.cells.registry import Cell

_ACTIVATIONS = ("sigmoid", "tanh", "relu")


@dataclass(frozen=True, kw_only=True)
class OperationCounts:
    """Operations of one step of one sequence.

    Attributes
    ----------
    multiply_adds : int
        In the matrix products: G * H * (I + H), without the rows that a gate does not have.
    activations : int
        Evaluations of sigmoid, tanh and relu: H times those in the cell's equations.
    elementwise : int
        Other additions, subtractions and multiplications of the equations, one by one, and the G * H additions of each
        bias, of the gates that have it.
    """

    multiply_adds: int
    activations: int
    elementwise: int


def count_operations(cell: Cell, input_size: int, hidden_size: int) -> OperationCounts:
    """Count the operations of one step of one sequence, from G, I, H and the cell's equations.

    The equations are run once, for one unit, on a number that counts what is done with it.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.cells.operation_counts import count_operations
    >>> count_operations(gs.cells.get("lstm"), 1, 64)
    OperationCounts(multiply_adds=16640, activations=320, elementwise=1024)
    """
    counts: Counter[str] = Counter()
    one = _counting_number(counts)
    gates, states = len(cell.gates), (one,) * len(cell.states)
    if cell.prepare is None or cell.operand is None:
        _watched(cell.step, counts)((one,) * gates, (one,) * gates, states)
    else:
        early = (one,) * cell.prepared
        prepared = _watched(cell.prepare, counts)(early, early, states)
        _watched(cell.operand, counts)(prepared, states)
        late = (one,) * (gates - cell.prepared)
        _watched(cell.step, counts)(late, late, states, prepared)

    def rows(array: str) -> int:
        return hidden_size * cell.lacks(array).count(False)

    return OperationCounts(
        multiply_adds=rows("weight_ih") * input_size + rows("weight_hh") * hidden_size,
        activations=counts["activation"] * hidden_size,
        elementwise=counts["operation"] * hidden_size + rows("bias_ih") + rows("bias_hh"),
    )


def _counting_number(counts: Counter[str]) -> Any:
    class Number(float):
        """1.0, whatever is done with it."""

    def operation(self: Number, other: object = None) -> Number:
        counts["operation"] += 1
        return Number(1.0)

    for name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "neg"):
        setattr(Number, f"__{name}__", operation)
    return Number(1.0)


def _watched(equation: Any, counts: Counter[str]) -> FunctionType:
    """Return a copy of the function that sees counting activations among its globals; the original is left alone."""

    def counted(kind: str | None) -> Any:
        def call(x: Any) -> Any:
            if kind:
                counts[kind] += 1
            return x

        return call

    kinds: dict[str, str | None] = dict.fromkeys(_ACTIVATIONS, "activation")
    kinds |= {"complement": "operation", "positive": None, "zero": None}
    stand_ins = {getattr(activations, name): counted(kind) for name, kind in kinds.items()}
    own = {
        name: stand_ins.get(value, value) if isinstance(value, FunctionType) else value
        for name, value in equation.__globals__.items()
    }
    return FunctionType(equation.__code__, own, closure=equation.__closure__)
