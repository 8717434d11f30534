"""What PyTorch computes with the weights of a source: its own modules, or modules made of what it reads of a file."""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes import Params
from gatescope.datatypes.stack import Layer, directions
from gatescope.errors import GatescopeError
from gatescope.integrations.packages import missing
from gatescope.integrations.verify import OR_NOT, Runner, cannot
from gatescope.io.loading import Opened
from gatescope.io.pytorch.entries import find_layer, numbered, parse
from gatescope.io.pytorch.shards import Shards
from gatescope.io.pytorch.sources import Source, open_source

_MODULES: dict[str, tuple[str, dict[str, str]]] = {
    "rnn": ("RNN", {"nonlinearity": "tanh"}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
}


def torch_runner(source: Any, opened: Opened, layers: list[Layer]) -> Runner:
    """Return what runs the layers of the network that is meant in PyTorch.

    A module of `torch.nn` that is alive runs itself; everything else is put into such modules as PyTorch reads it.
    """
    try:
        import torch
    except ImportError as error:
        raise missing("PyTorch, which is to run the source,", "torch", error, otherwise=OR_NOT) from error
    read = open_source(_as_torch_reads(torch, source, opened))
    prefix, dtype = opened.network.prefix, str(np.result_type(*(each.dtype for each in layers)))
    alive: Any = read.module(prefix)
    if type(alive) in (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU):
        module = copy.deepcopy(alive).to("cpu", getattr(torch, dtype)).eval()
        module.batch_first = False
        modules = [module]
    else:
        try:
            modules = _modules(torch, read, prefix, layers, getattr(torch, dtype))
        except (GatescopeError, RuntimeError, AttributeError) as error:
            raise cannot(opened, f"PyTorch's modules do not take its weights ({error})") from error

    def run(inputs: Array) -> Array:
        values = torch.from_numpy(inputs)
        with torch.no_grad():
            for module in modules:
                values, _ = module(values)
        return np.asarray(values.numpy())

    return Runner(f"PyTorch {torch.__version__}", run, dtype)


def _as_torch_reads(torch: Any, source: Any, opened: Opened) -> Any:
    """Return what PyTorch or its peers read of a file; anything else as it is."""
    if not isinstance(source, str | os.PathLike):
        return source
    path = Path(os.fspath(source))
    if "files" in opened.provenance:
        parts = [_file_as_torch_reads(torch, part, opened) for part in Shards(path).files]
        return {name: tensor for part in parts for name, tensor in part.items()}
    return _file_as_torch_reads(torch, path, opened)


def _file_as_torch_reads(torch: Any, path: Path, opened: Opened) -> Any:
    if path.suffix == ".safetensors" or opened.stored.format == "safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if opened.stored.format == "npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    if opened.stored.format.startswith("TorchScript"):
        with suppress(Exception):  # whatever PyTorch says of what it does not open
            return torch.jit.load(path, map_location="cpu")
    # What scripts put beside the weights, and does nothing when it is made: arguments, scalars of NumPy.
    plain = [argparse.Namespace, np.dtype, np.float64(0).__reduce__()[0], type(np.dtype(np.float64))]
    plain += [type(np.dtype(np.int64)), type(np.dtype(np.float32))]
    safe = getattr(torch.serialization, "safe_globals", nullcontext)  # PyTorch 2.5
    with suppress(Exception), safe(plain):
        return _named(torch.load(path, map_location="cpu", weights_only=True))
    why = "PyTorch opens it only by running what is in it (weights_only=False)"
    raise cannot(opened, f"{why}; give the live module, or its state_dict")


def _named(value: Any) -> Any:
    """Return lists, in which scripts save several state_dicts, as mappings from their places."""
    items: Any = value.items() if isinstance(value, Mapping) else ()
    if isinstance(value, list | tuple):
        items = ((str(k), item) for k, item in enumerate(value))
    elif not isinstance(value, Mapping):
        return value
    return {name: _named(item) for name, item in items}


def _modules(torch: Any, read: Source, prefix: str, layers: list[Layer], dtype: Any) -> list[Any]:
    """Return a module of `torch.nn` for each layer, with the weights of the entries that PyTorch read."""
    names = parse(read.entries)
    # Modules of one layer in a list are a network, too.
    places = (
        [(prefix, number) for number in range(len(layers))]
        if prefix in names.networks
        else [
            (each, min(number for number, _ in names.networks[each]))
            for each in numbered(names.networks)[prefix]
        ]
    )
    modules = []
    for layer, (own, number) in zip(layers, places, strict=True):
        ways = directions(layer)
        state: dict[str, Any] = {}
        for way, params in ways.items():
            end = "_l0_reverse" if len(ways) == 2 and way == "backward" else "_l0"
            entries = find_layer(read, names, own, number, params.reverse).names
            state |= {f"{kind}{end}": _tensor(torch, read, name) for kind, name in entries.items()}
        modules.append(_module(torch, layer, [*ways.values()], state, dtype))
    return modules


def _module(torch: Any, layer: Layer, ways: list[Params], state: dict[str, Any], dtype: Any) -> Any:
    kind, options = _MODULES[ways[0].cell]
    module = getattr(torch.nn, kind)(
        ways[0].input_size,
        ways[0].hidden_size,
        bidirectional=len(ways) == 2,
        bias=any(name.startswith("bias") for name in state),
        device="meta",  # where nothing is drawn from PyTorch's random state
        **options,
    )
    module = module.to_empty(device="cpu").to(dtype).eval()
    module.load_state_dict(state)
    if len(ways) == 1 and ways[0].reverse:
        return _Backward(module)
    return module


def _tensor(torch: Any, read: Source, name: str) -> Any:
    value = read.value(name)
    return value.detach() if callable(getattr(value, "detach", None)) else torch.as_tensor(np.asarray(value))


class _Backward:
    """A module that is given the steps from the last to the first."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, values: Any) -> tuple[Any, None]:
        outputs, _ = self._module(values.flip(0))
        return outputs.flip(0), None
