"""Make the golden files: what PyTorch and ONNX compute in float64, for the tests to compare with.

    python tests/golden/make_golden.py

rnn, rnn_relu, lstm and gru come from torch.nn and its autograd.  gru_reset_before, which PyTorch has not,
comes from ONNX's reference evaluator (GRU with linear_before_reset=0) for the forward sweep, and from
autograd over a cell written out here for the gradients; both forward sweeps must agree first.

Each file holds what goes in: weights, inputs, initial_state (B, S, H), output_adjoint (T, B, H), and
final_adjoint (B, S, H); and what comes out: outputs and input gradients at every STRIDE-th step (each depends
on all steps before, or after, it), final_state, and the gradients of
L = sum(output_adjoint * outputs) + sum(final_adjoint * final_state).
What goes in is rounded to float16, which float64 holds exactly, so that the files stay small; the tests do
not rely on random streams.  `made_with` states the versions.
"""

import platform
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

HERE = Path(__file__).parent
STRIDE = 5  # outputs and input gradients are kept at steps 4, 9, 14, ...
SIZES = [dict(T=200, B=3, I=2, H=5), dict(T=200, B=1, I=3, H=17)]
STATES = {"rnn": 1, "rnn_relu": 1, "lstm": 2, "gru": 1, "gru_reset_before": 1}
GATES = {"rnn": 1, "rnn_relu": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}
PARAMS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def problem_of(cell, seed, T, B, I, H):
    """Random arrays that go in, as float16; weights on 1.5 times PyTorch's scale, so that the gates move."""
    rng = np.random.default_rng(seed)
    G, S = GATES[cell], STATES[cell]
    scale = 1.5 / np.sqrt(H) if cell != "rnn_relu" else 1 / np.sqrt(H)
    arrays = {
        "weight_ih": scale * rng.uniform(-1, 1, (G * H, I)),
        "weight_hh": scale * rng.uniform(-1, 1, (G * H, H)),
        "bias_ih": scale * rng.uniform(-1, 1, G * H),
        "bias_hh": scale * rng.uniform(-1, 1, G * H),
        "inputs": rng.standard_normal((T, B, I)),
        "initial_state": rng.standard_normal((B, S, H)) / 2,
        "output_adjoint": rng.standard_normal((T, B, H)),
        "final_adjoint": rng.standard_normal((B, S, H)),
    }
    return {name: value.astype(np.float16) for name, value in arrays.items()}


def torch_layer(cell, I, H):
    """Return the layer of torch.nn, in float64."""
    if cell == "lstm":
        return torch.nn.LSTM(I, H).double()
    if cell == "gru":
        return torch.nn.GRU(I, H).double()
    return torch.nn.RNN(I, H, nonlinearity="relu" if cell == "rnn_relu" else "tanh").double()


def reset_before(x, s, w):
    """Return outputs (T, B, H) of Cho's GRU in torch: the reset gate multiplies h before the recurrent product."""
    h, outputs = s[0], []
    Wr, Wz, Wn = w["weight_ih"].chunk(3)
    Rr, Rz, Rn = w["weight_hh"].chunk(3)
    br, bz, bn = (w["bias_ih"] + w["bias_hh"]).chunk(3)
    for x_t in x:
        r = torch.sigmoid(x_t @ Wr.T + h @ Rr.T + br)
        z = torch.sigmoid(x_t @ Wz.T + h @ Rz.T + bz)
        n = torch.tanh(x_t @ Wn.T + (r * h) @ Rn.T + bn)
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs), h[None]


def by_torch(cell, arrays):
    """Return outputs (T, B, H), final state (B, S, H) and all gradients, by autograd."""
    t = {name: torch.tensor(value.astype(np.float64)) for name, value in arrays.items()}
    x = t["inputs"].requires_grad_()
    s = t["initial_state"].transpose(0, 1).contiguous().requires_grad_()  # torch keeps (S, B, H)
    if cell == "gru_reset_before":
        weights = {name: t[name].requires_grad_() for name in PARAMS}
        outputs, final = reset_before(x, s, weights)
    else:
        layer = torch_layer(cell, x.shape[2], s.shape[2])
        weights = {name: getattr(layer, f"{name}_l0") for name in PARAMS}
        with torch.no_grad():
            for name, value in weights.items():
                value.copy_(t[name])
        if cell == "lstm":
            outputs, (h, c) = layer(x, (s[:1], s[1:]))
            final = torch.cat([h, c])
        else:
            outputs, final = layer(x, s)
    loss = (t["output_adjoint"] * outputs).sum() + (t["final_adjoint"].transpose(0, 1) * final).sum()
    loss.backward()
    result = {"outputs": outputs, "final_state": final.transpose(0, 1)}
    result |= {f"d_{name}": value.grad for name, value in weights.items()}
    result |= {"d_inputs": x.grad, "d_initial_state": s.grad.transpose(0, 1)}
    return {name: np.ascontiguousarray(value.detach().numpy()) for name, value in result.items()}


def by_onnx(arrays):
    """Return outputs (T, B, H) of ONNX's GRU with linear_before_reset=0, in float64."""
    a = {name: value.astype(np.float64) for name, value in arrays.items()}
    H = a["weight_hh"].shape[1]

    def zrh(rows):  # ONNX orders the gates z, r, h where we have r, z, n; a leading axis of one direction
        r, z, n = np.split(rows, 3)
        return np.concatenate([z, r, n])[None]

    names = ["X", "W", "R", "B", "", "initial_h"]
    node = onnx.helper.make_node("GRU", names, ["Y", "Y_h"], hidden_size=H, linear_before_reset=0)
    double = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        [node],
        "gru",
        [onnx.helper.make_tensor_value_info(name, double, None) for name in names if name],
        [onnx.helper.make_tensor_value_info(name, double, None) for name in ("Y", "Y_h")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    feeds = {
        "X": a["inputs"],
        "W": zrh(a["weight_ih"]),
        "R": zrh(a["weight_hh"]),
        "B": np.concatenate([zrh(a["bias_ih"]), zrh(a["bias_hh"])], axis=1),
        "initial_h": a["initial_state"].transpose(1, 0, 2),
    }
    Y, Y_h = ReferenceEvaluator(model).run(None, feeds)
    return {"outputs": Y[:, 0], "final_state": Y_h.transpose(1, 0, 2)}


def main():
    made_with = f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}"
    total = 0
    for cell in STATES:
        for size in SIZES:
            arrays = problem_of(cell, seed=size["H"], **size)
            result = by_torch(cell, arrays)
            maker = f"torch.nn and autograd, float64; {made_with}"
            if cell == "gru_reset_before":
                forward = by_onnx(arrays)
                for name, value in forward.items():
                    if not np.allclose(result[name], value, rtol=0, atol=1e-13):
                        sys.exit(f"{cell} {size}: torch and ONNX disagree on {name}")
                result |= forward
                maker = (
                    f"forward: onnx {onnx.__version__} reference evaluator; gradients: autograd; {made_with}"
                )
            for name in ("outputs", "d_inputs"):
                result[name] = result[name][STRIDE - 1 :: STRIDE]
            path = HERE / f"{cell}_h{size['H']}.npz"
            np.savez_compressed(path, made_with=maker, stride=STRIDE, **arrays, **result)
            total += path.stat().st_size
            largest = np.abs(result["outputs"]).max()
            print(f"{path.name}: {path.stat().st_size:,} bytes, largest output {largest:.3g}")
    print(f"{total:,} bytes in all")


if __name__ == "__main__":
    main()
