"""Bad input to ``device="cuda"``: each error says what was seen and what to do, before anything begins."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.cases import flat
from helpers.device_cases import LENGTHS, Adopting, Foreign, assert_bits, case_of

import gatescope as gs
from gatescope.errors import DeviceError, DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cuda import backend, driver

# Minutes in Numba's simulator, a thread of Python for each of a kernel's; seconds elsewhere.
pytestmark = [pytest.mark.slow] if driver.simulated else []


@pytest.fixture
def emulated():
    """Return an emulated GPU that counts and takes arrays of other libraries; not beside the simulator."""
    if driver.simulated:
        pytest.skip("the emulator needs the real numba.cuda")
    gpu = Adopting()
    with backend.use(gpu):
        yield gpu


@pytest.fixture
def untouched(emulated):
    """Return the emulated GPU, which must have computed and kept nothing."""
    yield emulated
    assert emulated.launches == []
    assert emulated.live == 0


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:0", "", 0, True])
def test_a_device_that_does_not_exist(untouched, device):
    case = case_of("rnn")
    trace = case.run()
    for work in (
        lambda: case.run(device=device),
        lambda: case.backprop(trace, device=device),
        lambda: gs.gradient_flow(case.params, case.inputs, device=device),
    ):
        with pytest.raises(
            UnknownNameError, match=r"device=.* is not known; the devices are 'cpu' and 'cuda'"
        ):
            work()


def test_threads_are_the_cpus(untouched):
    case = case_of("rnn")
    trace = case.run()
    for work in (
        lambda: case.run(device="cuda", threads=2),
        lambda: case.backprop(trace, device="cuda", threads=2),
        lambda: gs.gradient_flow(case.params, case.inputs, device="cuda", threads=2),
    ):
        with pytest.raises(
            ValueRangeError, match="threads=2 is for the cpu; leave it out with `device` 'cuda'"
        ):
            work()


def test_the_cpu_and_weights_on_the_gpu(gpu):
    case = case_of("rnn")
    weights = gs.to_device(case.params)
    trace = gs.run(weights, case.inputs)
    for work in (
        lambda: gs.run(weights, case.inputs, device="cpu"),
        lambda: gs.backprop(weights, trace, output_adjoint=case.output_adjoint, device="cpu"),
        lambda: gs.gradient_flow(weights, case.inputs, device="cpu"),
    ):
        with pytest.raises(DeviceError, match=r"params are on the GPU, but `device` is 'cpu'; .*to_host\(\)"):
            work()


@pytest.mark.parametrize("value", ["no", 1, None, np.array([True, False])])
def test_fast_activations_are_true_or_false(untouched, value):
    case = case_of("rnn", "float32")
    trace = case.run()
    for work in (
        lambda: case.run(device="cuda", fast_activations=value),
        lambda: case.run(fast_activations=value),
        lambda: case.backprop(trace, device="cuda", fast_activations=value),
    ):
        with pytest.raises(ValueRangeError, match=r"fast_activations=.* must be True or False"):
            work()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"cell": "gru"},
            ShapeError,
            r"weight_hh has shape \(20, 5\), but should have \(15, 5\), .* for 'gru'",
        ),
        ({"cell": "none"}, UnknownNameError, "cell='none' is not known"),
        (
            {"weight_hh": np.ones((20, 4))},
            ShapeError,
            r"weight_hh has shape \(20, 4\), but should have \(16, 4\)",
        ),
        ({"bias_hh": np.ones(19)}, ShapeError, r"bias_hh has shape \(19,\), but should have \(20,\)"),
        (
            {"bias_ih": np.ones(20, "float32")},
            DtypeError,
            "bias_ih has dtype float32, but `weight_hh` has float64",
        ),
    ],
)
def test_weights_on_the_gpu_put_together_by_hand(emulated, change, error, message):
    case = case_of("lstm")
    weights = gs.to_device(case.params)
    arrays = {n: emulated.to_device(v) if isinstance(v, np.ndarray) else v for n, v in change.items()}
    changed = dataclasses.replace(weights, **arrays)
    with pytest.raises(error, match=message):
        gs.run(changed, case.inputs)
    assert emulated.launches == []


def test_weights_of_which_some_are_on_the_gpu(emulated):
    case = case_of("rnn")
    mixed = dataclasses.replace(gs.to_device(case.params), bias_ih=case.params.bias_ih)
    with pytest.raises(
        DeviceError, match=r"bias_ih is not on the GPU, but weight_ih is; .*gatescope\.to_device"
    ):
        gs.run(mixed, case.inputs)
    assert emulated.launches == []


def test_measurements_name_the_way_to_the_host(emulated):
    case = case_of("rnn")
    weights = gs.to_device(case.params)
    for measure in (gs.lyapunov_spectrum, gs.half_life, gs.connectivity):
        with pytest.raises(DeviceError, match=r"params are on the GPU.*params\.to_host\(\)"):
            measure(weights, case.inputs)


@pytest.mark.parametrize("device", [None, "cpu", "cuda"])
def test_weights_and_trace_in_two_places(gpu, device):
    case = case_of("rnn")
    weights = gs.to_device(case.params)
    there, here = gs.run(weights, case.inputs), case.run()
    with pytest.raises(DeviceError, match=r"to_device\(params\)"):
        gs.backprop(case.params, there, output_adjoint=case.output_adjoint, device=device)
    if device != "cpu":
        with pytest.raises(DeviceError, match=r"trace is not on the GPU, but `params` are; .*to_host\(\)"):
            gs.backprop(weights, here, output_adjoint=case.output_adjoint, device=device)
        with pytest.raises(DtypeError, match="trace is a ndarray; give a Trace"):
            gs.backprop(weights, case.inputs, output_adjoint=case.output_adjoint, device=device)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (
            {"cell": "rnn_relu"},
            "made by a 'rnn_relu' cell, but `params` are of a 'rnn'; run these params first",
        ),
        (
            {"H": 4},
            r"trace.states has shape \(7, 3, 1, 4\), but should have \(7, 3, 1, 5\), .* of these params",
        ),
        ({"I": 3}, r"trace.inputs has shape \(6, 3, 3\), but should have \(6, 3, 2\), .* of these params"),
        (
            {"dtype": "float32"},
            "trace.inputs has dtype float32, but `params` have float64; run these params first",
        ),
    ],
)
def test_a_trace_of_other_weights(gpu, options, seen):
    case = case_of("rnn")
    other = case_of(**{"cell": "rnn", **options})
    trace = gs.run(gs.to_device(other.params), other.inputs)
    with pytest.raises((ShapeError, DtypeError), match=seen):
        gs.backprop(gs.to_device(case.params), trace, output_adjoint=case.output_adjoint)
    with pytest.raises((ShapeError, DtypeError), match=r"run these params first|of these params"):
        gs.backprop(case.params, trace.to_host(), output_adjoint=case.output_adjoint, device="cuda")


@pytest.mark.parametrize("name", ["inputs", "initial_state", "output_adjoint", "final_adjoint"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: Foreign(a.astype("float32")), DtypeError, "has dtype float32 on the GPU, but params have float64"),
        (lambda a: Foreign(a.astype("int64")), DtypeError, "has dtype int64 on the GPU, but params have float64"),
        (lambda a: Foreign(np.asfortranarray(a)), ShapeError, r"strides .*not C-contiguous; make a contiguous"),
        (lambda a: Foreign(a[..., ::2]), ShapeError, "not C-contiguous"),
        (lambda a: Foreign(a, strides=(0,) * a.ndim), ShapeError, "not C-contiguous"),
        (lambda a: Foreign(np.concatenate([a, a], axis=-1)), ShapeError, r"has shape .* should"),
        (lambda a: Foreign(a[None]), ShapeError, r"has shape .* should"),
        (lambda a: Foreign(a[0, 0]), ShapeError, r"has shape .* should"),
        (lambda a: Foreign(a[:0]), ShapeError, "at least one step and one sequence"),
        (lambda a: Foreign(a, mask=object()), DtypeError, "has a mask; fill it there"),
    ],
    ids=[
        "float32", "int64", "fortran", "every second", "repeated", "too wide", "axis more", "axes less", "empty",
        "mask",
    ],
)  # fmt: skip
def test_arrays_on_the_gpu_that_do_not_fit(emulated, name, change, error, message):
    case = case_of("lstm")
    trace = case.run()
    value = change(getattr(case, name))
    work = {
        "inputs": lambda: gs.run(case.params, value, device="cuda"),
        "initial_state": lambda: gs.run(case.params, case.inputs, initial_state=value, device="cuda"),
        "output_adjoint": lambda: gs.backprop(case.params, trace, output_adjoint=value, device="cuda"),
        "final_adjoint": lambda: gs.backprop(case.params, trace, final_adjoint=value, device="cuda"),
    }[name]
    with pytest.raises(error, match=rf"^{name}.*{message}"):
        work()
    assert emulated.launches == []
    assert emulated.live == 0


def test_a_tensor_that_will_not_be_read(untouched):
    class Tensor:  # as PyTorch's on the GPU that requires gradients
        is_cuda = True

        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")

    case = case_of("rnn")
    with pytest.raises(DtypeError, match=r"inputs on the GPU cannot be read \(Can't get.*detach it"):
        gs.run(case.params, Tensor(), device="cuda")


def test_lengths_belong_on_the_host(untouched):
    case = case_of("rnn")
    with pytest.raises(DtypeError, match="lengths is on the GPU; give a list or a NumPy array"):
        gs.run(case.params, case.inputs, lengths=Foreign(np.array([6, 2, 4])), device="cuda")
    with pytest.raises(ValueRangeError, match=r"lengths\[0\] is 7, but should lie in 0..6"):
        gs.run(case.params, case.inputs, lengths=[7, 2, 4], device="cuda")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(untouched, value):
    case = case_of("lstm")
    trace = case.run()
    for name, work in {
        "inputs": lambda a: gs.run(case.params, a, device="cuda"),
        "initial_state": lambda a: gs.run(case.params, case.inputs, initial_state=a, device="cuda"),
        "output_adjoint": lambda a: gs.backprop(case.params, trace, output_adjoint=a, device="cuda"),
        "final_adjoint": lambda a: gs.backprop(case.params, trace, final_adjoint=a, device="cuda"),
        "weight_hh": lambda a: gs.to_device(dataclasses.replace(case.params, weight_hh=a)),
    }.items():
        array = (getattr(case, name) if hasattr(case, name) else getattr(case.params, name)).copy()
        at = (1,) * array.ndim
        array[at] = value
        where = ", ".join(map(str, at))
        with pytest.raises(ValueRangeError, match=rf"{name}\[{where}\] is {value}; remove or replace"):
            work(array)


def test_seeds_past_the_end_are_ignored_whatever_they_are(gpu):
    case = case_of("gru")
    weights = gs.to_device(case.params)
    trace = gs.run(weights, case.inputs, lengths=LENGTHS)
    expected = gs.backprop(weights, trace, output_adjoint=case.output_adjoint).to_host()
    cotangents = case.output_adjoint.copy()
    cotangents[2:, 1] = np.nan
    cotangents[4:, 2] = np.inf
    assert_bits(flat(gs.backprop(weights, trace, output_adjoint=cotangents).to_host()), flat(expected))
    host = trace.to_host()
    assert_bits(
        flat(gs.backprop(case.params, host, output_adjoint=cotangents, device="cuda")), flat(expected)
    )
    cotangents[1, 1, 0] = np.nan
    with pytest.raises(ValueRangeError, match=r"output_adjoint\[1, 1, 0\] is nan"):
        gs.backprop(weights, trace, output_adjoint=cotangents)


@pytest.mark.parametrize("params", [None, {}, "lstm"])
def test_weights_that_are_none(untouched, params):
    case = case_of("rnn")
    trace = case.run()
    for work in (
        lambda: gs.to_device(params),
        lambda: gs.run(params, case.inputs, device="cuda"),
        lambda: gs.backprop(params, trace, output_adjoint=case.output_adjoint, device="cuda"),
        lambda: gs.gradient_flow(params, case.inputs, device="cuda"),
    ):
        with pytest.raises(DtypeError, match=rf"params is a {type(params).__name__}; give gatescope.Params"):
            work()


def test_shapes_that_do_not_fit(untouched):
    case = case_of("lstm")
    trace = case.run()
    with pytest.raises(ShapeError, match=r"inputs has shape \(6, 3, 3\).*input_size = 2"):
        gs.run(case.params, np.zeros((6, 3, 3)), device="cuda")
    with pytest.raises(ShapeError, match=r"initial_state has shape \(3, 1, 5\), but should have \(3, 2, 5\)"):
        gs.run(case.params, case.inputs, initial_state=np.zeros((3, 1, 5)), device="cuda")
    with pytest.raises(
        ShapeError, match=r"output_adjoint has shape \(7, 3, 5\), but should have \(6, 3, 5\)"
    ):
        gs.backprop(case.params, trace, output_adjoint=np.zeros((7, 3, 5)), device="cuda")
    with pytest.raises(ShapeError, match=r"final_adjoint has shape \(3, 5\), but should have \(3, 2, 5\)"):
        gs.backprop(case.params, trace, final_adjoint=np.zeros((3, 5)), device="cuda")
    with pytest.raises(
        ShapeError, match="`output_adjoint` and `final_adjoint` are both left out; give at least one"
    ):
        gs.backprop(case.params, trace, output_adjoint=None, device="cuda")


# ---- a GPU that fails ----


class CudaAPIError(Exception):
    """The driver's error, as numba-cuda words it."""

    def __str__(self):
        return "[{}] Call to {} results in {}".format(*self.args)


OUT_OF_MEMORY = CudaAPIError(2, "cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
LOST = CudaAPIError(719, "cuMemcpyHtoD", "CUDA_ERROR_LAUNCH_FAILED")


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes a `CudaBackend` whose driver raises an error at every call."""

    def make(error):
        def fail(*_args, **_keywords):
            raise error

        class Kernel:
            def __getitem__(self, _configuration):
                return fail

        array = SimpleNamespace(copy_to_host=fail, copy_to_device=fail, size=1, nbytes=8)
        device = SimpleNamespace(MULTIPROCESSOR_COUNT=132)
        cuda = SimpleNamespace(get_current_device=lambda: device)
        monkeypatch.setattr(driver, "cuda", cuda)
        monkeypatch.setattr(driver, "simulated", False)
        gpu = backend.CudaBackend()
        names = (
            "to_device",
            "device_array",
            "synchronize",
            "current_context",
            "as_cuda_array",
            "get_current_device",
        )
        vars(cuda).update(dict.fromkeys(names, fail))
        return gpu, {
            "to_device": lambda: gpu.to_device(np.zeros(3)),
            "empty": lambda: gpu.empty((2, 3), np.float32),
            "zeros": lambda: gpu.zeros(4, np.uint64),
            "to_host": lambda: gpu.to_host(array),
            "copy": lambda: gpu.copy(array, array),
            "launch": lambda: gpu.launch(Kernel(), 1, 32, ()),
            "synchronize": gpu.synchronize,
            "memory": gpu.memory,
            "reclaim": gpu.reclaim,
            "adopt": lambda: gpu.adopt(array),
            "start": backend.CudaBackend,
        }

    return make


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, MemoryError()], ids=["driver", "python"])
def test_memory_that_runs_out(failing, error):
    _, calls = failing(error)
    for name in ("to_device", "empty", "zeros", "launch"):
        with pytest.raises(backend.OutOfMemory, match="the GPU's memory ran out while ") as caught:
            calls[name]()
        assert isinstance(caught.value, DeviceError)
        assert caught.value.__cause__ is error


def test_a_gpu_that_is_lost(failing):
    _, calls = failing(LOST)
    for name, call in calls.items():
        with pytest.raises(
            DeviceError, match=r"the GPU failed while .*CUDA_ERROR_LAUNCH_FAILED.*start Python anew"
        ):
            call()
        assert name


def test_mistakes_of_the_code_are_not_hidden(failing):
    """Only what the driver reports is the GPU's failure."""
    _, calls = failing(TypeError("a bug"))
    with pytest.raises(TypeError, match="a bug"):
        calls["launch"]()


def test_a_gpu_that_is_lost_during_a_run(failing):
    gpu, _ = failing(LOST)
    gpu.memory = lambda: (1 << 40, 1 << 40)
    case = case_of("rnn")
    with (
        backend.use(gpu),
        pytest.raises(DeviceError, match=r"the GPU failed while an array of shape "),
    ):
        case.run(device="cuda")


def test_without_a_gpu_nothing_is_done(monkeypatch):
    monkeypatch.setattr(driver, "why_unavailable", lambda: "no NVIDIA driver was found; install the driver")
    monkeypatch.setattr(driver, "simulated", False)
    case = case_of("rnn")
    trace = case.run()
    for work in (
        lambda: case.run(device="cuda"),
        lambda: case.backprop(trace, device="cuda"),
        lambda: gs.gradient_flow(case.params, case.inputs, device="cuda"),
        lambda: gs.to_device(case.params),
    ):
        with pytest.raises(
            DeviceError, match=r"no NVIDIA driver was found.*choose `device` 'cpu'.*NUMBA_ENABLE_CUDASIM=1"
        ):
            work()
