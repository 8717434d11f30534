"""``gatescope devices``, and ``--device`` of the commands that compute."""

import json

import pytest
from helpers.command_line import SMALL, too_late

import gatescope as gs
from gatescope.datatypes import Trace
from gatescope.kernels.cuda import backend, driver
from gatescope.measurements.problem import prepare

NO_GPU = "the NVIDIA driver is there, but it finds no GPU; nvidia-smi -L lists those that it knows"
COMMANDS = (["compare", "--cells", "lstm"], ["run", "--cell", "lstm"])


@pytest.fixture
def machine(monkeypatch):
    """Return a function that says what GPUs there are, what versions, and why none can be used."""

    def set_up(gpus=(), versions=None, why=None, simulated=False):
        monkeypatch.setattr(driver, "devices", lambda: list(gpus))
        monkeypatch.setattr(driver, "versions", lambda: versions or {})
        monkeypatch.setattr(driver, "why_unavailable", lambda: why)
        monkeypatch.setattr(driver, "simulated", simulated)
        backend._cuda_backend.cache_clear()

    return set_up


def shown(invoke):
    """Return the lines of ``gatescope devices`` from that on that begins with cuda, without the margin."""
    done = invoke("devices")
    assert done.exit_code == 0, done.output
    cpu, cuda, rest = done.stdout.partition("\ncuda")
    for part in ("cpu", "cores", "threads", "float32", "float64"):
        assert part in cpu
    return [line.strip() for line in rest.splitlines()] if cuda else []


def test_devices_of_this_computer(invoke):
    assert shown(invoke)


def test_devices_without_a_gpu(invoke, machine):
    machine(versions={"numba-cuda": "0.30.4", "compilers": "13.0"}, why=NO_GPU)
    assert shown(invoke) == [
        f"cannot be used: {NO_GPU}",
        "compilers of CUDA 13.0, numba-cuda 0.30.4",
        "NUMBA_ENABLE_CUDASIM=1, set before Python starts, runs the kernels in Numba's simulator: "
        "no GPU needed, but slow, for trying out",
    ]


def test_devices_with_two_gpus(invoke, machine):
    gpus = [
        driver.Gpu(
            index=0,
            name="NVIDIA H200",
            capability=(9, 0),
            multiprocessors=132,
            memory_free=int(138.25 * 2**30),
            memory_total=140 * 2**30,
        ),
        driver.Gpu(index=1, name="[red]T4", capability=(7, 5), multiprocessors=40),
    ]
    machine(gpus, {"numba-cuda": "0.30.4", "driver": "13.0", "compilers": "13.1"})
    assert shown(invoke) == [
        "GPU 0: NVIDIA H200, compute capability 9.0, 132 multiprocessors",
        "140.0 GiB of memory, 138.2 GiB free",
        "GPU 1: [red]T4, compute capability 7.5, 40 multiprocessors",
        "driver for CUDA 13.0, compilers of CUDA 13.1, numba-cuda 0.30.4",
    ]


def test_devices_in_the_simulator(invoke, machine):
    machine(versions={"numba-cuda": "0.30.4"}, simulated=True)
    assert shown(invoke) == [
        "Numba's simulator of a GPU: kernels run in Python, slowly, for trying out",
        "numba-cuda 0.30.4",
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("options", "why", "message"),
    [
        (["--device", "gpu"], None, "--device 'gpu' is not known; the devices are 'cpu' and 'cuda'"),
        (["--device", "cuda:1"], None, "CUDA_VISIBLE_DEVICES chooses among several GPUs"),
        (
            ["--device", "cuda"],
            NO_GPU,
            f"--device 'cuda' cannot be used: {NO_GPU}; choose --device 'cpu'. NUMBA_",
        ),
        (
            ["--device", "cuda", "--threads", "2"],
            None,
            "--threads 2 is for the cpu; leave it out with --device",
        ),
    ],
)
def test_a_device_that_cannot_be_used(invoke, machine, monkeypatch, tmp_path, command, options, why, message):
    machine(why=why)
    monkeypatch.setattr("gatescope.comparison.compare.prepare", too_late)
    monkeypatch.setattr("gatescope.recurrence.run.run", too_late)
    done = invoke(*command, *SMALL, *options)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatescope: error: ")
    assert message in line
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("blank_figures")
def test_everything_is_computed_on_the_device(invoke, machine, monkeypatch, tmp_path):
    """Each call that computes is handed the device; here the CPU answers, as tests run without a GPU."""
    machine()
    seen = []

    def on_cpu(name, function):
        def answer(*arguments, device, **keywords):
            seen.append((name, device))
            return function(*arguments, **keywords)

        return answer

    for place, function in (("comparison.compare.prepare", prepare), ("recurrence.run.run", gs.run)):
        monkeypatch.setattr(f"gatescope.{place}", on_cpu(place, function))
    compare, run = COMMANDS
    done = invoke(*compare, *SMALL, "--device", "cuda")
    assert done.exit_code == 0, done.output
    assert seen == [("comparison.compare.prepare", "cuda")]  # whose problem everything is measured with
    assert "on the GPU, the copy of the inputs to it included" in done.stdout
    out = tmp_path / "gatescope-out"
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["arguments"]["device"], summary["provenance"]["device"]) == ("cuda", "cuda")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "on the GPU, the copy of the inputs to it included, with weights and memory ready" in page
    assert "on the CPU" not in page
    assert "simulator" not in page

    seen.clear()
    done = invoke(*run, *SMALL, "--device", "cuda")
    assert done.exit_code == 0, done.output
    assert seen == [("recurrence.run.run", "cuda")]
    assert len(Trace.load(tmp_path / "trace.npz").outputs) == 40
