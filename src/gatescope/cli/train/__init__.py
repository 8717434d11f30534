"""The commands ``gatescope train`` and ``gatescope experiment``.

What does the work is imported inside the functions, so that ``--help`` and mistyped options answer at once.
"""

from gatescope.cli.experiment import app as experiment_app
from gatescope.cli.train.train import train

__all__ = ["experiment_app", "train"]
