"""Tuning: the order of settings, seeds that do not count, a race, one more point at the edge; made-up runs and real."""

import numpy as np
import pytest
from helpers.arms import SPEC, made_run

import gatescope as gs
from gatescope.errors import ValueRangeError
from gatescope.experiments.seeds import tuning
from gatescope.experiments.seeds.runs import make_runs
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.tuning import Grid, schemes_of, tune, tune_together, tuned_spec


@pytest.fixture
def asked(monkeypatch):
    """Make runs by the function `asked.outcome` of a spec; list all specs that were asked for.

    A run that reaches the target after more updates than its budget does not reach it.
    """

    class Asked(list):
        def outcome(self, spec):
            raise NotImplementedError

        def run(self, spec):
            fields = self.outcome(spec)
            if fields.get("updates", 0) > spec.updates:
                del fields["updates"]
            return made_run(spec, **fields)

        def of_seed(self, seed):
            return [spec for spec in self if spec.seed == seed]

    specs = Asked()

    def make_runs(asked_for, _folder, **_options):
        specs.extend(asked_for)
        return tuple(specs.run(spec) for spec in asked_for)

    monkeypatch.setattr(tuning, "make_runs", make_runs)
    return specs


def test_fewer_updates_win_whatever_the_loss(asked, tmp_path):
    updates = {1e-3: 40, 3e-3: 20, 1e-2: 10, 3e-2: 30}
    asked.outcome = lambda spec: {
        "updates": updates[spec.lr],
        "validation_loss": np.array([1 / updates[spec.lr]]),
    }
    best = tune(SPEC, Grid(schemes=("pytorch",)), tmp_path)
    assert (best.lr, best.scheme, best.at_edge) == (1e-2, "pytorch", False)
    assert [point["lr"] for point in best.points] == [1e-2, 3e-3, 3e-2, 1e-3]
    assert best.seeds.tolist() == [2, 2, 2, 1]
    assert [(s.lr, s.updates) for s in asked.of_seed(1001)] == [(1e-2, 40), (3e-3, 40), (3e-2, 40)]
    assert {s.seed for s in asked} == {1000, 1001}
    rounds = [(one.updates, one.lr) for one in asked.of_seed(1000)]
    assert rounds == [*((10, lr) for lr in updates), *((40, lr) for lr in (1e-3, 3e-3, 3e-2))]


def test_reaching_the_target_comes_first(asked, tmp_path):
    asked.outcome = lambda spec: (
        {"updates": 40} if spec.scheme == "keras" else {"validation_loss": np.array([1e-9])}
    )
    best = tune(SPEC, Grid(schemes=("pytorch", "keras"), lr=(0.01,)), tmp_path)
    assert best.scheme == "keras"
    assert best.reached.tolist() == [1.0, 0.0]


def test_the_loss_decides_among_equals(asked, tmp_path):
    losses = {1e-3: 0.3, 3e-3: np.nan, 1e-2: 0.1, 3e-2: np.inf}
    asked.outcome = lambda spec: {"validation_loss": np.array([losses[spec.lr]])}
    best = tune(SPEC, Grid(schemes=("pytorch",)), tmp_path)
    assert [point["lr"] for point in best.points][:2] == [1e-2, 1e-3]
    assert np.isinf(best.validation_loss[2:]).all()


def test_the_second_seed_can_turn_the_order(asked, tmp_path):
    asked.outcome = lambda spec: {
        "updates": {1e-3: 40, 3e-3: 10, 1e-2: 20, 3e-2: 30}[spec.lr]
        + (30 if spec.seed == 1001 and spec.lr == 3e-3 else 0)
    }
    best = tune(SPEC, Grid(schemes=("pytorch",)), tmp_path)
    assert best.lr == 1e-2
    assert best.updates.tolist() == [20, 25, 30, 40]


@pytest.mark.parametrize(("edge", "beyond"), [(1e-3, 1e-4), (3e-2, 0.1)])
@pytest.mark.parametrize("better", [True, False])
def test_the_best_at_the_edge_gets_one_more_point(edge, beyond, better, asked, tmp_path):
    cost = {edge: 20, beyond: 10 if better else 30}
    asked.outcome = lambda spec: {"updates": cost.get(spec.lr, 40) - (spec.scheme == "keras")}
    best = tune(SPEC, Grid(schemes=("pytorch", "keras")), tmp_path)
    more = [(s.lr, s.scheme) for s in asked if s.lr == beyond and s.seed == 1000]
    assert more == [(beyond, "keras")]
    assert best.lr == (beyond if better else edge)
    assert best.at_edge is better
    assert ("at the edge" in best.summary()) is better


def test_biases_are_part_of_the_grid(asked, tmp_path):
    asked.outcome = lambda spec: {"updates": 20 if spec.biases == {"f": 3.0} else 40}
    grid = Grid(schemes=("pytorch",), lr=(0.01,), biases=({}, {"f": 3.0}))
    best = tune(SPEC, grid, tmp_path)
    assert best.biases == {"f": 3.0}
    assert "biases f +3" in best.summary()
    chosen = tuned_spec(SPEC.with_(seed=7), best)
    assert (chosen.seed, chosen.biases, chosen.lr) == (7, {"f": 3.0}, 0.01)
    best.save(tmp_path / "tuned.npz")
    assert gs.load(tmp_path / "tuned.npz") == best
    assert best.table().rows[1][:3] == (0.01, "pytorch", None)


def test_tunings_that_share_their_rounds_come_to_the_same(asked, monkeypatch, tmp_path):
    """One with a point beyond the edge, one without, and one of a single point."""
    cost = {"lstm": {1e-3: 20, 1e-4: 10}, "gru": {1e-2: 10}, "rnn": {}}
    asked.outcome = lambda spec: {"updates": cost[spec.cell].get(spec.lr, 30) + spec.seed % 2}
    grids = {cell: Grid(schemes=("pytorch", "keras")) for cell in ("lstm", "gru")}
    grids["rnn"] = Grid(schemes=("pytorch",), lr=(0.01,))
    pairs = [(SPEC.with_(cell=cell), grid) for cell, grid in grids.items()]
    alone = tuple(tune(spec, grid, tmp_path) for spec, grid in pairs)
    before = list(asked)
    asked.clear()
    calls = []
    made = tuning.make_runs
    monkeypatch.setattr(
        tuning, "make_runs", lambda specs, *a, **k: calls.append(len(specs)) or made(specs, *a, **k)
    )
    assert tune_together(pairs, tmp_path) == alone
    # The LSTM's race needs its second round, and then a point beyond the edge; of the GRU two arrive in the first, and
    # six go on; the RNN has one point.
    assert calls == [8 + 8 + 1, 8 + 6 + 1, 1 + 3, 3]
    assert sorted(map(RunSpec.text, asked)) == sorted(map(RunSpec.text, before))
    assert tune_together([], tmp_path) == ()


def without_a_race(spec, grid, outcome):
    """Return the best three of a grid whose points all have the full number of updates, as the protocol says it."""

    def score(point, *seeds):
        runs = [made_run(one, **outcome(one)) for one in (point.with_(seed=seed) for seed in seeds)]
        losses = [run.best_validation_loss for run in runs]
        return (
            -np.mean([run.reached for run in runs]),
            np.median([run.updates for run in runs]),
            np.mean(losses),
        )

    points = [spec.with_(lr=lr, scheme=scheme) for lr in grid.lr for scheme in grid.schemes]
    best = min(points, key=lambda point: score(point, 1000))
    if best.lr in (1e-3, 3e-2):
        points.append(best.with_(lr={1e-3: 1e-4, 3e-2: 0.1}[best.lr]))
    three = sorted(points, key=lambda point: score(point, 1000))[:3]
    return [(one.lr, one.scheme) for one in sorted(three, key=lambda point: score(point, 1000, 1001))]


@pytest.mark.parametrize(("hard", "share"), [(0.1, 0.89), (0.3, 0.57), (3.0, 1.16), (100.0, 1.12)])
def test_a_race_chooses_what_the_whole_grid_would(hard, share, asked, tmp_path):
    """Whether all, some or none reach the target: for less where that is easy, and for little more where it is hard."""
    spec, grid = SPEC.with_(updates=400), Grid(schemes=("pytorch", "keras", "chrono(9)"))
    plain = raced = 0
    for draw in range(20):

        def outcome(one, draw=draw):
            rng = np.random.default_rng([draw, one.seed, round(1e5 * one.lr), len(one.scheme)])
            reached = 10 * max(1, round(rng.lognormal(2.5 + np.log(hard), 1)))
            losses = np.minimum.accumulate(rng.uniform(0.2, 0.9, min(reached, one.updates) // 10))
            fields = {"validation_loss": losses, "training_loss": losses}
            return fields if reached > one.updates else fields | {"updates": reached}

        asked.outcome = outcome
        tuned = tune(spec, grid, tmp_path)
        best = [(point["lr"], point["scheme"]) for point in tuned.points[:3]]
        assert best == without_a_race(spec, grid, outcome)
        first = asked.of_seed(1000)
        plain += sum(asked.run(one).updates for one in {one.with_(updates=400) for one in first})
        raced += sum(asked.run(one).updates for one in first)
        asked.clear()
    assert raced / plain == pytest.approx(share, abs=0.01)  # the draws are fixed: shares are to two figures


def test_runs_with_all_updates_are_taken_as_far_as_the_others_went(tmp_path):
    """A folder from before a race gives the same as an empty one; a run with fewer updates is the beginning of it."""
    spec = SPEC.with_(updates=80, target_loss=0.32, validate_every=5)
    grid = Grid(schemes=("pytorch",), lr=(3e-3, 1e-2, 2e-2, 3e-2, 0.05))
    whole = make_runs([spec.with_(lr=lr, seed=1000) for lr in grid.lr], tmp_path / "full")
    assert sum(run.reached for run in whole) > 3
    before = set((tmp_path / "full").iterdir())
    best = tune(spec, grid, tmp_path / "full")
    assert len({*(tmp_path / "full").iterdir()} - before) == 3
    assert best == tune(spec, grid, tmp_path / "empty")
    (short,) = make_runs([spec.with_(lr=1e-3, seed=1000, updates=20, target_loss=None)], tmp_path / "empty")
    (long,) = make_runs([spec.with_(lr=1e-3, seed=1000, updates=80, target_loss=None)], tmp_path / "empty")
    np.testing.assert_array_equal(long.validation_loss[:4], short.validation_loss)


def test_a_race_goes_on_until_all_have_arrived_that_run_again(asked, tmp_path):
    asked.outcome = lambda spec: {"updates": {1e-3: 30, 3e-3: 10, 1e-2: 9, 2e-2: 8, 3e-2: 20}[spec.lr]}
    rates = (1e-3, 3e-3, 1e-2, 2e-2, 3e-2)
    best = tune(SPEC, Grid(schemes=("pytorch",), lr=rates, again=4), tmp_path)
    assert [one.updates for one in asked.of_seed(1000)] == [10] * 5 + [40] * 2
    assert [point["lr"] for point in best.points] == [2e-2, 1e-2, 3e-3, 3e-2, 1e-3]
    assert best.seeds.tolist() == [2, 2, 2, 2, 1]


def test_what_depends_on_the_number_of_updates_has_all(asked, tmp_path):
    asked.outcome = lambda spec: {"updates": 10}
    grid = Grid(schemes=("pytorch",))
    for changes in ({"schedule": "cosine"}, {"target_loss": None}, {"batch_size": 3, "examples": 3}):
        asked.clear()
        tune(SPEC.with_(**changes), grid, tmp_path)
        assert {spec.updates for spec in asked} == {40}


def test_schemes_by_the_cells_memory():
    assert schemes_of("gru", 400) == ("pytorch", "keras", "chrono(400)")
    assert schemes_of("rnn", 400) == ("pytorch", "keras")


def test_a_grid_without_points(tmp_path):
    with pytest.raises(ValueRangeError, match="has no points"):
        tune(SPEC, Grid(schemes=()), tmp_path)


def test_real_runs_are_files_that_studies_share(tmp_path):
    spec = SPEC.with_(updates=10)
    best = tune(spec, Grid(schemes=("pytorch",), lr=(1e-2, 2e-2)), tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert tune(spec, Grid(schemes=("pytorch",), lr=(1e-2, 2e-2)), tmp_path) == best


def test_in_turns_the_schemes_come_after_the_rates_and_biases(asked, tmp_path):
    def outcome(spec):
        # The bias helps at PyTorch's weights; without it chrono's would be best.
        best = {("pytorch", True): 12, ("keras", True): 16, ("keras", False): 10, ("chrono(9)", True): 14}
        return {
            "updates": best.get((spec.scheme, bool(spec.biases)), 20) + round(abs(np.log(spec.lr / 0.003)))
        }

    asked.outcome = outcome
    schemes = ("pytorch", "keras", "chrono(9)")
    grid = Grid(schemes=schemes, biases=({}, {"f": 3.0}), in_turns=True)
    best = tune(SPEC, grid, tmp_path)
    assert (best.lr, best.scheme, best.biases) == (3e-3, "pytorch", {"f": 3.0})
    first = [(s.lr, s.scheme, dict(s.biases)) for s in asked.of_seed(1000)]
    assert {scheme for _, scheme, _ in first[:-2]} == {"pytorch"}
    assert first[-2:] == [(3e-3, "keras", {"f": 3.0}), (3e-3, "chrono(9)", {"f": 3.0})]
    assert len(asked.of_seed(1001)) == 3
    asked.clear()
    tune(SPEC, Grid(schemes=schemes[:1], lr=(0.01,), in_turns=True), tmp_path)
    assert len(asked) == 2


def test_one_seed_may_choose(asked):
    updates = {"pytorch": 20, "keras": 10}
    asked.outcome = lambda spec: {"updates": updates[spec.scheme]}
    best = tune(SPEC, Grid(schemes=("pytorch", "keras"), lr=(0.01,), again=0), "folder")
    assert (best.scheme, best.seeds.tolist(), best.updates.tolist()) == ("keras", [1, 1], [10, 20])
    assert [s.seed for s in asked] == [1000, 1000]
