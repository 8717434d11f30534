"""Valid files of every format that the package reads, and the doors that read them."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from safetensors.numpy import save_file

import gatescope as gs
from gatescope.cli.main import main
from gatescope.datatypes import CapturedNetwork, Result
from gatescope.storage.resumable import Resumable

Door = Callable[[Path], Any]
STEPS, CHECKPOINT_EPOCHS = 60, 2
_GOLDEN = (  # files that the frameworks wrote
    *("torch_state_dict.pt", "torch_checkpoint.ckpt", "torch_module.pt", "torch_script.pt"),
    *(
        "onnx_torchscript_lstm.onnx",
        "onnx_torchscript_gru.onnx",
        "jax_linen_lstm.msgpack",
        "jax_equinox_gru.eqx",
    ),
    *("keras/half.keras", "keras/own.weights.h5"),
)


class Seed(NamedTuple):
    """A valid file, by its name and its bytes, and what reads it."""

    name: str
    data: bytes
    door: Door


def make(folder: Path) -> list[Seed]:
    """Write a file of each kind into a folder, and return them with their doors."""
    made = [*_results(folder), *_states(folder), *_weights(folder), *_series(folder), *tasks(folder)]
    return [*made, *_commands(folder, made)]


def layer() -> gs.Params:
    """Return the weights that all files are made of: a size whose kernels the tests compile too."""
    return gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")


def sequences() -> np.ndarray[Any, Any]:
    """Return inputs (T, B, I)."""
    return np.random.default_rng(0).standard_normal((STEPS, 3, 1))


def _results(folder: Path) -> Iterator[Seed]:
    params, inputs = layer(), sequences()
    trace = gs.run(params, inputs, lengths=[STEPS, 30, 50])
    batch = gs.Batch(inputs=inputs, targets=np.roll(inputs, 1, axis=0), name="echo")
    stack = gs.init_stack("lstm", hidden_size=5, heads=batch, dtype="float64")
    trained = gs.train(stack, batch, epochs=4, validation=batch, probe_every=2, snapshot_every=2, threads=1)
    results: list[Result] = [
        *(params, trace, batch, stack, trained, trained.history),
        gs.backprop(params, trace, final_adjoint=np.ones((3, 2, 5))),
        gs.gradient_flow(params, inputs, lengths=[STEPS, 30, 50]),
        gs.gradient_paths(params, inputs, vectors=True),
        gs.jacobian_spectrum(params, inputs),
        gs.lyapunov_spectrum(params, inputs, k=2),
        gs.half_life(params, inputs),
        gs.connectivity(params, inputs),
        gs.fixed_points(params, np.zeros(1), starts=4),
        gs.phase_diagram("lstm", gain=[0.5, 2.0], steps=50, hidden_size=5, dtype="float64"),
        gs.diagnose(params, inputs[:, :1], target_half_life=5),
        gs.saturation(trace),
        gs.compare({"a": params, "b": params}, inputs, timing_runs=1, threads=1),
        gs.estimate_memory("run", params, steps=100),
        long_series(folder / "experiment"),
        captured(params, inputs),
        watched(),
        swept(),
    ]
    for result in results:
        path = folder / f"{type(result).__name__}.npz"
        result.save(path)
        yield Seed(path.name, path.read_bytes(), gs.load)


def captured(params: gs.Params, inputs: np.ndarray[Any, Any]) -> gs.Capture:
    """Make what `capture` returns of a model of one layer."""
    state = np.zeros((inputs.shape[1], 2 * params.hidden_size))
    lengths = np.full(inputs.shape[1], len(inputs))
    network = CapturedNetwork(
        name="lstm", call=0, calls=1, model=params, inputs=inputs, lengths=lengths, initial_state=state
    )
    return gs.Capture(networks=(network,), left_out=(("gru", "was not called"),))


def watched() -> gs.WatchHistory:
    """Make the history of a watch over one layer."""
    rates = np.array([[0.1], [np.nan], [0.05]])
    return gs.WatchHistory(
        layers=("lstm",),
        cells=("lstm",),
        gates=(("i", "f", "o"),),
        every=100,
        loop_steps=250,
        step=np.array([0, 100, 200]),
        decay_rate=rates,
        half_life=np.log(2) / rates,
        saturation=np.full((3, 1, 3, 2), 0.25),
        probe_steps=np.array([30, 20, 25]),
        doubts=(("",), ("too short",), ("",)),
        failures=("", "", "gone"),
        seconds=np.full(3, 0.01),
        loop_seconds=np.array([0.0, 1.0, 1.0]),
    )


def swept() -> gs.SweepResult:
    """Make what `sweep` returns, with points that are done and some that are not."""
    return gs.SweepResult(
        function="study.loss",
        points=tuple({"cell": cell, "seed": seed} for cell in ("lstm", "gru") for seed in range(2)),
        values=({"loss": 0.5, "curve": [1.0, 0.5]}, {"loss": float("nan"), "curve": [2.0, 1.0]}, {}, {}),
        status=("done", "done", "raised", "missing"),
        messages=("", "", "ValueError: no", ""),
        seconds=np.array([1.0, 2.0, 0.5, np.nan]),
    )


def long_series(place: Path) -> gs.LongSeriesResult:
    """Make the experiment in a folder, as small as it can be."""
    sizes: dict[str, Any] = {"epochs": 2, "steps": 20, "sequences": 3, "hidden_size": 5, "lr": 0.01}
    return gs.experiments.run_long_series(
        place, cells=("lstm",), seeds=1, clamp={"i": 1.0}, dtype="float64", threads=1, **sizes
    )


def _states(folder: Path) -> Iterator[Seed]:
    """Yield states of computations that were interrupted, a checkpoint, and the runs of an experiment."""
    params, inputs = layer(), sequences()
    batch = gs.Batch(inputs=inputs, targets=np.roll(inputs, 1, axis=0), name="echo")
    stack = gs.init_stack("lstm", hidden_size=5, heads=batch, dtype="float64")

    def train(path: Path) -> Any:
        return gs.train(stack, batch, epochs=CHECKPOINT_EPOCHS, batch_size=2, checkpoint=path, threads=1)

    calls: dict[str, Door] = {
        "flow": lambda path: gs.gradient_flow(params, inputs, resume=path),
        "lyapunov": lambda path: gs.lyapunov_spectrum(params, inputs, k=2, transient=10, resume=path),
        "connectivity": lambda path: gs.connectivity(params, inputs, resume=path),
    }
    for name, call in calls.items():
        path = folder / f"{name}.state.npz"
        interrupted(call, path)
        yield Seed(path.name, path.read_bytes(), call)
    path = folder / "checkpoint.npz"
    train(path)
    yield Seed(path.name, path.read_bytes(), train)
    place = folder / "experiment"

    def experiment(name: str, path: Path) -> Any:
        shutil.rmtree(place)
        place.mkdir()
        shutil.copy(path, place / name)  # a run, or a state without one
        return long_series(place)

    for file in [*place.iterdir()]:
        name = f"long_series{file.suffix}".removesuffix(".npz")
        yield Seed(f"{name}.npz", file.read_bytes(), functools.partial(experiment, file.name))


def interrupted(call: Door, path: Path) -> None:
    """Make a call that is interrupted the first time it could store its state, which it stores then."""
    tick = Resumable.tick

    def interrupt(self: Resumable) -> None:
        raise KeyboardInterrupt

    Resumable.tick = interrupt  # type: ignore[method-assign]  # for this call
    try:
        call(path)
    except KeyboardInterrupt:
        pass
    finally:
        Resumable.tick = tick  # type: ignore[method-assign]


def _weights(folder: Path) -> Iterator[Seed]:
    """Yield weights as PyTorch names them."""
    rng = np.random.default_rng(1)
    shapes = {"weight_ih_l0": (20, 2), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}
    entries = {
        f"lstm.{name}": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    entries |= {f"lstm.{name}_reverse": entries[f"lstm.{name}"] for name in shapes}
    entries["head.weight"] = np.zeros((2, 5), np.float32)
    save_file(entries, folder / "weights.safetensors")
    np.savez(folder / "weights.npz", **entries)
    listed = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(entries, "weights.safetensors")}
    (folder / "weights.index.json").write_text(json.dumps(listed))
    for name in ("weights.safetensors", "weights.npz", "weights.index.json"):
        yield Seed(name, (folder / name).read_bytes(), _weights_of)
    golden = Path(__file__).parents[2] / "tests" / "golden" / "weights"
    for name in _GOLDEN:
        file = golden / name
        suffix = ".pt" if file.suffix == ".ckpt" else file.suffix
        yield Seed(f"{file.stem}{suffix}", file.read_bytes(), _weights_of)


def _weights_of(path: Path) -> None:
    """List what recurrent networks a file holds, and load each."""
    for network in gs.list_weights(path).networks:
        gs.load_weights(path, prefix=network.prefix)


def _series(folder: Path) -> Iterator[Seed]:
    """Yield tables and arrays."""
    values = np.random.default_rng(2).standard_normal((20, 3))
    rows = [
        "date,open,close",
        *(f"2020-01-{k + 1:02d},{a:.4f},{b:.4f}" for k, (a, b, _) in enumerate(values)),
    ]
    np.save(folder / "series.npy", values)
    np.savez(folder / "series.npz", inputs=values[:, None, :])
    np.savez_compressed(folder / "packed.npz", values.astype(np.float32))
    texts = {
        "prices.csv": "\n".join(rows) + "\n",
        "pandas.csv": ",a,b\n" + "".join(f'{k},"{a:.3f}",{b:.3e}\n' for k, (a, b, _) in enumerate(values)),
        "excel.csv": "sep=;\na;b\n" + "".join(f"{a:.3f};{b:.3f}\n".replace(".", ",") for a, b, _ in values),
        "thousands.tsv": "x\ty\n" + "".join(f"{1e4 * a:,.2f}\t{b:.2f}\n" for a, b, _ in values),
        "levels.csv": "id,n,y\n"
        + "".join(f"{k // 5},{k % 5},{a:.3f}\n" for k, (a, _, _) in enumerate(values)),
        "counts.csv": "0,1\n" + "".join(f"{abs(a) * 1e3:.0f},{abs(b) * 1e3:.0f}\n" for a, b, _ in values),
        "plain.txt": "# of no header\n" + "".join(f"{a:.4f} {b:.4f}\n" for a, b, _ in values),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    names = ["series.npy", "series.npz", "packed.npz", *texts]
    if importlib.util.find_spec("pyarrow"):
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({"a": values[:, 0], "b": values[:, 1]})
        pyarrow.parquet.write_table(table, folder / "series.parquet")
        names.append("series.parquet")
    for name in names:
        yield Seed(name, (folder / name).read_bytes(), gs.read_series)


def tasks(folder: Path) -> Iterator[Seed]:
    """Yield files that tasks are made of."""
    inputs = sequences()
    arrays = {
        "targets": inputs[..., 0] > 0,
        "mask": np.ones((STEPS, 3), bool),
        "lengths": np.array([STEPS, 30, 50]),
    }
    np.savez(folder / "own.npz", inputs=inputs, **arrays)
    (folder / "poem.txt").write_text("Tiger, tiger, burning bright\nIn the forests of the night, é\n" * 20)
    pieces = np.empty((1, 3), object)
    for k in range(3):
        pieces[0, k] = np.eye(4 + k, 88, 30, dtype=np.uint8)
    splits = {"traindata": pieces, "validdata": pieces[:, :1], "testdata": pieces[:, 1:]}
    scipy.io.savemat(folder / "scales.mat", splits)
    doors: dict[str, Door] = {
        "own.npz": lambda path: gs.tasks.own(path, loss="cross_entropy"),
        "poem.txt": lambda path: gs.tasks.characters(path, steps=20, sequences=2),
        "scales.mat": gs.tasks.piano_roll,
    }
    for name, door in doors.items():
        yield Seed(name, (folder / name).read_bytes(), door)


def _commands(folder: Path, made: list[Seed]) -> Iterator[Seed]:
    """Yield some of the files again, read by the command line."""
    by_name = {seed.name: seed for seed in made}
    inputs = folder / "series.npy"
    output = ("--out", folder / "out.npz", "--overwrite", "--threads", 1)

    def weights(path: Path) -> None:
        _command("run", "--weights", path, "--inputs", inputs, *output)

    def series(path: Path) -> None:
        _command("run", "--cell", "lstm", "--hidden-size", 5, "--dtype", "float64", "--inputs", path, *output)

    for name in ("TrainingRun.npz", "Params.npz", "weights.safetensors", "Trace.npz"):
        yield Seed(f"run --weights {name}", by_name[name].data, weights)
    for name in ("prices.csv", "series.npz", "own.npz"):
        yield Seed(f"run --inputs {name}", by_name[name].data, series)


def _command(*arguments: Any) -> None:
    """Run a command, which has to end with status 0, or 2 and a line that says why."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main([str(argument) for argument in arguments])
    except SystemExit as end:
        if end.code in (0, None):
            return
        lines = [line for line in said.getvalue().splitlines() if line.startswith("gatescope: error: ")]
        if end.code != 2 or len(lines) != 1:
            raise RuntimeError(f"status {end.code}: {said.getvalue()[-500:]}") from end
        raise gs.FileFormatError(lines[0]) from end
