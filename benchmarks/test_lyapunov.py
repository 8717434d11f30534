"""The benchmark of Lyapunov spectra: its peers compute what ours does, and one that does not is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import gatescope as gs
from benchmarks import lyapunov
from benchmarks.peers import lyapunov_numpy

SMALL = [
    lyapunov.Row(cell=cell, hidden_size=6, count=count, steps=200, numpy_steps=200, transient=20)
    for cell, count in (("lstm", 12), ("lstm", 1), ("gru", 6))
]


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.key)
def test_numpy_and_jax_do_the_same(row: lyapunov.Row) -> None:
    pytest.importorskip("jax")
    params, inputs = lyapunov.problem(row)
    expected = lyapunov_numpy.exponents(params, inputs, row.count, row.transient)
    peers = lyapunov.jax_peers(row, params, inputs)
    timed = {name: call() for name, call in peers.items()}
    assert {name: value.dtype.name for name, value in timed.items()} == {
        "jax float64": "float64",
        "jax float32": "float32",
    }
    # The same first vectors and the same steps: what is left is rounding, which QR magnifies where exponents are close.
    np.testing.assert_allclose(timed["jax float64"], expected, rtol=1e-9)
    # Float32 leaves e^8.6 roundings of the fastest direction in one that shrinks by so much more at each step.
    np.testing.assert_allclose(timed["jax float32"], expected, rtol=1e-3)


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.key)
def test_a_row_is_checked_and_timed(row: lyapunov.Row) -> None:
    timed = lyapunov.compare_row(row, threads=1, rounds=1, budget=1)
    assert timed["us_per_step"].keys() == {"ours", "ours, qr_every=1", *timed["ratios"]}
    assert timed["met"] == {n: r >= row.targets[n] for n, r in timed["ratios"].items() if n in row.targets}
    text = lyapunov.table({"rows": [{**dataclasses.asdict(row), **timed, "title": row.title}]})
    assert row.title in text


def test_a_peer_that_forgets_the_cell_state_is_refused() -> None:
    row = SMALL[0]
    params, inputs = lyapunov.problem(row)
    spectrum = gs.lyapunov_spectrum(params, inputs, transient=row.transient, checks=False, qr_every=1)
    right = lyapunov_numpy.exponents(params, inputs, row.count, row.transient)
    limit = lyapunov.APART["qr_every=1"]
    assert lyapunov.check_agreement(spectrum, {"numpy": right}, limit)["numpy"] <= limit
    slightly = right + np.where(np.arange(row.count) == 7, 1e-8, 0)
    for wrong in (slightly, right - 1, right * np.nan):
        with pytest.raises(AssertionError, match="numpy differs by"):
            lyapunov.check_agreement(spectrum, {"numpy": wrong}, limit)
    with pytest.raises(AssertionError, match="jax float32 differs by"):
        lyapunov.check_agreement(spectrum, {"jax float32": right + 1e-3}, limit)
    with pytest.raises(AssertionError, match=r"returns \(2,\)"):
        lyapunov.check_agreement(spectrum, {"numpy": right[:2]}, limit)


def test_the_table_shows_wins_losses_and_disturbed_rows() -> None:
    row: dict[str, Any] = {
        "title": "LSTM",
        "us_per_step": {"ours": {"median": 10.0}, "ours, qr_every=1": {"median": 20.0}},
        "ratios": {"numpy": 30.0, "jax float64": 0.5},
        "targets": {"numpy": 20.0, "jax float64": 1.0},
        "met": {"numpy": True, "jax float64": False},
        "others": 0.2,
    }
    text = lyapunov.table({"rows": [row]})
    assert "| *LSTM* | 10 | 20 | 30 (≥ 20) | **0.5** (≥ 1, missed) | not run |" in text


def test_a_run_alone_is_timed_against_its_target() -> None:
    run = lyapunov.Run(cell="lstm", hidden_size=6, count=2, steps=3_000, target_seconds=0.0)
    measured = lyapunov.time_run(run, threads=1, tries=1)
    params, inputs = lyapunov.problem(run)
    assert inputs.shape == (3_000, 1)
    assert measured["exponents"] == gs.lyapunov_spectrum(params, inputs, k=2).exponents[0].tolist()
    assert measured["seconds"] > 0
    assert not measured["met"]
    long = next(run for run in lyapunov.RUNS if run.steps == 10_000_000)
    assert (long.count, long.target_seconds) == (8, 120.0)
    row = {
        **dataclasses.asdict(long),
        "title": long.title,
        "seconds": 130.0,
        "met": False,
        "others_share": 0.0,
    }
    text = lyapunov.table(
        {"rows": [], "runs": [row, {**row, "seconds": 90.0, "met": True, "others_share": 0.2}]}
    )
    assert "| LSTM H=64, 8 exponents, T=10,000,000 | **130 s** (missed) | 120 s |" in text
    assert "| *LSTM H=64, 8 exponents, T=10,000,000* | 90 s | 120 s |" in text


def test_a_run_that_is_disturbed_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.5, 0.2, 0.3])

    @contextmanager
    def others_share() -> Iterator[list[float]]:
        yield [next(shares)]

    monkeypatch.setattr(lyapunov.machine, "others_share", others_share)
    run = lyapunov.Run(cell="lstm", hidden_size=6, count=2, steps=300, target_seconds=60.0)
    assert lyapunov.time_run(run, threads=1, tries=3)["others_share"] == 0.2
