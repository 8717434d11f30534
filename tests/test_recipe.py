"""CONTRIBUTING's recipes: the cell's is a cell, the measurement's works for a toy in a copy of the package.

What it lists is enough.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

DATATYPE = '''"""How large a state is on average."""

from __future__ import annotations

from dataclasses import dataclass

from gatescope.checks.arrays import Array
from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table
from gatescope.reporting.text import number


@dataclass(frozen=True, kw_only=True, repr=False)
class StateNorm(Result):
    """The mean Euclidean norm of the whole state, (B,)."""

    cell: str
    norm: Array

    def table(self) -> Table:
        """Return a row a sequence."""
        return Table(("sequence", "mean norm"), list(enumerate(self.norm)), f"state of {self.cell}")

    def summary(self) -> str:
        """Return the mean over all sequences."""
        return f"state of {self.cell}\\nmean norm {number(self.norm.mean())}"
'''
MEASUREMENT = '''"""How large a state is on average."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.datatypes import Params
from gatescope.datatypes.state_norm import StateNorm
from gatescope.measurements.problem import Problem, by_length, in_batch_order, prepare


def state_norm(
    params: Params, inputs: Any, *, lengths: Any = None, clamp: Any = None, threads: int | None = None
) -> StateNorm:
    """Measure how large the state is on average.

    Parameters
    ----------
    params : Params
    inputs : (T, B, I) array_like
    lengths : (B,) array_like of int, optional
    clamp : mapping, optional
    threads : int, optional
    """
    with prepare(params, inputs, lengths=lengths, clamp=clamp, threads=threads) as problem:
        return measure(problem)


def measure(problem: Problem) -> StateNorm:
    """Do the work of `state_norm`."""
    norm = by_length(problem, _of_one_length, in_batch_order)
    return StateNorm(cell=problem.cell.name, norm=norm, provenance=problem.provenance())


def _of_one_length(problem: Problem) -> Any:
    total = np.zeros(problem.batch)
    for _, states, _ in problem.forward([problem.steps], 100):
        total += np.linalg.norm(states[1:].reshape(len(states) - 1, problem.batch, -1), axis=2).sum(axis=0)
    return total / problem.steps
'''
PLOT = '''"""A bar for each sequence."""

from __future__ import annotations

from typing import Any

from gatescope.datatypes.state_norm import StateNorm
from gatescope.plotting._figure import new_figure


def plot_state_norm(result: StateNorm, *, ax: Any = None) -> Any:
    """Draw the mean norm of each sequence."""
    ax = new_figure(4, 3).subplots() if ax is None else ax
    ax.bar(range(len(result.norm)), result.norm)
    return ax
'''
FILES = {
    "src/gatescope/datatypes/state_norm.py": DATATYPE,
    "src/gatescope/measurements/state_norm.py": MEASUREMENT,
    "src/gatescope/plotting/state_norm.py": PLOT,
    "tests/measurements/test_state_norm.py": "",
    "tests/plotting/test_state_norm.py": "",
    "figures/state_norm.py": "",
}
# The lists that name it: a file, the line before which a line goes, and that line.
ROWS = [
    (
        "src/gatescope/measurements/registry.py",
        "MEASUREMENTS = (",
        '    Measurement("state_norm", "How large the state is on average."),',
    ),
    ("src/gatescope/datatypes/__init__.py", None, "from gatescope.datatypes.state_norm import StateNorm"),
    ("src/gatescope/plotting/__init__.py", None, "from gatescope.plotting.state_norm import plot_state_norm"),
    ("src/gatescope/__init__.py", None, "from gatescope.datatypes import StateNorm"),
    ("src/gatescope/__init__.py", None, "from gatescope.measurements.state_norm import state_norm"),
]
USE = """
import numpy as np, gatescope as gs
params = gs.init("gru", input_size=1, hidden_size=5, seed=0, dtype="float64")
inputs = np.random.default_rng(0).standard_normal((60, 2, 1))
result = gs.state_norm(params, inputs, lengths=[60, 20])
alone = [gs.state_norm(params, inputs[:steps, b : b + 1]).norm[0] for b, steps in enumerate((60, 20))]
assert result.norm.tolist() == alone, (result.norm, alone)
result.save("norm.npz")
assert gs.load("norm.npz") == result
assert "<table>" in result._repr_html_()
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a copy of the project with the toy in it."""
    tree = tmp_path_factory.mktemp("project")
    for name in ("src", "figures", "tests"):
        unwanted = shutil.ignore_patterns("__pycache__", "golden", "data", "out", "weights")
        shutil.copytree(ROOT / name, tree / name, ignore=None if name == "src" else unwanted)
    shutil.copy(ROOT / "pyproject.toml", tree)
    for name, text in FILES.items():
        assert not (tree / name).exists()
        (tree / name).write_text(text)
    for name, before, line in ROWS:
        lines = (tree / name).read_text().splitlines()
        lines.insert(len(lines) if before is None else lines.index(before) + 1, line)
        (tree / name).write_text("\n".join(lines) + "\n")
    return tree


def run(tree, folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_is_measured_saved_and_shown(tree, tmp_path):
    run(tree, tmp_path, "-c", USE)


@pytest.mark.slow
def test_it_has_a_command_with_its_options(tree, tmp_path):
    command = ("-m", "gatescope", "measure")
    assert "state-norm" in run(tree, tmp_path, *command, "--help")
    shown = run(
        tree, tmp_path, *command, "state-norm", "--cell", "gru", "--hidden-size", "5", "--steps", "60"
    )
    assert "mean norm" in shown
    assert {path.name for path in (tmp_path / "gatescope-measured").iterdir()} == {
        "state_norm.npz",
        "state_norm.png",
        "state_norm.svg",
    }


@pytest.mark.slow
def test_the_test_of_the_tree_accepts_it(tree):
    run(tree, tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_architecture.py")
    (tree / "src/gatescope/plotting/state_norm.py").rename(tree / "src/gatescope/plotting/norms.py")
    with pytest.raises(AssertionError, match="state_norm"):
        run(tree, tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_architecture.py")


def test_the_recipe_lists_these_files():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    recipe = text[text.index("## How to add a measurement") : text.index("## How to add a plot")]
    assert all(f"`{name.replace('state_norm', 'memory_span')}`" in recipe for name in FILES)


def test_the_recipe_for_a_cell_is_the_leaky_network():
    (block,) = [part for part in (ROOT / "CONTRIBUTING.md").read_text().split("```") if "NAME =" in part]
    assert block == "python\n" + (ROOT / "src/gatescope/cells/leaky.py").read_text()


def test_every_cell_is_in_the_table_of_cells():
    text = (ROOT / "docs/cells.md").read_text()
    table = text[text.index("| cell | what it is |") : text.index("| your own |")]
    cells = ast.parse((ROOT / "src/gatescope/cells/__init__.py").read_text())
    (loop,) = [node for node in ast.walk(cells) if isinstance(node, ast.For)]
    assert len(loop.iter.elts) > 12
    assert [name.id for name in loop.iter.elts if f"`{name.id}`" not in table] == []
