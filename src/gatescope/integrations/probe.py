"""One reading of a watch: what a model's recurrent layers received, measured on a few short sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.ranges import gate_ranges
from gatescope.cells.registry import get
from gatescope.datatypes import Array, Capture, CapturedNetwork, Stack
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.stack import directions
from gatescope.errors import GatescopeError, noting_accuracy
from gatescope.measurements.layer_probe import LayerProbe, longest_sequences, probe_layer
from gatescope.measurements.problem import prepare
from gatescope.recurrence.layers import merged

LEAST = 20  # steps: a rate needs a line through the lags of a window of ten, behind the first tenth of them
MOST = 1000
_SATURATING = 60.0  # e^-60 is beyond what float64 can tell from 1
_DTYPE = np.float64  # whatever that of the model: kernels for another would be compiled in the loop


class Reading(NamedTuple):
    """A row of a `WatchHistory`."""

    decay_rate: Array  # (L,)
    half_life: Array  # (L,)
    saturation: Array  # (L, K, 2)
    doubts: tuple[str, ...]
    failure: str


class Probe:
    """The layers that a watch looks at, as they were when it began; `read` measures them as they are.

    Of a module that was called several times the longest call counts.
    """

    def __init__(self, capture: Capture) -> None:
        networks = _longest(capture)
        self._layers = {name: tuple(one.directions()) for name, one in networks.items()}
        weights = {
            _label(name, part, one): params
            for name, one in networks.items()
            for part, params in one.directions().items()
        }
        self.layers = tuple(weights)
        self.cells = tuple(params.cell for params in weights.values())
        self.gates = tuple(_sigmoid_gates(cell) for cell in self.cells)
        self.steps = max(min(MOST, longest_sequences(one.lengths)[1]) for one in networks.values())

    def compile(self, capture: Capture, *, progress: bool = False) -> None:
        """Compile all that readings may need: other kernels take the derivatives of units that come to be saturated."""
        bar = tqdm(
            total=2 * len(self.layers),
            unit="layer",
            desc="compiling kernels of the watch",
            disable=None if progress else True,
        )
        with bar:
            for one in _longest(capture).values():
                self._compile(one, bar)

    def _compile(self, one: CapturedNetwork, bar: Any) -> None:
        """Measure a network as it is and with units that are saturated."""
        model = one.model
        stack = model if isinstance(model, Stack) else Stack(layers=(model,))
        biased = {name: value + _SATURATING for name, value in stack.weights().items() if "bias_ih" in name}
        numbers = [biased.get(name, value).reshape(-1) for name, value in stack.weights().items()]
        saturated = dataclasses.replace(one, model=stack.with_flat(np.concatenate(numbers)))
        for network in (one, saturated):
            with suppress(
                GatescopeError
            ):  # of states of a relu network that leave every bound: it has no others
                for _ in _probes(network, LEAST):
                    bar.update()

    def read(self, capture: Capture, steps: int) -> Reading:
        """Return what the layers are like, over sequences of at most so many steps."""
        networks = _longest(capture)
        reasons = dict(capture.left_out)
        probes: list[_Noted | None] = []
        failures = []
        for name, parts in self._layers.items():
            one = networks.get(name)
            try:
                if one is None:
                    failures.append(f"{name or 'the model'} {reasons.get(name, 'is gone')}")
                elif tuple(one.directions()) != parts:
                    failures.append(f"{name or 'the model'} has other layers than it had")
                else:
                    probes += list(_probes(one, steps))
                    continue
            except Exception as error:  # of one module; the others are read all the same
                failures.append(f"{name or 'the model'}: {error}")
            probes += [None] * len(parts)
        return self._reading(probes, "; ".join(failures))

    def failed(self, failure: str) -> Reading:
        """Return the reading of a model that could not be run."""
        return self._reading([None] * len(self.layers), failure)

    def _reading(self, probes: list[_Noted | None], failure: str) -> Reading:
        rates = np.full(len(self.layers), np.nan)
        saturation = np.full((len(self.layers), max(map(len, self.gates)), 2), np.nan)
        doubts = [""] * len(probes)
        for k, noted in enumerate(probes):
            if noted is None:
                continue
            probe = noted.probe
            rates[k] = probe.decay_rate
            doubts[k] = "; ".join([*([probe.doubt] if probe.doubt else []), *noted.notes])
            for name, fractions in probe.saturation.items():
                if name in self.gates[k]:
                    saturation[k, self.gates[k].index(name)] = fractions
        return Reading(rates, half_life_of(rates), saturation, tuple(doubts), failure)


class _Noted(NamedTuple):
    """What was read of a layer, and what was warned of while it was measured."""

    probe: LayerProbe
    notes: tuple[str, ...]


def _probes(network: CapturedNetwork, steps: int) -> Iterator[_Noted]:
    """Yield what is read of each layer and direction, from the lowest.

    On one thread: four short sequences gain nothing by more, and the loop's own threads may be waiting for the cores.
    """
    chosen, longest = longest_sequences(network.lengths)
    inputs = np.ascontiguousarray(network.inputs[: min(steps, longest), chosen], _DTYPE)
    lengths = np.full(len(chosen), len(inputs))
    model = network.model
    stack = (model if isinstance(model, Stack) else Stack(layers=(model,))).astype(_DTYPE)
    states = network.initial_states()
    for number, layer in enumerate(stack.layers):
        outputs = []
        for name, params in zip(stack.prefixes(number).values(), directions(layer).values(), strict=True):
            state = states[name][chosen] if states else None
            with (
                noting_accuracy() as notes,
                prepare(params, inputs, lengths, state, threads=1, scale=False) as problem,
            ):
                probe = probe_layer(problem)
            yield _Noted(probe, tuple(notes))
            outputs.append(probe.outputs)
        inputs = np.ascontiguousarray(merged(layer, outputs))


def _longest(capture: Capture) -> dict[str, CapturedNetwork]:
    """Return of each module the call with the most steps."""
    networks: dict[str, CapturedNetwork] = {}
    for one in capture.networks:
        if one.name not in networks or len(one.inputs) > len(networks[one.name].inputs):
            networks[one.name] = one
    return networks


def _label(name: str, part: str, network: CapturedNetwork) -> str:
    """Return what a layer of a module is called: the module alone, where that is one."""
    if not isinstance(network.model, Stack):
        return name or network.model.cell
    return f"{name}.{part}" if name else part


def _sigmoid_gates(cell: str) -> tuple[str, ...]:
    named = zip(get(cell).saved, gate_ranges(get(cell)), strict=True)
    return tuple(name for name, bounds in named if bounds == (0, 1))
