"""Runs the command line in a folder of its own."""

import pytest
from typer.testing import CliRunner

from gatescope.cli import main


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main.app, [str(a) for a in arguments])


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("abcabcaabbcc " * 40)
