"""Published experiments that are repeated, over seeds."""

from gatescope.experiments.long_series.run import run_long_series

__all__ = ["run_long_series"]
