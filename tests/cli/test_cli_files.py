"""Files of a command: none that is read is written, and what cannot be written is known before the work."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import SMALL, too_late
from helpers.subprocess_python import python

import gatescope as gs
from gatescope import plotting
from gatescope.cli import plots
from gatescope.storage import resumable

blank_figures = pytest.mark.usefixtures("blank_figures")
MEASURE = ["measure", "lyapunov-spectrum"]
TRAIN = ["train", "adding", "--hidden-size", 4, "--steps", 10, "--epochs", 1]


@pytest.fixture
def files(tmp_path):
    """Write inputs, weights, and links to them; return the bytes of each file."""
    (tmp_path / "o" / "data").mkdir(parents=True)
    inputs = np.random.default_rng(0).standard_normal((40, 1))
    for name in ("o/lyapunov_spectrum.npz", "x.npz"):
        np.savez(tmp_path / name, inputs=inputs)
    gs.init("lstm", input_size=1, hidden_size=4, seed=0).save(tmp_path / "w.npz")
    (tmp_path / "o" / "data" / "params_w.npz").symlink_to("../../w.npz")
    np.savez(tmp_path / "own.npz", inputs=inputs[:, None], targets=inputs[:, None])
    np.save(tmp_path / "own.inputs.npy", inputs)
    (tmp_path / "soft").mkdir()
    (tmp_path / "soft" / "lyapunov_spectrum.npz").symlink_to("../x.npz")
    (tmp_path / "hard").mkdir()
    os.link(tmp_path / "x.npz", tmp_path / "hard" / "lyapunov_spectrum.npz")
    (tmp_path / "q.npz").symlink_to("run.npz")
    return {path: path.read_bytes() for path in tmp_path.rglob("*.np*") if path.exists()}


READ_TOO = {
    "inputs": [*MEASURE, "--inputs", "o/lyapunov_spectrum.npz", "--out", "o"],
    "inputs by a link": [*MEASURE, "--inputs", "x.npz", "--out", "soft"],
    "inputs by a hard link": [*MEASURE, "--inputs", "x.npz", "--out", "hard"],
    "weights": ["compare", "--weights", "w.npz", "--out", "o"],
    "resume and inputs": [*MEASURE, "--inputs", "x.npz", "--resume", "./x.npz"],
    "resume and weights": [*MEASURE, "--weights", "w.npz", "--resume", "w.npz"],
    "resume and out": [*MEASURE, "--out", "new", "--resume", "new/lyapunov_spectrum.npz"],
    "run": ["run", "--weights", "w.npz", "--out", "o/../w.npz"],
    "checkpoint": [*TRAIN, "--checkpoint", "{here}/new.npz", "--out", "new.npz"],
    "checkpoint by a link": [*TRAIN, "--checkpoint", "q.npz", "--out", "run.npz"],
    "data": ["train", "own", "--data", "own.npz", "--out", "./own.npz"],
}


@pytest.mark.parametrize("name", READ_TOO)
def test_no_file_that_is_read_is_written(name, files, invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("gatescope.kernels.cpu.device.CpuDevice.forward", too_late)
    done = invoke(*(str(argument).replace("{here}", str(tmp_path)) for argument in READ_TOO[name]))
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1
    assert "too, and would be lost; give another name" in done.stderr or "--out too; give it" in done.stderr
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize("command", [[*MEASURE, *SMALL], ["compare", "--cells", "rnn", *SMALL], TRAIN])
def test_a_read_only_output_is_refused_before_the_work(command, invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("gatescope.kernels.cpu.device.CpuDevice.forward", too_late)
    out = {"measure": "o/lyapunov_spectrum.png", "compare": "o/data/trace_rnn.npz", "train": "o/run.npz"}[
        command[0]
    ]
    (tmp_path / out).parent.mkdir(parents=True)
    (tmp_path / out).write_bytes(b"old")
    monkeypatch.setattr(
        os, "access", lambda path, mode: mode != os.W_OK or Path(path).name != Path(out).name
    )  # root may write anything
    done = invoke(*command, "--out", out if command[0] == "train" else "o")
    assert done.exit_code == 2
    assert f"{Path(out).name}' cannot be written: the file is read-only" in done.stderr
    assert (tmp_path / out).read_bytes() == b"old"


@pytest.mark.parametrize("command", [[*MEASURE, *SMALL], ["compare", *SMALL], [*TRAIN, "--plot", "loss.png"]])
@pytest.mark.parametrize("error", [ImportError("no module named kiwisolver"), ValueError("no such font")])
def test_a_matplotlib_that_draws_nothing_is_noticed_before_the_work(command, error, invoke, monkeypatch):
    def broken(*_args, **_keywords):
        raise error

    monkeypatch.setattr("gatescope.kernels.cpu.device.CpuDevice.forward", too_late)
    monkeypatch.setattr(plotting, "render", broken)
    plots.check_plotting.cache_clear()
    done = invoke(*command)
    plots.check_plotting.cache_clear()
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert "figures cannot be drawn" in done.stderr
    assert str(error) in done.stderr


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "module://gone", "gone", "tkagg"]
)
def test_the_backend_of_a_notebook_or_a_screen_does_not_count(backend):
    code = "import os\nfrom gatescope.cli.plots import check_plotting\ncheck_plotting()\n"
    code += "print(os.environ['MPLBACKEND'])"
    assert python(code, MPLBACKEND=backend) == backend


@pytest.mark.slow
@blank_figures
def test_the_state_of_a_measurement_stays_until_its_result_is_stored(invoke, tmp_path, monkeypatch):
    """A disk that fills up, or a kill, between the two loses nothing."""
    measure = [*MEASURE, *SMALL, "--resume", "state.npz", "--out", "o"]
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(resumable.time, "monotonic", lambda: next(clock))
    save = gs.LyapunovSpectrum.save

    def full(self, path):
        assert (tmp_path / "state.npz").exists()
        raise gs.OutputError("cannot be written: No space left on device", seen=path)

    with monkeypatch.context() as patched:
        patched.setattr(gs.LyapunovSpectrum, "save", full)
        done = invoke(*measure)
    assert done.exit_code == 2
    assert "No space left on device; what has been measured is in state.npz; the same command" in done.stderr
    assert (tmp_path / "state.npz").exists()
    assert gs.LyapunovSpectrum.save is save
    done = invoke(*measure)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "state.npz").exists()
    assert (tmp_path / "o" / "lyapunov_spectrum.npz").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_long_file_goes_through_the_checks_of_a_short_one(bad, invoke, tmp_path, monkeypatch):
    values = np.zeros((5000, 2, 1))
    values[4321, 1] = bad
    np.save(tmp_path / "x.npy", values)
    monkeypatch.setattr("gatescope.kernels.cpu.device.CpuDevice.forward", too_late)
    short = invoke(*MEASURE, "--hidden-size", 4, "--inputs", "x.npy")
    monkeypatch.setattr("gatescope.cli.inputs.MAPPED_BYTES", 0)
    monkeypatch.setattr("gatescope.io.tables.series._PIECE", 1000)
    long = invoke(*MEASURE, "--hidden-size", 4, "--inputs", "x.npy")
    assert (short.exit_code, long.exit_code) == (2, 2)
    assert "has 1 values that are not finite in float64" in long.stderr
    assert f"the first {bad} at index [4321, 1, 0]" in long.stderr
    assert long.stderr == short.stderr
