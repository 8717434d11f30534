"""``gatescope measure``: each measurement once, what it leaves behind, and what it says of what it cannot use."""

import importlib

import numpy as np
import pytest
from helpers.command_line import too_late

import gatescope as gs
from gatescope.cli import measure as measuring_cli
from gatescope.cli import options as _cli_options

SERIES = ["--hidden-size", "4", "--horizon", "120"]
# Command, its result, and what its table or its verdict says.
COMMANDS = {
    "flow": (SERIES, "GradientFlow", "half-life, steps"),
    "jacobian": (SERIES, "JacobianSpectrum", "8 singular values"),
    "lyapunov": (SERIES, "LyapunovSpectrum", "leading exponent"),
    "half-life": (SERIES, "HalfLife", "leading Lyapunov exponent, steps"),
    "paths": (SERIES, "GradientPaths", "direct"),
    "connectivity": ([*SERIES, "--norm", "random"], "Connectivity", "0 steps between input and output"),
    "fixed-points": (["--hidden-size", "3", "--starts", "30"], "FixedPoints", "time constant, steps"),
    "phases": (
        ["--hidden-size", "4", "--gain", "0.5,2", "--bias", "0:1:2", "--steps", "60"],
        "PhaseDiagram",
        "gradients vanish at",
    ),
    "diagnose": ([*SERIES, "--target-half-life", "20"], "Diagnosis", "leading exponent"),
}
OVER_SERIES = [name for name in COMMANDS if name not in ("fixed-points", "phases")]


def test_each_command_is_tried():
    assert [command.name for command in measuring_cli.COMMANDS if command.name not in COMMANDS] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_measurement_prints_a_table_and_writes_the_result_and_its_picture(name, invoke, tmp_path):
    options, kind, said = COMMANDS[name]
    done = invoke("measure", name, *options, "--out", "here")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert said in done.stdout
    stem = name.replace("-", "_")
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        f"{stem}.{s}" for s in ("npz", "png", "svg")
    ]
    assert type(gs.load(tmp_path / "here" / f"{stem}.npz")).__name__ == kind
    assert (tmp_path / "here" / f"{stem}.png").stat().st_size > 5_000
    for suffix in ("npz", "png", "svg"):
        assert f"{stem}.{suffix}" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name, invoke):
    done = invoke("measure", name, "--help")
    assert done.exit_code == 0
    assert "Usage" in done.output
    listed = invoke("measure", "--help").output
    assert name in listed


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
        "--horizon",
        140,
        "--clamp",
        "z=0.5",
        "--threads",
        1,
    ]
    done = invoke("measure", "lyapunov", *options, "--k", 2, "--transient", 20, "--qr-every", 1, "--seed", 4)
    assert done.exit_code == 0, done.output
    found = gs.load(tmp_path / "gatescope-out" / "lyapunov.npz")
    expected = gs.lyapunov_spectrum(params, inputs, k=2, transient=20, qr_every=1, seed=4, clamp={"z": 0.5})
    assert found == expected
    assert "w with z held over x.npy, 140 steps" in done.stdout
    assert "sequence 1" in done.stdout

    done = invoke("measure", "flow", *options, "--state", "joint", "--lags", "0,10,100", "--source-step", 120)
    assert done.exit_code == 0, done.output
    expected = gs.gradient_flow(
        params, inputs, source_step=120, wrt="joint", lags=[0, 10, 100], clamp={"z": 0.5}
    )
    assert gs.load(tmp_path / "gatescope-out" / "flow.npz") == expected

    done = invoke("measure", "jacobian", *options, "--lags", "1,7", "--k", 2, "--of", "h", "--wrt", "h")
    assert done.exit_code == 0, done.output
    expected = gs.jacobian_spectrum(params, inputs, lags=[1, 7], k=2, of="h", wrt="h", clamp={"z": 0.5})
    assert gs.load(tmp_path / "gatescope-out" / "jacobian.npz") == expected


def test_fixed_points_take_the_constant_input(invoke, tmp_path):
    done = invoke(
        "measure", "fixed-points", "--cell", "rnn", "--hidden-size", 2, "--at", "0.5,-1", "--starts", 20
    )
    assert done.exit_code == 0, done.output
    found = gs.load(tmp_path / "gatescope-out" / "fixed_points.npz")
    np.testing.assert_array_equal(found.inputs, [0.5, -1])
    assert found.starts == 20
    gs.init("rnn", input_size=3, hidden_size=2).save(tmp_path / "w.npz")
    done = invoke("measure", "fixed-points", "--weights", "w.npz", "--at", "2", "--starts", 20)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(gs.load(tmp_path / "gatescope-out" / "fixed_points.npz").inputs, [2, 2, 2])


def test_phases_of_a_cell_without_gates_over_a_series(invoke, tmp_path):
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
    done = invoke("measure", "phases", *options, "--inputs", "x.npy")
    assert done.exit_code == 0, done.output
    found = gs.load(tmp_path / "gatescope-out" / "phases.npz")
    assert found.exponent.shape == (2, 4, 1)
    np.testing.assert_array_equal(found.gain, [0.5, 1, 1.5, 2])
    assert (found.steps, found.gate) == (80, "")
    assert "over x.npy" in done.stdout


@pytest.mark.parametrize("shape", [(200,), (200, 1), (200, 2, 1)])
def test_a_long_npy_file_is_mapped_and_gives_the_same(shape, invoke, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    options = ["measure", "flow", "--inputs", "x.npy", "--hidden-size", 3, "--horizon", 150]
    assert invoke(*options, "--out", "read").exit_code == 0
    monkeypatch.setattr(_cli_options, "MAPPED_BYTES", 0)
    mapped, _ = _cli_options.read_inputs(tmp_path / "x.npy", 150, mapped=True)
    assert isinstance(mapped, np.memmap)
    done = invoke(*options, "--out", "mapped")
    assert done.exit_code == 0, done.output
    assert gs.load(tmp_path / "read" / "flow.npz") == gs.load(tmp_path / "mapped" / "flow.npz")


def test_a_flow_longer_than_a_picture_is_thinned():
    from gatescope.cli.measure.options import flow_lags

    assert flow_lags(None, 1000, -1, None, "random") is None
    lags = flow_lags(None, 10_000_000, -1, None, "random")
    assert (lags[0], lags[1], lags[-1]) == (0, 1, 10_000_000)
    assert len(lags) < 110_000
    assert flow_lags(None, 10_000_000, 500_000, None, "random")[-1] == 500_000
    assert flow_lags(None, 10_000_000, -1, 200, "random") is None


BAD = [
    (["flow", "--inputs", "missing.npy"], "no such file"),
    (["flow", "--weights", "missing.npz"], "no such file"),
    (["flow", "--lags", "0,121", *SERIES], "0..120"),
    (["flow", "--lags", "1,b"], "--lags '1,b' must be whole numbers"),
    (["flow", "--source-step", "121", *SERIES], "source_step=121"),
    (["flow", "--longest-lag", "121", *SERIES], "max_lag=121"),
    (["flow", "--state", "x"], "wrt='x'"),
    (["flow", "--norm", "x"], "norm='x'"),
    (["flow", "--cell", "rnn", "--clamp", "f=1"], "'rnn' keeps no gates"),
    (["flow", "--clamp", "q=1"], "clamp names 'q'"),
    (["flow", "--clamp", "f"], "--clamp 'f' must name a gate and a value"),
    (["flow", "--threads", "0"], "threads=0"),
    (["flow", "--device", "tpu"], "device='tpu'"),
    (["flow", "--weights", "own.npz", "--cell", "gru"], "--cell 'gru' is for a fresh cell, and --weights"),
    (["flow", "--layer", "1"], "--layer 1 is for weights from a file; give --weights"),
    (["flow", "--cell", "rnn,gru"], "flow takes one"),
    (["flow", "--inputs", "two.npy", "--weights", "own.npz"], "has 2 numbers a step, but own takes 1"),
    (["flow", "--horizon", "10094"], "10093 steps"),
    (["flow", "--out", "file.txt"], "file.txt"),
    (["flow", "--out", "blocked"], "it is a folder"),
    (["flow", "--resume", "file.txt/below"], "file.txt"),
    (["jacobian", "--lags", "0,121", *SERIES], "0..120"),
    (["jacobian", "--lags", "-1", *SERIES], "lags"),
    (["jacobian", "--k", "9", *SERIES], "k=9"),
    (["jacobian", "--wrt", "x", *SERIES], "wrt='x'"),
    (["lyapunov", "--k", "9", *SERIES], "k=9"),
    (["lyapunov", "--k", "0", *SERIES], "k=0"),
    (["lyapunov", "--transient", "120", *SERIES], "transient=120"),
    (["lyapunov", "--qr-every", "0", *SERIES], "qr_every=0"),
    (["lyapunov", "--clamp", "z=1", *SERIES], "clamp names 'z'"),
    (["half-life", "--transient", "120", *SERIES], "transient=120"),
    (["paths", "--lags", "121", *SERIES], "0..120"),
    (["paths", "--state", "x", *SERIES], "wrt='x'"),
    (["connectivity", "--targets", "120", *SERIES], "targets"),
    (["connectivity", "--sources", "odd", *SERIES], "--sources 'odd' must be whole numbers"),
    (["fixed-points", "--at", "a"], "--at 'a' must be numbers"),
    (["fixed-points", "--at", "inf"], "--at 'inf' must be numbers"),
    (["fixed-points", "--starts", "0"], "starts"),
    (["diagnose", "--horizon", "10"], "at least 20 steps"),
    (["diagnose", "--target-half-life", "0", *SERIES], "target_half_life=0"),
    (["phases", "--gain", "0:1"], "--gain '0:1' must be numbers"),
    (["phases", "--gain", "-1"], "gain"),
    (["phases", "--cell", "rnn", "--bias", "1,2"], "bias="),
    (["phases", "--cell", "grue"], "cell='grue'"),
    (["phases", "--scheme", "magic"], "scheme='magic'"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_input_is_one_line_and_status_2(arguments, message, invoke, tmp_path):
    np.save(tmp_path / "two.npy", np.ones((30, 2)))
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "blocked" / "flow.npz").mkdir(parents=True)
    gs.init("rnn", input_size=1, hidden_size=2).save(tmp_path / "own.npz")
    before = sorted(tmp_path.rglob("*"))
    done = invoke("measure", *arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatescope: error: ")
    assert message in line
    assert done.stdout == ""
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []


def test_states_that_are_no_longer_finite_are_told_with_their_step(invoke, tmp_path):
    params = gs.init("rnn_relu", input_size=1, hidden_size=2, seed=0, dtype="float64")
    params.weight_hh[:] = 1e30
    params.bias_ih[:] = 1
    params.save(tmp_path / "w.npz")
    done = invoke("measure", "lyapunov", "--weights", "w.npz", "--horizon", 200)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "step" in line
    assert "finite" in line


@pytest.mark.parametrize("name", OVER_SERIES)
def test_what_cannot_be_written_is_found_before_the_work(name, invoke, tmp_path, monkeypatch):
    (tmp_path / "file.txt").write_text("")
    for module, function in (
        ("gatescope.measurements", "gradient_flow"),
        ("gatescope.measurements.jacobian_spectrum", "jacobian_spectrum"),
        ("gatescope.measurements.lyapunov_spectrum", "lyapunov_spectrum"),
        ("gatescope.measurements.half_life", "half_life"),
        ("gatescope.measurements.gradient_paths", "gradient_paths"),
        ("gatescope.measurements.connectivity", "connectivity"),
    ):
        monkeypatch.setattr(importlib.import_module(module), function, too_late)
    done = invoke("measure", name, *SERIES, "--out", "file.txt")
    assert done.exit_code == 2
    assert "file.txt" in done.stderr


@pytest.mark.parametrize("name", [c.name for c in measuring_cli.COMMANDS if c.resumable])
def test_what_was_not_interrupted_leaves_nothing_to_go_on_from(name, invoke, tmp_path):
    done = invoke("measure", name, *COMMANDS[name][0], "--resume", "kept.npz")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "kept.npz").exists()
    (tmp_path / "torn.npz").write_bytes(b"torn")
    done = invoke("measure", name, *COMMANDS[name][0], "--resume", "torn.npz")
    assert done.exit_code == 2
    assert "torn.npz" in done.stderr
    assert (tmp_path / "torn.npz").read_bytes() == b"torn"


def test_an_interrupt_says_how_to_go_on(invoke, tmp_path, monkeypatch):
    module = importlib.import_module("gatescope.measurements.lyapunov_spectrum")

    def interrupted(*_arguments, resume=None, **_keywords):
        if resume is not None and str(resume) == "kept.npz":
            (tmp_path / "kept.npz").write_bytes(b"")
        error = KeyboardInterrupt()
        if str(resume) == "full.npz":
            error.add_note("'full.npz' cannot be written: No space left on device")
        raise error

    monkeypatch.setattr(module, "lyapunov_spectrum", interrupted)
    said = {
        (): "nothing is kept; with --resume FILE the next one can be gone on with",
        (
            "--resume",
            "kept.npz",
        ): "what has been measured is in kept.npz; the same command goes on from there",
        ("--resume", "other.npz"): "nothing had been measured yet",
        ("--resume", "full.npz"): "'full.npz' cannot be written: No space left on device",
    }
    for options, message in said.items():
        done = invoke("measure", "lyapunov", *SERIES, *options)
        assert done.exit_code == 130
        assert done.stderr.splitlines() == [f"gatescope: interrupted; {message}"]

    def at_once(*_arguments, **_keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("gatescope.measurements.half_life.half_life", at_once)
    done = invoke("measure", "half-life", *SERIES)
    assert done.exit_code == 130
    assert done.stderr.splitlines() == ["gatescope: interrupted; nothing is kept"]


def test_an_interrupted_measurement_goes_on(invoke, tmp_path, monkeypatch):
    """The real thing: Ctrl-C in the middle, then the same command again."""
    flow = importlib.import_module("gatescope.measurements.gradient_flow")
    monkeypatch.setattr("gatescope.kernels.cpu.device.CpuDevice.piece", lambda *_arguments: 50)
    measure = ["measure", "flow", *SERIES]
    assert invoke(*measure, "--out", "once").exit_code == 0
    whole, begun = flow._Record.piece, []

    def interrupted(self, *arguments):
        begun.append(1)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    again = [*measure, "--resume", "kept.npz", "--out", "twice"]
    with monkeypatch.context() as patched:
        patched.setattr(flow._Record, "piece", interrupted)
        done = invoke(*again)
    assert done.exit_code == 130
    assert "what has been measured is in kept.npz" in done.stderr
    done = invoke(*again)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "kept.npz").exists()
    assert gs.load(tmp_path / "once" / "flow.npz") == gs.load(tmp_path / "twice" / "flow.npz")
