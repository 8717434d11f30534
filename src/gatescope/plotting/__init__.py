"""Pictures of results: each function takes a result and axes, draws on those axes alone, and returns them.

Nothing here uses pyplot, opens a window or changes matplotlib's settings; it works without a display.
"""

from gatescope.plotting._save import render, save_figure
from gatescope.plotting._save_animation import save_animation
from gatescope.plotting._style import new_figure, style
from gatescope.plotting.animation import animate_gates, animate_steps
from gatescope.plotting.connectivity import connectivity_map
from gatescope.plotting.diagnosis import diagnosis
from gatescope.plotting.fixed_points import fixed_point_moduli, fixed_points_plane
from gatescope.plotting.gate_heatmap import gate_heatmap
from gatescope.plotting.gate_trajectories import gate_trajectories
from gatescope.plotting.gates_before_after import gates_before_and_after, saturation_before_and_after
from gatescope.plotting.gradient_flow import gradient_decay
from gatescope.plotting.gradient_paths import path_shares
from gatescope.plotting.half_life import half_lives
from gatescope.plotting.jacobian_spectrum import jacobian_spectrum
from gatescope.plotting.long_series import long_series
from gatescope.plotting.loss_curves import draw_loss_curves, loss_curves
from gatescope.plotting.lyapunov_spectrum import lyapunov_convergence, lyapunov_exponents
from gatescope.plotting.phase_diagram import phase_map
from gatescope.plotting.saturation import draw_saturation_shares, saturation, saturation_shares
from gatescope.plotting.training_gradients import training_gradients

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
