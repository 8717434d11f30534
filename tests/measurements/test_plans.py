"""Memory plans: what is told before a long call, for exponents and connectivity (for gradient_flow: test_flow_long)."""

import sys

import numpy as np
import pytest
from helpers.cases import random_params

import gatescope as gs
from gatescope.measurements import plans


@pytest.fixture
def told(monkeypatch):
    """The plans that would be printed on a terminal."""
    found = []
    for name in ("lyapunov_spectrum", "connectivity"):
        monkeypatch.setattr(sys.modules[f"gatescope.measurements.{name}"], "show", found.append)
    return found


def test_exponents(told):
    params = random_params("gru", input_size=1, hidden_size=8)
    gs.lyapunov_spectrum(params, np.zeros((3000, 1)), k=2)
    assert told == []
    gs.lyapunov_spectrum(params, np.zeros((3000, 1)), k=2, qr_every=1, progress=True)
    (plan,) = told
    assert plan.title == "2 exponents of gru with 8 units, 3,000 steps in 2 spans"
    # A state and four kept values of 8 units, 512 steps, float64, in each of two spans.
    assert plan.parts["states and gates of a piece"] == 2 * 8 * 8 * (513 + 4 * 512)
    assert plan.total == sum(plan.parts.values())
    assert str(plan).splitlines()[-1].split()[0] == "together"


def test_connectivity(told):
    params = random_params("lstm", input_size=1, hidden_size=8)
    gs.connectivity(params, np.zeros((300, 1)), target_steps=[5, 299], norm="random", progress=True)
    (plan,) = told
    assert plan.title == "connectivity of lstm with 8 units, 300 steps, one sweep"
    assert plan.parts["log-norms"] == 2 * 300 * 8
    assert plan.parts["norms of a part of a segment"] == 2 * 300 * 8


def test_shown_where_someone_watches(monkeypatch, capsys):
    plan = plans.Plan(title="a run", parts={"states": 3 * 2**20, "sums": 100})
    plans.show(plan)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    plans.show(plan)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "a run"
    assert lines[1].split() == ["states", "3.00", "MiB"]
    assert lines[-1].split() == ["together", "3.00", "MiB"]
