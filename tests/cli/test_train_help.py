"""``train TASK --help``: that task's options, and no others."""

import re

import pytest

from gatescope.cli.train.help import arguments_of
from gatescope.cli.train.names import NAMES

COMMON = {"--cell", "--hidden-size", "--epochs", "--lr", "--out", "--seed", "--threads"}
OF_A_TASK = {
    "--data",
    "--loss",
    "--steps",
    "--sequences",
    "--set",
    "--fixed",
    "--validation",
    "--columns",
    "--header",
    "--batch-first",
    "--updates-per-epoch",
    "--batch-size",
}
SHOWN = {
    "adding": {"--steps", "--sequences", "--set", "--fixed", "--validation", "--updates-per-epoch"},
    "digits": {"--sequences", "--set", "--validation", "--batch-size"},
    "characters": {"--data", "--steps", "--sequences", "--set", "--validation", "--batch-size"},
    "own": {
        "--data",
        "--loss",
        "--set",
        "--validation",
        "--columns",
        "--header",
        "--batch-first",
        "--batch-size",
    },
}


@pytest.fixture
def options(invoke, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")

    def options(*arguments):
        done = invoke("train", *arguments)
        assert done.exit_code == 0, done.output
        # An option begins a line; others in the text speak of it.
        return set(re.findall(r"^\W*(--[\w-]+)", done.output, re.MULTILINE)), done.output

    return options


@pytest.mark.parametrize("task", SHOWN)
def test_the_options_are_those_of_the_task(task, options):
    shown, text = options(task, "--help")
    assert shown >= COMMON
    assert shown & OF_A_TASK == SHOWN[task]
    if "--set" in shown:
        assert re.search(r"Set (\w+, )*\w+( or \w+)?\.", text)


def test_the_arguments_of_every_task_are_known():
    for task in NAMES:
        arguments, settings = arguments_of(task)
        assert "dtype" in arguments
        assert set(settings) < arguments


def test_without_a_task_all_are_shown(options):
    shown, text = options("--help")
    assert shown >= COMMON | OF_A_TASK
    for heading in ("Data", "Model", "Training", "Output", "Computation"):
        assert re.search(rf"─ {heading} ─", text)
