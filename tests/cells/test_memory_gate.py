"""The gate that holds the memory, the one that lets into it, and that they are found by the equations alone."""

import dataclasses
from types import SimpleNamespace

import pytest
from helpers.leaky import Leaky

import gatescope as gs
from gatescope.cells import gru, gru_reset_before, leaky_constant, lstm, lstm_peephole
from gatescope.cells.memory_gate import MemoryGate, memory_gate

COUPLED = MemoryGate(name="z", state=0, saved=1, sign=1, sigmoid=True, coupled=True)
LSTM = MemoryGate(name="f", state=1, saved=1, sign=1, sigmoid=True, input_gate="i")
LEAK = MemoryGate(name="a", state=0, saved=0, sign=-1, sigmoid=True, coupled=True)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("rnn", MemoryGate()),
        ("rnn_relu", MemoryGate()),
        ("lstm", LSTM),
        ("gru", COUPLED),
        ("gru_reset_before", COUPLED),
        ("lstm_peephole", LSTM),
        ("leaky_constant", LEAK),
        ("min_gru", dataclasses.replace(LEAK, name="z")),
    ],
)
def test_the_packages_cells(cell, expected):
    assert memory_gate(gs.cells.get(cell)) == expected


def test_another_cell():
    assert memory_gate(gs.cells.register(Leaky)) == dataclasses.replace(LEAK, sign=1)


@pytest.mark.parametrize("module", [lstm, gru, gru_reset_before, leaky_constant, lstm_peephole])
def test_names_of_gates_mean_nothing(module):
    swapped = {name: f"x{k}" for k, name in enumerate(module.SAVED)}
    renamed = SimpleNamespace(
        **{key: value for key, value in vars(module).items() if not key.startswith("__")}
        | {"NAME": f"{module.NAME}_renamed_test"}
        | {"GATES": tuple(swapped.get(name, name) for name in module.GATES)}
        | {"SAVED": tuple(swapped.values())}
        | {"WEIGHTS": {swapped.get(name, name): has for name, has in getattr(module, "WEIGHTS", {}).items()}}
    )
    memory, original = memory_gate(gs.cells.register(renamed)), memory_gate(gs.cells.get(module.NAME))
    assert (memory.name, memory.sign) == (swapped[original.name], original.sign)
    assert memory.input_gate == swapped.get(original.input_gate, "")
