"""Gated linear models by their decays: sums of logarithms, exact at any lag, and what is refused."""

import math

import numpy as np
import pytest
from helpers.cases import random_params

import gatescope as gs
from gatescope.errors import DtypeError, GatescopeError, ShapeError, UnknownNameError, ValueRangeError

RNG = np.random.default_rng(0)


def slow_norms(log_decay, source, direction):
    """Return norms of direction times the product of factors, lag by lag, by multiplying."""
    norms, factors = [np.linalg.norm(direction)], np.array(direction)
    for step in reversed(range(source)):
        factors = factors * np.exp(log_decay[step])
        norms.append(np.linalg.norm(factors))
    return np.array(norms)


def test_norms_are_those_of_the_products_of_all_factors():
    logs = -RNG.exponential(0.1, (40, 3, 4))
    lengths = np.array([40, 25, 40])
    decays = gs.from_decays(logs, lengths=lengths)
    direction = np.random.default_rng(5).standard_normal(4)
    direction /= np.linalg.norm(direction)
    random, spectral, unit = (
        decays.gradient_flow(norm="random", seed=5),
        decays.gradient_flow(norm="spectral"),
        decays.gradient_flow(norm="unit", unit=2),
    )
    for b, steps in enumerate(lengths):
        for flow, expected in (
            (random, slow_norms(logs[:, b], steps, direction)),
            (unit, slow_norms(logs[:, b], steps, np.eye(4)[2])),
            (spectral, np.max([slow_norms(logs[:, b], steps, row) for row in np.eye(4)], axis=0)),
        ):
            np.testing.assert_allclose(np.exp(flow.sequence(b).log_norm[:, 0]), expected, rtol=1e-13)
    assert random.source_steps.tolist() == [40, 25, 40]
    early = decays.gradient_flow(source_step=20, lags=[0, 3, 20], norm="unit", unit=2)
    np.testing.assert_allclose(
        np.exp(early.log_norm[:, 1]), slow_norms(logs[:, 1], 20, np.eye(4)[2])[[0, 3, 20]], rtol=1e-13
    )


def test_a_million_lags_are_exact():
    steps = 1_000_003
    logs = np.where(RNG.random((steps, 1, 2)) < 0.5, -1e-7, -RNG.exponential(0.3, (steps, 1, 2)))
    flow = gs.from_decays(logs).gradient_flow(norm="unit", unit=1, lags=[1, 1000, 999_999, 1_000_003])
    exact = [math.fsum(logs[steps - lag :, 0, 1]) for lag in flow.lag]
    assert exact[-1] < -100_000
    np.testing.assert_allclose(flow.log_norm[:, 0], exact, rtol=1e-13)


def test_a_cell_that_computes_the_same_has_the_same_gradient():
    params = random_params("lstm", input_size=2, hidden_size=5, seed=3)
    params.weight_hh[:] = 0  # gates that no state enters
    inputs = RNG.standard_normal((200, 3, 2))
    forget = gs.run(params, inputs).gate("f")
    ours = gs.from_decays(np.log(forget)).gradient_flow(seed=7)
    cells = gs.gradient_flow(params, inputs, of="c", wrt="c", seed=7)
    np.testing.assert_allclose(ours.log_norm, cells.log_norm, rtol=1e-12, atol=1e-12)
    life = gs.half_life(params, inputs, transient=0).by_gate
    np.testing.assert_allclose(gs.from_decays(np.log(forget)).half_life().by_gate, life, rtol=1e-12)


def test_automatic_differentiation_agrees():
    torch = pytest.importorskip("torch")
    logs = torch.tensor(-RNG.exponential(0.2, (60, 4)))
    first = torch.ones(4, dtype=torch.float64, requires_grad=True)
    state = first
    for step in logs:
        state = torch.exp(step) * state + torch.sin(step)
    direction = np.random.default_rng(0).standard_normal(4)
    direction /= np.linalg.norm(direction)
    (state @ torch.tensor(direction)).backward()
    flow = gs.from_decays(logs).gradient_flow()
    np.testing.assert_allclose(flow.log_norm[-1, 0], np.log(np.linalg.norm(first.grad.numpy())), rtol=1e-12)


def test_half_lives_of_decays_that_do_not_change():
    rates = np.array([0.5, 0.01, 0.003])
    decays = gs.from_decays(np.broadcast_to(-rates, (4000, 2, 3)), cell="lru")
    life = decays.half_life()
    np.testing.assert_allclose(life.by_gate, np.log(2) / [rates, rates], rtol=1e-12)
    np.testing.assert_allclose(life.by_exponent, np.log(2) / 0.003, rtol=1e-12)
    np.testing.assert_allclose(life.by_adjoint, np.log(2) / 0.003, rtol=1e-2)  # the faster ones fade at first
    assert not life.disagree.any()
    assert life.lengths is None
    assert "geometric mean of decay" in life.sequence(0).summary()
    slow = gs.from_decays(np.broadcast_to(-np.geomspace(1e-4, 1, 20), (500, 1, 20))).half_life().summary()
    assert "channels that fade sooner" in slow
    assert "recurrent weights" not in slow
    assert "within its error" not in slow  # there is none
    assert np.isposinf(gs.from_decays(np.zeros((50, 1))).half_life().by_gate).all()


def test_half_lives_of_sequences_of_different_lengths_are_those_alone():
    logs = -RNG.exponential(0.05, (300, 2, 3))
    life = gs.from_decays(logs, lengths=[300, 120]).half_life()
    alone = gs.from_decays(logs[:120, 1]).half_life()
    assert life.lengths.tolist() == [300, 120]
    one = life.sequence(1)
    assert one.steps == alone.steps == 120
    for name, array in alone.arrays().items():
        assert np.array_equal(getattr(one, name), array, equal_nan=True), name


def test_a_reset_of_all_channels_cuts_and_rates_are_those_on_both_sides():
    logs = np.full((1000, 2, 2), -0.01)
    logs[:, :, 1] = -0.05
    logs[600, 0] = -np.inf
    life = gs.from_decays(logs).half_life()
    assert life.cut_step.tolist() == [600, -1]
    assert "step 600 cuts the memory" in life.sequence(0).summary()
    np.testing.assert_allclose(life.by_gate, [[np.log(2) / 0.01, np.log(2) / 0.05]] * 2, rtol=1e-12)
    np.testing.assert_allclose(life.by_exponent, np.log(2) / 0.01, rtol=1e-12)
    np.testing.assert_allclose(life.by_adjoint, np.log(2) / 0.01, rtol=0.05)
    flow = gs.from_decays(logs).gradient_flow()
    assert np.isfinite(flow.log_norm[:400, 0]).all()
    assert np.isneginf(flow.log_norm[400:, 0]).all()
    assert not np.isnan(flow.log_norm).any()


def test_channels_that_are_reset_one_by_one_cut_where_the_last_of_them_is():
    logs = np.full((100, 1, 3), -0.1)
    logs[90, 0, 0] = logs[40, 0, 1] = logs[70, 0, 2] = -np.inf
    decays = gs.from_decays(logs)
    life = decays.half_life()
    assert life.cut_step.tolist() == [40]
    flow = decays.gradient_flow(norm="spectral")
    assert flow.lag[np.isneginf(flow.log_norm[:, 0])][0] == 60
    np.testing.assert_allclose(life.by_gate, np.log(2) / 0.1, rtol=1e-12)


def test_one_channel_that_is_reset_does_not_cut_the_others():
    logs = np.full((500, 1, 2), -0.02)
    logs[::50, 0, 0] = -np.inf
    life = gs.from_decays(logs).half_life()
    assert life.cut_step.tolist() == [-1]
    np.testing.assert_allclose(life.by_exponent, np.log(2) / 0.02, rtol=1e-12)


@pytest.mark.parametrize("at", [[], [-1], [0], slice(None, None, 3), slice(None)])
def test_resets_anywhere_give_results_and_no_warnings(at):
    logs = np.full((30, 1, 2), -0.1)
    logs[at] = -np.inf
    decays = gs.from_decays(logs)
    life = decays.half_life()
    assert life.cut_step[0] == max(np.flatnonzero(np.isneginf(logs[:, 0, 0])), default=-1)
    assert life.summary()
    assert not np.isnan(decays.gradient_flow().log_norm).any()


def test_gates_are_counted_and_drawn():
    logs = np.log(RNG.uniform(0.85, 1.0, (400, 2, 6)))
    decays = gs.from_decays(logs, gates={"i": RNG.random((400, 2, 6)), "dt": RNG.normal(size=(400, 2, 6))})
    closed = gs.saturation(decays.trace)
    assert closed.gates == ("decay", "i")
    np.testing.assert_allclose(closed.gate("decay")[1], (np.exp(logs) > 0.9).mean(axis=(0, 1)))
    _, axes = gs.plotting.plot_gate_trajectories(decays.trace, units=[1])
    assert list(axes) == ["decay", "i", "dt"]
    np.testing.assert_array_equal(axes["decay"].lines[0].get_ydata(), np.exp(logs[:, 0, 1]))
    with pytest.raises(UnknownNameError, match="the trace has gates alone"):
        _ = decays.trace.outputs
    _, maps = gs.plotting.plot_gate_heatmaps(decays.trace)
    assert list(maps) == ["decay", "i", "dt"]
    assert gs.plotting.plot_saturation(closed).get_title
    ax = gs.plotting.plot_gradient_flow([decays.gradient_flow()], labels=["mamba"])
    assert ax.lines[0].get_label().startswith("mamba")
    assert gs.plotting.plot_half_life(decays.half_life()).get_ylabel()


def test_results_can_be_saved(tmp_path):
    decays = gs.from_decays(-RNG.exponential(0.1, (50, 2, 3)), lengths=[50, 20])
    for result in (decays.trace, decays.gradient_flow(), decays.half_life()):
        result.save(tmp_path / "a.npz")
        assert gs.load(tmp_path / "a.npz") == result
    assert (decays.trace.gate("decay")[20:, 1] == 0).all()


def test_batch_first():
    logs = -RNG.exponential(0.1, (2, 50, 3))
    one, other = gs.from_decays(logs, batch_first=True), gs.from_decays(logs.swapaxes(0, 1))
    assert one.gradient_flow() == other.gradient_flow()
    assert repr(one) == "Decays('decays': 50 steps, 2 sequences, 3 channels)"


GOOD = np.full((20, 1, 2), -0.1)


@pytest.mark.parametrize(
    ("error", "text", "decays", "options"),
    [
        (DtypeError, "numpy.log(numpy.abs(eigenvalues))", GOOD + 0.1j, {}),
        (ValueRangeError, "give numpy.log(x) if these are factors", -GOOD, {}),
        (ValueRangeError, "growing=True", np.where(GOOD < 0, [-0.1, 0.2], 0), {}),
        (ValueRangeError, "log_decay[0, 0, 1]=nan is no number", np.where(GOOD < 0, [-0.1, np.nan], 0), {}),
        (ValueRangeError, "-inf is a reset", np.where(GOOD < 0, [-0.1, np.inf], 0), {"growing": True}),
        (ShapeError, "numpy.broadcast_to(x, (T, 1, H))", GOOD[0, 0], {}),
        (ShapeError, "x.reshape(*x.shape[:2], -1)", GOOD[..., None], {}),
        (ShapeError, "at least one step", GOOD[:0], {}),
        (ValueRangeError, "another name", GOOD, {"cell": "lstm"}),
        (ValueRangeError, "gates['decay']", GOOD, {"gates": {"decay": GOOD}}),
        (ShapeError, "gates['i']", GOOD, {"gates": {"i": GOOD[1:]}}),
        (DtypeError, "gates is a ndarray", GOOD, {"gates": GOOD}),
        (ValueRangeError, "lengths[0] is 0", GOOD, {"lengths": [0]}),
    ],
)
def test_what_is_refused(error, text, decays, options):
    with pytest.raises(error) as caught:
        gs.from_decays(decays, **options)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "options",
    [
        {"source_step": 21},
        {"max_lag": 21},
        {"norm": "largest"},
        {"unit": 1},
        {"norm": "unit", "unit": 2},
        {"lags": [3, 1]},
        {"seed": -1},
    ],
)
def test_flows_that_there_are_not(options):
    with pytest.raises(GatescopeError):
        gs.from_decays(GOOD).gradient_flow(**options)


def test_factors_above_one_can_be_meant():
    decays = gs.from_decays(np.full((50, 1, 1), 0.1), growing=True)
    assert float(decays.gradient_flow().decay_rate()) == pytest.approx(-0.1)
    assert np.isposinf(decays.half_life().by_gate).all()
    with pytest.raises(UnknownNameError):
        gs.saturation(decays.trace)


@pytest.mark.parametrize("seed", [-1, 1.5, "lots", None])
def test_what_is_no_seed_is_refused(seed):
    decays = gs.from_decays(np.full((20, 1, 2), -0.1))
    with pytest.raises(gs.errors.GatescopeError, match="seed"):
        decays.half_life(seed=seed)


@pytest.mark.parametrize(
    ("norm", "unit"), [("unit", 2), ("unit", np.arange(2)), ("random", 1), ("random", np.ones(3))]
)
def test_what_is_no_channel_is_refused(norm, unit):
    decays = gs.from_decays(np.full((20, 1, 2), -0.1))
    with pytest.raises(gs.errors.ValueRangeError, match="unit"):
        decays.gradient_flow(norm=norm, unit=unit)
