"""Calls that the fuzzer found, a line of each kind: they are refused, with an error that names the argument."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

import gatescope as gs
from gatescope.training import memory

PARAMS = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
INPUTS = np.zeros((20, 3, 1))
STACK = gs.init_stack("lstm", hidden_size=5, heads=gs.Batch(inputs=INPUTS, targets=INPUTS), dtype="float64")


class Odd:
    """Something whose text cannot be made."""

    def __repr__(self):
        raise RuntimeError("no text")


@pytest.fixture(scope="module")
def names():
    """Return what the lines see."""
    trace = gs.run(PARAMS, INPUTS)
    return {
        "gs": gs,
        "np": np,
        "odd": Odd(),
        "params": PARAMS,
        "inputs": INPUTS,
        "stack": STACK,
        "trace": trace,
        "flow": gs.gradient_flow(PARAMS, INPUTS),
        "pairs": gs.connectivity(PARAMS, INPUTS, target_steps=[5], source_steps=[1, 2]),
        "points": gs.fixed_points(PARAMS, np.zeros(1), starts=2),
        "adam": gs.training.Adam(),
        "state": gs.training.Adam().state(7, np.float64),
        "replace": dataclasses.replace,
    }


# By what is given: the call, and the argument that its error names.
NO_NUMBERS = {
    "gs.training.Constant()(odd, 10)": "update",
    "gs.training.Step(every=2, rate=0.5)(1, odd)": "updates",
    "gs.training.Exponential(rate=0.5)(None, 10)": "update",
    "gs.training.Cosine()([3], 10)": "update",
    "gs.training.WarmUp(2)(float('nan'), 10)": "update",
    "gs.training.Piecewise([2], [1, 0.5])((3,), 10)": "update",
    "adam.update(np.ones(7), np.ones(7), state, 10**5000, 0.01)": "step",
    "adam.update(np.ones(7), np.ones(7), state, 1, [[1], [2, 3]])": "lr",
    "gs.plotting.new_figure(-1.0, 2.0)": "width",
    "gs.plotting.new_figure(4.0, float('inf'))": "height",
    "gs.plotting.render(gs.plotting.new_figure(), dpi=1)": "dpi",
    "pairs.row([[1], [2, 3]])": "step",
    "pairs.row(2**63)": "step",
    "gs.init_stack('lstm', input_size=1, hidden_size=b'ab', heads=stack.heads)": "hidden_size",
    "gs.init_stack('lstm', input_size=np.void(b'ab'), hidden_size=5, heads=gs.tasks.laser(steps=9))": "input_size",
    "gs.tasks.adding(steps=10**5000)": "steps",
    "gs.run(params, inputs, threads=10**5000)": "threads",
    "gs.training.Engine(stack, steps=2**64 - 1, sequences=3)": "steps",
    "gs.diagnose(params, inputs, target_half_life=1e308)": "target_half_life",
    "gs.plotting.plot_gate_heatmaps(trace, order=np.zeros(2, 'i4,f4'))": "units",
    "gs.experiments.run_long_series('x', data_seed=10**5000)": "data_seed",
}
OTHER_TYPES = {
    "gs.init_stack(b'ab', input_size=1, hidden_size=5, heads=stack.heads)": "cell",
    "adam.update(np.ones(7), np.ones(7), True, 1, 0.01)": "state",
    "adam.update(np.broadcast_to(1.0, 7), np.ones(7), state, 1, 0.01)": "theta",
    "gs.training.Clip(norm=1).apply(np.ones(7), odd)": "sizes",
    "gs.training.Clip(norm=1).apply(np.ones((7, 2))[:, 0])": "gradient",
    "gs.init('lstm', input_size=1, hidden_size=5, dtype=odd)": "dtype",
    "gs.tasks.flip_flop(dtype='warmup(3, 3)')": "dtype",
    "gs.tasks.counting_accepted(np.zeros((21, 3, 3)), stack)": "batch",
    "gs.experiments.run_long_series('x', cells=3)": "cells",
    "gs.experiments.run_long_series('x', seeds=np.array(3))": "seeds",
    "gs.experiments.run_long_series('x', seeds=odd)": "seeds",
    "gs.Stack(layers=(params,), heads=np.zeros(0))": "heads",
    "gs.Stack(layers=(params,), heads=np.zeros(3))": "heads",
    "gs.experiments.run_long_series('x', cells=np.zeros(2))": "cells",
    "gs.train(stack, gs.Batch(inputs=inputs, targets=inputs), epochs=0, progress='no')": "progress",
    "gs.training.Clip(norm=1).apply(np.ma.masked_array(np.ones(7)))": "gradient",
    "gs.experiments.run_long_series('x', seeds=None)": "seeds",
    "gs.experiments.run_long_series(3)": "folder",
    "gs.experiments.run_long_series('x', log='print')": "log",
    "gs.plotting.save_figure(gs.plotting.new_figure(), 'x', np.array(3))": "formats",
    "gs.plotting.save_figure(gs.plotting.new_figure(), odd)": "path_without_suffix",
    "gs.plotting.plot_gradient_flow(flow, fit={1, 2})": "fit",
    "gs.Stack(layers=3, readout_weight=np.ones((1, 5)), readout_bias=np.ones(1), heads=stack.heads)": "layers",
    "gs.Stack(layers=(1,), readout_weight=np.ones((1, 5)), readout_bias=np.ones(1), heads=stack.heads)": "layers",
    "gs.Stack(layers=(params,), readout_weight=[1], readout_bias=np.ones(1), heads=stack.heads)": "readout_weight",
    "gs.Stack(layers=(params,), readout_weight=np.ones((1, 5)), readout_bias=np.ones(1), heads=None)": "heads",
    "gs.Batch(inputs=inputs, targets=inputs, heads=np.zeros(2))": "heads",
    "gs.Batch(inputs=inputs, targets=inputs, mask=np.ones((3, 20)))": "mask",
    "gs.Batch(inputs=inputs, targets=inputs, mask=np.full((20, 3), 0.5))": "mask",
    "gs.Batch(inputs=inputs, targets=inputs, lengths=np.ones(3))": "lengths",
    "gs.Batch(inputs=inputs, targets=inputs[:0])": "targets",
    "gs.Batch(inputs=inputs[..., :0], targets=inputs)": "inputs",
    "gs.Batch(inputs=inputs, targets=inputs.astype('U'))": "targets",
    "gs.Batch(inputs=inputs, targets=inputs, baseline='x')": "baseline",
    "gs.read_series(odd)": "path",
    "gs.tasks.own(odd)": "path",
    "gs.run(replace(params, provenance=None), inputs)": "provenance",
    "gs.plotting.plot_gradient_flow(replace(flow, lag=flow.lag[:-1]))": "flows",
    "gs.plotting.plot_fixed_points(points, trace=replace(trace, states=trace.states * np.nan))": "trace",
    "gs.saturation(replace(trace, state_names=3))": "trace.state_names",
}
NO_EFFECT = {
    "gs.init('lstm', input_size=1, hidden_size=5, gain=2.0)": "gain",
    "gs.init('lstm', input_size=1, hidden_size=5, scheme='gaussian', t_max=50)": "t_max",
    "gs.init('lstm', input_size=1, hidden_size=5, scheme='gaussian(2)', gain=3)": "gain",
    "gs.init_stack('lstm', input_size=1, hidden_size=5, heads=stack.heads, scheme='keras', gain=1.0)": "gain",
    "gs.load_weights({'weight_ih_l0': np.ones((4, 1)), 'weight_hh_l0': np.ones((4, 1))}, nonlinearity='tanh')": (
        "nonlinearity"
    ),
    "gs.estimate_memory('gradient_flow', params, steps=9, hidden_size=5)": "hidden_size",
    "gs.estimate_memory('gradient_flow', params, steps=9, dtype='float64')": "dtype",
    "gs.estimate_memory('run', params, steps=9, threads=1)": "threads",
    "gs.phase_diagram('lstm', gain=[1.0], hidden_size=5, inputs=inputs, steps=9)": "steps",
    "gs.plotting.plot_loss_curves({}, baseline_label='zero')": "baseline_label",
    "gs.training.Adam(decoupled=True)": "decoupled",
    "gs.read_series('series.csv', encoding='utf-8')": "encoding",
    "gs.training.SGD(dampening=0.5)": "dampening",
    "gs.train(stack, gs.Batch(inputs=inputs, targets=inputs), checkpoint_seconds=5)": "checkpoint_seconds",
    "gs.gradient_flow(params, inputs, max_lag=10, lags=[1, 2])": "max_lag",
    "gs.jacobian_spectrum(params, inputs, max_lag=10, lags=[1, 2])": "max_lag",
    "gs.tasks.own('own.npz', valid_fraction=0.2)": "valid_fraction",
    "gs.tasks.characters('poem.txt', split='all', test_fraction=0.2)": "test_fraction",
}


@pytest.mark.parametrize("line", [*NO_NUMBERS, *OTHER_TYPES])
def test_what_the_fuzzer_gave_is_refused_by_name(line, names):
    with pytest.raises(gs.GatescopeError) as caught:
        eval(line, dict(names))
    assert str(caught.value.argument).startswith({**NO_NUMBERS, **OTHER_TYPES}[line])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("line", NO_EFFECT)
def test_arguments_without_effect_are_refused(line, names):
    with pytest.raises(gs.ValueRangeError, match=rf"^{NO_EFFECT[line]}=.* has no effect .*leave it out"):
        eval(line, dict(names))


@pytest.mark.parametrize(
    "name", ["no such", 3, ["h"], np.void(b"ab"), Odd()], ids=lambda name: type(name).__name__
)
def test_a_name_that_is_none_is_an_unknown_name(name, names):
    for lookup in (names["trace"].gate, names["trace"].state, PARAMS.gate):
        with pytest.raises(gs.UnknownNameError, match="there is no "):
            lookup(name)
    assert names["trace"].bounds(name) is None


def test_whole_numbers_of_few_bits_count_as_others():
    assert gs.gradient_flow(PARAMS, INPUTS, source_step=np.uint8(20)) == gs.gradient_flow(PARAMS, INPUTS)
    few = gs.lyapunov_spectrum(PARAMS, INPUTS, k=np.uint8(2), transient=np.uint8(4), qr_every=np.uint8(2))
    assert few == gs.lyapunov_spectrum(PARAMS, INPUTS, k=2, transient=4, qr_every=2)


def test_data_of_whole_numbers_are_saved_and_loaded(tmp_path):
    classes = np.arange(60).reshape(20, 3, 1) % 3
    batch = gs.Batch(
        inputs=INPUTS.astype(np.int16),
        targets=classes,
        mask=np.ones((20, 3), np.uint8),
        lengths=np.full(3, 20, np.int32),
        heads=[gs.Head("class", 3, "cross_entropy")],
    )
    batch.save(tmp_path / "a.npz")
    assert gs.load(tmp_path / "a.npz") == batch
    assert (batch.mask.dtype, batch.lengths.dtype) == (np.bool_, np.int64)


@pytest.fixture
def little_memory(monkeypatch):
    """Let 70 MB be free, just above what is not worth a look."""
    monkeypatch.setattr("gatescope.checks.memory.free_memory", lambda: 70_000_000)


LONG = np.broadcast_to(0.0, (100_000, 9, 1))


def test_training_that_does_not_fit_says_what_would(little_memory):
    data = gs.Batch(inputs=np.array(LONG), targets=np.array(LONG))
    with pytest.raises(
        gs.ValueRangeError, match=r"^batch_size is too large: weights, .* at most [1-8] would fit; give"
    ):
        gs.train(STACK, data, epochs=1)
    two_way = gs.init_stack("lstm", hidden_size=5, heads=data, bidirectional=True, dtype="float64")
    with pytest.raises(gs.ValueRangeError, match=r"give a smaller `batch_size` or shorter sequences, or"):
        gs.train(two_way, data, epochs=1)
    with pytest.raises(
        gs.ValueRangeError, match=r"^epochs=1000000000 is too large: the snapshots .* `?snapshot_every"
    ):
        gs.train(STACK, gs.Batch(inputs=INPUTS, targets=INPUTS), epochs=10**9, snapshot_every=1)


CALLS = {
    "compare": (
        lambda: gs.compare({"a": PARAMS, "b": PARAMS}, LONG),
        r"^inputs is too large: every state .* would fit",
    ),
    "run": (lambda: gs.run(PARAMS, LONG), r"^inputs is too large: every state"),
    "init_stack": (
        lambda: gs.init_stack("lstm", input_size=1, hidden_size=5, heads=[gs.Head("y", 10**9)]),
        r"^heads is too large: the read-out",
    ),
    "estimate_memory": (
        lambda: gs.estimate_memory("gradient_flow", "lstm", steps=9, input_size=10**12),
        r"^input_size=1000000000000 is too large",
    ),
    "state": (lambda: gs.training.Adam().state(10**12, "float32"), r"^size=1000000000000 is too large"),
    "masks": (
        lambda: gs.training.masks(0.5, (10**9, 10**9, 1), seed=0, update=0, location="inputs"),
        r"^shape.* is too large",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_do_not_fit(name, little_memory):
    call, message = CALLS[name]
    with pytest.raises(gs.ValueRangeError, match=message):
        call()


@pytest.mark.parametrize(
    ("steps", "both", "options"),  # other steps each time, as memory that is freed is used again
    [
        (2000, False, {}),
        (1900, True, {}),
        pytest.param(2100, False, {"bptt_steps": 1500}, marks=pytest.mark.slow),
        pytest.param(2200, False, {"dropout": gs.Dropout(inputs=0.1, recurrent=0.1)}, marks=pytest.mark.slow),
    ],
)
def test_what_training_takes_is_what_was_counted(steps, both, options, monkeypatch):
    """The peak that NumPy allocates, over the data, beside the number that is compared with the free memory."""
    inputs = np.zeros((steps, 40, 1))
    batch, counted, count = gs.Batch(inputs=inputs, targets=inputs), [], memory.engine_bytes

    def counting(*arguments, **more):
        counted.append(count(*arguments, **more))
        return counted[-1]

    monkeypatch.setattr(memory, "engine_bytes", counting)
    # As many sequences, so that kernels are compiled and loaded here.
    stack = (
        gs.init_stack("lstm", hidden_size=5, heads=batch, bidirectional=True, dtype="float64")
        if both
        else STACK
    )
    gs.train(stack, gs.Batch(inputs=inputs[:50], targets=inputs[:50]), epochs=1, threads=1, **options)
    tracemalloc.start()
    gs.train(stack, batch, epochs=1, threads=1, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.8 < peak / counted[-1] < 1.5
