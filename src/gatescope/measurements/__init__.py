"""Measurements of how gradients propagate, one file each; what they return is in `gatescope.datatypes`."""
