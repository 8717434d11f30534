"""The table of what was published and what was measured: it can come out either way."""

import dataclasses

import numpy as np
import pytest
from made_curves import as_published, made

from gatescope.experiments import long_series_report as report
from gatescope.experiments.published import beside_published


def table(result):
    return {row.quantity: row for row in beside_published(result)}


SECONDS = np.array([np.linspace(1, 1.1, 10), 0.96 * np.linspace(1, 1.1, 10)])
DECIDED = (
    "lower median curve",
    "crossing",
    "final loss, GRU / LSTM",
    "volatility, LSTM / GRU",
    "time the GRU saves",
)


def test_curves_like_the_published_ones_agree_with_them():
    found = table(made(as_published(), seconds=SECONDS))
    assert {name: found[name].agrees for name in DECIDED} == dict.fromkeys(DECIDED, "yes")
    assert all(row.agrees == "-" for name, row in found.items() if name not in DECIDED)
    assert found["time the GRU saves"].measured == "4 [4, 4] %"
    assert found["time the GRU saves"].published == "3.84 %"
    assert "GRU lower from epoch 47" in found["crossing"].measured
    assert "in 10 of 10" in found["crossing"].measured
    assert found["loss at epoch 1, LSTM"].published == "4.5"
    assert found["final loss, GRU / LSTM"].published == "0.87"


def test_the_other_way_round_they_do_not():
    found = table(made(as_published()[::-1], seconds=SECONDS[::-1]))
    assert {name: found[name].agrees for name in DECIDED} == dict.fromkeys(DECIDED, "no")


def test_what_the_seeds_do_not_decide_is_undecided():
    rng = np.random.default_rng(1)
    curve = 2 * np.exp(0.02 * rng.standard_normal((2, 10, 1000)) + 0.2 * rng.standard_normal((2, 10, 1)))
    found = table(made(curve, seconds=1 + 0.1 * rng.standard_normal((2, 10))))
    for name in DECIDED[2:]:
        assert found[name].agrees == "undecided"


def test_a_smaller_run_says_preliminary_everywhere(tmp_path):
    result = made(as_published(3, 700))
    assert report.title(result).startswith("preliminary: ")
    assert report.sentences(result)[0].startswith("preliminary: ")
    agrees = {row.agrees for row in beside_published(result)}
    assert agrees <= {"-", "preliminary: yes", "preliminary: no", "preliminary: undecided"}
    assert "preliminary" in report.markdown(result)
    full = report.markdown(made(as_published()))
    assert "preliminary" not in full
    assert "Shape and order of the curves are compared, not absolute losses." in full


def test_epochs_that_were_not_reached_are_not_compared():
    found = table(made(as_published(3, 100)))
    assert found["crossing"].agrees == found["lower median curve"].agrees == "-"
    assert "1 to 100" not in found["lower median curve"].measured
    tiny = table(made(as_published(1, 2)))
    assert tiny["loss at epochs 60 to 90, LSTM"].measured == "-"
    assert tiny["lower median curve"].measured == "no such epochs"


def test_other_cells_are_shown_beside_nothing():
    found = table(made(as_published()[:1], cells=("rnn",)))
    assert found["loss at epoch 1, RNN"].published == "-"
    assert not any(name in found for name in DECIDED)


def test_the_choices_are_told():
    text = report.markdown(made(as_published(), window=32, data_seed=5))
    for part in (
        "last 32 price changes",
        "7 outputs",
        "discount 0.99",
        "data seed 5",
        "norm of 1",
        "1e-07",
        "Keras",
    ):
        assert part in text


def test_runs_that_diverged_are_told_of():
    curves = as_published()
    curves[1, 3, 500:] = np.nan
    assert "GRU: 1 of 10 runs diverged" in report.markdown(made(curves))


def test_the_report_is_four_files(tmp_path):
    result = made(as_published(2, 60))
    files = report.write_report(result, tmp_path)
    assert [file.name for file in files] == list(report.FILES)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    before = [file.read_bytes() for file in files]
    report.write_report(result, tmp_path)
    assert [file.read_bytes() for file in files] == before
    rows = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows} == {3}


@pytest.mark.parametrize("field", ["lr", "clip_norm", "epsilon"])
def test_settings_are_those_of_the_run(field):
    result = made(as_published(2, 30))
    other = dataclasses.replace(result, settings={**result.settings, field: 0.125})
    assert "0.125" in report.markdown(other)
