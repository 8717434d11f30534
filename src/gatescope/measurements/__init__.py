"""Measurements of how gradients propagate."""

from gatescope.gradients.connectivity import connectivity
from gatescope.gradients.diagnosis import diagnose
from gatescope.gradients.fixed_points import fixed_points
from gatescope.gradients.flow import gradient_flow
from gatescope.gradients.jacobian import jacobian_spectrum
from gatescope.gradients.lyapunov import lyapunov_of_jacobians, lyapunov_spectrum
from gatescope.gradients.memory import half_life
from gatescope.gradients.paths import gradient_paths
from gatescope.gradients.phases import phase_diagram

__all__ = [
    "connectivity",
    "diagnose",
    "fixed_points",
    "gradient_flow",
    "gradient_paths",
    "half_life",
    "jacobian_spectrum",
    "lyapunov_of_jacobians",
    "lyapunov_spectrum",
    "phase_diagram",
]
