"""How sequences are dealt out: which blocks there are, and that gradients are added up in one order for any threads."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.kernels.cpu import blocks as dealing
from gatescope.kernels.cpu import packing, sweeps
from gatescope.kernels.cpu.blocks import blocks_for, groups_for
from gatescope.kernels.cpu.packing import add_up


@pytest.mark.parametrize(
    ("batch", "hidden_size", "threads", "count"),
    [
        (40, 16, 1, 2),  # gradients are added in the order of these, whatever threads there are
        (40, 16, 16, 2),
        (40, 128, 16, 5),
        (128, 128, 1, 8),
        (128, 128, 16, 16),
        (512, 512, 64, 64),
        (24, 512, 2, 2),
        (7, 512, 64, 1),
    ],
)
def test_blocks(batch, hidden_size, threads, count):
    blocks = blocks_for(batch, hidden_size, threads)
    assert len(blocks) == count
    sizes = [end - begin for begin, end in blocks]
    assert sum(sizes) == batch
    assert max(sizes) - min(sizes) <= 1
    assert [begin for begin, _ in blocks] == list(np.cumsum([0, *sizes[:-1]]))


@pytest.mark.parametrize(
    ("batch", "hidden_size", "groups", "size", "blocks"),
    [
        (50, 32, 3, 0, {1: 3, 2: 3, 64: 3}),
        (512, 32, 64, 8, {1: 16, 2: 16, 3: 18, 16: 16, 64: 64, 100: 64}),
        (512, 128, 32, 16, {1: 16, 2: 16, 64: 32}),
        (512, 512, 16, 32, {2: 16, 64: 16}),
        (130, 16, 17, 8, {1: 5, 2: 6, 16: 16}),
        (2000, 16, 63, 32, {2: 63, 64: 63}),
    ],
)
def test_groups_do_not_depend_on_threads_and_blocks_do(batch, hidden_size, groups, size, blocks):
    for threads, count in blocks.items():
        dealt = groups_for(batch, hidden_size, threads)
        assert dealt.edges == groups_for(batch, hidden_size, 1).edges
        assert (len(dealt), dealt.size, len(dealt.blocks)) == (groups, size, count)
        parts = [dealt.edges_of(block) for block in range(count)]
        assert [(part[0], part[-1]) for part in parts] == dealt.sequences
        assert [part[-1] for part in parts[:-1]] == [part[0] for part in parts[1:]]
        assert (parts[0][0], parts[-1][-1]) == (0, batch)
        assert {dealt.rows(block) for block in range(count)} == (
            {size} if size else {end - begin for begin, end in dealt.sequences}
        )


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_rows_are_added_in_one_order(count, monkeypatch):
    monkeypatch.setattr(packing, "_PART_BYTES", 100)
    table = np.random.default_rng(0).standard_normal((count, 70)).astype(np.float32)
    rows = [row.copy() for row in table]
    while count > 8 and len(rows) > 1:
        rows = [sum(rows[k + 1 : k + 2], rows[k]) for k in range(0, len(rows), 2)]
    done = []

    def each(work, parts):
        for part in reversed(range(parts)):
            work(part)
        done.append(parts)

    add_up(table, each)
    np.testing.assert_array_equal(table[0], sum(rows[1:], rows[0]))
    assert done[0] > 1 or count == 1


@pytest.fixture
def small_groups(monkeypatch):
    """Let 49 sequences be 7 groups of 8 and fewer, which one thread has in two blocks."""
    monkeypatch.setattr(dealing, "_FEW_SEQUENCES", 20)
    monkeypatch.setattr(dealing, "_SMALL_UNITS", 65)
    groups_for.cache_clear()
    yield
    groups_for.cache_clear()


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
@pytest.mark.parametrize("many", [False, True], ids=["a block is a group", "blocks of several groups"])
def test_threads_change_no_bit(cell, many, request, monkeypatch):
    monkeypatch.setattr(sweeps, "_THREAD_WORK", 0)
    if many:
        request.getfixturevalue("small_groups")
    batch = 49
    params = gs.init(cell, input_size=2, hidden_size=65, seed=0)
    inputs = np.random.default_rng(1).standard_normal((9, batch, 2)).astype(np.float32)
    lengths = np.arange(batch) % 9 + 1
    traces, flows, gradients = [], [], []
    for threads in (1, 2, 3):
        traces.append(gs.run(params, inputs, lengths=lengths, threads=threads))
        gradients.append(
            gs.backprop(params, traces[-1], output_adjoint=np.ones_like(traces[-1].outputs), threads=threads)
        )
        flows.append(gs.gradient_flow(params, inputs, threads=threads))
    for trace, gradient, flow in zip(traces[1:], gradients[1:], flows[1:], strict=True):
        np.testing.assert_array_equal(trace.states, traces[0].states)
        np.testing.assert_array_equal(trace.gates, traces[0].gates)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            np.testing.assert_array_equal(getattr(gradient.params, name), getattr(gradients[0].params, name))
        np.testing.assert_array_equal(flow.log_norm, flows[0].log_norm)
