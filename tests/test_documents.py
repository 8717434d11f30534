"""Every Python block and every command of README and CONTRIBUTING runs.

What is marked ``<!-- skip: next "why" -->`` does not: installing, which CI does word for word before the tests, and
what needs a GPU.  Training is cut to an epoch of 8 units.  Blocks of live models run where their framework is
installed, in CI in tests/integrations.
"""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from unittest import SkipTest

import numpy as np
import pytest
import scipy.io
from helpers.documents import ROOT, python_blocks, shell_blocks
from helpers.keras_files import archive, config, hdf5, lstm, recurrent
from helpers.torch_zip import Tensor, write_torch
from safetensors.numpy import save_file

import gatescope as gs

pytestmark = pytest.mark.slow
DOCUMENTS = ["README.md", "CONTRIBUTING.md"]
FRAMEWORKS = {"torch", "keras"}  # whose blocks run where they are installed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with the files that the documents name, as a reader would have them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    own = {f"{name}_l0": value for name, value in params.arrays().items()}
    save_file(own, "model.safetensors")
    write_torch("model.pt", {name: Tensor(value, str(k)) for k, (name, value) in enumerate(own.items())})
    layers = {"lstm": ("lstm", recurrent("lstm", inputs=1, units=8))}
    archive("model.keras", hdf5(layers), config(lstm(return_sequences=True)))
    gs.save_weights("model.onnx", params)
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


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_blocks(folder, name):
    evaluate(python_blocks(name))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands(folder, name):
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }

    def run(text):
        for line in text.splitlines():
            command = line.partition("  #")[0]
            if command.startswith("gatescope train "):
                command = re.sub(r"--hidden-size \d+", "--hidden-size 8", command) + " --epochs 1"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    evaluate(shell_blocks(name, run))
