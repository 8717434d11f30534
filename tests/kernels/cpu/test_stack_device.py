"""Layers that run one behind another: the same states, a layer beside the one below."""

from threading import Semaphore

import numpy as np
import pytest
from helpers.stacks import random_stack

from gatescope.kernels.cpu.device import CpuDevice
from gatescope.kernels.cpu.stack_device import StackDevice

STEPS, PIECE = 40, 8


@pytest.fixture(name="pieces")
def _pieces():
    return np.random.default_rng(0).standard_normal((STEPS // PIECE, PIECE, 1, 2))


def ends_of(stack, pieces, threads):
    device = StackDevice(stack.layers, threads)
    first = np.zeros((1, sum(a * b for a, b in device._shapes)))
    return np.array(list(device.ends(iter(pieces), first, *device.buffers(PIECE, 1))))


@pytest.mark.parametrize(
    "cells", [("lstm", "lstm"), pytest.param(("rnn", "gru", "lstm"), marks=pytest.mark.slow)]
)
def test_the_last_states_of_pieces_are_those_of_one_run(cells, pieces):
    stack = random_stack(cells, (5, 3, 4)[: len(cells)])
    device = StackDevice(stack.layers, 1)
    states, gates = device.buffers(STEPS, 1)
    first = np.zeros_like(device.last(states))
    device.forward(pieces.reshape(STEPS, 1, 2), first, states, gates)
    expected = [device.last(states[: at + 1]) for at in range(PIECE, STEPS + 1, PIECE)]
    for threads in (1, 2, 4):
        np.testing.assert_array_equal(ends_of(stack, pieces, threads), expected)


def test_a_layer_is_a_piece_ahead_of_the_one_above(pieces, monkeypatch):
    stack, begun, forward = random_stack(("lstm", "lstm"), (5, 3)), Semaphore(0), CpuDevice.forward
    overlapping = []

    def watched(device, inputs, *rest):
        if inputs.shape[2] == 2:
            begun.release()
        elif len(overlapping) < len(pieces) - 1:  # there is a next piece, which the layer below has begun
            begun.acquire(timeout=60)
            overlapping.append(begun.acquire(timeout=60))
            begun.release()
        forward(device, inputs, *rest)

    monkeypatch.setattr(CpuDevice, "forward", watched)
    assert len(ends_of(stack, pieces, 2)) == len(pieces)
    assert overlapping == [True] * (len(pieces) - 1)
