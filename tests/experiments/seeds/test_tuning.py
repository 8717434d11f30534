"""Tuning: the order of settings, seeds that do not count, one more point at the edge; made-up runs and real ones."""

import numpy as np
import pytest
from helpers.arms import SPEC, made_run

import gatescope as gs
from gatescope.errors import ValueRangeError
from gatescope.experiments.seeds import tuning
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.tuning import Grid, schemes_of, tune, tune_together, tuned_spec


@pytest.fixture
def asked(monkeypatch):
    """Make runs by the function `asked.outcome` of a spec; list all specs that were asked for."""

    class Asked(list):
        def outcome(self, spec):
            raise NotImplementedError

    specs = Asked()

    def make_runs(asked_for, _folder, **_options):
        specs.extend(asked_for)
        return tuple(made_run(spec, **specs.outcome(spec)) for spec in asked_for)

    monkeypatch.setattr(tuning, "make_runs", make_runs)
    return specs


def test_fewer_updates_win_whatever_the_loss(asked):
    updates = {1e-3: 40, 3e-3: 20, 1e-2: 10, 3e-2: 30}
    asked.outcome = lambda spec: {
        "updates": updates[spec.lr],
        "validation_loss": np.array([1 / updates[spec.lr]]),
    }
    best = tune(SPEC, Grid(schemes=("pytorch",)), "folder")
    assert (best.lr, best.scheme, best.at_edge) == (1e-2, "pytorch", False)
    assert [point["lr"] for point in best.points] == [1e-2, 3e-3, 3e-2, 1e-3]
    assert best.seeds.tolist() == [2, 2, 2, 1]
    assert [(s.lr, s.seed) for s in asked[4:]] == [(1e-2, 1001), (3e-3, 1001), (3e-2, 1001)]
    assert {s.seed for s in asked[:4]} == {1000}
    assert {s.updates for s in asked} == {SPEC.updates}


def test_reaching_the_target_comes_first(asked):
    asked.outcome = lambda spec: (
        {"updates": 40} if spec.scheme == "keras" else {"validation_loss": np.array([1e-9])}
    )
    best = tune(SPEC, Grid(schemes=("pytorch", "keras"), lr=(0.01,)), "folder")
    assert best.scheme == "keras"
    assert best.reached.tolist() == [1.0, 0.0]


def test_the_loss_decides_among_equals(asked):
    losses = {1e-3: 0.3, 3e-3: np.nan, 1e-2: 0.1, 3e-2: np.inf}
    asked.outcome = lambda spec: {"validation_loss": np.array([losses[spec.lr]])}
    best = tune(SPEC, Grid(schemes=("pytorch",)), "folder")
    assert [point["lr"] for point in best.points][:2] == [1e-2, 1e-3]
    assert np.isinf(best.validation_loss[2:]).all()


def test_the_second_seed_can_turn_the_order(asked):
    asked.outcome = lambda spec: {
        "updates": {1e-3: 40, 3e-3: 10, 1e-2: 20, 3e-2: 30}[spec.lr]
        + (30 if spec.seed == 1001 and spec.lr == 3e-3 else 0)
    }
    best = tune(SPEC, Grid(schemes=("pytorch",)), "folder")
    assert best.lr == 1e-2
    assert best.updates.tolist() == [20, 25, 30, 40]


@pytest.mark.parametrize(("edge", "beyond"), [(1e-3, 1e-4), (3e-2, 0.1)])
@pytest.mark.parametrize("better", [True, False])
def test_the_best_at_the_edge_gets_one_more_point(edge, beyond, better, asked):
    cost = {edge: 20, beyond: 10 if better else 30}
    asked.outcome = lambda spec: {"updates": cost.get(spec.lr, 40) - (spec.scheme == "keras")}
    best = tune(SPEC, Grid(schemes=("pytorch", "keras")), "folder")
    more = [(s.lr, s.scheme) for s in asked if s.lr == beyond and s.seed == 1000]
    assert more == [(beyond, "keras")]
    assert best.lr == (beyond if better else edge)
    assert best.at_edge is better
    assert ("at the edge" in best.summary()) is better


def test_biases_are_part_of_the_grid(asked, tmp_path):
    asked.outcome = lambda spec: {"updates": 20 if spec.biases == {"f": 3.0} else 40}
    grid = Grid(schemes=("pytorch",), lr=(0.01,), biases=({}, {"f": 3.0}))
    best = tune(SPEC, grid, "folder")
    assert best.biases == {"f": 3.0}
    assert "biases f +3" in best.summary()
    chosen = tuned_spec(SPEC.with_(seed=7), best)
    assert (chosen.seed, chosen.biases, chosen.lr) == (7, {"f": 3.0}, 0.01)
    best.save(tmp_path / "tuned.npz")
    assert gs.load(tmp_path / "tuned.npz") == best
    assert best.table().rows[1][:3] == (0.01, "pytorch", None)


def test_tunings_that_share_their_rounds_come_to_the_same(asked, monkeypatch):
    """One with a point beyond the edge, one without, and one of a single point."""
    cost = {"lstm": {1e-3: 20, 1e-4: 10}, "gru": {1e-2: 10}, "rnn": {}}
    asked.outcome = lambda spec: {"updates": cost[spec.cell].get(spec.lr, 30) + spec.seed % 2}
    grids = {cell: Grid(schemes=("pytorch", "keras")) for cell in ("lstm", "gru")}
    grids["rnn"] = Grid(schemes=("pytorch",), lr=(0.01,))
    pairs = [(SPEC.with_(cell=cell), grid) for cell, grid in grids.items()]
    alone = tuple(tune(spec, grid, "folder") for spec, grid in pairs)
    before = list(asked)
    asked.clear()
    calls = []
    made = tuning.make_runs
    monkeypatch.setattr(
        tuning, "make_runs", lambda specs, *a, **k: calls.append(len(specs)) or made(specs, *a, **k)
    )
    assert tune_together(pairs, "folder") == alone
    assert calls == [8 + 8 + 1, 1 + 3 + 1, 3]
    assert sorted(map(RunSpec.text, asked)) == sorted(map(RunSpec.text, before))
    assert tune_together([], "folder") == ()


def test_schemes_by_the_cells_memory():
    assert schemes_of("gru", 400) == ("pytorch", "keras", "chrono(400)")
    assert schemes_of("rnn", 400) == ("pytorch", "keras")


def test_a_grid_without_points():
    with pytest.raises(ValueRangeError, match="has no points"):
        tune(SPEC, Grid(schemes=()), "folder")


def test_real_runs_are_files_that_studies_share(tmp_path):
    spec = SPEC.with_(updates=10)
    best = tune(spec, Grid(schemes=("pytorch",), lr=(1e-2, 2e-2)), tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert tune(spec, Grid(schemes=("pytorch",), lr=(1e-2, 2e-2)), tmp_path) == best


def test_in_turns_the_schemes_come_after_the_rates_and_biases(asked):
    def outcome(spec):
        # The bias helps at PyTorch's weights; without it chrono's would be best.
        best = {("pytorch", True): 12, ("keras", True): 16, ("keras", False): 10, ("chrono(9)", True): 14}
        return {
            "updates": best.get((spec.scheme, bool(spec.biases)), 20) + round(abs(np.log(spec.lr / 0.003)))
        }

    asked.outcome = outcome
    schemes = ("pytorch", "keras", "chrono(9)")
    grid = Grid(schemes=schemes, biases=({}, {"f": 3.0}), in_turns=True)
    best = tune(SPEC, grid, "folder")
    assert (best.lr, best.scheme, best.biases) == (3e-3, "pytorch", {"f": 3.0})
    first = [(s.lr, s.scheme, dict(s.biases)) for s in asked if s.seed == 1000]
    assert {scheme for _, scheme, _ in first[:8]} == {"pytorch"}
    assert first[8:] == [(3e-3, "keras", {"f": 3.0}), (3e-3, "chrono(9)", {"f": 3.0})]
    assert len(asked) == 8 + 2 + 3
    asked.clear()
    tune(SPEC, Grid(schemes=schemes[:1], lr=(0.01,), in_turns=True), "folder")
    assert len(asked) == 2
