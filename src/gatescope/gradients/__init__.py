"""Measurements of how gradients propagate."""

from gatescope.gradients.flow import gradient_flow

__all__ = ["gradient_flow"]
