"""Code in a Python process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import gatescope

SOURCE = Path(gatescope.__file__).parent


def python(code, **variables):
    """Run a program that sees this gatescope, with warnings as errors; what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(SOURCE.parent), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()
