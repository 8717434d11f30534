"""Runs the command line in a folder of its own."""

import pytest
from typer.testing import CliRunner

from gatescope import plotting
from gatescope.cli import main


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main.app, [str(a) for a in arguments])


@pytest.fixture(scope="session")
def blank():
    """Return a figure without anything on it, by format."""
    return {format: plotting.render(plotting.new_figure(1, 1), format) for format in ("png", "svg")}


@pytest.fixture
def render_only(monkeypatch, blank):
    """Return a function that takes names: every figure is made, but a blank one is written for all others.

    Laying out and rendering take seconds a command, and the figures have tests of their own.
    """
    save = plotting.save_figure

    def only(*names):
        def save_figure(figure, path, formats):
            if path.name in names:
                return save(figure, path, formats)
            files = [path.with_name(f"{path.name}.{format}") for format in formats]
            for file, format in zip(files, formats, strict=True):
                file.write_bytes(blank[format])
            return files

        monkeypatch.setattr(plotting, "save_figure", save_figure)

    return only


@pytest.fixture
def blank_figures(render_only):
    """Blank figures are written in the place of all that a command makes."""
    render_only()


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("abcabcaabbcc " * 40)
