"""The command line: every option, what it writes, and how it fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import gatescope as gs
from gatescope import cli
from gatescope.datatypes import GradientFlow, Params, Trace

SMALL = ["--hidden-size", "4", "--horizon", "40"]


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, [str(a) for a in arguments])


def torch_weights(gates, hidden_size, inputs=1, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "weight_ih_l0": (gates * hidden_size, inputs),
        "weight_hh_l0": (gates * hidden_size, hidden_size),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_compare_writes_everything(invoke, tmp_path):
    done = invoke("compare", "--horizon", 700, "--hidden-size", 4)
    assert done.exit_code == 0, done.output
    out = tmp_path / "gatescope-out"
    summary = json.loads((out / "summary.json").read_text())
    written = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert set(summary["files"]) | {"summary.json"} == written
    pictures = {"gradient_decay", "saturation"}
    pictures |= {
        f"{kind}_{cell}"
        for kind in ("trajectories", "close_up", "heatmap")
        for cell in ("rnn", "gru", "lstm")
    }
    for name in pictures:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"</svg>" in (out / f"{name}.svg").read_bytes()

    params = gs.init("lstm", input_size=1, hidden_size=4, seed=0)
    inputs = gs.tasks.laser(horizon=700).inputs
    trace = Trace.load(out / "data" / "trace_lstm.npz")
    np.testing.assert_array_equal(trace.states, gs.run(params, inputs).states)
    flow = GradientFlow.load(out / "data" / "flow_h_lstm.npz")
    np.testing.assert_array_equal(flow.lag, np.arange(701))
    rate = gs.gradient_flow(params, inputs).decay_rate()
    assert summary["cells"]["lstm"]["gradient"]["h"]["decay_rate_nats_per_step"] == float(rate)
    assert summary["provenance"]["seed"] == 0
    assert summary["provenance"]["gatescope"] == gs.__version__
    with np.load(out / "data" / "saturation.npz") as shares:
        assert shares["lstm_f_open"].shape == (4,)

    assert "parameters" in done.output
    assert f"{float(rate):.4g}" in done.output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(pictures)
    assert "http" not in page.replace("http-equiv", "")
    assert not list(out.rglob("*.partial"))


def test_compare_with_every_option(invoke, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((50, 3, 2)))
    done = invoke(
        *(
            "compare",
            "--inputs",
            "x.npy",
            "--cells",
            "gru,gru_reset_before",
            "--hidden-size",
            5,
            "--horizon",
            30,
        ),
        *("--dtype", "float64", "--seed", 7, "--init", "chrono(50)", "--units", "0,4", "--out", "here/there"),
        *("--threads", 1, "--device", "cpu", "--no-traces", "--layer", 0),
    )
    assert done.exit_code == 0, done.output
    out = tmp_path / "here" / "there"
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["cells"]) == ["gru", "gru_reset_before"]
    numbers = summary["cells"]["gru"]
    assert (numbers["steps"], numbers["sequences"], numbers["input_size"]) == (30, 3, 2)
    assert (numbers["hidden_size"], numbers["dtype"], numbers["threads"]) == (5, "float64", 1)
    assert summary["arguments"]["init"] == "chrono(50)"
    params = Params.load(out / "data" / "params_gru.npz")
    expected = gs.init("gru", input_size=2, hidden_size=5, seed=7, scheme="chrono(50)", dtype="float64")
    np.testing.assert_array_equal(params.bias_ih, expected.bias_ih)
    assert not list(out.rglob("trace_*"))
    assert "units 0, 4" in (out / "report.html").read_text(encoding="utf-8")


def test_compare_weights_from_files(invoke, tmp_path):
    save_file(torch_weights(4, 6), tmp_path / "trained.safetensors")
    np.savez(tmp_path / "other.npz", **torch_weights(3, 5))
    gs.init("rnn", input_size=1, hidden_size=3, dtype="float64").save(tmp_path / "own.npz")
    arguments = [
        part for name in ("trained.safetensors", "other.npz", "own.npz") for part in ("--weights", name)
    ]
    done = invoke("compare", *arguments, "--horizon", 30)
    assert done.exit_code == 0, done.output
    cells = json.loads((tmp_path / "gatescope-out" / "summary.json").read_text())["cells"]
    assert {label: (cell["cell"], cell["hidden_size"], cell["dtype"]) for label, cell in cells.items()} == {
        "trained": ("lstm", 6, "float32"),
        "other": ("gru", 5, "float32"),
        "own": ("rnn", 3, "float64"),
    }


def test_weights_and_fresh_cells_together_in_one_dtype(invoke, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        gs.init("gru", input_size=1, hidden_size=3).save(tmp_path / folder / "mine.npz")
    both = ("--weights", "a/mine.npz", "--weights", "b/mine.npz")
    done = invoke("compare", *both, "--cells", "rnn", *SMALL, "--dtype", "float64")
    assert done.exit_code == 0, done.output
    cells = json.loads((tmp_path / "gatescope-out" / "summary.json").read_text())["cells"]
    assert list(cells) == ["mine", "mine-2", "rnn"]
    assert {cell["dtype"] for cell in cells.values()} == {"float64"}


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_compare_reads_series(suffix, invoke, tmp_path):
    values = np.random.default_rng(1).standard_normal((30, 2))
    if suffix == "csv":
        np.savetxt(tmp_path / "x.csv", values, delimiter=",", header="a,b")
    else:
        np.savez(tmp_path / "x.npz", inputs=values)
    done = invoke("run", "--inputs", f"x.{suffix}", "--hidden-size", 3)
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(Trace.load(tmp_path / "trace.npz").inputs[:, 0], values, rtol=1e-6)


def test_run_writes_the_trace(invoke, tmp_path):
    gs.init("gru", input_size=1, hidden_size=3, seed=5).save(tmp_path / "w.npz")
    done = invoke("run", "--weights", "w.npz", "--horizon", 25, "--out", "sub/mine.npz", "--threads", 1)
    assert done.exit_code == 0, done.output
    expected = gs.run(gs.load(tmp_path / "w.npz"), gs.tasks.laser(horizon=25).inputs)
    trace = Trace.load(tmp_path / "sub" / "mine.npz")
    np.testing.assert_array_equal(trace.gates, expected.gates)
    assert "25 steps" in done.output

    done = invoke("run", "--cell", "lstm", *SMALL, "--dtype", "float64", "--seed", 2, "--init", "keras")
    assert done.exit_code == 0, done.output
    params = gs.init("lstm", input_size=1, hidden_size=4, seed=2, scheme="keras", dtype="float64")
    expected = gs.run(params, gs.tasks.laser(horizon=40, dtype="float64").inputs)
    np.testing.assert_array_equal(Trace.load(tmp_path / "trace.npz").states, expected.states)


def test_outputs_are_replaced_and_other_files_left(invoke, tmp_path):
    out = tmp_path / "gatescope-out"
    out.mkdir()
    (out / "summary.json").write_text("old")
    (out / "mine.txt").write_text("mine")
    assert invoke("compare", "--cells", "rnn", *SMALL).exit_code == 0
    assert json.loads((out / "summary.json").read_text())["cells"]["rnn"]["parameters"] == 4 * 4 + 4 + 8
    assert (out / "mine.txt").read_text() == "mine"
    assert not (out / "saturation.png").exists()  # an RNN has no gates


def test_a_gradient_of_zero_is_shown_as_such(invoke, tmp_path):
    params = gs.init("rnn_relu", input_size=1, hidden_size=3)
    params.bias_ih[:] = -10  # no unit is ever active
    params.save(tmp_path / "dead.npz")
    done = invoke("compare", "--weights", "dead.npz", "--horizon", 30)
    assert done.exit_code == 0, done.output
    gradient = json.loads((tmp_path / "gatescope-out" / "summary.json").read_text())["cells"]["dead"][
        "gradient"
    ]
    assert gradient["h"]["decay_rate_nats_per_step"] is None
    assert gradient["h"]["log_norm_at_longest_lag"] is None


def test_devices(invoke):
    done = invoke("devices")
    assert done.exit_code == 0, done.output
    for part in ("cpu", "cores", "threads", "float32", "float64", "cuda", "not available in this version"):
        assert part in done.output


def test_version_and_help(invoke):
    assert invoke("--version").output == f"gatescope {gs.__version__}\n"
    for command in ([], ["compare"], ["run"], ["devices"]):
        done = invoke(*command, "--help")
        assert done.exit_code == 0
        assert "Usage" in done.output


BAD = [
    (["compare", "--inputs", "missing.npy"], "no such file"),
    (["compare", "--inputs", "nan.npy"], "finite"),
    (["compare", "--inputs", "torn.npz"], "torn.npz"),
    (["compare", "--inputs", "text.csv"], "line 2, column 1"),
    (["compare", "--inputs", "empty.npy"], "empty"),
    (["compare", "--weights", "torn.safetensors"], "torn.safetensors"),
    (["compare", "--weights", "trace.npz"], "holds a Trace, not weights"),
    (["compare", "--weights", "two.npz"], "two.npz|input_size = 2"),
    (["compare", "--weights", "w.pt"], "no such file|pickle"),
    (["compare", "--weights", "two.npz", "--layer", "3"], ""),
    (["compare", "--cells", "rnn,grue"], "cell='grue'"),
    (["compare", "--cells", ","], "names no cell"),
    (["compare", "--dtype", "float16"], "dtype='float16'"),
    (["compare", "--init", "magic"], "scheme='magic'"),
    (["compare", "--cells", "rnn", "--init", "chrono"], "chrono"),
    (["compare", "--horizon", "10094"], "10093 steps"),
    (["compare", "--units", "0,x"], "--units '0,x'"),
    (["compare", "--units", "64"], "0..63"),
    (["compare", "--device", "cuda"], "not available"),
    (["compare", "--device", "abacus"], "abacus"),
    (["compare", "--out", "file.txt"], "file.txt"),
    (["compare", "--out", "file.txt/below"], "file.txt"),
    (["compare", "--out", "blocked"], "it is a folder"),
    (["run", "--cell", "rnn,gru"], "takes one"),
    (["run", "--out", "trace.txt"], "must end in .npz"),
    (["run", "--out", "folder.npz"], "it is a folder"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_status_2(arguments, message, invoke, tmp_path, monkeypatch):
    np.save(tmp_path / "nan.npy", np.array([[1.0], [np.nan]]))
    np.save(tmp_path / "empty.npy", np.zeros((0, 1)))
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 20)
    (tmp_path / "text.csv").write_text("1.0\nmany\n")
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "blocked" / "report.html").mkdir(parents=True)
    np.savez(tmp_path / "two.npz", **torch_weights(4, 3, inputs=2))
    gs.run(gs.init("rnn", input_size=1, hidden_size=2), np.ones((3, 1))).save(tmp_path / "trace.npz")
    monkeypatch.setattr("gatescope.comparison.run", _too_late)  # found before the computing starts
    before = sorted(tmp_path.rglob("*"))

    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("gatescope: error: ")
    assert any(part in lines[0] for part in message.split("|"))
    assert done.stdout == ""
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []


def _too_late(*_args, **_kwargs):
    raise AssertionError("the computing began")


@pytest.mark.parametrize(
    "arguments", [["compare", "--hidden-size", "0"], ["compare", "--bogus"], ["walk"], ["run", "--seed", "x"]]
)
def test_usage_errors_are_status_2(arguments, invoke):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_a_pickle_is_not_opened(invoke, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"\x80\x04.")
    done = invoke("compare", "--weights", "w.pt")
    assert done.exit_code == 2
    assert "never opened" in done.stderr


def test_interrupt_is_130(invoke, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("gatescope.comparison.run", interrupted)
    done = invoke("compare", *SMALL)
    assert done.exit_code == 130
    assert done.stderr.splitlines() == ["gatescope: interrupted"]


def test_lack_of_memory_is_told(invoke, monkeypatch):
    def greedy(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("gatescope.comparison.run", greedy)
    done = invoke("compare", *SMALL)
    assert done.exit_code == 2
    assert "not enough memory" in done.stderr


def test_unwritable_folder_is_found_before_the_computing(invoke, tmp_path, monkeypatch):
    def denied(dir, **_keywords):  # permissions would not stop root, who runs many a container
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    monkeypatch.setattr("gatescope.comparison.run", _too_late)
    done = invoke("compare", *SMALL, "--out", "locked")
    assert done.exit_code == 2
    assert done.stderr == (
        "gatescope: error: cannot write into the folder 'locked': Permission denied; choose one that can be written\n"
    )


def test_a_disk_that_fills_up_leaves_no_half_file(invoke, tmp_path, monkeypatch):
    out = tmp_path / "gatescope-out"
    assert invoke("compare", "--cells", "rnn", *SMALL).exit_code == 0
    before = (out / "report.html").read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    done = invoke("compare", "--cells", "rnn", *SMALL, "--seed", 1)
    assert done.exit_code == 2
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (out / "report.html").read_bytes() == before
    assert not list(out.rglob("*.partial"))


def test_as_a_program(tmp_path):
    """The real thing: exit status, no traceback, no progress bars where there is no terminal."""
    command = [sys.executable, "-m", "gatescope.cli"]
    source = str(Path(gs.__file__).parent.parent)  # found from another folder too, installed or not
    keywords = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    keywords["env"] = os.environ | {"PYTHONPATH": source}
    done = subprocess.run([*command, "compare", "--cells", "gru", *SMALL], **keywords)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "gru" in done.stdout
    assert (tmp_path / "gatescope-out" / "report.html").stat().st_size > 10_000
    done = subprocess.run([*command, "compare", "--cells", "no"], **keywords)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gatescope: error: cell='no' is not known")
    assert "Traceback" not in done.stderr
