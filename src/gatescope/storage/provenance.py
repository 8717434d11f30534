"""Where a result comes from: versions, device, dtype, seed and command.

No dates: the same run gives the same bytes.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np

from gatescope._version import __version__


def provenance(**metadata: Any) -> dict[str, Any]:
    """Return versions and the command, with `metadata` of the run added."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv and sys.argv[0] else ""
    return {
        "gatescope": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "command": command,
        **metadata,
    }
