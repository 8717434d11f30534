"""The benchmarks' own parts: a wrong peer is caught, the table says what the JSON says, bounds are right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core import event

from benchmarks import cold_start, compile_times, floor, measure_tables, peers, scaling, table, timing
from benchmarks.problem import make_problem
from benchmarks.results_file import ResultsFile, write_results
from benchmarks.rows import FORWARD, ROWS, TRAIN, Row, select


@pytest.mark.parametrize("name", ["outputs", "weight_hh"])
def test_a_peer_that_differs_is_refused(name: str) -> None:
    ours = {"outputs": np.ones((3, 2)), "weight_hh": np.ones((2, 2))}
    assert max(timing.disagreement(ours, ours, "float64").values()) == 0
    for wrong in (1 + 1e-9, np.nan):
        other = {**ours, name: ours[name] * wrong}
        with pytest.raises(AssertionError, match=name):
            timing.disagreement(ours, other, "float64")


def machine(**changes: Any) -> floor.Machine:
    """Round numbers: 1e9 of everything a second."""
    one = dict.fromkeys(("1", "2", "3"), 1e9)
    base = floor.Machine(
        dtype="float32",
        cores=2,
        lanes=16,
        registers=32,
        fma=1e9,
        load=one,
        cache={"1": 1 << 15, "2": 1 << 20, "3": 1 << 24},
        write_new=1e9,
        write_used=1e9,
        activation={"sigmoid": 1e9, "tanh": 1e9},
        chain={cell: {"forward": 1.0, "backward": 2.0} for cell in ("rnn", "lstm", "gru")},
    )
    return replace(base, **changes)


def test_bounds_are_the_stated_counts() -> None:
    (row,) = select(["lstm-b40-i1-h16-t20000-float32"])
    times = floor.bounds(row, machine())
    assert times["forward"]["products"] == pytest.approx(40 * 4 * 16 * 17 / 2e9, rel=1e-12)
    assert times["backward"]["products"] == pytest.approx(2 * 40 * 4 * 16 * 17 / 2e9, rel=1e-12)
    assert times["forward"]["activations"] == pytest.approx(40 * 16 * 5 / 2e9, rel=1e-12)
    assert times["forward"]["stored"] == pytest.approx(40 * 16 * 6 * 4 / 1e9, rel=1e-12)
    assert "latency" not in times["forward"]


def test_bounds_of_two_layers_are_added_up() -> None:
    (row,) = select(["lstm-b32-i64-h2x128"])
    assert row.input_sizes == (64, 128)
    lower, upper = (replace(row, layers=1, input_size=size) for size in row.input_sizes)
    times, low, high = (floor.bounds(each, machine())["backward"] for each in (row, lower, upper))
    assert low["products"] < high["products"]
    assert times == {name: pytest.approx(low[name] + high[name], rel=1e-12) for name in times}
    alone = replace(row, batch=1)  # the layers wait for themselves at the same time
    assert floor.bounds(alone, machine())["forward"]["latency"] == pytest.approx(1, rel=1e-3)


def test_a_key_means_one_row() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    (row,) = select(["lstm-b32-i64-h2x128-t1000-float32"])
    assert row.title == "LSTM B=32 I=64 H=2 x 128 T=1,000"
    for other in (replace(row, steps=999), replace(row, layers=1), replace(row, layers=3)):
        assert other.key != row.key


def test_torch_compile_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_compile = pytest.importorskip("benchmarks.peers.torch_compile")
    (row,) = select(["lstm-b32-i64-h2x128"])
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(peers.MissingPeer, match="there is no 'no-such-compiler'"):
        torch_compile.Competitor(make_problem(row.shortened(1)), 1)


def test_one_sequence_waits_for_its_chain() -> None:
    (row,) = select(["lstm-b1-i1-h16-t20000-float32"])
    assert floor.floor(row, machine())[TRAIN]["us_per_step"] == pytest.approx(3e6, rel=1e-3)
    assert floor.floor(row, machine())[FORWARD]["limit"] == "latency"


def results(ratio: float, target: float | None) -> dict[str, Any]:
    row = next(row for row in ROWS if row.key == "lstm-b1-i1-h16-t20000-float32")
    us = {"median": 0.25, "low": 0.2, "high": 0.3}
    comparison = {
        "peer": "onnxruntime",
        "pass": FORWARD,
        "ours_us_per_step": us,
        "ratio": ratio,
        "target": target,
        "met": None if target is None else ratio >= target,
        "others": 0.0,
    }
    return {
        "provenance": {"cpu": "a machine", "date": "2000-01-01", "versions": {"numpy": "2"}},
        "protocol": {"threads": 2},
        "rows": [
            {
                "dtype": "float32",
                "title": row.title,
                "targets": dict(row.targets),
                "comparisons": [comparison],
                "skipped": {"jax": "not installed"},
                "floor": {FORWARD: {"share": 0.4}},
            }
        ],
    }


def test_table_shows_wins_and_losses() -> None:
    won, missed = table.make_table(results(3.0, 2.5)), table.make_table(results(2.0, 2.5))
    assert "0.25 (40 %)" in won
    assert "3 (≥ 2.5)" in won
    assert "1 of 1 targets are met, and 0 of 1 comparisons are lost" in won
    assert "**2** (≥ 2.5, missed)" in missed
    assert "not run" in missed
    assert "0 of 1 targets are met, and 0 of 1 comparisons are lost" in missed


@pytest.mark.parametrize(("target", "cell"), [(1.0, "**0.9** (≥ 1, lost)"), (None, "**0.9** (lost)")])
def test_a_row_that_a_peer_wins_is_printed_as_lost(target: float | None, cell: str) -> None:
    lost = table.make_table(results(0.9, target))
    assert f"| {cell} |" in lost
    assert "and 1 of 1 comparisons are lost" in lost
    assert "| 1.1 |" in table.make_table(results(1.1, None))


def test_a_disturbed_row_is_marked_and_not_counted() -> None:
    data = results(3.0, 2.5)
    data["rows"][0]["comparisons"][0]["others"] = 0.2
    text = table.make_table(data)
    assert "*LSTM B=1 I=1 H=16 T=20,000*" in text
    assert "0 of 0 targets are met, and 0 of 0 comparisons are lost" in text
    assert "took at most 20 % of the machine beside a row" in text


def test_disturbed_results_do_not_replace_those_that_are_committed(tmp_path: Path, capsys: Any) -> None:
    committed, data = tmp_path / "cpu.json", results(3.0, 2.5)
    assert write_results(committed, data, committed) == committed
    before = committed.read_bytes()
    data["rows"][0]["comparisons"][0]["others"] = 0.2
    data["second_thread"] = [
        {"cell": "rnn", "n": 4, "others_share": 0.3},
        {"cell": "gru", "n": 4, "others_share": 0.01},
    ]
    beside = write_results(committed, data, committed)
    assert beside == tmp_path / "cpu.disturbed.json"
    assert json.loads(beside.read_text()) == data
    assert committed.read_bytes() == before
    said = capsys.readouterr().out
    assert (
        f"not replaced: {committed}; others took more than 5% beside LSTM B=1 I=1 H=16 T=20,000, rnn 4"
        in said
    )
    assert f"written: {beside}" in said
    assert write_results(tmp_path / "mine.json", data, committed) == tmp_path / "mine.json"


def test_results_that_are_not_finished_do_not_either(tmp_path: Path) -> None:
    committed = tmp_path / "gpu.json"
    first, rows = ResultsFile(committed, committed), [{"key": "a", "others_share": 0.3}]
    assert first.write({"rows": [], "finished": False}) == committed, "nothing was there"
    assert first.write({"rows": rows, "finished": True}) == committed, "what it wrote itself"
    second = ResultsFile(committed, committed)
    assert second.write({"rows": [], "finished": False}) == tmp_path / "gpu.unfinished.json"
    assert second.write({"rows": rows, "finished": True}) == second.latest == tmp_path / "gpu.disturbed.json"
    assert json.loads(committed.read_text())["rows"] == rows
    assert second.write({"rows": [], "finished": True}) == second.latest == committed
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.json"], "what it replaces is gone"


def test_a_cold_start_that_was_disturbed_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = tmp_path / "cold_start.json"
    committed.write_text("{}")
    monkeypatch.setattr(cold_start, "RESULTS", committed)
    times = dict.fromkeys(cold_start.LIMITS, 0.1)
    monkeypatch.setattr(cold_start, "measure", lambda _: (times, {"import": 0.0, "first compare": 0.3}))
    monkeypatch.setattr(cold_start, "compiling", lambda cell: ({"forward": 1.0, "backward": 2.0}, 0.0))
    cold_start.main(["--out", str(committed)])
    assert committed.read_text() == "{}"
    beside = json.loads((tmp_path / "cold_start.disturbed.json").read_text())
    assert beside["others_share"]["first compare"] == 0.3


def test_the_table_of_first_answers_says_what_was_missed():
    data = {
        "provenance": {"cpu": "a", "cores": 2, "date": "b"},
        "seconds": {"import": 0.5, "first compare": 6.5, "second compare": 2.0},
        "limits": {"import": 1.0, "first compare": 6.0, "second compare": 2.5},
        "compiling_limit": 5.0,
        "others_share": {"second compare": 0.9},
        "compiling": {"lstm": {"read": 0.01, "forward": 2.0, "backward": 3.5}},
    }
    lines = measure_tables.first_answer(data).splitlines()
    assert "| `import gatescope` | 0.50 | 1 |" in lines
    assert "| first `gatescope compare` | **6.50** (missed) | 6 |" in lines
    assert "| *second `gatescope compare`* | 2.00 | 2.5 |" in lines
    assert (
        "| LSTM compiled: forward and backward (forward 2.00, backward 3.50) | **5.50** (missed) | 5 |"
        in lines
    )


def test_scaling_is_measured_where_there_are_cores_and_predicted_beyond() -> None:
    row = Row(cell="rnn", dtype="float32", batch=64, input_size=1, hidden_size=16, steps=64)
    one = scaling.measure(row, FORWARD, 2, {2: 0.0, 4: 0.0}, rounds=1)
    assert one["blocks"] == 4
    assert [*one["measured"]] == ["2"]
    assert one["predicted"]["64"] == one["predicted"]["4"]
    assert scaling.shares(9.0, 9.0, 1) == (0.0, 9.0)
    assert scaling.shares(8.0, 1.0, 4) == (0.0, 2.0), "never faster than the number of threads"
    assert scaling.start_seconds(2) > 0
    one |= {"one_thread_seconds": 1.0, "predicted": {"2": 0.5, "4": 0.25}, "measured": {"2": 0.625}}
    page = measure_tables.scaling({"provenance": {"cpu": "a", "date": "b"}, "cores": 2, "rows": [one]})
    assert "| 4 | 1e+03 ms | 1.60 | 2.00 | 4.00 |" in page
    assert "calls took up to 25% longer than it says" in page


def test_a_compilation_inside_another_counts_once():
    listener = compile_times.Outermost()
    with event.install_listener("numba:compile", listener):
        inner = njit(lambda x: x + 1)

        @njit
        def outer(x):
            return inner(x)

        outer(1)
    assert [*listener.seconds] == ["outer"]
    assert listener.seconds["outer"] > 0


def test_the_explorers_table_says_what_was_missed_by_our_page_alone():
    row = {"bytes": 2e6, "ready_seconds": 3.0, "pan_seconds": 0.02, "others_share": 0.0, "rounds": 3}
    data = {
        "limits": {"ready_seconds": 2.5, "pan_seconds": 0.033},
        "provenance": {"cpu": "a", "cores": 2, "date": "b"},
        "rows": [{**row, "title": "gatescope, x"}, {**row, "title": "Bokeh, x", "others_share": 0.9}],
    }
    lines = measure_tables.explorer(data).splitlines()
    assert "| gatescope, x | 2.0 MB | **3 s** (missed) | 20 ms |" in lines
    assert "| *Bokeh, x* | 2.0 MB | 3 s | 20 ms |" in lines


def test_table_goes_between_the_markers() -> None:
    readme = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    new = table.replaced(readme, "new")
    assert new == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    assert table.replaced(new, "new") == new
    with pytest.raises(ValueError, match="benchmark table"):
        table.replaced("no markers", "new")
