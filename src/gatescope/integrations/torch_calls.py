"""A PyTorch model run once, with every call of its recurrent modules seen; nothing of the model is changed.

PyTorch is not imported here: a module that is passed in has brought it along.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import DtypeError
from gatescope.integrations.calls import Call, Recording, as_numpy, side_by_side

_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",  # of torch.compile
}
_RECURRENT = re.compile(r"\w*(?:LSTM|GRU|RNN)(?:Cell)?")
_ADVICE = "give one with torch.nn.LSTM, GRU or RNN in it, or their cells"


def is_module(value: object) -> bool:
    """Return whether something is a module of PyTorch, without importing it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def record(module: Any, batch: Sequence[Any], named: Mapping[str, Any]) -> Recording:
    """Run a module once on a batch and return the calls of the recurrent modules in it.

    The module that `DataParallel` or `torch.compile` wraps is run itself, as it was written.
    """
    torch: Any = sys.modules["torch"]
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    while type(module).__name__ in _WRAPPERS:
        module = getattr(module, _WRAPPERS[type(module).__name__])
    modules, refused = _recurrent(torch, module)
    recording = Recording(kind=kind, modules=modules, refused=refused, advice=_ADVICE)
    if modules:
        with undisturbed(torch, module), ExitStack() as hooks:
            for name, each in modules.items():
                hook = partial(_see, torch, recording.calls.append, name)
                hooks.callback(each.register_forward_hook(hook, with_kwargs=True).remove)
            try:
                module(*batch, **named)
            except (AttributeError, TypeError) as error:
                _check_tensors(batch, error)
                raise
    return recording


def _check_tensors(batch: Sequence[Any], error: Exception) -> None:
    """Say so if what a model failed on may be an argument that is an array, or nothing, where modules take tensors."""
    for k, value in enumerate(batch):
        if value is None or isinstance(value, np.ndarray):
            raise DtypeError(
                f", which the model did not take ({type(error).__name__}: {str(error)[:120]})",
                argument=f"batch[{k}]",
                seen=type(value),
                advice="give what the model is called with, such as torch.as_tensor(inputs)",
            ) from error


def dtype_of(module: Any) -> Any:
    """Return the dtype of a module's first weights; None if it is none of PyTorch, or has no weights."""
    weights = _first_weights(module)
    return None if weights is None else weights.dtype


def wait_for(module: Any) -> None:
    """Wait until the GPU of a module has done what was asked of it."""
    weights = _first_weights(module)
    if weights is not None and weights.device.type == "cuda":
        sys.modules["torch"].cuda.synchronize(weights.device)


def placed(inputs: Any, module: Any, dtype: Any) -> Any:
    """Return inputs on the device of a module's weights; those of `dtype`, which the weights had, in that they have."""
    weights = _first_weights(module)
    if weights is None:
        return inputs
    return _placed(inputs, weights, dtype)


def _placed(value: Any, weights: Any, dtype: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(_placed(each, weights, dtype) for each in value)
    if isinstance(value, Mapping):
        return {name: _placed(each, weights, dtype) for name, each in value.items()}
    torch: Any = sys.modules["torch"]
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return value.to(weights.device, weights.dtype if value.data.dtype == dtype else value.data.dtype)
    if isinstance(value, torch.Tensor):
        return value.to(weights.device, weights.dtype if value.dtype == dtype else value.dtype)
    return value


def _first_weights(module: Any) -> Any:
    if not is_module(module):
        return None
    return next((each for each in module.parameters() if each.is_floating_point()), None)


def _recurrent(torch: Any, module: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the recurrent modules by name, and why others that are called so cannot be looked into."""
    modules, refused = {}, {}
    for name, each in module.named_modules():
        name = name.replace("_orig_mod.", "").removesuffix("_orig_mod").rstrip(".")
        kind = getattr(each, "original_name", type(each).__name__)
        if isinstance(each, torch.jit.ScriptModule):
            if _RECURRENT.fullmatch(kind):
                refused[name] = (
                    "is of TorchScript, whose calls cannot be seen: give the module as it was before torch.jit"
                )
        elif isinstance(each, torch.nn.RNNBase | torch.nn.RNNCellBase):
            if _has_own_forward(type(each)):
                refused[name] = (
                    f"is a {kind} of {type(each).__module__}, whose own forward() may do more than its cells"
                )
            else:
                modules[name] = each
        elif _RECURRENT.fullmatch(kind) and not any(_RECURRENT.fullmatch(n) for n in _kinds_inside(each)):
            refused[name] = f"is a {kind} of {type(each).__module__}, which is none of torch.nn's"
    return modules, refused


def _has_own_forward(kind: type) -> bool:
    """Return whether a class that is derived from one of torch.nn's has another forward() than that."""
    base = next(base for base in kind.__mro__ if base.__module__ == "torch.nn.modules.rnn")
    return getattr(kind, "forward", None) is not getattr(base, "forward", None)


def _kinds_inside(module: Any) -> Iterator[str]:
    return (type(part).__name__ for part in module.modules() if part is not module)


@contextmanager
def undisturbed(torch: Any, module: Any) -> Iterator[None]:
    """Let a module run as in use: without gradients, in eval mode, as it was written and not as it was compiled.

    Training flags and the states of all random generators are afterwards what they were before.
    """
    flags = [(each, each.training) for each in module.modules()]
    tensors = [*module.parameters(), *module.buffers()]
    devices = {tensor.device.index for tensor in tensors if tensor.device.type == "cuda"}
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  # the model may use them
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([*devices]))
        stack.enter_context(torch.no_grad())
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            # Of compiled modules inside: graphs that were compiled before do not see the hooks.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for each, _ in flags:  # not eval(), which a module may have overridden
                each.training = False
            yield
        finally:
            for each, flag in flags:
                each.training = flag
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def _see(
    torch: Any,
    add: Callable[[Call], None],
    name: str,
    module: Any,
    args: tuple[Any, ...],
    named: dict[str, Any],
    outputs: Any,
) -> None:
    """Add a call of a recurrent module."""
    given = dict(zip(("input", "hx"), args, strict=False)) | named
    see = _see_step if isinstance(module, torch.nn.RNNCellBase) else _see_sequences
    add(see(torch, name, module, given["input"], given.get("hx"), outputs))


def _see_step(torch: Any, name: str, module: Any, inputs: Any, state: Any, outputs: Any) -> Call:
    """Return the call of a cell: one step of (B, I), or of (I,)."""
    rows = (-1, module.hidden_size)
    return Call(
        name=name,
        inputs=as_numpy(inputs).reshape(1, -1, module.input_size),
        initial=None if state is None else side_by_side([part.reshape(rows) for part in _parts(state)]),
        final=side_by_side([part.reshape(rows) for part in _parts(outputs)]),
    )


def _see_sequences(torch: Any, name: str, module: Any, inputs: Any, state: Any, outputs: Any) -> Call:
    """Return the call of a module: sequences of (T, B, I), packed ones, or one of (T, I)."""
    lengths = None
    if isinstance(inputs, torch.nn.utils.rnn.PackedSequence):
        padded, sizes = torch.nn.utils.rnn.pad_packed_sequence(inputs)
        values, lengths = as_numpy(padded), sizes.numpy().astype(np.int64)
        if (lengths == len(values)).all():
            lengths = None
    else:
        values = as_numpy(inputs)
        if values.ndim == 2:
            values = values[:, None]
        elif module.batch_first:
            values = values.swapaxes(0, 1)
    # States of a projection are of other sizes; its weights are refused.
    initial = None if state is None or module.proj_size else _of_layers(module, state)
    final = None if module.bidirectional or module.proj_size else _of_layers(module, outputs[1])
    return Call(name=name, inputs=np.ascontiguousarray(values), lengths=lengths, initial=initial, final=final)


def _of_layers(module: Any, state: Any) -> Array:
    """Return states (layers * directions, B, H), of an LSTM two of them, as (B, N): layer by layer."""
    parts = [part.reshape(len(part), -1, module.hidden_size) for part in _parts(state)]
    return side_by_side([np.stack(parts, axis=2).transpose(1, 0, 2, 3)])


def _parts(state: Any) -> list[Array]:
    """Return the one state there is, or the two of an LSTM."""
    return [as_numpy(part) for part in (state if isinstance(state, tuple | list) else (state,))]
