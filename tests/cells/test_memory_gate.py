"""The gate that holds the memory, the one that lets into it, and that they are found by the equations alone."""

from types import SimpleNamespace

import pytest
from helpers.leaky import Leaky

import gatescope as gs
from gatescope.cells import gru, gru_reset_before, lstm
from gatescope.cells.memory_gate import MemoryGate, memory_gate

COUPLED = MemoryGate(name="z", state=0, saved=1, opened_by="z", sign=1, coupled=True)
LSTM = MemoryGate(name="f", state=1, saved=1, opened_by="f", sign=1, input_gate="i")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("rnn", MemoryGate()),
        ("rnn_relu", MemoryGate()),
        ("lstm", LSTM),
        ("gru", COUPLED),
        ("gru_reset_before", COUPLED),
    ],
)
def test_the_packages_cells(cell, expected):
    assert memory_gate(gs.cells.get(cell)) == expected


def test_another_cell():
    expected = MemoryGate(name="a", state=0, saved=0, opened_by="a", sign=1, coupled=True)
    assert memory_gate(gs.cells.register(Leaky)) == expected


@pytest.mark.parametrize("module", [lstm, gru, gru_reset_before])
def test_names_of_gates_mean_nothing(module):
    swapped = {name: f"x{k}" for k, name in enumerate(module.SAVED)}
    renamed = SimpleNamespace(
        **{key: value for key, value in vars(module).items() if not key.startswith("__")}
        | {"NAME": f"{module.NAME}_renamed_test"}
        | {"GATES": tuple(swapped[name] for name in module.GATES)}
        | {"SAVED": tuple(swapped.values())}
    )
    memory, original = memory_gate(gs.cells.register(renamed)), memory_gate(gs.cells.get(module.NAME))
    assert memory.name == swapped[original.name]
    assert memory.input_gate == swapped.get(original.input_gate, "")
