"""Write the files of PyTorch that the reader is tested against, and what the modules in them put out.

Run it with PyTorch installed, in this folder: ``python make_torch.py``.  The files here are of PyTorch 2.13.0.
"""

import copy

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
INPUTS = torch.randn(20, 3, 4, dtype=torch.float64)  # T, B, I


class Model(nn.Module):
    """A recurrent layer between an embedding, which is not used here, and a read-out."""

    def __init__(self, rnn, width):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.rnn = rnn
        self.head = nn.Linear(width, 2)

    def forward(self, inputs):
        """Return what the read-out makes of the outputs."""
        return self.head(self.rnn(inputs)[0])


class Decoder(nn.Module):
    """A cell and its read-out."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell
        self.out = nn.Linear(5, 2)


def outputs_of(module, dtype):
    """Return what a recurrent module puts out, computed in a dtype: (T, B, H)."""
    module = copy.deepcopy(module).to(dtype)
    with torch.no_grad():
        if isinstance(module, nn.RNNCellBase):
            state, steps = None, []
            for x in INPUTS.to(dtype):
                state = module(x, state)
                steps.append(state[0] if isinstance(state, tuple) else state)
            return torch.stack(steps).numpy()
        if module.batch_first:
            return module(INPUTS.to(dtype).swapaxes(0, 1))[0].swapaxes(0, 1).numpy()
        return module(INPUTS.to(dtype))[0].numpy()


def stepped(model):
    """Return Adam's state after a step of a model's training."""
    optimizer = torch.optim.Adam(model.parameters())
    sum(parameter.square().sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


def main():
    """Write the files, and their outputs to ``torch_outputs.npz``."""
    expected = {"inputs": INPUTS.numpy()}

    both = Model(nn.LSTM(4, 5, num_layers=2, bidirectional=True), 10)
    torch.save(both.state_dict(), "torch_state_dict.pt")
    expected["torch_state_dict.pt"] = outputs_of(both.rnn, torch.float32)
    torch.save(both.state_dict(), "torch_legacy.pt", _use_new_zipfile_serialization=False)

    parallel = nn.DataParallel(Model(nn.GRU(4, 5), 5)).double()
    torch.save(parallel.state_dict(), "torch_parallel.pth")
    expected["torch_parallel.pth"] = outputs_of(parallel.module.rnn, torch.float64)

    half = nn.LSTM(4, 5, bias=False).to(torch.bfloat16)
    torch.save(half.state_dict(), "torch_bfloat16.bin")
    expected["torch_bfloat16.bin"] = outputs_of(half, torch.float32)

    whole = Model(nn.RNN(4, 5, num_layers=2, nonlinearity="relu", batch_first=True), 5).double()
    torch.save(whole, "torch_module.pt")
    expected["torch_module.pt"] = outputs_of(whole.rnn, torch.float64)

    model = Model(nn.GRU(4, 5), 5).double()
    averaged = torch.optim.swa_utils.AveragedModel(model)
    checkpoint = {
        "epoch": 3,
        "state_dict": torch.compile(model).state_dict(),
        "optimizer_states": [stepped(model)],
        "ema_state_dict": averaged.state_dict(),
        "hyper_parameters": {"learning_rate": np.float64(0.1)},
    }
    torch.save(checkpoint, "torch_checkpoint.ckpt")
    expected["torch_checkpoint.ckpt"] = outputs_of(model.rnn, torch.float64)

    scripted = Model(nn.RNN(4, 5, nonlinearity="relu"), 5).double()
    torch.jit.script(scripted).save("torch_script.pt")
    expected["torch_script.pt"] = outputs_of(scripted.rnn, torch.float64)

    quantized = torch.ao.quantization.quantize_dynamic(both, {nn.LSTM, nn.Linear}, torch.qint8)
    torch.save(quantized.state_dict(), "torch_quantized.pt")

    decoder = Decoder(nn.LSTMCell(4, 5)).double()
    torch.save(decoder.state_dict(), "torch_cell.pt")
    expected["torch_cell.pt"] = outputs_of(decoder.cell, torch.float64)

    np.savez_compressed("torch_outputs.npz", **expected)


if __name__ == "__main__":
    main()
