"""Streams, signals and statuses of the command as a process."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from helpers.subprocess_python import SOURCE

import gatescope as gs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="streams and signals of POSIX")
GATESCOPE = f"{sys.executable} -m gatescope"
TRAIN = "train adding --hidden-size 5 --steps 10 --sequences 1 --threads 1 --dtype float64"


def shell(line, cwd, **variables):
    """Return what a line of the shell leaves: its statuses, joined, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "NO_COLOR": "1", **variables}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    done = shell(f"{GATESCOPE} devices | true; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert (done.stdout, done.stderr) == ("0\n", "")
    done = shell(f"{GATESCOPE} train --help | head -1 | tr -d ' \\n'; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("option", ["devices", "--help", "--version"])
def test_output_that_cannot_be_written_has_a_status_of_its_own(option, tmp_path):
    done = shell(f"{GATESCOPE} {option} > /dev/full", tmp_path)
    assert done.returncode == 74
    assert done.stderr == (
        "gatescope: error: standard output cannot be written: No space left on device; files are written all the "
        "same\n"
    )


def test_closed_streams_are_noticed_before_the_work(tmp_path):
    done = shell(f"{GATESCOPE} devices >&-", tmp_path)
    assert done.returncode == 74
    assert (
        done.stderr == "gatescope: error: standard output is closed; give it a file, a pipe, or /dev/null\n"
    )
    done = shell(f"{GATESCOPE} devices 2>&-", tmp_path)
    assert done.returncode == 74
    assert done.stdout == "gatescope: error: standard error is closed; give it a file, a pipe, or /dev/null\n"
    assert shell(f"{GATESCOPE} --version <&-", tmp_path).returncode == 0


def test_an_error_on_a_full_stderr_ends_too(tmp_path):
    assert shell(f"{GATESCOPE} compare --inputs none.npy 2> /dev/full", tmp_path).returncode == 74


def test_names_never_command_the_terminal(tmp_path):
    name = "a\x1b]0;owned\x07.npy"
    (tmp_path / name).write_bytes(b"x")
    done = shell(f'{GATESCOPE} compare --inputs "$NAME"', tmp_path, NAME=name)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["$'a\\xff.npz'", "$(printf 'x%.0s' {1..300}).npz"])
@pytest.mark.parametrize("option", ["--inputs", "--weights", "--out"])
def test_names_that_no_file_should_have_are_one_line(name, option, tmp_path):
    done = shell(f"{GATESCOPE} run --steps 9 --hidden-size 5 {option} {name}", tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("*"))


def test_without_any_locale(tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": ""}
    for line in ("--help", "train --help", "devices", "measure"):
        done = shell(f"{GATESCOPE} {line}", tmp_path, **plain)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 2)


# The command, which leaves a file behind as soon as its training has made an epoch.
TRAINS = """
import pathlib, sys
from gatescope.cli.main import main
from gatescope.training.loop import Trainer
epoch = Trainer._epoch
Trainer._epoch = lambda self: (epoch(self), pathlib.Path("began").touch())
sys.argv[0] = "gatescope"
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_signals_that_end_a_training_save_it(number, status, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    command = [sys.executable, "-c", TRAINS, *TRAIN.split(), "--epochs", "1000000"]
    log = tmp_path / "log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stderr=stream,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup and & ignore some
        ) as process,
    ):
        try:
            while not (tmp_path / "began").exists():
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            process.send_signal(number)
            assert process.wait(60) == status
        finally:
            process.kill()
    assert "what has been trained" in log.read_text()
    assert (tmp_path / "run.checkpoint.npz").exists()


def test_trained_with_numpy_that_raises():
    import numpy as np

    with np.errstate(all="raise"):
        params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
        inputs = np.full((50, 3, 1), 1e-200)
        trace = gs.run(params, inputs)
        gs.saturation(trace)
        gs.gradient_flow(params, inputs)
        gs.half_life(params, inputs)
        gs.lyapunov_spectrum(params, inputs, transient=5)
        print(gs.gradient_paths(params, inputs).summary())


INTERRUPTED_IN_A_PASS = """
import os, signal, sys
from numba.core import event

class Interrupt(event.Listener):
    left = 25

    def on_start(self, compiled):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)

    def on_end(self, compiled):
        pass

event.register("numba:run_pass", Interrupt())
from gatescope.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_ctrl_c_while_the_first_kernel_is_compiled_ends_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IN_A_PASS, "run", "--steps", "9", "--hidden-size", "5"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent), "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "gatescope: interrupted")
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".npz", ".partial", ".nbi")]


def test_statuses_are_as_documented():
    """The page of commands and the docstring name the same statuses, and these are the ones that it leaves with."""
    from gatescope.cli import main, options, streams
    from gatescope.cli.train import command

    page = (SOURCE.parents[1] / "docs" / "command-line.md").read_text()
    table = page.partition("| exit status |")[2].partition("\n\n")[0]
    stated = {
        int(number) for number in re.findall(r"\d+", " ".join(re.findall(r"^\| ([\d, ]+) \|", table, re.M)))
    }
    signals = {128 + number for number in (signal.SIGHUP, signal.SIGTERM)}
    left_with = {0, 1, 2, command._DIVERGED, streams.NO_OUTPUT, options.INTERRUPTED} | signals
    assert stated == left_with
    assert {int(number) for number in re.findall(r"^ *(\d+) {2,}", main.main.__doc__, re.M)} == left_with
