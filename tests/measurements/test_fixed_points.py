"""Fixed points: known ones, the oracle's Jacobian at those found, the 3-bit flip-flop's eight, and bad input."""

import itertools
import math
from pathlib import Path

import naive
import numpy as np
import pytest
from helpers.cases import BUILT_IN, PARAMS, random_params
from helpers.leaky import Leaky

import gatescope as gs
from gatescope.datatypes.fixed_points import FixedPoints
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.measurements.fixed_points import fixed_points

FLIP_FLOP = Path(__file__).parents[2] / "figures" / "weights" / "flip_flop.npz"


def weights(cell, hidden_size, input_size=1, **biases):
    """Params of zeros but for what is given."""
    gates = gs.cells.get(cell).gates
    rows = len(gates) * hidden_size
    arrays = {
        "weight_ih": np.zeros((rows, input_size)),
        "weight_hh": np.zeros((rows, hidden_size)),
        "bias_ih": np.zeros(rows),
        "bias_hh": np.zeros(rows),
    }
    for name, value in biases.items():
        arrays[name][:] = value
    return gs.Params(cell=cell, **arrays)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ---- known answers ----


def test_tanh_of_twice_h():
    """The three solutions of h = tanh(2 h); the outer one by bisection."""
    low, high = 0.5, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.tanh(2 * middle) > middle else (low, middle)
    points = fixed_points(weights("rnn", 1, weight_hh=2.0), [0.0])
    assert points.count == 3
    np.testing.assert_allclose(np.sort(points.h[:, 0]), [-high, 0, high], rtol=0, atol=1e-15)
    assert points.stable.tolist() == [True, True, False]
    assert points.unstable_directions().tolist() == [0, 0, 1]
    slope = 2 * (1 - high**2)
    np.testing.assert_allclose(points.eigenvalues[:, 0], [slope, slope, 2], rtol=1e-13)
    np.testing.assert_allclose(
        points.time_constants()[:, 0],
        [-1 / math.log(slope), -1 / math.log(slope), -1 / math.log(2)],
        rtol=1e-12,
    )
    assert points.found_by.sum() == points.starts == 512
    assert points.not_converged == 0
    assert (points.found_by > 20).all()
    assert points.residual.max() < 1e-15


def test_a_point_that_flips():
    """The net h' = tanh(-2 h) swings between two values round its one fixed point, which is unstable."""
    points = fixed_points(weights("rnn", 1, weight_hh=-2.0), [0.0])
    assert points.h.ravel() == pytest.approx([0], abs=1e-15)
    assert points.eigenvalues.ravel() == pytest.approx([-2])
    assert not points.stable[0]


def test_a_linear_net():
    """Rectified units that are all on: h* = (I - R)^-1 (W x + b), eigenvalues those of R."""
    rng = np.random.default_rng(5)
    R = rng.uniform(0, 1, (6, 6)) / 8
    W, b, d, x = rng.uniform(0, 1, (6, 2)), rng.uniform(0, 1, 6), rng.uniform(0, 1, 6), np.array([0.5, 2.0])
    points = fixed_points(
        weights("rnn_relu", 6, 2, weight_hh=R, weight_ih=W, bias_ih=b, bias_hh=d), x, starts=50
    )
    assert points.count == 1
    np.testing.assert_allclose(points.h[0], np.linalg.solve(np.eye(6) - R, W @ x + b + d), rtol=1e-14)
    expected = np.linalg.eigvals(R)
    np.testing.assert_allclose(np.abs(points.eigenvalues[0]), np.sort(np.abs(expected))[::-1], rtol=1e-12)
    assert points.stable.all()
    assert points.found_by.tolist() == [50]


def test_a_saddle():
    """The net h' = relu(2 h_1 - 1, h_2 / 2 + 1/2): a saddle at (1, 1), and (0, 1), where the first unit is off."""
    points = fixed_points(weights("rnn_relu", 2, weight_hh=np.diag([2, 0.5]), bias_ih=[-1, 0.5]), [0.0])
    np.testing.assert_allclose(points.h, [[0, 1], [1, 1]], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(points.eigenvalues, [[0.5, 0], [2, 0.5]])
    assert points.stable.tolist() == [True, False]
    assert points.unstable_directions().tolist() == [0, 1]
    np.testing.assert_allclose(points.time_constants(), np.array([[1, 0], [-1, 1]]) / math.log(2), rtol=1e-15)
    assert "2 fixed points, 1 of them stable" in points.summary()
    assert [row[1] for row in points.table().rows] == ["stable", "1 unstable"]


def test_lstm_without_recurrent_weights():
    """c* = i g / (1 - f), h* = o tanh(c*); the eigenvalues are f, and 0 for h."""
    rng = np.random.default_rng(2)
    params = weights("lstm", 5, 2, weight_ih=rng.standard_normal((20, 2)), bias_ih=rng.standard_normal(20))
    x = np.array([0.3, -1.2])
    a = np.split(params.weight_ih @ x + params.bias_ih, 4)
    i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
    c = i * g / (1 - f)
    points = fixed_points(params, x, starts=30)
    np.testing.assert_allclose(points.states, [[o * np.tanh(c), c]], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(points.eigenvalues[0, :5].real, np.sort(f)[::-1], rtol=1e-13)
    np.testing.assert_array_equal(points.eigenvalues[0, 5:], 0)
    assert points.residual[0] < 1e-14
    np.testing.assert_allclose(points.time_constants()[0, 0], -1 / np.log(f.max()), rtol=1e-11)


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_gru_without_recurrent_weights(cell):
    """h* = n, eigenvalues z."""
    rng = np.random.default_rng(3)
    params = weights(cell, 4, 1, bias_ih=rng.standard_normal(12))
    points = fixed_points(params, [0.0], starts=30)
    _, z, n = np.split(params.bias_ih, 3)
    np.testing.assert_allclose(points.h, [np.tanh(n)], rtol=1e-13)
    np.testing.assert_allclose(points.eigenvalues[0].real, np.sort(sigmoid(z))[::-1], rtol=1e-13)


@pytest.mark.parametrize("gain", [1, 3, 6])
@pytest.mark.parametrize("cell", BUILT_IN)
def test_the_oracle_agrees(cell, gain):
    """Each point is fixed by the oracle's step, and its eigenvalues are those of the oracle's Jacobian."""
    params = random_params(cell, input_size=2, hidden_size=8, seed=gain)
    params.weight_hh[:] *= gain
    x = np.array([0.5, -1.0])
    points = fixed_points(params, x, starts=200)
    assert points.count or cell == "rnn_relu", "the case is meant to have fixed points"
    matrices = naive.Matrices(cell, params)
    for state, eigenvalues in zip(points.states, points.eigenvalues, strict=True):
        moved, _ = naive.step(cell, matrices, x, state)
        np.testing.assert_allclose(moved, state, rtol=1e-12, atol=1e-12)
        expected = np.linalg.eigvals(naive.jacobian(cell, params, x, state))
        # As multisets; a nearly defective eigenvalue is known to about the square root of rounding.
        distance = np.abs(eigenvalues[:, None] - expected)
        assert max(distance.min(axis=0).max(), distance.min(axis=1).max()) < 1e-7
    assert (points.residual < 1e-12).all()
    assert (np.diff(np.abs(points.eigenvalues), axis=1) <= 1e-15).all()
    apart = np.abs(points.states[:, None] - points.states).max(axis=(2, 3)) + np.eye(points.count)
    assert points.count == 0 or apart.min() > 1e-5


def test_where_trajectories_end():
    """A stable fixed point attracts: after many steps of `run` from nearby the state is there."""
    params = random_params("lstm", input_size=1, hidden_size=5, seed=1)
    points = fixed_points(params, [0.7])
    near = points.states[points.stable] + 1e-3
    trace = gs.run(params, np.full((400, len(near), 1), 0.7), initial_state=near)
    np.testing.assert_allclose(trace.final_state, points.states[points.stable], rtol=0, atol=1e-13)


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_saturated_gates_make_no_fixed_points(cell):
    """Where z is 1 to rounding, h stays as it is, however far from n: there is no fixed point beyond |h| = 1."""
    params = random_params(cell, input_size=1, hidden_size=16, seed=0)
    params.weight_hh[:] *= 6
    points = fixed_points(params, [0.5], starts=150)
    assert points.not_converged > 0
    assert np.abs(points.states).max(initial=0) <= 1
    assert not points.marginal().any()


def test_no_fixed_point():
    """The net h' = relu(h + 1): I - J is exactly singular everywhere, and nothing is found."""
    points = fixed_points(weights("rnn_relu", 3, weight_hh=np.eye(3), bias_ih=1.0), [0.0], starts=40)
    assert points.count == 0
    assert points.not_converged == points.starts == 40
    assert points.states.shape == (0, 1, 3)
    assert points.eigenvalues.shape == (0, 3)
    assert points.stable.shape == points.found_by.shape == points.spectral_radius().shape == (0,)
    assert points.summary().endswith("0 fixed points, 0 of them stable, from 40 starts; 40 led to none")
    assert points.table().rows == []


def test_states_that_run_away():
    points = fixed_points(
        weights("rnn_relu", 2, weight_hh=1e200 * np.eye(2), bias_ih=1e200), [0.0], starts=30
    )
    assert points.count == 0


def test_a_line_attractor():
    """The net h' = relu(h): each state of rectified units is fixed, neither stable nor unstable."""
    points = fixed_points(weights("rnn_relu", 2, weight_hh=np.eye(2)), [0.0], starts=40)
    assert points.count > 10
    positive = (points.h > 0).all(axis=1)
    np.testing.assert_array_equal(points.eigenvalues[positive], 1)
    assert points.marginal()[positive].all()
    assert not points.stable[positive].any()
    assert np.isinf(points.time_constants()[positive]).all()
    assert {row[1] for row in points.table().rows} >= {"marginal"}


def test_a_point_where_two_meet():
    """The net h' = tanh(h) has a triple root at 0: Newton is slow there, and still there is one point."""
    points = fixed_points(weights("rnn", 1, weight_hh=1.0), [0.0], starts=60)
    assert points.count == 1
    assert abs(points.h[0, 0]) < 1e-5
    assert points.marginal().tolist() == [True]


# ---- the 3-bit flip-flop ----


def flip_flop():
    with np.load(FLIP_FLOP) as archive:
        arrays = {name: archive[name] for name in archive.files}
    params = gs.Params(cell="lstm", **{name: arrays[name] for name in PARAMS})
    return params, arrays["readout"], arrays["readout_bias"]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_flip_flop(seed):
    """Eight stable fixed points, read out as the corners of the cube; saddles between them, one an edge at least."""
    params, readout, bias = flip_flop()
    points = fixed_points(params, np.zeros(3), seed=seed)
    corners = points.h[points.stable] @ readout.T + bias
    assert len(corners) == 8
    assert sorted(map(tuple, corners.round())) == sorted(itertools.product((-1.0, 1.0), repeat=3))
    assert np.abs(np.abs(corners) - 1).max() < 0.05
    # The network has learned more than was asked for: a saddle on each edge, in each face, and one in the middle.
    assert np.bincount(points.unstable_directions()).tolist() == [8, 12, 6, 1]
    assert points.residual.max() < 1e-12
    assert points.not_converged == 0


def test_flip_flop_remembers():
    """What the weights were trained for."""
    params, readout, bias = flip_flop()
    rng = np.random.default_rng(9)
    inputs = rng.choice([-1.0, 0.0, 1.0], (1000, 3, 3), p=[0.03, 0.94, 0.03])
    inputs[0] = rng.choice([-1.0, 1.0], (3, 3))
    targets = inputs.copy()
    for t in range(1, 1000):
        targets[t] = np.where(inputs[t] == 0, targets[t - 1], inputs[t])
    answers = gs.run(params, inputs).outputs @ readout.T + bias
    assert np.mean(np.sign(answers) == targets) > 0.999
    assert np.mean((answers - targets) ** 2) < 1e-3


# ---- starts ----


def test_starts_that_are_given():
    params = weights("rnn", 1, weight_hh=2.0)
    near = np.array([0.9, 0.8, -0.7])[:, None, None]
    points = fixed_points(params, [0.0], starts=near)
    assert points.starts == 3
    assert sorted(points.found_by) == [1, 2]
    assert points.count == 2
    again = fixed_points(params, [0.0], starts=points.states)
    np.testing.assert_array_equal(np.sort(again.states, axis=0), np.sort(points.states, axis=0))


def test_starts_from_a_trace():
    params, _, _ = flip_flop()
    rng = np.random.default_rng(1)
    inputs = rng.choice([-1.0, 0.0, 1.0], (300, 3, 3), p=[0.05, 0.9, 0.05])
    trace = gs.run(params, inputs.astype("float32"), lengths=[300, 100, 0])
    points = fixed_points(params, np.zeros(3), starts=trace)
    assert points.starts == 301 + 101 + 1
    assert points.stable.sum() == 8
    long = gs.run(params, np.zeros((500, 3, 3), "float32"))
    assert fixed_points(params, np.zeros(3), starts=long).starts == 1024


def test_the_seed_decides():
    params = random_params("gru", input_size=1, hidden_size=5, seed=2)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - it must stay as it is
    first, again = (fixed_points(params, [0.2], starts=40, seed=7) for _ in range(2))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert first == again


def test_float32_weights_are_searched_in_float64():
    params, _, _ = flip_flop()
    assert params.dtype == np.float32
    wide = gs.Params(cell="lstm", **{k: v.astype(np.float64) for k, v in params.arrays().items()})
    x = np.array([0.1, 0.0, -0.1])
    one, other = (fixed_points(p, x, starts=40) for p in (params, wide))
    np.testing.assert_array_equal(one.states, other.states)
    assert one.states.dtype == np.float64


def test_a_clamped_gate():
    """With f held at 1/2: c* = 2 i g."""
    rng = np.random.default_rng(4)
    params = weights("lstm", 3, bias_ih=rng.standard_normal(12))
    points = fixed_points(params, [0.0], starts=20, clamp={"f": 0.5})
    i, _, g, _ = np.split(params.bias_ih, 4)
    np.testing.assert_allclose(points.states[0, 1], 2 * sigmoid(i) * np.tanh(g), rtol=1e-13)
    assert points.provenance["clamp"] == {"f": 0.5}
    with pytest.raises(UnknownNameError, match="'q'"):
        fixed_points(params, [0.0], clamp={"q": 1.0})


def test_a_cell_of_the_users():
    gs.cells.register(Leaky)
    try:
        params = weights("leaky_test", 2, weight_hh=[[0, 0], [0, 0], [2, 0], [0, 2]])
        points = fixed_points(params, [0.0])
    finally:
        gs.cells.registry._CELLS.pop("leaky_test")
    # a = 1/2 throughout, and n = tanh(2 h) for each unit alone: three solutions each.
    assert points.count == 9
    assert np.bincount(points.unstable_directions()).tolist() == [4, 4, 1]
    np.testing.assert_allclose(points.eigenvalues[-1], 1.5, rtol=1e-13)


def test_one_iteration_is_not_enough():
    params = weights("rnn", 1, weight_hh=2.0)
    assert fixed_points(params, [0.3], starts=np.full((5, 1, 1), 0.2), iterations=1).not_converged == 5
    assert fixed_points(params, [0.3], starts=np.full((5, 1, 1), 0.2)).not_converged == 0


def test_saved_and_loaded(tmp_path):
    points = fixed_points(random_params("lstm", input_size=1, hidden_size=3), [0.5], starts=20)
    points.save(tmp_path / "points.npz")
    back = FixedPoints.load(tmp_path / "points.npz")
    assert back == points
    assert back.eigenvalues.dtype == np.complex128
    assert back.summary() == points.summary()


# ---- bad input ----


@pytest.mark.parametrize(
    ("keywords", "error", "match"),
    [
        ({"inputs": [0.0, 1.0]}, ShapeError, r"inputs has shape \(2,\).*\(3,\)"),
        ({"inputs": np.zeros((10, 3))}, ShapeError, r"inputs.*\(10, 3\).*constant"),
        ({"inputs": [0.0, np.nan, 0.0]}, ValueRangeError, r"inputs\[1\] is nan"),
        ({"inputs": ["a", "b", "c"]}, DtypeError, "inputs"),
        ({"starts": 0}, ValueRangeError, "starts=0"),
        ({"starts": 2.5}, ValueRangeError, r"starts=2.5"),
        ({"starts": True}, ValueRangeError, "starts=True"),
        ({"starts": None}, ValueRangeError, "starts=None"),
        ({"starts": "many"}, DtypeError, r"starts is a str.*Trace"),
        ({"starts": np.zeros((4, 1, 5))}, ShapeError, r"\(4, 1, 5\).*\(P, 2, 5\).*h, c"),
        ({"starts": np.zeros((0, 2, 5))}, ShapeError, "at least one"),
        ({"starts": np.full((1, 2, 5), np.inf)}, ValueRangeError, r"starts\[0, 0, 0\] is inf"),
        ({"seed": -1}, ValueRangeError, "seed=-1"),
        ({"tolerance": -1e-9}, ValueRangeError, "tolerance"),
        ({"tolerance": "small"}, ValueRangeError, "tolerance"),
        ({"iterations": 0}, ValueRangeError, "iterations=0"),
        ({"merge": math.nan}, ValueRangeError, "merge"),
        ({"margin": -1}, ValueRangeError, "margin"),
        ({"params": None}, DtypeError, "params"),
    ],
)
def test_bad_input(keywords, error, match):
    arguments = {
        "params": random_params("lstm", input_size=3, hidden_size=5),
        "inputs": np.zeros(3),
    } | keywords
    with pytest.raises(error, match=match):
        fixed_points(**arguments)


def test_a_trace_of_another_cell():
    trace = gs.run(random_params("gru", input_size=3, hidden_size=5), np.zeros((4, 3)))
    with pytest.raises(ShapeError, match="'gru'"):
        fixed_points(random_params("lstm", input_size=3, hidden_size=5), np.zeros(3), starts=trace)


def test_progress(capsys):
    """The bar is for terminals, and on stderr."""
    assert fixed_points(weights("rnn", 1), [0.0], starts=5, progress=True).count == 1
    assert capsys.readouterr().out == ""


def test_a_stack_of_one_layer_is_its_cell_and_one_of_several_is_refused():
    layers = [gs.init("lstm", input_size=size, hidden_size=5, seed=0, dtype="float64") for size in (2, 5)]
    one, alone = (gs.fixed_points(m, [0, 0], starts=8) for m in (gs.Stack(layers=(layers[0],)), layers[0]))
    assert one == alone
    with pytest.raises(gs.ValueRangeError, match=r"layers\.0, layers\.1, and fixed points are of one cell"):
        gs.fixed_points(gs.Stack(layers=tuple(layers)), [0, 0])
