"""connectivity of a stack: against the complex step through all layers, of read-outs, at long lags, what is refused."""

import dataclasses
import math

import numpy as np
import pytest
from helpers.joint_steps import joint_step

import gatescope as gs
from gatescope.errors import ValueRangeError

INPUTS = np.random.default_rng(0).standard_normal((14, 3, 2))


def stack_of(cells, *, readout=0, hidden_size=5):
    layers, width = [], 2
    for seed, cell in enumerate(cells):
        layers.append(gs.init(cell, input_size=width, hidden_size=hidden_size, seed=seed, dtype="float64"))
        width = hidden_size
    rng = np.random.default_rng(9)
    more = {}
    if readout:
        more = {"readout_weight": rng.standard_normal((readout, width)), "readout_bias": np.ones(readout)}
    return gs.Stack(layers=tuple(layers), **more)


def jacobian(stack, inputs, target, source):
    """Return d outputs[target] / d inputs[source] (O, I) of one sequence (T, I), by the complex step."""
    sizes = [len(gs.cells.get(p.cell).states) * p.hidden_size for p in stack.layers]
    width, state = inputs.shape[1], np.zeros((inputs.shape[1], sum(sizes)), complex)
    for t in range(target + 1):
        x = np.repeat(inputs[t][None].astype(complex), width, axis=0)
        if t == source:
            x += 1e-30j * np.eye(width)
        state = joint_step(stack.layers, x, state)
    outputs = np.imag(state[:, sum(sizes[:-1]) :][:, : stack.layers[-1].hidden_size]).T / 1e-30
    return outputs if stack.readout_weight is None else stack.readout_weight @ outputs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "readout"),
    [
        (("lstm", "lstm"), 0),
        (("lstm", "lstm"), 3),
        (("gru", "lstm", "rnn"), 2),
    ],
)
def test_each_pair_is_the_derivative_through_all_layers(cells, readout):
    stack = stack_of(cells, readout=readout)
    lengths, targets = [14, 9, 14], [3, 8, 13]
    conn = gs.connectivity(stack, INPUTS, target_steps=targets, lengths=lengths)
    assert conn.cell == " on ".join(reversed(cells))
    for row, target in enumerate(targets):
        for source in range(14):
            for b, length in enumerate(lengths):
                value = conn.log_norm[row, source, b]
                if source > target or target >= length:
                    assert np.isnan(value)
                else:
                    expected = np.linalg.norm(jacobian(stack, INPUTS[:length, b], target, source))
                    assert value == pytest.approx(math.log(expected), abs=1e-12)


def test_it_is_what_autograd_of_pytorch_gives():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.LSTM(2, 5, num_layers=2).double()
    x = torch.tensor(INPUTS, requires_grad=True)
    outputs = module(x)[0]
    conn = gs.connectivity(gs.load_weights(module), INPUTS, target_steps=[3, 8, 13])
    for row, target in enumerate(conn.target_step):
        for b in range(3):
            gradients = [
                torch.autograd.grad(outputs[target, b, unit], x, retain_graph=True)[0][: target + 1, b]
                for unit in range(5)
            ]
            expected = torch.stack(gradients).square().sum(dim=(0, 2)).sqrt().log().numpy()
            np.testing.assert_allclose(conn.log_norm[row, : target + 1, b], expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_one_output_and_one_direction_of_the_readout():
    stack = stack_of(("lstm", "lstm"), readout=3)
    full = jacobian(stack, INPUTS[:, 0], 13, 4)
    at = {"target_steps": [13], "source_steps": [4]}
    one = gs.connectivity(stack, INPUTS[:, :1], norm="unit", unit=2, **at)
    assert one.log_norm.item() == pytest.approx(math.log(np.linalg.norm(full[2])), abs=1e-12)
    drawn = np.random.default_rng(5).standard_normal(3)
    drawn /= np.linalg.norm(drawn)
    some = gs.connectivity(stack, INPUTS[:, :1], norm="random", seed=5, **at)
    assert some.log_norm.item() == pytest.approx(math.log(np.linalg.norm(drawn @ full)), abs=1e-12)
    with pytest.raises(ValueRangeError, match="3 outputs"):
        gs.connectivity(stack, INPUTS, norm="unit", unit=3)


@pytest.mark.slow
def test_a_stack_of_one_layer_is_its_cell():
    stack = stack_of(("lstm",))
    one, other = (gs.connectivity(model, INPUTS) for model in (stack, stack.layers[0]))
    np.testing.assert_allclose(one.log_norm, other.log_norm, rtol=1e-12)


@pytest.mark.slow
def test_lags_far_beyond_the_smallest_float_have_their_rate():
    """The tail falls at the rate of the slower layer: far below any float, and still right."""
    stack, x = stack_of(("lstm", "lstm")), np.zeros((4001, 1, 2))
    conn = gs.connectivity(stack, x, target_steps=[4000], source_steps=[1000, 2000, 3000])
    spectrum = gs.lyapunov_spectrum(stack, x, k=1)
    assert conn.log_norm[0, 0, 0] < -1000  # past what it began with, at a fixed point
    falls = np.diff(conn.log_norm[0, :, 0]) / 1000
    np.testing.assert_allclose(falls, -spectrum.exponents[0, 0], rtol=1e-6)


@pytest.mark.slow
def test_threads_and_an_interruption_change_no_bit(tmp_path):
    stack = stack_of(("lstm", "lstm"))
    one, other = (gs.connectivity(stack, INPUTS, threads=threads) for threads in (1, 2))
    assert one == other == gs.connectivity(stack, INPUTS, resume=tmp_path / "state.npz")


def test_what_does_not_go_forward_is_refused():
    ahead, _ = stack_of(("lstm", "lstm")).layers
    back = dataclasses.replace(ahead, reverse=True)
    with pytest.raises(ValueRangeError, match="goes both ways"):
        gs.connectivity(gs.Bidirectional(forward=ahead, backward=back), INPUTS)
    with pytest.raises(ValueRangeError, match="backward direction"):
        gs.connectivity(gs.Stack(layers=(back,)), INPUTS)
