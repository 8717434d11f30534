"""The one protocol of what a device does, which devices there are, and how weights get onto one."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from typing import Any, Protocol

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.arrays import on_device
from gatescope.checks.network import check_params
from gatescope.checks.numbers import check_flag, check_threads
from gatescope.datatypes import Array, Bidirectional, Params, Result, Stack, Trace
from gatescope.errors import DeviceError, DtypeError, UnknownNameError, ValueRangeError

DEVICES = ("cpu", "cuda")
USE_CPU = (
    "choose `device` 'cpu'"  # an advice: the command line writes its option for what stands in backticks
)
SIMULATOR = (
    "NUMBA_ENABLE_CUDASIM=1, set before Python starts, runs the kernels in Numba's simulator: "
    "no GPU needed, but slow, for trying out"
)


class Derivatives(Protocol):
    """What makes the derivatives of steps whose units are saturated, on the host; arrays are as `Device.derive` has."""

    def saturated(self, states: Array, gates: Array) -> bool:
        """Return whether recorded values have lost digits of their derivatives."""

    def may_be_saturated(self, states: Array, gates: Array) -> bool:
        """Return whether values with these largest and smallest magnitudes, (2, S, 1) and (2, K, 1), may have."""

    def derive(self, inputs: Array, states: Array, gates: Array, slot: int = 0) -> Array:
        """Return coefficients (T, B, C, H), which are there until others are asked for in the same slot."""

    def steps(self, inputs: Array, states: Array, gates: Array, slot: int = 0) -> Array:
        """Return coefficients where `saturated` is true, or else the gates."""

    def shape(self, gates: Any) -> tuple[int, ...]:
        """Return the shape of the coefficients of steps that saved `gates`, on whatever device."""


class PieceDevice(Protocol):
    """A device that does a run of one network piece by piece, so that a run of any length fits, and goes back over it.

    The network is one cell, with states (B, S, H), or several layers, with joint states (B, N).  States and gates of a
    piece stay where the device computes; they can be cut along time.

    Attributes
    ----------
    name : str
        As in `DEVICES`.
    carries : float
        The smallest derivative of a step that its adjoints carry with all its digits, whatever the steps before were.
    """

    name: str
    carries: float

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        """Return how many steps a piece of a run of `steps` should have.

        `step_bytes` is what a step's states and gates take, `state_bytes` what a checkpoint takes.
        """

    def gate_bytes(self, batch: int) -> int:
        """Return what the gates of a step of so many sequences take."""

    def overlaps(self, batch: int, directions: int) -> bool:
        """Return whether a thread is idle while so many adjoints of each sequence are carried back."""

    def buffers(self, steps: int, batch: int) -> tuple[Any, Any]:
        """Return empty states (steps+1, B, S, H) and gates (steps, B, K, H)."""

    def forward(self, inputs: Any, first_state: Any, states: Any, gates: Any) -> None:
        """Run from a state over inputs (steps, B, I); all sequences to the end."""

    def ends(
        self, pieces: Iterator[Array], first_state: Array, states: Any, gates: Any
    ) -> Generator[Array, None, None]:
        """Run from a state over pieces of inputs (steps, B, I); yield a NumPy copy of the last state of each.

        States and gates are for as many steps as all pieces have, and hold nothing in particular.
        """

    def derive(self, exact: Any, inputs: Array, states: Any, gates: Any, slot: int) -> Any:
        """Return what adjoints take of a piece: its gates, or coefficients if units are saturated.

        `exact` are the `Derivatives` of this device's cell, or of several layers.
        Inputs are (T, B, I), states (T+1, B, S, H), gates (T, B, K, H).
        """

    def last(self, states: Any) -> Array:
        """Return a NumPy copy of the last state, (B, S, H)."""

    def adjoints(self, directions: Array) -> Any:
        """Return the `Adjoints` of this device, which carry `directions` (B, M, S, H) back through pieces."""


class Device(PieceDevice, Protocol):
    """A device that computes one cell, with the weights on it: a run piece by piece, or all of it at once."""

    def take_inputs(self, inputs: Any) -> Any:
        """Return checked inputs (T, B, I) in the weights' dtype, in NumPy or on the device."""

    def take_state(self, name: str, value: Any, batch: int) -> Any:
        """Return a checked state or state adjoint (B, S, H), in NumPy or on the device; zeros for None."""

    def take_output_adjoint(self, value: Any, trace: Trace) -> Any:
        """Return a checked adjoint of the outputs (T, B, H), in NumPy or on the device; None for None."""

    def run(self, inputs: Any, first_state: Any, lengths: Array) -> tuple[Any, Any, Any, Any]:
        """Run over all inputs; return inputs, states, gates and lengths as a `Trace` on this device holds them."""

    def backprop(
        self, trace: Trace, output_adjoint: Any, final_adjoint: Any
    ) -> tuple[tuple[Any, ...], Any, Any, Any]:
        """Return the gradients of the four weights, of the inputs, of the initial state, and all state adjoints."""

    def forward(self, inputs: Any, first_state: Any, states: Any, gates: Any, lengths: Any = None) -> None:
        """Run from a state (B, S, H) over inputs (steps, B, I); all sequences to the end, or to their lengths."""


def ends_of(
    device: PieceDevice, pieces: Iterator[Array], state: Array, states: Any, gates: Any
) -> Generator[Array, None, None]:
    """Do what `PieceDevice.ends` says, piece by piece."""
    for inputs in pieces:
        device.forward(inputs, state, states, gates)
        state = device.last(states)
        yield state


def check_device(device: Any) -> str:
    """Return the name of a device that can compute; only ``"cuda"`` imports numba.cuda.

    Raises
    ------
    UnknownNameError
        If there is no device of that name.
    DeviceError
        If it is not there; a device is never changed silently.
    """
    if not isinstance(device, str) or device not in DEVICES:
        raise UnknownNameError(
            "is not known",
            argument="device",
            seen=device,
            advice="the devices are 'cpu' and 'cuda', and CUDA_VISIBLE_DEVICES chooses among several GPUs",
        )
    if device == "cuda":
        from gatescope.kernels.cuda import backend, driver

        # Something may stand in for the GPU: the emulator of the tests.
        reason = None if backend.substituted() else driver.why_unavailable()
        if reason is not None:
            raise DeviceError(
                f"cannot be used: {reason}",
                argument="device",
                seen=device,
                advice=f"{USE_CPU}. {SIMULATOR}",
            )
    return device


def device_of(device: Any, params: Any) -> str:
    """Return the name of the device to compute on: the one that is named, or else the one the weights are on."""
    weights_on_device = isinstance(params, Params) and params.on_device
    if device is None:
        device = "cuda" if weights_on_device else "cpu"
    if check_device(device) == "cpu" and weights_on_device:
        raise DeviceError(
            "are on the GPU, but `device` is 'cpu'",
            argument="params",
            advice="give params.to_host(), or leave `device` out",
        )
    return str(device)


def threads_for(device: str, threads: Any) -> int:
    """Return the number of CPU threads to use at most; none may be named for the GPU."""
    if device == "cuda" and threads is not None:
        raise ValueRangeError(
            "is for the cpu", argument="threads", seen=threads, advice="leave it out with `device` 'cuda'"
        )
    return check_threads(threads)


def check_fast_activations(fast_activations: Any, device: str, params: Any) -> bool:
    """Return whether to use the GPU's approximate tanh, which exists there and in float32 only."""
    fast = check_flag("fast_activations", fast_activations)
    if fast and isinstance(params, Params) and (device != "cuda" or params.dtype != np.float32):
        raise ValueRangeError(
            f"needs the device 'cuda' and float32 weights, but these are {device!r} and {params.dtype}",
            argument="fast_activations",
            seen=True,
            advice="leave it out",
        )
    return fast


def device_for(
    device: str, cell: Cell, params: Params, threads: int, *, fast_activations: bool = False
) -> Device:
    """Return the device of a name that `check_device` has passed, for weights that have been checked."""
    if device == "cuda":
        from gatescope.kernels.cuda.device import CudaDevice

        return CudaDevice(cell, params, fast_activations=fast_activations)
    from gatescope.kernels.cpu.device import CpuDevice

    return CpuDevice(cell, params, threads)


def device_metadata(device: str) -> dict[str, str]:
    """Return what provenance says of a device: its name, and which GPU it is, or what stands in for one."""
    if device == "cpu":
        return {"device": device}
    gpu = _gpu()
    return {"device": device, "backend": gpu.name} | ({"gpu": gpu.gpu} if gpu.gpu else {})


def to_device(params: Params) -> Params:
    """Copy weights to the GPU, once for many calls of `run` and `backprop`.

    Parameters
    ----------
    params : Params

    Returns
    -------
    Params
        With arrays on the GPU.  `run` with these returns a `Trace` whose arrays are there too, `backprop` with these
        and it such `Gradients`; nothing is copied to the host until ``to_host()`` of a result is called.

    Raises
    ------
    DeviceError
        If no GPU can be used; the message says what is missing.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.to_device(gs.init("gru", input_size=1, hidden_size=64))  # doctest: +SKIP
    >>> trace = gs.run(params, np.zeros((1000, 40, 1)))  # doctest: +SKIP
    >>> trace.to_host().outputs.shape  # doctest: +SKIP
    (1000, 40, 64)
    """
    model: Any = params
    if isinstance(model, Stack | Bidirectional):
        raise DtypeError(
            argument="params",
            seen=type(params),
            advice="leave it on the host and give `device`='cuda': each layer goes there when its turn comes",
        )
    check_device("cuda")
    check_params(params, any_device=True)
    if params.reverse:
        raise DeviceError(
            "is a backward direction, whose results are put into the order of the inputs on the host",
            argument="params.reverse",
            seen=True,
            advice="give the params on the host, with `device`='cuda'",
        )
    if params.on_device:
        return params
    gpu = _gpu()
    return dataclasses.replace(params, **{name: gpu.to_device(a) for name, a in params.arrays().items()})


def copy_of(array: Any) -> Any:
    """Return a copy of an array, on the device that it is on."""
    if not on_device(array):
        return array.copy()
    gpu = _gpu()
    copy = gpu.empty(tuple(array.shape), array.dtype)
    gpu.copy(array.reshape(-1), copy.reshape(-1))
    return copy


def write_rows(array: Any, rows: Array, values: Array | None) -> None:
    """Write into an array, on whatever device, at the `rows` that are True: `values` (rows,), or zeros."""
    if not on_device(array):
        array[rows] = 0 if values is None else values[rows]
        return
    gpu = _gpu()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        part = array[start:stop].reshape(-1)
        new = gpu.zeros(part.size, array.dtype) if values is None else gpu.to_device(values[start:stop])
        gpu.copy(new, part)


def _gpu() -> Any:
    from gatescope.kernels.cuda import backend

    return backend.current()


Result.fetch = staticmethod(lambda array: _gpu().to_host(array))  # results lie below devices
