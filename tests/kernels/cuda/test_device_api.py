"""``device="cuda"`` as users meet it: the same results as the CPU's, on the host or left on the GPU."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import BUILT_IN, assert_close, first, flat
from helpers.device_cases import LENGTHS, Adopting, Foreign, Slim, assert_bits, case_of
from helpers.stack_cases import random_stack

import gatescope as gs
from gatescope.cells.ranges import gate_ranges
from gatescope.comparison.compare import compare
from gatescope.errors import DeviceError, DtypeError, ShapeError, ValueRangeError
from gatescope.kernels.cuda import backend, driver

# Minutes in Numba's simulator, a thread of Python for each of a kernel's; seconds elsewhere.
pytestmark = [pytest.mark.slow] if driver.simulated else []

# float32: 32 roundings of 6e-8 over the few steps here; float64: what the issue asks for.
TOLERANCE = {"float64": 1e-12, "float32": 32 * 2.0**-24}


@pytest.fixture
def slim():
    """Return a user's cell, registered for one test."""
    yield gs.cells.register(Slim)
    gs.cells.registry._CELLS.pop("slim_test", None)


@pytest.fixture
def emulated():
    """Return an emulated GPU that counts and takes arrays of other libraries; not beside the simulator."""
    if driver.simulated:
        pytest.skip("the emulator needs the real numba.cuda")
    gpu = Adopting()
    with backend.use(gpu):
        yield gpu


def assert_same_results(actual, expected, tolerance):
    for name, value in expected.items():
        assert isinstance(actual[name], np.ndarray), name
        assert (actual[name].dtype, actual[name].shape) == (value.dtype, value.shape)
        if value.size:  # a vanilla network keeps no gates
            assert_close(actual[name], value, tolerance, name)


# ---- the same as the CPU ----

# In the emulator and the CPU's compiler, ten seconds each; in float32 a cell of one phase and one of two.
SAME = [
    pytest.param(cell, dtype, marks=[] if (cell, dtype) == ("lstm", "float64") else pytest.mark.slow)
    for cell in (*BUILT_IN, "slim_test")
    if cell != "rnn_relu"  # all but its activation is of rnn; test_sweeps.py has it
    for dtype in TOLERANCE
    if dtype == "float64" or cell in ("lstm", "gru_reset_before")
]


@pytest.mark.parametrize(("cell", "dtype"), SAME)
def test_the_same_as_the_cpu(gpu, slim, cell, dtype):
    case = case_of(cell, dtype)
    here, there = case.run(LENGTHS), case.run(LENGTHS, device="cuda")
    assert (here.inputs is case.inputs, type(there)) == (True, gs.Trace)
    assert_same_results(there.arrays(), here.arrays(), TOLERANCE[dtype])
    assert_same_results(flat(case.backprop(here, device="cuda")), flat(case.backprop(here)), TOLERANCE[dtype])
    for options in ({"wrt": "joint"}, {"norm": "spectral"}):
        flow = gs.gradient_flow(case.params, case.inputs, device="cuda", **options)
        expected = gs.gradient_flow(case.params, case.inputs, **options)
        assert_close(flow.log_norm, expected.log_norm, TOLERANCE[dtype], "log_norm")
        np.testing.assert_array_equal(flow.lag, expected.lag)


def test_provenance_names_the_device_and_what_stands_for_it(gpu):
    case = case_of("gru", "float32")
    params = dataclasses.replace(case.params, provenance={"seed": 7})
    trace = gs.run(params, case.inputs, device="cuda")
    grads = gs.backprop(params, trace, output_adjoint=case.output_adjoint, device="cuda")
    flow = gs.gradient_flow(params, case.inputs, device="cuda")
    for actual in (trace, grads, grads.params, flow):
        provenance = actual.provenance
        assert (provenance["device"], provenance["backend"], provenance["dtype"]) == (
            "cuda",
            gpu.name,
            "float32",
        )
        assert provenance["seed"] == 7
        assert "fast_activations" not in provenance
    assert "backend" not in case_of("lstm").run().provenance


def test_one_sequence_without_an_axis_of_its_own(gpu):
    case = case_of("lstm", B=1)
    trace = gs.run(case.params, case.inputs[:, 0], device="cuda")
    np.testing.assert_array_equal(trace.states, gs.run(case.params, case.inputs, device="cuda").states)
    grads = gs.backprop(case.params, trace, output_adjoint=case.output_adjoint[:, 0], device="cuda")
    assert grads.inputs.shape == (6, 1, 2)


def test_inputs_of_any_layout_and_real_dtype(gpu):
    case = case_of("rnn")
    expected = gs.run(case.params, case.inputs, device="cuda")
    turned = np.asfortranarray(case.inputs)
    assert_bits(gs.run(case.params, turned, device="cuda").arrays(), expected.arrays())
    counts = np.arange(36).reshape(6, 3, 2)
    assert_bits(
        gs.run(case.params, counts.tolist(), device="cuda").arrays(),
        gs.run(case.params, counts.astype("float64"), device="cuda").arrays(),
    )


def test_a_backward_direction(emulated):
    case = case_of("lstm", "float64")
    case.params = dataclasses.replace(case.params, reverse=True)
    here, there = case.run(LENGTHS), case.run(LENGTHS, device="cuda")
    assert there.reverse
    assert_same_results(there.arrays(), here.arrays(), TOLERANCE["float64"])
    actual, expected = case.backprop(here, device="cuda"), case.backprop(here)
    assert_same_results(flat(actual), flat(expected), TOLERANCE["float64"])
    with pytest.raises(DeviceError, match=r"params\.reverse=True is a backward direction"):
        gs.to_device(case.params)
    with pytest.raises(DeviceError, match="inputs is on the GPU, but `params` are a backward direction"):
        gs.run(case.params, emulated.to_device(case.inputs), device="cuda")
    params = dataclasses.replace(case.params, reverse=False, batch_first=True)
    with pytest.raises(
        ShapeError, match="batch_first=True, and axes are swapped on the host; give a NumPy array"
    ):
        gs.run(params, emulated.to_device(case.inputs), device="cuda")


def test_a_model_of_several_layers(emulated):
    model = random_stack("lstm 5 | lstm 5", "lstm 5")
    x = np.random.default_rng(0).standard_normal((3, 3, 2))
    lengths, adjoint = [3, 1, 2], np.ones((3, 3, 2))
    here = gs.run(model, x, lengths=lengths)
    there = gs.run(model, x, lengths=lengths, device="cuda")
    assert_close(there.outputs, here.outputs, TOLERANCE["float64"])
    for name in here:
        assert_same_results(there[name].arrays(), here[name].arrays(), TOLERANCE["float64"])
    grads = [gs.backprop(model, here, output_adjoint=adjoint, device=device) for device in ("cuda", "cpu")]
    assert_close(grads[0].params.flat(), grads[1].params.flat(), TOLERANCE["float64"])
    assert_close(grads[0].inputs, grads[1].inputs, TOLERANCE["float64"])
    moved = dataclasses.replace(model, layers=(model.layers[0], gs.to_device(model.layers[1])))
    with pytest.raises(DeviceError, match="has layers on the GPU; give them on the host"):
        gs.run(moved, x)


def test_results_are_saved_and_loaded(gpu, tmp_path):
    case = case_of("lstm", "float32")
    weights = gs.to_device(case.params)
    trace = gs.run(weights, case.inputs)
    results = {
        "params": weights.to_host(),
        "trace": trace.to_host(),
        "grads": gs.backprop(weights, trace, output_adjoint=case.output_adjoint).to_host(),
        "flow": gs.gradient_flow(weights, case.inputs),
    }
    for name, result in results.items():
        result.save(tmp_path / f"{name}.npz")
        loaded = gs.load(tmp_path / f"{name}.npz")
        assert type(loaded) is type(result)
        assert_bits(loaded.arrays(), result.arrays())
    assert gs.load(tmp_path / "trace.npz").provenance["backend"] == gpu.name


# ---- what stays on the GPU ----


@pytest.mark.slow
@pytest.mark.parametrize("cell", [*first("rnn", "lstm", "gru", "gru_reset_before"), "slim_test"])
def test_what_stays_there_has_the_same_bits(gpu, slim, cell):
    case = case_of(cell)
    on_gpu = case.run(LENGTHS, device="cuda")
    grads = case.backprop(on_gpu, device="cuda")
    weights = gs.to_device(case.params)
    trace = gs.run(weights, case.inputs, initial_state=case.initial_state, lengths=LENGTHS)
    actual = gs.backprop(weights, trace, output_adjoint=case.output_adjoint, final_adjoint=case.final_adjoint)
    assert (type(weights), type(trace), type(actual)) == (gs.Params, gs.Trace, gs.Gradients)
    assert all(result.on_device for result in (weights, trace, actual))
    assert_bits(weights.to_host().arrays(), case.params.arrays())
    assert_bits(trace.to_host().arrays(), on_gpu.arrays())
    assert_bits(flat(actual.to_host()), flat(grads))
    assert trace.to_host().gate_names == on_gpu.gate_names
    assert trace.to_host().gate_ranges == on_gpu.gate_ranges == gate_ranges(gs.cells.get(cell))
    flow = gs.gradient_flow(weights, case.inputs)
    assert_bits(flow.arrays(), gs.gradient_flow(case.params, case.inputs, device="cuda").arrays())
    assert flow.provenance["device"] == "cuda"


def test_nothing_is_copied_to_the_host_in_a_loop(emulated):
    case = case_of("gru", "float32")
    weights = gs.to_device(case.params)
    state = case.initial_state
    for _ in range(3):
        trace = gs.run(weights, case.inputs, initial_state=state)
        grads = gs.backprop(
            weights, trace, output_adjoint=case.output_adjoint, final_adjoint=case.final_adjoint
        )
        state = trace.final_state
    assert emulated.fetched == 0
    grads.to_host()
    assert emulated.fetched == 7
    trace.to_host()
    assert emulated.fetched == 11


def test_a_run_goes_on_from_the_final_state_there(gpu):
    case = case_of("lstm")
    weights = gs.to_device(case.params)
    whole = gs.run(weights, case.inputs).to_host()
    first = gs.run(weights, case.inputs[:4])
    second = gs.run(weights, case.inputs[4:], initial_state=first.final_state)
    np.testing.assert_array_equal(second.to_host().states, whole.states[4:])


def test_weights_go_there_once(emulated):
    case = case_of("rnn")
    weights = gs.to_device(case.params)
    assert gs.to_device(weights) is weights
    assert (weights.input_size, weights.hidden_size, weights.dtype) == (2, 5, np.float64)
    before = case.params.weight_hh.copy()
    case.params.weight_hh[:] = 0  # a copy, not a view
    np.testing.assert_array_equal(weights.to_host().weight_hh, before)
    trace = gs.run(weights, case.inputs, device="cuda")  # to say so again is no mistake
    assert trace.on_device


def test_results_of_the_host_leave_nothing_there(emulated):
    case = case_of("lstm")
    trace = case.run(device="cuda")
    case.backprop(trace, device="cuda")
    gs.gradient_flow(case.params, case.inputs, device="cuda")
    assert emulated.live == 0


# ---- arrays of other libraries ----


def test_arrays_of_other_libraries_are_taken_where_they_are(emulated):
    case = case_of("lstm", "float32")
    weights = gs.to_device(case.params)
    expected = gs.run(weights, case.inputs, initial_state=case.initial_state)
    grads = gs.backprop(
        weights, expected, output_adjoint=case.output_adjoint, final_adjoint=case.final_adjoint
    )
    arrays = (case.inputs, case.initial_state, case.output_adjoint, case.final_adjoint)
    inputs, state, cotangents, last = map(Foreign, arrays)
    trace = gs.run(weights, inputs, initial_state=state)
    actual = gs.backprop(weights, trace, output_adjoint=cotangents, final_adjoint=last)
    assert (emulated.adopted, emulated.fetched) == (4, 0)
    assert_bits(trace.to_host().arrays(), expected.to_host().arrays())
    assert_bits(flat(actual.to_host()), flat(grads.to_host()))
    # and with weights on the host, too
    host = gs.run(case.params, inputs, device="cuda")
    assert isinstance(host, gs.Trace)
    assert_bits(
        flat(gs.backprop(case.params, host, output_adjoint=cotangents, device="cuda")),
        flat(gs.backprop(case.params, host, output_adjoint=case.output_adjoint, device="cuda")),
    )


def test_one_sequence_there_without_an_axis_of_its_own(emulated):
    case = case_of("rnn", B=1)
    weights = gs.to_device(case.params)
    trace = gs.run(weights, Foreign(case.inputs[:, 0]))
    assert trace.inputs.shape == (6, 1, 2)
    grads = gs.backprop(weights, trace, output_adjoint=Foreign(case.output_adjoint[:, 0]))
    assert grads.inputs.shape == (6, 1, 2)


def test_strides_that_skip_nothing_are_contiguous(emulated):
    """An axis of one element may have any stride."""
    case = case_of("rnn", B=1)
    odd = Foreign(case.inputs, strides=(16, 4096, 8))
    gs.run(gs.to_device(case.params), odd)
    assert emulated.adopted == 1


def test_a_tensor_of_the_cpu_is_no_array_of_the_gpu(gpu):
    class Tensor:  # as PyTorch's on the CPU: it has the attribute, which raises
        is_cuda = False
        data = np.zeros((6, 3, 2))

        @property
        def __cuda_array_interface__(self):
            raise AttributeError(
                "Can't get __cuda_array_interface__ on non-CUDA tensor type: torch.FloatTensor"
            )

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.data, dtype)

    case = case_of("rnn")
    trace = gs.run(case.params, Tensor(), device="cuda")
    np.testing.assert_array_equal(trace.inputs, Tensor.data)
    assert gs.run(gs.to_device(case.params), Tensor(), lengths=LENGTHS).to_host().inputs.shape == (6, 3, 2)


def test_tensors_of_pytorch(gpu):
    torch = pytest.importorskip("torch")
    case = case_of("rnn", "float32")
    device = "cuda" if torch.cuda.is_available() and gpu.name == "cuda" else "cpu"
    inputs = torch.from_numpy(case.inputs).to(device)
    cotangents = torch.from_numpy(case.output_adjoint).to(device)
    weights = gs.to_device(case.params)
    trace = gs.run(weights, inputs)
    grads = gs.backprop(weights, trace, output_adjoint=cotangents).to_host()
    expected = gs.run(case.params, case.inputs, device="cuda")
    assert_bits(trace.to_host().arrays(), expected.arrays())
    assert_bits(
        flat(grads),
        flat(gs.backprop(case.params, expected, output_adjoint=case.output_adjoint, device="cuda")),
    )
    if device == "cuda":
        with pytest.raises(DtypeError, match="detach"):
            gs.run(weights, inputs.clone().requires_grad_())
        with pytest.raises(ShapeError, match="C-contiguous"):
            gs.run(weights, inputs.flip(0).transpose(0, 1).contiguous().transpose(0, 1))


# ---- the main job ----


def test_compare(gpu):
    cells = {name: gs.init(name, input_size=1, hidden_size=4, seed=0) for name in ("rnn", "lstm")}
    inputs = np.random.default_rng(0).standard_normal((12, 1))
    actual = compare(cells, inputs, device="cuda", timing_runs=1)
    expected = compare(cells, inputs, timing_runs=1)
    assert actual.provenance["device"] == "cuda"
    for name in cells:
        for key, value in expected[name].numbers().items():
            if not key.startswith("nanoseconds") and isinstance(value, float):
                assert actual[name].numbers()[key] == pytest.approx(value, rel=1e-4), (name, key)


@pytest.mark.parametrize("command", [["compare", "--cells", "rnn"], ["run", "--cell", "lstm"]])
def test_the_command_line(gpu, tmp_path, monkeypatch, command):
    from typer.testing import CliRunner

    from gatescope.cli import main

    monkeypatch.chdir(tmp_path)
    np.save("series.npy", np.random.default_rng(0).standard_normal((8, 1)))
    options = ["--inputs", "series.npy", "--hidden-size", "4", "--device", "cuda"]
    done = CliRunner().invoke(main.app, [*command, *options])
    assert done.exit_code == 0, done.output
    traces = [p for p in tmp_path.rglob("*.npz") if p.name != "series.npy"]
    if command[0] == "run":
        (path,) = traces
        trace = gs.load(path)
        assert (trace.provenance["device"], trace.provenance["backend"]) == ("cuda", gpu.name)
        params = gs.init("lstm", input_size=1, hidden_size=4, seed=0)
        assert_close(trace.states, gs.run(params, trace.inputs).states, TOLERANCE["float32"], "states")
    else:
        assert list(tmp_path.rglob("report.html"))


# ---- fast activations ----


def test_fast_activations_reach_the_kernels(emulated, monkeypatch):
    from gatescope.kernels.cuda import sweeps

    asked = []

    def spy(name):
        make = getattr(sweeps, name)

        def wrapped(*args, **keywords):
            asked.append((name, bool(args[-1]) if args[-1] in (True, False) else False))
            return make(*args, **keywords)

        monkeypatch.setattr(sweeps, name, wrapped)

    spy("make_forward")
    spy("make_backward")
    case = case_of("gru", "float32")
    trace = gs.run(case.params, case.inputs, device="cuda", fast_activations=True)
    grads = gs.backprop(
        case.params, trace, output_adjoint=case.output_adjoint, device="cuda", fast_activations=True
    )
    assert asked == [("make_forward", True), ("make_backward", True)]
    assert trace.provenance["fast_activations"] is True
    assert grads.provenance["fast_activations"] is True
    asked.clear()
    gs.run(case.params, case.inputs, device="cuda")
    assert asked == [("make_forward", False)]


def test_fast_activations_are_right_to_three_decimals(gpu):
    """On a GPU tanh.approx; the emulator's is exact, and rounds otherwise than the kernels' own tanh."""
    case = case_of("lstm", "float32")
    weights = gs.to_device(case.params)
    exact = gs.run(weights, case.inputs).to_host()
    fast = gs.run(weights, case.inputs, fast_activations=True)
    gs.backprop(weights, fast, output_adjoint=case.output_adjoint, fast_activations=True).to_host()
    # Six steps of at most 5e-4 each in tanh and 2.5e-4 in a sigmoid, not amplified by weights this small.
    assert 0 < np.abs(fast.to_host().states - exact.states).max() < 3e-3


@pytest.mark.parametrize(("dtype", "device"), [("float32", "cpu"), ("float64", "cuda"), ("float32", None)])
def test_fast_activations_where_there_are_none(gpu, dtype, device):
    case = case_of("gru", dtype)
    trace = case.run()
    seen = f"these are {device or 'cpu'!r} and {dtype}; leave it out"
    with pytest.raises(
        ValueRangeError, match=r"fast_activations=True needs the device 'cuda' and float32.*" + seen
    ):
        case.run(device=device, fast_activations=True)
    with pytest.raises(ValueRangeError, match=seen):
        case.backprop(trace, device=device, fast_activations=True)
