"""``gatescope measure saturation``: of a model of several layers a panel each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatescope.cli.measure.command import Job


def draw(job: Job, result: Any) -> Any:
    """Draw how often gates are shut and open."""
    from gatescope import plotting
    from gatescope.datatypes import ByLayer

    several = isinstance(result, ByLayer)
    return (plotting.plot_saturation_by_layer if several else plotting.plot_saturation)(result)
