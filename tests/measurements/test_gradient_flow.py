"""gradient_flow: where the answer is known, and against explicit products of Jacobians."""

import math

import naive
import numpy as np
import pytest
from helpers.cases import BUILT_IN, FEW, ONE, Case
from helpers.linear_networks import orthogonal, weights
from numba.extending import register_jitable

import gatescope as gs
from gatescope.cells.activations import zero

# A log-norm over k steps carries k products, each rounded a few times by 1.1e-16, however small the norm is.
PER_STEP = 4e-16


# ---- a linear network: inputs, biases and state of zero keep tanh at 0, where its slope is 1 ----


def check_power_law(rho, T, *, norm, size=4, lags=None, dense=True):
    matrix = orthogonal(size, 7) if dense else np.eye(size)[[*range(1, size), 0]]
    params = weights("rnn", weight_hh=rho * matrix)
    flow = gs.gradient_flow(params, np.zeros((T, 1)), norm=norm, lags=lags)
    lag = np.arange(T + 1) if lags is None else np.asarray(lags)
    np.testing.assert_array_equal(flow.lag, lag)
    assert flow.log_norm.shape == (len(lag), 1)
    expected = lag * math.log(rho)
    error = np.abs(flow.log_norm[:, 0] - expected)
    # A dense orthogonal matrix is orthogonal only to its own rounding, which costs as much at every step.
    allowed = (2 * size if dense else 1) * PER_STEP * lag + 4 * np.spacing(np.abs(expected) + 1)
    assert (error <= allowed).all(), f"worst: {(error - allowed).max():.3g} too much"
    return flow


@pytest.mark.parametrize("norm", ["unit", "random"])
@pytest.mark.parametrize("rho", [0.9, 1.1, 0.5, 1.0])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "permutation"])
def test_linear_network(rho, norm, dense):
    # rho = 0.9: the norm itself is below the smallest float64 from lag 7,100 on; 1.1: beyond the largest.
    flow = check_power_law(rho, 20_000, norm=norm, dense=dense)
    # Off by the roundings above, at every lag alike, so that the slope is a thousand times better than this.
    assert abs(float(flow.decay_rate()) + math.log(rho)) < 1e-12
    if rho < 1:
        assert float(flow.half_life()) == pytest.approx(math.log(2) / -math.log(rho), rel=1e-12)
        assert flow.decay_rate().r_squared == pytest.approx([1.0], abs=1e-12)


@pytest.mark.parametrize("rho", [0.9, 1.1])
def test_linear_network_to_lag_one_million(rho):
    check_power_law(rho, 1_000_000, norm="unit", dense=False)
    check_power_law(rho, 1_000_000, norm="unit", dense=True)


@pytest.mark.parametrize("rho", [0.9, 1.1])
def test_linear_network_spectral_norm(rho):
    check_power_law(rho, 20_000, norm="spectral", lags=[0, 1, 2, 10, 100, 1000, 10_000, 20_000])


def test_linear_network_with_distinct_rates():
    """Diagonal weights: a unit decays at its own rate, and the spectral norm at the slowest."""
    rates = np.array([0.99, 0.9, 0.5])
    params = weights("rnn", weight_hh=np.diag(rates))
    inputs = np.zeros((3000, 1))
    for unit, rate in enumerate(rates):
        flow = gs.gradient_flow(params, inputs, norm="unit", unit=unit)
        np.testing.assert_allclose(flow.log_norm[:, 0], flow.lag * math.log(rate), rtol=1e-14, atol=1e-15)
    flow = gs.gradient_flow(params, inputs, norm="spectral", lags=[1, 10, 3000])
    np.testing.assert_allclose(flow.log_norm[:, 0], flow.lag * math.log(0.99), rtol=1e-14)


def test_a_gradient_that_is_exactly_zero():
    """A nilpotent recurrence forgets in as many steps as it has units."""
    params = weights("rnn", weight_hh=np.diag(np.ones(2), k=1))
    flow = gs.gradient_flow(params, np.zeros((6, 1)), norm="unit", unit=0)
    np.testing.assert_array_equal(flow.log_norm[:, 0], [0, 0, 0] + [-np.inf] * 4)


# ---- an LSTM with its gates set by the biases ----


def lstm_with_gates(i, f, g, o, *, size=3, weight_hh=None):
    """Pre-activations of the gates, alike for all units."""
    bias = np.repeat(np.array([i, f, g, o], float), size)
    return weights(
        "lstm", weight_hh=np.zeros((4 * size, size)) if weight_hh is None else weight_hh, bias=bias
    )


@pytest.mark.parametrize("pre", [2.0, -1.0, 6.0])
def test_the_direct_path_of_the_lstm(pre):
    """With no recurrent weights dc_t/dc_{t-k} = f^k, and dh_t/dc_{t-k} = o (1 - tanh(c)^2) f^k."""
    f, o = 1 / (1 + math.exp(-pre)), 1 / (1 + math.exp(-0.5))
    params = lstm_with_gates(0.0, pre, 0.0, 0.5)  # g = tanh(0) = 0 keeps c at 0, where the slope of tanh is 1
    inputs = np.zeros((5000, 1))
    for norm in ("unit", "random"):
        flow = gs.gradient_flow(params, inputs, of="c", wrt="c", norm=norm)
        # ln f loses digits as f comes near 1: an error of 2e-16 in f is 2e-16 a step, against ln f = -0.0025.
        np.testing.assert_allclose(flow.log_norm[:, 0], flow.lag * math.log(f), rtol=1e-12, atol=1e-15)
        flow = gs.gradient_flow(params, inputs, of="h", wrt="c", norm=norm)
        assert flow.log_norm[0, 0] == -np.inf  # h_t is not a function of c_t, but of c_t's making
        expected = math.log(o) + flow.lag[1:] * math.log(f)
        np.testing.assert_allclose(flow.log_norm[1:, 0], expected, rtol=1e-12)


def test_saturated_gates_keep_the_gradient_forever():
    """With f = 1 and i = 0 exactly, whatever R is: the gradient along c is 1 at every lag."""
    rng = np.random.default_rng(5)
    params = lstm_with_gates(-1000.0, 1000.0, 0.0, 1000.0, weight_hh=rng.standard_normal((12, 3)))
    inputs = rng.standard_normal((20_000, 1))
    for norm in ("unit", "random"):
        flow = gs.gradient_flow(params, inputs, of="c", wrt="c", norm=norm)
        np.testing.assert_allclose(flow.log_norm, 0, rtol=0, atol=4e-16)
        assert np.isinf(flow.half_life().value).all() or flow.half_life().value[0] > 1e15


# ---- against explicit Jacobian products ----

BLOCKS = [("rnn", "h", "h"), ("rnn_relu", "h", "h"), ("gru", "h", "h"), ("gru", "joint", "joint")]
BLOCKS += [("gru_reset_before", "h", "h")]
BLOCKS += [("lstm", target, state) for target in ("h", "c", "joint") for state in ("h", "c", "joint")]


def oracle(case, flow, *, norm, unit=0, source_step=None):
    """(L, B) log-norms by plain float64 products."""
    T, B, _ = case.inputs.shape
    columns = []
    for b in range(B):
        jacobians = naive.flow_jacobians(
            case.cell,
            case.params,
            case.inputs[:, b],
            T if source_step is None else source_step,
            target=flow.of,
            state=flow.wrt,
            initial_state=case.initial_state[b],
        )
        columns.append(naive.flow_log_norm(jacobians, norm=norm, unit=unit))
    return np.array(columns).T


def compare(flow, expected, tolerance):
    """Wherever the plain norm is a normal number with some room below it; -inf must be -inf."""
    assert flow.log_norm.shape == expected.shape
    zeros = np.isneginf(expected) & (flow.lag <= 1)[:, None]
    assert np.isneginf(flow.log_norm[zeros]).all()
    normal = expected > math.log(1e-290)
    assert normal.any()
    np.testing.assert_allclose(flow.log_norm[normal], expected[normal], rtol=0, atol=tolerance)
    return normal


@pytest.mark.parametrize("norm", ["unit", "spectral"])
@pytest.mark.parametrize(("cell", "target", "state"), BLOCKS)
def test_against_jacobian_products(cell, target, state, norm):
    case = Case(cell, T=40, B=3, I=2, H=5, scale=1.5)
    keywords = {"of": target, "norm": norm, "initial_state": case.initial_state}
    if norm == "unit":
        keywords["unit"] = 3
    flow = gs.gradient_flow(case.params, case.inputs, wrt=state, **keywords)
    assert (flow.cell, flow.of, flow.wrt, flow.norm, flow.source_step) == (
        cell,
        target,
        state,
        norm,
        40,
    )
    # 40 steps of products that partly cancel; the spectral norm comes from an iteration.
    compare(flow, oracle(case, flow, norm=norm, unit=3), 1e-11 if norm == "unit" else 1e-9)


@pytest.mark.parametrize("cell", FEW)
def test_equals_the_plain_norm_until_that_underflows(cell):
    """Small weights: the plain norm runs through float64's range and out of it; the log-norm goes on."""
    T = 900
    case = Case(cell, T=T, B=1, I=1, H=4, scale=0.5)
    case.params.bias_ih[:] -= 2.0 if cell != "rnn_relu" else 0.0  # gates nearly shut: fast decay
    if cell == "rnn_relu":
        case.params.bias_ih[:] += 5.0  # all units on: a linear network
    flow = gs.gradient_flow(case.params, case.inputs, norm="unit", initial_state=case.initial_state)
    expected = oracle(case, flow, norm="unit")
    normal = compare(flow, expected, 1e-10)  # up to 700 steps of products
    assert not normal.all(), "the case is meant to underflow"
    assert np.isfinite(flow.log_norm).all()
    assert flow.log_norm[-1, 0] < -745  # ln of the smallest float64


@pytest.mark.parametrize("source_step", [1, 7, 20, -1, -3])
def test_source_step(source_step):
    case = Case("lstm", T=20, B=3, I=2, H=5)
    flow = gs.gradient_flow(
        case.params,
        case.inputs,
        source_step=source_step,
        norm="unit",
        unit=1,
        initial_state=case.initial_state,
    )
    t = source_step if source_step > 0 else 21 + source_step
    assert flow.source_step == t
    np.testing.assert_array_equal(flow.lag, np.arange(t + 1))
    compare(flow, oracle(case, flow, norm="unit", unit=1, source_step=t), 1e-12)


@pytest.mark.parametrize("norm", ["unit", "random", "spectral"])
def test_lags_and_horizon_choose_from_the_whole(norm):
    case = Case("gru", T=30, B=3, I=2, H=5)
    whole = gs.gradient_flow(case.params, case.inputs, norm=norm)
    some = gs.gradient_flow(case.params, case.inputs, norm=norm, lags=[0, 3, 17, 30])
    short = gs.gradient_flow(case.params, case.inputs, norm=norm, max_lag=12)
    np.testing.assert_array_equal(some.lag, [0, 3, 17, 30])
    np.testing.assert_array_equal(short.lag, np.arange(13))
    assert whole.lag.dtype == np.int64
    assert whole.log_norm.dtype == np.float64
    # Rescaling may happen elsewhere, which a power of two does not show; so may the spectral iteration's end.
    np.testing.assert_allclose(
        some.log_norm, whole.log_norm[some.lag], rtol=0, atol=1e-9 if norm == "spectral" else 1e-13
    )
    np.testing.assert_allclose(
        short.log_norm, whole.log_norm[:13], rtol=0, atol=1e-9 if norm == "spectral" else 1e-13
    )


@pytest.mark.parametrize("cell", BUILT_IN)
def test_random_directions(cell):
    """Of length 1, by the seed alone, never longer than the longest; one unit leaves no choice."""
    case = Case(cell, T=25, B=3, I=2, H=5)
    flow = gs.gradient_flow(case.params, case.inputs, seed=4)
    assert flow.norm == "random"
    np.testing.assert_allclose(flow.log_norm[0], 0, atol=1e-14)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - it must stay as it is
    again = gs.gradient_flow(case.params, case.inputs, seed=4)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.testing.assert_array_equal(again.log_norm, flow.log_norm)
    assert (gs.gradient_flow(case.params, case.inputs, seed=5).log_norm[1:] != flow.log_norm[1:]).any()
    longest = gs.gradient_flow(case.params, case.inputs, norm="spectral")
    assert (flow.log_norm <= longest.log_norm + 1e-9).all()

    one = Case(cell, T=25, B=3, I=2, H=1)
    flows = [
        gs.gradient_flow(one.params, one.inputs, norm=norm).log_norm
        for norm in ("unit", "random", "spectral")
    ]
    for other in flows[1:]:
        np.testing.assert_allclose(other, flows[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", ["unit", "random"])
@pytest.mark.parametrize("cell", FEW)
def test_sequences_and_threads_do_not_mix(cell, norm):
    case = Case(cell, T=30, B=37, I=2, H=5)  # enough sequences for several blocks
    flow = gs.gradient_flow(case.params, case.inputs, norm=norm, threads=1)
    for threads in (2, 3):
        again = gs.gradient_flow(case.params, case.inputs, norm=norm, threads=threads)
        np.testing.assert_array_equal(again.log_norm, flow.log_norm)
    if norm == "unit":
        for b in (0, 3, 25, 36):
            alone = gs.gradient_flow(case.params, case.inputs[:, b], norm=norm)
            np.testing.assert_array_equal(alone.log_norm[:, 0], flow.log_norm[:, b])


@pytest.mark.parametrize("cell", ONE)
def test_float32(cell):
    """Half the digits in the states and products, all of them in the logarithm."""
    case = Case(cell, T=60, B=3, I=2, H=5, dtype="float32")
    flow = gs.gradient_flow(case.params, case.inputs, norm="unit", initial_state=case.initial_state)
    assert flow.log_norm.dtype == np.float64
    expected = oracle(case, flow, norm="unit")
    # 60 steps, each with a dozen roundings of 6e-8 and slopes taken at states that are as much off, where a
    # slope of 1 - y^2 magnifies the error of y: 60 * 12 * 6e-8 = 4e-5, thrice over for the slopes.
    compare(flow, expected, 1.3e-4)


# ---- the tail is not the gradient ----


@pytest.mark.slow  # 10,000 steps of 64 units
@pytest.mark.parametrize(("cell", "gone"), [("lstm", 1), ("gru", 312)])
def test_an_open_gate_keeps_a_tail_and_not_the_gradient(cell, gone):
    """chrono(1000) over the laser series: h of an LSTM is lost at once, whatever its tail."""
    params = gs.init(cell, input_size=1, hidden_size=64, seed=0, scheme="chrono(1000)")
    flow = gs.gradient_flow(params, gs.tasks.laser().inputs)
    assert flow.steps_to_half()[0] == gone
    assert flow.half_life().value[0] > 2 * gone


# ---- the linear unit h = lam h + x, with x independent and of variance 1 ----


class Linear:
    """A cell that a test adds: no activation at all."""

    NAME = "linear_test"
    GATES = ("h",)
    STATES = ("h",)
    SAVED = ()

    @staticmethod
    @register_jitable
    def step(wx, rh, states):
        return (wx[0] + rh[0],), ()

    @staticmethod
    @register_jitable
    def step_vjp(saved, states, new_states, adjoint):
        (d_h,) = adjoint
        return (d_h,), (d_h,), (zero(d_h),)


@pytest.mark.slow  # the next test is exact
@pytest.mark.parametrize("lam", [0.5, 0.9])
def test_linear_unit(lam):
    """E[h^2] = 1 / (1 - lam^2) and E[(dh/dlam)^2] = (1 + lam^2) / (1 - lam^2)^3, long after the start."""
    gs.cells.register(Linear)
    units, runs = 120, 34
    params = weights(Linear.NAME, weight_hh=lam * np.eye(units), weight_ih=np.eye(units), input_size=units)
    T = int(math.log(1e-8) / math.log(lam)) + 1  # what is left of the start, squared, is 1e-16 of the whole
    rng = np.random.default_rng(11)
    h, slope = [], []
    # Weight gradients are summed over a batch, so the samples are units, each with its own input.
    for _ in range(runs):
        trace = gs.run(params, rng.standard_normal((T, 1, units)))
        grads = gs.backprop(params, trace, final_adjoint=np.ones((1, 1, units)))
        h.append(trace.final_state[0, 0])
        slope.append(np.diag(grads.params.weight_hh))
    for samples, expected in ((h, 1 / (1 - lam**2)), (slope, (1 + lam**2) / (1 - lam**2) ** 3)):
        squares = np.concatenate(samples) ** 2
        # Four standard errors of a mean of 4,080 independent squares, from their own spread: 9 percent or so.
        error = 4 * squares.std() / math.sqrt(squares.size)
        assert error < 0.12 * expected
        assert abs(squares.mean() - expected) < error


@pytest.mark.slow
def test_linear_unit_exactly():
    """The same derivative for given inputs: dh_T/dlam = sum over t of lam^(T-t) h_(t-1)."""
    gs.cells.register(Linear)
    lam, T = 0.8, 50
    x = np.random.default_rng(2).standard_normal((T, 1, 1))
    params = weights(Linear.NAME, weight_hh=np.array([[lam]]), weight_ih=np.ones((1, 1)))
    trace = gs.run(params, x)
    grads = gs.backprop(params, trace, final_adjoint=np.ones((1, 1, 1)))
    h = 0.0
    slope = 0.0
    for value in x[:, 0, 0]:
        h, slope = lam * h + value, h + lam * slope
    assert trace.final_state[0, 0, 0] == pytest.approx(h, rel=1e-13)
    assert grads.params.weight_hh[0, 0] == pytest.approx(slope, rel=1e-13)
    flow = gs.gradient_flow(params, x, norm="unit")
    np.testing.assert_allclose(flow.log_norm[:, 0], flow.lag * math.log(lam), rtol=1e-14, atol=1e-15)
