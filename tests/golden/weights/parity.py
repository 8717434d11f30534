"""Print how far each file in this folder, read by gatescope, computes from what its framework computed with it.

Run it with the extras ``keras``, ``flax`` and ``onnx`` installed: ``python tests/golden/weights/parity.py``.  No
framework is needed: what they computed lies beside the files.  Times are the best of five, in milliseconds.
"""

import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gatescope as gs
from gatescope.datatypes.stack import time_major
from gatescope.recurrence.layers import outputs_of_layers

FOLDER = Path(__file__).parent
TORCH = "PyTorch 2.13.0"  # make_torch.py
KERAS = {
    "keras2.h5": "Keras 2.15.0",
    "keras3_0.keras": "Keras 3.0.5",
}  # make_older_keras.py; others make_keras.py
STRIDE = 7  # of the steps that are kept of Keras
REPEATS = 5


class Case(NamedTuple):
    """What a framework computed with some layers of one network of a file."""

    prefix: str | None
    layers: slice
    readout: bool
    inputs: Any
    outputs: Any
    stride: int = 1


class Row(NamedTuple):
    """What the table says of a file."""

    file: str
    written_by: str
    holds: str
    difference: float | None
    dtype: str
    list_ms: float
    load_ms: float
    refused: str = ""


def cases(path: Path) -> tuple[str, list[Case]]:
    """Return what wrote a file, and what that computed with it."""
    whole = slice(None)
    if path.name.startswith("torch_"):
        with np.load(FOLDER / "torch_outputs.npz") as file:
            known = path.name in file.files
            return TORCH, [Case(None, whole, False, file["inputs"], file[path.name])] if known else []
    if path.parent.name == "keras":
        return _keras(path)
    with np.load(FOLDER / f"{path.name.partition('.')[0]}.npz") as file:
        made_with = str(file["made_with"])
        case = Case(None, whole, bool(file["readout"]), file["inputs"], file["outputs"])
    _, part, *_ = path.name.split("_")
    made_by = {"linen": "flax", "nnx": "flax", "haiku": "haiku", "equinox": "equinox"}.get(part, "torch")
    name = {"flax": f"Flax {part}", "torch": "PyTorch's ONNX exporter"}.get(made_by, made_by.capitalize())
    version = re.search(rf"{made_by} ([0-9][0-9.]*)", made_with)
    return f"{name} {version[1] if version else ''}".rstrip(), [case]


def _keras(path: Path) -> tuple[str, list[Case]]:
    parts = {"keras2.h5": ((0, 2), (2, 6)), "keras3_0.keras": ((0, 4),)}.get(path.name)
    if parts is not None:
        made = []
        for first, last in parts:
            with np.load(path.with_name(f"{path.name}.{first}.npz")) as file:
                made.append(
                    Case(None, slice(first, last), first == 0 and last == 4, *_arrays(file, ""), STRIDE)
                )
        return KERAS[path.name], made
    with np.load(path.with_name("keras.npz")) as file:
        prefixes = {key.split(":")[1] for key in file.files if key.startswith(f"{path.name}:")}
        made = [
            Case(each or None, slice(None), True, *_arrays(file, f"{path.name}:{each}:"), STRIDE)
            for each in sorted(prefixes)
        ]
    return "Keras 3.15.1", made


def _arrays(file: Any, prefix: str) -> tuple[Any, Any]:
    return file[f"{prefix}inputs"], file[f"{prefix}outputs"]


def difference(path: Path, case: Case) -> float:
    """Return the largest difference between what is computed here and there."""
    model = gs.load_weights(path, prefix=case.prefix)
    layers = [time_major(layer) for layer in getattr(model, "layers", (model,))[case.layers]]
    outputs = outputs_of_layers(layers, case.inputs)
    if case.readout and getattr(model, "readout_weight", None) is not None:
        outputs = outputs @ model.readout_weight.T + model.readout_bias
    return float(np.abs(outputs[case.stride - 1 :: case.stride] - case.outputs).max())


def milliseconds(call: Any) -> float:
    """Return the least time that a call takes."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * min(times)


def row(path: Path) -> Row:
    """Return what there is to say of a file."""
    written_by, known = cases(path)
    name = path.relative_to(FOLDER).as_posix()
    try:
        stored = gs.list_weights(path)
        prefixes = [network.prefix for network in stored.networks]
        refused = [layer.refused for network in stored.networks for layer in network.layers if layer.refused]
        if not known:
            raise gs.WeightFormatError(refused[0])
    except gs.WeightFormatError as error:
        return Row(name, written_by, "", None, "", 0, 0, error.problem)
    layers = [layer for network in stored.networks for layer in network.layers]
    directions = [way for layer in layers for way in (layer.forward, layer.backward) if way is not None]
    cells = "/".join(dict.fromkeys(way.cell for way in directions))
    return Row(
        name,
        written_by,
        f"{cells}; {len(stored.networks)} network(s), {len(layers)} layer(s)",
        max(difference(path, case) for case in known),
        "/".join(dict.fromkeys(way.dtype for way in directions)),
        milliseconds(lambda: gs.list_weights(path)),
        milliseconds(lambda: gs.load_weights(path, prefix=prefixes[0])),
    )


def rows() -> Iterator[Row]:
    """Yield a row for each file of weights in this folder."""
    patterns = (
        "torch_*.*",
        "onnx_*.onnx",
        "jax_*.msgpack",
        "jax_*.eqx",
        "jax_*.tree.npz",
        "keras/*.keras",
        "keras/*.h5",
    )
    for pattern in patterns:
        for path in sorted(FOLDER.glob(pattern)):
            if path.suffix != ".npz" or ".tree" in path.name:
                yield row(path)


def main() -> None:
    """Print the table in Markdown."""
    print("| file | written by | holds | largest difference | dtype | list, ms | load, ms |")
    print("|---|---|---|---|---|---|---|")
    for each in rows():
        cells = [each.file, each.written_by, f"refused: {each.refused}", "", "", "", ""]
        if each.difference is not None:
            times = f"{each.list_ms:.1f}", f"{each.load_ms:.1f}"
            cells = [each.file, each.written_by, each.holds, f"{each.difference:.1e}", each.dtype, *times]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    warnings.simplefilter("ignore", gs.AccuracyWarning)
    main()
