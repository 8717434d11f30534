"""The measurements there are, a row each: commands, and tables of documentation, are made from this.

A measurement of the stem ``half_life`` is the function in ``measurements/half_life.py``, returns the result in
``datatypes/half_life.py``, and is drawn by ``plot_half_life`` in ``plotting/half_life.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """A row of the registry.

    Attributes
    ----------
    stem : str
        What its files are called on every floor.
    answers : str
        What it answers, in a sentence.
    function : str
        The public function, where its name is not the stem.
    """

    stem: str
    answers: str
    function: str = ""

    @property
    def name(self) -> str:
        """The name of the public function."""
        return self.function or self.stem

    @property
    def result(self) -> str:
        """The type of its result."""
        return self.stem.title().replace("_", "")

    @property
    def command(self) -> str:
        """The name of the command: the function's, with hyphens."""
        return self.name.replace("_", "-")

    @property
    def plot(self) -> str:
        """The name of the function in `gatescope.plotting` that draws the result."""
        return f"plot_{self.stem}"

    def load(self) -> Callable[..., Any]:
        """Import and return the public function."""
        module = importlib.import_module(f"gatescope.measurements.{self.stem}")
        measure: Callable[..., Any] = getattr(module, self.name)
        return measure


MEASUREMENTS = (
    Measurement(
        "gradient_flow",
        "How far back the gradient of one step reaches: its norm against the lag, steps to half, decay rate and "
        "asymptotic half-life; through all layers of a stack, ahead too where they go both ways; of a loss or a "
        "direction of your own.",
    ),
    Measurement(
        "jacobian_spectrum", "Singular values of the Jacobian of a state by an earlier one, against the lag."
    ),
    Measurement(
        "lyapunov_spectrum",
        "Lyapunov exponents of the whole state along the series, of a stack of all layers together, with errors and a "
        "verdict.",
    ),
    Measurement(
        "half_life",
        "How long the cell remembers, in steps: by the adjoint, the leading exponent and the memory gate; of a stack "
        "each layer, and the whole.",
    ),
    Measurement(
        "gradient_paths",
        "How much of the gradient stays on the direct path of the state, and how much goes through each gate.",
    ),
    Measurement(
        "connectivity", "How strongly each output depends on each input, through all layers of a stack."
    ),
    Measurement(
        "fixed_points", "States that a constant input keeps as they are, and whether they are stable."
    ),
    Measurement(
        "phase_diagram",
        "Where gradients vanish and where they explode, over gain, bias of the memory gate and scheme.",
    ),
    Measurement(
        "diagnosis",
        "Whether gradients vanish or explode, which layer and gate are responsible, and a bias or gain that changes "
        "it.",
        function="diagnose",
    ),
    Measurement("saturation", "How often each unit's gates are shut or open."),
)
