"""The command line: every option, what it writes, and how it fails."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import gatescope as gs
from gatescope import cli
from gatescope._terminal import encodable
from gatescope.comparison import compare
from gatescope.datatypes import GradientFlow, Params, Trace
from gatescope.gallery import notes

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
        *("--threads", 1, "--device", "cpu", "--no-traces"),
    )
    assert done.exit_code == 0, done.output
    out = tmp_path / "here" / "there"
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["cells"]) == ["gru", "gru_reset_before"]
    numbers = summary["cells"]["gru"]
    assert (numbers["steps"], numbers["sequences"], numbers["input_size"]) == (30, 3, 2)
    assert (numbers["hidden_size"], numbers["dtype"], numbers["threads"]) == (5, "float64", 1)
    arguments = summary["arguments"]
    assert (arguments["init"], arguments["hidden_size"]) == ("chrono(50)", 5)
    assert (arguments["units"], arguments["traces"]) == ([0, 4], False)
    params = Params.load(out / "data" / "params_gru.npz")
    expected = gs.init("gru", input_size=2, hidden_size=5, seed=7, scheme="chrono(50)", dtype="float64")
    np.testing.assert_array_equal(params.bias_ih, expected.bias_ih)
    assert not list(out.rglob("trace_*"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "units 0, 4" in page
    assert "of 2 units of the gru" in page  # the text in the picture's place
    assert "one random unit combination of the outputs, seed 7" in page
    assert page.count("the first of 3 sequences") == 4  # of each cell the trajectories and the heat map
    assert "A line is the median of the 3 sequences" in page
    assert "ns per step of all 3 sequences" in done.stdout


def test_compare_weights_from_files(invoke, tmp_path):
    save_file(torch_weights(4, 6), tmp_path / "trained.safetensors")
    np.savez(tmp_path / "other.npz", **torch_weights(3, 5))
    gs.init("rnn", input_size=1, hidden_size=3, dtype="float64").save(tmp_path / "own.npz")
    arguments = [
        part for name in ("trained.safetensors", "other.npz", "own.npz") for part in ("--weights", name)
    ]
    done = invoke("compare", *arguments, "--horizon", 30)
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "gatescope-out" / "summary.json").read_text())
    assert summary["arguments"]["hidden_size"] is None
    assert summary["arguments"]["init"] is None
    assert "taken as tanh" not in done.output  # gatescope's own files say what they are
    cells = summary["cells"]
    assert {label: (cell["cell"], cell["hidden_size"], cell["dtype"]) for label, cell in cells.items()} == {
        "trained": ("lstm", 6, "float32"),
        "other": ("gru", 5, "float32"),
        "own": ("rnn", 3, "float64"),
    }


def test_an_rnn_from_pytorch_is_tanh_or_relu(invoke, tmp_path):
    weights = {f"net.{name}": value for name, value in torch_weights(1, 4).items()}
    others = {f"other.{name}": value for name, value in torch_weights(4, 3).items()}
    np.savez(tmp_path / "w.npz", **weights, **others)
    asked = ("--weights", "w.npz", "--horizon", 20, "--prefix", "net")
    done = invoke("run", *asked)
    assert done.exit_code == 0, done.output
    assert done.stderr == "w: taken as tanh; --nonlinearity relu for the other\n"
    assert Trace.load(tmp_path / "trace.npz").cell == "rnn"
    done = invoke("run", *asked, "--nonlinearity", "relu")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert Trace.load(tmp_path / "trace.npz").cell == "rnn_relu"
    done = invoke("compare", *asked, "--nonlinearity", "relu")
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "gatescope-out" / "summary.json").read_text())
    assert summary["cells"]["w"]["cell"] == "rnn_relu"
    assert (summary["arguments"]["prefix"], summary["arguments"]["nonlinearity"]) == ("net", "relu")
    assert "taken as tanh" in invoke("compare", *asked).stderr


def test_any_file_name_will_do(invoke, tmp_path):
    """Mathematics, markup, emoji and hidden labels: all are shown as they are, and no file replaces another."""
    names = [
        "a$b",
        r"\frac$x$",
        "_mine",
        "[bold]red",
        ":rocket:",
        "my model",
        "my_model",
        "MY_model",
        "[x]",
    ]
    for name in names:
        gs.init("gru", input_size=1, hidden_size=3).save(tmp_path / f"{name}.npz")
    np.save(tmp_path / "[red]$x.npy", np.ones(30))
    arguments = [part for name in names for part in ("--weights", f"{name}.npz")]
    done = invoke("compare", *arguments, "--inputs", "[red]$x.npy")
    assert done.exit_code == 0, done.output
    assert "[red]$x.npy: 30 steps, one sequence" in done.stdout
    assert ":rocket:" in done.stdout
    out = tmp_path / "gatescope-out"
    files = json.loads((out / "summary.json").read_text())["files"]
    assert len({file.casefold() for file in files}) == len(files)
    assert len(list((out / "data").glob("trace_*.npz"))) == len(names)
    for stem in ("my_model", "my_model_2", "MY_model_3"):
        assert (out / f"trajectories_{stem}.png").exists()
    with np.load(out / "data" / "saturation.npz") as shares:
        assert len(shares.files) == 4 * len(names)
    done = invoke("run", "--weights", "[x].npz", "--horizon", 1)
    assert done.exit_code == 0, done.output
    assert "[x] over the Santa Fe laser series: 1 step, 1 sequence," in done.stdout


def test_one_step_of_one_unit_is_told_in_the_singular(invoke, tmp_path):
    done = invoke("compare", "--horizon", 1, "--hidden-size", 1, "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "1 step, one sequence" in done.stdout
    for row in ("gradient decay to h, nats per step", "half-life to h, steps", "R² of the decay to h"):
        (line,) = (line for line in done.stdout.splitlines() if row in line)
        assert line.count("–") == 3  # two lags give no rate
    page = (tmp_path / "gatescope-out" / "report.html").read_text(encoding="utf-8")
    for text in (done.stdout, page):
        assert not re.search(r"\b1 (steps|units|sequences|threads|runs)\b", text)
    assert "the gates named i, f, o, r and z" in page
    assert "none for fewer than three lags" in page


def test_captions_name_a_gate_only_where_there_is_one(invoke, tmp_path):
    def page(*arguments):
        done = invoke("compare", *SMALL, *arguments)
        assert done.exit_code == 0, done.output
        return (tmp_path / "gatescope-out" / "report.html").read_text(encoding="utf-8")

    rnn = page("--cells", "rnn")
    assert "the greatest mean of h." in rnn
    assert "keeps the memory" not in rnn
    assert "sequences" not in rnn.partition("Notes")[0].partition("The pictures")[2]
    assert "the greatest mean of f, the gate that keeps the memory." in page("--cells", "lstm")
    one = page("--cells", "lstm", "--units", "2")
    assert "gates and states of unit 2 over all 40 steps" in one
    assert "of 1 unit of the lstm" in one


def test_the_fit_windows_of_h_and_c_are_both_told():
    inputs = np.ones((40, 1))
    found = compare({"lstm": gs.init("lstm", input_size=1, hidden_size=3)}, inputs, timing_runs=1)
    assert "over lags 4 to 40, with" in notes(found)[2]
    (measured,) = found
    flow = measured.flow_c
    flow.log_norm[21:] = -np.inf  # it becomes exactly 0
    assert "over lags 4 to 40 (lstm to h); 2 to 20 (lstm to c), with" in notes(found)[2]


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
    (
        ["compare", "--weights", "own.npz", "--hidden-size", "3"],
        "--hidden-size 3 is for fresh cells, and with --weights",
    ),
    (
        ["compare", "--weights", "own.npz", "--init", "keras"],
        "--init 'keras' is for fresh cells, and with --weights",
    ),
    (["compare", "--prefix", "net"], "--prefix 'net' is for weights from files; give --weights"),
    (["compare", "--layer", "0"], "--layer 0 is for weights from files; give --weights"),
    (
        ["compare", "--nonlinearity", "relu"],
        "--nonlinearity 'relu' is for weights from files; give --weights",
    ),
    (
        ["compare", "--weights", "own.npz", "--nonlinearity", "relu"],
        "--nonlinearity 'relu' is for PyTorch files",
    ),
    (["compare", "--weights", "four.npz", "--nonlinearity", "relu"], "is for an RNN of one gate"),
    (["compare", "--weights", "four.npz", "--nonlinearity", "sine"], "nonlinearity='sine'"),
    (["compare", "--weights", "four.npz", "--prefix", "net"], "net"),
    (["run", "--weights", "own.npz", "--cell", "gru"], "--cell 'gru' is for a fresh cell, and --weights"),
    (["run", "--weights", "own.npz", "--init", "keras"], "--init 'keras' is for a fresh cell, and --weights"),
    (["run", "--weights", "own.npz", "--seed", "0"], "--seed 0 is for a fresh cell, and --weights"),
    (
        ["run", "--weights", "own.npz", "--hidden-size", "4"],
        "--hidden-size 4 is for a fresh cell, and --weights",
    ),
    (["run", "--cell", "rnn", "--layer", "1"], "--layer 1 is for weights from a file; give --weights"),
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
    np.savez(tmp_path / "four.npz", **torch_weights(4, 3))
    gs.init("rnn", input_size=1, hidden_size=2).save(tmp_path / "own.npz")
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
    ("option", "value"),
    [
        ("hidden-size", "0"),
        ("hidden-size", "-3"),
        ("horizon", "0"),
        ("horizon", "-5"),
        ("threads", "0"),
        ("seed", "-1"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "run"])
def test_numbers_out_of_range_are_told_in_one_line(command, option, value, invoke):
    done = invoke(command, f"--{option}", value)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatescope: error: ")
    assert value in line


@pytest.mark.parametrize("arguments", [["compare", "--bogus"], ["walk"], ["run", "--seed", "x"]])
def test_usage_errors_are_status_2(arguments, invoke):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_what_stdout_cannot_encode_is_replaced(monkeypatch):
    class Latin:
        encoding = "latin-1"

    monkeypatch.setattr("sys.stdout", Latin())
    assert encodable("R² × 3") == "R² × 3"
    assert encodable("−3 –") == "-3 -"
    assert encodable("\N{CJK UNIFIED IDEOGRAPH-4E2D}.npy") == "?.npy"
    Latin.encoding = "utf-8"
    assert encodable("−3") == "−3"


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
    keywords["env"]["PYTHONIOENCODING"] = "ascii"
    again = subprocess.run([*command, "compare", "--cells", "gru", *SMALL], **keywords)
    assert again.returncode == 0, again.stderr
    assert again.stdout.isascii()
    assert "R^2 of the decay" in again.stdout
    assert "?" not in again.stdout
    done = subprocess.run([*command, "compare", "--cells", "no"], **keywords)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gatescope: error: cell='no' is not known")
    assert "Traceback" not in done.stderr
