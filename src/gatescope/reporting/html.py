"""One HTML file that shows a result by itself: the numbers, the pictures, and where they come from.

The file loads nothing: pictures are inside it, there is no script, and a content policy forbids both.
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

import numpy as np

from gatescope.errors import DtypeError, FileFormatError, ShapeError
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
.scroll { overflow-x: auto; }
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
@media (max-width: 36rem) {
  body { font-size: 16px; }
  main { padding: 1.4rem .9rem 3rem; }
  h1 { font-size: 1.5rem; }
  figure img { max-width: none; width: 36rem; }  /* scrolls sideways; shrunk, its text could not be read */
  dl.summary { grid-template-columns: repeat(2, 1fr); }
  dl.provenance { grid-template-columns: 1fr; gap: 0; }
  dl.provenance dd { margin-bottom: .5rem; }
}
@media print { figure, tr { break-inside: avoid; } }
"""


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, Any],
    table: Sequence[Mapping[str, Any]],
    figures: Iterable[tuple[str, bytes | str | os.PathLike[str], str]],
    notes: Sequence[str] = (),
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
        The few numbers to see first.  An entry ``"provenance"`` is shown as `provenance`.
    table : sequence of mappings
        One mapping a row, from the column's heading to a value; the first column names the row.  A value
        that a row lacks is shown as a dash.
    figures : iterable of (caption, image, alternative text)
        The caption's first line is its heading, the rest says what to look at.  The image is a PNG or SVG,
        as bytes or as the path of a file.  The alternative text is for readers who do not see the picture.
    notes : sequence of str
        One paragraph each.
    provenance : mapping of str to value, optional
        Versions, device, dtype, seed and command: all it takes to make the numbers again.

    Raises
    ------
    DtypeError
        If `summary` or a row is no mapping, or a text is no string.
    ShapeError
        If a figure is not of three parts.
    FileFormatError
        If an image cannot be read, or is neither PNG nor SVG.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gatescope.reporting.html import write_report
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
    >>> rows = [{"cell": "gru", "decay rate, nats/step": 0.02}]
    >>> write_report(path, title="Two cells", summary={"steps": 10_093}, table=rows, figures=[])
    >>> "10,093" in path.read_text(encoding="utf-8")
    True
    """
    _check_mapping(summary, "summary")
    if provenance is None:
        provenance = summary.get("provenance", {})
    _check_mapping(provenance, "provenance")
    texts = [notes] if isinstance(notes, str) else list(notes)
    facts = {key: value for key, value in summary.items() if key != "provenance"}
    heading = _text(title, "title")

    sections = [f"<h1>{heading}</h1>"]
    if facts:
        sections.append(_facts(facts, "summary", show))
    if table:
        sections.append(f"<h2>The numbers</h2>\n{_table(table)}")
    drawn = [_figure(number, figure) for number, figure in enumerate(figures, start=1)]
    if drawn:
        sections.append("<h2>The pictures</h2>\n" + "\n".join(drawn))
    if texts:
        paragraphs = "\n".join(f"<p>{_text(note, 'notes')}</p>" for note in texts)
        sections.append(f"<h2>Notes</h2>\n{paragraphs}")
    if provenance:
        sections.append(f"<h2>Where the numbers come from</h2>\n{_facts(provenance, 'provenance', _exactly)}")
    page = _PAGE.format(title=heading, policy=_POLICY, css=_CSS, body="\n".join(sections))
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
    head = "".join(f"<th>{_escape(str(name))}</th>" for name in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_escape(text)}</td>" for text in row) + "</tr>" for row in table.texts()
    )
    parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    return f'<div class="gatescope">{"".join(parts)}</div>'


def _exactly(value: Any) -> str:
    """A value with all its digits, as it is needed to make a number again."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_exactly(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_exactly(part) for part in value)
    return str(value)


def _escape(text: str) -> str:
    return html.escape(_CONTROL.sub("\ufffd", text), quote=True)


def _text(value: object, argument: str) -> str:
    if not isinstance(value, str):
        raise DtypeError(f"{argument} must be text, not {value!r:.80}")
    return _escape(value)


def _check_mapping(value: object, argument: str) -> None:
    if not isinstance(value, Mapping):
        raise DtypeError(f"{argument} must be a mapping from names to values, not a {type(value).__name__}")


def _facts(facts: Mapping[str, Any], kind: str, how: Any) -> str:
    entries = "\n".join(
        f"<div><dt>{_escape(str(key))}</dt><dd>{_escape(how(value))}</dd></div>"
        if kind == "summary"
        else f"<dt>{_escape(str(key))}</dt><dd>{_escape(how(value))}</dd>"
        for key, value in facts.items()
    )
    return f'<dl class="{kind}">\n{entries}\n</dl>'


def _is_number(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, (int, float, np.number))
        or (isinstance(value, np.ndarray) and value.size == 1)
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    for row in rows:
        _check_mapping(row, "a row of table")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {column: all(_is_number(row.get(column)) for row in rows) for column in columns}
    mark = {column: ' class="number"' if numeric[column] else "" for column in columns}
    head = "".join(f'<th scope="col"{mark[column]}>{_escape(str(column))}</th>' for column in columns)
    body = []
    for row in rows:
        cells = [
            f'<th scope="row"{mark[c]}>{_escape(show(row.get(c)))}</th>'
            if k == 0
            else f"<td{mark[c]}>{_escape(show(row.get(c)))}</td>"
            for k, c in enumerate(columns)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    # The table scrolls by itself on a narrow screen; tabindex lets a keyboard reach it.
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of the numbers"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n</table></div>"
    )


def _figure(number: int, figure: Any) -> str:
    if not isinstance(figure, (tuple, list)) or len(figure) != 3:
        raise ShapeError(
            f"figures[{number - 1}] must be (caption, image, alternative text), not {figure!r:.80}"
        )
    caption, image, alternative = figure
    lines = _text(caption, f"the caption of figures[{number - 1}]").split("\n", 1)
    rest = f"{lines[1].strip()}" if len(lines) > 1 else ""
    alternative = _text(alternative, f"the alternative text of figures[{number - 1}]")
    kind, data = _image(image, number - 1)
    # As an <img>, an SVG can run no script and load nothing, whatever it holds.
    encoded = base64.b64encode(data).decode("ascii")
    size = 'width="{}" height="{}" '.format(*struct.unpack(">II", data[16:24])) if kind == "png" else ""
    mime = "image/png" if kind == "png" else "image/svg+xml"
    return (
        f'<figure>\n<div class="scroll">'
        f'<img {size}alt="{alternative}" src="data:{mime};base64,{encoded}"></div>\n'
        f'<figcaption><span class="head">Figure {number}. {lines[0].strip()}</span> {rest}</figcaption>\n'
        "</figure>"
    )


def _image(image: object, index: int) -> tuple[str, bytes]:
    name = f"the image of figures[{index}]"
    if isinstance(image, (str, os.PathLike)):
        name = repr(os.fspath(image))
        try:
            image = Path(image).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise FileFormatError(
                f"cannot read the image {name}: {getattr(error, 'strerror', None) or error}"
            ) from error
    if not isinstance(image, (bytes, bytearray, memoryview)):
        raise DtypeError(
            f"{name} must be the bytes or the path of a PNG or SVG, not a {type(image).__name__}"
        )
    data = bytes(image)
    if data.startswith(_PNG) and len(data) >= 33:
        return "png", data
    if re.search(rb"<svg[\s>]", data[:2048]):
        return "svg", data
    raise FileFormatError(
        f"{name} is neither a PNG nor an SVG, or is cut short; write it with gatescope.plotting.save_figure"
    )
