"""What the gates of an LSTM and a GRU do to memory and to gradients, over very long horizons.

>>> import numpy as np, gatescope as gs
>>> params = gs.init("lstm", input_size=1, hidden_size=64, seed=0)
>>> inputs = np.random.default_rng(0).standard_normal((1000, 1))
>>> trace = gs.run(params, inputs)                      # every state and gate at every step
>>> flow = gs.gradient_flow(params, inputs)             # how far back the last step's gradient reaches
>>> bool(flow.decay_rate().value[0] > 0)                # nats per step
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gatescope._version import __version__
from gatescope.errors import (
    AccuracyWarning,
    DeviceError,
    DtypeError,
    FileFormatError,
    GatescopeError,
    InputWarning,
    MissingPackageError,
    OutputError,
    ShapeError,
    UnknownNameError,
    ValueRangeError,
    WeightFormatError,
)

if TYPE_CHECKING:
    from gatescope import cells, experiments, plotting, tasks, training
    from gatescope.comparison.compare import compare
    from gatescope.datatypes import (
        Batch,
        ByLayer,
        Capture,
        CellMeasurements,
        Comparison,
        Connectivity,
        Diagnosis,
        DiagnosisByLayer,
        Fit,
        FixedPoints,
        GradientFlow,
        GradientPaths,
        Gradients,
        HalfLife,
        HalfLifeByLayer,
        Head,
        History,
        JacobianSpectrum,
        LongSeriesResult,
        LyapunovSpectrum,
        MemoryEstimate,
        Params,
        PhaseDiagram,
        Result,
        Saturation,
        StackGradients,
        StackTrace,
        Status,
        SweepResult,
        Trace,
        TraceComparison,
        TrainingRun,
        WatchHistory,
        load,
        save,
    )
    from gatescope.datatypes.stack import Bidirectional, Stack
    from gatescope.experiments.sweep import sweep
    from gatescope.explorer.explore import explore
    from gatescope.integrations.capture import capture
    from gatescope.integrations.watch import watch
    from gatescope.integrations.weights import load_weights
    from gatescope.io import (
        list_weights,
        read_series,
        save_weights,
        to_flax,
        to_keras,
        to_torch,
    )
    from gatescope.kernels.device import to_device
    from gatescope.measurements.compare_traces import compare_traces
    from gatescope.measurements.connectivity import connectivity
    from gatescope.measurements.decays import Decays
    from gatescope.measurements.diagnosis import diagnose
    from gatescope.measurements.fixed_points import fixed_points
    from gatescope.measurements.from_decays import from_decays
    from gatescope.measurements.gradient_flow import gradient_flow
    from gatescope.measurements.gradient_paths import gradient_paths
    from gatescope.measurements.half_life import half_life
    from gatescope.measurements.jacobian_exponents import lyapunov_of_jacobians
    from gatescope.measurements.jacobian_spectrum import jacobian_spectrum
    from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
    from gatescope.measurements.memory_estimate import estimate_memory
    from gatescope.measurements.phase_diagram import phase_diagram
    from gatescope.measurements.saturation import saturation
    from gatescope.recurrence.clamping import clamp
    from gatescope.recurrence.initialization import init, init_stack
    from gatescope.recurrence.run import backprop, run
    from gatescope.training import Dropout, evaluate, majority_accuracy, predict
    from gatescope.training.train import train

__all__ = [
    "AccuracyWarning",
    "Batch",
    "Bidirectional",
    "ByLayer",
    "Capture",
    "CellMeasurements",
    "Comparison",
    "Connectivity",
    "Decays",
    "DeviceError",
    "Diagnosis",
    "DiagnosisByLayer",
    "Dropout",
    "DtypeError",
    "FileFormatError",
    "Fit",
    "FixedPoints",
    "GatescopeError",
    "GradientFlow",
    "GradientPaths",
    "Gradients",
    "HalfLife",
    "HalfLifeByLayer",
    "Head",
    "History",
    "InputWarning",
    "JacobianSpectrum",
    "LongSeriesResult",
    "LyapunovSpectrum",
    "MemoryEstimate",
    "MissingPackageError",
    "OutputError",
    "Params",
    "PhaseDiagram",
    "Result",
    "Saturation",
    "ShapeError",
    "Stack",
    "StackGradients",
    "StackTrace",
    "Status",
    "SweepResult",
    "Trace",
    "TraceComparison",
    "TrainingRun",
    "UnknownNameError",
    "ValueRangeError",
    "WatchHistory",
    "WeightFormatError",
    "__version__",
    "backprop",
    "capture",
    "cells",
    "clamp",
    "compare",
    "compare_traces",
    "connectivity",
    "diagnose",
    "estimate_memory",
    "evaluate",
    "experiments",
    "explore",
    "fixed_points",
    "from_decays",
    "gradient_flow",
    "gradient_paths",
    "half_life",
    "init",
    "init_stack",
    "jacobian_spectrum",
    "list_weights",
    "load",
    "load_weights",
    "lyapunov_of_jacobians",
    "lyapunov_spectrum",
    "majority_accuracy",
    "phase_diagram",
    "plotting",
    "predict",
    "read_series",
    "run",
    "saturation",
    "save",
    "save_weights",
    "sweep",
    "tasks",
    "to_device",
    "to_flax",
    "to_keras",
    "to_torch",
    "train",
    "training",
    "watch",
]

# Everything but the errors is imported when it is first used, so that ``gatescope --help`` answers at once: packages,
# what is in these modules, and all else from `gatescope.datatypes`.
_PACKAGES = ("cells", "experiments", "plotting", "tasks", "training")
_MODULES = {
    "comparison.compare": "compare",
    "experiments.sweep": "sweep",
    "explorer.explore": "explore",
    "integrations.capture": "capture",
    "integrations.watch": "watch",
    "integrations.weights": "load_weights",
    "io": "list_weights read_series save_weights to_flax to_keras to_torch",
    "kernels.device": "to_device",
    "measurements.compare_traces": "compare_traces",
    "measurements.connectivity": "connectivity",
    "measurements.decays": "Decays",
    "measurements.diagnosis": "diagnose",
    "measurements.fixed_points": "fixed_points",
    "measurements.from_decays": "from_decays",
    "measurements.gradient_flow": "gradient_flow",
    "measurements.gradient_paths": "gradient_paths",
    "measurements.half_life": "half_life",
    "measurements.jacobian_spectrum": "jacobian_spectrum",
    "measurements.jacobian_exponents": "lyapunov_of_jacobians",
    "measurements.lyapunov_spectrum": "lyapunov_spectrum",
    "measurements.memory_estimate": "estimate_memory",
    "measurements.phase_diagram": "phase_diagram",
    "measurements.saturation": "saturation",
    "recurrence.clamping": "clamp",
    "recurrence.initialization": "init init_stack",
    "recurrence.run": "backprop run",
    "training": "Dropout evaluate majority_accuracy predict",
    "training.train": "train",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return importlib.import_module(f"gatescope.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'gatescope' has no attribute {name!r}")
    datatypes = importlib.import_module("gatescope.datatypes")
    datatypes.Result.draw_inline = staticmethod(_draw_inline)
    datatypes.Exported.export = staticmethod(_export)
    value: object = getattr(importlib.import_module(f"gatescope.{_HOMES.get(name, 'datatypes')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _draw_inline(result: Result) -> bytes | None:
    """Return the small figure that notebooks show of a result; matplotlib is imported when one is drawn."""
    png: bytes | None = importlib.import_module("gatescope.plotting._inline").png(result)
    return png


def _export(name: str, *arguments: object) -> object:
    """Return what a function of `gatescope.io`, which is imported when one is called, makes of weights."""
    return getattr(importlib.import_module("gatescope.io"), name)(*arguments)
