"""``--inputs`` and what says how it is read: a line of each command, columns, the first axis, the scale."""

import numpy as np
import pytest

import gatescope as gs

pytestmark = pytest.mark.usefixtures("blank_figures")
SMALL = ["--hidden-size", 5, "--dtype", "float64"]
ONE = [*SMALL, "--cell", "lstm"]


def lines_of(done):
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "command", [["run", *ONE], ["compare", "--cells", "lstm", *SMALL], ["measure", "half-life", *ONE]]
)
def test_a_command_says_how_it_read_its_inputs(command, invoke, tmp_path):
    rows = "\n".join(f"2020-{1 + k // 28:02}-{1 + k % 28:02},{k % 7},{k % 5}" for k in range(60))
    (tmp_path / "x.csv").write_text(f"date,open,close\n{rows}\n")
    said = (
        "T = 50 steps, B = 1 sequence, I = 2 inputs, the first of 60; open, close; left out: 'date' (dates)"
    )
    assert f"x.csv: {said}" in lines_of(invoke(*command, "--inputs", "x.csv", "--steps", 50))


def test_the_series_that_comes_with_it(invoke):
    lines = lines_of(invoke("run", "--overwrite", *ONE))
    assert lines[0] == "the Santa Fe laser series: T = 10,093 steps, B = 1 sequence, I = 1 input"


def test_training_says_what_it_trains_on(invoke, tmp_path):
    rows = "\n".join(f"{k},{k % 7}" for k in range(60))
    (tmp_path / "x.csv").write_text(f",y\n{rows}\n")
    done = invoke("train", "own", "--data", "x.csv", *SMALL, "--epochs", 1)
    first, second, *_ = lines_of(done)
    assert first == "x.csv: T = 60 steps, B = 1 sequence, I = 1 input; y; left out: column 1 (an index)"
    assert second == "own of x.csv: T = 47 steps, B = 1 sequence, I = 1 input, to train on"
    assert done.stderr == ""


def test_training_reads_a_table_as_the_other_commands_do(invoke, tmp_path):
    rows = "\n".join(f"2020-{1 + k // 28:02}-{1 + k % 28:02},{k % 7},{k % 5},A" for k in range(60))
    (tmp_path / "x.csv").write_text(f"date,open,close,symbol\n{rows}\n")
    options = ["train", "own", "--data", "x.csv", *SMALL, "--epochs", 1, "--overwrite"]
    (line, *_) = lines_of(invoke(*options, "--columns", "close,open"))
    assert line == "x.csv: T = 60 steps, B = 1 sequence, I = 2 inputs; close, open"
    (line, *_) = lines_of(invoke(*options, "--skip-columns", "symbol,open"))
    assert line.endswith("I = 1 input; close; left out: 'date' (dates), 'open' (skipped), 'symbol' (skipped)")
    assert gs.load(tmp_path / "run.npz").model.input_size == 1
    done = invoke(*options, "--columns", "high")
    assert "--columns 'high' is no column of 'x.csv'; its columns are date, open, close" in done.stderr
    (tmp_path / "x.csv").write_text("0\n" + "\n".join(f"{(k * k + 1) % 7 / 7:.3f}1" for k in range(60)))
    done = invoke(*options)
    assert done.exit_code == 2
    assert "line 1 (0) may be names of columns" in done.stderr
    assert "say which with --header/--no-header" in done.stderr
    for option, steps in (("--header", 60), ("--no-header", 61)):
        (line, *_) = lines_of(invoke(*options, option))
        assert line.startswith(f"x.csv: T = {steps} steps, B = 1 sequence, I = 1 input")


def test_training_on_a_batch_first_file(invoke, tmp_path):
    values = np.random.default_rng(0).standard_normal((6, 40, 2))
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", inputs=values, targets=values.cumsum(axis=1)[..., 0])
    options = [*SMALL, "--epochs", 1, "--overwrite"]
    (line, *_) = lines_of(invoke("train", "own", "--data", "x.npy", *options))
    assert line.endswith("if these are 6 sequences of 40 steps, give --batch-first")
    lines = lines_of(invoke("train", "own", "--data", "x.npy", "--batch-first", *options))
    assert lines[0] == "x.npy: T = 40 steps, B = 6 sequences, I = 2 inputs"
    note = invoke("train", "own", "--data", "x.npz", "--set", "test_fraction=0", *options).stderr
    assert "T = 6 steps of B = 40 sequences; if they are (B, T, I), give --batch-first, and if not" in note
    (line, *_) = lines_of(invoke("train", "own", "--data", "x.npz", "--batch-first", *options))
    assert line == "own of x.npz: T = 40 steps, B = 5 sequences, I = 2 inputs, to train on"


REFUSED = [
    (["own", "--data", "x.npz", "--columns", "1"], "--columns '1' is for a table, and own reads an npz"),
    (["own", "--data", "x.npz", "--no-header"], "--no-header is for a table, and own reads an npz"),
    (["laser", "--columns", "1"], "--columns '1' is for the table of own"),
    (["adding", "--batch-first"], "--batch-first goes with own, not with adding"),
    (["own", "--data", "x.npz", "--set", "batch_first=true"], "has an option of its own; give --batch-first"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda value: " ".join(value)[:30])
def test_training_refuses_what_would_be_ignored(arguments, said, invoke, tmp_path):
    np.savez(tmp_path / "x.npz", inputs=np.zeros((9, 9, 1)), targets=np.zeros((9, 9)))
    done = invoke("train", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.stderr


def test_columns_are_chosen(invoke, tmp_path):
    rows = "\n".join(f"2020-{1 + k // 28:02}-{1 + k % 28:02},{k % 7},{k % 5},A" for k in range(40))
    (tmp_path / "x.csv").write_text(f"date,open,close,symbol\n{rows}\n")
    invoke("run", "--overwrite", *ONE, "--inputs", "x.csv", "--columns", "close,open")
    inputs = gs.load(tmp_path / "trace.npz").inputs[:, 0]
    np.testing.assert_array_equal(inputs, [[k % 5, k % 7] for k in range(40)])
    (line, *_) = lines_of(
        invoke("run", "--overwrite", *ONE, "--inputs", "x.csv", "--skip-columns", "symbol,open")
    )
    assert line.endswith("I = 1 input; close; left out: 'date' (dates), 'open' (skipped), 'symbol' (skipped)")
    done = invoke("run", "--overwrite", *ONE, "--inputs", "x.csv", "--columns", "high")
    assert (
        "--columns 'high' is no column of 'x.csv'; its columns are date, open, close, symbol" in done.stderr
    )
    assert (
        "--columns 'y' is for a file; give --inputs too"
        in invoke("run", "--overwrite", *ONE, "--columns", "y").stderr
    )


def test_the_first_axis_is_asked_about(invoke, tmp_path):
    values = np.random.default_rng(0).standard_normal((3, 40, 2))
    np.save(tmp_path / "x.npy", values)
    done = invoke("measure", "gradient-flow", *ONE, "--inputs", "x.npy")
    said = "x.npy: T = 3 steps, B = 40 sequences, I = 2 inputs; if these are 3 sequences of 40 steps"
    assert lines_of(done)[0] == f"{said}, give --batch-first"
    assert done.stderr == ""
    (line, *_) = lines_of(
        invoke("run", "--overwrite", *ONE, "--inputs", "x.npy", "--batch-first", "--steps", 30)
    )
    assert line == "x.npy: T = 30 steps, B = 3 sequences, I = 2 inputs, the first of 40"
    inputs = gs.load(tmp_path / "trace.npz").inputs
    np.testing.assert_array_equal(inputs, values.swapaxes(0, 1)[:30])


@pytest.mark.slow
def test_the_scale_is_applied_and_kept(invoke, tmp_path):
    steps = np.random.default_rng(0).standard_normal(300).cumsum()
    walk = 133 + 9 * (steps - steps.mean()) / steps.std()
    np.save(tmp_path / "x.npy", np.stack([walk, np.full(300, 7.0)], axis=1))
    done = invoke("measure", "half-life", *ONE, "--inputs", "x.npy")
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("note: The inputs saturate the gates: ")
    assert "with inputs of mean 133 and standard deviation 9" in done.stderr
    assert "--standardize" in done.stderr
    done = invoke("measure", "half-life", *ONE, "--inputs", "x.npy", "--standardize", "--out", "two")
    said = "T = 300 steps, B = 1 sequence, I = 2 inputs; standardized by its own mean 133, 7 and sd 9, 0"
    assert lines_of(done)[0] == f"x.npy: {said}"
    assert done.stderr == ""
    scale = gs.load(tmp_path / "two" / "half_life.npz").provenance["inputs_scale"]
    np.testing.assert_allclose((scale["mean"], scale["standard_deviation"]), ([133, 7], [9, 0]), atol=1e-9)
    lines_of(invoke("run", "--overwrite", *ONE, "--inputs", "x.npy", "--standardize"))
    trace = gs.load(tmp_path / "trace.npz")
    np.testing.assert_allclose(trace.inputs[:, 0, 0], (walk - 133) / 9, atol=1e-9)
    assert not trace.inputs[:, 0, 1].any()  # what does not change is not divided
    assert trace.provenance["inputs_scale"] == scale


def test_padding_does_not_count_in_the_scale(invoke, tmp_path):
    inputs = np.random.default_rng(0).standard_normal((20, 2, 1)) + 50
    inputs[8:, 1] = 0
    np.savez(tmp_path / "x.npz", inputs=inputs, lengths=[20, 8])
    lines_of(invoke("run", "--overwrite", *ONE, "--inputs", "x.npz", "--standardize"))
    trace = gs.load(tmp_path / "trace.npz")
    values = trace.inputs[trace.mask]
    assert abs(values.mean()) < 1e-12
    assert abs(values.std() - 1) < 1e-12
    assert not trace.inputs[8:, 1].any()
