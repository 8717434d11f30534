"""What the project says of itself in several files is the same in all."""

import re
import tomllib
from pathlib import Path

from gatescope import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.M).group(1) == __version__
    assert re.search(r"^license: (.*)$", citation, re.M).group(1) == PROJECT["project"]["license"]


def test_the_description_for_the_index_has_no_link_that_leads_nowhere_there():
    """The substitutions of pyproject.toml, as the build applies them; that it does so .ci/distribution.py looks at."""
    (hook,) = PROJECT["tool"]["hatch"]["metadata"]["hooks"].values()
    text = (ROOT / "README.md").read_text()
    assert re.search(r"\]\((?!https?:|#)", text)
    for rule in hook["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", text) == []
    assert "open_gates.png" in text


def test_every_page_is_in_the_contents():
    contents = (ROOT / "docs" / "index.md").read_text().split("```{toctree}")[1:]
    lines = [line for part in contents for line in part.partition("```")[0].splitlines()]
    listed = {line.rpartition("<")[2].rstrip(">") for line in lines}
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages - listed == set()


def test_stored_models_do_not_say_where_they_were_made():
    """PyTorch's exporter writes the stack of calls, with the folders of the machine, beside every node."""
    models = [*(ROOT / "tests" / "golden").rglob("*.onnx")]
    assert models
    assert [model.name for model in models if b'.py", line ' in model.read_bytes()] == []
