"""Lyapunov exponents: known answers, the plain way with numpy.linalg.qr, determinants and perturbations."""

import math

import naive
import numpy as np
import pytest
from helpers.cases import ONE, random_params

import gatescope as gs
from gatescope.errors import AccuracyWarning

# ---- the QR code on systems that are no cells ----


def henon(steps, a=1.4, b=0.3):
    """Jacobians along an orbit of the Henon map."""
    x, y = 0.1, 0.1
    jacobians = np.zeros((steps, 2, 2))
    for t in range(steps):
        jacobians[t] = [[-2 * a * x, 1], [b, 0]]
        x, y = 1 - a * x * x + y, b * x
    return jacobians


def test_henon_map():
    spectrum = gs.lyapunov_of_jacobians(henon(100_000), transient=1000)
    known = np.array([0.4196, -1.6235])  # Sprott, "Chaos and time-series analysis" (2003), and many before
    assert np.all(np.abs(spectrum.exponents[0] - known) < 3 * spectrum.error[0] + 5e-5)
    assert np.all(spectrum.error[0] < 2e-3)
    assert spectrum.exponents.sum() == pytest.approx(math.log(0.3), abs=1e-12)
    # D = 1 + l_1 / |l_2|
    assert spectrum.kaplan_yorke_dimension()[0] == pytest.approx(1.2585, abs=2e-3)
    assert spectrum.entropy_rate()[0] == spectrum.exponents[0, 0]


@pytest.mark.parametrize("every", [1, 3, 7])
def test_henon_map_does_not_depend_on_the_interval(every):
    matrices = henon(5000)
    exponents = gs.lyapunov_of_jacobians(matrices, qr_every=every).exponents
    np.testing.assert_allclose(exponents, gs.lyapunov_of_jacobians(matrices).exponents, rtol=0, atol=1e-12)


def test_constant_matrix():
    """Logs of the moduli of the eigenvalues, whatever the eigenvectors."""
    vectors = np.random.default_rng(0).standard_normal((5, 5))
    values = np.array([1.5, 0.9, -0.5, 0.2, 0.01])
    matrix = vectors @ np.diag(values) @ np.linalg.inv(vectors)
    spectrum = gs.lyapunov_of_jacobians(np.repeat(matrix[None], 600, axis=0), transient=200)
    np.testing.assert_allclose(spectrum.exponents[0], np.log(np.abs(values)), rtol=0, atol=1e-9)
    leading = gs.lyapunov_of_jacobians(np.repeat(matrix[None], 600, axis=0), k=2, transient=200)
    np.testing.assert_allclose(leading.exponents[0], np.log([1.5, 0.9]), rtol=0, atol=1e-9)
    assert np.isnan(
        leading.kaplan_yorke_dimension()[0]
    )  # the first two add up to more than 0: a third is needed
    assert spectrum.kaplan_yorke_dimension()[0] == pytest.approx(2 + math.log(1.35) / math.log(2))


@pytest.mark.parametrize(
    ("jacobians", "keywords", "message"),
    [
        (np.zeros((3, 2)), {}, r"shape \(3, 2\), but should have \(T, n, n\)"),
        (np.zeros((3, 2, 2)), {"k": 3}, "k=3 is more exponents than there are; `jacobians` of 2 x 2 have 2"),
        (np.zeros((3, 2, 2)), {"transient": 3}, "transient=3 leaves nothing to measure of 3 steps"),
        (np.full((3, 2, 2), np.nan), {}, "jacobians.* is nan"),
    ],
)
def test_bad_jacobians(jacobians, keywords, message):
    with pytest.raises(gs.GatescopeError, match=message):
        gs.lyapunov_of_jacobians(jacobians, **keywords)


# ---- cells ----


def plain(params, inputs, every=1):
    """Return sums of ln R_ii by numpy.linalg.qr, step by step, with Jacobians from the oracle; (T, n)."""
    m = naive.Matrices(params.cell, params)
    state = np.zeros((len(naive.STATES[params.cell]), params.hidden_size))
    size = state.size
    drawn = np.random.default_rng(0).standard_normal((size, *state.shape))
    q = drawn.reshape(size, size).T
    logs = []
    for t, x in enumerate(inputs):
        q = naive.jacobian(params.cell, params, x, state) @ q
        if (t + 1) % every == 0:
            q, r = np.linalg.qr(q)
            logs.append(np.log(np.abs(np.diag(r))))
        state = naive.step(params.cell, m, x, state)[0]
    return np.array(logs)


@pytest.mark.parametrize("cell", ONE)
@pytest.mark.parametrize("size", [3, pytest.param(9, marks=pytest.mark.slow)])
def test_the_plain_way(cell, size):
    params = random_params(cell, input_size=2, hidden_size=size, seed=size, scale=1.5)
    if cell == "rnn_relu":  # no dead units, so that no exponent is -inf
        params.bias_ih[:] = 4
        params.weight_hh[:] = np.abs(params.weight_hh) / 4
    inputs = np.random.default_rng(1).standard_normal((60, 2))
    expected = plain(params, inputs)[20:].mean(axis=0)
    spectrum = gs.lyapunov_spectrum(params, inputs, transient=20, qr_every=1)
    assert spectrum.exponents.shape == (1, expected.size)
    np.testing.assert_allclose(spectrum.exponents[0], np.sort(expected)[::-1], rtol=0, atol=1e-9)
    # The determinant sees every exponent, the perturbation the first, with no derivative at all.
    assert spectrum.log_det[0] == pytest.approx(spectrum.log_det_sum[0], abs=1e-9)
    # A change of 1e-7 is not quite infinitesimal, and rounding takes some of its digits.
    assert spectrum.perturbation[0] == pytest.approx(spectrum.perturbation_reference[0], abs=1e-5)


def test_user_cell():
    from helpers.leaky import Leaky

    gs.cells.register(Leaky)
    params = gs.init(Leaky.NAME, input_size=1, hidden_size=6, seed=0, dtype="float64")
    spectrum = gs.lyapunov_spectrum(params, np.random.default_rng(0).standard_normal((300, 1)))
    assert spectrum.log_det[0] == pytest.approx(spectrum.log_det_sum[0], abs=1e-9)
    assert spectrum.perturbation[0] == pytest.approx(spectrum.perturbation_reference[0], abs=1e-2)


def test_linear_network():
    """For h' = W h: the moduli of W's eigenvalues."""
    rates = np.array([0.98, 0.7, 0.4, 0.1])
    params = random_params("rnn_relu", input_size=1, hidden_size=4)
    params.weight_hh[:] = np.diag(rates)
    params.bias_ih[:], params.bias_hh[:] = 1, 0
    params.weight_ih[:] = 0
    spectrum = gs.lyapunov_spectrum(params, np.zeros((400, 1)))
    np.testing.assert_allclose(spectrum.exponents[0], np.log(rates), rtol=0, atol=1e-12)


def test_saturated_lstm():
    """No recurrent weights: c forgets at ln f, and h, which nothing remembers, is lost at once."""
    params = random_params("lstm", input_size=1, hidden_size=3)
    params.weight_hh[:], params.weight_ih[:], params.bias_hh[:] = 0, 0, 0
    forget = np.array([5.0, 2.0, 0.5])
    params.bias_ih[:] = np.concatenate([np.zeros(3), forget, np.zeros(3), np.zeros(3)])
    # The directions align as e^-0.12t, the difference of two of the rates.
    spectrum = gs.lyapunov_spectrum(params, np.zeros((900, 1)), transient=400)
    np.testing.assert_allclose(spectrum.exponents[0, :3], -np.log1p(np.exp(-forget)), rtol=0, atol=1e-12)
    assert np.all(spectrum.exponents[0, 3:] == -np.inf)
    assert spectrum.log_det[0] == -np.inf


@pytest.mark.slow  # compiles kernels of its own
def test_what_it_says_of_forgetting_and_of_chaos():
    calm = gs.init("rnn", input_size=1, hidden_size=32, seed=0, scheme="gaussian(0.5)", dtype="float64")
    wild = gs.init("rnn", input_size=1, hidden_size=32, seed=0, scheme="gaussian(3)", dtype="float64")
    inputs = np.zeros((3000, 1))
    assert gs.lyapunov_spectrum(calm, inputs, k=3).exponents[0, 0] < 0
    start = np.random.default_rng(0).standard_normal((1, 1, 32))
    chaotic = gs.lyapunov_spectrum(wild, inputs, initial_state=start)
    assert chaotic.exponents[0, 0] > 5 * chaotic.error[0, 0] > 0
    assert 1 < chaotic.kaplan_yorke_dimension()[0] < 32
    assert chaotic.entropy_rate()[0] > chaotic.exponents[0, 0]


# ---- what it does not depend on ----


def test_threads_batch_and_dtype():
    params = random_params("gru", input_size=1, hidden_size=8, seed=2)
    inputs = np.random.default_rng(0).standard_normal((2600, 2, 1))
    both = gs.lyapunov_spectrum(params, inputs, transient=100, threads=1)
    assert both == gs.lyapunov_spectrum(params, inputs, transient=100, threads=2)
    alone = gs.lyapunov_spectrum(params, inputs[:, 1], transient=100)
    np.testing.assert_array_equal(both.exponents[1:], alone.exponents)
    single = random_params("gru", input_size=1, hidden_size=8, seed=2, dtype="float32")
    wide = gs.lyapunov_spectrum(single, inputs, transient=100)
    # The same cell but for the rounding of its weights.
    np.testing.assert_allclose(wide.exponents, both.exponents, rtol=0, atol=1e-4)


def test_two_halves_are_the_whole():
    """A long sequence is shared by two workers; what they measure is what one would."""
    params = random_params("lstm", input_size=1, hidden_size=4, seed=3)
    inputs = np.random.default_rng(0).standard_normal((3000, 1))
    spectrum = gs.lyapunov_spectrum(params, inputs, transient=100, qr_every=1)
    expected = plain(params, inputs)[100:].mean(axis=0)
    # Two of the rates differ by 0.005, so their directions have not settled in 200 steps, and only their sum is known;
    # those of the last two differ by 0.18.
    exponents, known = (np.delete(e, [1, 2]) for e in (spectrum.exponents[0], np.sort(expected)[::-1]))
    np.testing.assert_allclose(exponents, known, rtol=0, atol=1e-7)
    assert spectrum.exponents[0].sum() == pytest.approx(expected.sum(), abs=1e-9)


def test_interval_and_k():
    params = random_params("lstm", input_size=1, hidden_size=6, seed=4)
    inputs = np.random.default_rng(0).standard_normal((500, 1))
    whole = gs.lyapunov_spectrum(params, inputs)
    assert whole.qr_every >= 1
    for every in (1, 2, 7):
        exponents = gs.lyapunov_spectrum(params, inputs, k=4, qr_every=every).exponents
        np.testing.assert_allclose(exponents[0], whole.exponents[0, :4], rtol=0, atol=1e-6)


def test_memory_map_and_generator(tmp_path):
    params = random_params("gru", input_size=1, hidden_size=3)
    inputs = np.random.default_rng(0).standard_normal((700, 1))
    np.save(tmp_path / "inputs.npy", inputs)
    expected = gs.lyapunov_spectrum(params, inputs)
    assert gs.lyapunov_spectrum(params, np.load(tmp_path / "inputs.npy", mmap_mode="r")) == expected
    assert gs.lyapunov_spectrum(params, (inputs[t : t + 100] for t in range(0, 700, 100))) == expected


# ---- a run that never moved ----


def test_a_network_that_never_leaves_an_unstable_fixed_point_is_not_converged():
    """Without input and biases 0 is a fixed point: its exponent is 0.78, that of the attractor 0.096."""
    params = gs.init("rnn", input_size=1, hidden_size=100, seed=1, scheme="gaussian(2)", dtype="float64")
    silence = np.zeros((3000, 1))
    rest = gs.lyapunov_spectrum(params, silence, k=1, checks=False)
    assert rest.exponents[0, 0] == pytest.approx(0.7813, abs=1e-3)
    assert rest.at_rest().tolist() == [True]
    assert not rest.converged()[0, 0]
    assert "the state never moved from where it began, a fixed point that is not stable" in rest.verdict()[0]
    assert "initial_state='random'" in rest.verdict()[0]
    moving = gs.lyapunov_spectrum(params, silence, k=1, checks=False, initial_state="random")
    assert moving.exponents[0, 0] == pytest.approx(0.096, abs=4 * moving.error[0, 0])
    assert moving.error[0, 0] < 0.02
    assert not moving.at_rest()[0]
    assert "never moved" not in moving.verdict()[0]


def test_a_stable_fixed_point_is_said_to_be_one():
    params = random_params("lstm", input_size=1, hidden_size=5, scale=0.3)
    params.bias_ih[:], params.bias_hh[:] = 0, 0
    spectrum = gs.lyapunov_spectrum(params, np.zeros((400, 3, 1)))
    assert spectrum.at_rest().all()
    assert (spectrum.exponents[:, 0] < 0).all()
    assert "the state never moved from where it began, a fixed point, and this is" in spectrum.verdict()[0]


def test_a_random_state_is_seeded_and_small():
    params, inputs = random_params("lstm", input_size=1, hidden_size=5), np.ones((60, 3, 1))
    start = np.random.default_rng([7, 1]).uniform(-0.1, 0.1, (3, 2, 5))
    expected = gs.gradient_flow(params, inputs, seed=7, initial_state=start)
    assert gs.gradient_flow(params, inputs, seed=7, initial_state="random") == expected
    assert gs.gradient_flow(params, inputs, seed=8, initial_state="random") != expected
    with pytest.raises(
        gs.GatescopeError, match="initial_state='chance' is no state to begin with; give 'random'"
    ):
        gs.lyapunov_spectrum(params, inputs, initial_state="chance")


# ---- verdicts ----


def test_running_estimate_and_errors():
    params = random_params("gru", input_size=1, hidden_size=5)
    inputs = np.random.default_rng(0).standard_normal((2000, 1))
    spectrum = gs.lyapunov_spectrum(params, inputs, qr_every=4)
    assert spectrum.steps == 1800
    assert spectrum.running.shape == (200, 1, 5)
    assert spectrum.running_step[-1] == 1800
    np.testing.assert_array_equal(spectrum.running[-1], spectrum.exponents)
    assert np.all(np.diff(spectrum.exponents[0]) <= 0)
    assert np.all(spectrum.error > 0)


def test_error_bars_hold():
    """The spread over independent inputs is what the errors of each say."""
    params = random_params("rnn", input_size=1, hidden_size=5, scale=2)
    inputs = np.random.default_rng(0).standard_normal((2000, 24, 1)) * 2
    spectrum = gs.lyapunov_spectrum(params, inputs, k=1, checks=False)
    spread = spectrum.exponents[:, 0].std(ddof=1)
    # 24 samples give a standard deviation to 15 %, 20 blocks an error to 16 %.
    assert 0.5 < spread / spectrum.error[:, 0].mean() < 1.7


def test_too_short():
    params = gs.init("rnn", input_size=1, hidden_size=24, seed=0, scheme="gaussian(2.5)", dtype="float64")
    start = np.random.default_rng(0).standard_normal((1, 1, 24))
    short = gs.lyapunov_spectrum(params, np.zeros((60, 1)), initial_state=start, k=1)
    assert not short.converged()[0, 0]
    assert "T too short" in short.verdict()[0]
    alone = gs.lyapunov_spectrum(params, np.zeros((2, 1)), initial_state=start, k=1)
    assert "T too short: its error is not known" in alone.verdict()[0]


def test_an_interval_that_is_too_long():
    """What is lost in it is found step by step; that is slow where it is the rule, and said."""
    params = random_params("lstm", input_size=1, hidden_size=6, seed=4)
    inputs = np.random.default_rng(0).standard_normal((400, 1))
    expected = gs.lyapunov_spectrum(params, inputs, qr_every=1)
    with pytest.warns(AccuracyWarning, match="most intervals had to be done again .* a qr_every below 40"):
        spectrum = gs.lyapunov_spectrum(params, inputs, qr_every=40)
    np.testing.assert_allclose(spectrum.exponents, expected.exponents, rtol=0, atol=1e-6)
    matrices = np.repeat(np.array([[2.0, 1.0], [0.3, 0.5]])[None], 2000, axis=0)
    with pytest.warns(AccuracyWarning, match="done again"):
        spectrum = gs.lyapunov_of_jacobians(matrices, transient=100, qr_every=100)
    moduli = np.sort(np.abs(np.linalg.eigvals(matrices[0])))[::-1]
    np.testing.assert_allclose(spectrum.exponents[0], np.log(moduli), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::gatescope.errors.AccuracyWarning")
@pytest.mark.parametrize("scale", [1e-3, 10.0])
def test_an_interval_beyond_the_range_of_floats(scale):
    matrices = np.repeat(np.diag([scale, scale / 2])[None], 1200, axis=0)
    spectrum = gs.lyapunov_of_jacobians(matrices, transient=400, qr_every=400)
    np.testing.assert_allclose(spectrum.exponents[0], np.log([scale, scale / 2]), rtol=1e-12)


def test_a_direction_that_is_lost_late():
    """An interval that was long enough for most of the series is not for a burst in its middle."""
    params = random_params("gru", input_size=1, hidden_size=4, seed=2)
    inputs = np.random.default_rng(0).standard_normal((3000, 1))
    inputs[1500:1540] = 12
    expected = gs.lyapunov_spectrum(params, inputs, qr_every=1)
    spectrum = gs.lyapunov_spectrum(params, inputs)
    assert np.isfinite(spectrum.exponents).all()
    np.testing.assert_allclose(spectrum.exponents, expected.exponents, rtol=0, atol=1e-5)


@pytest.mark.parametrize("transient", [0, 3])
def test_lengths_of_the_first_directions_do_not_count(transient):
    spectrum = gs.lyapunov_of_jacobians(np.repeat(np.eye(3)[None], 5, axis=0), transient=transient)
    np.testing.assert_allclose(spectrum.exponents, 0, atol=1e-15)
    assert gs.lyapunov_of_jacobians([[[2.0]]]).exponents == pytest.approx(math.log(2), abs=1e-15)
    params = random_params("lstm", input_size=1, hidden_size=4)
    for steps in (9, 2600):
        spectrum = gs.lyapunov_spectrum(params, np.ones((steps, 1)), transient=transient)
        # The first steps of an LSTM at rest are nearly singular: c is near 0, and so is all that o lets out of it.
        assert spectrum.log_det[0] == pytest.approx(spectrum.log_det_sum[0], rel=1e-7)


def test_all_is_lost():
    spectrum = gs.lyapunov_of_jacobians(np.zeros((50, 2, 2)))
    assert np.all(spectrum.exponents == -np.inf)
    assert spectrum.verdict() == ("every change of the state is lost at once, over 50 steps",)


def test_save_and_load(tmp_path):
    spectrum = gs.lyapunov_spectrum(random_params("rnn", input_size=1, hidden_size=3), np.ones((50, 1)))
    spectrum.save(tmp_path / "spectrum.npz")
    assert gs.load(tmp_path / "spectrum.npz") == spectrum


# ---- bad input ----


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"k": 7}, r"k=7 is more exponents than there are; the whole state of 'lstm' has 6, 3 units of h, c"),
        ({"k": 0}, "k=0 must be a whole number of at least 1"),
        ({"transient": 40}, "transient=40 leaves nothing to measure of 40 steps"),
        ({"qr_every": 0}, "qr_every=0"),
        ({"initial_state": np.zeros((1, 1, 3))}, "initial_state has shape"),
        ({"clamp": {"z": 1.0}}, "'z'"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_bad_arguments(keywords, message):
    params = random_params("lstm", input_size=1, hidden_size=3)
    with pytest.raises(gs.GatescopeError, match=message):
        gs.lyapunov_spectrum(params, np.zeros((40, 1)), **keywords)


def test_states_that_explode():
    params = random_params("rnn_relu", input_size=1, hidden_size=2)
    params.weight_hh[:] = 40 * np.eye(2)
    params.bias_ih[:] = 1
    with pytest.raises(gs.ValueRangeError, match=r"sequence 0 are not finite from step 19\d on"):
        gs.lyapunov_spectrum(params, np.zeros((400, 1)), k=1)


# ---- stopped and gone on with ----


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("after", [1, 4, 9])
def test_interrupted_and_resumed(tmp_path, monkeypatch, threads, after):
    """The bits of a measurement that was never stopped, wherever it was."""
    from gatescope.measurements import tangent_sweep

    monkeypatch.setattr(tangent_sweep, "_PIECE_STEPS", 300)
    params = random_params("gru", input_size=1, hidden_size=4)
    inputs = np.random.default_rng(0).standard_normal((2600, 1))
    expected = gs.lyapunov_spectrum(params, inputs, transient=200)
    advance, calls = tangent_sweep.TangentWorker.advance, []

    def interrupted(worker):
        calls.append(worker)
        if len(calls) == after:
            raise KeyboardInterrupt
        return advance(worker)

    path = tmp_path / "kept.state"
    monkeypatch.setattr(tangent_sweep.TangentWorker, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gs.lyapunov_spectrum(params, inputs, transient=200, threads=threads, resume=path)
    assert path.exists()
    with pytest.raises(gs.ValueRangeError, match=r"other .*`k` \(4 there, 2 here\)"):
        gs.lyapunov_spectrum(params, inputs, k=2, transient=200, resume=path)
    assert gs.lyapunov_spectrum(params, inputs, transient=200, resume=path) == expected
    assert not path.exists()
