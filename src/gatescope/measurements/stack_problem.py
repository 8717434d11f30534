"""The frame of measurements of several layers as one network: `prepare_stack` makes one prepared `StackProblem`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from gatescope.cells.registry import get
from gatescope.checks.network import as_stack, check_directions
from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, Params
from gatescope.datatypes.stack import Bidirectional, Stack, replaced
from gatescope.errors import DeviceError, ValueRangeError
from gatescope.kernels.cpu.stack_device import LayeredDerivatives, StackDevice, join
from gatescope.kernels.device import USE_CPU, device_of
from gatescope.measurements.each_layer import one_way
from gatescope.measurements.frame import Frame
from gatescope.measurements.problem import first_state, prepare
from gatescope.recurrence.clamping import apply_clamp, clamp_metadata, clamp_values, stack_clamps
from gatescope.recurrence.exact_steps import ExactSteps
from gatescope.recurrence.input_stream import Series
from gatescope.recurrence.recompute import check_states
from gatescope.recurrence.stack_run import by_name, read_out
from gatescope.storage.provenance import provenance


@dataclass(frozen=True, kw_only=True)
class StackProblem(Frame):
    """A stack over a series, checked and ready to be measured as one network, on the CPU.

    The series is in the order in which the layers take it; of a stack that goes both ways, in that of the inputs.

    Attributes
    ----------
    params : Stack
    initial_state : (B, N)
        Of all layers, from the lowest, of each its states in the order of its cell.
    clamps : mapping of str to array or None
        The values (G, H) that are in `params` already, by the name of the layer.
    alone : bool
        Whether the stack is a single cell's `Params`, whose states are named without their layer.
    rows : (B,) int64
        The numbers of the sequences in the batch that a measurement was called with.
    d_outputs : (T, B, O) or None
        Derivatives of a loss by the outputs.
    """

    params: Stack
    clamps: Mapping[str, Array | None] = dataclasses.field(default_factory=dict)
    alone: bool = False
    rows: Array
    d_outputs: Array | None = None

    @property
    def name(self) -> str:
        """What results call the network."""
        return " on ".join(reversed(self.params.cells))

    @property
    def layers(self) -> tuple[Params, ...]:
        """The weights of each layer, from the lowest."""
        return tuple(self.params.directions().values())

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """States and units (S, H) of each layer."""
        return tuple((len(get(params.cell).states), params.hidden_size) for params in self.layers)

    def astype(self, dtype: DTypeLike) -> Self:
        """Return the problem in float32 or float64, as `Frame.astype` does."""
        changed, kind = super().astype(dtype), np.dtype(dtype)
        d_outputs = None if self.d_outputs is None else self.d_outputs.astype(kind)
        return dataclasses.replace(changed, d_outputs=d_outputs)

    @property
    def reverse(self) -> bool:
        """Whether all layers take the steps from the last to the first."""
        return self.layers[0].reverse

    def part(self, sequences: Array, begin: int, end: int, *, initial_state: Array | None = None) -> Self:
        """Return the problem of some sequences over the steps begin..end - 1, as `Frame.part` does."""
        part = super().part(sequences, begin, end, initial_state=initial_state)
        d_outputs = None if self.d_outputs is None else self.d_outputs[begin:end, sequences]
        return dataclasses.replace(part, rows=self.rows[sequences], d_outputs=d_outputs)

    def with_d_outputs(self, d_outputs: Array) -> StackProblem:
        """Return the problem with derivatives (T, B, O) of a loss; those past the end of a sequence do not count."""
        past = np.arange(self.steps)[:, None] >= self.lengths
        own = np.where(past[:, :, None], 0, d_outputs).astype(self.params.dtype)
        return dataclasses.replace(self, d_outputs=own)

    def open_device(self) -> StackDevice:
        """Return the layers with their weights, for all sequences."""
        return StackDevice(self.layers, self.threads)

    def derivatives(self, carried: float | None) -> LayeredDerivatives:
        """Return what derives the steps whose units are saturated."""
        return LayeredDerivatives([ExactSteps(params, self.threads, carried) for params in self.layers])

    def outputs(self, piece_steps: int = 4096) -> Array:
        """Return what the stack gives at every step, (T, B, O): of its read-out, or of its uppermost layer."""
        device, state = self.open_device(), self.initial_state
        all_states, all_gates = device.buffers(min(piece_steps, self.steps), self.batch)
        outputs = np.empty((self.steps, self.batch, self.params.output_size), self.params.dtype)
        for begin in range(0, self.steps, piece_steps):
            end = min(begin + piece_steps, self.steps)
            states, gates = all_states[: end - begin + 1], all_gates[: end - begin]
            device.forward(self.series.read(begin, end), state, states, gates)
            state = device.last(states)
            for array in states.arrays:
                check_states(array, begin)
            outputs[begin:end] = read_out(self.params, states.arrays[-1][1:, :, 0], self.lengths - begin)
        return outputs

    def provenance(self, **more: Any) -> dict[str, Any]:
        """Return where a result comes from: device, dtype, cells, the seeds of the weights, clamps, and `more`."""
        recomputed = {"recomputed": self.recomputed} if self.recomputed else {}
        names = self.params.directions()
        clamps: dict[str, Any] = {}
        for name, params in names.items():
            of_layer = clamp_metadata(params, self.clamps.get(name)).get("clamp", {})
            clamps |= of_layer if self.alone else {f"{name}.{gate}": v for gate, v in of_layer.items()}
        seeds = [params.provenance.get("seed") for params in self.layers]
        layers = {} if self.alone else {"layers": list(self.params.cells)}
        return provenance(
            device=self.device,
            dtype=self.params.dtype.name,
            seed=seeds[0] if len(set(map(repr, seeds))) == 1 else seeds,
            **layers,
            **recomputed,
            **more,
            **({"clamp": clamps} if clamps else {}),
        )


@contextmanager
def prepare_stack(
    model: Stack | Bidirectional | Params,
    inputs: Any,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    *,
    seed: int = 0,
    device: str | None = "cpu",
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
    dtype: DTypeLike | None = None,
    two_way: bool = False,
    scale: bool = True,
) -> Iterator[StackProblem]:
    """Check the arguments that measurements of a stack share, and open the series for as long as the block runs.

    Parameters
    ----------
    model : Stack or Params
        Layers that go one way; Params are a stack of one, whose clamps and states have their plain names.
    inputs, lengths, clamp, seed, device, threads, progress, resume, dtype
        As for `prepare`; gates are named with their layer.
    initial_state : mapping of str to (B, S, H) array_like, or "random", optional
        By the name of a layer; zeros for those left out.
    scale : bool
        Warn of inputs that saturate the gates of the lowest layer.
    two_way : bool
        Whether layers may go both ways; the series is in the order of the inputs then.

    Yields
    ------
    StackProblem

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.stack_problem import prepare_stack
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=1, hidden_size=4, heads=[gs.Head("y", 1)])
    >>> with prepare_stack(stack, np.zeros((100, 3, 1))) as problem:
    ...     problem.name, problem.initial_state.shape
    ('gru on lstm', (3, 12))
    """
    if device_of(device, model) != "cpu":
        raise DeviceError(
            "does not compute several layers as one network, nor directions and losses of your own",
            argument="device",
            seen=device,
            advice=USE_CPU,
        )
    alone = isinstance(model, Params)
    stack = Stack(layers=(model,)) if isinstance(model, Params) else as_stack(model)
    if not two_way:
        check_causal(stack)
    names, states = stack.directions(), []
    clamps = {"layers.0": clamp_values(model, clamp)} if alone else stack_clamps(stack, clamp)
    of_states = initial_state
    if not isinstance(initial_state, str):
        of_states = {"layers.0": initial_state} if alone else by_name(stack, "initial_state", initial_state)
    check_directions(stack)
    clamped = {name: apply_clamp(params, clamps[name]) for name, params in names.items()}
    layers = [
        replaced(layer, {way: clamped[name] for way, name in stack.prefixes(k).items()})
        for k, layer in enumerate(stack.layers)
    ]
    stack = dataclasses.replace(stack, layers=tuple(layers))
    if dtype is not None:
        stack = stack.astype(dtype)
    shared: dict[str, Any] = {"seed": seed, "device": device, "threads": threads, "progress": progress}
    first = next(iter(stack.directions().values()))
    if two_way:
        first = dataclasses.replace(first, reverse=False)
    with prepare(first, inputs, lengths, resume=resume, scale=scale, **shared) as lowest:
        seed = check_count("seed", seed, least=0)
        for k, (name, params) in enumerate(stack.directions().items()):
            value = of_states if isinstance(of_states, str) else of_states.get(name)
            states.append(
                first_state(
                    value,
                    get(params.cell),
                    params,
                    lowest.batch,
                    seed + k,
                    argument="initial_state" if alone else f"initial_state[{name!r}]",
                    by="" if alone else " by the names of layers",
                )
            )
        yield StackProblem(
            params=stack,
            rows=np.arange(lowest.batch),
            series=lowest.series,
            initial_state=join(states),
            lengths=lowest.lengths,
            longest=lowest.longest,
            clamps=clamps,
            alone=alone,
            threads=lowest.threads,
            seed=seed,
            progress=lowest.progress,
            resume=resume,
        )


def planned_stack(stack: Stack, series: Series, threads: int) -> StackProblem:
    """Return the problem of a stack over a series of which only the size is known."""
    check_causal(stack)
    check_directions(stack)
    problem = StackProblem(
        params=stack,
        rows=np.arange(series.batch),
        series=series,
        initial_state=np.zeros((0, 0)),
        lengths=np.full(series.batch, series.steps),
        longest=series.steps,
        threads=threads,
    )
    size = sum(states * units for states, units in problem.shapes)
    return dataclasses.replace(problem, initial_state=np.zeros((series.batch, size), stack.dtype))


def check_causal(stack: Stack) -> None:
    """Refuse a stack whose layers do not all go one way: no state in it is made of earlier ones alone."""
    if one_way(stack):
        return
    names = [name for name, params in stack.directions().items() if params.reverse]
    raise ValueRangeError(
        f"goes both ways ({names[0]} goes backward), so that states are made of later steps as well as earlier ones",
        argument="params",
        advice="measure one direction of one layer by itself; of a file `layer` and `reverse` choose it",
    )
