import pytest

import gatescope as gs
from gatescope.cells.registry import names
from gatescope.explorer.equations import equations


@pytest.mark.parametrize("name", names())
def test_every_cell_says_how_its_states_are_made_and_no_sentence_is_taken_for_it(name):
    cell = gs.cells.get(name)
    sides = {left: right for left, right, _ in equations(cell)}
    assert {f"{state}'" for state in cell.states} <= set(sides)
    for left, right in sides.items():
        assert right.count("(") == right.count(")"), (left, right)
        assert not right.endswith("."), (left, right)


def test_those_of_the_gru():
    assert equations(gs.cells.get("gru")) == [
        ("r", "sigmoid(W_r x + R_r h + b_r)", True),
        ("z", "sigmoid(W_z x + R_z h + b_z)", True),
        ("n", "tanh(W_n x + b_Wn + r * (R_n h + b_Rn))", True),
        ("h'", "(1 - z) * n + z * h", False),
    ]
