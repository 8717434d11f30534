"""The documents' commands for one's own model, on files that the frameworks themselves have just written."""

import numpy as np
import pytest
from typer.testing import CliRunner

import gatescope as gs
from gatescope.cli import main

UNITS = 5


def by_pytorch(path):
    torch = pytest.importorskip("torch")
    model = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(1, UNITS), "head": torch.nn.Linear(UNITS, 1)})
    torch.save(model.state_dict(), path / "model.pt")
    return "model.pt", "PyTorch"


def by_keras(path):
    layers = pytest.importorskip("helpers.keras_models").layers  # over PyTorch, if nothing else is chosen
    keras = pytest.importorskip("keras")
    lstm = layers.LSTM(UNITS, return_sequences=True)
    keras.Sequential([keras.Input((None, 1)), lstm, layers.Dense(1)]).save(path / "model.keras")
    return "model.keras", "Keras"


def by_onnx(path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    axes = {"inputs": {0: "steps"}}
    torch.onnx.export(
        torch.nn.LSTM(1, UNITS),
        (torch.zeros(9, 1, 1),),
        path / "model.onnx",
        dynamo=False,
        input_names=["inputs"],
        dynamic_axes=axes,
    )
    return "model.onnx", "ONNX Runtime"


def by_flax(path):
    linen = pytest.importorskip("flax.linen")
    from flax import serialization
    from jax import jit, random

    series = np.zeros((9, 1, 1), np.float32)
    variables = jit(linen.RNN(linen.OptimizedLSTMCell(UNITS), time_major=True).init)(random.key(0), series)
    (path / "model.msgpack").write_bytes(serialization.to_bytes(variables))
    return "model.msgpack", "Flax"


@pytest.mark.parametrize("write", [by_pytorch, by_keras, by_onnx, by_flax])
def test_commands(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, framework = write(tmp_path)
    np.savetxt("series.csv", np.sin(np.arange(300) / 7)[:, None])

    def invoke(*arguments):
        done = CliRunner().invoke(main.app, [*arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    text = invoke("weights", name, "--verify")
    assert "1 recurrent network" in text
    assert f"in float32 differ from those of {framework} " in text
    assert "half-life" in invoke("measure", "half-life", "--weights", name, "--inputs", "series.csv")
    invoke("run", "--weights", name, "--inputs", "series.csv", "--out", "run.npz")
    assert gs.load(tmp_path / "run.npz").final_state.shape[-1] == UNITS
    invoke("convert", name, "converted.safetensors")
