"""What is measured while a model learns, against the public functions for it."""

from functools import partial

import numpy as np
from helpers.train_cases import (
    SEQUENCES,
    UNITS,
    fresh,
    holding_lstm,
    make_batch,
    make_params,
    make_stack,
    train,
)

import gatescope as gs
from gatescope import plotting
from gatescope.measurements.saturation import count_saturated
from gatescope.training.arrays import as_data
from gatescope.training.monitor import probe_on

WHOLE = {"of": "joint", "wrt": "joint"}
LONG = (40, 20, 30, 40, 1, 25, 40)  # steps: shorter ones have no rate


def test_two_layers():
    """Each layer by itself, on what the one below gives it; the four longest sequences, cut to the shortest of them."""
    stack, batch = make_stack(), make_batch(steps=40, lengths=LONG)
    rates, lives, saturation, doubts = probe_on(as_data(batch, stack), 1)(stack)
    chosen = [0, 2, 3, 6]
    assert sorted(np.argsort(LONG)[-4:]) == chosen
    inputs = batch.inputs[:30, chosen]
    assert doubts == ("", "")
    assert saturation.shape == (2, 4, 2)
    for k, layer in enumerate(stack.layers):
        flow = gs.gradient_flow(layer, inputs, **WHOLE)
        assert rates[k] == flow.decay_rate().value.mean()
        assert lives[k] == np.log(2) / rates[k]
        trace = gs.run(layer, inputs)
        counted = count_saturated(trace)
        for row, name in enumerate(trace.gate_names):
            if name == "g":
                assert np.isnan(saturation[k, row]).all()
            else:
                np.testing.assert_allclose(
                    saturation[k, row], [s.mean() for s in counted.gate(name)], rtol=1e-12
                )
        inputs = trace.outputs


def test_gates_that_are_shut_and_open():
    params = make_params(scale=0.0)
    params.bias_ih.reshape(4, UNITS)[0] = -30  # i
    params.bias_ih.reshape(4, UNITS)[1] = 30  # f
    run = train(params, epochs=0, probe_every=1)
    saturation = run.history.saturation[0, 0]
    np.testing.assert_array_equal(saturation, [[1, 0], [0, 1], [np.nan, np.nan], [0, 0]])
    assert run.history.probe_gates == (("i", "f", "g", "o"),)


def test_a_gradient_that_does_not_decay():
    """Weights of 0 but for the recurrent ones, a rotation: tanh is linear at 0."""
    params = make_params("rnn", scale=0.0)
    params.weight_hh[:] = np.eye(UNITS)[[*range(1, UNITS), 0]]
    run = train(params, make_batch(steps=40, lengths=LONG), epochs=0, probe_every=1)
    assert run.history.saturation.shape == (1, 1, 0, 2)
    assert abs(run.history.decay_rate[0, 0]) < 1e-7
    assert run.history.half_life[0, 0] > 1e7


def test_an_lstm_that_holds_a_number_shows_it_though_its_h_forgets():
    """Of unit 0, c alone holds: f = sigmoid(5), half-life ln 2 / -ln f = 103.2; no h feeds it, the others forget."""
    params = holding_lstm()
    batch = make_batch(steps=200, lengths=None)
    run = train(params, batch, epochs=0, probe_every=1)
    exact = np.log(2) / np.log1p(np.exp(-5))
    # What the other units add to the first lags of the line that is fitted, and float32.
    np.testing.assert_allclose(run.history.half_life, exact, rtol=1e-2)
    of_h = gs.gradient_flow(params, batch.inputs[:, :4]).half_life()
    assert (of_h.value < 3).all()


def test_cells_of_different_kinds_and_one_step():
    stack, batch = make_stack(("gru", "rnn")), make_batch(steps=1, lengths=None)
    rates, lives, saturation, doubts = probe_on(as_data(batch, stack), 1)(stack)
    assert rates.shape == lives.shape == (2,)
    assert np.isnan(rates).all()
    assert doubts == ("fewer than three norms above 0, through which any line fits",) * 2
    assert np.isnan(saturation[1]).all()
    assert np.isfinite(saturation[0, :2]).all()


def test_probes_in_training():
    run = train(data=partial(fresh, steps=30), epochs=6, lr=0.05, probe_every=3, snapshot_every=3)
    assert run.history.probe_epoch.tolist() == [0, 3, 6]
    inputs = fresh(first_seed(), steps=30).inputs[:, :3]
    for k, epoch in enumerate((0, 3, 6)):
        flow = gs.gradient_flow(run.at(epoch).layers[0], inputs, **WHOLE)
        assert run.history.decay_rate[k, 0] == flow.decay_rate().value.mean()


def test_probes_look_at_the_validation():
    other = make_batch(3, steps=40, lengths=LONG)
    run = train(epochs=0, probe_every=1, validation=other)
    inputs = other.inputs[:30, [0, 2, 3, 6]]
    flow = gs.gradient_flow(make_params(), inputs, **WHOLE)
    assert run.history.decay_rate[0, 0] == flow.decay_rate().value.mean()


def test_a_rate_is_the_mean_over_the_sequences_that_have_one():
    stack, batch = make_stack(), make_batch(steps=40, lengths=None)
    batch.inputs[12:30, 2] = 100  # gates saturate for a while: the norms follow no line
    data = as_data(batch, stack)
    rates, lives, _, doubts = probe_on(data, 1)(stack)
    fit = gs.gradient_flow(stack.layers[0], batch.inputs[:, :4], **WHOLE).decay_rate()
    assert [bool(reason) for reason in fit.why_none] == [False, False, True, False]
    assert rates[0] == fit.value[[0, 1, 3]].mean()
    assert lives[0] == np.log(2) / rates[0]
    assert doubts[0] == f"the mean over 3 of 4 sequences; in another {fit.why_none[2]}"


def test_without_a_line_there_is_no_rate_and_the_run_says_why(tmp_path):
    run = train(epochs=2, probe_every=1, checkpoint=tmp_path / "c.npz")
    why = "the window of 9 steps is too short for one"
    assert np.isnan(run.history.half_life).all()
    assert run.history.probe_doubts == ((why,),) * 3
    assert f"layer 0, half-life at the last probe: {why}" in run.summary()
    again = train(epochs=2, probe_every=1, checkpoint=tmp_path / "c.npz")
    assert again.history == run.history
    plotting.plot_training_gradients({"lstm": run})


def test_sequences_shorter_than_half_the_longest_are_not_looked_at():
    stack = make_stack()
    batch = make_batch(steps=40, lengths=(40, 0, 15, 20, 0, 0, 0))
    rates, _, saturation, _ = probe_on(as_data(batch, stack), 1)(stack)
    flow = gs.gradient_flow(stack.layers[0], batch.inputs[:20, [0, 3]], **WHOLE)
    assert rates[0] == flow.decay_rate().value.mean()
    none = as_data(batch, stack)._replace(lengths=np.zeros(SEQUENCES, np.int64))
    *arrays, doubts = probe_on(none, 1)(stack)
    for values in arrays:
        assert np.isnan(values).all()
    assert doubts == ("no sequence has a step",) * 2
    assert saturation.shape == values.shape


def first_seed():
    seeds = []
    train(data=lambda seed: seeds.append(seed) or fresh(seed), epochs=0)
    return seeds[0]
