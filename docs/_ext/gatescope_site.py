"""What the site makes of the package when it is built: commands, names, figures, a page to explore; math as MathML.

The pages it writes lie in ``docs/generated``, which git does not keep.
"""

import importlib
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from docutils.utils.math.latex2mathml import tex2mathml

import gatescope
from gatescope.cli.main import app as commands
from gatescope.storage.npz import read_npz

DOCS = Path(__file__).parents[1]
ROOT, GENERATED = DOCS.parent, DOCS / "generated"
PACKAGES = ("plotting", "tasks", "training", "cells", "experiments")
# Documents of the repository that are pages of the site, too, by what links say.
PAGES = {
    "benchmarks/README.md": "benchmark-notes.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def setup(app: Any) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("config-inited", lambda *_: generate())
    app.connect("source-read", link_pages)
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def generate() -> None:
    """Write the generated pages."""
    for name, text in (
        ("commands.md", command_line()),
        ("gallery.md", gallery()),
        ("api.rst", api()),
        ("claims-page.md", claims()),
    ):
        write(GENERATED / name, text)
    page = GENERATED / "pages" / "explorer.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    figure = importlib.import_module("figures.gates_before_after")
    arrays = read_npz(ROOT / "figures" / "data" / "gates_before_after.npz")
    traces = {
        f"{cell} {when}": figure.trace_from(arrays, cell, when)
        for cell in ("lstm", "gru")
        for when in ("before", "after")
    }
    gatescope.explore(traces, path=page)


def write(path: Path, text: str) -> None:
    """Write a page, unless it is there already: Sphinx reads again what has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def link_pages(_: Any, name: str, source: list[str]) -> None:
    """Let links to documents of the repository lead to the pages that show them."""
    for path, page in PAGES.items():
        source[0] = re.sub(rf"\]\((\.\./)*{re.escape(path)}(?=[#)])", f"]({page}", source[0])


# -- the command line


def command_line() -> str:
    """Return all commands with their options, read from the parser that the program itself uses."""
    root = typer.main.get_command(commands)
    parts = []
    for path, command in walk(root, ("gatescope",)):
        parts += [f"## `{' '.join(path)}`", described(command), *tables(command, path)]
    return "\n\n".join(part for part in parts if part) + "\n"


def walk(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the commands of a group, and of the groups in it, with the words that call them."""
    context = group.context_class(group, info_name=path[-1])
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from walk(command, (*path, name))
        else:
            yield (*path, name), command


def described(command: Any) -> str:
    """Return the help of a command as Markdown; a form feed ends what -h shows."""
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    return "\n".join(literal(line.replace("\b", "").strip()) for line in text.splitlines())


def tables(command: Any, path: tuple[str, ...]) -> list[str]:
    """Return the usage and the table of arguments and options."""
    context = command.context_class(command, info_name=" ".join(path))
    usage = " ".join([*path, *command.collect_usage_pieces(context)])
    rows = []
    for parameter in command.get_params(context):
        if getattr(parameter, "hidden", False):
            continue
        name, text = parameter.get_help_record(context)
        rows.append(f"| `{cell(name)}` | {cell(literal(text))} |")
    return [f"```text\n{usage}\n```", "\n".join(["| option | what it does |", "|---|---|", *rows])]


def literal(text: str) -> str:
    """Return plain text so that Markdown shows it as it is."""
    text = re.sub(r"\[/?(bold|italic|dim|cyan|yellow|red|green)[^\]]*\]", "", text)
    return re.sub(r"([\\*_<>\[\]$#])", r"\\\1", text)


def cell(text: str) -> str:
    """Return text that stays in its cell of a table."""
    return " ".join(text.split()).replace("|", r"\|")


# -- the names of the package


def api() -> str:
    """Return the page of all public names, from ``__all__`` of the package and of its public parts."""
    parts = [".. _api:\n", title("API", "="), "Shapes are time-major: inputs (T, B, I), outputs (T, B, H).\n"]
    groups: dict[str, list[str]] = {"Functions": [], "Types": [], "Errors and warnings": []}
    for name in gatescope.__all__:
        value = getattr(gatescope, name)
        if isinstance(value, ModuleType) or name.startswith("_"):
            continue
        kind = "Functions"
        if inspect.isclass(value):
            kind = "Errors and warnings" if issubclass(value, Exception) else "Types"
        groups[kind].append(f"gatescope.{name}")
    for heading, names in groups.items():
        parts += [title(heading, "-"), summary(names)]
    for package in PACKAGES:
        module = importlib.import_module(f"gatescope.{package}")
        names = [f"{module.__name__}.{name}" for name in module.__all__ if name not in gatescope.__all__]
        parts += [title(f"gatescope.{package}", "-"), first_line(module) + "\n", summary(names)]
    text = "\n".join(parts)
    for page in (GENERATED / "api").glob("*.rst"):  # of names that are no more
        if f"   {page.stem}\n" not in text:
            page.unlink()
    return text


def first_line(module: ModuleType) -> str:
    return inspect.cleandoc(module.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def summary(names: list[str]) -> str:
    rows = "\n".join(f"   {name}" for name in names)
    return f".. autosummary::\n   :toctree: api\n   :nosignatures:\n\n{rows}\n"


# -- claims


def claims() -> str:
    """Return where the page of all verdicts is; it is copied into the site once the full run is committed."""
    folder = ROOT / "figures" / "claims"
    if not (folder / "claims.html").exists():
        return "The full run takes hours, and its page is not committed yet.\n"
    shutil.copytree(folder, GENERATED / "pages" / "claims", dirs_exist_ok=True)
    return (
        '<a href="claims/claims.html">The page of all verdicts</a>, with the evidence of each; '
        '<a href="claims/claims.json">the same as data</a>.\n'
    )


# -- the gallery


def gallery() -> str:
    """Return the gallery: a figure a script, with what the script says of it."""
    parts = [
        "# Gallery",
        "A script a figure, in `figures/`; `python -m figures` rebuilds all of them, byte for byte, each from a data "
        "file of its own.",
        "## A page to explore",
        "An LSTM and a GRU before and after they learned the adding problem, as `gatescope.explore` shows them: "
        "scrub, zoom with the wheel, choose a unit with a click. [Open it by itself](explorer-page).",
        '<iframe class="explorer" src="../explorer.html" title="The explorer" loading="lazy"></iframe>',
    ]
    for picture in sorted((ROOT / "figures" / "out").glob("*.png")):
        module = importlib.import_module(f"figures.{picture.stem}")
        text = first_line(module)
        parts += [
            f"## {picture.stem.replace('_', ' ').capitalize()}",
            f"![{text}](../../figures/out/{picture.name})",
            f"{text} `python -m figures --only {picture.stem}`",
        ]
    text = "\n\n".join(parts) + "\n"
    return text.replace(
        "[Open it by itself](explorer-page)", '<a href="../explorer.html">Open it by itself</a>'
    )


# -- mathematics


def _inline(self: Any, node: Any) -> None:
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise _skip()


def _display(self: Any, node: Any) -> None:
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise _skip()


def _skip() -> Exception:
    from docutils.nodes import SkipNode

    return SkipNode()
