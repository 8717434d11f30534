"""Optimizers against plain NumPy, PyTorch, and what is known of single steps."""

import dataclasses
import re

import numpy as np
import pytest
from numba import njit

from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu.loops import optimizers
from gatescope.kernels.cpu.loops.compiling import OPTIONS
from gatescope.training.optimizers import NAMES, SGD, Adam, RMSprop, by_name

SIZE = 37  # off the lanes
STEPS = 50
OPTIMIZERS = [
    Adam(),
    Adam(betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    Adam(weight_decay=0.1, decoupled=True),
    RMSprop(),
    RMSprop(alpha=0.9, eps=1e-4, momentum=0.7, weight_decay=0.05),
    RMSprop(centered=True),
    RMSprop(centered=True, momentum=0.5),
    SGD(),
    SGD(momentum=0.9),
    SGD(momentum=0.9, dampening=0.3, weight_decay=0.1),
    SGD(momentum=0.8, nesterov=True, weight_decay=0.1),
]
IDS = [repr(optimizer) for optimizer in OPTIMIZERS]


def naive(optimizer, theta, gradients, rates):
    """Return the formulas of the docstrings, one array at a time."""
    o, k = optimizer, theta.dtype.type
    m, v, u = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for step, (g, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        if o.weight_decay and not getattr(o, "decoupled", False):
            g = g + k(o.weight_decay) * theta
        if isinstance(o, Adam):
            b1, b2 = o.betas
            if o.decoupled:
                theta = k(1 - lr * o.weight_decay) * theta
            m, v = k(b1) * m + k(1 - b1) * g, k(b2) * v + k(1 - b2) * g**2
            theta = theta - k(lr) * (m / k(1 - b1**step)) / (np.sqrt(v / k(1 - b2**step)) + k(o.eps))
        elif isinstance(o, RMSprop):
            v = k(o.alpha) * v + k(1 - o.alpha) * g**2
            if o.centered:
                m = k(o.alpha) * m + k(1 - o.alpha) * g
            u = k(o.momentum) * u + g / (np.sqrt(v - m**2) + k(o.eps))
            theta = theta - k(lr) * u
        else:
            u = k(o.momentum) * u + k(1 - o.dampening) * g if step > 1 and o.momentum else g
            theta = theta - k(lr) * (g + k(o.momentum) * u if o.nesterov else u)
        assert theta.dtype == gradients.dtype
    return theta


def torch_twin(optimizer, parameters):
    optim = pytest.importorskip("torch").optim
    constants = dataclasses.asdict(optimizer)
    name = "AdamW" if constants.pop("decoupled", False) else type(optimizer).__name__
    return getattr(optim, name)(parameters, lr=1.0, **constants)


def problem(dtype):
    rng = np.random.default_rng(0)
    # Elements of very different sizes; a learning rate that changes.
    gradients = rng.standard_normal((STEPS, SIZE)) * 10.0 ** rng.integers(-4, 2, SIZE)
    return rng.standard_normal(SIZE).astype(dtype), gradients.astype(dtype), 1e-2 / np.arange(1.0, STEPS + 1)


def follow(optimizer, theta, gradients, rates):
    theta = theta.copy()
    state = optimizer.state(theta.size, theta.dtype)
    for step, (gradient, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        optimizer.update(theta, gradient, state, step, float(lr))
    return theta


# float32 1e-5: some tens of roundings of 6e-8, relative to weights of the size 1.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=IDS)
def test_follows_its_formula(optimizer, dtype, tolerance):
    theta, gradients, rates = problem(dtype)
    updated = follow(optimizer, theta, gradients, rates)
    assert updated.dtype == dtype
    np.testing.assert_allclose(updated, naive(optimizer, theta, gradients, rates), rtol=0, atol=tolerance)
    assert np.abs(updated - theta).max() > 1e-2


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=IDS)
def test_follows_pytorch_step_for_step(optimizer, dtype, tolerance):
    torch = pytest.importorskip("torch")
    theta, gradients, rates = problem(dtype)
    mine, state = theta.copy(), optimizer.state(SIZE, dtype)
    theirs = torch.tensor(theta, requires_grad=True)
    twin = torch_twin(optimizer, [theirs])
    for step, (gradient, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        optimizer.update(mine, gradient, state, step, float(lr))
        theirs.grad = torch.tensor(gradient)
        twin.param_groups[0]["lr"] = float(lr)
        twin.step()
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=IDS)
def test_the_state_is_all_that_an_interrupted_run_needs(optimizer):
    theta, gradients, rates = problem("float32")
    whole = follow(optimizer, theta, gradients, rates)
    state = optimizer.state(SIZE, "float32")
    for step, (gradient, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        if step == 20:
            state, theta = {name: value.copy() for name, value in state.items()}, theta.copy()
        optimizer.update(theta, gradient, state, step, float(lr))
    assert theta.tobytes() == whole.tobytes()


def test_the_first_step_of_adam_is_the_sign_times_the_learning_rate():
    theta = np.zeros(3)
    Adam(eps=1e-30).update(theta, np.array([1e-9, -3.0, 1e12]), Adam().state(3, "float64"), 1, 0.5)
    np.testing.assert_allclose(theta, [-0.5, 0.5, -0.5], rtol=1e-12)


def test_a_centered_variance_does_not_become_nan():
    optimizer, theta = RMSprop(centered=True, alpha=0.5), np.zeros(100, "float32")
    state = optimizer.state(100, "float32")
    gradient = np.linspace(0.1, 1, 100).astype("float32")  # the same at each step: its variance goes to 0
    for step in range(1, 101):
        optimizer.update(theta, gradient, state, step, 1e-3)
    assert np.isfinite(theta).all()
    assert (state["square"] - state["mean"] ** 2 < 0).any()  # what would have been the root's argument


def test_nan_gradients_are_not_hidden():
    for optimizer in OPTIMIZERS:
        theta = follow(optimizer, np.zeros(2), np.array([[np.nan, 1.0]]), [0.1])
        assert np.isnan(theta[0])
        assert np.isfinite(theta[1])


def test_float32_kernels_hold_no_double():
    """All constants are rounded before the loops; conversions of these are all that may be of float64."""
    for optimizer in OPTIMIZERS:
        follow(optimizer, *problem("float32"))
    kernels = [optimizers.adam, optimizers.make_rmsprop(True, True), optimizers.make_sgd(True, True)]
    for kernel in kernels:
        signature = next(s for s in kernel.signatures if "float32" in str(s[0]))
        fresh = njit(**OPTIONS)(kernel.py_func)  # a cached one cannot be looked at
        fresh.compile(signature)
        text = fresh.inspect_llvm(signature)
        assert not re.findall(r"f(?:add|sub|mul|div) (?:<\d+ x )?double", text)
        assert re.search(r"fmul <\d+ x float>", text)  # whole vectors at a time


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adam(betas=(1.0, 0.9)), r"betas\[0\]=1.0"),
        (lambda: Adam(betas=(0.9, -0.1)), r"betas\[1\]=-0.1"),
        (lambda: Adam(betas=0.9), r"betas=0.9"),
        (lambda: Adam(eps=0), r"eps=0 must be a finite number above 0"),
        (lambda: RMSprop(eps=0.0), r"eps=0.0 must be a finite number above 0"),
        (lambda: Adam(weight_decay=-1), r"weight_decay=-1"),
        (lambda: Adam(decoupled=1), r"decoupled=1 must be True or False"),
        (lambda: RMSprop(alpha=1.5), r"alpha=1.5"),
        (lambda: RMSprop(momentum=-0.5), r"momentum=-0.5"),
        (lambda: RMSprop(centered="yes"), r"centered='yes'"),
        (lambda: SGD(momentum=1.0), r"momentum=1.0"),
        (lambda: SGD(dampening=2), r"dampening=2"),
        (lambda: SGD(nesterov=True), r"nesterov needs `momentum` above 0"),
        (lambda: SGD(nesterov=True, momentum=0.9, dampening=0.1), r"no `dampening`"),
    ],
)
def test_constants_out_of_range_are_named(make, message):
    with pytest.raises(ValueRangeError, match=message):
        make()


def test_by_name():
    assert set(NAMES) == {"adam", "adamw", "rmsprop", "sgd"}
    assert by_name("adam") == Adam()
    assert by_name("adamw") == Adam(weight_decay=0.01, decoupled=True)
    mine = SGD(momentum=0.5)
    assert by_name(mine) is mine
    for wrong in ("adagrad", None, Adam, 3):
        with pytest.raises(UnknownNameError, match=r"optimizer=.*adam, adamw, rmsprop, sgd"):
            by_name(wrong)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=IDS)
def test_reprs_are_descriptions(optimizer):
    assert eval(repr(optimizer), {kind.__name__: kind for kind in (Adam, RMSprop, SGD)}) == optimizer


def test_vectors_that_do_not_fit_are_named():
    adam, theta = Adam(), np.zeros(3)
    state = adam.state(3, "float64")
    with pytest.raises(ShapeError, match=r"gradient has shape \(4,\)"):
        adam.update(theta, np.zeros(4), state, 1, 0.1)
    with pytest.raises(DtypeError, match=r"gradient has dtype float32, but theta has float64"):
        adam.update(theta, np.zeros(3, "float32"), state, 1, 0.1)
    with pytest.raises(ShapeError, match=r"mean has shape \(2,\)"):
        adam.update(theta, np.zeros(3), adam.state(2, "float64"), 1, 0.1)
    with pytest.raises(ShapeError, match="state has the vectors none, but should have mean, square"):
        adam.update(theta, np.zeros(3), {}, 1, 0.1)
    with pytest.raises(ShapeError, match=r"theta has shape \(3, 1\)"):
        adam.update(theta[:, None], theta[:, None], state, 1, 0.1)
    with pytest.raises(DtypeError, match="theta has dtype int64"):
        adam.update(np.zeros(3, int), np.zeros(3, int), state, 1, 0.1)
    with pytest.raises(ValueRangeError, match="step=0"):
        adam.update(theta, np.zeros(3), state, 0, 0.1)
    with pytest.raises(DtypeError, match="float16"):
        adam.state(3, "float16")
    with pytest.raises(DtypeError, match=r"theta is a list; give a NumPy array \(N,\)"):
        adam.update([1.0, 2.0, 3.0], np.zeros(3), state, 1, 0.1)
    with pytest.raises(DtypeError, match="gradient is a list"):
        adam.update(theta, [1.0, 2.0, 3.0], state, 1, 0.1)
    with pytest.raises(ValueRangeError, match=r"step=1\.5"):
        adam.update(theta, np.zeros(3), state, 1.5, 0.1)


@pytest.mark.parametrize("make", [Adam, RMSprop])
def test_the_least_eps_keeps_a_weight_without_gradients(make):
    """With 0, which is refused, that would be 0 / 0."""
    optimizer, theta = make(eps=1e-300), np.ones(2)
    optimizer.update(theta, np.array([0.0, 1.0]), optimizer.state(2, "float64"), 1, 0.1)
    assert theta[0] == 1 > theta[1]
