"""``gatescope explore``: of stored traces, and of weights over a series."""

import pytest
from helpers.command_line import SMALL

import gatescope as gs


def test_of_a_fresh_cell_with_its_gradient(invoke, tmp_path):
    done = invoke("explore", *SMALL, "--mark", "12=on set", "--out", "page.html", "--threads", 1)
    assert done.exit_code == 0, done.output
    source = (tmp_path / "page.html").read_text()
    assert '"label":"lstm"' in source
    assert '"marks":[[12,"on set"]]' in source
    assert "gradient of the state by the state" in source
    assert "page.html" in done.output


def test_of_single_units_too(invoke, tmp_path):
    done = invoke("explore", *SMALL, "--gradient-units", "1,3")
    assert done.exit_code == 0, done.output
    source = (tmp_path / "explorer.html").read_text()
    assert "Of the whole gradient half" in source
    for unit in (1, 3):
        assert f"Of the gradient of unit {unit} half" in source
    assert "half-life" in source


def test_of_stored_traces_by_the_names_of_their_files(invoke, tmp_path):
    for name in ("before", "after"):
        assert invoke("run", *SMALL, "--out", f"{name}.npz").exit_code == 0
    done = invoke("explore", "before.npz", "after.npz")
    assert done.exit_code == 0, done.output
    source = (tmp_path / "explorer.html").read_text()
    assert '"label":"before"' in source
    assert '"label":"after"' in source


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trace.npz", "--cell", "gru"], "--cell"),
        (["trace.npz", "--steps", "3"], "--steps"),
        (["trace.npz", "--gradient-units", "3"], "--gradient-units"),
        ([*SMALL, "--gradient-units", "x"], "--gradient-units"),
        ([*SMALL, "--gradient-units", "99"], "--gradient-units"),
        (["nothing.npz"], "nothing.npz"),
        (["weights.npz"], "not a trace"),
        ([*SMALL, "--mark", "x=3"], "--mark"),
        ([*SMALL, "--sequence", "4"], "--sequence"),
        ([*SMALL, "--out", "page.txt"], "--out"),
    ],
)
def test_what_is_refused(invoke, tmp_path, arguments, words):
    params = gs.init("lstm", input_size=1, hidden_size=4, seed=0, dtype="float64")
    params.save(tmp_path / "weights.npz")
    gs.run(params, gs.tasks.laser(steps=40, dtype="float64").inputs).save(tmp_path / "trace.npz")
    done = invoke("explore", *arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert not (tmp_path / "explorer.html").exists()


def test_it_opens_the_page_only_if_asked(invoke, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", opened.append)
    assert invoke("explore", *SMALL, "--no-gradients").exit_code == 0
    assert not opened
    assert invoke("explore", *SMALL, "--no-gradients", "--open").exit_code == 0
    assert opened == [str(tmp_path / "explorer.html")]
