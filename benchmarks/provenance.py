"""Where a number comes from: machine, versions, date, commit."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gatescope.checks.numbers import default_threads
from gatescope.storage.provenance import cpu_name

_PACKAGES = ("gatescope", "numpy", "numba", "llvmlite", "torch", "jax", "jaxlib", "onnx", "onnxruntime")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        if package == "gatescope":  # run from a checkout
            from gatescope._version import __version__

            return __version__
        return None


def _git(*arguments: str) -> str:
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def provenance() -> dict[str, Any]:
    """Everything that a reader needs to judge a number, or to measure it again."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu_name(),
        "cores": default_threads(),
        # Of the last minute: above about 0.3, others were at work and the medians are not to be trusted.
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "src")),
    }
