"""numba.cuda is imported in one module, and only when a GPU is asked for."""

import ast
from pathlib import Path

import pytest
from helpers.subprocess_python import python

import gatescope

SOURCE = Path(gatescope.__file__).parent
DRIVER = SOURCE / "kernels" / "cuda" / "driver.py"
FOREIGN = ("numba.cuda", "numba_cuda", "cuda", "numba_cuda_mlir")


def imported(tree):
    """Return the dotted names that a module imports, by statements and by import_module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("import_module", "__import__"):
            yield from (part.value for part in node.args if isinstance(part, ast.Constant))


def of_cuda(path):
    names = imported(ast.parse(path.read_text(encoding="utf-8")))
    return [name for name in names if any(name == top or name.startswith(f"{top}.") for top in FOREIGN)]


def test_one_module_imports_numba_cuda():
    importing = {path.relative_to(SOURCE).as_posix(): of_cuda(path) for path in SOURCE.rglob("*.py")}
    opened = set(importing.pop(DRIVER.relative_to(SOURCE).as_posix()))
    assert {path: names for path, names in importing.items() if names} == {}
    assert "numba.cuda" in opened


@pytest.mark.parametrize(
    "line",
    [
        "import numba.cuda",
        "import numba.cuda.extending as e",
        "from numba import cuda",
        "from numba.cuda import jit",
        "def late():\n    from numba import njit, cuda",
        "from cuda.core import Linker",
        "import importlib; importlib.import_module('numba.cuda')",
    ],
)
def test_the_search_finds_every_way_to_import_it(line):
    names = list(imported(ast.parse(line)))
    assert any(name == top or name.startswith(f"{top}.") for name in names for top in FOREIGN)


def test_importing_gatescope_imports_no_cuda():
    code = "import sys, gatescope.cli.main, gatescope.comparison.compare; print([m for m in sys.modules if m in {}])"
    assert python(code.format(["numba.cuda", "cuda", "gatescope.kernels.cuda.driver"])) == "[]"


def test_computing_on_the_cpu_imports_no_cuda():
    code = (
        "import sys, numpy as np, gatescope as gs\n"
        "gs.run(gs.init('rnn', input_size=1, hidden_size=2), np.ones((3, 1)), device='cpu')\n"
        "print('gatescope.kernels.cuda.driver' in sys.modules)"
    )
    assert python(code) == "False"


def test_the_door_opens_without_a_gpu_and_without_a_word():
    code = (
        "from gatescope.kernels.cuda import driver\n"
        "print(driver.simulated, driver.cuda.jit is not None, callable(driver.overload))"
    )
    assert python(code) == "False True True"


def test_the_simulator_can_always_be_used():
    code = (
        "import numpy as np\n"
        "from gatescope.kernels.cuda import driver\n"
        "@driver.overload(len)\n"
        "def nothing(x): ...\n"
        "cuda = driver.cuda  # the simulator looks for a global of this name\n"
        "@cuda.jit\n"
        "def kernel(x): x[cuda.threadIdx.x] = 7\n"
        "x = np.zeros(2)\n"
        "kernel[1, 2](x)\n"
        "print(driver.simulated, driver.why_unavailable(), driver.devices(), x)"
    )
    assert python(code, NUMBA_ENABLE_CUDASIM="1") == "True None [] [7. 7.]"


WITHOUT_THE_PACKAGE = (
    "import sys; sys.meta_path = [f for f in sys.meta_path if 'NumbaCuda' not in type(f).__name__]\n"
    "import importlib.metadata as metadata\n"
    "real = metadata.version\n"
    "def version(name):\n"
    "    if name == 'numba-cuda': raise metadata.PackageNotFoundError(name)\n"
    "    return real(name)\n"
    "metadata.version = version\n"
)


def test_the_simulator_is_there_without_the_package():
    """Numba's own numba.cuda serves it; without the simulator it does not stand in for the package."""
    code = (
        f"{WITHOUT_THE_PACKAGE}"
        "from gatescope.kernels.cuda import driver\n"
        "print(driver.cuda.implementation, driver.simulated, driver.why_unavailable())"
    )
    assert python(code, NUMBA_ENABLE_CUDASIM="1") == "Built-in True None"
    assert python(code).startswith("Built-in False the package numba-cuda is not installed; pip install")


@pytest.mark.slow  # barriers take tens of milliseconds in the simulator
def test_the_simulator_computes_without_the_package():
    """It is what the error of a missing GPU recommends."""
    code = (
        f"{WITHOUT_THE_PACKAGE}"
        "import numpy as np, gatescope as gs\n"
        "params = gs.init('gru', input_size=1, hidden_size=2, dtype='float64')\n"
        "on_gpu = gs.run(params, np.ones((2, 1)), device='cuda').states\n"
        "print(np.abs(on_gpu - gs.run(params, np.ones((2, 1))).states).max() < 1e-14)"
    )
    assert python(code, NUMBA_ENABLE_CUDASIM="1") == "True"


def test_the_simulator_that_is_asked_for_too_late():
    code = (
        "import os, gatescope as gs, numpy as np\n"
        "run, params = gs.run, gs.init('rnn', input_size=1, hidden_size=2)  # imports Numba\n"
        "os.environ['NUMBA_ENABLE_CUDASIM'] = '1'\n"
        "try: run(params, np.ones((3, 1)), device='cuda')\n"
        "except gs.DeviceError as error: print(error)"
    )
    assert "NUMBA_ENABLE_CUDASIM=1 was set too late" in python(code)
