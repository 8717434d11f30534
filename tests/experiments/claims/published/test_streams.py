"""Two streams that agree: after how many steps, at which tolerance, and without recurrent weights as in theory."""

import dataclasses
import math

import numpy as np
import pytest

from gatescope.experiments.claims.published import streams
from gatescope.experiments.claims.study import Study
from gatescope.recurrence.initialization import init


def test_steps_until_outputs_agree():
    falling = np.exp(-np.arange(50) / 3)
    assert streams.steps_until(falling, 1e-3) == math.ceil(3 * math.log(1e3))
    assert streams.steps_until(np.r_[falling, 1.0], 1e-3) == math.inf  # it rises again
    assert streams.steps_until(np.full(5, np.nan), 1e-3) == math.inf
    assert streams.steps_until(np.zeros(5), 1e-3) == 0


def test_the_tolerance_that_comes_nearest_is_taken():
    steps = {}
    for cell, published in streams.PUBLISHED.items():
        for units, each in zip(streams.SIZES, published, strict=True):
            steps[cell, units] = each * np.array([[0.5, 0.8, 1.0, 1.3, 2.0]] * 2)
    rows = streams.beside(steps)
    assert [each.measured for each in rows[:8]] == pytest.approx([each.published for each in rows[:8]])
    assert "of five tolerances the nearest, 0.0001: 10.2 at 0.01" in rows[0].why
    lstm, gru = rows[8:]
    assert lstm.published == pytest.approx(3.19, abs=0.005)
    assert gru.published == pytest.approx(1.44, abs=0.005)
    assert gru.measured == pytest.approx(19.6 * 1.5 / math.log(1e4))


def test_streams_that_never_agree_are_no_number():
    steps = {(cell, units): np.full((2, 5), np.inf) for cell in streams.PUBLISHED for units in streams.SIZES}
    with np.errstate(invalid="ignore"):
        assert all(each.agrees is None for each in streams.beside(steps))


@pytest.mark.slow
def test_without_recurrent_weights_streams_agree_as_the_theory_says(monkeypatch):
    def without(cell, **options):
        params = init(cell, **options)
        return dataclasses.replace(params, weight_hh=0 * params.weight_hh, weight_ih=params.weight_ih / 1e3)

    monkeypatch.setattr(streams, "init", without)
    d = streams.differences("gru", 8, 0)
    early, late = (streams.steps_until(d, tolerance * d[0]) for tolerance in (1e-2, 1e-8))
    # z is sigmoid(0) but for inputs of a thousandth: 6 ln 10 times 1.44 steps, and each count is off by up to 1.
    assert late - early == pytest.approx(6 * math.log(10) / math.log(2), abs=1)


@pytest.mark.slow
def test_all_sizes_are_measured(tmp_path):
    rows = streams.measured(Study(folder=tmp_path, seeds=2))
    assert len(rows) == 10
    assert all(math.isfinite(each.measured) and each.seeds == 2 for each in rows)
    assert not list(tmp_path.iterdir())  # nothing is trained
