"""Data to run and train the cells on; each task gives a `gatescope.datatypes.Batch`."""

from gatescope.tasks.laser import laser

__all__ = ["laser"]
