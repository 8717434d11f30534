"""A run of a whole model: a trace of each layer and direction, and the model's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gatescope.checks.arrays import Array, check_own_array, on_device
from gatescope.checks.numbers import check_type
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.trace import Trace
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.reporting.text import counted


@dataclass(frozen=True, kw_only=True, repr=False)
class StackTrace(ByLayer[Trace]):
    """Everything a model of several layers did over a run.

    ``trace["layers.1.backward"]`` is the `Trace` of a direction of a layer, whose inputs are the outputs of the layer
    below; ``trace["layers.-1"]`` is that of the uppermost layer, if it has one direction.

    Attributes
    ----------
    names : tuple of str
        As `Stack.directions` names them, from the lowest layer.
    results : tuple of Trace
        One each.
    outputs : (T, B, O)
        Of the read-out, or of the uppermost layer where there is none; 0 past the end of a sequence.  Not yet through
        a sigmoid or a softmax.
    """

    results: tuple[Trace, ...]
    outputs: Array

    _axes: ClassVar[Mapping[str, str]] = {**ByLayer._axes, "outputs": "(T, B, O)"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type("outputs", self.outputs, np.ndarray, advice="give an array (T, B, O)")
        if not on_device(self.outputs):
            check_own_array("outputs", self.outputs, "(T, B, O)")
        for name, trace in self.items():
            if not isinstance(trace, Trace) or trace.inputs.shape[:2] != self.outputs.shape[:2]:
                raise ShapeError(
                    f"{name} is not a Trace over the {self.outputs.shape[:2]} steps and sequences of `outputs`",
                    argument="results",
                    advice="give the traces of one run",
                )

    @property
    def inputs(self) -> Array:
        """(T, B, I): what the lowest layer got."""
        return self.results[0].inputs

    @property
    def lengths(self) -> Array:
        """(B,) int64: number of steps of each sequence."""
        return self.results[0].lengths

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(T, B): True where the step belongs to the sequence."""
        return self.results[0].mask

    @property
    def final_state(self) -> dict[str, Array]:
        """(B, S, H) views by name: the state of each layer and direction after the last step it took."""
        return {name: trace.final_state for name, trace in self.items()}

    def _title(self) -> str:
        cells = " on ".join(
            "+".join(self[name].cell for name in layer.values()) for layer in reversed(self._layers())
        )
        steps, batch = self.outputs.shape[:2]
        return f"run of {cells}: {counted(steps, 'step')}, {counted(batch, 'sequence')}"

    def summary(self) -> str:
        """Return cells, steps and sequences of the run."""
        return self._title()


def traces_of(trace: Any, layer: Any = None, name: str = "trace") -> dict[str, Trace]:
    """Return traces by the names of their layers: all of a `StackTrace`, or those of a layer; a `Trace` itself as "".

    Raises
    ------
    DtypeError
        If `trace` is neither; `name` is what it was given as.
    UnknownNameError, ValueRangeError
        If there is no such layer, or a `Trace` is asked for one.
    """
    check_type(
        name, trace, Trace, StackTrace, advice="give a Trace or a StackTrace, as gatescope.run returns it"
    )
    trace.check_fields(name)
    if isinstance(trace, Trace):
        if layer is not None:
            raise ValueRangeError(
                f"is for a run of several layers, and `{name}` is of one",
                argument="layer",
                seen=layer,
                advice="leave it out",
            )
        return {"": trace}
    names = trace.names if layer is None else trace.selected(layer, "layer")
    # What was read as the model's inputs, such as a text, is what every layer's steps stand for.
    return {
        each: dataclasses.replace(trace[each], provenance={**trace.provenance, **trace[each].provenance})
        for each in names
    }


def trace_of(trace: Any, layer: Any = None, name: str = "trace") -> tuple[str, Trace]:
    """Return one trace and the name of its layer, "" of a `Trace`; of several layers one has to be named."""
    traces = traces_of(trace, layer, name)
    if len(traces) > 1:
        raise ValueRangeError(
            f"leaves open which of {', '.join(map(repr, traces))} of `{name}` is meant",
            argument="layer",
            seen=layer,
            advice="name one of them",
        )
    return next(iter(traces.items()))


def check_alike(traces: Sequence[Any], names: Sequence[str], layer: Any = None) -> list[Trace]:
    """Return traces of the same cell, number of units, steps and sequences; `names` are those of the arguments.

    Of runs of several layers those of `layer`.
    """
    traces = [trace_of(trace, layer, name)[1] for trace, name in zip(traces, names, strict=True)]
    first = traces[0]
    for trace, name in zip(traces, names, strict=True):
        if (trace.cell, trace.gate_names) != (first.cell, first.gate_names):
            problem = f"is of a {trace.cell!r}, but `{names[0]}` of a {first.cell!r}"
            raise ShapeError(problem, argument=name, advice="give traces of one cell")
        if trace.states.shape != first.states.shape or not np.array_equal(trace.lengths, first.lengths):
            raise ShapeError(
                f"has states (T+1, B, S, H) of shape {trace.states.shape} and `{names[0]}` of {first.states.shape}, "
                "or other lengths",
                argument=name,
                advice="run both over the same inputs",
            )
    return traces
