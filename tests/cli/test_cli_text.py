"""A text from end to end: trained on, run, measured and compared by the vocabulary that the run keeps."""

import numpy as np
import pytest

import gatescope as gs

pytestmark = pytest.mark.usefixtures("blank_figures")
POEM = "to be or not to be\n"


@pytest.fixture
def run(tmp_path, invoke):
    """``run.npz``, trained on ``text.txt``, and another text of the same characters."""
    (tmp_path / "text.txt").write_text(POEM * 60)
    (tmp_path / "poem.txt").write_text("not to be\n" * 4)
    options = ["--cell", "lstm", "--hidden-size", 5, "--epochs", 1, "--sequences", 1, "--dtype", "float64"]
    done = invoke("train", "characters", "--data", "text.txt", *options)
    assert done.exit_code == 0, done.output
    return gs.load(tmp_path / "run.npz")


def test_a_text_is_read_by_the_vocabulary_of_the_run(run, invoke, tmp_path):
    assert run.provenance["vocabulary"] == "".join(sorted(set(POEM)))
    fresh = ["--cells", "rnn", "--hidden-size", 5, "--dtype", "float64"]  # a fresh cell is as wide
    said = "poem.txt: T = 25 steps, B = 1 sequence, I = 8 inputs, the first of 40; characters, by the vocabulary of run"
    for command in (["run"], ["measure", "gradient-flow"], ["compare", *fresh]):
        done = invoke(*command, "--weights", "run.npz", "--inputs", "poem.txt", "--steps", 25)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[0] == f"{said}.npz"
    text = ("not to be\n" * 4)[:25]
    expected = gs.run(
        run.best.layers[0],
        gs.read_series(tmp_path / "poem.txt", vocabulary=run.provenance["vocabulary"])[:25],
    )
    for file in ("trace.npz", "gatescope-out/data/trace_run.npz"):
        trace = gs.load(tmp_path / file)
        np.testing.assert_array_equal(trace.states, expected.states)
        assert trace.provenance["inputs_text"] == text  # which the axis of plots carries
    flow = gs.load(tmp_path / "gatescope-measured" / "gradient_flow.npz")
    assert "inputs_text" not in flow.provenance


def test_what_cannot_be_read_says_what_to_give(run, invoke, tmp_path):
    (tmp_path / "other.txt").write_text("to be or Not: to be?\n")
    options = ["--weights", "run.npz", "--inputs"]
    done = invoke("run", *options, "other.txt")
    assert done.exit_code == 2
    assert "the vocabulary of run.npz does not have 'N', character 9 of the file, nor ':', '?'" in done.stderr
    done = invoke("run", "--inputs", "poem.txt")
    assert done.exit_code == 2
    said = "'poem.txt' holds words, not numbers; a text is read with --weights of train characters"
    assert said in done.stderr
    for option in (["--standardize"], ["--columns", "1"], ["--batch-first"], ["--no-header"]):
        done = invoke("run", *options, "poem.txt", *option)
        assert done.exit_code == 2
        assert "is for numbers, and 'poem.txt' is read as a text; leave it out" in done.stderr
    np.save(tmp_path / "x.npy", np.zeros((9, 8)))
    assert "x.npy: T = 9 steps, B = 1 sequence, I = 8 inputs\n" in invoke("run", *options, "x.npy").stdout
    (tmp_path / "x.csv").write_text("to,be\n")  # whatever its name, where the weights are those of a text
    assert "does not have ',', character 2 of the file" in invoke("run", *options, "x.csv").stderr
    done = invoke("run", *options, "poem.txt", "--steps", 41)
    assert "--steps 41 is longer than poem.txt, which has 40 characters" in done.stderr
    (tmp_path / "latin.txt").write_bytes("à bon".encode("latin-1"))
    assert "is not utf-8 text at byte 0" in invoke("run", *options, "latin.txt").stderr


def test_networks_of_two_texts_are_not_compared(run, invoke, tmp_path):
    (tmp_path / "text.txt").write_text("abcabc" * 99)
    options = ["--hidden-size", 5, "--epochs", 1, "--sequences", 1, "--dtype", "float64", "--out", "abc.npz"]
    assert invoke("train", "characters", "--data", "text.txt", *options).exit_code == 0
    done = invoke("compare", "--weights", "run.npz", "--weights", "abc.npz", "--inputs", "poem.txt")
    assert done.exit_code == 2
    assert "--weights name networks of two vocabularies, of run.npz and of abc.npz" in done.stderr
