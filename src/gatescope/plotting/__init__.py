"""Pictures of results: each function takes a result and axes, draws on those axes alone, and returns them.

Nothing here uses pyplot, opens a window or changes matplotlib's settings; it works without a display.
"""

from gatescope.plotting.decay import gradient_decay
from gatescope.plotting.export import render, save_figure
from gatescope.plotting.heatmap import gate_heatmap
from gatescope.plotting.saturation_plot import draw_saturation_shares, saturation, saturation_shares
from gatescope.plotting.styling import new_figure, style
from gatescope.plotting.trajectories import gate_trajectories

__all__ = [
    "draw_saturation_shares",
    "gate_heatmap",
    "gate_trajectories",
    "gradient_decay",
    "new_figure",
    "render",
    "saturation",
    "saturation_shares",
    "save_figure",
    "style",
]
