"""The figures: built twice they are the same bytes, and a fast build leaves the committed results alone."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gatescope.storage.npz import read_npz, write_npz

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the scripts are no part of the package

building = importlib.import_module("figures._building")


def _files(folder):
    return {
        file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


# Each compiles what it measures and is rendered four times; one will do at every run, and CI builds them all.
FIRST = "saturation"


@pytest.mark.parametrize(
    "name",
    [name if name == FIRST else pytest.param(name, marks=pytest.mark.slow) for name in building.names()],
)
def test_twice_gives_identical_bytes(name, tmp_path):
    module = importlib.import_module(f"figures.{name}")
    for turn in ("first", "second"):
        files = building.build(module, tmp_path / turn, 60)
        assert [file.suffix for file in files] == [".npz", ".png", ".svg"]
    first, second = _files(tmp_path / "first"), _files(tmp_path / "second")
    assert len(first) == 3
    assert first == second
    assert first[Path("out") / f"{name}.png"].startswith(b"\x89PNG")
    assert b"</svg>" in first[Path("out") / f"{name}.svg"]


def test_the_picture_is_drawn_from_the_data_file_alone(tmp_path):
    module = importlib.import_module("figures.gradient_flow")
    data = tmp_path / "data.npz"
    write_npz(data, module.compute(60))
    arrays = read_npz(data)
    assert np.array_equal(arrays["lstm.lag"], np.arange(61))
    halved = arrays | {"lstm.log_norm": arrays["lstm.log_norm"] / 2}
    lines = [line for line in module.draw(halved).axes[0].lines if len(line.get_xdata()) == 61]
    expected = halved["lstm.log_norm"].astype(np.float64) / np.log(10)
    assert any(np.allclose(line.get_ydata(), expected, rtol=1e-12) for line in lines)


def test_fast_writes_elsewhere(tmp_path):
    before = _files(ROOT / "figures" / "data")
    command = [sys.executable, "-m", "figures", "--fast", "--only", FIRST, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(_files(tmp_path)) == 3
    assert str(tmp_path) in done.stdout
    assert _files(ROOT / "figures" / "data") == before


def test_every_figure_is_committed():
    for name in building.names():
        for file in (f"data/{name}.npz", f"out/{name}.png", f"out/{name}.svg"):
            assert (ROOT / "figures" / file).stat().st_size < 1_500_000
