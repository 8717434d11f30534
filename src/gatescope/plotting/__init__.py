"""Pictures of results: each function takes a result and axes, draws on those axes alone, and returns them.

Whatever they draw on has gatescope's look afterwards, and matplotlib's settings are as they were before.  A figure that
nobody has laid out gets constrained layout, so that nothing of it is cut.  It works
without a display; where the caller uses pyplot with a backend that shows figures, new figures are pyplot's too.
"""

from gatescope.plotting._figure import new_figure
from gatescope.plotting._save import render, save_figure
from gatescope.plotting._save_animation import save_animation
from gatescope.plotting._style import style
from gatescope.plotting.animation import animate_gates, animate_steps
from gatescope.plotting.by_layer import plot_by_layer
from gatescope.plotting.connectivity import plot_connectivity
from gatescope.plotting.diagnosis import plot_diagnosis
from gatescope.plotting.effects import plot_effects
from gatescope.plotting.fixed_points import plot_fixed_point_moduli, plot_fixed_points
from gatescope.plotting.gate_heatmap import plot_gate_heatmap, plot_gate_heatmaps
from gatescope.plotting.gate_trajectories import plot_gate_trajectories
from gatescope.plotting.gates_before_after import plot_gates_before_after
from gatescope.plotting.gradient_flow import plot_gradient_flow
from gatescope.plotting.gradient_paths import plot_gradient_paths
from gatescope.plotting.half_life import plot_half_life
from gatescope.plotting.inputs import plot_inputs
from gatescope.plotting.jacobian_spectrum import plot_jacobian_spectrum
from gatescope.plotting.long_series import plot_long_series
from gatescope.plotting.loss_curves import plot_loss_curves
from gatescope.plotting.lyapunov_spectrum import plot_lyapunov_convergence, plot_lyapunov_spectrum
from gatescope.plotting.phase_diagram import plot_phase_diagram
from gatescope.plotting.saturation import (
    plot_saturation,
    plot_saturation_before_after,
)
from gatescope.plotting.training_gradients import plot_training_gradients
from gatescope.plotting.watch import plot_watch

__all__ = [
    "animate_gates",
    "animate_steps",
    "new_figure",
    "plot_by_layer",
    "plot_connectivity",
    "plot_diagnosis",
    "plot_effects",
    "plot_fixed_point_moduli",
    "plot_fixed_points",
    "plot_gate_heatmap",
    "plot_gate_heatmaps",
    "plot_gate_trajectories",
    "plot_gates_before_after",
    "plot_gradient_flow",
    "plot_gradient_paths",
    "plot_half_life",
    "plot_inputs",
    "plot_jacobian_spectrum",
    "plot_long_series",
    "plot_loss_curves",
    "plot_lyapunov_convergence",
    "plot_lyapunov_spectrum",
    "plot_phase_diagram",
    "plot_saturation",
    "plot_saturation_before_after",
    "plot_training_gradients",
    "plot_watch",
    "render",
    "save_animation",
    "save_figure",
    "style",
]
