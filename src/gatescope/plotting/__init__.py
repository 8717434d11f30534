"""Pictures of results: each function takes a result and axes, draws on those axes alone, and returns them.

Nothing here uses pyplot, opens a window or changes matplotlib's settings; it works without a display.
"""

from gatescope.plotting.connectivity import connectivity_map
from gatescope.plotting.decay import gradient_decay
from gatescope.plotting.diagnosis import diagnosis
from gatescope.plotting.export import render, save_figure
from gatescope.plotting.fixed_points import fixed_point_moduli, fixed_points_plane
from gatescope.plotting.heatmap import gate_heatmap
from gatescope.plotting.jacobian import jacobian_spectrum
from gatescope.plotting.memory import half_lives
from gatescope.plotting.paths import path_shares
from gatescope.plotting.phases import phase_map
from gatescope.plotting.saturation_plot import draw_saturation_shares, saturation, saturation_shares
from gatescope.plotting.spectrum import lyapunov_convergence, lyapunov_exponents
from gatescope.plotting.styling import new_figure, style
from gatescope.plotting.trajectories import gate_trajectories

__all__ = [
    "connectivity_map",
    "diagnosis",
    "draw_saturation_shares",
    "fixed_point_moduli",
    "fixed_points_plane",
    "gate_heatmap",
    "gate_trajectories",
    "gradient_decay",
    "half_lives",
    "jacobian_spectrum",
    "lyapunov_convergence",
    "lyapunov_exponents",
    "new_figure",
    "path_shares",
    "phase_map",
    "render",
    "saturation",
    "saturation_shares",
    "save_figure",
    "style",
]
