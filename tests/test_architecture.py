"""The tree says the architecture: what lies where, one stem per measurement on every floor, who may import whom."""

import ast
import importlib
import pkgutil
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import gatescope
from gatescope.measurements.registry import MEASUREMENTS

SOURCE = Path(gatescope.__file__).parent
ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PACKAGES = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
STEMS = [measurement.stem for measurement in MEASUREMENTS]


def imports_of(path):
    """Return the gatescope packages that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gatescope"):
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("gatescope."))


def test_nothing_else_lies_in_the_root():
    files = {path.name for path in SOURCE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "_version.py", "errors.py", "py.typed"}


def test_every_package_has_a_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = {part.strip().split(".")[1] for layer in layers for part in layer.split("|")}
    assert named == {*PACKAGES, "errors"}


@pytest.mark.parametrize("package", ["tasks", "io", "plotting"])
def test_what_a_package_may_see(package):
    allowed = {package, "checks", "datatypes", "reporting", "storage", "cells", "errors", "_version"}
    seen = {(path.name, name) for path in (SOURCE / package).rglob("*.py") for name in imports_of(path)}
    # Examples in docstrings are no imports; plotting is asked for by name, `from gatescope import plotting`.
    assert {(file, name) for file, name in seen if name not in allowed} == set()


def test_the_ground_imports_numpy_and_errors_only():
    for name in ("numbers", "arrays", "dtypes", "parsing", "characters"):
        path = SOURCE / "checks" / f"{name}.py"
        assert set(imports_of(path)) <= {"errors", "checks"}, path


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(
    "pattern",
    [
        "src/gatescope/measurements/{}.py",
        "src/gatescope/datatypes/{}.py",
        "src/gatescope/plotting/{}.py",
        "tests/measurements/test_{}.py",
        "tests/plotting/test_{}.py",
        "figures/{}.py",
    ],
)
def test_a_measurement_has_one_stem_on_every_floor(stem, pattern):
    assert (ROOT / pattern.format(stem)).is_file()


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=STEMS)
def test_a_measurement_is_public_under_its_name(measurement):
    module = importlib.import_module(f"gatescope.measurements.{measurement.stem}")
    assert getattr(gatescope, measurement.name) is getattr(module, measurement.name)
    result = getattr(importlib.import_module(f"gatescope.datatypes.{measurement.stem}"), measurement.result)
    assert getattr(gatescope, measurement.result) is result
    assert callable(getattr(gatescope.plotting, f"plot_{measurement.stem}"))


def test_every_file_of_measurements_that_returns_a_result_is_registered():
    results = {path.stem for path in (SOURCE / "datatypes").glob("*.py")}
    public = {path.stem for path in (SOURCE / "measurements").glob("*.py")} & results
    # What a call will take in memory is no measurement of a cell.
    assert public - {"__init__", "memory_estimate"} == set(STEMS)


def modules(package):
    yield package
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if ".cuda" not in module.name:  # importing these asks for the GPU's packages
            yield importlib.import_module(module.name)


def test_no_module_is_hidden_by_something_of_its_name():
    for module in modules(gatescope):
        parent, _, name = module.__name__.rpartition(".")
        if parent:
            seen = getattr(importlib.import_module(parent), name)
            assert isinstance(seen, ModuleType), f"{module.__name__} is hidden by {seen!r}"


def test_the_tests_mirror_the_source():
    known = {path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_dir()}
    folders = {
        path.relative_to(TESTS)
        for path in TESTS.rglob("*")
        if path.is_dir() and path.name != "__pycache__" and any(path.glob("test_*.py"))
    }
    # The one module that imports numba.cuda is tested without the rest of it.
    assert folders - known == {Path("kernels/cuda_driver")}
