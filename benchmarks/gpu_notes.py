"""A pytest plugin that keeps the tests that run on the GPU, and notes each when it begins and when it ends."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_tests import LOST, STARTED, UNREAD, read_notes

# After these every CUDA call of the process fails, and so would every later test.
_FATAL = re.compile(
    r"CUDA_ERROR_(ILLEGAL|LAUNCH_FAILED|LAUNCH_TIMEOUT|MISALIGNED|HARDWARE|INVALID_PC|ASSERT)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--notes", help="file that takes a line for every test")
    parser.addoption("--run", type=int, default=0, help="goes into the notes of tests that begin")


def _note(config: Any, **values: Any) -> None:
    with Path(config.getoption("--notes")).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(values) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what runs on the GPU and has not been begun before."""
    begun = {note["id"] for note in read_notes(Path(config.getoption("--notes")))}
    keep, leave = [], []
    for item in items:
        machine = getattr(getattr(item, "callspec", None), "params", {}).get("gpu")
        (keep if machine == "gpu" and item.nodeid not in begun else leave).append(item)
    items[:] = keep
    config.hook.pytest_deselected(items=leave)


class _Notes:
    def __init__(self, config: Any) -> None:
        self._config = config

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _note(self._config, id=nodeid, outcome=STARTED, run=self._config.getoption("--run"))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            text = " ".join(str(report.longrepr).split())[-300:] if report.failed else ""
            _note(self._config, id=report.nodeid, outcome=report.outcome, seconds=report.duration, text=text)
            if report.failed and _FATAL.search(str(report.longrepr)):
                os._exit(LOST)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            text = " ".join(str(report.longrepr).split())[-300:]
            _note(self._config, id=report.nodeid, outcome=UNREAD, text=text)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Notes(config), "gatescope-notes")
