"""The two competitors on a row: gatescope's kernels, and cuDNN through torch.nn.

Both keep what the backward pass needs; ours keeps every gate and state besides.  Inputs and the outputs' adjoints are
random and lie on the device before anything is timed.
"""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatescope as gs
from benchmarks.problem import PARAMETERS, Problem, make_problem
from benchmarks.rows import Row

_TILE = 1 << 22  # numbers drawn on the host; what is longer repeats them


def torch_with_cuda() -> Any:
    """PyTorch, if it sees a GPU.

    Raises
    ------
    RuntimeError
        If it does not, with what to install.
    """
    try:
        import torch
    except ImportError as error:
        raise RuntimeError(f"PyTorch is not installed ({error}); install a build with CUDA") from error
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"PyTorch {torch.__version__} sees no GPU; install a build with CUDA for this driver"
        )
    return torch


def exactly(torch: Any) -> dict[str, Any]:
    """Turn TF32 off, and the search for the best algorithm on; what is set now."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    arrays: dict[str, Any] = {
        "matmul_tf32": bool(torch.backends.cuda.matmul.allow_tf32),
        "cudnn_tf32": bool(torch.backends.cudnn.allow_tf32),
        "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        "cudnn_version": torch.backends.cudnn.version(),
    }
    rnn = getattr(torch.backends.cudnn, "rnn", None)
    if hasattr(rnn, "fp32_precision"):
        arrays["cudnn_rnn_fp32_precision"] = str(rnn.fp32_precision)
    return arrays


def drawn(shape: tuple[int, ...], dtype: str, seed: int) -> NDArray[np.floating]:
    """Random numbers, quickly: beyond some millions they repeat."""
    count = int(np.prod(shape))
    few = np.random.default_rng(seed).standard_normal(min(count, _TILE + 7), dtype=np.dtype(dtype).type)
    return np.resize(few, shape)


class Ours:
    """gatescope on the backend in use; weights, inputs and results stay on the device."""

    def __init__(self, row: Row, torch: Any | None = None) -> None:
        from gatescope.kernels.cuda import backend

        self._row, self._torch, self._backend = row, torch, backend.current()
        self._params = gs.to_device(make_problem(row.shortened(1)).params)
        self._inputs: Any = None
        self._adjoint: Any = None

    def set(self, problem: Problem) -> None:
        """Take these inputs instead of random ones."""
        self._inputs = self._backend.to_device(problem.inputs)
        self._adjoint = self._backend.to_device(problem.output_adjoint)

    def prepare(self, steps: int) -> None:
        """Random inputs of so many steps."""
        self.release()
        row = self._row
        self._inputs = self._random((steps, row.batch, row.input_size), 1)
        self._adjoint = self._random((steps, row.batch, row.hidden_size), 2)

    def _random(self, shape: tuple[int, ...], seed: int) -> Any:
        if self._torch is None:
            return self._backend.to_device(drawn(shape, self._row.dtype, seed))
        torch = self._torch
        generator = torch.Generator(device="cuda").manual_seed(seed)
        kind = getattr(torch, self._row.dtype)
        made = torch.randn(shape, generator=generator, device="cuda", dtype=kind)
        torch.cuda.synchronize()
        return made  # any array with __cuda_array_interface__ will do

    def forward(self) -> Any:
        """Return a trace on the device."""
        return gs.run(self._params, self._inputs)

    def backward(self, saved: Any) -> Any:
        """Gradients on the device."""
        return gs.backprop(self._params, saved, output_adjoint=self._adjoint)

    def arrays(self, saved: Any, gradients: Any) -> dict[str, NDArray[np.floating]]:
        """Return what the CPU's results are compared with."""
        return arrays_of(saved.to_host(), gradients.to_host())

    def release(self) -> None:
        """Give the memory back, to the driver too: PyTorch allocates for itself."""
        self._inputs = self._adjoint = None
        free_memory(self._torch)


def free_memory(torch: Any | None) -> None:
    """Give back to the driver what Numba and PyTorch have and do not use."""
    from gatescope.kernels.cuda import driver

    gc.collect()
    if not driver.simulated and driver.why_unavailable() is None:
        driver.cuda.current_context().deallocations.clear()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def arrays_of(trace: gs.Trace, gradients: gs.Gradients) -> dict[str, NDArray[np.floating]]:
    """Results of gatescope by name."""
    arrays = {name: getattr(gradients.params, name) for name in PARAMETERS}
    return {
        "outputs": trace.outputs,
        "states": trace.states,
        "inputs": gradients.inputs,
        "initial_state": gradients.initial_state,
        "adjoint": gradients.adjoint,
        **arrays,
    }


class CuDnn:
    """torch.nn.LSTM, GRU or RNN, which gives the layer to cuDNN.

    PyTorch chooses the algorithm: for up to 128 units in float32 a persistent one for small layers, else the standard
    one; for packed sequences always the standard one.  So the variants together reach both.

    Parameters
    ----------
    row : Row
    torch : module
    variant : str
        One of `VARIANTS`: inputs (T, B, I), inputs (B, T, I), or packed sequences of equal lengths.
    device : str
        ``"cpu"`` is for the tests of this module.
    """

    VARIANTS = ("time-major", "batch-major", "packed")

    def __init__(self, row: Row, torch: Any, variant: str = "time-major", device: str = "cuda") -> None:
        self._row, self._torch, self._device, self._variant = row, torch, device, variant
        self._batch_first = variant == "batch-major"
        kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[row.cell]
        options = {"batch_first": self._batch_first, "dtype": getattr(torch, row.dtype)}
        layer = kind(row.input_size, row.hidden_size, **options)
        params = make_problem(row.shortened(1)).params
        with torch.no_grad():
            for name in PARAMETERS:
                getattr(layer, f"{name}_l0").copy_(torch.from_numpy(getattr(params, name)))
        self._layer = layer.to(device)
        self._layer.flatten_parameters()
        self._parameters = [getattr(self._layer, f"{name}_l0") for name in PARAMETERS]
        self._inputs: Any = None
        self._adjoint: Any = None

    def set(self, problem: Problem) -> None:
        """Take these inputs instead of random ones."""
        torch = self._torch
        self._take(*(torch.from_numpy(a).to(self._device) for a in (problem.inputs, problem.output_adjoint)))

    def prepare(self, steps: int) -> None:
        """Random inputs of so many steps."""
        self.release()
        torch, row = self._torch, self._row
        generator = torch.Generator(device=self._device).manual_seed(1)
        options = {"generator": generator, "device": self._device, "dtype": getattr(torch, row.dtype)}
        shape = (steps, row.batch)
        self._take(*(torch.randn((*shape, n), **options) for n in (row.input_size, row.hidden_size)))

    def _take(self, inputs: Any, adjoint: Any) -> None:
        """Lay (T, B, ...) out as the variant wants it."""
        torch, row = self._torch, self._row
        if self._variant == "packed":
            sizes = torch.full((inputs.shape[0],), row.batch, dtype=torch.int64)
            inputs = torch.nn.utils.rnn.PackedSequence(inputs.reshape(-1, row.input_size), sizes)
            adjoint = adjoint.reshape(-1, row.hidden_size)
        elif self._batch_first:
            inputs, adjoint = (array.transpose(0, 1).contiguous() for array in (inputs, adjoint))
        self._inputs, self._adjoint = inputs, adjoint

    def forward(self) -> Any:
        """Return outputs, with what the gradients need."""
        outputs = self._layer(self._inputs)[0]
        return outputs.data if self._variant == "packed" else outputs

    def backward(self, saved: Any) -> Any:
        """Gradients of the weights and biases alone; cuDNN computes those of the inputs on the way."""
        return self._torch.autograd.grad(saved, self._parameters, self._adjoint)

    def arrays(self, saved: Any, gradients: Any) -> dict[str, NDArray[np.floating]]:
        """As `Ours.arrays`, but the outputs and the gradients of the weights alone."""
        outputs = saved.detach()
        if self._batch_first:
            outputs = outputs.transpose(0, 1)
        outputs = outputs.cpu().numpy().reshape(-1, self._row.batch, self._row.hidden_size)
        arrays = {name: g.cpu().numpy() for name, g in zip(PARAMETERS, gradients, strict=True)}
        return {"outputs": outputs, **arrays}

    def release(self) -> None:
        """Give the memory back to the driver."""
        self._inputs = self._adjoint = None
        free_memory(self._torch)
