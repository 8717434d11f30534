"""Everybody in turn, many rounds."""

from gatescope.experiments.turns import interleaved


def test_interleaved_times_everybody_in_every_round():
    taken: list[str] = []
    calls = {name: lambda name=name: taken.append(name) or sum(range(100_000)) for name in "ab"}
    times = interleaved(calls, rounds=4, budget=60)
    assert [len(t) for t in times.values()] == [4, 4]
    assert {"a", "b"} == set(taken)


def test_without_a_budget_left_three_rounds_are_made():
    times = interleaved({"a": lambda: sum(range(100_000))}, rounds=9, budget=0, warm=True)
    assert len(times["a"]) == 3
