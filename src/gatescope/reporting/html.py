"""One HTML file that shows a result by itself: the numbers, the figures, and where they come from.

The file loads nothing: figures are inside it, and a content policy forbids the rest.  A report has no script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from gatescope.errors import FileFormatError
from gatescope.reporting.table import Table
from gatescope.reporting.text import show
from gatescope.storage.atomic import atomic_write

_PNG = b"\x89PNG\r\n\x1a\n"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # not allowed in HTML

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = Path(__file__).with_name("page.css")  # of every page


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, Any],
    table: Table,
    figures: Iterable[tuple[str, bytes | str | os.PathLike[str], str]],
    notice: str = "",
    findings: Sequence[str] = (),
    glossary: Iterable[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    pages: Mapping[str, str] | None = None,
    files: Iterable[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write a self-contained HTML report.

    Every text is shown as it is given; none is read as HTML.  The same arguments give the same bytes.

    Parameters
    ----------
    path : path
        The file; it appears complete or not at all.
    title : str
    summary : mapping of str to value
        The few numbers to see first.
    table : Table
        Its first column names the rows.
    figures : iterable of (caption, image, alternative text)
        The caption's first line is its heading, the rest says what to look at.  The image is a PNG or SVG,
        as bytes or as the path of a file.  The alternative text is for readers who do not see the figure.
    notice : str
        What a reader has to know before the first number; it stands out.
    findings : sequence of str
        What was found, a sentence each: first of all.
    glossary : iterable of (term, text)
        A text of several lines, such as equations, is shown in these lines.
    notes : sequence of str
        One paragraph each.
    pages : mapping of str to str, optional
        Pages that say more, by their paths relative to the report, in words: linked to from its top.
    files : iterable of str
        Paths of files beside the report, relative to it, which it links to.
    provenance : mapping of str to value, optional
        Versions, device, dtype, seed and command: all it takes to make the numbers again.

    Raises
    ------
    FileFormatError
        If an image cannot be read, or is neither PNG nor SVG.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gatescope.reporting.html import write_report
    >>> from gatescope.reporting.table import Table
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
    >>> table = Table(("cell", "decay rate, nats/step"), [("gru", 0.02)])
    >>> write_report(path, title="Two cells", summary={"steps": 10_093}, table=table, figures=[])
    >>> "10,093" in path.read_text(encoding="utf-8")
    True
    """
    top = [f"<h1>{escape(title)}</h1>"]
    if summary:
        pairs = (f"<div>{_pair(name, show(value))}</div>" for name, value in summary.items())
        top.append('<dl class="summary">\n' + "\n".join(pairs) + "\n</dl>")
    if notice:
        top.append(f'<p class="notice">{escape(notice)}</p>')
    if findings:
        listed = "\n".join(f"<li>{escape(text)}</li>" for text in findings)
        top.append(f'<ul class="findings">\n{listed}\n</ul>')
    top += [f'<p><a href="{quote(file)}">{escape(words)}</a></p>' for file, words in (pages or {}).items()]
    drawn = [(figure[0], _figure(k, *figure)) for k, figure in enumerate(figures, start=1)]
    sections = {
        "The numbers": scrolling(table, "Table of the numbers") if table.rows else "",
        "The figures": "\n".join(text for _, text in drawn),
        "Glossary": _glossary(glossary),
        "Notes": "\n".join(f"<p>{escape(note)}</p>" for note in notes),
        "Files": _links(files),
        "Where the numbers come from": origin(provenance or {}),
    }
    sections = {name: text for name, text in sections.items() if text}
    captions = [caption.partition("\n")[0].strip() for caption, _ in drawn]
    parts = [_contents(sections, captions)] if len(sections) > 1 else []
    parts += [f'<h2 id="{_anchor(name)}">{name}</h2>\n{text}' for name, text in sections.items()]
    with atomic_write(path) as stream:
        stream.write(document(title, "\n".join(top + parts)).encode("utf-8"))


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a page that loads nothing: `body`, which is HTML, in the style of all pages and in `style`.

    The one script that can run on it is `script`, which its content policy knows by its hash.
    """
    policy, code = _POLICY, ""
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy, code = f"{policy}; script-src 'sha256-{digest}'", f"<script>{script}</script>\n"
    css = _STYLE.read_text(encoding="utf-8") + style
    return _PAGE.format(title=escape(title), policy=policy, css=css, body=body, script=code)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
<main>
{body}
</main>
{script}</body>
</html>
"""


def _anchor(section: str) -> str:
    return section.lower().replace(" ", "-")


def _contents(sections: Iterable[str], captions: Sequence[str]) -> str:
    """Return links to the sections, and below that of the figures to each of these."""
    lines = []
    for name in sections:
        inner = ""
        if name == "The figures":
            items = (
                f'<li><a href="#figure-{k}">{escape(text)}</a></li>'
                for k, text in enumerate(captions, start=1)
            )
            inner = f"\n<ol>{''.join(items)}</ol>"
        lines.append(f'<li><a href="#{_anchor(name)}">{name}</a>{inner}</li>')
    return '<nav aria-label="Contents">\n<ul>\n' + "\n".join(lines) + "\n</ul>\n</nav>"


def _glossary(terms: Iterable[tuple[str, str]]) -> str:
    pairs = []
    for term, text in terms:
        shown = f"<pre>{escape(text)}</pre>" if "\n" in text else escape(text)
        pairs.append(f"<dt>{escape(term)}</dt><dd>{shown}</dd>")
    return '<dl class="glossary">\n' + "\n".join(pairs) + "\n</dl>" if pairs else ""


def _links(files: Iterable[str]) -> str:
    items = [f'<li><a href="{quote(name)}">{escape(name)}</a></li>' for name in files]
    return '<ul class="files">\n' + "\n".join(items) + "\n</ul>" if items else ""


def fragment(summary: str, table: Table, figure: bytes | None = None) -> str:
    """Return a piece of HTML for a notebook cell: a summary, a table, and a PNG if there is one.

    Every text is shown as it is given; none is read as HTML.  The piece loads nothing and holds no script.
    """
    first, _, rest = summary.partition("\n")
    parts = [f"<strong>{escape(first)}</strong>"]
    if rest.strip():
        parts.append(f"<pre>{escape(rest)}</pre>")
    if figure is not None:
        encoded = base64.b64encode(figure).decode("ascii")
        parts.append(f'<img alt="{escape(first)}" src="data:image/png;base64,{encoded}">')
    return f'<div class="gatescope">{"".join(parts)}{table_html(table)}</div>'


def escape(text: str) -> str:
    """Return a text as HTML that shows it, whatever is in it; also for attributes between double quotes."""
    return html.escape(_CONTROL.sub("\ufffd", text), quote=True)


def _pair(name: str, value: str) -> str:
    return f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"


def table_html(table: Table) -> str:
    """Return a table; columns of numbers are marked, so that they are set flush right."""
    marks = [
        ' class="number"' if all(_is_number(row[index]) for row in table.rows) else ""
        for index in range(len(table.header))
    ]
    head = "".join(
        f'<th scope="col"{mark}>{escape(name)}</th>' for mark, name in zip(marks, table.header, strict=True)
    )
    body = []
    for first, *rest in table.texts():
        cells = (f"<td{mark}>{escape(text)}</td>" for mark, text in zip(marks[1:], rest, strict=True))
        body.append(f'<tr><th scope="row"{marks[0]}>{escape(first)}</th>{"".join(cells)}</tr>')
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n</table>"


def _is_number(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, int | float | np.number)
        or (isinstance(value, np.ndarray) and value.size == 1)
    )


def scrolling(table: Table, label: str) -> str:
    """Return a table that scrolls by itself on a narrow screen; tabindex lets a keyboard reach it."""
    opening = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
    return f"{opening}{table_html(table)}</div>"


def origin(provenance: Mapping[str, Any]) -> str:
    """Return where numbers come from, with all digits, as they are needed to make the numbers again."""
    pairs = "\n".join(_pair(name, str(value)) for name, value in provenance.items())
    return f'<dl class="provenance">\n{pairs}\n</dl>' if pairs else ""


def _figure(number: int, caption: str, image: bytes | str | os.PathLike[str], alternative: str) -> str:
    heading, _, rest = caption.partition("\n")
    kind, data = _image(image, number - 1)
    # As an <img>, an SVG can run no script and load nothing, whatever it holds.
    encoded = base64.b64encode(data).decode("ascii")
    size = 'width="{}" height="{}" '.format(*struct.unpack(">II", data[16:24])) if kind == "png" else ""
    mime = "image/png" if kind == "png" else "image/svg+xml"
    return (
        f'<figure id="figure-{number}">\n<div class="scroll" tabindex="0">'
        f'<img {size}alt="{escape(alternative)}" src="data:{mime};base64,{encoded}"></div>\n'
        f'<figcaption><span class="head">Figure {number}. {escape(heading.strip())}</span> {escape(rest.strip())}'
        "</figcaption>\n</figure>"
    )


def _image(image: bytes | str | os.PathLike[str], index: int) -> tuple[str, bytes]:
    name = f"the image of figures[{index}]"
    if isinstance(image, str | os.PathLike):
        name = repr(os.fspath(image))
        try:
            image = Path(image).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            why = getattr(error, "strerror", None) or error
            raise FileFormatError(f"{name} cannot be read as an image: {why}") from error
    if image.startswith(_PNG) and len(image) >= 33:
        return "png", image
    if re.search(rb"<svg[\s>]", image[:2048]):
        return "svg", image
    raise FileFormatError(
        f"{name} is neither a PNG nor an SVG, or is cut short",
        advice="write it with gatescope.plotting.save_figure",
    )
