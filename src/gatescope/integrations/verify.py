"""Whether weights that were read compute what the framework that they come from computes: a sequence through both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes.stack import Layer, directions, time_major
from gatescope.errors import WeightFormatError, warn_accuracy
from gatescope.io.loading import Opened
from gatescope.io.weights import kind_of
from gatescope.recurrence.layers import merged, outputs_of_layers
from gatescope.recurrence.run import run
from gatescope.reporting.text import counted

STEPS, SEQUENCES = 20, 3
OR_NOT = ", or leave `verify` out"
_ALIKE = {"float32": 1e-5, "float64": 1e-11}  # outputs that differ by no more are the same but for rounding


class Verification(NamedTuple):
    """How far outputs lie apart.

    Attributes
    ----------
    by : str
        The framework that ran the source, with its version.
    difference : float
        The largest between an output here and there.
    largest : float
        The greatest magnitude of an output, which rounding grows with where it is above 1.
    outputs : int
        How many were compared.
    dtype : str
        That both computed in.
    """

    by: str
    difference: float
    largest: float
    outputs: int
    dtype: str

    @property
    def alike(self) -> bool:
        """Whether rounding explains the difference."""
        return self.difference <= _ALIKE[self.dtype] * max(1.0, self.largest)

    def __str__(self) -> str:
        size = f" up to {self.largest:.2g}" if self.largest > 1 else ""
        return (
            f"{counted(self.outputs, 'output')}{size} in {self.dtype} differ from those of {self.by} by "
            f"{self.difference:.2g} at most"
        )


def verify_weights(source: Any, opened: Opened) -> Verification:
    """Run the network that is meant of a source in its framework and here, on random inputs, and compare the outputs.

    A file is opened by its framework, which may run what is in it only as far as that calls it safe.  A tree of JAX
    names no model, and is put into the cells that its framework has for arrays of these names.

    Raises
    ------
    MissingPackageError
        If the framework is not installed.
    WeightFormatError
        If it makes no model of the source, or not of this network.

    Warns
    -----
    AccuracyWarning
        If more than rounding lies between them.
    """
    layers = [time_major(layer) for layer in opened.whole()]
    kind = kind_of(source)
    if kind == "onnx":
        from gatescope.integrations.onnx_outputs import compare_nodes

        verification = compare_nodes(source, opened, layers)
    else:
        verification = _compare(opened, _runner(kind, source, opened, layers), layers)
    if not verification.alike:
        warn_accuracy(
            f"{opened.label}: {verification}, more than rounding: what was read computes something else"
        )
    return verification


class Runner(NamedTuple):
    """A network in its framework.

    Attributes
    ----------
    by : str
        The framework, with its version.
    run : callable
        Takes inputs (T, B, I) and returns outputs (T, B, H), or the last ones (B, H) where there are no others.
    dtype : str
        The lowest precision that it computes in.
    """

    by: str
    run: Callable[[Array], Array]
    dtype: str


def _runner(kind: str, source: Any, opened: Opened, layers: list[Layer]) -> Runner:
    if kind == "torch":
        from gatescope.integrations.torch_outputs import torch_runner

        return torch_runner(source, opened, layers)
    if kind == "keras":
        from gatescope.integrations.keras_outputs import keras_runner

        return keras_runner(source, opened)
    from gatescope.integrations.jax_outputs import jax_runner

    return jax_runner(source, opened, layers)


def _compare(opened: Opened, runner: Runner, layers: list[Layer]) -> Verification:
    dtype = np.result_type(*(layer.dtype for layer in layers))
    shape = (STEPS, SEQUENCES, layers[0].input_size)
    inputs = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    try:
        there = runner.run(inputs)
    except Exception as error:  # whatever a framework says of what it does not run
        raise cannot(opened, f"{runner.by} does not run it ({' '.join(str(error).split())[:200]})") from error
    here = outputs_of_layers(layers, inputs) if there.ndim == inputs.ndim else _last(layers, inputs)
    verification = compared(runner.by, here, there)
    return verification._replace(dtype=runner.dtype) if runner.dtype == "float32" else verification


def _last(layers: list[Layer], inputs: Array) -> Array:
    """Return the last outputs (B, H) of the uppermost layer: those after the last step of each direction."""
    if layers[1:]:
        inputs = outputs_of_layers(layers[:-1], inputs)
    states = [run(params, inputs).final_state[None, :, 0] for params in directions(layers[-1]).values()]
    last: Array = merged(layers[-1], states)[0]
    return last


def compared(by: str, here: Array, there: Array) -> Verification:
    """Return how far two arrays of outputs lie apart; infinitely, if they are of other shapes or not finite."""
    same = here.shape == there.shape
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(here.astype(np.float64) - there).max(initial=0.0) if same else np.inf
    difference = float(apart) if np.isfinite(apart) else np.inf
    largest = float(np.abs(here).max(initial=0.0))
    return Verification(by, difference, largest, int(here.size), str(here.dtype))


def cannot(opened: Opened, why: str) -> WeightFormatError:
    """Return the error that says why a source cannot be verified."""
    return opened.wrong(f"cannot be verified: {why}", advice="leave `verify` out")
