"""Runs the command line in a folder of its own."""

import pytest
from typer.testing import CliRunner

from gatescope import cli


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, [str(a) for a in arguments])


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("abcabcaabbcc " * 40)
