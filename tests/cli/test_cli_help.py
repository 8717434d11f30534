"""The help of every option: a sentence that says what it does, and its default."""

import subprocess
import sys

import pytest
import typer

from gatescope.cli import main
from gatescope.cli.experiment import FULL
from gatescope.cli.groups import command, option
from gatescope.cli.measure.command import command_of
from gatescope.cli.measure.options import parameter_texts
from gatescope.datatypes.long_series import PUBLISHED_SIZE
from gatescope.measurements.registry import MEASUREMENTS


def commands():
    """All commands that do something, by what a user types."""
    options = {}

    def walk(name, one):
        if name == "measure":
            options.update({f"measure {row.command}": command_of(row) for row in MEASUREMENTS})
        elif hasattr(one, "commands"):
            for part, inner in one.commands.items():
                walk(part, inner)
        else:
            options[name] = one

    for name, one in typer.main.get_command(main.app).commands.items():
        walk(name, one)
    return options


COMMANDS = commands()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_and_its_default(name):
    options = [parameter for parameter in COMMANDS[name].params if parameter.name != "help"]
    assert COMMANDS[name].help.strip()
    for parameter in options:
        text = parameter.help or ""
        where = f"{name} {parameter.opts}: {text}"
        assert text[:1].isupper(), where
        assert text.endswith("."), where
        assert "None" not in text, where
        assert "`" not in text, where
        if not parameter.required and not getattr(parameter, "is_flag", False):  # an argument is none
            said = "Default: " in text
            assert said == (parameter.default is None), where  # click shows a default that is not None
            assert parameter.default is None or parameter.show_default, where


@pytest.mark.parametrize("name", COMMANDS)
def test_options_stand_below_headings(name):
    options = [one for one in COMMANDS[name].params if one.param_type_name == "option" and one.name != "help"]
    assert [one.name for one in options if one.rich_help_panel is None] == []


@pytest.mark.parametrize("name", [row.command for row in MEASUREMENTS])
def test_a_measurement_is_listed_and_has_help(name, invoke):
    done = invoke("measure", name, "--help")
    assert done.exit_code == 0
    assert "Usage" in done.output
    assert name in invoke("measure", "--help").output


@pytest.mark.parametrize("command", [[], ["compare"], ["measure"], ["measure", "half-life"], ["train"]])
def test_h_is_help(command, invoke):
    short, long = invoke(*command, "-h"), invoke(*command, "--help")
    assert short.exit_code == 0
    assert short.output == long.output


@pytest.mark.parametrize("name", ["compare", "run", "measure", "train"])
def test_examples_stand_below_the_help_and_are_commands(name, invoke):
    lines = invoke(name, "--help").output.split("Examples:")[1].split("\n")
    examples = [line.split()[1:] for line in lines if line.strip().startswith("gatescope ")]
    assert examples
    for words in examples:
        options = {word for word in words if word.startswith("--")}
        helped = invoke(*words[: 2 if name == "measure" else 1], "--help")
        assert helped.exit_code == 0
        assert all(option in helped.output for option in options), words


def test_the_package_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "gatescope", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("gatescope ")


def test_help_imports_nothing_heavy():
    """The help, and a mistyped option, answer at once."""
    heavy = "{'numba', 'matplotlib', 'scipy', 'tqdm'} & set(sys.modules)"
    for arguments in (["--help"], ["measure", "--help"], ["train", "--help"], ["run", "--bogus"]):
        code = (
            f"import sys, gatescope.cli.main\ntry: gatescope.cli.main.main({arguments})\n"
            f"except SystemExit: pass\nsys.exit(len({heavy}))"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stderr)


def test_the_sizes_in_the_help_are_those_of_the_experiment():
    assert FULL == PUBLISHED_SIZE


def test_the_parameters_of_a_docstring():
    def measure(lags, seed):
        """Measure.

        Parameters
        ----------
        lags : list
            Lags, ``"all"`` or some,
            ascending.

            A paragraph of its own.
        seed, other : int

        Returns
        -------
        float
        """

    expected = {"lags": "Lags, all or some, ascending. A paragraph of its own.", "seed": "", "other": ""}
    assert parameter_texts(measure) == expected


def test_a_group_of_options_is_a_dataclass():
    from dataclasses import dataclass

    called = {}

    @dataclass
    class Sizes:
        height: int = option(2, "Height.")
        width: int = option(3, "Width.")

    def draw(name, sizes, *, colour="red"):
        called.update(name=name, sizes=sizes, colour=colour)

    draw.__annotations__ = {"name": str, "sizes": Sizes, "colour": str}
    made = command(draw)
    assert list(made.__annotations__) == ["name", "height", "width", "colour"]
    made(name="a", height=5, width=3, colour="red")
    assert called == {"name": "a", "sizes": Sizes(height=5, width=3), "colour": "red"}
