"""The table of what was published and what was measured: it can come out either way."""

import dataclasses

import numpy as np
import pytest
from helpers.curves import as_published, made

from gatescope.datatypes.long_series import Interval
from gatescope.experiments.long_series import report
from gatescope.experiments.long_series.published import beside_published


def table(result):
    return {row.quantity: row for row in beside_published(result)}


SECONDS = np.array([np.linspace(1, 1.1, 10), 0.96 * np.linspace(1, 1.1, 10)])
DECIDED = (
    "lower median curve",
    "crossing",
    "final loss, GRU / LSTM",
    "volatility, LSTM / GRU",
    "GRU trains faster",
)


def test_curves_like_the_published_ones_agree_with_them():
    rows = table(made(as_published(), seconds=SECONDS))
    assert {name: rows[name].agrees for name in DECIDED} == dict.fromkeys(DECIDED, "yes")
    assert all(row.agrees == "-" for name, row in rows.items() if name not in DECIDED)
    assert rows["GRU trains faster"].measured == "4 [4, 4] % of the time saved"
    assert rows["GRU trains faster"].published == "yes, by 3.84 % of the time (agrees: by however much)"
    assert "GRU lower from epoch 47" in rows["crossing"].measured
    assert "in 10 of 10" in rows["crossing"].measured
    assert rows["loss at epoch 1, LSTM"].published == "4.5"
    assert rows["final loss, GRU / LSTM"].published == "0.87"


def crossing_at(epoch):
    """Curves of which the GRU's is the lower one from that epoch."""
    lstm = np.full(1000, 2.0)
    gru = np.where(np.arange(1, 1001) < epoch, 2.2, 1.8)
    return made([[lstm] * 10, [gru] * 10])


@pytest.mark.parametrize(
    ("epoch", "agrees"),
    [(30, "no"), (234, "no"), (235, "yes"), (470, "yes"), (940, "yes"), (941, "no"), (975, "no")],
)
def test_a_crossing_agrees_within_a_factor_of_two_of_the_published_epoch(epoch, agrees):
    row = table(crossing_at(epoch))["crossing"]
    assert f"GRU lower from epoch {epoch}" in row.measured
    assert row.agrees == agrees
    assert row.published == "GRU lower from about epoch 470 (agrees: 235 to 940)"


def test_a_gru_that_is_lower_from_the_start_crosses_nowhere():
    row = table(crossing_at(1))["crossing"]
    assert row.measured.startswith("the median curves do not cross")
    assert row.agrees == "no"


def test_runs_that_diverged_are_not_calm_in_the_table():
    curves = as_published()
    curves[0, 1:, 700:] = np.nan
    rows = table(made(curves))
    (name,) = (name for name in rows if name.startswith("spikes above") and name.endswith("LSTM"))
    assert rows[name].measured == f"{made(curves).spikes()[0, 0]:g} a run"
    curves[0] = np.nan
    assert table(made(curves))[name].measured == "-"


def test_the_other_way_round_they_do_not():
    rows = table(made(as_published()[::-1], seconds=SECONDS[::-1]))
    assert {name: rows[name].agrees for name in DECIDED} == dict.fromkeys(DECIDED, "no")


def test_what_the_seeds_do_not_decide_is_undecided():
    rng = np.random.default_rng(1)
    curve = 2 * np.exp(0.02 * rng.standard_normal((2, 10, 1000)) + 0.2 * rng.standard_normal((2, 10, 1)))
    rows = table(made(curve, seconds=1 + 0.1 * rng.standard_normal((2, 10))))
    for name in DECIDED[2:]:
        assert rows[name].agrees == "undecided"


def test_a_smaller_run_says_preliminary_everywhere(tmp_path):
    result = made(as_published(3, 700))
    assert result.summary().startswith("preliminary: ")
    assert report.sentences(result)[0].startswith("preliminary: ")
    agrees = {row.agrees for row in beside_published(result)}
    assert agrees <= {"-", "preliminary: yes", "preliminary: no", "preliminary: undecided"}
    assert "preliminary" in report.markdown(result)
    full = report.markdown(made(as_published()))
    assert "preliminary" not in full
    assert "Shape and order of the curves are compared, not absolute losses." in full


def test_epochs_that_were_not_reached_are_not_compared():
    rows = table(made(as_published(3, 100)))
    assert rows["crossing"].agrees == rows["lower median curve"].agrees == "-"
    assert table(made(as_published(3, 959)))["crossing"].agrees == "-"
    assert table(made(as_published(3, 960)))["crossing"].agrees == "preliminary: yes"
    assert "1 to 100" not in rows["lower median curve"].measured
    tiny = table(made(as_published(1, 2)))
    assert tiny["loss at epochs 60 to 90, LSTM"].measured == "-"
    assert tiny["lower median curve"].measured == "no such epochs"


@pytest.mark.parametrize("epochs", [3, 90, 200, 399])
def test_unrest_is_not_judged_from_a_few_epochs(epochs):
    for row in beside_published(made(as_published(3, epochs))):
        assert row.agrees == "-" or not row.quantity.startswith(("volatility", "spikes")), row


def test_unrest_is_judged_from_as_many_epochs_as_were_published():
    assert table(made(as_published(3, 400)))["volatility, LSTM / GRU"].agrees.startswith("preliminary: ")


def test_the_rules_of_agreement_are_reported():
    text = report.markdown(made(as_published(2, 30)))
    for part in ("the side of 1", "whatever its size", "epochs 235 to 940", "fewer than 400 epochs"):
        assert part in text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(1.0134, 0.99612, 1.0249), "1.01 [0.996, 1.02]"),
        (Interval(1.0134, 1.0013, 1.0249), "1.013 [1.001, 1.025]"),  # three digits would put 1 into it
        (Interval(0.98, 0.97, 0.99996), "0.98 [0.97, 0.99996]"),
        (Interval(1.0, 1.0, 1.0), "1 [1, 1]"),
        (Interval(2.5, np.nan, np.nan), "2.5"),
        (Interval(np.nan, np.nan, np.nan), "-"),
    ],
)
def test_an_interval_is_seen_to_lie_on_its_side_of_one(interval, text):
    assert interval.text() == text


def test_a_course_that_is_too_short_to_judge_by_is_not():
    row = table(made(as_published(epochs=300), seconds=SECONDS))["final loss, GRU / LSTM"]
    assert row.agrees == "-"


def test_other_cells_are_shown_beside_nothing():
    rows = table(made(as_published()[:1], cells=("rnn",)))
    assert rows["loss at epoch 1, RNN"].published == "-"
    assert not any(name in rows for name in DECIDED)


def test_the_choices_are_reported():
    text = report.markdown(made(as_published(), lookback=32, data_seed=5))
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


@pytest.mark.parametrize(
    "other", [{"hidden_size": 4}, {"lr": 0.01}, {"clip_norm": 5.0}, {"clamp": {"i": 1.0}}]
)
def test_what_is_not_as_published_is_not_called_so(other):
    result = made(as_published())
    assert "Training, as published: one layer of 16 units" in report.markdown(result)
    fields = {"hidden_size": other["hidden_size"]} if "hidden_size" in other else {}
    settings = {**result.settings, **other}
    text = report.markdown(dataclasses.replace(result, settings=settings, **fields))
    assert "as published" not in text
    assert f"Training: one layer of {fields.get('hidden_size', 16)} units" in text
    assert "Published: 16 units, learning rate 0.001, norm 1." in text
    assert ("Gates that keep a value: i = 1." in text) == ("clamp" in other)


def test_another_number_of_units_is_reported_first():
    text = report.markdown(made(as_published(), hidden_size=4))
    assert text.startswith(
        "# preliminary: LSTM, GRU on 40 series x 20,000 steps: 1,000 epochs, 10 seeds, 4 units"
    )
    assert "10 seeds and 16 units" in text


def test_runs_that_diverged_are_reported():
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
