"""The GPU benchmark's processes, and small whole runs: with an invented worker, and on an emulated GPU."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import gpu, gpu_measure, gpu_reference, gpu_table, gpu_tests
from benchmarks.gpu_clock import Budget, WallTimer
from benchmarks.gpu_process import ROOT, Process
from benchmarks.gpu_rows import PEER, select
from benchmarks.gpu_worker import FRESH, MARK, Worker
from benchmarks.rows import Row

# ---- processes ------------------------------------------------------------------------------------------------------

PEOPLE = f"""
import json, os, sys, time
def say(results, done=True, fresh=False):
    print({MARK!r} + json.dumps({{"results": results, "done": done, {FRESH!r}: fresh}}), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    what = job.get("what") or job.get("key") or job["job"]
    if what == "hardware":
        say({{"gpu": "an invention", "cuda": {{}}}})
    elif what == "hang":
        say({{"half": 1}}, done=False)
        time.sleep(60)
    elif what == "die":
        say({{"half": 1}}, done=False)
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    elif what == "tired":
        say({{"pid": os.getpid()}}, fresh=True)
    elif job["job"] == "row":
        print("noise")
        say({{"key": job["key"], "failed": "an invention", "tuple": [1, 2]}})
    else:
        print("noise")
        say({{"pid": os.getpid(), "seconds": job.get("seconds")}})
"""


@pytest.fixture
def process():
    made = Process([sys.executable, "-c", PEOPLE])
    yield made
    made.stop()


def test_a_process_answers_again_and_again(process: Process) -> None:
    first, second = (process.ask({"job": "x"}, 20) for _ in range(2))
    assert first["pid"] == second["pid"]
    assert process.started == 1


@pytest.mark.parametrize(
    ("what", "seconds", "why"), [("hang", 1.5, "no answer"), ("die", 20, "exit 3.*last words")]
)
def test_results_survive_a_process(process: Process, what: str, seconds: float, why: str) -> None:
    results = process.ask({"job": "x", "what": what}, seconds)
    assert results["half"] == 1
    assert re.search(why, results["failed"])
    assert "pid" in process.ask({"job": "x"}, 20), "another one goes on"
    assert process.started == 2


def test_a_process_may_ask_to_be_replaced(process: Process) -> None:
    pid = process.ask({"job": "x", "what": "tired"}, 20)["pid"]
    assert process.ask({"job": "x"}, 20)["pid"] != pid


def test_a_job_that_raises_is_answered_and_ends_the_worker() -> None:
    worker = Worker()
    worker.hardware = lambda job: iter([{"gpu": "an invention"}, 1 // 0])  # type: ignore[method-assign, assignment]
    (last,) = list(worker.answer({"job": "hardware"}))
    assert "ZeroDivisionError" in last["results"]["failed"]
    assert last[FRESH]
    assert last["done"]


TESTS = """
import os, signal, time, pytest
@pytest.fixture(params=["emulator", "gpu"])
def gpu(request):
    return request.param
@pytest.mark.parametrize("number", range(3))
def test_passes(gpu, number):
    assert gpu == "gpu", "others are left out"
def test_hangs(gpu):
    time.sleep(60)
def test_fails(gpu):
    assert gpu == "nothing"
def test_kills(gpu):
    os.kill(os.getpid(), signal.SIGSEGV)
def test_loses_the_device(gpu):
    raise RuntimeError("[700] CUDA_ERROR_ILLEGAL_ADDRESS")
def test_is_skipped(gpu):
    pytest.skip("its reason")
def test_has_no_gpu():
    raise AssertionError
"""


def test_cuda_tests_are_counted_and_what_hangs_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_unreadable.py").write_text("import no_such_module")
    options = ["--rootdir", str(tmp_path), "-c", "/dev/null"]
    results = gpu_tests.run_tests(60, folder=tmp_path, patience=2, options=options)
    assert (results["passed"], results["skipped"], results["finished"]) == (3, 1, True)
    assert [n.split("::")[1] for n in results["failed"]] == ["test_fails[gpu]", "test_loses_the_device[gpu]"]
    assert [n.split("::")[1] for n in results["not_ended"]] == ["test_hangs[gpu]", "test_kills[gpu]"]
    assert "no_such_module" in " ".join(results["not_collected"].values())
    text = "\n".join(gpu_tests.complaints(results))
    for word in ("FAILED", "DID NOT END", "could not be read"):
        assert word in text


def test_cuda_tests_end_with_their_time(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    begun = time.monotonic()
    results = gpu_tests.run_tests(4, folder=tmp_path, options=["--rootdir", str(tmp_path), "-c", "/dev/null"])
    assert time.monotonic() - begun < 12
    assert not results["finished"]
    assert any("did not finish" in line for line in gpu_tests.complaints(results))


# ---- the whole ------------------------------------------------------------------------------------------------------


def passed(seconds: float) -> dict[str, Any]:
    return {
        "passed": 1, "skipped": 0, "failed": {}, "not_collected": {}, "not_ended": [], "finished": True,
        "seconds": 0.0, "words": "", "exit": 0,
    }  # fmt: skip


def whole(folder: Path, process: Process, seconds: float, keys: list[str], tests: Any = passed) -> gpu.Run:
    protocol = {"quick": False, "patterns": keys}
    run = gpu.Run(folder, Budget(seconds), select(keys), process, protocol, tests)
    run.all()
    return run


def test_a_run_writes_what_it_prints(
    tmp_path: Path, process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    run = whole(tmp_path / "new", process, 60, ["lstm-b40-i1-h16", "gru-b40-i1-h16"])
    written = json.loads((tmp_path / "new" / "gpu.json").read_text())
    assert written == json.loads(json.dumps(run.data))
    assert [row["failed"] for row in written["rows"]] == ["an invention"] * 2
    assert written["finished"]
    assert {"provenance", "protocol", "tests", "barriers", "rows", "flow", "seconds"} <= written.keys()
    assert written["provenance"]["gpu"]["gpu"] == "an invention"
    assert "an invention" in capsys.readouterr().out
    last = run.report().split("\n")[-1]
    assert last.startswith("gru-b40-i1-h16-t20000-float32")
    assert run.wrong(), "rows that failed are an error too"
    assert not list((tmp_path / "new").glob("*.partial"))


def test_rows_beside_others_do_not_replace_what_is_committed(
    tmp_path: Path, process: Process, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def others_share(children: Any) -> Iterator[list[float]]:
        yield [0.3]
        assert process.numbers()[0] in children()

    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "others_share", others_share)
    (tmp_path / "gpu.json").write_text("{}")
    whole(tmp_path, process, 60, ["lstm-b40-i1-h16"]).report_file()
    assert (tmp_path / "gpu.json").read_text() == "{}"
    assert json.loads((tmp_path / "gpu.disturbed.json").read_text())["rows"][0]["others_share"] == 0.3
    assert f"not replaced: {tmp_path / 'gpu.json'}" in capsys.readouterr().out
    assert not (tmp_path / "gpu.unfinished.json").exists()


def test_rows_without_time_are_marked(tmp_path: Path, process: Process) -> None:
    run = whole(tmp_path, process, 7, ["h16", "h64"])
    assert {row["skipped"] for row in run.data["rows"]} == {"not measured: no time left"}
    assert "no time left" in run.report()
    assert json.loads((tmp_path / "gpu.json").read_text())["rows"] == run.data["rows"]


def test_failed_tests_are_reported_first_and_do_not_stop_the_rest(tmp_path: Path, process: Process) -> None:
    run = whole(
        tmp_path, process, 60, ["lstm-b40-i1-h16"], lambda s: {**passed(s), "failed": {"test_x": "it is 3"}}
    )
    assert run.report().strip().startswith("FAILED test_x: it is 3")
    assert len(run.data["rows"]) == 1
    assert run.wrong()


def test_nothing_goes_past_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_LEAST", 0.5)
    begun = time.monotonic()
    run = whole(tmp_path, Process([sys.executable, "-c", "import time; time.sleep(99)"]), 4, ["h16", "h256"])
    assert time.monotonic() - begun < 4 + gpu._RESERVE / 2
    states = {row.get("skipped") or row["failed"] for row in run.data["rows"]}
    assert any("no answer" in state for state in states)
    assert run.wrong()
    assert json.loads((tmp_path / "gpu.json").read_text())["rows"] == run.data["rows"]


def test_an_interrupted_run_is_written(tmp_path: Path, process: Process) -> None:
    def interrupted(seconds: float) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole(tmp_path, process, 60, ["lstm-b40-i1-h16"], interrupted)
    assert json.loads((tmp_path / "gpu.json").read_text())["finished"] is False


def test_without_a_gpu_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "why_no_gpu", lambda: "there is none; buy one")
    with pytest.raises(SystemExit) as stopped:
        gpu.main(["--quick"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "no GPU to measure: there is none; buy one\n"


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--minutes", "nan"], ["--rows", "h65"]])
def test_bad_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        gpu.main(arguments)
    assert stopped.value.code == 2
    assert arguments[1] in capsys.readouterr().err


# ---- on an emulated GPU ---------------------------------------------------------------------------------------------


@pytest.fixture
def emulated():
    from helpers.emulator import EmulatedGpu

    from gatescope.kernels.cuda import backend

    gpu = EmulatedGpu()
    with backend.use(gpu):
        yield gpu


def tiny(cell: str, dtype: str) -> Row:
    return Row(
        cell=cell, dtype=dtype, batch=2, input_size=2, hidden_size=3, steps=3, targets={PEER: 1.0}
    )  # fmt: skip


@pytest.mark.parametrize(("cell", "dtype"), [("lstm", "float32"), ("gru", "float64")])
def test_a_row_against_pytorch(
    emulated: Any, tmp_path: Path, monkeypatch: Any, cell: str, dtype: str
) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.gpu_sides import CuDnn

    row = tiny(cell, dtype)
    monkeypatch.setattr(gpu_reference, "check_steps", lambda row: 4)
    settings = gpu_measure.Settings(aim=0.001, least=2, most=2, seconds=60, first=2)
    progress = gpu_measure.Progress(row, WallTimer(), settings)
    peers = lambda variant: CuDnn(row, torch, variant, device="cpu")  # noqa: E731
    monkeypatch.setattr(
        gpu_reference, "read", lambda *a: gpu_reference.reference(gpu_reference.check_problem(row))
    )
    seen = [set(progress.results) for _ in gpu_measure.measure_row(progress, tmp_path, 1 << 30, peers)]
    gpu_measure.add_ratios(progress.results)
    results = progress.results
    assert "failed" not in results, results.get("failed")
    assert "failed" not in results[PEER], results[PEER].get("failed")
    assert "check" in seen[0]
    assert "ours" in seen[1]
    assert results["check"]["agrees"], results["check"]
    assert results[PEER]["check"]["agrees"], results[PEER]["check"]
    assert {"outputs", "weight_hh", "inputs", "adjoint"} <= results["check"]["differences"].keys()
    assert set(results[PEER]["trials_us_per_step"]) == set(CuDnn.VARIANTS)
    assert results["ratio"]["both"] > 0
    assert results["launch_plan"]["forward"]["blocks"] == 1
    assert "again" in results["ours"]
    json.dumps(results)


def test_a_wrong_row_is_reported(emulated: Any, tmp_path: Path, monkeypatch: Any) -> None:
    row = tiny("lstm", "float32")
    monkeypatch.setattr(gpu_reference, "check_steps", lambda row: 3)
    right = gpu_reference.reference(gpu_reference.check_problem(row))
    right["weight_hh"] = right["weight_hh"] * np.float32(1.01)
    monkeypatch.setattr(gpu_reference, "read", lambda *a: right)
    settings = gpu_measure.Settings(aim=0.001, least=1, most=1, seconds=60, first=1)
    progress = gpu_measure.Progress(row, WallTimer(), settings)
    list(gpu_measure.measure_row(progress, tmp_path, 1 << 30, None))
    assert not progress.results["check"]["agrees"]
    assert gpu_table.state_of(progress.results).startswith("WRONG")


def test_references_are_written_and_read(tmp_path: Path, monkeypatch: Any) -> None:
    (row,) = select(["lstm-b40-i1-h16-t20000-float32"])
    monkeypatch.setattr(gpu_reference, "check_steps", lambda row: 3)
    gpu_reference.main([str(tmp_path), row.key])
    expected = gpu_reference.reference(gpu_reference.check_problem(row))
    assert (tmp_path / f"{row.key}.npz").exists()
    read = gpu_reference.read(tmp_path, row, 0)
    assert max(value or 0 for value in gpu_reference.differences(read, expected).values()) == 0
    assert read.keys() == expected.keys()


def test_barriers_are_counted_and_exchanges_arrive(emulated: Any) -> None:
    from benchmarks.gpu_barriers import measure_barriers

    *_, results = measure_barriers(
        emulated, WallTimer(), blocks=(2, 4), threads=(32,), steps=4, copy_bytes=1 << 12, warm=0
    )  # fmt: skip
    assert len(results["bar_sync"]) == 1
    assert len(results["exchange"]) == 4
    assert len(results["grid_sync"]) == 2
    for kind in ("bar_sync", "exchange", "grid_sync"):
        for one in results[kind]:
            assert "failed" not in one, one
            assert one["us"] > 0
    assert results["copy"]["bytes"] == 1 << 12
    assert "failed" not in results["copy"]
    assert [launch.cooperative for launch in emulated.launches if launch.grid > 1] == [True] * 7 * 6


def test_an_exchange_that_loses_a_number_is_noticed(emulated: Any) -> None:
    from benchmarks import gpu_barriers

    launch_it = emulated.launch
    emulated.launch = lambda kernel, grid, block, args, *more: launch_it(
        kernel, grid, block, (args[0], args[1] - np.uint64(1), *args[2:]), *more
    )
    with pytest.raises(AssertionError, match="counted"):
        gpu_barriers._exchange(emulated, WallTimer(), 2, 2, 32, 4)


def test_barrier_kernels_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers import machine_code as compiling
    from numba import types

    from benchmarks import gpu_barriers

    if compiling.why_not() is not None:
        pytest.skip(compiling.why_not() or "")
    words, numbers, steps = types.uint64[::1], types.float32[::1], types.uint64
    for kernel, signature, wanted in (
        (gpu_barriers.make_barriers(), (steps, numbers, words), r"bar\.sync|barrier\.sync"),
        (gpu_barriers.make_exchange(8, 256, 256), (words, steps, numbers, words), "ld.relaxed.gpu.u64"),
    ):
        built = compiling.build(kernel, types.void(*signature), (9, 0))
        assert re.search(wanted, built.ptx)
        assert built.ptx.count("%clock64") == 2
        assert (built.stack, built.spills, built.f64) == (0, 0, 0)
    with compiling.as_if_on((9, 0)):
        ptx, _ = compiling.cuda.compile_ptx(
            gpu_barriers.make_grid_sync().py_func, types.void(steps, numbers, words), cc=(9, 0)
        )
    assert "cudaCGSynchronize" in ptx


EMULATED = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from helpers.emulator import EmulatedGpu
from benchmarks import gpu_clock, gpu_reference, gpu_rows, gpu_sides, gpu_worker
from benchmarks.rows import Row
from gatescope.kernels.cuda import backend, driver
gpu_clock.EventTimer = gpu_clock.WallTimer
gpu_reference.check_steps = lambda row: 3
gpu_rows.by_key = lambda key: Row(
    cell=key[:3], dtype="float32", batch=2, input_size=1, hidden_size=3, steps=4, targets={{"cudnn": 3.0}})
def torch():
    raise RuntimeError("PyTorch is somewhere else")
gpu_sides.torch_with_cuda = torch
driver.devices = lambda: [driver.Gpu(index=0, name="an emulator", capability=(9, 0), multiprocessors=4)]
with backend.use(EmulatedGpu()):
    gpu_worker.main()
"""


def test_a_whole_run_on_an_emulated_gpu(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu.Run, "barriers", lambda self: None)  # thousands of steps, measured above in a few
    process = Process([sys.executable, "-c", EMULATED])
    monkeypatch.setattr(sys, "executable", "/bin/false")  # no references either: the worker makes its own
    results = whole(tmp_path, process, 90, ["gru-b40-i1-h16"]).data
    (row,) = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert results["provenance"]["gpu"]["gpu"] == "an emulator"
    assert results["provenance"]["gpu"]["peer_missing"] == "PyTorch is somewhere else"
    assert row["check"]["agrees"], row
    assert row["ours"]["steps"] == 4
    assert row["ours"]["both"]["median"] > 0
    assert row["ours"]["us_of_one_step"] > 0
    assert row[PEER]["failed"] == "PyTorch is somewhere else"
    assert row["launch_plan"]["backward"]["threads"] >= 32
    assert gpu_table.state_of(row).startswith("cuDNN failed")
    assert process.started == 1


def test_gradient_flow_on_both(emulated: Any) -> None:
    from benchmarks.gpu_flow import measure_flow

    *_, results = measure_flow(60, hidden=3, steps=12, short=6)
    assert [part["norm"] for part in results["parts"]] == ["random", "spectral"]
    for part in results["parts"]:
        assert "failed" not in part, part
        assert part["agrees"], part
        assert part["cuda_seconds"] > 0
    assert "cpu_seconds" in results["parts"][0]
    assert "gradient_flow" in gpu_table.text_flow(results)


def test_a_device_that_does_not_answer_needs_a_new_process(
    emulated: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    class Dead(WallTimer):
        def wait(self) -> None:
            raise RuntimeError("illegal address")

    monkeypatch.setattr(gpu_reference, "check_steps", lambda row: 3)
    for timer, broken in ((WallTimer(), False), (Dead(), True)):
        monkeypatch.setattr(gpu_reference, "read", lambda *a: 1 // 0)
        progress = gpu_measure.Progress(tiny("lstm", "float32"), timer, gpu_measure.Settings())
        list(gpu_measure.measure_row(progress, tmp_path, 1 << 30, None))
        assert "ZeroDivisionError" in progress.results["failed"]
        assert progress.broken is broken
