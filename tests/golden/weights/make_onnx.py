"""Make the golden ONNX models: what PyTorch's two exporters write, and what PyTorch computes with the same weights.

    python tests/golden/weights/make_onnx.py

Each model is a file `onnx_<name>.onnx` (with `.onnx.data` beside it, as today's exporter writes it) and an `.npz`:
inputs (T, B, I), outputs (T, B, ...) of PyTorch, what a reader has to find, and `made_with`, the versions.
"""

import platform
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

HERE = Path(__file__).parent
T, B, I, H = 20, 3, 3, 5


class Model(torch.nn.Module):
    """Recurrent layers, with or without a read-out."""

    def __init__(self, kind, readout=0, **options):
        super().__init__()
        self.net = getattr(torch.nn, kind)(I, H, **options)
        self.head = torch.nn.Linear(H * (1 + self.net.bidirectional), readout) if readout else None

    def forward(self, x):
        outputs = self.net(x)[0]
        return outputs if self.head is None else self.head(outputs)


MODELS = {
    "lstm": (True, "float32", Model, dict(kind="LSTM")),
    "lstm_two_layers_both_directions": (
        True,
        "float32",
        Model,
        dict(kind="LSTM", num_layers=2, bidirectional=True, batch_first=True, dropout=0.5, readout=2),
    ),
    "lstm_float64": (True, "float64", Model, dict(kind="LSTM", num_layers=2, readout=2)),
    "gru": (True, "float32", Model, dict(kind="GRU", num_layers=2, bias=False)),
    "gru_float64": (True, "float64", Model, dict(kind="GRU", bidirectional=True)),
    "torchscript_lstm": (
        False,
        "float32",
        Model,
        dict(kind="LSTM", num_layers=2, bidirectional=True, readout=2),
    ),
    "torchscript_gru": (False, "float32", Model, dict(kind="GRU", num_layers=2, batch_first=True)),
    "torchscript_rnn": (False, "float32", Model, dict(kind="RNN", num_layers=2, bidirectional=True)),
    "torchscript_rnn_relu": (False, "float64", Model, dict(kind="RNN", nonlinearity="relu", readout=1)),
    "torchscript_lstm_not_folded": (False, "float32", Model, dict(kind="LSTM", bidirectional=True)),
}
CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}


def forget_traces(path):
    """Take out of a model's nodes where on this machine the code stood that made them; the weights stay beside it."""
    model = onnx.load(path, load_external_data=False)
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
    path.write_bytes(model.SerializeToString())


def main():
    torch.manual_seed(0)
    for name, (dynamo, dtype, make, options) in MODELS.items():
        module = make(**options).to(getattr(torch, dtype)).eval()
        inputs = torch.randn(T, B, I, dtype=getattr(torch, dtype))
        batch_first = options.get("batch_first", False)
        example = inputs.transpose(0, 1).contiguous() if batch_first else inputs
        path = HERE / f"onnx_{name}.onnx"
        more = {} if dynamo else dict(do_constant_folding=not name.endswith("not_folded"), opset_version=17)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (example,), str(path), dynamo=dynamo, **more)
        forget_traces(path)
        with torch.no_grad():
            outputs = module(example)
        if batch_first:
            outputs = outputs.transpose(0, 1)
        cell = CELLS[options["kind"]] + ("_relu" if options.get("nonlinearity") == "relu" else "")
        np.savez_compressed(
            path.with_suffix(".npz"),
            inputs=inputs.numpy(),
            outputs=outputs.contiguous().numpy(),
            cells=np.array([cell] * options.get("num_layers", 1)),
            batch_first=batch_first,
            readout="readout" in options,
            made_with=f"Python {platform.python_version()}, torch {torch.__version__}, onnx {onnx.__version__}",
        )
        files = [*HERE.glob(f"{path.name}*")]
        print(name, [(file.name, file.stat().st_size) for file in files])


if __name__ == "__main__":
    main()
