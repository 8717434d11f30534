"""The frame of all measurements: inputs are converted and scanned once a call, and parts are what they say."""

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs
from gatescope.checks import arrays
from gatescope.measurements.problem import prepare


@pytest.fixture
def scans(monkeypatch):
    """How many elements of inputs each conversion and each search for NaN went over."""
    counts = {"converted": [], "searched": []}
    convert, search = arrays.check_array, arrays.check_finite

    def check_array(name, value, *arguments, **keywords):
        if "inputs" in name:
            counts["converted"].append(np.size(value))
        return convert(name, value, *arguments, **keywords)

    def check_finite(name, array, *arguments):
        if "inputs" in name:
            counts["searched"].append(array.size)
        return search(name, array, *arguments)

    monkeypatch.setattr("gatescope.checks.arrays.check_finite", check_finite)
    monkeypatch.setattr("gatescope.checks.network.check_array", check_array)
    return counts


@pytest.mark.parametrize(
    ("measure", "options"),
    [
        (gs.gradient_flow, {}),
        (gs.gradient_paths, {}),
        (gs.half_life, {}),
        (gs.half_life, {"lengths": [120, 80, 60]}),
        (gs.diagnose, {}),
        (gs.diagnose, {"window": 50, "target_half_life": 5}),
    ],
)
def test_inputs_are_converted_and_searched_once(measure, options, scans):
    case = Case("lstm", T=120, B=3, I=2, H=5, dtype="float32")
    measure(case.params, case.inputs.astype(np.float64), **options)
    assert scans == {"converted": [720], "searched": [720]}


def test_sequences_of_one_length_are_the_problem_itself():
    case = Case("lstm", T=20, B=3, I=2, H=5)
    with prepare(case.params, case.inputs, lengths=[20, 20, 20]) as problem:
        ((rows, part),) = problem.groups()
        assert part is problem
        assert rows.tolist() == [0, 1, 2]
        assert problem.astype("float64") is problem


def test_a_part_is_read_from_the_whole():
    case = Case("lstm", T=20, B=3, I=2, H=5)
    with prepare(case.params, case.inputs, initial_state=case.initial_state) as problem:
        part = problem.part(np.array([0, 2]), 5, 15)
        np.testing.assert_array_equal(part.series.read(2, 10), case.inputs[7:15, [0, 2]])
        np.testing.assert_array_equal(part.initial_state, case.initial_state[[0, 2]])
        assert (part.steps, part.batch) == (10, 2)


def test_the_pieces_of_a_run_are_the_run():
    case = Case("lstm", T=20, B=3, I=2, H=5)
    expected = case.run()
    with prepare(case.params, case.inputs, initial_state=case.initial_state) as problem:
        begins = []
        for begin, states, gates in problem.forward([0, 7, 20], 5):
            begins.append(begin)
            np.testing.assert_array_equal(states, expected.states[begin : begin + len(states)])
            np.testing.assert_array_equal(gates, expected.gates[begin : begin + len(gates)])
        assert begins == [0, 5, 7, 12, 17]
        assert problem.trace() == expected


@pytest.mark.parametrize(
    ("measure", "options", "message"),
    [
        (gs.gradient_flow, {"norm": "l2"}, "norm='l2' is not known"),
        (gs.gradient_flow, {"of": "q"}, "of='q' is not a state"),
        (gs.gradient_flow, {"norm": "unit", "unit": 5}, "unit=5 is out of range"),
        (gs.gradient_paths, {"wrt": ""}, "wrt='' is not a state"),
        (gs.jacobian_spectrum, {"k": 11}, "k=11 is more singular values"),
        (gs.lyapunov_spectrum, {"k": 11}, "k=11 is more exponents"),
        (gs.lyapunov_spectrum, {"checks": "no"}, "checks='no' must be True or False"),
        (gs.connectivity, {"norm": "spectral"}, "norm='spectral' is not known"),
        (gs.half_life, {"of": "q"}, "of='q' is not a state"),
        (gs.diagnose, {"window": 10}, "window=10 must be a whole number"),
    ],
)
def test_wrong_options_are_refused_before_the_inputs_are_read(measure, options, message):
    pieces = iter(np.zeros((3, 20, 2)))
    with pytest.raises(gs.GatescopeError, match=message):
        measure(Case("lstm", T=20, B=1, I=2, H=5).params, pieces, **options)
    assert len(list(pieces)) == 3
