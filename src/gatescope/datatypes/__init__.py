"""What gatescope returns: frozen, keyword-only, with arrays named in the field's words; one file a kind of result.

Axes: T steps, B batch, I input_size, H hidden_size, G gates, S states, K saved gate values, n = S*H the whole state,
L lags, P paths or points.  Arrays are time-major and C-contiguous.  Logarithms are natural; rates are nats per step;
half-lives are steps.
"""

from gatescope.checks.arrays import Array
from gatescope.datatypes.arm import Arm
from gatescope.datatypes.batch import LOSSES, Batch, Head
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.capture import Capture, CapturedNetwork
from gatescope.datatypes.comparison import CellMeasurements, Comparison
from gatescope.datatypes.connectivity import Connectivity
from gatescope.datatypes.diagnosis import Diagnosis
from gatescope.datatypes.diagnosis_by_layer import DiagnosisByLayer
from gatescope.datatypes.effect import Effect
from gatescope.datatypes.exported import Exported
from gatescope.datatypes.fixed_points import FixedPoints
from gatescope.datatypes.gradient_flow import Fit, GradientFlow
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.datatypes.gradients import Gradients
from gatescope.datatypes.half_life import HalfLife
from gatescope.datatypes.half_life_by_layer import HalfLifeByLayer
from gatescope.datatypes.jacobian_spectrum import JacobianSpectrum
from gatescope.datatypes.long_series import LongSeriesResult
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.datatypes.params import Params
from gatescope.datatypes.phase_diagram import PhaseDiagram
from gatescope.datatypes.published_number import PublishedNumber
from gatescope.datatypes.result import Result, load, save
from gatescope.datatypes.saturation import Saturation
from gatescope.datatypes.seed_run import SeedRun
from gatescope.datatypes.stack import Bidirectional, Stack
from gatescope.datatypes.stack_gradients import StackGradients
from gatescope.datatypes.stack_trace import StackTrace
from gatescope.datatypes.sweep import SweepResult
from gatescope.datatypes.trace import Trace
from gatescope.datatypes.trace_comparison import TraceComparison
from gatescope.datatypes.training_run import History, Status, TrainingRun
from gatescope.datatypes.tuned import Tuned
from gatescope.datatypes.verdict import Verdict
from gatescope.datatypes.watch import WatchHistory

__all__ = [
    "LOSSES",
    "Arm",
    "Array",
    "Batch",
    "Bidirectional",
    "ByLayer",
    "Capture",
    "CapturedNetwork",
    "CellMeasurements",
    "Comparison",
    "Connectivity",
    "Diagnosis",
    "DiagnosisByLayer",
    "Effect",
    "Exported",
    "Fit",
    "FixedPoints",
    "GradientFlow",
    "GradientPaths",
    "Gradients",
    "HalfLife",
    "HalfLifeByLayer",
    "Head",
    "History",
    "JacobianSpectrum",
    "LongSeriesResult",
    "LyapunovSpectrum",
    "MemoryEstimate",
    "Params",
    "PhaseDiagram",
    "PublishedNumber",
    "Result",
    "Saturation",
    "SeedRun",
    "Stack",
    "StackGradients",
    "StackTrace",
    "Status",
    "SweepResult",
    "Trace",
    "TraceComparison",
    "TrainingRun",
    "Tuned",
    "Verdict",
    "WatchHistory",
    "load",
    "save",
]
