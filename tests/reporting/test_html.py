import base64
import hashlib
import re
import struct
import zlib

import numpy as np
import pytest
from helpers.html_page import Page

from gatescope.errors import FileFormatError, OutputError
from gatescope.reporting.html import document, write_report
from gatescope.reporting.table import Table
from gatescope.reporting.text import show

TABLE = Table(("cell", "rate", "half-life, steps"), [("rnn", 0.5, None), ("lstm", 0.003, 231.0)])
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def png(width=3, height=2):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\x00" + b"\xff" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write(path, **changes):
    arguments = {"title": "Two cells", "summary": {"steps": 10093}, "table": TABLE, "figures": [], **changes}
    write_report(path, **arguments)
    return path.read_text(encoding="utf-8")


def test_it_shows_numbers_figures_notes_and_provenance(tmp_path):
    (tmp_path / "b.svg").write_bytes(SVG)
    source = write(
        tmp_path / "r.html",
        figures=[("Decay\nLook at the slope.", png(), "three lines"), ("Gates", tmp_path / "b.svg", "a map")],
        notes=["Not trained."],
        provenance={"numpy": "2.4.6", "seed": 0, "rate": 0.123456789},
    )
    page = Page(source)
    for words in (
        "Two cells",
        "10,093",
        "0.003",
        "231",
        "Figure 1. Decay",
        "Look at the slope.",
        "Not trained.",
    ):
        assert words in page.words
    assert "0.123456789" in page.words  # provenance keeps every digit
    first, second = page.named("img")
    assert (first["width"], first["height"], first["alt"]) == ("3", "2", "three lines")
    assert first["src"].startswith("data:image/png;base64,iVBOR")
    assert second["src"].startswith("data:image/svg+xml;base64,")
    assert [attrs.get("scope") for attrs in page.named("th")] == ["col"] * 3 + ["row"] * 2


def test_the_file_loads_nothing_and_runs_nothing(tmp_path):
    page = Page(write(tmp_path / "r.html", figures=[("Gates", SVG, "a map")]))
    assert not page.named("script")
    assert not page.named("link")
    for _, attrs in page.tags:
        for key in ("src", "href", "style", "onclick", "onload"):
            assert key not in attrs or attrs[key].startswith(("data:", "#"))
    (policy,) = [attrs["content"] for attrs in page.named("meta") if "http-equiv" in attrs]
    assert "default-src 'none'" in policy
    assert "http" not in re.sub(r"base64,[^\"]*", "", (tmp_path / "r.html").read_text()).replace(
        "http-equiv", ""
    )


def test_contents_lead_to_every_section_and_figure_and_links_to_the_files(tmp_path):
    figures = [("Decay", png(), "lines"), ("Gates\nLook.", png(), "map")]
    terms = [("lag", "steps back"), ("lstm", "An LSTM\n\nc' = f * c + i * g")]
    more = {"notes": ["Note."], "provenance": {"seed": 0}, "findings": ["lstm: all is well."]}
    files = ["gates.png", "data/trace a&b#1%.npz"]
    source = write(
        tmp_path / "r.html", figures=figures, glossary=terms, files=files, notice="Untrained.", **more
    )
    page = Page(source)
    targets = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = [attrs["href"] for attrs in page.named("a")]
    inside = [link.removeprefix("#") for link in links if link.startswith("#")]
    assert inside == [
        "the-numbers",
        "the-figures",
        "figure-1",
        "figure-2",
        "glossary",
        "notes",
        "files",
        "where-the-numbers-come-from",
    ]
    assert set(inside) == targets
    assert links[len(inside) :] == ["gates.png", "data/trace%20a%26b%231%25.npz"]
    order = [page.words.index(text) for text in ("10,093", "Untrained.", "lstm: all is well.", "rate")]
    assert order == sorted(order)  # before the table
    assert [word for word in page.words if "c' = f * c" in word] == ["An LSTM\n\nc' = f * c + i * g"]


def test_what_is_cut_on_a_narrow_screen_shows_that_it_scrolls_and_paper_has_all(tmp_path):
    source = write(tmp_path / "r.html", figures=[("Decay", png(), "lines")])
    assert "scroll sideways" in source
    paper = source[source.index("@media print") :]
    assert ".scroll, pre { overflow: visible" in paper
    boxes = [attrs for attrs in Page(source).named("div") if attrs.get("class") == "scroll"]
    assert [attrs["tabindex"] for attrs in boxes] == ["0", "0"]  # a keyboard reaches table and figure


HOSTILE = '<script>alert("1")</script>&amp;\'\x00\x1b'


def test_every_text_is_escaped(tmp_path):
    source = write(
        tmp_path / "r.html",
        title=HOSTILE,
        summary={HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}},
        table=Table((HOSTILE,), [(HOSTILE,)]),
        figures=[(HOSTILE + "\n" + HOSTILE, png(), HOSTILE + '" onload="x')],
        notes=[HOSTILE],
        notice=HOSTILE,
        findings=[HOSTILE],
        glossary=[(HOSTILE, HOSTILE), (HOSTILE, HOSTILE + "\n")],
        files=[HOSTILE],
        provenance={HOSTILE: {HOSTILE: HOSTILE}},
    )
    page = Page(source)
    assert not page.named("script")
    assert "onload" not in page.named("img")[0]
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert shown in page.words
    assert "\x00" not in source


def test_the_one_script_of_a_page_is_known_by_its_hash():
    page = Page(document("t", "<p>b</p>", style="p { margin: 0; }", script='"use strict"; // <p>'))
    assert page.words.count('"use strict"; // <p>') == 1
    (policy,) = [attrs["content"] for attrs in page.named("meta") if "http-equiv" in attrs]
    digest = base64.b64encode(hashlib.sha256(b'"use strict"; // <p>').digest()).decode()
    assert policy.endswith(f"; script-src 'sha256-{digest}'")
    assert "script" not in document("t", "<p>b</p>")


def test_text_that_no_encoding_holds_is_still_written(tmp_path):
    assert "a\ufffdb" in write(tmp_path / "r.html", provenance={"command": "a\udcffb"})


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    figures = [("Decay", png(), "lines")]
    assert write(tmp_path / "a.html", figures=figures) == write(tmp_path / "b.html", figures=figures)


def test_a_missing_value_is_a_dash_and_columns_keep_their_order(tmp_path):
    page = Page(write(tmp_path / "r.html"))
    heads = [page.words.index(name) for name in ("cell", "rate", "half-life, steps")]
    assert heads == sorted(heads)
    assert page.words.count("–") == 1


def test_empty_sections_are_left_out(tmp_path):
    page = Page(write(tmp_path / "r.html", summary={}, table=Table((), [])))
    assert not page.named("h2")
    assert not page.named("table")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10093, "10,093"),
        (-5, "−5"),
        (0.0030212, "0.003021"),
        (-0.5, "−0.5"),
        (1234.5678, "1,235"),
        (1.5e-9, "1.500 × 10^−9"),
        (2.0e7, "2.000 × 10^7"),
        (0.0, "0"),
        (float("nan"), "not known"),
        (float("inf"), "∞"),
        (-float("inf"), "−∞"),
        (None, "–"),
        (True, "yes"),
        (np.float32(0.5), "0.5"),
        (np.int64(1000), "1,000"),
        (np.bool_(False), "no"),
        (np.array([0.25]), "0.25"),
        (np.zeros((3, 2)), "array float64[3, 2]"),
        ([1, 2.5], "1, 2.5"),
        ({"a": 1, "b": None}, "a 1, b –"),
        ("text", "text"),
    ],
)
def test_values_are_shown_as_a_reader_wants_them(value, text):
    assert show(value) == text


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"figures": [("a", b"GIF89a", "b")]},
            FileFormatError,
            r"the image of figures\[0\] is neither a PNG nor an SVG",
        ),
        ({"figures": [("a", png()[:20], "b")]}, FileFormatError, "or is cut short"),
        (
            {"figures": [("a", "nowhere.png", "b")]},
            FileFormatError,
            "'nowhere.png' cannot be read as an image: No such file",
        ),
        ({"figures": [("a", "a\0b", "b")]}, FileFormatError, "cannot be read as an image"),
    ],
)
def test_bad_arguments_write_nothing(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        write(tmp_path / "r.html", **changes)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "missing" / "r.html")
