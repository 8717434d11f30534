"""The benchmarks of training: peers compute what ours does, and one that does not is refused; the tables' words."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatescope as gs
from benchmarks import epochs, learning, measure_tables, training
from benchmarks.learning_rows import ROWS, Data, Row, select
from benchmarks.results_file import ResultsFile

SMALL = [
    training.Row(name="small", cell="lstm", steps=12, sequences=5, input_size=2, hidden_size=16, heads=(1,), last=True),
    training.Row(name="small", cell="gru", steps=12, sequences=5, input_size=2, hidden_size=16, heads=(2, 1)),
]  # fmt: skip


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.key)
def test_peers_do_the_same_updates(row: training.Row) -> None:
    stack, batch = training.problem(row)
    peers = {name: training.peer(name, stack, batch, row.last) for name in training.PEERS}
    peers = {name: trainer for name, trainer in peers.items() if trainer is not None}
    if not peers:
        pytest.skip("neither PyTorch nor JAX is installed")
    timed = training.check_agreement(training.Ours(stack, batch, 1), peers)
    assert timed.keys() == peers.keys()


def test_a_peer_that_differs_is_refused() -> None:
    stack, batch = training.problem(SMALL[0])

    class Wrong(training.Ours):
        def __init__(self, factor: float) -> None:
            super().__init__(stack, batch, 1)
            self.factor = factor

        def update(self) -> float:
            return super().update() * self.factor

    for factor in (1.01, np.nan):
        with pytest.raises(AssertionError, match="wrong: the losses differ by"):
            training.check_agreement(training.Ours(stack, batch, 1), {"wrong": Wrong(factor)})


def test_a_row_is_checked_timed_and_reported() -> None:
    row = SMALL[0]
    timed = training.compare_row(row, threads=1, rounds=1, budget=1)
    assert {"ours, 1 thread"} <= timed["seconds"].keys()
    alone = {"ours": training.measured_alone(row, "ours", 1, 2)}
    assert alone["ours"]["peak_bytes"] > alone["ours"]["before_bytes"] > 0
    text = training.table({"rows": [{**asdict(row), "title": row.title, **timed, "alone": alone}]})
    assert row.title in text


def reported(ratio: float, epoch: float, others: float) -> str:
    row: dict[str, Any] = {
        "title": "LSTM",
        "minutes": 4.0,
        "target": 12.0,
        "seconds": {"ours, 1 thread": {"median": 0.2}, "ours, 2 threads": {"median": epoch}},
        "ratios": {"pytorch": ratio},
        "met": ratio >= 12,
        "alone": {"ours": {"seconds": epoch, "peak_bytes": 2**30}},
        "others": others,
    }
    return training.table({"rows": [row]})


def test_the_table_shows_wins_losses_and_disturbed_rows() -> None:
    assert "| LSTM | 200 ms | 120 ms | 13 (≥ 12) | not run | 2 min (< 4) | 1,024 MiB | not run |" in reported(
        13, 0.12, 0
    )
    lost = reported(11, 0.3, 0.2)
    assert "| *LSTM* | 200 ms | 300 ms | **11** (≥ 12, missed) | not run | **5 min** (< 4, missed) |" in lost


def side_by_side(lstm: float, others: float = 0.0) -> dict[str, Any]:
    rows = [
        {
            "cell": cell,
            "threads": n,
            "seconds": [s / n - 0.01, s / n, s / n + 0.01],
            "others": others,
            "train_seconds": s if n > 1 else None,
        }
        for cell, s in (("lstm", lstm), ("gru", 0.08))
        for n in (1, 2)
    ]
    return {"provenance": {"cpu": "a CPU", "date": "2026-11-29"}, "rows": rows}


def test_the_experiments_rows_have_the_times_that_were_measured_side_by_side() -> None:
    row = {
        "name": training.EXPERIMENT,
        "cell": "lstm",
        "title": "LSTM",
        "minutes": 4.0,
        "target": 12.0,
        "seconds": {"ours, 1 thread": {"median": 5.0}, "pytorch, 1 thread": {"median": 1.0}},
        "ratios": {"pytorch": 13.0},
        "met": True,
        "alone": {"ours": {"seconds": 7.0, "peak_bytes": 2**30}},
        "others": 0.0,
    }
    other = {**row, "name": "medium", "title": "other"}
    source = {"cpu": "a CPU", "date": "2026-11-21", "versions": {}}
    data = {"provenance": source, "protocol": {"threads": 2}, "rows": [row, other]}
    text = measure_tables.training(data, side_by_side(0.1))
    assert "| LSTM | 100 ms | 50 ms | 13 (≥ 12) | not run | 1.67 min (< 4) |" in text
    assert "| other | 5 s | not run | 13 (≥ 12) | not run | **117 min** (< 4, missed) |" in text
    assert "| *LSTM* | 100 ms |" in measure_tables.training(data, side_by_side(0.1, others=0.2))
    elsewhere = {**data, "provenance": {**source, "cpu": "another"}}
    with pytest.raises(ValueError, match=r"is of another, but epochs\.json of a CPU: measure both"):
        measure_tables.training(elsewhere, side_by_side(0.1))


@pytest.mark.slow
def test_epochs_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    epochs.main(["--smoke"])
    text = capsys.readouterr().out
    assert all(f"{cell}, {count} thread" in text for cell in ("LSTM", "GRU") for count in (1, 2))


# ---- what cells learn ----


def small(_: Path | None) -> Data:
    batch = gs.tasks.adding(steps=4, sequences=5)
    return Data(task=batch, validation=batch, test=gs.tasks.adding(steps=4, sequences=6, seed=1))


TINY = Row(
    key="tiny",
    task="adding, T=4",
    cell="lstm",
    size="5 sequences",
    hidden_size=16,
    data=small,
    below=100.0,
    criterion="MSE < 100",
    rates=(1e-3, 1e-2),
    settings={"epochs": 3},
    seeds=2,
)


def done(row: Row, row_data: dict[str, Any]) -> int:
    """Do what is missing of a row; how often it was saved."""
    saved: list[int] = []
    learning.do_row(row, row.data(None), row_data, lambda: saved.append(1), 1)
    return len(saved)


def test_a_row_is_searched_run_judged_and_resumed() -> None:
    row_data: dict[str, Any] = {"key": "tiny"}
    assert done(TINY, row_data) == 4, "two learning rates and two seeds"
    assert [run["lr"] for run in row_data["search"]] == [1e-3, 1e-2]
    assert {run["seed"] for run in row_data["search"]} == {learning.SEARCH_SEED}
    assert [run["seed"] for run in row_data["runs"]] == [0, 1]
    assert row_data["passed"]
    assert json.loads(json.dumps(row_data, allow_nan=False)) == row_data
    assert done(TINY, row_data) == 0, "nothing is done twice"
    del row_data["runs"][1]
    assert done(TINY, row_data) == 1
    text = learning.table({"rows": [row_data]})
    assert "| adding, T=4 | lstm 16 |" in text
    assert "| MSE < 100 | yes |" in text
    assert not learning.verdict(replace(TINY, below=1e-9), row_data["runs"])["passed"]
    assert not learning.verdict(replace(TINY, seeds=3), row_data["runs"])["passed"], "a seed is missing"


def test_a_bound_is_kept_by_no_nan() -> None:
    assert TINY.passed(1.0)
    assert not TINY.passed(float("nan"))
    above = replace(TINY, below=None, above=0.01)
    assert above.passed(0.2)
    assert not above.passed(0.005)


def test_the_learning_rate_is_that_of_the_lowest_loss_or_of_the_quickest() -> None:
    run = {"lr": 1e-3, "validation_loss": 0.3, "updates": 100, "message": "", "status": "finished"}
    worse = {**run, "lr": 1e-2, "validation_loss": None, "status": "diverged"}
    assert learning.choose([worse, run]) == 1e-3
    slow = {
        **run,
        "validation_loss": 0.01,
        "message": "the validation loss is below target_loss=0.02",
        "updates": 900,
    }
    quick = {**slow, "lr": 3e-3, "validation_loss": 0.011, "updates": 300}
    assert learning.choose([slow, quick, worse]) == 3e-3


def test_results_are_written_in_the_rows_order_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "learning.json"
    assert learning.read(path)["rows"] == []
    keys = [row.key for row in ROWS]
    learning.write(ResultsFile(path, path), {"format": 1, "rows": [{"key": keys[2]}, {"key": keys[0]}]}, keys)
    assert [row["key"] for row in learning.read(path)["rows"]] == [keys[0], keys[2]]
    path.write_text("[]")
    with pytest.raises(ValueError, match="not written by"):
        learning.read(path)


def test_what_was_learnt_beside_others_is_not_committed_and_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    committed = tmp_path / "learning.json"
    committed.write_text('{"format": 1, "rows": []}')
    counted: list[int] = []

    def trained(row: Row, data: Data, seed: int, lr: float, *_: Any, **__: Any) -> dict[str, Any]:
        counted.append(seed)
        numbers = {
            "validation_loss": 1.0,
            "test_loss": 1.0,
            "updates": 1,
            "seconds": 1.0,
            "others_share": 0.3,
        }
        return {"seed": seed, "lr": lr, "message": "", **numbers}

    monkeypatch.setattr(learning, "RESULTS", committed)
    monkeypatch.setattr(learning, "trained", trained)
    monkeypatch.setattr(learning, "select", lambda _: [TINY])
    for _ in range(2):  # the second goes on where the first ended
        learning.main([])
        assert json.loads(committed.read_text())["rows"] == []
        assert learning.read(tmp_path / "learning.disturbed.json")["rows"][0]["passed"]
        assert "not replaced: " in capsys.readouterr().out
    assert len(counted) == 4


def test_rows_are_chosen_by_their_keys() -> None:
    assert [row.key for row in select(["adding-100-lstm"])] == ["adding-100-lstm"]
    assert len({row.key for row in ROWS}) == len(ROWS)
    with pytest.raises(ValueError, match="fits no row"):
        select(["no such row"])


def test_the_chorales_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATESCOPE_CHORALES", raising=False)
    learning.main(["--only", "chorales-gru", "--smoke"])  # left out, and no error
    assert "not written" not in measure_tables.learning_results({"rows": []})


@pytest.mark.slow
def test_every_row_runs(capsys: pytest.CaptureFixture[str]) -> None:
    learning.main(["--smoke", "--threads", "1"])
    text = capsys.readouterr().out
    assert all(row.key in text for row in ROWS)
