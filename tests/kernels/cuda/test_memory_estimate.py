"""The memory estimate is what is really allocated, and what it advises is true."""

import gc
import re

import numpy as np
import pytest
from helpers.cases import BUILT_IN, Case, assert_close, flat
from helpers.counting_gpu import CountingGpu
from helpers.device_cases import Slim

import gatescope as gs
from gatescope.errors import DeviceError
from gatescope.kernels.cuda import backend, driver, memory_estimate, sweeps
from gatescope.kernels.cuda.launch_plan import DeviceProperties

if driver.simulated:
    pytest.skip("the emulator needs the real numba.cuda", allow_module_level=True)

DTYPES = ("float32", "float64")
# A GPU's: the plan of large cells spreads over many blocks.
GPU = {"multiprocessors": 132, "shared_limit": 231_424}
SIZES = [
    {"T": 500, "B": 40, "I": 1, "H": 16},
    {"T": 300, "B": 64, "I": 96, "H": 64},
    {"T": 40, "B": 24, "I": 8, "H": 256},
    {"T": 3000, "B": 1, "I": 3, "H": 7},
]
MEGABYTE = 1 << 20


def watched(capacity=1 << 40, *, computes=False):
    return CountingGpu(capacity, computes=computes, **GPU)


def params_of(cell, dtype, size):
    return gs.init(cell, input_size=size["I"], hidden_size=size["H"], seed=0, dtype=dtype)


def data_of(dtype, size):
    return np.zeros((size["T"], size["B"], size["I"]), dtype), np.ones(
        (size["T"], size["B"], size["H"]), dtype
    )


def blank_trace(params, inputs):
    """Return a trace of zeros, for a GPU that does not compute: the CPU's kernels would take seconds to compile."""
    cell, (T, B, _), H = gs.cells.get(params.cell), inputs.shape, params.hidden_size
    return gs.Trace(
        cell=cell.name,
        inputs=inputs,
        states=np.zeros((T + 1, B, len(cell.states), H), params.dtype),
        gates=np.zeros((T, B, len(cell.saved), H), params.dtype),
        lengths=np.full(B, T),
        state_names=cell.states,
        gate_names=cell.saved,
    )


def plan_of(call, params, size, free=None, **options):
    whole = memory_estimate.Call(
        name=call, cell=gs.cells.get(params.cell), hidden_size=size["H"], steps=size["T"], batch=size["B"],
        input_size=size["I"], dtype=params.dtype, **options,
    )  # fmt: skip
    return memory_estimate.estimate(whole, free)


def peak_of(gpu, work):
    """Bytes that `work` has alive at most beyond what is there before."""
    before = gpu.peak = gpu.live
    work()
    return gpu.peak - before


def assert_planned(peak, plan):
    """At most what was planned, and not much less: one array that only lives before or after the others."""
    assert peak <= plan.total, f"{peak:,} bytes, but the plan was {plan}"
    assert peak >= 0.88 * plan.total, f"only {peak:,} bytes, but the plan was {plan}"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", BUILT_IN)
def test_the_plan_is_what_is_allocated(cell, dtype, size):
    params, (inputs, cotangents) = params_of(cell, dtype, size), data_of(dtype, size)
    gpu = watched()
    with backend.use(gpu):
        plan = plan_of("run", params, size)
        assert_planned(peak_of(gpu, lambda: gs.run(params, inputs, device="cuda")), plan)
        trace = blank_trace(params, inputs)
        plan = plan_of("backprop", params, size)
        assert_planned(
            peak_of(gpu, lambda: gs.backprop(params, trace, output_adjoint=cotangents, device="cuda")), plan
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", BUILT_IN)
def test_the_plan_leaves_out_what_is_there_already(cell, dtype):
    size = SIZES[0]
    params, (inputs, cotangents) = params_of(cell, dtype, size), data_of(dtype, size)
    gpu = watched()
    with backend.use(gpu):
        weights = gs.to_device(params)
        plan = plan_of("run", params, size, on_device=["weights"])
        peak = peak_of(gpu, lambda: gs.run(weights, inputs))
        assert_planned(peak, plan)
        trace = gs.run(weights, inputs)
        plan = plan_of("backprop", params, size, on_device=["weights", "trace"])
        assert_planned(peak_of(gpu, lambda: gs.backprop(weights, trace, output_adjoint=cotangents)), plan)
        plan = plan_of("backprop", params, size, on_device=["weights", "trace"], output_adjoint=False)
        last = np.ones(trace.states.shape[1:], dtype)
        assert_planned(
            peak_of(gpu, lambda: gs.backprop(weights, trace, final_adjoint=last)),
            plan,
        )


def test_projections_that_need_room_of_their_own_are_planned():
    """A cell with more gates than states and saved values."""
    gs.cells.register(Slim)
    try:
        size = SIZES[0]
        params, (inputs, cotangents) = params_of("slim_test", "float32", size), data_of("float32", size)
        gpu = watched()
        with backend.use(gpu):
            plan = plan_of("run", params, size)
            assert plan.parts["input projections"] > 0
            assert_planned(peak_of(gpu, lambda: gs.run(params, inputs, device="cuda")), plan)
            trace = blank_trace(params, inputs)
            plan = plan_of("backprop", params, size)
            assert_planned(
                peak_of(gpu, lambda: gs.backprop(params, trace, output_adjoint=cotangents, device="cuda")),
                plan,
            )
    finally:
        gs.cells.registry._CELLS.pop("slim_test")


# ---- what the check lets through fits, and what it does not would not ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru_reset_before"])
def test_what_is_let_through_fits(cell, dtype):
    """At every capacity between far too little and plenty: either an error before anything is there, or no error."""
    size = {"T": 200, "B": 24, "I": 5, "H": 40}
    params, (inputs, cotangents) = params_of(cell, dtype, size), data_of(dtype, size)
    trace = blank_trace(params, inputs)
    with backend.use(watched()):
        least = {call: plan_of(call, params, size).least for call in memory_estimate.CALLS}
        most = plan_of("backprop", params, size).total
    segments = set()
    for capacity in np.geomspace(least["run"] / 3, 2.5 * most, 60).astype(int):
        gpu = watched(int(capacity))
        with backend.use(gpu):
            for call, work in (
                ("run", lambda: gs.run(params, inputs, device="cuda")),
                ("backprop", lambda: gs.backprop(params, trace, output_adjoint=cotangents, device="cuda")),
            ):
                plan = plan_of(call, params, size, free=int(capacity))
                gpu.peak = 0
                if capacity < 0.999 * least[call]:
                    with pytest.raises(DeviceError, match="of GPU memory"):
                        work()
                    assert gpu.peak == 0  # nothing was begun
                    continue
                work()
                assert gpu.live == 0, "a result of NumPy arrays keeps nothing on the device"
                assert gpu.peak <= min(plan.total, memory_estimate.USABLE * capacity)
                segments.add(plan.segments)
    assert len(segments) > 1 or cell == "rnn"  # whose scratch is less than what the reserve leaves


def test_what_would_not_be_let_through_does_not_fit():
    """`least` is no more than the reserve above what is taken: too careful a plan would turn work away."""
    size = {"T": 400, "B": 24, "I": 5, "H": 40}
    params, (inputs, _) = params_of("lstm", "float32", size), data_of("float32", size)
    gpu = watched()
    with backend.use(gpu):
        least = plan_of("run", params, size).least
        peak = peak_of(gpu, lambda: gs.run(params, inputs, device="cuda"))
    assert least <= 1.02 * peak / memory_estimate.USABLE


# Of others the scratch is too little.
@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_segments_give_the_same_gradients(cell):
    """Little memory: the gradients of the weights are added up in several segments."""
    case = Case(cell, T=24, B=3, I=2, H=5)
    expected = flat(case.backprop(case.run([24, 7, 15])))
    gpu = CountingGpu()
    with backend.use(gpu):
        plan = plan_of("backprop", case.params, {"T": 24, "B": 3, "I": 2, "H": 5})
    gpu = CountingGpu(plan.least)
    with backend.use(gpu):
        grads = flat(case.backprop(case.run([24, 7, 15]), device="cuda"))
    assert memory_estimate.estimate(plan.call, plan.least).segments > 1
    for name, value in expected.items():
        assert_close(grads[name], value, 1e-12, name)


# ---- the advice ----


def refusal(work):
    with pytest.raises(DeviceError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    return message


def number(pattern, message):
    actual = re.search(pattern, message)
    assert actual, f"{pattern!r} is not in {message!r}"
    return int(actual[1].replace(",", ""))


@pytest.mark.parametrize("call", memory_estimate.CALLS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru_reset_before"])
def test_the_batch_that_is_said_to_fit_fits(cell, call):
    size = {"T": 200, "B": 40, "I": 5, "H": 40}
    params, (inputs, cotangents) = params_of(cell, "float64", size), data_of("float64", size)
    with backend.use(watched()):
        capacity = plan_of(call, params, size).least // 3
    gpu = watched(capacity)

    def work(count):
        part = np.ascontiguousarray(inputs[:, :count])
        if call == "run":
            return gs.run(params, part, device="cuda")
        return gs.backprop(
            params, blank_trace(params, part), output_adjoint=cotangents[:, :count], device="cuda"
        )

    with backend.use(gpu):
        message = refusal(lambda: work(40))
        count = number(r"split the batch: ([\d,]+) of the 40 sequences", message)
        assert 8 <= count < 40
        work(count)
        assert gpu.peak <= capacity
        refusal(lambda: work(count + 2))  # no needlessly small one; the launch plan may change at one more
    assert "float32" not in message  # which would need half of the least, and a third is there
    assert "choose `device` 'cpu'" in message
    assert message.startswith(f"{call} of {cell} with 40 units in float64, 200 steps, 40 sequences needs ")


@pytest.mark.parametrize("call", memory_estimate.CALLS)
def test_float32_is_advised_where_it_fits(call):
    size = {"T": 200, "B": 40, "I": 5, "H": 40}
    params, (inputs, cotangents) = params_of("gru", "float64", size), data_of("float64", size)
    with backend.use(watched()):
        capacity = int(plan_of(call, params, size).least * 0.6)
    single, (inputs32, cotangents32) = params_of("gru", "float32", size), data_of("float32", size)

    def work(params, inputs, cotangents):
        if call == "run":
            return gs.run(params, inputs, device="cuda")
        return gs.backprop(params, blank_trace(params, inputs), output_adjoint=cotangents, device="cuda")

    with backend.use(watched(capacity)):
        assert "choose `dtype` 'float32', which fits" in refusal(lambda: work(params, inputs, cotangents))
        work(single, inputs32, cotangents32)


def test_the_steps_that_are_said_to_fit_fit_and_give_the_same():
    """One sequence cannot be split; its parts are run one after another, and differentiated in backward."""
    case = Case("lstm", T=60, B=1, I=2, H=5)
    whole = case.run()
    exact = case.backprop(whole)
    size = {"T": 60, "B": 1, "I": 2, "H": 5}
    with backend.use(CountingGpu()):
        capacity = {call: int(plan_of(call, case.params, size).least * 0.7) for call in memory_estimate.CALLS}
    with backend.use(CountingGpu(capacity["run"])):
        count = number(
            r"take (\d+) of the 60 steps at a time, each from the final",
            refusal(lambda: case.run(device="cuda")),
        )
        traces, state = [], case.initial_state
        for begin in range(0, 60, count):
            traces.append(
                gs.run(case.params, case.inputs[begin : begin + count], initial_state=state, device="cuda")
            )
            state = traces[-1].final_state
    assert_close(np.concatenate([part.states[1:] for part in traces]), whole.states[1:], 1e-13, "states")
    with backend.use(CountingGpu(capacity["backprop"])):
        message = refusal(lambda: case.backprop(whole, device="cuda"))
        count = number(r"take (\d+) of the 60 steps at a time, the last first", message)
        begins = range(0, 60, count)
        adjoint, total = case.final_adjoint, 0.0
        for begin in reversed(begins):
            piece = slice(begin, begin + count)
            state = whole.states[begin]
            part = gs.run(case.params, case.inputs[piece], initial_state=state)
            grads = gs.backprop(
                case.params,
                part,
                output_adjoint=case.output_adjoint[piece],
                final_adjoint=adjoint,
                device="cuda",
            )
            adjoint, total = grads.initial_state, total + grads.params.weight_hh
    assert_close(adjoint, exact.initial_state, 1e-12, "initial_state")
    assert_close(total, exact.params.weight_hh, 1e-12, "weight_hh")


def test_pending_frees_are_done_before_a_call_is_refused():
    """Numba frees in bunches: what is refused at first may fit when they are done."""
    size = SIZES[0]
    params, (inputs, _) = params_of("lstm", "float32", size), data_of("float32", size)

    class Hoarding(CountingGpu):
        def memory(self):
            free, total = super().memory()
            return (free if self.reclaimed else free // 100), total

    gpu = Hoarding(1 << 25, computes=False, **GPU)
    with backend.use(gpu):
        assert plan_of("run", params, size).least > gpu.memory()[0]
        gs.run(params, inputs, device="cuda")
        assert gpu.reclaimed == 1


# ---- memory that runs out in spite of the estimate ----


@pytest.mark.parametrize("call", memory_estimate.CALLS)
def test_memory_that_runs_out_later_is_explained(call):
    """Another process took it between the check and the allocation."""
    size = SIZES[0]
    params, (inputs, cotangents) = params_of("lstm", "float32", size), data_of("float32", size)
    trace = blank_trace(params, inputs)

    class Losing(CountingGpu):
        def memory(self):
            return (1 << 40, 1 << 40) if not self.reclaimed else super().memory()

    gpu = Losing(MEGABYTE, computes=False, **GPU)
    with backend.use(gpu):
        message = refusal(
            lambda: (
                gs.run(params, inputs, device="cuda")
                if call == "run"
                else gs.backprop(params, trace, output_adjoint=cotangents, device="cuda")
            )
        )
        assert message.startswith("the GPU's memory ran out while ")
        assert f"{call} of lstm with 16 units in float32, 500 steps, 40 sequences needs " in message
        assert "1.00 MiB are free" in message
        assert "split the batch" in message
    gc.collect()  # the error's frames
    assert gpu.live == 0  # nothing is left behind


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "width"),
    [("gru", 40), ("rnn", 3)],
)
def test_gradient_flow_fits_by_itself(cell, width):
    """In half of what the run would take: shorter segments, the same log-norms; inputs may be wide."""
    size = {"T": 60, "B": 3, "I": width, "H": 5}
    case = Case(cell, **size)
    exact = gs.gradient_flow(case.params, case.inputs)
    with backend.use(CountingGpu()):
        needed = plan_of("run", case.params, size).total
    gpu = CountingGpu(needed // 2)
    with backend.use(gpu):
        refusal(lambda: gs.run(case.params, case.inputs, device="cuda"))
        flow = gs.gradient_flow(case.params, case.inputs, device="cuda")
    assert gpu.peak <= gpu.capacity
    np.testing.assert_allclose(flow.log_norm, exact.log_norm, rtol=1e-12, atol=1e-12)


# ---- the estimate itself ----


def test_the_scratch_takes_half_of_what_is_free():
    size = {"T": 100_000, "B": 40, "I": 1, "H": 64}
    params = params_of("lstm", "float32", size)
    estimate = plan_of("backprop", params, size, free=16 << 30, properties=DeviceProperties(132, 231_424))
    assert str(estimate.call) == "backprop of lstm with 64 units in float32, 100,000 steps, 40 sequences"
    assert estimate.total == sum(estimate.parts.values())
    assert estimate.segments > 1
    assert estimate.parts["adjoints of gates"] < 8 << 30


def test_an_estimate_needs_no_gpu():
    size = {"T": 4, "B": 5, "I": 2, "H": 3}
    parts = plan_of("run", params_of("rnn", "float64", size), size).parts
    assert parts["states"] == 5 * 5 * 3 * 8
    assert parts["inputs"] == 4 * 5 * 2 * 8


def test_the_scratch_of_a_step_is_what_the_sweep_takes():
    """Of the module that allocates it: a cell of two phases saves its second operand too."""
    assert sweeps.scratch_per_step is memory_estimate.scratch_per_step
    one = 4 * 3 * 8
    expected = {"rnn": 1, "rnn_relu": 1, "lstm": 4, "gru": 6, "gru_reset_before": 7}
    for cell, rows in expected.items():
        assert (
            memory_estimate.scratch_per_step(gs.cells.get(cell), 8, 3, np.dtype("float32")) == rows * one
        ), cell
