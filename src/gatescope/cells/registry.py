"""The cells that there are, and what the rest of gatescope may ask of one."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope.errors import UnknownNameError, ValueRangeError

_ALL = "xhb"  # what a gate may have: rows of weight_ih, rows of weight_hh, biases
_NEEDED = {"weight_ih": {"x"}, "weight_hh": {"h"}, "bias_ih": {"b"}, "bias_hh": {"h", "b"}}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell's equations and the names of what they compute.

    Attributes
    ----------
    name : str
    gates : tuple of str
        Row blocks of weight_ih and weight_hh.
    states : tuple of str
        The first feeds back through weight_hh and is the output.
    saved : tuple of str
        The values of each step that are stored, because they are gates or because `step_vjp` needs them.
    step : callable
        ``step(wx, rh, states) -> (new_states, saved)``; with a first phase, ``step(wx, rh, states, prepared)``
        where wx and rh hold the second phase's gates only.
    step_vjp : callable
        ``step_vjp(saved, states, new_states, adjoint) -> (d_wx, d_rh, d_states)``, with a first phase
        also ``d_prepared``.
    prepare, operand, prepare_vjp : callable, optional
        The first phase: ``prepare(wx, rh, states) -> prepared``; ``operand(prepared, states)`` is what the second
        phase's recurrent weights multiply;
        ``prepare_vjp(saved, states, d_operand, d_prepared) -> (d_wx, d_rh, d_states)``.  Both may read any state, and
        all d_states count; what is `zero` by the equations costs nothing.  The first phase's recurrent weights multiply
        the first state, as always.
    prepared : int
        Number of gates that the first phase computes; 0 if there is one phase.
    shared : bool
        Whether `step_vjp` returns one and the same tuple as d_wx and d_rh; then it is stored once.
    weights : tuple of str
        Which weights each gate has, of ``"xhb"``: rows of weight_ih, rows of weight_hh, biases.  The rest are 0 and
        stay so; `lacks` says it array by array.  Empty: all gates have all.
    reads_others : bool
        Whether a first phase reads other states than the first, by what `prepare_vjp` returns; kernels have the code
        for it only then.
    description : str
        The docstring of what defines it, with its equations.
    fingerprint : str
        Changes when the equations do; compiled kernels are cached under it.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    saved: tuple[str, ...]
    step: Callable[..., Any]
    step_vjp: Callable[..., Any]
    prepare: Callable[..., Any] | None = None
    operand: Callable[..., Any] | None = None
    prepare_vjp: Callable[..., Any] | None = None
    prepared: int = 0
    shared: bool = False
    weights: tuple[str, ...] = ()
    reads_others: bool = False
    description: str = ""
    fingerprint: str = ""

    def lacks(self, array: str) -> tuple[bool, ...]:
        """Return for each gate whether it has no rows in a weight array, such as ``"weight_hh"``.

        bias_hh belongs to the recurrent product: a gate without one has bias_ih alone, and no number is there twice.

        Examples
        --------
        >>> import gatescope as gs
        >>> gs.cells.get("min_gru").lacks("weight_hh"), gs.cells.get("min_gru").lacks("bias_ih")
        ((True, True), (False, False))
        """
        needed = _NEEDED[array]
        return tuple(not needed <= set(have) for have in self.weights or (_ALL,) * len(self.gates))


def absent(*_: Any) -> Any:
    """Stand for the functions of a first phase that a cell does not have; never called."""


_CELLS: dict[str, Cell] = {}


def register(module: Any) -> Cell:
    """Make a cell known to `init`, `run`, `backprop`, `gradient_flow`, the plots and the command line.

    Parameters
    ----------
    module : module or class
        Holds NAME, GATES, STATES, SAVED, `step` and `step_vjp` (and PREPARED, `prepare`, `operand`, `prepare_vjp`
        for two phases); ``gatescope/cells/lstm.py`` is an example.  WEIGHTS names the gates that do not have all
        weights: ``{"pi": "b", "z": "xb"}``, a bias alone, and no recurrent rows.

    Returns
    -------
    Cell

    Raises
    ------
    ValueRangeError
        If something is missing, WEIGHTS says what cannot be, or the name is taken by other equations.

    Examples
    --------
    >>> import gatescope as gs
    >>> gs.cells.get("lstm").gates
    ('i', 'f', 'g', 'o')
    """
    prepared = int(getattr(module, "PREPARED", 0))
    first_phase = ("prepare", "operand", "prepare_vjp") if prepared else ()
    needed = ("NAME", "GATES", "STATES", "SAVED", "step", "step_vjp", *first_phase)
    missing = [name for name in needed if not hasattr(module, name)]
    if missing:
        raise ValueRangeError(
            f"{module!r} lacks {', '.join(missing)}",
            advice="see gatescope/cells/lstm.py for what a cell defines",
        )
    cell = Cell(
        name=module.NAME,
        gates=tuple(module.GATES),
        states=tuple(module.STATES),
        saved=tuple(module.SAVED),
        step=module.step,
        step_vjp=module.step_vjp,
        **{name: getattr(module, name) for name in first_phase},
        prepared=prepared,
        shared=_shares(module),
        weights=_weights(module),
        reads_others=prepared > 0 and _reads_others(module),
        description=inspect.getdoc(module) or "",
        fingerprint=_fingerprint(module),
    )
    known = _CELLS.get(cell.name)
    if known is not None and known.fingerprint != cell.fingerprint:
        raise ValueRangeError(
            f"a cell named {cell.name!r} is registered already", advice="give the new one another NAME"
        )
    _CELLS[cell.name] = cell
    return cell


def get(name: str) -> Cell:
    """Return the cell of that name.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    try:
        return _CELLS[name]
    except (KeyError, TypeError):
        raise UnknownNameError(
            "is not known", argument="cell", seen=name, advice=f"the cells are {', '.join(sorted(_CELLS))}"
        ) from None


def names() -> tuple[str, ...]:
    """Return the names of all cells, in order of registration."""
    return tuple(_CELLS)


def _weights(module: Any) -> tuple[str, ...]:
    """Return which weights each gate has; nothing where all have all."""
    declared = getattr(module, "WEIGHTS", {})
    for gate, have in dict(declared).items():
        if gate not in module.GATES:
            raise ValueRangeError(
                "is no gate of the cell",
                argument="WEIGHTS",
                seen=gate,
                advice=f"its gates are {', '.join(module.GATES)}",
            )
        if not isinstance(have, str) or not have or not set(have) <= set(_ALL) or len(set(have)) < len(have):
            raise ValueRangeError(
                "must be some of the letters x (weight_ih), h (weight_hh) and b (biases)",
                argument=f"WEIGHTS[{gate!r}]",
                seen=have,
            )
    return tuple(declared.get(gate, _ALL) for gate in module.GATES) if declared else ()


def _shares(module: Any) -> bool:
    """Return whether the wx and rh adjoints are the same object, by running the equations on one unit."""
    one = np.ones(1)
    states = (one,) * len(module.STATES)
    d_wx, d_rh = module.step_vjp((one,) * len(module.SAVED), states, states, states)[:2]
    return d_wx is d_rh


def _reads_others(module: Any) -> bool:
    """Return whether the first phase has derivatives by other states than the first, at random values."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[Any, ...]:
        return tuple(rng.uniform(0.05, 0.95, (count, 16)))

    (d_operand,) = draw(1)
    back = module.prepare_vjp(
        draw(len(module.SAVED)), draw(len(module.STATES)), d_operand, draw(module.PREPARED)
    )
    return any(np.any(d_state) for d_state in back[2][1:])


def _fingerprint(module: Any) -> str:
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):  # defined at a prompt: the code objects stand in for the source
        functions = [
            (name, value) for name, value in sorted(vars(module).items()) if hasattr(value, "__code__")
        ]
        source = repr([(name, each.__code__.co_code, each.__code__.co_consts) for name, each in functions])
    return hashlib.sha256(source.encode()).hexdigest()[:16]
