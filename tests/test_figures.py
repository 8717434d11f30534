"""The figures: made twice they are the same bytes, and a fast build leaves the committed results alone."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gatescope import plotting
from gatescope.storage.npz import read_npz, write_npz

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the scripts are no part of the package

building = importlib.import_module("figures._building")


def _files(folder):
    return {
        file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


# Of the others, all of which CI computes and draws once: the data of those that are computed fast, and each drawing as
# text.  How a figure becomes a file is common to all.
FIRST = "saturation"
OTHERS = [name for name in building.names() if name != FIRST]
QUICK = ("gate_heatmap", "gate_trajectories", "jacobian_spectrum")


def test_twice_gives_identical_bytes(tmp_path):
    module = importlib.import_module(f"figures.{FIRST}")
    for turn in ("first", "second"):
        files = building.build(module, tmp_path / turn, 60)
        assert [file.suffix for file in files] == [".npz", ".png", ".svg"]
    first, second = _files(tmp_path / "first"), _files(tmp_path / "second")
    assert len(first) == 3
    assert first == second
    assert first[Path("out") / f"{FIRST}.png"].startswith(b"\x89PNG")
    assert b"</svg>" in first[Path("out") / f"{FIRST}.svg"]


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_computed_twice_the_data_are_identical_bytes(name, tmp_path):
    module = importlib.import_module(f"figures.{name}")
    for turn in ("first", "second"):
        write_npz(tmp_path / turn, module.compute(60))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "times"), [(name, 1 + (k % 3 == 0)) for k, name in enumerate(OTHERS)])
def test_drawn_from_the_committed_data_it_is_the_same_text_each_time(name, times):
    """One in three is drawn twice."""
    module = importlib.import_module(f"figures.{name}")
    arrays = read_npz(ROOT / "figures" / "data" / f"{name}.npz")
    with plotting.style():
        drawn = {plotting.render(module.draw(arrays), "svg") for _ in range(times)}
    assert len(drawn) == 1
    assert b"</svg>" in drawn.pop()


@pytest.mark.slow  # compiles kernels of its own
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


def test_the_experiment_and_the_readme_take_their_times_from_one_measurement():
    """What is committed: the data's times are those of benchmarks.epochs, and the page is of the data."""
    module = importlib.import_module("figures.long_series")
    arrays = read_npz(ROOT / "figures" / "data" / "long_series.npz")
    assert np.array_equal(arrays["seconds"], module.compute(None)["seconds"])
    page, again = (ROOT / "figures" / "out" / "long_series.md").read_text(), module.page(arrays)
    number = re.compile(r"\d+\.\d+")
    assert number.sub("", page) == number.sub("", again)
    there, here = ([float(each) for each in number.findall(text)] for text in (page, again))
    # The bootstrap's quantiles turn with the order in which a processor's vectors sum, by the last of three digits.
    np.testing.assert_allclose(here, there, rtol=2e-3)


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


def test_the_readme_says_what_the_gradients_of_its_first_picture_are():
    cells = importlib.import_module("figures._cells")
    arrays = read_npz(ROOT / "figures" / "data" / "open_gates.npz")
    half, tail, zero = {}, {}, {}
    for key in ("rnn", "gru", "lstm", "gru.chrono", "lstm.chrono"):
        flow = cells.flow_from(arrays, key)
        half[key], tail[key] = int(flow.steps_to_half()[0]), float(flow.half_life().value[0])
        below = flow.log_norm[:, 0] < np.log(np.finfo(np.float32).smallest_subnormal)
        zero[key] = int(flow.lag[below.argmax()])
    fast = ("rnn", "gru", "lstm")
    text = " ".join((ROOT / "README.md").read_text().split())
    assert sorted({half[key] for key in fast}) == [1, 2]
    assert f"every {min(tail[k] for k in fast):.1f} to {max(tail[k] for k in fast):.1f}" in text
    assert f"returns 0 after {min(zero[k] for k in fast)} to {max(zero[k] for k in fast)} steps" in text
    assert f"gone after {half['lstm.chrono']} steps (LSTM) and {half['gru.chrono']} (GRU)" in text
    assert f"halves every {tail['lstm.chrono']:.0f} and {tail['gru.chrono']:.0f}" in text


def test_the_readme_says_what_its_picture_of_gates_shows():
    """At the two steps to be added, and nowhere else once a sequence has begun; in every sequence of the data."""
    figure = importlib.import_module("figures.gates_before_after")
    arrays = read_npz(ROOT / "figures" / "data" / "gates_before_after.npz")
    marked = arrays["inputs"][:, :, 1] > 0
    lstm, gru = (figure.trace_from(arrays, cell, "after") for cell in ("lstm", "gru"))
    opened, kept, updated = lstm.gate("i")[..., 30], lstm.gate("f")[..., 30], gru.gate("z")[..., 28]
    for k in range(marked.shape[1]):
        others = ~marked[:, k]
        others[0] = False
        assert opened[marked[:, k], k].min() > 0.65 > 0.15 > opened[others, k].max()
        assert kept[5:, k].min() > 0.9
        assert updated[marked[:, k], k].max() < 0.6 < updated[others, k].min()
    lines = [line.get_xdata()[0] for line in figure.draw(arrays).axes[0].lines if line.get_label()[0] == "_"]
    assert any(lines == list(np.flatnonzero(marked[:, k])) for k in range(marked.shape[1]))
