"""The rows under pytest-benchmark; our time is the benchmark, the peer is timed between our rounds.

    pytest benchmarks --benchmark-enable           the real thing
    pytest benchmarks --smoke                      a few steps, one round: everything runs and agrees

Stacks and torch.compile are in rows of 128 units and more, whose kernels and functions take long to compile; so that
they are tested where there is little time, too, they have small rows of their own here.

A test fails when a peer's results differ from ours, not when a ratio is short of its target: that is
reported, here in ``extra_info`` and by `benchmarks.compare` in the table.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import pytest

from benchmarks import peers, timing
from benchmarks.compare import SMOKE_STEPS
from benchmarks.problem import by_name, make_problem
from benchmarks.rows import PASS_OF, ROWS, TRAIN, Row
from gatescope.experiments import turns

THREADS = 2
ROUNDS = 7

CASES = [
    pytest.param(row, peer, id=f"{row.key}-{PASS_OF[peer]}-{peer}") for row in ROWS for peer in row.targets
]


# Of two layers, so that a step's function serves two kinds of inputs.
SMALL = [
    Row(cell=cell, dtype="float32", batch=3, input_size=2, hidden_size=8, steps=SMOKE_STEPS, layers=2)
    for cell in ("lstm", "gru", "rnn")
]
PEERS = [name for name in peers.MODULES if name != "gatescope"]


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.key)
def test_two_layers(row: Row, peer: str) -> None:
    problem = make_problem(row)
    try:
        rival = peers.load(peer)(problem, THREADS)
    except peers.MissingPeer as missing:
        pytest.skip(str(missing))
    which = PASS_OF[peer]
    with rival, peers.load("gatescope")(problem, THREADS) as gatescope:
        results = [each.arrays(timing.call_of(each, which)()) for each in (gatescope, rival)]
    ours, theirs = results
    timing.disagreement(ours, theirs, row.dtype)
    if which == TRAIN:
        assert ours.keys() == {"outputs", *by_name(problem.layers)}
        wrong = {**theirs, "weight_ih_l1": 1.001 * theirs["weight_ih_l1"]}
        with pytest.raises(AssertionError, match="weight_ih_l1"):
            timing.disagreement(ours, wrong, row.dtype)


@pytest.fixture
def smoke(request: pytest.FixtureRequest, benchmark: Any) -> bool:
    """Return whether speed is not the question: asked for, or pytest-benchmark is off."""
    asked = request.config.getoption("--smoke", default=False) or bool(
        os.environ.get("GATESCOPE_BENCH_SMOKE")
    )
    return bool(asked or benchmark.disabled)


@pytest.mark.parametrize(("row", "peer"), CASES)
def test_beside_peer(benchmark: Any, row: Row, peer: str, smoke: bool) -> None:
    which = PASS_OF[peer]
    problem = make_problem(row.shortened(SMOKE_STEPS) if smoke else row)
    try:
        rival = peers.load(peer)(problem, THREADS)
    except peers.MissingPeer as missing:
        pytest.skip(str(missing))
    with rival, peers.load("gatescope")(problem, THREADS) as gatescope:
        ours, theirs = timing.call_of(gatescope, which), timing.call_of(rival, which)
        differences = timing.disagreement(gatescope.arrays(ours()), rival.arrays(theirs()), row.dtype)
        repeat = (1, 1) if smoke else (turns.repeats(ours), turns.repeats(theirs))
        own_times: list[float] = []
        peer_times: list[float] = []

        def peer_round() -> None:
            gc.collect()
            peer_times.append(turns.once(theirs, repeat[1]))
            gc.collect()
            time.sleep(turns.PAUSE)

        def own_round() -> None:
            own_times.append(turns.once(ours, repeat[0]))

        benchmark.group = f"{row.key} {which}"
        benchmark.pedantic(own_round, setup=peer_round, rounds=1 if smoke else ROUNDS, iterations=1)
    scale = 1e6 / problem.row.steps
    own, other = timing.quartiles(own_times)["median"], timing.quartiles(peer_times)["median"]
    benchmark.extra_info.update(
        peer=peer,
        calls_a_round=repeat[0],
        ours_us_per_step=scale * own,
        peer_us_per_step=scale * other,
        ratio=other / own,
        target=row.targets[peer],
        largest_difference=max(differences.values()),
    )
