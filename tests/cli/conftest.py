"""Runs the command line in a folder of its own."""

import pytest
from typer.testing import CliRunner

from gatescope import plotting
from gatescope.cli import beside, main
from gatescope.comparison import folder


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main.app, [str(a) for a in arguments])


@pytest.fixture(autouse=True)
def drawn_here(monkeypatch):
    """Compile and draw in this process, which is the tests' own: others would begin with pytest."""
    monkeypatch.setattr(beside, "check_threads", lambda threads: 1)


@pytest.fixture(scope="session")
def blank():
    """Return a figure without anything on it, by format."""
    return {format: plotting.render(plotting.new_figure(1, 1), format) for format in ("png", "svg")}


@pytest.fixture
def render_only(monkeypatch, blank):
    """Return a function that takes names: every figure is made, but a blank one is written for all others.

    Laying out and rendering take seconds a command, and the figures have tests of their own.
    """
    save, drawn = plotting.save_figure, folder.draw

    def only(*names):
        def save_figure(figure, path, formats):
            if path.name in names:
                return save(figure, path, formats)
            files = [path.with_name(f"{path.name}.{format}") for format in formats]
            for file, format in zip(files, formats, strict=True):
                file.write_bytes(blank[format])
            return files

        def draw(figure, formats):
            return (
                drawn(figure, formats)
                if figure.name in names
                else ({name: blank[name] for name in formats}, [])
            )

        monkeypatch.setattr(plotting, "save_figure", save_figure)
        monkeypatch.setattr(folder, "draw", draw)

    return only


@pytest.fixture
def blank_figures(render_only):
    """Blank figures are written in the place of all that a command makes."""
    render_only()


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("abcabcaabbcc " * 40)
