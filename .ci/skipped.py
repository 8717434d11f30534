"""Run in one environment what another has skipped: a plugin of pytest.

``pytest -p skipped --skipped-to=FILE`` adds the tests that are skipped to a file, a test or a file of tests a line, and
``--skipped-in=FILE`` runs none but those of such a file.
"""

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--skipped-to", type=Path)
    parser.addoption("--skipped-in", type=Path)


def pytest_configure(config):
    if not hasattr(
        config, "workerinput"
    ):  # a worker of pytest-xdist sends its reports to the one that writes them
        config.pluginmanager.register(Skipped(config.option.skipped_to))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if config.option.skipped_in is None:
        return
    skipped = {*config.option.skipped_in.read_text().splitlines()}
    items[:] = [item for item in items if skipped & {item.nodeid, item.nodeid.partition("::")[0]}]


class Skipped:
    """Collects the names of what is skipped."""

    def __init__(self, path):
        self.path, self.names = path, []

    def pytest_collectreport(self, report):
        if report.skipped:
            self.names.append(report.nodeid)

    def pytest_runtest_logreport(self, report):
        if report.skipped and not hasattr(report, "wasxfail"):
            self.names.append(report.nodeid)

    def pytest_sessionfinish(self):
        if self.path is not None:
            with self.path.open("a") as file:
                file.writelines(f"{name}\n" for name in dict.fromkeys(self.names))
