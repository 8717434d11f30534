"""The sweeps forward and back against the slow oracle and NumPy, for launch plans of every kind."""

import naive
import numpy as np
import pytest
from helpers import cases
from helpers import gpu_sweeps as sweeps
from helpers.cases import assert_close
from helpers.gpu_sweeps import TOLERANCE, Sweeps, force
from helpers.launch_plans import (
    LAUNCH_PLANS,
    PLAIN,
    assert_all_close,
    check_backward,
    check_forward,
    emulated,
)

DTYPES = ["float32", "float64"]


@pytest.fixture
def designed(gpu, monkeypatch):
    """Force a design; skips what the simulator cannot run."""

    def force_on(products=False, **numbers):
        if gpu.name == "cudasim" and not products:
            pytest.skip("takes too long in Numba's simulator, which runs the plainest design of every cell")
        if gpu.name == "emulator":
            gpu.multiprocessors = 16
            if not products:
                sweeps.without_products(monkeypatch)
        force(monkeypatch, **numbers)

    return force_on


# With one block the kernels of both dtypes do the same.
PLAINEST = [
    pytest.param(cell, dtype, marks=[] if dtype == "float64" or cell == "lstm" else pytest.mark.slow)
    for cell in sweeps.CELLS
    for dtype in DTYPES
]
# Of the variants one of four states that divides, and one of more gates than the others.
PLAINEST += [pytest.param(cell, "float64", marks=pytest.mark.slow) for cell in ("slstm", "gru_uncoupled")]


@pytest.mark.parametrize(("cell", "dtype"), PLAINEST)
def test_every_cell_in_the_plainest_design(gpu, designed, cell, dtype):
    designed(products=True, **PLAIN)
    work = Sweeps(gpu, cell, dtype, T=3, B=2, I=2, H=7)
    check_forward(work, [3, 1])
    check_backward(work, [3, 1])


@pytest.mark.parametrize("design", [name for name in LAUNCH_PLANS if name != "plain"])
@pytest.mark.parametrize(
    ("cell", "dtype"),
    [("lstm", "float32"), pytest.param("two_phases", "float64", marks=pytest.mark.slow)],
)
def test_every_design(gpu, designed, cell, design, dtype):
    numbers = LAUNCH_PLANS[design]
    designed(**numbers)
    work = Sweeps(gpu, cell, dtype, T=3, B=5 if numbers.get("sequences", 1) > 1 else 2, I=3, H=13)
    lengths = [3, 2, 0, 1, 3][: work.shape[1]]
    check_forward(work, lengths)
    check_backward(work, lengths)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", sweeps.CELLS)
def test_every_cell_on_several_blocks(gpu, designed, cell, dtype):
    designed(parts=4, blocks=2, together=2, sequences=2, registers=1)
    work = Sweeps(gpu, cell, dtype, T=4, B=3, I=1, H=11)
    check_forward(work, [4, 0, 3])
    check_backward(work, [4, 0, 3])


@pytest.mark.parametrize(
    ("T", "B", "I", "H"), [(1, 1, 1, 1), (9, 1, 12, 3), (2, 3, 5, 13), (3, 5, 2, 7), (2, 1, 3, 33)]
)
@pytest.mark.parametrize("cell", ["lstm", "rnn", pytest.param("gru_reset_before", marks=pytest.mark.slow)])
def test_every_size_in_the_design_that_is_chosen(gpu, monkeypatch, cell, T, B, I, H):
    if gpu.name == "emulator":
        sweeps.without_products(monkeypatch)
    if gpu.name == "cudasim":
        pytest.skip(
            "the launch plans that are chosen add parts up with shuffles, which Numba's simulator lacks"
        )
    for dtype in DTYPES:
        work = Sweeps(gpu, cell, dtype, T=T, B=B, I=I, H=H)
        check_forward(work)
        check_backward(work)


@pytest.mark.parametrize(("cotangents", "final"), [(False, True), (True, False)])
@pytest.mark.parametrize("cell", ["lstm", "two_phases"])
def test_without_adjoints_of_the_outputs_or_of_the_end(gpu, designed, cell, cotangents, final):
    designed(**PLAIN)
    work = Sweeps(gpu, cell, T=3, B=2, H=5)
    check_backward(work, [2, 3], cotangents=cotangents, final=final)


def test_without_any_adjoint_all_gradients_are_0(gpu, designed):
    designed(**PLAIN)
    work = Sweeps(gpu, "lstm", T=2, B=2, H=5)
    actual = work.backward(work.traced(), cotangents=False, final=False)
    assert all((gradient == 0).all() for gradient in actual.values())


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
@pytest.mark.parametrize("numbers", [PLAIN, LAUNCH_PLANS["both"], LAUNCH_PLANS["three blocks"]], ids=str)
def test_past_the_end_the_state_and_the_adjoint_stay_and_the_gates_are_0(gpu, designed, cell, numbers):
    designed(**numbers)
    work = Sweeps(gpu, cell, T=4, B=3, H=9)
    lengths = [2, 0, 4]
    trace = work.traced(lengths)
    states, gates = trace.states, trace.gates
    actual = work.backward(trace, lengths)
    for b, length in enumerate(lengths):
        assert (states[length:, b] == states[length, b]).all()
        assert (gates[length:, b] == 0).all()
        assert (actual["adjoint"][length + 1 :, b] == work.case.final_adjoint[b]).all()
        assert (actual["inputs"][length:, b] == 0).all()


# What blocks exchange depends on the dtype: each design has one cell in each dtype, the other pairs are slow.
ALONE = [
    pytest.param(cell, LAUNCH_PLANS[plan], dtype, marks=marks, id=f"{cell}-{plan}-{dtype}")
    for cell, others in (("lstm", "float64"), ("two_phases", "float32"))
    for plan in ("plain", "both", "three blocks")
    for dtype in DTYPES
    for marks in ([pytest.mark.slow] if (dtype == others) == (plan == "three blocks") else [],)
]


@pytest.mark.parametrize(("cell", "numbers", "dtype"), ALONE)
def test_a_sequence_has_the_same_bits_alone_as_in_a_batch(gpu, designed, cell, numbers, dtype):
    designed(**numbers)
    many = Sweeps(gpu, cell, dtype, T=4, B=3, H=9)
    lengths = [4, 2, 3]
    trace = many.traced(lengths)
    states, gates = trace.states, trace.gates
    actual = many.backward(trace, lengths)
    for b, length in enumerate(lengths):
        one = Sweeps(gpu, cell, dtype, T=length, B=1, H=9)
        one.params = one.case.params = many.params
        for name in ("inputs", "output_adjoint"):
            setattr(one.case, name, getattr(many.case, name)[:length, b : b + 1])
        for name in ("initial_state", "final_adjoint"):
            setattr(one.case, name, getattr(many.case, name)[b : b + 1])
        alone = one.traced()
        np.testing.assert_array_equal(alone.states[:, 0], states[: length + 1, b])
        np.testing.assert_array_equal(alone.gates[:, 0], gates[:length, b])
        back = one.backward(alone)
        np.testing.assert_array_equal(back["adjoint"][:-1, 0], actual["adjoint"][:length, b])


# ---- what only the emulator can be asked ----------------------------------------------------------------------------


def results(work, lengths=None):
    trace = work.traced(lengths)
    return vars(trace) | work.backward(trace, lengths)


@pytest.mark.parametrize("seeds", [(0, 1), pytest.param((0, 2, 3), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "two_phases"])
@pytest.mark.parametrize("design", ["both", "three blocks", "spread"])
def test_the_schedule_does_not_change_a_bit(monkeypatch, cell, design, seeds):
    sweeps.without_products(monkeypatch)
    force(monkeypatch, **LAUNCH_PLANS[design])
    expected = None
    for seed in seeds:
        with emulated(seed=seed * 1000) as gpu:
            actual = results(Sweeps(gpu, cell, T=3, B=3, H=9), [3, 1, 2])
        for name, value in (expected or actual).items():
            np.testing.assert_array_equal(actual[name], value, err_msg=name)
        expected = actual


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
@pytest.mark.parametrize("design", ["parts", "both", "three blocks", "shared"])
def test_no_two_threads_use_shared_memory_without_a_barrier_between(monkeypatch, cell, design):
    sweeps.without_products(monkeypatch)
    force(monkeypatch, **LAUNCH_PLANS[design])
    with emulated(races=True) as gpu:
        work = Sweeps(gpu, cell, T=3, B=3, H=9)
        check_forward(work, [3, 0, 2])
        check_backward(work, [3, 0, 2])


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_more_groups_than_the_machine_holds_go_in_waves(monkeypatch, cell):
    """7 sequences, 2 a group of 2 blocks: 4 groups, of which 5 multiprocessors hold 2 at a time."""
    sweeps.without_products(monkeypatch)
    force(monkeypatch, parts=4, blocks=2, sequences=2)
    with emulated(multiprocessors=5) as gpu:
        work = Sweeps(gpu, cell, T=3, B=7, H=9)
        check_forward(work)
        assert [launch.grid for launch in gpu.launches if launch.cooperative] == [4, 4]
        check_backward(work)
        assert [launch.grid for launch in gpu.launches if launch.cooperative] == [4, 4] * 2
        directions = np.random.default_rng(0).standard_normal((7, 1, 1, 9))
        trace = work.expected_trace()
        actual = work.adjoints(directions).back(trace.states, trace.gates, 0, 3)
        expected = work.expected_adjoints(directions).back(trace.states, trace.gates, 0, 3)
        assert_close(actual, expected, 1e-12)


def sweeps_of(gpu):
    """How many sweeps back were launched."""
    return sum(launch.kernel.py_func.__name__ == "backward" for launch in gpu.launches)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "leaky"])
@pytest.mark.parametrize("steps", [1, 3])
def test_backward_in_segments_gives_the_same_gradients(monkeypatch, cell, steps):
    """Memory for a few steps of scratch: the adjoints are the same bits, the sums have another order."""
    sweeps.without_products(monkeypatch)
    force(monkeypatch, parts=4, sequences=2, together=2)
    lengths = [7, 4]
    with emulated() as gpu:
        work = Sweeps(gpu, cell, T=7, B=2, H=5)
        trace = work.traced(lengths)
        whole = work.backward(trace, lengths)
        assert sweeps_of(gpu) == 1
    from gatescope.kernels.cuda.memory_estimate import scratch_per_step

    free = 2 * steps * scratch_per_step(work.cell, 5, 2, work.dtype)
    with emulated(memory=(free, 1 << 34)) as gpu:
        work.gpu = gpu
        parts = work.backward(trace, lengths)
        assert sweeps_of(gpu) == -(-7 // steps)
    for name in ("adjoint", "inputs", "initial_state"):
        np.testing.assert_array_equal(parts[name], whole[name])
    assert_all_close(parts, whole, "float64", "segments:")


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_do_not_fit_are_streamed(monkeypatch, dtype):
    """A GPU so small that the weights of H = 33 are in registers and streamed, in the launch plans that are chosen."""
    from gatescope.kernels.cuda import launch_plan

    sweeps.without_products(monkeypatch)
    monkeypatch.setattr(launch_plan, "_REGISTERS", 4_000 if dtype == "float32" else 5_000)
    launch_plan.choose.cache_clear()
    try:
        with emulated(multiprocessors=1, shared_limit=6000) as gpu:
            work = Sweeps(gpu, "lstm", dtype, T=2, B=1, I=1, H=33)
            for backward in (False, True):
                tile = work.plan.launch_plan(1, backward=backward).first
                assert min(tile.registers, tile.streamed) > 0
                assert tile.registers + tile.shared + tile.streamed == tile.slice
            check_forward(work)
            check_backward(work)
    finally:
        launch_plan.choose.cache_clear()


# Each of the others takes seconds to compile for the CPU.
ON_CPU = [
    pytest.param(cell, dtype, marks=[] if (cell, dtype) == ("lstm", "float64") else pytest.mark.slow)
    for cell in sweeps.CELLS
    for dtype in DTYPES
    if dtype == "float64" or cell == "lstm"
]


@pytest.mark.parametrize(("cell", "dtype"), ON_CPU)
def test_what_the_gpu_is_compared_with_is_what_the_cpu_computes(monkeypatch, cell, dtype):
    with emulated() as gpu:
        work = Sweeps(gpu, cell, dtype, T=4, B=3, H=5)
    lengths = [4, 2, 0]
    trace, gradients = work.on_cpu(lengths)
    monkeypatch.setattr(naive, "STATES", {})  # NumPy's, for the cells that the oracle knows too
    expected_trace, expected = work.expected(lengths)
    assert_close(trace.states, expected_trace.states, TOLERANCE[dtype], "states")
    if trace.gates.size:
        assert_close(trace.gates, expected_trace.gates, TOLERANCE[dtype], "gates")
    assert_all_close(gradients, {name: expected[name] for name in gradients}, dtype)
    directions = np.random.default_rng(0).standard_normal((3, 1, len(work.cell.states), 5)).astype(dtype)
    on_cpu, by_numpy = work.adjoints_on_cpu(directions), work.expected_adjoints(directions)
    whole = work.expected_trace()
    norms, others = (one.back(whole.states, whole.gates, 0, 4) for one in (on_cpu, by_numpy))
    np.testing.assert_allclose(norms, others, rtol=0, atol=1e-10 if dtype == "float64" else 1e-4)


def test_own_cells_against_the_complex_step(monkeypatch):
    """Cells of this folder have no equations in the oracle: the loss along a line is differentiated instead."""
    force(monkeypatch, parts=4, sequences=2)
    for name in sweeps.OWN:
        with emulated() as gpu:
            work = Sweeps(gpu, name, T=4, B=2, H=5)
            actual = work.backward(work.traced())
        rng, tiny, arrays = np.random.default_rng(1), 1e-100, {}
        arguments = work.params.arrays() | {
            "inputs": work.case.inputs,
            "initial_state": work.case.initial_state,
        }
        lines = {key: rng.standard_normal(value.shape) for key, value in arguments.items()}
        arrays = {key: value + 1j * tiny * lines[key] for key, value in arguments.items()}
        loss = loss_of(work.cell, arrays, work.case)
        assert_close(
            sum((actual[key] * line).sum() for key, line in lines.items()), loss.imag / tiny, 1e-12, name
        )


def loss_of(cell, arrays, case):
    """Sum of outputs and final states times their adjoints, by the cell's own Python."""
    split = [np.split(arrays[name], len(cell.gates)) for name in cases.PARAMS]
    W, R, b, d = split
    P, G = cell.prepared, len(cell.gates)
    states, loss = tuple(arrays["initial_state"][:, k] for k in range(len(cell.states))), 0
    for x, seed in zip(arrays["inputs"], case.output_adjoint, strict=True):
        wx = [x @ W[g].T + b[g] for g in range(G)]
        vector, prepared = states[0], ()
        rh = [vector @ R[g].T + d[g] for g in range(P or G)]
        if P:
            ready = cell.prepare(wx[:P], rh, states)
            vector, prepared = cell.operand(ready, states), (ready,)
            wx, rh = wx[P:], [vector @ R[g].T + d[g] for g in range(P, G)]
        states, _ = cell.step(wx, rh, states, *prepared)
        loss = loss + (seed * states[0]).sum()
    return loss + sum((case.final_adjoint[:, k] * state).sum() for k, state in enumerate(states))


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_fast_activations_are_used_and_are_near(monkeypatch, cell):
    """The emulator's fast tanh is NumPy's: the sweep with it differs by roundings alone."""
    sweeps.without_products(monkeypatch)
    from gatescope.kernels.cuda import activations

    seen = []
    monkeypatch.setattr(activations, "approximate_tanh", lambda x: seen.append(1) or np.tanh(x))
    force(monkeypatch, parts=4)
    with emulated() as gpu:
        work = Sweeps(gpu, cell, "float32", T=3, B=1, H=5)
        check_forward(work)
        assert not seen
        states, _ = work.forward(fast_activations=True)
        assert len(seen) >= 3 * 5 * 3
    assert_close(states, work.expected_trace().states, TOLERANCE["float32"])
