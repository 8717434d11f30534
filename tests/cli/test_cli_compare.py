"""``gatescope compare``: every option, and what it writes."""

import json
import re

import numpy as np
import pytest
from helpers.command_line import SMALL, torch_weights
from safetensors.numpy import save_file

import gatescope as gs
from gatescope.comparison.compare import compare
from gatescope.comparison.notes import notes
from gatescope.datatypes import GradientFlow, Params, Trace

blank_figures = pytest.mark.usefixtures("blank_figures")


@pytest.mark.slow  # float32, as it comes: most of its kernels are its own
@blank_figures
def test_compare_writes_everything(invoke, tmp_path):
    done = invoke("compare", "--steps", 700, "--hidden-size", 4)
    assert done.exit_code == 0, done.output
    out = tmp_path / "gatescope-out"
    summary = json.loads((out / "summary.json").read_text())
    written = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert set(summary["files"]) | {"summary.json"} == written
    figures = {"gradient_flow", "inputs", "saturation"}
    figures |= {
        f"{kind}_{cell}"
        for kind in ("trajectories", "close_up", "heatmap")
        for cell in ("rnn", "gru", "lstm")
    }
    for name in figures:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob("*.svg"))

    params = gs.init("lstm", input_size=1, hidden_size=4, seed=0)
    inputs = gs.tasks.laser(steps=700).inputs
    trace = Trace.load(out / "data" / "trace_lstm.npz")
    np.testing.assert_array_equal(trace.states, gs.run(params, inputs).states)
    flow = GradientFlow.load(out / "data" / "flow_h_lstm.npz")
    np.testing.assert_array_equal(flow.lag, np.arange(701))
    rate = gs.gradient_flow(params, inputs).decay_rate()
    joint = gs.gradient_flow(params, inputs, of="joint", wrt="joint").decay_rate()
    assert summary["cells"]["lstm"]["gradient"]["joint"]["decay_rate_nats_per_step"] == float(joint)
    assert summary["cells"]["lstm"]["gradient"]["h"]["decay_rate_nats_per_step"] == float(rate)
    assert summary["provenance"]["seed"] == 0
    assert summary["provenance"]["gatescope"] == gs.__version__
    with np.load(out / "data" / "saturation.npz") as shares:
        assert shares["lstm_f_open"].shape == (4,)

    assert "parameters" in done.output
    assert f"{float(joint):.4g}" in done.output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(figures)
    assert "http" not in page.replace("http-equiv", "")
    assert "Untrained weights: rnn, gru, lstm (pytorch initialization)." in page
    assert page.index("lstm: half of the gradient is gone after") < page.index("<table>")
    assert "c&#x27; = f * c + i * g" in page  # the cell's own equations
    assert all(f'href="{name}"' in page for name in summary["files"] if name != "report.html")
    assert '<a href="explorer.html">Every gate' in page
    explorer = (out / "explorer.html").read_text(encoding="utf-8")
    assert all(f'"label":"{cell}"' in explorer for cell in ("rnn", "gru", "lstm"))
    assert "gradient of the state by the state" in explorer
    assert not list(out.rglob("*.partial"))


@pytest.mark.slow  # compiles kernels of its own
@blank_figures
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
            "--steps",
            30,
        ),
        *("--dtype", "float64", "--seed", 7, "--init", "chrono(50)", "--units", "0,4", "--out", "here/there"),
        *("--threads", 1, "--device", "cpu", "--no-traces", "--svg"),
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
    assert not (out / "explorer.html").exists()
    pictures = [out / name for name in summary["files"] if name.endswith(".svg")]
    assert len(pictures) == sum(name.endswith(".png") for name in summary["files"])
    assert all(b"</svg>" in file.read_bytes() for file in pictures)
    assert "explorer.html" not in (out / "report.html").read_text(encoding="utf-8")
    params = Params.load(out / "data" / "params_gru.npz")
    expected = gs.init("gru", input_size=2, hidden_size=5, seed=7, scheme="chrono(50)", dtype="float64")
    np.testing.assert_array_equal(params.bias_ih, expected.bias_ih)
    assert not list(out.rglob("trace_*"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "units 0, 4" in page
    assert "of 2 units of the gru" in page  # the text in the picture's place
    assert "one random unit combination of the numbers of the whole state, seed 7" in page
    assert (
        page.count("the first of 3 sequences") == 2 * 5
    )  # contents and captions: inputs; of each cell trajectories, heat maps
    assert "A line is the median of the 3 sequences" in page
    assert "ns per step of all 3 sequences" in done.stdout


@blank_figures
@pytest.mark.slow  # compiles kernels of its own
def test_compare_weights_from_files(invoke, tmp_path):
    save_file(torch_weights(4, 6), tmp_path / "trained.safetensors")
    np.savez(tmp_path / "other.npz", **torch_weights(3, 5))
    gs.init("rnn", input_size=1, hidden_size=3, dtype="float64").save(tmp_path / "own.npz")
    arguments = [
        part for name in ("trained.safetensors", "other.npz", "own.npz") for part in ("--weights", name)
    ]
    done = invoke("compare", *arguments, "--steps", 30)
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


@pytest.mark.slow
@blank_figures
def test_an_rnn_from_pytorch_is_tanh_or_relu(invoke, tmp_path):
    weights = {f"net.{name}": value for name, value in torch_weights(1, 4).items()}
    others = {f"other.{name}": value for name, value in torch_weights(4, 3).items()}
    np.savez(tmp_path / "w.npz", **weights, **others)
    asked = ("--weights", "w.npz", "--steps", 20, "--prefix", "net", "--dtype", "float64")
    done = invoke("run", *asked)
    assert done.exit_code == 0, done.output
    assert done.stderr == "w: taken as tanh; --nonlinearity relu for the other\n"
    assert Trace.load(tmp_path / "trace.npz").cell == "rnn"
    done = invoke("run", *asked, "--nonlinearity", "relu", "--overwrite")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert Trace.load(tmp_path / "trace.npz").cell == "rnn_relu"
    done = invoke("compare", *asked, "--nonlinearity", "relu")
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "gatescope-out" / "summary.json").read_text())
    assert summary["cells"]["w"]["cell"] == "rnn_relu"
    assert (summary["arguments"]["prefix"], summary["arguments"]["nonlinearity"]) == ("net", "relu")
    assert "taken as tanh" in invoke("compare", *asked).stderr


def test_any_file_name_will_do(invoke, tmp_path, render_only):
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
        cell = "gru" if "$" in name else "rnn"
        gs.init(cell, input_size=1, hidden_size=3, dtype="float64").save(tmp_path / f"{name}.npz")
    np.save(tmp_path / "[red]$x.npy", np.ones(30))
    arguments = [part for name in names for part in ("--weights", f"{name}.npz")]
    render_only("gradient_flow", "saturation")  # on which the names stand
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
        assert len(shares.files) == 4 * 2
    done = invoke("run", "--weights", "[x].npz", "--steps", 1)
    assert done.exit_code == 0, done.output
    assert "[x] over the Santa Fe laser series: 1 step, 1 sequence," in done.stdout


@blank_figures
def test_one_step_of_one_unit_is_reported_in_the_singular(invoke, tmp_path):
    done = invoke("compare", "--steps", 1, "--hidden-size", 1, "--dtype", "float64", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "1 step, one sequence" in done.stdout
    for row in (
        "gradient decay, whole state, nats per step",
        "asymptotic half-life, h to h alone",
        "R² of that decay",
    ):
        (line,) = (line for line in done.stdout.splitlines() if row in line)
        assert line.count("–") == 3  # two lags give no rate
    page = (tmp_path / "gatescope-out" / "report.html").read_text(encoding="utf-8")
    for text in (done.stdout, page):
        assert not re.search(r"\b1 (steps|units|sequences|threads|runs)\b", text)
    assert "the gates that, by the equations, go from 0 to 1" in page
    assert "none where the norms follow no line" in page


@blank_figures
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


def test_the_fit_windows_of_h_and_c_are_both_reported():
    inputs = np.ones((40, 1))
    comparison = compare({"lstm": gs.init("lstm", input_size=1, hidden_size=3)}, inputs, timing_runs=1)
    assert "over lags 4 to 40, with" in notes(comparison)[2]
    (measured,) = comparison
    flow = measured.flow_c
    flow.log_norm[21:] = -np.inf  # it becomes exactly 0
    assert "over lags 4 to 40 (lstm, lstm to h); 2 to 20 (lstm to c), with" in notes(comparison)[2]


@blank_figures
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


@blank_figures
def test_outputs_are_replaced_and_other_files_left(invoke, tmp_path):
    out = tmp_path / "gatescope-out"
    out.mkdir()
    (out / "summary.json").write_text("old")
    (out / "mine.txt").write_text("mine")
    assert invoke("compare", "--cells", "rnn", *SMALL).exit_code == 0
    assert json.loads((out / "summary.json").read_text())["cells"]["rnn"]["parameters"] == 4 * 4 + 4 + 8
    assert (out / "mine.txt").read_text() == "mine"
    assert not (out / "saturation.png").exists()  # an RNN has no gates


@blank_figures
def test_what_an_earlier_report_wrote_goes(invoke, tmp_path):
    out = tmp_path / "gatescope-out"
    assert invoke("compare", "--cells", "gru,rnn", *SMALL).exit_code == 0
    (out / "mine.png").write_bytes(b"mine")
    assert (out / "data" / "trace_gru.npz").exists()
    assert invoke("compare", "--cells", "rnn", *SMALL).exit_code == 0
    assert (out / "mine.png").exists()
    assert (out / "data" / "trace_rnn.npz").exists()
    assert not [path for path in out.rglob("*") if "gru" in path.name]


@blank_figures
@pytest.mark.parametrize(
    "files", [["../mine.npz", "/mine.npz", "data/../../mine.npz"], "mine.npz", [3], {"a": 1}]
)
def test_a_list_of_files_that_is_not_ours_removes_nothing(invoke, tmp_path, files):
    out = tmp_path / "gatescope-out"
    out.mkdir()
    (tmp_path / "mine.npz").write_bytes(b"mine")
    (out / "summary.json").write_text(json.dumps({"files": files}))
    assert invoke("compare", "--cells", "rnn", *SMALL).exit_code == 0
    assert (tmp_path / "mine.npz").exists()


@blank_figures
def test_a_gradient_of_zero_is_shown_as_such(invoke, tmp_path):
    params = gs.init("rnn_relu", input_size=1, hidden_size=3)
    params.bias_ih[:] = -10  # no unit is ever active
    params.save(tmp_path / "dead.npz")
    done = invoke("compare", "--weights", "dead.npz", "--dtype", "float64", "--steps", 30)
    assert done.exit_code == 0, done.output
    gradient = json.loads((tmp_path / "gatescope-out" / "summary.json").read_text())["cells"]["dead"][
        "gradient"
    ]
    assert gradient["h"]["decay_rate_nats_per_step"] is None
    assert gradient["h"]["log_norm_at_longest_lag"] is None


@blank_figures
def test_of_cells_that_nobody_named_those_that_cannot_be_drawn_are_left_out(invoke, tmp_path):
    done = invoke("compare", "--init", "chrono(50)", *SMALL)
    assert done.exit_code == 0, done.output
    assert list(json.loads((tmp_path / "gatescope-out" / "summary.json").read_text())["cells"]) == [
        "gru",
        "lstm",
    ]
    assert "rnn is left out: --init 'chrono' needs a gate that holds the memory" in done.output
    named = invoke("compare", "--init", "chrono(50)", "--cells", "rnn,gru", *SMALL)
    assert named.exit_code == 2
    assert "needs a gate" in named.output
    nobody = invoke("compare", "--init", "chrono(1)", *SMALL)
    assert nobody.exit_code == 2
