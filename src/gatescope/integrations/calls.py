"""Calls of recurrent modules as they were recorded, and what becomes of them: one network a run of calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes import Bidirectional, Params, Stack
from gatescope.datatypes.capture import Capture, CapturedNetwork
from gatescope.errors import GatescopeError, WeightFormatError
from gatescope.integrations.weights import load_weights
from gatescope.io.source_errors import listed
from gatescope.storage.provenance import provenance

_NAMED = 3  # modules that an error tells of


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a recurrent module.

    Attributes
    ----------
    name : str
        The module's name in the model.
    inputs : (T, B, I)
    lengths : (B,) int64 or None
        Steps of each sequence, where not all have T.
    initial : (B, N) or None
        The states it began with, as `CapturedNetwork` has them; None for zeros.
    final : (B, N) or None
        Those it left; None if no call can go on from them.
    """

    name: str
    inputs: Array
    lengths: Array | None = None
    initial: Array | None = None
    final: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was seen while a model ran.

    Attributes
    ----------
    kind : str
        The model's class.
    modules : mapping
        All its recurrent modules by name, those that were not called too.
    refused : mapping
        Why others that look like recurrent modules cannot be looked into, as the rest of a sentence.
    advice : str
        What to give where there is no recurrent module.
    calls : list of Call
        In their order.
    """

    kind: str
    modules: Mapping[str, Any]
    refused: Mapping[str, str]
    advice: str
    calls: list[Call] = field(default_factory=list)

    def captured(self) -> Capture:
        """Return what the modules received, with their weights.

        Raises
        ------
        WeightFormatError
            If there is no recurrent module, or each is left out: it says why.
        """
        models: dict[str, Params | Stack] = {}
        left_out = dict(self.refused)
        reached = {call.name for call in self.calls}
        for name, module in self.modules.items():
            if name not in reached:
                left_out[name] = "was not called (a forward() that is called by itself is not seen)"
                continue
            try:
                weights = load_weights(module, batch_first=False)
            except GatescopeError as error:
                left_out[name] = f"cannot be read: {error}"
                continue
            models[name] = Stack(layers=(weights,)) if isinstance(weights, Bidirectional) else weights
        if not models:
            raise self._nothing(left_out)
        sources = provenance(source=self.kind)
        networks = []
        for number, run in self._runs(models):
            first, model = run[0], models[run[0].name]
            inputs = np.concatenate([call.inputs for call in run]).astype(model.dtype, copy=False)
            lengths = np.full(inputs.shape[1], len(inputs)) if first.lengths is None else first.lengths
            networks.append(
                CapturedNetwork(
                    name=first.name,
                    call=number,
                    calls=len(run),
                    model=model,
                    inputs=inputs,
                    lengths=lengths.astype(np.int64),
                    initial_state=None
                    if first.initial is None
                    else first.initial.astype(model.dtype, copy=False),
                    provenance=sources,
                )
            )
        return Capture(networks=tuple(networks), left_out=tuple(left_out.items()), provenance=sources)

    def _runs(self, models: Mapping[str, Params | Stack]) -> list[tuple[int, list[Call]]]:
        """Return the calls that go on from each other together, each run with the number of its first call."""
        runs: list[tuple[int, list[Call]]] = []
        last: dict[str, list[Call]] = {}
        numbers = dict.fromkeys(models, 0)
        for call in self.calls:
            if call.name not in models:
                continue
            run = last.get(call.name)
            if run is not None and _goes_on(run[-1], call):
                run.append(call)
            else:
                last[call.name] = run = [call]
                runs.append((numbers[call.name], run))
            numbers[call.name] += 1
        return runs

    def _nothing(self, left_out: Mapping[str, str]) -> WeightFormatError:
        if not left_out:
            return WeightFormatError(
                f"is a {self.kind}, in which there is no recurrent module",
                argument="module",
                advice=self.advice,
            )
        some = "; ".join(f"{name or 'the model itself'} {left_out[name]}" for name in [*left_out][:_NAMED])
        more = f"; so are {listed([*left_out][_NAMED:])}" if len(left_out) > _NAMED else ""
        return WeightFormatError(f"has nothing that can be captured: {some}{more}", argument="module")


def _goes_on(before: Call, call: Call) -> bool:
    """Return whether a call begins with the very state that the one before it left."""
    return (
        before.final is not None
        and call.final is not None
        and before.lengths is None
        and call.lengths is None
        and call.initial is not None
        and np.array_equal(before.final, call.initial)
    )


def as_numpy(value: Any) -> Array:
    """Return a copy of a tensor of another framework; half precision becomes float32, which holds it exactly."""
    if callable(getattr(value, "detach", None)):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no such dtype
            value = value.float()
    elif callable(getattr(value, "numpy", None)):
        value = value.numpy()
    array = np.asarray(value)
    return np.array(array, np.float64 if array.dtype == np.float64 else np.float32)


def side_by_side(states: Iterable[Array]) -> Array:
    """Return states (B, ...) as one array (B, N)."""
    return np.concatenate([state.reshape(len(state), -1) for state in states], axis=1)
