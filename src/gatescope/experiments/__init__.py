"""Published experiments, done again."""

from gatescope.experiments.long_series import long_series

__all__ = ["long_series"]
