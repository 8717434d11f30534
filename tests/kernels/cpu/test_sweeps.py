"""Blocks of sequences: which there are, and that threads change no bit."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.sweeps import blocks_for


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


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_threads_change_no_bit(cell, monkeypatch):
    monkeypatch.setattr(sweeps, "_THREAD_WORK", 0)
    params = gs.init(cell, input_size=2, hidden_size=65, seed=0)
    inputs = np.random.default_rng(1).standard_normal((9, 26, 2)).astype(np.float32)
    lengths = np.arange(26) % 9 + 1
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
        np.testing.assert_array_equal(gradient.params.weight_hh, gradients[0].params.weight_hh)
        np.testing.assert_array_equal(flow.log_norm, flows[0].log_norm)
