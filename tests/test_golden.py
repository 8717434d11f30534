"""Against PyTorch and ONNX: files made by golden/make_golden.py, and PyTorch live where it is installed.

Errors are relative to the largest absolute value of each array (`cases.relative_error`).
"""

from pathlib import Path
from types import SimpleNamespace

import naive
import numpy as np
import pytest
from helpers.cases import BUILT_IN, PARAMS, Case, assert_close

import gatescope as gs

FILES = sorted((Path(__file__).parent / "golden").glob("*.npz"))

# Two correct float64 programs differ by a few roundings of 1.1e-16 a step; old errors fade in these
# sequences, so that the states stay within a few tens of roundings whatever T is.
FORWARD = 1e-13
# Sums over 200 steps times two sweeps.
BACKWARD = 1e-12
# The same reasoning in float32, whose unit roundoff is 6e-8.  A state is fed by H + I products and an
# activation good to 3 ulp, and fades as above: 16 roundings.  Gradients accumulate both sweeps: 64
# roundings, 3.8e-6.  The weights and inputs of the files are exact in float32, so that nothing else enters.
DTYPES = ("float64", "float32")
ROUNDOFF32 = 2.0**-24
FORWARD32 = 16 * ROUNDOFF32
BACKWARD32 = 64 * ROUNDOFF32


def read(path, dtype):
    """Return (what goes in, what comes out, stride)."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays.pop("made_with")
    stride = int(arrays.pop("stride"))
    problem = {name: value.astype(dtype) for name, value in arrays.items() if value.dtype == np.float16}
    made = {name: value for name, value in arrays.items() if value.dtype == np.float64}
    return SimpleNamespace(**problem), made, stride


def cell_of(path):
    return path.stem.rsplit("_", 1)[0]


def params_of(cell, problem):
    weights = {name: getattr(problem, name) for name in PARAMS}
    return gs.Params(cell=cell, **weights)


def test_every_cell_has_golden_files():
    assert {cell_of(path) for path in FILES} == set(BUILT_IN)
    assert len(FILES) == 2 * len(BUILT_IN)


DEFAULT = {f"{cell}_h5-float64" for cell in BUILT_IN} | {f"lstm_h{H}-{d}" for H in (5, 17) for d in DTYPES}


# Every cell of 5 units in float64 by default, and all of the LSTM; the others, seconds of compiling each, are slow, and
# of those with 17 units in float64 alone.
@pytest.mark.parametrize(
    ("path", "dtype"),
    [
        pytest.param(
            path,
            dtype,
            id=f"{path.stem}-{dtype}",
            marks=[pytest.mark.slow] * (f"{path.stem}-{dtype}" not in DEFAULT),
        )
        for path in FILES
        for dtype in DTYPES
        if dtype == "float64" or "_h17" not in path.stem or cell_of(path) == "lstm"
    ],
)
def test_golden(path, dtype):
    forward, backward = (FORWARD, BACKWARD) if dtype == "float64" else (FORWARD32, BACKWARD32)
    cell = cell_of(path)
    problem, made, stride = read(path, dtype)
    params = params_of(cell, problem)
    trace = gs.run(params, problem.inputs, initial_state=problem.initial_state)
    assert trace.states.dtype == dtype
    assert_close(trace.outputs[stride - 1 :: stride], made["outputs"], forward, "outputs")
    assert_close(trace.final_state, made["final_state"], forward, "final_state")

    grads = gs.backprop(
        params, trace, output_adjoint=problem.output_adjoint, final_adjoint=problem.final_adjoint
    )
    assert grads.params.dtype == dtype
    for name in PARAMS:
        assert_close(getattr(grads.params, name), made[f"d_{name}"], backward, name)
    assert_close(grads.inputs[stride - 1 :: stride], made["d_inputs"], backward, "inputs")
    assert_close(grads.initial_state, made["d_initial_state"], backward, "initial_state")
    np.testing.assert_array_equal(grads.adjoint[0], grads.initial_state)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_oracle_agrees_with_the_golden_files(path):
    cell = cell_of(path)
    problem, made, stride = read(path, "float64")
    states, _ = naive.forward(cell, problem, problem.inputs, problem.initial_state)
    assert_close(states[1:, :, 0][stride - 1 :: stride], made["outputs"], FORWARD, "outputs")
    assert_close(states[-1], made["final_state"], FORWARD, "final_state")
    grads = naive.backward(
        cell, problem, problem.inputs, problem.output_adjoint, problem.final_adjoint, problem.initial_state
    )
    for name in (*PARAMS, "initial_state"):
        assert_close(grads[name], made[f"d_{name}"], BACKWARD, name)
    assert_close(grads["inputs"][stride - 1 :: stride], made["d_inputs"], BACKWARD, "inputs")


@pytest.mark.parametrize("cell", BUILT_IN)
def test_the_oracles_jacobian_is_its_backward_step(cell):
    """Complex step against equations by hand: the two halves of the oracle that share nothing."""
    case = Case(cell, T=1, B=1, I=2, H=4)
    jacobian = naive.jacobian(cell, case.params, case.inputs[0, 0], case.initial_state[0])
    for row, unit in zip(jacobian, np.eye(len(jacobian)), strict=True):
        final = unit.reshape(case.final_adjoint.shape)
        grads = naive.backward(cell, case.params, case.inputs, None, final, case.initial_state)
        np.testing.assert_allclose(row, grads["initial_state"].ravel(), rtol=0, atol=1e-14)


# ---- PyTorch, live ----


def by_torch(torch, case, lengths=None):
    """Return outputs (padding 0), final_state (B, S, H) and all gradients."""
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(case.cell)
    I, H = case.params.input_size, case.params.hidden_size
    relu = {"nonlinearity": "relu" if case.cell == "rnn_relu" else "tanh"}
    layer = kind(I, H).double() if kind else torch.nn.RNN(I, H, **relu).double()
    with torch.no_grad():
        for name in PARAMS:
            getattr(layer, f"{name}_l0").copy_(torch.tensor(getattr(case.params, name)))
    x = torch.tensor(case.inputs, requires_grad=True)
    s = torch.tensor(case.initial_state.transpose(1, 0, 2).copy(), requires_grad=True)
    state = (s[:1], s[1:]) if case.cell == "lstm" else s
    rnn = torch.nn.utils.rnn
    fed = x if lengths is None else rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    outputs, final = layer(fed, state)
    if lengths is not None:
        outputs, _ = rnn.pad_packed_sequence(outputs, total_length=len(x))
    final = torch.cat(final) if case.cell == "lstm" else final
    loss = (torch.tensor(case.output_adjoint) * outputs).sum()
    loss = loss + (torch.tensor(case.final_adjoint.transpose(1, 0, 2).copy()) * final).sum()
    loss.backward()
    result = {name: getattr(layer, f"{name}_l0").grad for name in PARAMS}
    result |= {"inputs": x.grad, "initial_state": s.grad.transpose(0, 1)}
    return (
        outputs.detach().numpy(),
        final.detach().transpose(0, 1).numpy(),
        {k: v.numpy() for k, v in result.items()},
    )


@pytest.mark.parametrize("lengths", [None, [37, 1, 60]], ids=["equal", "unequal"])
@pytest.mark.parametrize("cell", ["rnn", "rnn_relu", "lstm", "gru"])
def test_live_against_torch(cell, lengths):
    torch = pytest.importorskip("torch")
    case = Case(cell, T=60, B=3, I=3, H=17)
    outputs, final, gradients = by_torch(torch, case, lengths)
    trace = case.run(lengths)
    assert_close(trace.outputs * trace.mask[..., None], outputs, FORWARD, "outputs")
    assert_close(trace.final_state, final, FORWARD, "final_state")
    grads = case.backprop(trace)
    for name in PARAMS:
        assert_close(getattr(grads.params, name), gradients[name], BACKWARD, name)
    assert_close(grads.inputs, gradients["inputs"], BACKWARD, "inputs")
    assert_close(grads.initial_state, gradients["initial_state"], BACKWARD, "initial_state")
