"""What the measurements return, one file a kind of result.

Axes: T steps, B batch, I input_size, H hidden_size, S states, n = S*H the whole state, L lags, P paths or points.
Logarithms are natural; rates are nats per step; half-lives are steps.
"""

from gatescope.measurements.connectivity import Connectivity
from gatescope.measurements.diagnosis import Diagnosis
from gatescope.measurements.fixed_points import FixedPoints
from gatescope.measurements.jacobian import JacobianSpectrum
from gatescope.measurements.long_series import LongSeriesResult
from gatescope.measurements.memory import HalfLife
from gatescope.measurements.paths import GradientPaths
from gatescope.measurements.phases import PhaseDiagram
from gatescope.measurements.spectrum import Spectrum
from gatescope.measurements.training import History, Status, TrainingRun

__all__ = [
    "Connectivity",
    "Diagnosis",
    "FixedPoints",
    "GradientPaths",
    "HalfLife",
    "History",
    "JacobianSpectrum",
    "LongSeriesResult",
    "PhaseDiagram",
    "Spectrum",
    "Status",
    "TrainingRun",
]
