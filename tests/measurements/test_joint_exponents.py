"""Lyapunov exponents of stacks: against a plain QR of the dense joint Jacobian, closed forms, what is refused."""

import dataclasses
import math

import numpy as np
import pytest
from helpers.joint_steps import joint_step

import gatescope as gs
from gatescope.errors import ValueRangeError

TRANSIENT = 300


def dense_jacobians(stack, inputs):
    """Return the joint Jacobians (T, n, n) along a run of one sequence (T, I), by the complex step."""
    layers = stack.layers
    n = sum(len(gs.cells.get(params.cell).states) * params.hidden_size for params in layers)
    state, jacobians = np.zeros((1, n)), np.empty((len(inputs), n, n))
    for t, x in enumerate(inputs):
        moved = joint_step(layers, x[None].astype(complex), state + 1e-30j * np.eye(n))
        jacobians[t] = np.imag(moved).T / 1e-30
        state = joint_step(layers, x[None], state)
    return jacobians


def plain_exponents(jacobians, transient):
    """Return all exponents by numpy.linalg.qr after every step, sorted."""
    n = jacobians.shape[1]
    q, total = np.linalg.qr(np.random.default_rng(7).standard_normal((n, n)))[0], np.zeros(n)
    for t, jacobian in enumerate(jacobians):
        q, r = np.linalg.qr(jacobian @ q)
        if t >= transient:
            total += np.log(np.abs(np.diag(r)))
    return np.sort(total / (len(jacobians) - transient))[::-1]


def stack_of(cells, *, gain=1.0, hidden_size=5):
    layers, width = [], 2
    for seed, cell in enumerate(cells):
        params = gs.init(cell, input_size=width, hidden_size=hidden_size, seed=seed, dtype="float64")
        layers.append(dataclasses.replace(params, weight_hh=gain * params.weight_hh))
        width = hidden_size
    return gs.Stack(layers=tuple(layers))


@pytest.mark.parametrize(
    "cells",
    [("lstm", "lstm"), pytest.param(("gru", "rnn", "lstm"), marks=pytest.mark.slow)],
    ids="-".join,
)
def test_they_are_those_of_the_dense_joint_jacobian(cells):
    stack = stack_of(cells, gain=2.0)
    inputs = np.random.default_rng(0).standard_normal((2500, 2))
    spectrum = gs.lyapunov_spectrum(stack, inputs, transient=TRANSIENT)
    jacobians = dense_jacobians(stack, inputs)
    plain = plain_exponents(jacobians, TRANSIENT)
    dense = gs.lyapunov_of_jacobians(jacobians, transient=TRANSIENT)
    assert spectrum.exponents.shape == (1, plain.size) == (1, spectrum.size)
    off = np.abs(spectrum.exponents[0] - plain)
    assert np.all(off < np.hypot(spectrum.error[0], dense.error[0]))
    # Of the same steps they differ by what the coupling puts into them, once and not at every step.
    assert off.max() < 20 / len(inputs)
    # No coupling is in the determinant.
    np.testing.assert_allclose(spectrum.exponents[0].sum(), plain.sum(), rtol=1e-7)
    np.testing.assert_allclose(spectrum.log_det, spectrum.log_det_sum, rtol=1e-7)


def test_each_exponent_says_which_layer_it_is_of_and_is_the_one_measured_there():
    stack = stack_of(("lstm", "lstm"))
    inputs = np.random.default_rng(0).standard_normal((400, 3, 2))
    lengths = [400, 300, 400]
    options = {"transient": 50, "qr_every": 2}
    spectrum = gs.lyapunov_spectrum(stack, inputs, lengths=lengths, **options)
    lower = gs.run(stack.layers[0], inputs, lengths=lengths)
    received = {"layers.0": inputs, "layers.1": np.where(lower.mask[..., None], lower.outputs, 0)}
    assert spectrum.layers == ("layers.0", "layers.1")
    for k, (name, x) in enumerate(received.items()):
        alone = gs.lyapunov_spectrum(stack.layers[k], x, lengths=lengths, **options)
        for b in range(3):
            own = spectrum.layer[b] == k
            np.testing.assert_array_equal(spectrum.exponents[b, own], alone.exponents[b])
            np.testing.assert_array_equal(spectrum.error[b, own], alone.error[b])
            np.testing.assert_array_equal(spectrum.running[:, b, own], alone.running[:, b])
        assert name in spectrum.sequence(0).summary()
    assert (np.diff(spectrum.exponents, axis=1) <= 0).all()
    leading = [name for name in spectrum.layers if name in spectrum.of_layers(1)]
    assert f"it is that of {leading[0]} in {spectrum.of_layers(1).count(leading[0])}" in spectrum.summary()
    assert spectrum.sequence(1).layer.shape == (1, 20)
    assert spectrum.sequence(1).steps == 250


def test_the_leading_few_are_the_largest_of_all():
    stack = stack_of(("lstm", "lstm"))
    inputs = np.random.default_rng(0).standard_normal((400, 2))
    options = {"transient": 100, "qr_every": 1}
    few, every = (gs.lyapunov_spectrum(stack, inputs, k=k, **options) for k in (7, None))
    np.testing.assert_allclose(few.exponents, every.exponents[:, :7], rtol=1e-6)
    np.testing.assert_array_equal(few.layer, every.layer[:, :7])
    assert few.size == every.size == 20


def test_closed_form_dimension_and_entropy_of_the_joint_state():
    """Gates that only biases set: c of each unit is multiplied by its f, and the exponents are ln f."""
    drawn = stack_of(("lstm", "lstm")).layers
    layers = []
    for params, bias in zip(drawn, (2.0, 1.0), strict=True):
        arrays = {name: np.zeros_like(array) for name, array in params.arrays().items()}
        arrays["bias_ih"][5:10] = bias
        layers.append(dataclasses.replace(params, **arrays))
    spectrum = gs.lyapunov_spectrum(gs.Stack(layers=tuple(layers)), np.zeros((200, 2)), k=10, transient=10)
    expected = [-math.log1p(math.exp(-bias)) for bias in (2.0, 1.0) for _ in range(5)]
    np.testing.assert_allclose(spectrum.exponents[0], expected, rtol=1e-12)
    assert spectrum.of_layers(1) == ["layers.0"]
    assert spectrum.kaplan_yorke_dimension()[0] == spectrum.entropy_rate()[0] == 0


def test_layers_of_another_precision_are_driven_in_float64():
    stack = stack_of(("lstm", "lstm"))
    inputs = np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32)
    same = stack.astype("float32").astype("float64")
    one, other = (
        gs.lyapunov_spectrum(model, inputs, transient=50) for model in (stack.astype("float32"), same)
    )
    np.testing.assert_array_equal(one.exponents, other.exponents)


def test_a_stack_that_goes_both_ways_has_none():
    ahead, back = stack_of(("lstm", "lstm")).layers
    back = dataclasses.replace(ahead, reverse=True)
    with pytest.raises(ValueRangeError, match="goes both ways"):
        gs.lyapunov_spectrum(gs.Bidirectional(forward=ahead, backward=back), np.zeros((50, 2)))


def test_more_exponents_than_there_are_in_all_layers():
    with pytest.raises(ValueRangeError, match="the joint state of 2 layers has 20"):
        gs.lyapunov_spectrum(stack_of(("lstm", "lstm")), np.zeros((50, 2)), k=21)


def test_it_is_saved_and_read(tmp_path):
    spectrum = gs.lyapunov_spectrum(stack_of(("lstm", "lstm")), np.ones((60, 2)), k=3)
    spectrum.save(tmp_path / "a.npz")
    assert gs.load(tmp_path / "a.npz") == spectrum
