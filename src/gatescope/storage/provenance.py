"""Where a result comes from: versions, device, dtype, seed and command.

No dates: the same run gives the same bytes.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np

from gatescope._version import __version__
from gatescope.errors import printable


def provenance(**metadata: Any) -> dict[str, Any]:
    """Return versions and the command, if it is gatescope's, with `metadata` of the run added."""
    return {
        "gatescope": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "command": _command(),
        **metadata,
    }


def _command() -> str:
    """Return the command with its options, if this is gatescope's: what another program was given may be secret."""
    program, *options = sys.argv or [""]
    name = os.path.basename(program)
    if name == "__main__.py":  # python -m gatescope
        name = os.path.basename(os.path.dirname(program))
    if os.path.splitext(name)[0] != "gatescope":
        return ""
    return printable(" ".join(["gatescope", *options]))


def cpu_name() -> str:
    """Return the processor's name, with its family and model on Linux, where the name may say little."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    entries: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            entries.setdefault(key.strip(), value.strip())
    name = entries.get("model name", platform.machine())
    if "cpu family" in entries:
        name += f" (family {entries['cpu family']}, model {entries.get('model', '?')})"
    return name
