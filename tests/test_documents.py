"""Every Python block and every command of README, CONTRIBUTING and the pages in docs runs.

What is marked ``<!-- skip: next "why" -->`` does not: installing, which CI does word for word before the tests, and
what needs a GPU.  The models are small and in the precision of most tests, whose kernels they share, and training is
short.  Blocks of live models run where their framework is installed, in CI in tests/integrations.
"""

import shlex
from contextlib import suppress
from unittest import SkipTest

import numpy as np
import pytest
import scipy.io
from helpers.documents import ROOT, python_blocks, shell_blocks
from helpers.keras_files import archive, config, hdf5, lstm, recurrent
from helpers.torch_zip import Tensor, write_torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

import gatescope as gs
from gatescope.cli import main

pytestmark = pytest.mark.slow
SMALL = {"hidden_size": 5, "dtype": "float64"}
SHORTER = {
    "train": ["--hidden-size", "5", "--epochs", "1"],
    "experiment": ["--hidden-size", "5", "--epochs", "2", "--steps", "100"],
    "claims": ["--only", "9a"],
}
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
]


def those_with(language):
    """Return the documents with blocks of a language; cells of notebooks are none, and run where the site is built."""
    return [name for name in DOCUMENTS if f"```{language}\n" in (ROOT / name).read_text()]


FRAMEWORKS = {"torch", "keras"}  # whose blocks run where they are installed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with the files that the documents name, as a reader would have them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    params = gs.init("lstm", input_size=1, seed=0, **SMALL)
    single = params.astype("float32")
    save_file({f"{name}_l0": value for name, value in params.arrays().items()}, "model.safetensors")
    arrays = enumerate(single.arrays().items())
    write_torch("model.pt", {f"{name}_l0": Tensor(value, str(k)) for k, (name, value) in arrays})
    layers = {"lstm": ("lstm", recurrent("lstm", inputs=1, units=5))}
    archive("model.keras", hdf5(layers), config(lstm(return_sequences=True)))
    gs.save_weights("model.onnx", single)
    np.savetxt("series.csv", np.sin(np.arange(400) / 7)[:, None] + 0.1 * rng.standard_normal((400, 1)))
    np.save("long.npy", rng.standard_normal((2000, 1)))
    np.savez(
        "mine.npz",
        inputs=rng.standard_normal((50, 64, 3)),
        targets=rng.integers(0, 2, (50, 64, 1)).astype(float),
    )
    pieces = [(rng.random((steps, 88)) < 0.05).astype(np.uint8) for steps in (20, 30, 25, 40)]
    rolls = np.empty((1, len(pieces)), object)
    rolls[0] = pieces
    scipy.io.savemat("JSB_Chorales.mat", {name: rolls for name in ("traindata", "validdata", "testdata")})
    return tmp_path


def evaluate(examples):
    assert examples
    for example in examples:
        try:
            with suppress(SkipTest):
                example.evaluate()
        except ModuleNotFoundError as error:
            if error.name not in FRAMEWORKS:
                raise


@pytest.mark.parametrize("name", those_with("python"))
def test_python_blocks(folder, name, monkeypatch):
    init = gs.init
    monkeypatch.setattr(gs, "init", lambda cell, **sizes: init(cell, **sizes | SMALL))
    evaluate(python_blocks(name))


@pytest.mark.parametrize("name", those_with("sh"))
def test_commands(folder, name):
    def run(text):
        for line in text.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "gatescope", line
            arguments += SHORTER.get(arguments[0], [])  # of an option given twice the last one counts
            done = CliRunner().invoke(main.app, arguments)
            assert done.exit_code == 0, f"{line}\n{done.output}"

    evaluate(shell_blocks(name, run))
