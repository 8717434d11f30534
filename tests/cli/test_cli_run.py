"""``gatescope run``, and what is common to all commands: --help, --version, and the program as a process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import SMALL

import gatescope as gs
from gatescope.datatypes import Trace
from gatescope.reporting.terminal import encodable


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
    done = invoke("run", "--weights", "w.npz", "--steps", 25, "--out", "sub/mine.npz", "--threads", 1)
    assert done.exit_code == 0, done.output
    expected = gs.run(gs.load(tmp_path / "w.npz"), gs.tasks.laser(steps=25).inputs)
    trace = Trace.load(tmp_path / "sub" / "mine.npz")
    np.testing.assert_array_equal(trace.gates, expected.gates)
    assert "25 steps" in done.output

    done = invoke("run", "--cell", "lstm", *SMALL, "--dtype", "float64", "--seed", 2, "--init", "keras")
    assert done.exit_code == 0, done.output
    params = gs.init("lstm", input_size=1, hidden_size=4, seed=2, scheme="keras", dtype="float64")
    expected = gs.run(params, gs.tasks.laser(steps=40, dtype="float64").inputs)
    np.testing.assert_array_equal(Trace.load(tmp_path / "trace.npz").states, expected.states)


def test_version_and_help(invoke):
    assert invoke("--version").output == f"gatescope {gs.__version__}\n"
    for command in ([], ["compare"], ["run"], ["devices"]):
        done = invoke(*command, "--help")
        assert done.exit_code == 0
        assert "Usage" in done.output


def test_what_stdout_cannot_encode_is_replaced(monkeypatch):
    class Latin:
        encoding = "latin-1"

    monkeypatch.setattr("sys.stdout", Latin())
    assert encodable("R² × 3") == "R² × 3"
    assert encodable("−3 –") == "-3 -"
    assert encodable("\N{CJK UNIFIED IDEOGRAPH-4E2D}.npy") == "?.npy"
    Latin.encoding = "utf-8"
    assert encodable("−3") == "−3"


def test_as_a_program(tmp_path):
    """The real thing: exit status, no traceback, no progress bars where there is no terminal."""
    command = [sys.executable, "-m", "gatescope"]
    source = str(Path(gs.__file__).parent.parent)  # found from another folder too, installed or not
    keywords = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    keywords["env"] = os.environ | {"PYTHONPATH": source, "PYTHONIOENCODING": "ascii"}
    short = ["--hidden-size", "1", "--steps", "9", "--dtype", "float64"]
    done = subprocess.run([*command, "compare", "--cells", "rnn", *short], **keywords)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.isascii()
    assert "rnn" in done.stdout
    assert "R^2 of that decay" in done.stdout
    assert "?" not in done.stdout
    assert (tmp_path / "gatescope-out" / "report.html").stat().st_size > 10_000
    done = subprocess.run([*command, "compare", "--cells", "no"], **keywords)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gatescope: error: ")
    assert "'no' is not known" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_clamps_gates(invoke, tmp_path):
    options = ["--cell", "lstm", *SMALL, "--clamp", "f=1.0", "--clamp", "i[0,3]=0"]
    done = invoke("run", *options)
    assert done.exit_code == 0, done.output
    params = gs.init("lstm", input_size=1, hidden_size=4, seed=0, dtype="float64")
    clamp = {"f": 1.0, "i": {0: 0.0, 3: 0.0}}
    expected = gs.run(params, gs.tasks.laser(steps=40, dtype="float64").inputs, clamp=clamp)
    trace = Trace.load(tmp_path / "trace.npz")
    assert trace == expected
    assert trace.provenance["clamp"] == {"f": 1.0, "i": {"0": 0.0, "3": 0.0}}


@pytest.mark.parametrize(
    ("clamp", "message"),
    [
        ("z=1", "--clamp names 'z', which is no gate that can be clamped"),
        ("f=1.5", "takes values from 0 to 1"),
        ("f[9]=1", "unit 9 is out of range: there are 4 units"),
        ("open", "--clamp 'open' must name a gate and a value"),
    ],
)
def test_run_says_which_gates_can_be_clamped(clamp, message, invoke, tmp_path):
    done = invoke("run", "--cell", "lstm", *SMALL, "--clamp", clamp)
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "trace.npz").exists()


def test_a_trace_of_another_run_is_not_replaced_unless_asked(invoke, tmp_path):
    command = ("run", "--cell", "rnn", "--hidden-size", 3, "--steps", 5)
    assert invoke(*command).exit_code == 0
    before = (tmp_path / "trace.npz").read_bytes()
    again = invoke(*command, "--seed", 1)
    assert again.exit_code == 2
    assert (
        "--out 'trace.npz' is there already; give another name, or --overwrite to replace it" in again.output
    )
    assert (tmp_path / "trace.npz").read_bytes() == before
    assert invoke(*command, "--seed", 1, "--overwrite").exit_code == 0
    assert (tmp_path / "trace.npz").read_bytes() != before
