"""Numbers for programs: ``--format json|csv`` of what prints a table, and ``gatescope show`` of any stored result."""

import csv
import io
import json

import numpy as np
import pytest
from helpers.cases import Case
from helpers.command_line import torch_weights

import gatescope as gs

CASE = Case("lstm", T=7, B=3, I=2, H=5)


def refused(constant):
    raise AssertionError(constant)


def parsed(text):
    """Return a line of JSON, which holds neither NaN nor infinity."""
    (line,) = text.splitlines()
    return json.loads(line, parse_constant=refused)


@pytest.fixture
def flow(tmp_path):
    norms = -0.7 * np.arange(40.0)[:, None] * np.array([1.0, 1 / 3])
    made = gs.GradientFlow(
        cell="lstm", lag=np.arange(40), log_norm=norms, of="h", wrt="h", source_step=40, norm="random"
    )
    made.save(tmp_path / "flow.npz")
    return made


def test_json_has_all_digits_the_title_and_the_sentences(invoke, flow):
    done = invoke("show", "flow.npz", "--format", "json")
    assert done.exit_code == 0, done.output
    told = parsed(done.stdout)
    assert told["title"] == flow.table().title
    assert told["notes"] == flow.summary().splitlines()[1:]
    rates = next(row for row in told["rows"] if "decay" in row["quantity"])
    assert rates["sequence 1"] == flow.decay_rate().value[1]
    fit = next(row for row in told["rows"] if "R²" in row["quantity"])
    assert fit["sequence 0"] == flow.decay_rate().r_squared[0]
    assert done.stderr == ""


def test_csv_is_a_table_alone(invoke, flow):
    done = invoke("show", "flow.npz", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == len(flow.table().rows)
    assert float(next(row for row in rows if "decay" in row["quantity"])["sequence 1"]) == float(
        flow.decay_rate().value[1]
    )
    assert flow.summary().splitlines()[1] in done.stderr


@pytest.mark.parametrize("options", [[], ["--array", "log_norm"]])
def test_every_value_as_a_row(invoke, flow, options):
    done = invoke("show", "flow.npz", "--values", *options)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == flow.log_norm.size
    assert rows[5] == {"lag": "2", "batch": "1", "log_norm": repr(float(flow.log_norm[2, 1]))}
    told = parsed(invoke("show", "flow.npz", "--values", "--format", "json").stdout)
    assert told["rows"][5]["log_norm"] == flow.log_norm[2, 1]


def test_what_is_not_finite_is_null(invoke, tmp_path):
    fields = {"title": "run", "parts": {"gates": 3}}
    gs.MemoryEstimate(**fields).save(tmp_path / "memory.npz")
    told = parsed(invoke("show", "memory.npz", "--format", "json").stdout)
    assert told["rows"][0] == {"part": "gates", "bytes": 3, "of all": 1.0}
    endless = gs.GradientFlow(
        cell="lstm",
        lag=np.arange(3),
        log_norm=np.array([[0.0], [np.nan], [-np.inf]]),
        of="h",
        wrt="h",
        source_step=3,
        norm="random",
    )
    endless.save(tmp_path / "endless.npz")
    told = parsed(invoke("show", "endless.npz", "--values", "--format", "json").stdout)
    assert [row["log_norm"] for row in told["rows"]] == [0.0, None, None]


def test_layers_come_as_one_long_table(invoke, tmp_path):
    upper = gs.init("lstm", input_size=5, hidden_size=5, seed=1, dtype="float64")
    gs.run(gs.Stack(layers=(CASE.params, upper)), CASE.inputs).save(tmp_path / "trace.npz")
    rows = list(csv.DictReader(io.StringIO(invoke("show", "trace.npz", "--values").stdout)))
    assert [*rows[0]][:4] == ["layer", "time", "batch", "unit"]
    assert len(rows) == 2 * 7 * 3 * 5


def test_a_command_that_prints_a_table_prints_json(invoke, tmp_path):
    np.savez(tmp_path / "weights.npz", **torch_weights(4, 3))
    done = invoke("weights", "weights.npz", "--format", "json")
    assert parsed(done.stdout)["rows"]
    done = invoke("convert", "weights.npz", "other.npz", "--format", "json")
    assert parsed(done.stdout)["rows"][0]
    assert "wrote other.npz" in done.stderr
    # What one command chose is not the next one's.
    assert invoke("weights", "weights.npz").stdout.startswith("weights.npz: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flow.npz", "--format", "xml"], "--format"),
        (["flow.npz", "--array", "log_norm"], "--array"),
        (["flow.npz", "--values", "--array", "nothing"], "--array"),
        (["memory.npz", "--values"], "--values"),
        (["missing.npz"], "missing.npz"),
    ],
)
def test_what_cannot_be_is_said(invoke, flow, tmp_path, arguments, said):
    gs.MemoryEstimate(title="run", parts={"gates": 3}).save(tmp_path / "memory.npz")
    done = invoke("show", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""
