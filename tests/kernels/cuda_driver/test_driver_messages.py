"""What is text when CUDA cannot be used: each fault, seen by faked lookups, and the sentence that it gets."""

import pytest

import gatescope as gs
from gatescope.kernels.cuda import backend, driver
from gatescope.kernels.device import check_device

H200 = driver.Gpu(
    index=0,
    name="NVIDIA H200",
    capability=(9, 0),
    multiprocessors=132,
    memory_free=138 * 2**30,
    memory_total=140 * 2**30,
)
OLD = driver.Gpu(index=0, name="GTX 1080", capability=(6, 1), multiprocessors=20)


@pytest.fixture
def machine(monkeypatch):
    """Return a machine where all is well; a test spoils one thing."""

    class Machine:
        """Attributes are the answers of the lookups of the same name."""

        def __setattr__(self, name, answer):
            monkeypatch.setattr(driver, f"_{name}", lambda *_: answer)

    monkeypatch.setattr(driver, "simulated", False)
    monkeypatch.setattr(driver, "_BROKEN", None)
    monkeypatch.setattr(driver, "_VERSION", "0.30.4")
    monkeypatch.setattr(driver, "_with_memory", lambda device: device)
    for variable in ("NUMBA_ENABLE_CUDASIM", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)
    made = Machine()
    made.driver_error = None
    made.driver_version = (13, 0)
    made.compiler_version = (13, 0)
    made.gpus = [H200]
    driver.why_unavailable.cache_clear()
    backend._cuda_backend.cache_clear()
    yield made
    driver.why_unavailable.cache_clear()


def test_all_is_well(machine):
    assert driver.why_unavailable() is None
    assert check_device("cuda") == "cuda"
    assert driver.devices() == [H200]
    assert driver.versions() == {"numba-cuda": "0.30.4", "driver": "13.0", "compilers": "13.0"}


def test_the_package_is_missing(machine, monkeypatch):
    monkeypatch.setattr(driver, "_VERSION", None)
    machine.driver_error = "never asked"
    assert (
        driver.why_unavailable() == 'the package numba-cuda is not installed; pip install "gatescope[cuda]"'
    )
    assert driver.devices() == []
    assert driver.versions() == {}


def test_the_package_cannot_be_imported(machine, monkeypatch):
    monkeypatch.setattr(driver, "_BROKEN", "AttributeError: numpy has no attribute 'something'")
    monkeypatch.setattr(driver, "cuda", driver._Nothing())
    text = driver.why_unavailable()
    assert text.startswith("numba-cuda 0.30.4 cannot be used with NumPy ")
    assert "no attribute 'something'" in text
    assert "pip install --upgrade" in text
    with pytest.raises(gs.DeviceError, match="cannot be used with NumPy"):
        driver.cuda.jit(print)
    assert not hasattr(driver.cuda, "__wrapped__")  # what inspection asks is not the user's fault


# The texts before the sentences are Numba's own.
DRIVER = {
    "\nCUDA driver library cannot be found.\nEnsure that a compatible NVIDIA driver is installed.\n": (
        r"^no NVIDIA driver was found \(its library libcuda is missing\); install the driver, or start the "
        "container with access"
    ),
    "\nPossible CUDA driver libraries are found but error occurred during load:\nlibcuda.so.1: wrong ELF class\n": (
        r"^the NVIDIA driver's library cannot be loaded \(libcuda.so.1: wrong ELF class\); install"
    ),
    "CUDA is disabled due to setting NUMBA_DISABLE_CUDA=1 in the environment, or because ...": (
        "^NUMBA_DISABLE_CUDA=1 is set in the environment; unset it"
    ),
    "Call to cuInit results in CUDA_ERROR_NO_DEVICE (100)": (
        "^the NVIDIA driver is there, but it finds no GPU; nvidia-smi -L"
    ),
    "Call to cuInit results in CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)": (
        r"^the parts of the NVIDIA driver are of different versions \(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\); restart"
    ),
    "Call to cuInit results in CUDA_ERROR_UNKNOWN (999)": (
        r"^the NVIDIA driver does not start \(CUDA_ERROR_UNKNOWN\); see nvidia-smi"
    ),
}


@pytest.mark.parametrize(("error", "message"), DRIVER.items())
def test_the_driver_does_not_start(machine, error, message):
    machine.driver_error = error
    with pytest.raises(gs.DeviceError, match=message[1:]):
        check_device("cuda")
    assert driver.devices() == []
    assert "driver" not in driver.versions()
    machine.driver_error = None  # found out once
    with pytest.raises(gs.DeviceError, match=message[1:]):
        check_device("cuda")


@pytest.mark.parametrize(
    ("visible", "message"),
    [
        ("", "CUDA_VISIBLE_DEVICES='' hides every GPU; unset it, or name one that nvidia-smi -L lists"),
        ("-1", "CUDA_VISIBLE_DEVICES='-1' hides every GPU"),
        ("7", "CUDA_VISIBLE_DEVICES='7' names no GPU that is there"),
    ],
)
@pytest.mark.parametrize("seen_at", ["start", "count"])
def test_the_gpus_are_hidden(machine, monkeypatch, visible, message, seen_at):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if seen_at == "start":
        machine.driver_error = "Call to cuInit results in CUDA_ERROR_NO_DEVICE (100)"
    else:
        machine.gpus = []
    assert driver.why_unavailable().startswith(message)


def test_the_driver_is_too_old(machine):
    machine.driver_version = (12, 8)
    text = driver.why_unavailable()
    assert "too old: it supports CUDA 12.8, and the compilers installed are those of CUDA 13.0" in text
    assert 'pip install "numba-cuda[cu12]"' in text
    machine.driver_version = (13, 4)  # a newer one runs what older compilers make
    driver.why_unavailable.cache_clear()
    assert driver.why_unavailable() is None


def test_the_compilers_are_missing(machine):
    machine.compiler_version = None
    assert driver.why_unavailable().startswith("the CUDA compilers (nvrtc, nvvm, nvJitLink) are missing; pip")
    assert driver.versions() == {"numba-cuda": "0.30.4", "driver": "13.0"}


def test_the_gpu_is_too_old(machine):
    machine.gpus = [OLD]
    assert driver.why_unavailable() == (
        "GPU 0, GTX 1080, has compute capability 6.1, and at least 7.5 is needed; "
        "use a GPU of 2018 or later (Turing)"
    )


@pytest.mark.parametrize(("visible", "named"), [(None, "1"), ("3,5", "5"), ("GPU-a, GPU-b", "GPU-b")])
def test_a_second_gpu_is_new_enough(machine, monkeypatch, visible, named):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    newer = driver.Gpu(index=1, name="RTX 4090", capability=(8, 9), multiprocessors=128)
    machine.gpus = [OLD, newer]
    assert driver.why_unavailable().endswith(f"set CUDA_VISIBLE_DEVICES={named} to use RTX 4090")
    machine.gpus = [newer, OLD]  # kernels run on the first
    driver.why_unavailable.cache_clear()
    assert driver.why_unavailable() is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "1",
            "NUMBA_ENABLE_CUDASIM=1 was set too late, after Numba had been imported; set it in the environment",
        ),
        ("yes", "NUMBA_ENABLE_CUDASIM='yes' is not understood; set it to 1"),
    ],
)
def test_the_simulator_is_asked_for_in_vain(machine, monkeypatch, value, message):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", value)
    assert driver.why_unavailable().startswith(message)


@pytest.mark.parametrize("value", ["", "0"])
def test_the_simulator_is_declined(machine, monkeypatch, value):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", value)
    assert driver.why_unavailable() is None


def test_the_simulator_cannot_be_imported(machine, monkeypatch):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    monkeypatch.setattr(driver, "_BROKEN", "ImportError: no bindings")
    assert driver.why_unavailable().startswith(
        "Numba's simulator cannot be imported (ImportError: no bindings)"
    )


def test_the_error_says_what_else_can_be_done(machine):
    machine.gpus = []
    with pytest.raises(gs.DeviceError) as error:
        check_device("cuda")
    text = str(error.value)
    assert text.startswith("device='cuda' cannot be used: the NVIDIA driver is there, but it finds no GPU;")
    assert "choose `device` 'cpu'" in text
    assert "NUMBA_ENABLE_CUDASIM=1, set before Python starts" in text


def test_a_gpu_that_does_not_tell_its_memory(monkeypatch):
    class Cuda:
        gpus = ()  # there is no GPU 0 to start

    monkeypatch.setattr(driver, "cuda", Cuda)
    assert driver._with_memory(OLD) == OLD


def test_what_numba_tells_of_a_gpu(monkeypatch):
    """Numba's objects, as the package and as the built-in module give them, become ours."""

    class Gpu:
        id, name, compute_capability, MULTIPROCESSOR_COUNT = 0, b"NVIDIA H200", (9, 0), 132
        entered = 0

        def __enter__(self):
            Gpu.entered += 1

        def __exit__(self, *_):
            Gpu.entered -= 1

    class Context:
        def get_memory_info(self):
            assert Gpu.entered == 1
            return (H200.memory_free, H200.memory_total)

    class Cuda:
        gpus = (Gpu(),)
        current_context = Context

    monkeypatch.setattr(driver, "cuda", Cuda)
    assert [driver._with_memory(gpu) for gpu in driver._gpus()] == [H200]
    assert Gpu.entered == 0


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:1", "", None, 0, ["cpu"]])
def test_a_device_that_is_not_known(device):
    with pytest.raises(gs.UnknownNameError, match="is not known; the devices are 'cpu' and 'cuda'") as error:
        check_device(device)
    assert f"device={device!r}" in str(error.value)
    assert "CUDA_VISIBLE_DEVICES chooses" in str(error.value)


def test_the_cpu_is_always_there(machine):
    machine.gpus = []
    assert check_device("cpu") == "cpu"


def test_what_is_put_in_the_gpus_place_can_be_used(machine):
    machine.gpus = []
    with backend.use(object()):
        assert check_device("cuda") == "cuda"
    with pytest.raises(gs.DeviceError):
        check_device("cuda")


def test_shared_memory_beyond_what_is_given_is_asked_for(monkeypatch):
    """As the driver is called; only a GPU can tell whether it listens."""
    asked = []

    class Function:
        handle = "handle"
        device = type("Gpu", (), {"id": 0})

    class Library:
        def get_cufunc(self):
            return Function

    class Compiled:
        _codelibrary = Library()

    class Attributes:
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8

    class Module:
        binding = type("binding", (), {"CUfunction_attribute": Attributes})
        driver = type("driver", (), {"cuKernelSetAttribute": staticmethod(lambda *a: asked.append(a))})

    monkeypatch.setattr("importlib.import_module", {"numba.cuda.cudadrv.driver": Module}.get)
    driver.allow_shared(Compiled, 100_000)
    assert asked == [(8, 100_000, "handle", 0)]
