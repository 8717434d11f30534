"""The one protocol of what a device does for whoever runs a cell piece by piece, and which devices there are."""

from __future__ import annotations

from typing import Any, Protocol

from gatescope.cells.registry import Cell
from gatescope.datatypes import Array, Params
from gatescope.errors import DeviceError, UnknownNameError

DEVICES = ("cpu", "cuda")
SIMULATOR = (
    "NUMBA_ENABLE_CUDASIM=1, set before Python starts, runs the kernels in Numba's simulator: "
    "no GPU needed, but slow, for trying out"
)


def check_device(device: Any) -> str:
    """A device that can compute; never changed silently.  Only ``"cuda"`` brings numba.cuda in."""
    if not isinstance(device, str) or device not in DEVICES:
        raise UnknownNameError(
            f"device={device!r} is not known; the devices are 'cpu' and 'cuda', "
            "and CUDA_VISIBLE_DEVICES chooses among several GPUs"
        )
    if device == "cuda":
        from gatescope.kernels.cuda import backend, driver

        # Something may stand in for the GPU: the emulator of the tests.
        why = None if backend.in_place() else driver.why_unavailable()
        if why is not None:
            raise DeviceError(f"device='cuda' cannot be used: {why}. Or pass device='cpu'. {SIMULATOR}")
    return device


class Device(Protocol):
    """A device with a cell's weights on it.  States and gates of a piece stay where it computes."""

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        """Steps of the pieces that a run is cut into, if a step's states and gates, and a checkpoint, take so much."""
        ...

    def overlaps(self, directions: int) -> bool:
        """Whether a thread is idle while so many adjoints a sequence are carried back."""
        ...

    def room(self, steps: int) -> tuple[Any, Any]:
        """States (steps+1, B, S, H) and gates (steps, B, K, H) to be filled."""
        ...

    def forward(self, inputs: Array, first_state: Array, states: Any, gates: Any) -> None:
        """Run from a state (B, S, H) over inputs (steps, B, I), all sequences to the end."""
        ...

    def last(self, states: Any) -> Array:
        """A copy of the last state, (B, S, H)."""
        ...

    def adjoints(self, directions: Array) -> Any:
        """Adjoints to be carried back: `kernels.cpu.adjoints.Adjoints` or `kernels.cuda.adjoints.Adjoints`."""
        ...


def device_for(device: str, cell: Cell, params: Params, batch: int, threads: int) -> Device:
    """Return the device of a name that `check_device` has passed, with the weights of `params` on it."""
    if device == "cuda":
        from gatescope.kernels.cuda.device import CudaDevice

        return CudaDevice(cell, params, batch)
    from gatescope.kernels.cpu.device import CpuDevice

    return CpuDevice(cell, params, batch, threads)
