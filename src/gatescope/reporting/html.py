"""One HTML file that shows a result by itself: the numbers, the figures, and where they come from.

The file loads nothing: figures are inside it, there is no script, and a content policy forbids both.
"""

from __future__ import annotations

import base64
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

_CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1a1a1a; font: 17px/1.55 Georgia, "Times New Roman", serif;
       -webkit-text-size-adjust: 100%; overflow-wrap: break-word; }
main { max-width: 54rem; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.4rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .8rem; padding-top: .7rem; border-top: 2px solid #1a1a1a; }
dl, table, figcaption .head { font-family: "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
dl.summary { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr));
             gap: 1rem 1.4rem; margin: 0; }
dl.summary dt { font-size: .8rem; color: #555; }
dl.summary dd { margin: 0; font-size: 1.05rem; font-weight: 600; line-height: 1.3; }
nav ul { padding-left: 1.1rem; }
nav, ul.files { font-size: .95rem; }
nav ol { font-size: .88rem; margin: .2rem 0 .4rem; padding-left: 1.6rem; }
nav { margin-top: 1.6rem; }
a { color: #0b4f8a; }
.notice { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6rem .9rem; margin: 1.4rem 0 0; }
ul.findings { padding-left: 1.1rem; margin: 1.2rem 0 0; }
ul.findings li { margin: .35rem 0; }
ul.files { columns: 16rem; padding-left: 1.1rem; }
dl.glossary dt { font-weight: 600; margin-top: .7rem; }
dl.glossary dd { margin: 0 0 0 1.1rem; }
pre { font: .8rem/1.5 Menlo, Consolas, "Liberation Mono", monospace; overflow-x: auto; margin: .3rem 0; }
/* Shadows at the edges, behind which something is left to scroll to; what does not scroll has none. */
.scroll, pre { overflow-x: auto;
  background: linear-gradient(to right, #fff 30%, #fff0) left / 3rem 100% no-repeat local,
              linear-gradient(to left, #fff 30%, #fff0) right / 3rem 100% no-repeat local,
              linear-gradient(to right, #0005, #0000) left / 1rem 100% no-repeat scroll,
              linear-gradient(to left, #0005, #0000) right / 1rem 100% no-repeat scroll; }
table { border-collapse: collapse; width: 100%; font-size: .84rem; line-height: 1.35;
        font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .45rem .7rem; border-bottom: 1px solid #ccc; vertical-align: bottom; }
thead th { border-bottom: 2px solid #1a1a1a; font-weight: 600; }
.number { text-align: right; }
td.number { white-space: nowrap; }
tbody th { font-weight: 600; white-space: nowrap; }
figure { margin: 1.8rem 0 2.6rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { margin-top: .7rem; font-size: .95rem; color: #333; }
figcaption .head { font-weight: 600; font-size: .92rem; color: #1a1a1a; display: block; }
dl.provenance { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr;
                gap: .25rem 1.2rem; margin: 0; font-size: .84rem; }
dl.provenance dt { color: #555; }
dl.provenance dd { margin: 0; font-family: Menlo, Consolas, "Liberation Mono", monospace; font-size: .8rem;
                   overflow-wrap: anywhere; }
@media screen and (max-width: 36rem) {
  body { font-size: 16px; }
  main { padding: 1.4rem .9rem 3rem; }
  h1 { font-size: 1.5rem; }
  figure img { max-width: none; width: 36rem; }  /* scrolls sideways; shrunk, its text could not be read */
  figure::before { content: "scroll sideways \\2192"; display: block; text-align: right; color: #555;
                   font: .8rem "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
  tbody th { white-space: normal; min-width: 9rem; }
  th, td { padding: .4rem .45rem; }
  dl.summary { grid-template-columns: repeat(2, 1fr); }
  dl.provenance { grid-template-columns: 1fr; gap: 0; }
  dl.provenance dd { margin-bottom: .5rem; }
}
@media print {
  @page { margin: 1.6cm; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  figure, tr, dl.glossary dd, li { break-inside: avoid; }
  h2, dt { break-after: avoid; }
  figure img { max-height: 22cm; width: auto; }
  .scroll, pre { overflow: visible; background: none; }
  pre { white-space: pre-wrap; }
  tbody th, td.number { white-space: normal; }
}
"""


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
    heading = _escape(title)
    top = [f"<h1>{heading}</h1>"]
    if summary:
        pairs = (f"<div>{_pair(name, show(value))}</div>" for name, value in summary.items())
        top.append('<dl class="summary">\n' + "\n".join(pairs) + "\n</dl>")
    if notice:
        top.append(f'<p class="notice">{_escape(notice)}</p>')
    if findings:
        listed = "\n".join(f"<li>{_escape(text)}</li>" for text in findings)
        top.append(f'<ul class="findings">\n{listed}\n</ul>')
    drawn = [(figure[0], _figure(k, *figure)) for k, figure in enumerate(figures, start=1)]
    # With all their digits, as they are needed to make the numbers again.
    origin = "\n".join(_pair(name, str(value)) for name, value in (provenance or {}).items())
    sections = {
        "The numbers": _scrolling(table) if table.rows else "",
        "The figures": "\n".join(text for _, text in drawn),
        "Glossary": _glossary(glossary),
        "Notes": "\n".join(f"<p>{_escape(note)}</p>" for note in notes),
        "Files": _links(files),
        "Where the numbers come from": f'<dl class="provenance">\n{origin}\n</dl>' if origin else "",
    }
    sections = {name: text for name, text in sections.items() if text}
    captions = [caption.partition("\n")[0].strip() for caption, _ in drawn]
    parts = [_contents(sections, captions)] if len(sections) > 1 else []
    parts += [f'<h2 id="{_anchor(name)}">{name}</h2>\n{text}' for name, text in sections.items()]
    page = _PAGE.format(title=heading, policy=_POLICY, css=_CSS, body="\n".join(top + parts))
    with atomic_write(path) as stream:
        stream.write(page.encode("utf-8"))


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<main>
{body}
</main>
</body>
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
                f'<li><a href="#figure-{k}">{_escape(text)}</a></li>'
                for k, text in enumerate(captions, start=1)
            )
            inner = f"\n<ol>{''.join(items)}</ol>"
        lines.append(f'<li><a href="#{_anchor(name)}">{name}</a>{inner}</li>')
    return '<nav aria-label="Contents">\n<ul>\n' + "\n".join(lines) + "\n</ul>\n</nav>"


def _glossary(terms: Iterable[tuple[str, str]]) -> str:
    pairs = []
    for term, text in terms:
        shown = f"<pre>{_escape(text)}</pre>" if "\n" in text else _escape(text)
        pairs.append(f"<dt>{_escape(term)}</dt><dd>{shown}</dd>")
    return '<dl class="glossary">\n' + "\n".join(pairs) + "\n</dl>" if pairs else ""


def _links(files: Iterable[str]) -> str:
    items = [f'<li><a href="{quote(name)}">{_escape(name)}</a></li>' for name in files]
    return '<ul class="files">\n' + "\n".join(items) + "\n</ul>" if items else ""


def fragment(summary: str, table: Table, figure: bytes | None = None) -> str:
    """Return a piece of HTML for a notebook cell: a summary, a table, and a PNG if there is one.

    Every text is shown as it is given; none is read as HTML.  The piece loads nothing and holds no script.
    """
    first, _, rest = summary.partition("\n")
    parts = [f"<strong>{_escape(first)}</strong>"]
    if rest.strip():
        parts.append(f"<pre>{_escape(rest)}</pre>")
    if figure is not None:
        encoded = base64.b64encode(figure).decode("ascii")
        parts.append(f'<img alt="{_escape(first)}" src="data:image/png;base64,{encoded}">')
    return f'<div class="gatescope">{"".join(parts)}{_table(table)}</div>'


def _escape(text: str) -> str:
    return html.escape(_CONTROL.sub("\ufffd", text), quote=True)


def _pair(name: str, value: str) -> str:
    return f"<dt>{_escape(name)}</dt><dd>{_escape(value)}</dd>"


def _table(table: Table) -> str:
    """Return a table; columns of numbers are marked, so that they are set flush right."""
    marks = [
        ' class="number"' if all(_is_number(row[index]) for row in table.rows) else ""
        for index in range(len(table.header))
    ]
    head = "".join(
        f'<th scope="col"{mark}>{_escape(name)}</th>' for mark, name in zip(marks, table.header, strict=True)
    )
    body = []
    for first, *rest in table.texts():
        cells = (f"<td{mark}>{_escape(text)}</td>" for mark, text in zip(marks[1:], rest, strict=True))
        body.append(f'<tr><th scope="row"{marks[0]}>{_escape(first)}</th>{"".join(cells)}</tr>')
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n</table>"


def _is_number(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, int | float | np.number)
        or (isinstance(value, np.ndarray) and value.size == 1)
    )


def _scrolling(table: Table) -> str:
    """Return a table that scrolls by itself on a narrow screen; tabindex lets a keyboard reach it."""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of the numbers">'
        f"{_table(table)}</div>"
    )


def _figure(number: int, caption: str, image: bytes | str | os.PathLike[str], alternative: str) -> str:
    heading, _, rest = caption.partition("\n")
    kind, data = _image(image, number - 1)
    # As an <img>, an SVG can run no script and load nothing, whatever it holds.
    encoded = base64.b64encode(data).decode("ascii")
    size = 'width="{}" height="{}" '.format(*struct.unpack(">II", data[16:24])) if kind == "png" else ""
    mime = "image/png" if kind == "png" else "image/svg+xml"
    return (
        f'<figure id="figure-{number}">\n<div class="scroll" tabindex="0">'
        f'<img {size}alt="{_escape(alternative)}" src="data:{mime};base64,{encoded}"></div>\n'
        f'<figcaption><span class="head">Figure {number}. {_escape(heading.strip())}</span> {_escape(rest.strip())}'
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
