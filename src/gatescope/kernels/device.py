"""Which devices there are, and whether the one asked for can compute."""

from __future__ import annotations

from typing import Any

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
        from gatescope.kernels.gpu import api, backend

        # Something may stand in for the GPU: the emulator of the tests.
        why = None if backend.in_place() else api.why_unavailable()
        if why is not None:
            raise DeviceError(f"device='cuda' cannot be used: {why}. Or pass device='cpu'. {SIMULATOR}")
    return device
