"""The plan of a full run: what it does, in which order, how long it takes and what is there already."""

from gatescope.experiments.claims.plan import COMPILING, SECONDS, plan, runs_in, seconds_of
from gatescope.experiments.claims.run import chosen_statements
from gatescope.experiments.claims.statement import SUITES, in_suites


def test_every_suite_has_a_cost():
    assert [*SECONDS] == [*SUITES]
    assert sum(SECONDS.values()) < 6 * 3600 * 2  # of two cores in six hours


def test_quiet_rows_come_first():
    order = [each.suite for each in in_suites(chosen_statements())]
    assert order == sorted(order, key=[*SUITES].index)
    assert order[0] == "X"
    numbers = [each.number for each in in_suites(chosen_statements(["6a", "41", "1a", "10a", "27a"]))]
    assert numbers == ["41", "1a", "10a", "6a", "27a"]


def test_a_plan_says_what_runs_and_for_how_long(tmp_path):
    (tmp_path / "long-series").mkdir()
    for name in ("a.npz", "b.npz", "long-series/c.npz", "long-series/c.state"):
        (tmp_path / name).touch()
    table = plan(chosen_statements(["41", "9a", "6a"]), cores=2, folder=tmp_path)
    assert [row[0] for row in table.rows] == ["X", "W"]
    assert table.rows[0][2:] == ("9a 41", 20)
    whole = SECONDS["X"] + SECONDS["W"] + COMPILING
    assert table.title == (
        f"3 statements, at most {whole:,} core-seconds: 75 min on 2 cores; 3 training runs there already, which are "
        "not made again"
    )
    alone = plan(chosen_statements(["41"]), cores=1)
    assert alone.title == "1 statement, at most 270 core-seconds: 4 min on 1 core"


def test_fewer_seeds_take_less_but_tuning_stays():
    assert seconds_of("XW", seeds=10) == {"X": 20.0, "W": 8700.0}
    assert seconds_of("XW", seeds=0)["W"] == 0.6 * 8700  # tuning alone
    assert runs_in("no such folder") == 0
