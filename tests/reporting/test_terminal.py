"""What goes to a terminal: sentences wrapped to its width, and files with their sizes."""

import io

import pytest

from gatescope.reporting.terminal import echo, file_sizes, list_files, report

SENTENCE = (
    "x.csv: T = 10,093 steps, B = 1 sequence; " + "a_name_that_is_longer_than_the_whole_line_of_the_terminal"
)


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("name", "print_"), [("stdout", echo), ("stderr", report)])
def test_sentences_are_wrapped_to_the_terminal_and_nowhere_else(name, print_, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    for stream, lines in ((Terminal(), 2), (io.StringIO(), 1)):
        monkeypatch.setattr(f"sys.{name}", stream)
        print_(SENTENCE)
        printed = stream.getvalue().rstrip("\n").split("\n")
        assert len(printed) == lines
        assert " ".join(printed) == SENTENCE  # names stay whole, to be copied


def test_an_empty_line_stays(monkeypatch):
    monkeypatch.setattr("sys.stdout", stream := Terminal())
    echo("a\n\nb")
    assert stream.getvalue() == "a\n\nb\n"


def test_files_are_named_with_their_sizes(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a[b].npz").write_bytes(bytes(1536))
    (tmp_path / "b.png").write_bytes(bytes(10))
    files = [tmp_path / "data" / "a[b].npz", tmp_path / "b.png"]
    assert file_sizes(files) == f"{files[0]} (1.50 KiB), {files[1]} (10 B)"
    list_files(files, tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["1.50", "KiB", "data/a[b].npz"], ["10", "B", "b.png"]]
