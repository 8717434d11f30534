"""The GPU benchmark's own parts, without a GPU: clocks, ratios, rows, tables."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import gpu_measure, gpu_reference, gpu_table, table
from benchmarks.gpu_clock import Budget, EventTimer, WallTimer, measure, steps_for
from benchmarks.gpu_rows import FLOORS, PEER, QUICK, ROWS, select


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_budget_gives_shares_and_never_more_than_is_left() -> None:
    clock = Clock()
    budget = Budget(100, clock)
    assert budget.share(10, most=60) == 20  # twice the even share
    assert budget.share(1, most=60) == 60
    clock.now += 70
    assert budget.left() == 30
    assert budget.share(1, most=60) == 30
    clock.now += 70
    assert (budget.left(), budget.share(3, 60), budget.used()) == (0, 0, 140)


def test_steps_grow_until_a_call_takes_long_enough() -> None:
    assert steps_for(lambda steps: 1e-5 * steps, most=10**6, aim=0.1)[0] == pytest.approx(10_000, rel=0.01)
    assert steps_for(lambda steps: 1e-5 * steps, most=300, aim=0.1) == (300, None)
    assert steps_for(lambda steps: 1e-9 * steps, most=10**6, aim=0.1, late=lambda: True) == (1000, None)


def test_steps_stop_where_a_library_gives_up() -> None:
    tried = []

    def seconds(steps: int) -> float:
        tried.append(steps)
        if steps > 5000:
            raise RuntimeError("out of\nmemory")
        return 1e-6 * steps

    steps, stopped = steps_for(seconds, most=10**6, aim=0.1)
    assert steps == 1000
    assert stopped == "16,000 steps: RuntimeError: out of memory"
    assert tried[-1] == 1000, "what is measured next must have been prepared last"


class Sleeper:
    """A side whose passes take a known time on a clock of its own."""

    def __init__(self, forward: float, backward: float) -> None:
        self.passes, self.time, self.steps = (forward, backward), 0.0, 0

    def prepare(self, steps: int) -> None:
        self.steps = steps

    def set(self, problem: Any) -> None:
        pass

    def forward(self) -> str:
        self.time += self.passes[0] * self.steps
        return "kept"

    def backward(self, kept: str) -> None:
        assert kept == "kept"
        self.time += self.passes[1] * self.steps

    def release(self) -> None:
        pass


class OwnTimer(WallTimer):
    """Reads the side's clock."""

    name = "own"

    def __init__(self, side: Sleeper) -> None:
        self._side = side

    def mark(self) -> float:
        return self._side.time


def test_medians_are_a_step_and_in_microseconds() -> None:
    side = Sleeper(2e-6, 3e-6)
    side.prepare(500)
    times = measure(OwnTimer(side), side, 500, seconds=0.01, least=3, most=4)
    assert times["calls"] in (3, 4)
    assert times["forward"]["median"] == pytest.approx(2)
    assert times["backward"]["median"] == pytest.approx(3)
    assert times["both"]["median"] == pytest.approx(5)
    assert times["on_stream"]


def test_work_that_the_events_do_not_see_is_noticed() -> None:
    side = Sleeper(1e-9, 1e-9)
    side.prepare(100)
    side.backward = lambda kept: time.sleep(0.01)  # type: ignore[method-assign, assignment]
    assert not measure(OwnTimer(side), side, 100, seconds=0.01, least=2, most=2)["on_stream"]


def test_events_are_seconds() -> None:
    class Cuda:
        def event(self, timing: bool) -> Any:
            return self

        def record(self) -> None:
            pass

        def event_elapsed_time(self, start: Any, end: Any) -> float:
            return 250.0  # milliseconds, as CUDA tells them

    timer = EventTimer()
    timer._cuda = Cuda()
    assert timer.seconds(timer.mark(), timer.mark()) == 0.25


def test_rows_are_those_asked_for() -> None:
    targets = {(r.cell, r.hidden_size, r.batch, r.dtype): r.targets[PEER] for r in ROWS}
    for cell in ("lstm", "gru"):
        assert targets[cell, 16, 40, "float32"] == 3
        assert [targets[cell, 64, b, "float32"] for b in (1, 40, 256)] == [1.5] * 3
        assert [targets[cell, 256, b, "float32"] for b in (1, 40)] == [3, 3]
        assert [targets[cell, h, 40, "float64"] for h in (64, 128)] == [8, 8]
        assert [targets[cell, h, 40, "float32"] for h in (512, 1024)] == [1, 1]
    assert len({row.key for row in ROWS}) == len(ROWS)
    assert [row.targets[PEER] is None for row in ROWS] == sorted(row.targets[PEER] is None for row in ROWS)
    assert {row.key for row in select(None, quick=True)} == set(QUICK)
    assert {row.hidden_size for row in select(["h64-", "h16-"])} == {16, 64}
    with pytest.raises(ValueError, match="h65"):
        select(["h65"])


def side(us: float, **more: Any) -> dict[str, Any]:
    def quartiles(value: float) -> dict[str, float]:
        return {"median": value, "low": value, "high": value}

    times = {"forward": quartiles(0.4 * us), "backward": quartiles(0.6 * us), "both": quartiles(us)}
    return {**times, "steps": 20_000, "on_stream": True, "check": {"agrees": True}, **more}


def row_of(
    ours: float | None, peer: float | None, key: str = "lstm-b40-i1-h16-t20000-float32", **more: Any
) -> Any:
    (row,) = select([key])
    row_data: dict[str, Any] = gpu_measure.Progress(row, WallTimer(), gpu_measure.Settings()).results
    row_data |= {"check": {"agrees": True}, **more}
    if ours is not None:
        row_data["ours"] = side(ours)
    if peer is not None:
        row_data[PEER] = side(peer)
    gpu_measure.add_ratios(row_data)
    return row_data


def test_ratios_floors_and_verdicts() -> None:
    won, lost = row_of(0.8, 4.0), row_of(2.0, 4.0)
    assert won["ratio"] == pytest.approx({"forward": 5, "backward": 5, "both": 5})
    assert (won["met"], lost["met"]) == (True, False)
    assert won["floor"]["both"]["share"] == pytest.approx(sum(FLOORS[16]) / 0.8)
    assert row_of(0.8, 4.0, check={"agrees": False})["met"] is False, "a wrong result meets no target"
    assert row_of(0.8, None)["met"] is None
    assert "floor" not in row_of(0.8, 4.0, "lstm-b40-i16-h64-t100000-float64")
    other = row_of(0.8, None)
    other[PEER] = side(4.0, check={"agrees": False})
    gpu_measure.add_ratios(other)
    assert other["met"] is None
    assert "differs" in gpu_table.state_of(other)


def test_flatness_compares_one_sequence_with_many() -> None:
    rows = [
        row_of(us, None, f"lstm-b{b}-i16-h64-t100000-float32") for b, us in ((1, 0.5), (40, 0.6), (256, 0.75))
    ]
    assert gpu_measure.flatness(rows) == [{"cell": "lstm", "hidden_size": 64, "ratio_256_to_1": 1.5}]
    assert gpu_measure.flatness(rows[:2]) == []


@pytest.mark.parametrize(
    ("factor", "agrees"), [(1 + 1e-13, True), (1 + 1e-9, False), (np.nan, False), (np.inf, False)]
)
def test_results_that_differ_do_not_agree(factor: float, agrees: bool) -> None:
    expected = {"outputs": np.linspace(-1, 1, 5)}
    with np.errstate(invalid="ignore"):
        times = gpu_reference.differences({"outputs": expected["outputs"] * factor}, expected)
    assert gpu_reference.agrees(times, 1e-12) is agrees


def data(*rows: dict[str, Any], **protocol: Any) -> dict[str, Any]:
    return {
        "provenance": {
            "date": "2000-01-01",
            "versions": {"gatescope": "0"},
            "gpu": {"gpu": "a GPU", "driver": "1"},
        },
        "protocol": {"quick": False, "patterns": [], **protocol},
        "tests": {"passed": 7, "failed": {}},
        "barriers": {
            "bar_sync": [{"threads": 128, "us": 0.02, "cycles": 30}],
            "exchange": [],
            "grid_sync": [],
        },
        "rows": list(rows),
        "flatness": [{"cell": "lstm", "hidden_size": 64, "ratio_256_to_1": 1.5}],
    }


def test_markdown_shows_wins_and_losses() -> None:
    broken = row_of(None, None, "gru-b40-i1-h16-t20000-float32", failed="a | b *")
    late = row_of(None, None, "lstm-b1-i16-h64-t100000-float32", skipped="not measured: no time left")
    text = gpu_table.markdown(data(row_of(0.8, 4.0), row_of(2.0, 4.0), broken, late))
    assert "| LSTM B=40 I=1 H=16 | 0.32 | 0.48 | 0.8 (40 %) | 4 | 5 (≥ 3) |" in text
    assert "**2** (≥ 3, missed)" in text
    assert "**failed: a \\| b \\***" in text
    assert "**not measured: no time left**" in text
    assert "1 of 4 targets are met" in text
    assert "0.02 µs (128 threads)" in text
    assert "a GPU, driver 1" in text


def test_text_lists_every_row() -> None:
    rows = [row_of(0.8, 4.0), row_of(2.0, 4.0), row_of(None, None, failed="it fell over")]
    lines = gpu_table.text_table(rows).split("\n")
    assert len(lines) == 4
    assert " met" in lines[1]
    assert "MISSED" in lines[2]
    assert "it fell over" in lines[3]


@pytest.mark.parametrize("protocol", [{"quick": True}, {"patterns": ["h16"]}])
def test_a_part_of_a_run_makes_no_table(protocol: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="quick"):
        gpu_table.markdown(data(row_of(0.8, 4.0), **protocol))


def without_tables(page: str) -> str:
    """Return a page whose tables are to be made: nothing stands between their markers."""
    return re.sub(
        r"(<!-- [\w ]+ table: begin -->\n).*?(<!-- [\w ]+ table: end -->)", r"\1\2", page, flags=re.S
    )


def test_the_page_says_not_yet_measured_until_it_is(tmp_path: Path) -> None:
    results, gpu_results, page = table.RESULTS, tmp_path / "gpu.json", tmp_path / "benchmarks.md"
    # The real pages with their tables taken out: a table that is added later is here as well.
    for real in (
        table.README,
        *(table.DOCS / name for name in ("measuring.md", "claims.md", "benchmarks.md")),
    ):
        (tmp_path / real.name).write_text(without_tables(real.read_text()))
    (tmp_path / "NOTES.md").write_text(without_tables(table.NOTES.read_text()))
    arguments = ["--results", str(results), "--gpu-results", str(gpu_results), "--docs", str(tmp_path)]
    arguments += ["--readme", str(tmp_path / "README.md"), "--notes", str(tmp_path / "NOTES.md")]
    with pytest.raises(SystemExit) as stopped:
        table.main([*arguments, "--check"])
    assert "out of date" in str(stopped.value)
    table.main(arguments)
    assert "not yet measured" in page.read_text()
    table.main([*arguments, "--check"])
    gpu_results.write_text(json.dumps(data(row_of(0.8, 4.0))))
    with pytest.raises(SystemExit):
        table.main([*arguments, "--check"])
    table.main(arguments)
    assert "5 (≥ 3)" in page.read_text()
    assert "not yet measured" not in page.read_text()
    gpu_results.write_text("{")
    with pytest.raises(SystemExit, match=r"gpu\.json"):
        table.main([*arguments, "--check"])
