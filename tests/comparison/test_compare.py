"""compare(): every number against what it is defined to be."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from helpers.command_line import too_late
from helpers.leaky import Leaky
from helpers.synthetic import make_trace

import gatescope as gs
from gatescope.cells.operation_counts import count_operations
from gatescope.comparison import compare as compare_module
from gatescope.comparison.compare import compare
from gatescope.comparison.figures import _trajectories
from gatescope.comparison.notes import findings, glossary, untrained
from gatescope.datatypes.comparison import CellMeasurements, Comparison
from gatescope.errors import DeviceError, DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cuda import backend
from gatescope.reporting import text

STEPS = 60


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(3).standard_normal((STEPS, 2, 3))


@pytest.fixture(scope="module")
def cells():
    names = ("rnn", "gru", "lstm")
    return {name: gs.init(name, input_size=3, hidden_size=5, seed=1, dtype="float64") for name in names}


@pytest.fixture(scope="module")
def comparison(cells, inputs):
    return compare(cells, inputs, timing_runs=2, threads=1)


def test_results_are_those_of_run_and_gradient_flow(comparison, cells, inputs):
    for label, params in cells.items():
        measured = comparison[label]
        np.testing.assert_array_equal(measured.trace.states, gs.run(params, inputs).states)
        flow = gs.gradient_flow(params, inputs, wrt="h")
        np.testing.assert_array_equal(measured.flow_h.log_norm, flow.log_norm)
        np.testing.assert_array_equal(measured.flow_h.lag, np.arange(STEPS + 1))
        joint = gs.gradient_flow(params, inputs, of="joint", wrt="joint")
        np.testing.assert_array_equal(measured.flow.log_norm, joint.log_norm)
    flow_c = gs.gradient_flow(cells["lstm"], inputs, wrt="c")
    np.testing.assert_array_equal(comparison["lstm"].flow_c.log_norm, flow_c.log_norm)
    assert comparison["rnn"].flow_c is None
    assert comparison["gru"].flow_c is None


def test_a_padded_sequence_is_compared_as_if_alone(cells, inputs):
    lengths = [STEPS, STEPS - 25]
    cells = {"lstm": cells["lstm"]}
    padded = compare(cells, inputs, lengths=lengths, timing_runs=1)
    alone = compare(cells, inputs[: lengths[1], 1:], timing_runs=1)
    for label in cells:
        np.testing.assert_array_equal(padded[label].trace.lengths, lengths)
        both, one = (comparison[label].flow_h.half_life().value for comparison in (padded, alone))
        assert both[1] == one[0]


def test_inputs_are_scanned_once_for_each_dtype(cells, inputs, monkeypatch):
    scans = []
    check = compare_module.check_inputs
    monkeypatch.setattr(
        compare_module, "check_inputs", lambda *arguments: scans.append(1) or check(*arguments)
    )
    monkeypatch.setattr("gatescope.recurrence.input_stream.check_inputs", too_late)
    compare({**cells, "single": cells["gru"].astype("float32")}, inputs, timing_runs=1)
    assert len(scans) == 2


def test_a_comparison_presents_itself_and_is_saved(comparison, tmp_path):
    table = comparison.table()
    assert list(table.header) == ["", *comparison.labels]
    assert dict((row[0], row[1:]) for row in table.rows)["parameters"] == tuple(
        measured.params.count() for measured in comparison
    )
    title, timing, meaning = comparison.summary().splitlines()
    assert meaning.startswith("steps to half: from which lag on")
    assert title == table.title == f"{STEPS} steps, 2 sequences"
    assert "median of 2 runs with at most 1 thread on the CPU" in timing
    comparison.save(tmp_path / "c.npz")
    assert gs.load(tmp_path / "c.npz") == comparison
    assert "<table>" in comparison._repr_html_()


def test_numbers_are_the_fits_medians(comparison):
    numbers = comparison.numbers()
    assert list(numbers) == list(comparison.labels) == ["rnn", "gru", "lstm"]
    for label, measured in zip(comparison.labels, comparison, strict=True):
        gradient = numbers[label]["gradient"]["h"]
        rate = measured.flow_h.decay_rate()
        assert gradient["decay_rate_nats_per_step"] == np.median(rate.value)
        assert gradient["r_squared"] == np.median(rate.r_squared)
        assert gradient["fit_range"] == [STEPS // 10, STEPS]
        assert gradient["asymptotic_half_life_steps"] == pytest.approx(
            np.median(np.log(2) / rate.value), rel=1e-12
        )
        assert numbers[label]["parameters"] == measured.params.count()
        assert numbers[label]["steps"] == STEPS
        assert numbers[label]["sequences"] == 2
        assert gradient["steps_to_half"] == np.median(measured.flow_h.steps_to_half())
    assert set(numbers["lstm"]["gradient"]) == {"joint", "h", "c"}
    assert set(numbers["gru"]["gradient"]) == {"joint", "h"}


def test_saturation_counts_the_trace(cells, inputs):
    # Great weights, so that there is something to count.
    params = dataclasses.replace(cells["lstm"], weight_ih=cells["lstm"].weight_ih * 8)
    measured = compare({"lstm": params}, inputs, timing_runs=1, left=0.2, right=0.7)["lstm"]
    fractions = []
    for name, (shut, opened) in measured.saturation.means().items():
        gate = gs.run(params, inputs).gate(name)
        assert shut == pytest.approx(np.mean(gate < 0.2), rel=1e-12)
        assert opened == pytest.approx(np.mean(gate > 0.7), rel=1e-12)
        assert shut > 0
        assert opened > 0
        fractions.append(shut + opened)
    assert set(measured.saturation.gates) == {"i", "f", "o"}
    assert measured.saturation.saturated() == pytest.approx(np.mean(fractions), rel=1e-12)


def test_a_sentence_on_each_cell_says_what_was_found(comparison):
    sentences = dict(zip(comparison.labels, findings(comparison), strict=True))
    for cell in comparison:
        numbers = cell.numbers()["gradient"]["joint"]
        assert (
            f"half of the gradient is gone after {text.steps(numbers['steps_to_half'])}"
            in sentences[cell.label]
        )
        assert f"halves every {text.steps(numbers['asymptotic_half_life_steps'])}" in sentences[cell.label]
    kept = dataclasses.replace(
        comparison["lstm"].flow, log_norm=np.zeros_like(comparison["lstm"].flow.log_norm)
    )
    (left,) = findings(Comparison(cells=(dataclasses.replace(comparison["lstm"], flow=kept),)))
    lags = int(kept.lag[-1])
    assert left.startswith(
        f"lstm: more than half of the gradient is left after {lags} steps, and its tail does not decay"
    )


def test_untrained_weights_are_said_to_be_and_others_are_not(comparison):
    assert untrained(comparison).startswith("Untrained weights: ")
    assert all(label in untrained(comparison) for label in comparison.labels)
    stack = gs.init_stack("lstm", input_size=1, hidden_size=5, heads=[gs.Head("y", 1)], seed=0)
    trained = stack.with_flat(np.zeros(stack.count())).layers[0]
    cell = comparison["lstm"]
    assert not untrained(Comparison(cells=(dataclasses.replace(cell, params=trained),)))
    loaded = dataclasses.replace(cell.params, provenance={"source": "model.safetensors"})
    assert not untrained(Comparison(cells=(dataclasses.replace(cell, params=loaded),)))


def test_the_glossary_has_the_equations_of_each_cell_once(comparison):
    terms = dict(glossary(comparison))
    for cell in comparison:
        assert terms[cell.params.cell] == gs.cells.get(cell.params.cell).description
    assert "c' = f * c + i * g" in terms["lstm"]
    assert "f: forget gate" in terms["letters"]


def test_a_cell_without_gates_has_no_fraction(comparison):
    assert comparison["rnn"].saturation.saturated() is None
    assert comparison["rnn"].saturation.gates == ()


def test_time_is_positive_and_says_how_it_was_taken(comparison):
    for measured in comparison:
        assert 0 < measured.nanoseconds < 1e9
        assert measured.timing_runs == 2
        assert measured.threads == 1
    assert comparison.provenance["threads"] == 1
    assert comparison.provenance["device"] == "cpu"


@pytest.mark.parametrize(
    ("name", "products", "activations", "operations"),
    # By hand, of one unit: each gate adds two biases; + the additions wx + rh; + the rest of the equations.
    [
        ("rnn", 1, 1, 2 + 1),
        ("rnn_relu", 1, 1, 2 + 1),
        ("lstm", 4, 5, 8 + 4 + 3 + 1),
        ("gru", 3, 3, 6 + 3 + 1 + 4),
        ("gru_reset_before", 3, 3, 6 + 3 + 1 + 4),
    ],
)
def test_arithmetic_by_hand(name, products, activations, operations):
    counted = count_operations(gs.cells.get(name), input_size=3, hidden_size=7)
    assert counted.multiply_adds == products * 7 * (3 + 7)
    assert counted.activations == activations * 7
    assert counted.elementwise == operations * 7


def test_arithmetic_leaves_out_what_a_gate_does_not_have():
    """A minGRU has neither recurrent rows nor their bias; beside 2 biases its equations have 4 operations."""
    counted = count_operations(gs.cells.get("min_gru"), input_size=3, hidden_size=7)
    assert counted.multiply_adds == 2 * 7 * 3
    assert (counted.activations, counted.elementwise) == (7, (4 + 2) * 7)


def test_arithmetic_leaves_the_equations_alone():
    cell = gs.cells.register(Leaky)
    counted = count_operations(cell, 1, 1)
    assert (counted.multiply_adds, counted.activations, counted.elementwise) == (4, 2, 4 + 1 + 4)
    half = np.zeros(1)
    ((h,), (a, n)) = cell.step((half, half), (half, half), (half + 1,))
    assert (a[0], n[0], h[0]) == (0.5, 0.0, 0.5)


def test_measurement_is_saved_and_loaded(comparison, tmp_path):
    for measured in comparison:
        path = tmp_path / f"{measured.label}.npz"
        measured.save(path)
        loaded = CellMeasurements.load(path)
        assert loaded.numbers() == measured.numbers()
        np.testing.assert_array_equal(loaded.trace.gates, measured.trace.gates)


def test_a_rate_takes_a_window(cells):
    for steps, known in ((1, False), (8, False), (40, True)):
        comparison = compare(cells, np.ones((steps, 3)), timing_runs=1)
        for numbers in comparison.numbers().values():
            gradient = numbers["gradient"]["h"]
            assert (gradient["decay_rate_nats_per_step"] is not None) == known
            assert (gradient["r_squared"] is not None) == known
            assert known or gradient["asymptotic_half_life_steps"] is None
            assert (gradient["no_rate"] is None) == known
            assert gradient["log_norm_at_longest_lag"] is not None


def test_a_gradient_of_zero_gives_no_rate():
    params = gs.init("rnn_relu", input_size=1, hidden_size=4)
    dead = dataclasses.replace(params, bias_ih=np.full_like(params.bias_ih, -10))
    gradient = compare({"dead": dead}, np.zeros((20, 1)), timing_runs=1).numbers()["dead"]["gradient"]["h"]
    assert gradient["decay_rate_nats_per_step"] is None
    assert gradient["asymptotic_half_life_steps"] is None
    assert gradient["no_rate"] == "fewer than two norms above 0"


def test_bad_arguments_say_so(cells, inputs, monkeypatch):
    with pytest.raises(DtypeError, match="mapping from labels"):
        compare(cells["rnn"], inputs)
    with pytest.raises(ValueRangeError, match="params_by_label is empty"):
        compare({}, inputs)
    with pytest.raises(DtypeError, match="label 3"):
        compare({3: cells["rnn"]}, inputs)
    with pytest.raises(ShapeError, match=r"gru: inputs has shape .*input_size = 3"):
        compare({"gru": cells["gru"]}, inputs[:, :, :2])
    with pytest.raises(ValueRangeError, match="timing_runs=0"):
        compare(cells, inputs, timing_runs=0)
    with pytest.raises(ValueRangeError, match="must be below `right`"):
        compare(cells, inputs, left=0.9, right=0.1)
    with pytest.raises(ValueRangeError, match="seed=-1"):
        compare(cells, inputs, seed=-1)
    monkeypatch.setattr("gatescope.kernels.cuda.driver.why_unavailable", lambda: "there is no GPU; buy one")
    backend._cuda_backend.cache_clear()
    with pytest.raises(DeviceError, match="device='cuda' cannot be used: there is no GPU; buy one"):
        compare(cells, inputs, device="cuda")
    with pytest.raises(UnknownNameError, match="device='gpu'"):
        compare(cells, inputs, device="gpu")
    with pytest.raises(UnknownNameError, match="label='gru2' is not known; choose from rnn, gru, lstm"):
        compare(cells, inputs, timing_runs=1)["gru2"]


def test_importing_brings_neither_matplotlib_nor_the_solvers_in():
    heavy = "{'matplotlib', 'scipy.optimize'} & set(sys.modules)"
    code = f"import sys, gatescope, gatescope.comparison.compare, gatescope.cli.main; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_threads_are_for_the_cpu(cells, inputs, monkeypatch):
    monkeypatch.setattr(compare_module, "check_device", lambda device: None)
    with pytest.raises(
        ValueRangeError, match=r"^threads=2 is for the cpu; leave it out with `device` 'cuda'"
    ):
        compare(cells, inputs, device="cuda", threads=2)


@pytest.mark.parametrize(
    ("cell", "gate"), [("lstm", "f, the gate that keeps"), ("leaky", "a, the gate that lets")]
)
def test_the_figure_of_trajectories_says_what_its_gate_does_with_the_memory(cell, gate):
    drawn, *_ = _trajectories(cell, make_trace(cell), cell, None)
    assert f"From the smallest to the greatest mean of {gate}" in drawn.caption
