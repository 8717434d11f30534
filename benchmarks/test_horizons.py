"""The benchmark of long horizons: its known answers are right, an error is seen, and an interrupted run goes on."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatescope as gs
from benchmarks import horizons, known_gradients, measure_tables

STEPS, UNITS = 20_000, 8


def flow_of(params: gs.Params) -> gs.GradientFlow:
    inputs = np.random.default_rng(1).standard_normal((STEPS, 1))
    return gs.gradient_flow(params, inputs, of="c", wrt="c", threads=1)


@pytest.mark.parametrize("name", known_gradients.NETWORKS)
def test_the_known_gradients_are_right(name: str) -> None:
    params = known_gradients.network(name, UNITS, "float64")
    found = known_gradients.compared(params, flow_of(params))
    # No more roundings of 1.1e-16 than there are multiply-adds for a unit in a step, all in one direction.
    assert found["error_nats"] < STEPS * 4 * UNITS * 1.2e-16
    # ln f loses the digits of f that 1 has before it: 1.2e-4 of 1 here.
    assert found["gates_error_nats"] < STEPS * 4 * 1.2e-16
    assert found["known_last_log_norm"] == pytest.approx(-1.2e-4 * STEPS, rel=0.05)
    assert list(found["errors_up_to"]) == ["100", "1000", "10000"]


def test_an_error_of_one_rounding_a_step_is_seen() -> None:
    params = known_gradients.network("gate", UNITS, "float32")
    flow = flow_of(params)
    right = known_gradients.compared(params, flow)
    off = dataclasses.replace(flow, log_norm=flow.log_norm + flow.lag[:, None] * 2.0**-24)
    assert known_gradients.compared(params, off)["error_nats"] > 10 * right["error_nats"]


def test_units_that_differ_have_no_known_gradient() -> None:
    params = known_gradients.network("gate", UNITS, "float32")
    bias = params.bias_ih.copy()
    bias[UNITS] += 1
    with pytest.raises(AssertionError, match="units differ"):
        known_gradients.used_gates(dataclasses.replace(params, bias_ih=bias))
    moving = dataclasses.replace(params, weight_ih=np.ones_like(params.weight_ih))
    with pytest.raises(AssertionError, match="nothing is known"):
        known_gradients.used_gates(moving)


def test_lags_of_the_longest_run_are_chosen() -> None:
    assert horizons.chosen_lags(horizons.EVERY_LAG) is None
    lags = horizons.chosen_lags(100_000_000)
    assert lags is not None
    assert (lags[0], lags[1], lags[-1]) == (0, 1, 100_000_000)
    assert 50_000 < lags.size <= horizons.MOST_LAGS + 1
    assert horizons.dtypes(100_000_000) == ("float32",)


@pytest.mark.skipif(os.name == "nt", reason="SIGINT")
def test_a_run_goes_on_after_an_interrupt(tmp_path: Path) -> None:
    steps = 1_000_000
    job: dict[str, Any] = {"path": str(tmp_path / "inputs.npy"), "dtype": "float32", "network": "random"}
    job |= {"hidden_size": UNITS, "threads": 1, "layers": 1}
    horizons._write_inputs(tmp_path / "inputs.npy", steps, "float32")
    whole = horizons._work(**job, save=str(tmp_path / "saved.npy"))
    assert whole["lags"] == steps + 1
    # Interrupted after a tenth of the time that it took here: the other process may be as much faster.
    row = horizons._resumed(job, whole["seconds"] / 5, np.load(tmp_path / "saved.npy"))
    assert row["same_bits"]
    assert not (tmp_path / "state").exists()
    assert "**gave other bits**" in measure_tables._resumed({**row, "same_bits": False})


def test_the_table_says_lags_errors_and_what_was_missed() -> None:
    run = {"steps": 1000, "dtype": "float32", "seconds": 3.0, "target_seconds": 2.0, "others_share": 0.0}
    run |= {"peak_bytes": 2**30, "target_bytes": 2**29}
    known = {"network": "dense", "dtype": "float32", "steps": 1000, "known_last_log_norm": -1234.56}
    known |= {"error_nats": 0.00123, "relative_error": 1e-6, "gates_error_nats": 0.5}
    resumed = {"steps": 1000, "dtype": "float32", "interrupted_after_seconds": 70.0, "seconds_after": 80.0}
    resumed |= {"state_bytes": 2**21, "same_bits": True}
    data: dict[str, Any] = {
        "provenance": {"cpu": "a machine", "date": "2000-01-01"},
        "threads": 2,
        "runs": [run, {**run, "lags": 50, "seconds": 1.0, "peak_bytes": 2**20}],
    }
    text = measure_tables.horizons(data)
    assert (
        "| T=1,000, float32, every lag | **3 s** (missed) | 2 s | **1,024 MiB** (missed) | 0.5 GiB |" in text
    )
    assert "| T=1,000, float32, 50 lags | 1 s | 2 s | 1 MiB | 0.5 GiB |" in text
    assert "known answer" not in text
    text = measure_tables.horizons({**data, "known_gradients": [known], "resumed": resumed})
    assert "| recurrent weights, too | -1,234.6 | 0.0012 nats | 1.0e-06 | 0.5 nats |" in text
    assert "it took 80 s more and gave the same bits" in text
