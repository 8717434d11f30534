"""Pictures of results: each function takes a result and axes, draws on those axes alone, and returns them.

Nothing here uses pyplot, opens a window or changes matplotlib's settings; it works without a display.
"""

from gatescope.plotting.animation import animate_gates, animate_steps
from gatescope.plotting.connectivity import connectivity_map
from gatescope.plotting.decay import gradient_decay
from gatescope.plotting.diagnosis import diagnosis
from gatescope.plotting.export import render, save_figure
from gatescope.plotting.fixed_points import fixed_point_moduli, fixed_points_plane
from gatescope.plotting.gates_in_training import gates_before_and_after, saturation_before_and_after
from gatescope.plotting.heatmap import gate_heatmap
from gatescope.plotting.jacobian import jacobian_spectrum
from gatescope.plotting.learning import draw_loss_curves, loss_curves
from gatescope.plotting.long_series import long_series
from gatescope.plotting.memory import half_lives
from gatescope.plotting.moving import save_animation
from gatescope.plotting.paths import path_shares
from gatescope.plotting.phases import phase_map
from gatescope.plotting.saturation_plot import draw_saturation_shares, saturation, saturation_shares
from gatescope.plotting.spectrum import lyapunov_convergence, lyapunov_exponents
from gatescope.plotting.styling import new_figure, style
from gatescope.plotting.training_gradients import training_gradients
from gatescope.plotting.trajectories import gate_trajectories

__all__ = [
    "animate_gates",
    "animate_steps",
    "connectivity_map",
    "diagnosis",
    "draw_loss_curves",
    "draw_saturation_shares",
    "fixed_point_moduli",
    "fixed_points_plane",
    "gate_heatmap",
    "gate_trajectories",
    "gates_before_and_after",
    "gradient_decay",
    "half_lives",
    "jacobian_spectrum",
    "long_series",
    "loss_curves",
    "lyapunov_convergence",
    "lyapunov_exponents",
    "new_figure",
    "path_shares",
    "phase_map",
    "render",
    "saturation",
    "saturation_before_and_after",
    "saturation_shares",
    "save_animation",
    "save_figure",
    "style",
    "training_gradients",
]
