"""``gatescope measure``: each measurement once, what it leaves behind, and what it says of what it cannot use."""

import dataclasses
import importlib

import numpy as np
import pytest
from helpers.command_line import too_late

import gatescope as gs
from gatescope.cli import inputs
from gatescope.cli.measure import phase_diagram
from gatescope.cli.measure.command import Plan
from gatescope.cli.measure.gradient_flow import thinned
from gatescope.cli.options import InputOptions
from gatescope.measurements.registry import MEASUREMENTS

blank_figures = pytest.mark.usefixtures("blank_figures")
SERIES = ["--hidden-size", "4", "--steps", "120", "--dtype", "float64"]
# Command, its options, and what its table or its summary says.
COMMANDS = {
    "gradient-flow": (SERIES, ""),
    "jacobian-spectrum": (SERIES, "singular values"),
    "lyapunov-spectrum": (SERIES, "leading exponent"),
    "half-life": (SERIES, "leading Lyapunov exponent"),
    "gradient-paths": (SERIES, ""),
    "connectivity": ([*SERIES, "--norm", "random"], "0 steps between input and output"),
    "fixed-points": (["--hidden-size", "3", "--starts", "30"], "time constant, steps"),
    "phase-diagram": (
        ["--hidden-size", "4", "--gain", "0.5,2", "--bias", "0:1:2", "--steps", "60"],
        "gradients vanish at",
    ),
    "diagnose": ([*SERIES, "--target-half-life", "20"], ""),
    "saturation": (SERIES, "of all gate values are saturated"),
}
ROWS = {row.command: row for row in MEASUREMENTS}
OVER_SERIES = [name for name in COMMANDS if name not in ("fixed-points", "phase-diagram")]
RESUMABLE = [row.command for row in MEASUREMENTS if "resume" in Plan(row).parameters]


def test_each_command_is_tried():
    assert list(COMMANDS) == list(ROWS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_measurement_prints_a_table_and_writes_the_result_and_its_figure(name, invoke, tmp_path):
    options, said = COMMANDS[name]
    done = invoke("measure", name, *options, "--out", "here")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert said in done.stdout
    stem = ROWS[name].stem
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        f"{stem}.{s}" for s in ("npz", "png", "svg")
    ]
    assert type(gs.load(tmp_path / "here" / f"{stem}.npz")).__name__ == ROWS[name].result
    assert (tmp_path / "here" / f"{stem}.png").stat().st_size > 5_000
    for suffix in ("npz", "png", "svg"):
        assert f"{stem}.{suffix}" in done.stdout


@blank_figures
def test_half_lives_are_printed_one_sequence_at_a_time_on_demand(invoke, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((120, 3, 1)))
    command = ("measure", "half-life", "--hidden-size", 4, "--cell", "lstm", "--inputs", "x.npy")
    short, long = invoke(*command), invoke(*command, "--per-sequence")
    assert "sequence 2: over" not in short.stdout
    life = gs.load(tmp_path / "gatescope-measured" / "half_life.npz")
    for number in range(3):
        assert f"sequence {number}: {life.sequence(number).summary().splitlines()[1]}" in long.stdout
    assert long.stdout.count("sequence 0: over") == 1


@blank_figures
def test_the_numbers_are_those_of_the_function(invoke, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(3).standard_normal((150, 2, 2)))
    params = gs.init("gru", input_size=2, hidden_size=3, seed=5, dtype="float64")
    params.save(tmp_path / "w.npz")
    inputs = np.load(tmp_path / "x.npy")[:140]
    options = [
        "--weights",
        "w.npz",
        "--inputs",
        "x.npy",
        "--steps",
        140,
        "--clamp",
        "z=0.5",
        "--threads",
        1,
    ]
    done = invoke(
        "measure", "lyapunov-spectrum", *options, "--k", 2, "--transient", 20, "--qr-every", 1, "--seed", 4
    )
    assert done.exit_code == 0, done.output
    result = gs.load(tmp_path / "gatescope-measured" / "lyapunov_spectrum.npz")
    expected = gs.lyapunov_spectrum(params, inputs, k=2, transient=20, qr_every=1, seed=4, clamp={"z": 0.5})
    assert result == expected
    assert "lyapunov-spectrum: w with z clamped over x.npy, 140 steps" in done.stdout
    assert "sequence 1" in done.stdout

    flow = ("gradient-flow", *options, "--wrt", "joint", "--lags", "0,10,100", "--source-step", 120)
    done = invoke("measure", *flow)
    assert done.exit_code == 0, done.output
    expected = gs.gradient_flow(
        params, inputs, source_step=120, wrt="joint", lags=[0, 10, 100], clamp={"z": 0.5}
    )
    assert gs.load(tmp_path / "gatescope-measured" / "gradient_flow.npz") == expected


@blank_figures
def test_an_npz_is_measured_with_its_lengths(invoke, tmp_path):
    values = np.random.default_rng(3).standard_normal((60, 2, 1))
    np.savez(tmp_path / "padded.npz", inputs=values, lengths=[60.0, 35.0])
    np.save(tmp_path / "alone.npy", values[:35, 1])
    options = ["--hidden-size", 4, "--dtype", "float64"]
    for command, stem in (("gradient-flow", "gradient_flow"), ("half-life", "half_life")):
        for name, out in (("padded.npz", "both"), ("alone.npy", "one")):
            done = invoke("measure", command, *options, "--inputs", name, "--out", out)
            assert done.exit_code == 0, done.output
        both, one = (gs.load(tmp_path / out / f"{stem}.npz") for out in ("both", "one"))
        if stem == "gradient_flow":
            assert both.half_life().value[1] == one.half_life().value[0]
        else:
            assert both.by_adjoint[1] == one.by_adjoint[0]
    np.savez(tmp_path / "wrong.npz", inputs=values, lengths=[61, 35])
    done = invoke("measure", "half-life", *options, "--inputs", "wrong.npz")
    assert done.exit_code == 2
    assert "lengths of --inputs" in done.stderr


@blank_figures
def test_a_diagnosis_writes_the_weights_it_suggests(invoke, tmp_path):
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
    scale = {"mean": [60.0], "standard_deviation": [47.0]}
    dataclasses.replace(params, provenance={"inputs_scale": scale}).save(tmp_path / "w.npz")
    options = (
        "--weights",
        "w.npz",
        "--steps",
        300,
        "--target-half-life",
        20,
        "--out",
        "here",
        "--standardize",
    )
    done = invoke("measure", "diagnose", *options, "--apply", "w.npz")
    assert done.exit_code == 2
    assert "--apply" in done.stderr
    (tmp_path / "changed.npz").write_text("of another run")
    done = invoke("measure", "diagnose", *options, "--apply", "changed.npz")
    assert done.exit_code == 2
    assert "--apply 'changed.npz' is there already" in done.stderr
    (tmp_path / "changed.npz").unlink()
    done = invoke("measure", "diagnose", *options, "--apply", "changed.npz")
    assert done.exit_code == 0, done.output
    assert "weights changed as suggested: changed.npz" in done.stdout
    diagnosis = gs.load(tmp_path / "here" / "diagnosis.npz")
    changed = gs.load(tmp_path / "changed.npz")
    assert changed == diagnosis.apply(params)
    assert changed.provenance["inputs_scale"] == scale  # by which --standardize goes
    assert "in PyTorch bias_ih_l0[5:10]" in done.stdout.replace("\n", " ")


def test_a_random_state_is_given_by_name(invoke, tmp_path):
    options = (
        "--cell",
        "lstm",
        "--hidden-size",
        5,
        "--dtype",
        "float64",
        "--steps",
        60,
        "--out",
        "here",
        "--initial-state",
    )
    done = invoke("measure", "lyapunov-spectrum", *options, "random", "--seed", 3)
    assert done.exit_code == 0, done.output
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=3, dtype="float64")
    inputs = gs.tasks.laser(dtype="float64").inputs[:60]
    expected = gs.lyapunov_spectrum(params, inputs, seed=3, initial_state="random")
    assert gs.load(tmp_path / "here" / "lyapunov_spectrum.npz") == expected
    done = invoke("measure", "lyapunov-spectrum", *options, "zero")
    assert done.exit_code == 2
    assert "--initial-state 'zero' is no state to begin with; give 'random'" in done.stderr


def test_fixed_points_take_the_constant_input(invoke, tmp_path):
    done = invoke(
        *("measure", "fixed-points", "--cell", "rnn", "--hidden-size", 2, "--dtype", "float64"),
        *("--at", "0.5,-1", "--starts", 20),
    )
    assert done.exit_code == 0, done.output
    result = gs.load(tmp_path / "gatescope-measured" / "fixed_points.npz")
    np.testing.assert_array_equal(result.inputs, [0.5, -1])
    assert result.starts == 20
    gs.init("rnn", input_size=3, hidden_size=2, dtype="float64").save(tmp_path / "w.npz")
    done = invoke("measure", "fixed-points", "--weights", "w.npz", "--at", "2", "--starts", 20)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(
        gs.load(tmp_path / "gatescope-measured" / "fixed_points.npz").inputs, [2, 2, 2]
    )


@pytest.mark.parametrize(("cell", "ends"), [("lstm", (-2, 6)), ("leaky", (-6, 2)), ("rnn", (0, 0))])
def test_biases_of_a_phase_diagram_reach_further_where_more_is_kept(cell, ends):
    biases = phase_diagram._biases(cell)
    assert (biases[0], biases[-1]) == ends
    assert biases == sorted(biases)


@blank_figures
def test_the_phase_diagram_of_a_cell_without_gates_over_a_series(invoke, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(3).standard_normal((80, 2)))
    options = [
        "--cell",
        "rnn",
        "--hidden-size",
        3,
        "--gain",
        "0.5:2:4",
        "--scheme",
        "gaussian(1), orthogonal",
    ]
    done = invoke("measure", "phase-diagram", *options, "--inputs", "x.npy")
    assert done.exit_code == 0, done.output
    result = gs.load(tmp_path / "gatescope-measured" / "phase_diagram.npz")
    assert result.exponent.shape == (2, 4, 1)
    np.testing.assert_array_equal(result.gain, [0.5, 1, 1.5, 2])
    assert (result.steps, result.gate) == (80, "")
    assert "over x.npy" in done.stdout
    done = invoke("measure", "phase-diagram", *options, "--inputs", "x.npy", "--input-size", 3)
    assert "--input-size 3 is for noise, and --inputs gives a series; leave it out" in done.stderr
    done = invoke("measure", "phase-diagram", *options, "--steps", 60)
    assert done.exit_code == 0, done.output
    said = "standard normal noise, drawn with --seed 0: T = 60 steps, B = 1 sequence, I = 1 input"
    assert done.stdout.splitlines()[0] == said
    assert gs.load(tmp_path / "gatescope-measured" / "phase_diagram.npz").steps == 60
    for ignored in (["--standardize"], ["--no-header"], ["--columns", "y"]):
        done = invoke("measure", "phase-diagram", *ignored)
        assert done.exit_code == 2
        assert f"{ignored[0]}" in done.stderr
        assert "is for a series, and there is none; give --inputs too" in done.stderr


@blank_figures
@pytest.mark.parametrize("shape", [(200,), (200, 1), (200, 2, 1)])
def test_a_long_npy_file_is_mapped_and_gives_the_same(shape, invoke, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    options = ["measure", "gradient-flow", "--inputs", "x.npy", "--hidden-size", 3, "--steps", 150]
    assert invoke(*options, "--out", "read").exit_code == 0
    monkeypatch.setattr(inputs, "MAPPED_BYTES", 0)
    asked = InputOptions(inputs=tmp_path / "x.npy", steps=150)
    assert isinstance(inputs.read_inputs(asked, mapped=True).values, np.memmap)
    done = invoke(*options, "--out", "mapped")
    assert done.exit_code == 0, done.output
    assert gs.load(tmp_path / "read" / "gradient_flow.npz") == gs.load(
        tmp_path / "mapped" / "gradient_flow.npz"
    )


def test_a_flow_longer_than_a_figure_is_thinned():
    assert thinned(1000) is None
    lags = thinned(10_000_000)
    assert (lags[0], lags[1], lags[-1]) == (0, 1, 10_000_000)
    assert len(lags) < 110_000


BAD = [
    (["gradient-flow", "--inputs", "missing.npy"], "no such file"),
    (["gradient-flow", "--weights", "missing.npz"], "no such file"),
    (["gradient-flow", "--lags", "0,121", *SERIES], "0..120"),
    (["gradient-flow", "--lags", "1,b"], "--lags '1,b' must be whole numbers"),
    (["gradient-flow", "--source-step", "121", *SERIES], "121"),
    (["gradient-flow", "--max-lag", "121", *SERIES], "121"),
    (["gradient-flow", "--wrt", "x"], "'x'"),
    (["gradient-flow", "--norm", "x"], "'x'"),
    (["gradient-flow", "--clamp", "f"], "--clamp 'f' must name a gate and a value"),
    (["gradient-flow", "--threads", "0"], "--threads 0"),
    (["gradient-flow", "--device", "tpu"], "'tpu'"),
    (
        ["gradient-flow", "--weights", "own.npz", "--cell", "gru"],
        "--cell 'gru' is for a fresh cell, and --weights",
    ),
    (["gradient-flow", "--layer", "1"], "--layer 1 is for weights from a file; give --weights"),
    (["gradient-flow", "--cell", "rnn,gru"], "gradient-flow takes one"),
    (
        ["gradient-flow", "--inputs", "two.npy", "--weights", "own.npz"],
        "has 2 numbers a step, but own takes 1",
    ),
    (["gradient-flow", "--steps", "10094"], "10093 steps"),
    (["gradient-flow", "--out", "file.txt"], "file.txt"),
    (["gradient-flow", "--out", "blocked"], "it is a folder"),
    (["gradient-flow", "--resume", "file.txt/below"], "file.txt"),
    (["jacobian-spectrum", "--k", "9", *SERIES], "9"),
    (["lyapunov-spectrum", "--transient", "120", *SERIES], "120"),
    (["lyapunov-spectrum", "--qr-every", "0", *SERIES], "0"),
    (["connectivity", "--source-steps", "odd", *SERIES], "--source-steps 'odd' must be whole numbers"),
    (["fixed-points", "--at", "a"], "--at 'a' must be numbers"),
    (["fixed-points", "--at", "inf"], "--at 'inf' must be numbers"),
    (["fixed-points", "--starts", "0"], "starts"),
    (["fixed-points", "--starts", "many"], "--starts 'many' must be a whole number"),
    (["diagnose", "--target-half-life", "0", *SERIES], "--target-half-life 0"),
    (["phase-diagram", "--gain", "0:1"], "--gain '0:1' must be numbers"),
    (["phase-diagram", "--cell", "grue"], "'grue'"),
    (["phase-diagram", "--scheme", "magic"], "'magic'"),
    (["saturation", "--left", "0.9", "--right", "0.1", *SERIES], "--left 0.9 must be below --right"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_input_is_one_line_and_status_2(arguments, message, invoke, tmp_path):
    np.save(tmp_path / "two.npy", np.ones((30, 2)))
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "blocked" / "gradient_flow.npz").mkdir(parents=True)
    gs.init("rnn", input_size=1, hidden_size=2).save(tmp_path / "own.npz")
    before = sorted(tmp_path.rglob("*"))
    done = invoke("measure", *arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatescope: error: ")
    assert message in line
    assert not done.stdout or done.stdout.startswith(
        "the Santa Fe laser series: T = "
    )  # how inputs were read
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []


def test_states_that_are_no_longer_finite_are_reported_with_their_step(invoke, tmp_path):
    params = gs.init("rnn_relu", input_size=1, hidden_size=2, seed=0, dtype="float64")
    params.weight_hh[:] = 1e30
    params.bias_ih[:] = 1
    params.save(tmp_path / "w.npz")
    done = invoke("measure", "lyapunov-spectrum", "--weights", "w.npz", "--steps", 200)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "step" in line
    assert "finite" in line


@pytest.mark.parametrize("name", OVER_SERIES)
def test_what_cannot_be_written_is_refused_before_the_work(name, invoke, tmp_path, monkeypatch):
    (tmp_path / "file.txt").write_text("")
    monkeypatch.setattr(Plan, "_measure", too_late)
    done = invoke("measure", name, *SERIES, "--out", "file.txt")
    assert done.exit_code == 2
    assert "file.txt" in done.stderr


@blank_figures
@pytest.mark.parametrize("name", RESUMABLE)
def test_what_was_not_interrupted_leaves_nothing_to_continue_from(name, invoke, tmp_path):
    done = invoke("measure", name, *COMMANDS[name][0], "--resume", "kept.npz")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "kept.npz").exists()
    (tmp_path / "torn.npz").write_bytes(b"torn")
    done = invoke("measure", name, *COMMANDS[name][0], "--resume", "torn.npz")
    assert done.exit_code == 2
    assert "torn.npz" in done.stderr
    assert (tmp_path / "torn.npz").read_bytes() == b"torn"


def test_an_interrupt_says_how_to_continue(invoke, tmp_path, monkeypatch):
    module = importlib.import_module("gatescope.measurements.lyapunov_spectrum")

    def interrupted(params, inputs, resume=None, **_keywords):
        if resume is not None and str(resume) == "kept.npz":
            (tmp_path / "kept.npz").write_bytes(b"")
        error = KeyboardInterrupt()
        if str(resume) == "full.npz":
            error.add_note("'full.npz' cannot be written: No space left on device")
        raise error

    monkeypatch.setattr(module, "lyapunov_spectrum", interrupted)
    said = {
        (): "nothing is saved; with --resume FILE the next one can be continued",
        (
            "--resume",
            "kept.npz",
        ): "what has been measured is in kept.npz; the same command continues from there",
        ("--resume", "other.npz"): "nothing had been measured yet",
        ("--resume", "full.npz"): "'full.npz' cannot be written: No space left on device",
    }
    for options, message in said.items():
        done = invoke("measure", "lyapunov-spectrum", *SERIES, *options)
        assert done.exit_code == 130
        assert done.stderr.splitlines() == [f"gatescope: interrupted; {message}"]

    def at_once(params, inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr("gatescope.measurements.half_life.half_life", at_once)
    done = invoke("measure", "half-life", *SERIES)
    assert done.exit_code == 130
    assert done.stderr.splitlines() == ["gatescope: interrupted; nothing is saved"]


@blank_figures
def test_an_interrupted_measurement_continues(invoke, tmp_path, monkeypatch):
    """The real thing: Ctrl-C in the middle, then the same command again."""
    flow = importlib.import_module("gatescope.measurements.gradient_flow")
    monkeypatch.setattr("gatescope.kernels.cpu.device.CpuDevice.piece", lambda *_arguments: 50)
    measure = ["measure", "gradient-flow", *SERIES]
    assert invoke(*measure, "--out", "once").exit_code == 0
    whole, begun = flow.FlowRecord.piece, []

    def interrupted(self, *arguments):
        begun.append(1)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    again = [*measure, "--resume", "kept.npz", "--out", "twice"]
    with monkeypatch.context() as patched:
        patched.setattr(flow.FlowRecord, "piece", interrupted)
        done = invoke(*again)
    assert done.exit_code == 130
    assert "what has been measured is in kept.npz" in done.stderr
    done = invoke(*again)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "kept.npz").exists()
    assert gs.load(tmp_path / "once" / "gradient_flow.npz") == gs.load(
        tmp_path / "twice" / "gradient_flow.npz"
    )
