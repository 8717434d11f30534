"""What the gates of an LSTM and a GRU do to memory and to gradients, over very long horizons.

>>> import numpy as np, gatescope as gs
>>> params = gs.init("lstm", input_size=1, hidden_size=64, seed=0)
>>> inputs = np.random.default_rng(0).standard_normal((1000, 1))
>>> trace = gs.run(params, inputs)                      # every state and gate at every step
>>> flow = gs.gradient_flow(params, inputs)             # how far back the last step's gradient reaches
>>> bool(flow.decay_rate().value[0] > 0)                # nats per step
True
"""

from gatescope import cells, experiments, tasks, training
from gatescope._version import __version__
from gatescope.comparison.compare import compare
from gatescope.datatypes import (
    Batch,
    CellMeasurements,
    Comparison,
    Connectivity,
    Diagnosis,
    Fit,
    FixedPoints,
    GradientFlow,
    GradientPaths,
    Gradients,
    HalfLife,
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
    Status,
    Trace,
    TrainingRun,
    load,
    save,
)
from gatescope.datatypes.stack import Stack
from gatescope.errors import (
    AccuracyWarning,
    DeviceError,
    DtypeError,
    FileFormatError,
    GatescopeError,
    MissingPackageError,
    OutputError,
    ShapeError,
    UnknownNameError,
    ValueRangeError,
    WeightFormatError,
)
from gatescope.io import load_torch, read_series
from gatescope.kernels.device import to_device
from gatescope.measurements.connectivity import connectivity
from gatescope.measurements.diagnosis import diagnose
from gatescope.measurements.fixed_points import fixed_points
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.measurements.gradient_paths import gradient_paths
from gatescope.measurements.half_life import half_life
from gatescope.measurements.jacobian_spectrum import jacobian_spectrum
from gatescope.measurements.lyapunov_spectrum import lyapunov_of_jacobians, lyapunov_spectrum
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
    "CellMeasurements",
    "Comparison",
    "Connectivity",
    "DeviceError",
    "Diagnosis",
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
    "Head",
    "History",
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
    "Status",
    "Trace",
    "TrainingRun",
    "UnknownNameError",
    "ValueRangeError",
    "WeightFormatError",
    "__version__",
    "backprop",
    "cells",
    "clamp",
    "compare",
    "connectivity",
    "diagnose",
    "estimate_memory",
    "evaluate",
    "experiments",
    "fixed_points",
    "gradient_flow",
    "gradient_paths",
    "half_life",
    "init",
    "init_stack",
    "jacobian_spectrum",
    "load",
    "load_torch",
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
    "tasks",
    "to_device",
    "train",
    "training",
]


def _draw_inline(result: Result) -> bytes | None:
    """The small figure that notebooks show of a result; matplotlib is imported when one is drawn."""
    import importlib

    png: bytes | None = importlib.import_module("gatescope.plotting._inline").png(result)
    return png


Result.draw_inline = staticmethod(_draw_inline)


def __getattr__(name: str) -> object:
    # matplotlib is imported when plotting is used, not by `import gatescope`.
    if name == "plotting":
        import importlib

        return importlib.import_module("gatescope.plotting")
    raise AttributeError(f"module 'gatescope' has no attribute {name!r}")
