"""The command line, given what it cannot use: one line, status 2, nothing written, and that at once."""

import numpy as np
import pytest
from helpers.command_line import SMALL, too_late, torch_weights

import gatescope as gs

BAD = [
    (["compare", "--inputs", "missing.npy"], "no such file"),
    (["compare", "--inputs", "nan.npy"], "finite"),
    (["compare", "--inputs", "torn.npz"], "torn.npz"),
    (["compare", "--inputs", "text.csv"], "line 2, column 1"),
    (["compare", "--inputs", "empty.npy"], "empty"),
    (["compare", "--weights", "torn.safetensors"], "torn.safetensors"),
    (["compare", "--weights", "trace.npz"], "holds a Trace, not weights"),
    (["compare", "--weights", "two.npz"], "two takes 2 numbers a step|--inputs"),
    (["compare", "--weights", "w.pt"], "no such file|pickle"),
    (["compare", "--weights", "two.npz", "--layer", "3"], ""),
    (["compare", "--cells", "rnn,grue"], "'grue'"),
    (["compare", "--cells", ","], "names no cell"),
    (["compare", "--dtype", "float16"], "'float16'"),
    (["compare", "--init", "magic"], "'magic'"),
    (["compare", "--cells", "rnn", "--init", "chrono"], "chrono"),
    (["compare", "--steps", "10094"], "10093 steps"),
    (["compare", "--units", "0,x"], "--units '0,x'"),
    (["compare", "--units", "64"], "0..63"),
    (["compare", "--out", "file.txt"], "file.txt"),
    (["compare", "--out", ""], "--out '' is empty; leave it out, or give a value"),
    (["compare", "--skip-columns="], "--skip-columns '' is empty; leave it out"),
    (["claims", "--only", ""], "--only '' is empty"),
    (["show", ""], "an argument is empty; leave it out"),
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
        "--nonlinearity 'relu' is for an RNN whose file does not say it",
    ),
    (
        ["compare", "--weights", "four.npz", "--nonlinearity", "relu"],
        "is for an RNN whose file does not say it",
    ),
    (["compare", "--weights", "four.npz", "--nonlinearity", "sine"], "'sine'"),
    (["compare", "--weights", "four.npz", "--prefix", "net"], "net"),
    (["run", "--weights", "own.npz", "--cell", "gru"], "--cell 'gru' is for a fresh cell, and --weights"),
    (["run", "--weights", "own.npz", "--init", "keras"], "--init 'keras' is for a fresh cell, and --weights"),
    (["run", "--weights", "own.npz", "--seed", "0"], "--seed 0 is for a fresh cell, and --weights"),
    (["measure", "saturation", "--weights", "own.npz", "--seed", "0"], "--seed 0 is for a fresh cell, and"),
    (
        ["run", "--weights", "own.npz", "--hidden-size", "4"],
        "--hidden-size 4 is for a fresh cell, and --weights",
    ),
    (["run", "--cell", "rnn", "--layer", "1"], "--layer 1 is for weights from a file; give --weights"),
    (["run", "--cell", "rnn,gru"], "takes one"),
    (["run", "--out", "trace.txt"], "must end in .npz"),
    (["run", "--out", "folder.npz"], "is a folder"),
    (
        ["run", "--out", "blocked"],
        "--out 'blocked' is a folder; name a file in it, as in blocked/out.npz",
    ),
    (
        ["compare", "--weights", "own.npz", "--layer", "0"],
        "is for files of other frameworks and models of several",
    ),
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
    monkeypatch.setattr("gatescope.comparison.compare.prepare", too_late)  # found before the computing starts
    before = sorted(tmp_path.rglob("*"))

    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("gatescope: error: ")
    assert any(part in lines[0] for part in message.split("|"))
    assert done.stdout == ""
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hidden-size", "0"),
        ("hidden-size", "-3"),
        ("steps", "0"),
        ("steps", "-5"),
        ("threads", "0"),
        ("seed", "-1"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "run"])
def test_numbers_out_of_range_are_reported_in_one_line(command, option, value, invoke):
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


def test_a_pickle_is_not_opened(invoke, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"\x80\x04.")
    done = invoke("compare", "--weights", "w.pt")
    assert done.exit_code == 2
    assert "never opened" in done.stderr


def test_interrupt_is_130(invoke, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("gatescope.comparison.compare.prepare", interrupted)
    done = invoke("compare", *SMALL)
    assert done.exit_code == 130
    assert done.stderr.splitlines() == ["gatescope: interrupted"]


def test_lack_of_memory_is_reported(invoke, monkeypatch):
    def greedy(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("gatescope.comparison.compare.prepare", greedy)
    done = invoke("compare", *SMALL)
    assert done.exit_code == 2
    assert "not enough memory" in done.stderr


def test_unwritable_folder_is_refused_before_the_computing(invoke, tmp_path, monkeypatch):
    def denied(dir, **_keywords):  # permissions would not stop root, who runs many a container
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    monkeypatch.setattr("gatescope.comparison.compare.prepare", too_late)
    done = invoke("compare", *SMALL, "--out", "locked")
    assert done.exit_code == 2
    assert done.stderr == (
        "gatescope: error: 'locked' cannot be written: Permission denied; choose a folder that can be written\n"
    )


def test_a_disk_that_fills_up_leaves_no_half_file(invoke, tmp_path, monkeypatch, render_only):
    render_only("gradient_flow")
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
