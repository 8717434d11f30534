"""The public functions, each in a call with all of its arguments as they should be, and what the calls share.

An argument that a function gets has to appear here: a test compares the calls with the signatures.
"""

from __future__ import annotations

import ast

# Run once; what a finding's line of code needs to be repeated.
PRELUDE = """
import dataclasses, decimal, fractions, functools, pathlib, types
import numpy as np
import gatescope as gs
from matplotlib.figure import Figure
from benchmarks.fuzz import seeds
from gatescope.experiments.seeds.statistics import paired
from benchmarks.fuzz.zoo import Subclass, Unshowable, replaced, typical

rng = np.random.default_rng(0)
inputs = rng.standard_normal((20, 3, 1))
lengths = np.array([20, 15, 20])
state = rng.standard_normal((3, 2, 5)) / 10
params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
trace = gs.run(params, inputs)
other = gs.run(gs.init("lstm", input_size=1, hidden_size=5, seed=1, dtype="float64"), inputs)
gradients = gs.backprop(params, trace, final_adjoint=np.ones((3, 2, 5)))
batch = gs.Batch(inputs=inputs, targets=np.roll(inputs, 1, axis=0), name="echo")
stack = gs.init_stack("lstm", hidden_size=5, heads=batch, dtype="float64")
stack_trace = gs.run(stack, inputs)
trained = gs.train(stack, batch, epochs=4, probe_every=2, snapshot_every=2, threads=1)
flow = gs.gradient_flow(params, inputs)
paths = gs.gradient_paths(params, inputs)
jacobian = gs.jacobian_spectrum(params, inputs)
spectrum = gs.lyapunov_spectrum(params, inputs, k=2)
life = gs.half_life(params, inputs)
pairs = gs.connectivity(params, inputs)
points = gs.fixed_points(params, np.zeros(1), starts=4)
phases = gs.phase_diagram("lstm", gain=[0.5, 2.0], steps=50, hidden_size=5, dtype="float64")
diagnosis = gs.diagnose(params, inputs[:, :1], target_half_life=5)
closed = gs.saturation(trace)
deep = gs.Stack(layers=(params, gs.init("lstm", input_size=5, hidden_size=5, seed=1, dtype="float64")))
twice = gs.saturation(gs.run(deep, inputs))
twice = gs.saturation(gs.run(deep, inputs))
back = dataclasses.replace(deep.layers[1], reverse=True)
two_way = gs.init_stack("lstm", hidden_size=5, heads=batch, bidirectional=True, dtype="float64")
both = gs.Stack(layers=(params, gs.Bidirectional(forward=deep.layers[1], backward=back)))
states = {"layers.0": state, "layers.1": state}
decays = gs.from_decays(-np.abs(inputs))
comparison = gs.compare({"a": params}, inputs, timing_runs=1, threads=1)
data = gs.training.as_data(batch, stack)
engine = gs.training.Engine(stack, steps=20, sequences=3)
adam = gs.training.Adam()
vector = np.ones(7)
moments = adam.state(7, np.float64)
figure = gs.plotting.new_figure(2, 2)
entries = {"weight_ih_l0": np.ones((20, 1)), "weight_hh_l0": np.ones((20, 5))}
jacobians = rng.standard_normal((20, 4, 4))
params.save("params.npz")
list(seeds.tasks(pathlib.Path(".")))
watched = seeds.watched()
effect = paired(np.log([0.5, 0.6, 0.4]), margin=0.2, name="adding")
swept = seeds.swept()
seeds.long_series(pathlib.Path("study")).save("LongSeriesResult.npz")
np.savez("own.npz", inputs=inputs, targets=inputs)
pathlib.Path("series.csv").write_text("a,b" + chr(10) + "".join(f"{k / 3:.3f},{k % 5}.5" + chr(10) for k in range(9)))
"""

_CALLS = """
gs.init("lstm", input_size=1, hidden_size=5, seed=0, scheme="gaussian", dtype="float64", gain=1.5, t_max=50.0)
gs.init_stack("lstm", input_size=1, hidden_size=5, heads=[gs.Head("y", 1)], bidirectional=[True], seed=0,
    scheme="chrono", readout_scheme="glorot", dtype="float64", gain=1.5, t_max=50.0)
gs.init_stack(["lstm", "lstm"], input_size=1, hidden_size=[5, 5], heads=batch, seed=0, dtype="float64")
gs.run(params, inputs, initial_state=state, lengths=lengths, clamp={"f": 1.0}, device="cpu", threads=1,
    fast_activations=False)
gs.backprop(params, trace, output_adjoint=np.ones((20, 3, 5)), final_adjoint=np.ones((3, 2, 5)), device="cpu",
    threads=1, fast_activations=False)
gs.run(stack, inputs, initial_state={"layers.0": state}, lengths=lengths, clamp={"layers.0.f": 1.0})
gs.run(stack, inputs, steps=5, feedback=True)
gs.backprop(stack, stack_trace, output_adjoint=np.ones((20, 3, 1)), final_adjoint={"layers.0": state})
gs.clamp(params, {"f": 1.0, "i": {0: 0.5}})
gs.clamp(stack, {"layers.0.f": 1.0, "i": {0: 0.5}})
gs.gradient_flow(params, inputs, source_step=-1, of="h", wrt="c", max_lag=10, lags=[1, 2, 5], norm="unit", unit=2,
    total=False, lengths=lengths, initial_state=state, clamp={"f": 1.0}, seed=0, device="cpu", threads=1,
    progress=False, resume="flow.state")
gs.gradient_flow(params, inputs, loss=lambda outputs: outputs, max_lag=10, lengths=lengths)
gs.gradient_flow(stack, batch, max_lag=10)
gs.gradient_flow(deep, inputs, source_step=-1, of="layers.-1.h", wrt="layers.0.c", max_lag=10, lags=[1, 2, 5],
    norm="unit", unit=2, total=False, lengths=lengths, initial_state=states, clamp={"layers.0.f": 1.0}, seed=0,
    threads=1, progress=False, resume="deep.state")
gs.gradient_flow(both, inputs, source_step=9, of="layers.1.backward.h", wrt="layers.0.h", side="future", max_lag=5)
gs.jacobian_spectrum(deep, inputs, of="layers.1.h", wrt="joint", lags=[1, 2], k=3, initial_state=states, threads=1)
gs.lyapunov_spectrum(deep, inputs, k=2, transient=4, qr_every=2, checks=True, lengths=lengths, initial_state=states,
    clamp={"layers.1.f": 0.9}, seed=0, threads=1)
gs.half_life(both, inputs, transient=4, lengths=lengths, clamp={"layers.0.f": 0.9}, threads=1)
gs.connectivity(deep, inputs, target_steps=[5, 10], source_steps=[1, 2], norm="unit", unit=1, lengths=lengths)
gs.gradient_paths(both, inputs, source_step=-1, lags=[1, 2, 5], lengths=lengths, threads=1)
gs.diagnose(deep, inputs, target_half_life=5.0, window=20, initial_state=states, clamp={"layers.0.f": 0.5}, seed=0)
gs.run(both, inputs, lengths=lengths, clamp={"layers.1.backward.f": 1.0}, threads=1)
gs.gradient_paths(params, inputs, source_step=-1, of="h", wrt="h", max_lag=10, lags=[1, 2, 5], norm="unit", unit=2,
    vectors=False, lengths=lengths, initial_state=state, clamp={"f": 1.0}, seed=0, threads=1, progress=False)
gs.jacobian_spectrum(params, inputs, source_step=-1, of="h", wrt="c", max_lag=10, lags=[1, 2, 5], k=3,
    lengths=lengths, initial_state=state, clamp={"f": 1.0}, threads=1, progress=False)
gs.lyapunov_spectrum(params, inputs, k=2, transient=4, qr_every=2, checks=True, lengths=lengths,
    initial_state=state, clamp={"f": 1.0}, seed=0, threads=1, progress=False, resume="spectrum.state")
gs.lyapunov_spectrum(stack, inputs, steps=20, feedback=True, k=2)
gs.half_life(deep, inputs, transient=4, lengths=lengths, clamp={"layers.1.f": 0.9}, threads=1)
gs.lyapunov_spectrum(deep, inputs, k=2, transient=4, qr_every=2, initial_state={"layers.1": state})
gs.gradient_paths(deep, inputs, max_lag=10, wrt="c", lengths=lengths)
gs.connectivity(deep, inputs, target_steps=[5, 10], source_steps=[1, 2], norm="unit", unit=1)
gs.compare({"a": deep, "b": params, "c": both}, inputs, timing_runs=1, threads=1)
gs.lyapunov_of_jacobians(jacobians, k=2, transient=3, qr_every=2, seed=0)
gs.half_life(params, inputs, of="h", transient=4, lengths=lengths, initial_state=state, clamp={"f": 0.9}, seed=0,
    threads=1, progress=False)
gs.connectivity(params, inputs, target_steps=[5, 10], source_steps=[1, 2], norm="unit", unit=1, lengths=lengths,
    initial_state=state, clamp={"f": 1.0}, seed=0, threads=1, progress=False, resume="pairs.state")
gs.fixed_points(params, np.zeros(1), starts=4, tolerance=1e-10, iterations=20, merge=1e-5, margin=1e-6,
    clamp={"f": 0.5}, seed=0, progress=False)
gs.phase_diagram("lstm", gain=[0.5, 2.0], bias=[0.0], scheme="gaussian", hidden_size=5, input_size=1, inputs=inputs,
    lengths=lengths, steps=20, transient=4, seeds=1, seed=0, dtype="float64", threads=1, progress=False)
gs.diagnose(params, inputs, target_half_life=5.0, window=20, lengths=[20, 20, 20], initial_state=state,
    clamp={"f": 0.5}, seed=0, threads=1, progress=False)
gs.explore({"a": trace, "b": stack_trace}, {"a": {None: flow, 3: flow}}, path="explorer.html", sequence=0,
    marks={3: "event"}, tokens=["a"] * 20)
gs.saturation(trace, left=0.1, right=0.9, gates=["f", "i"])
gs.saturation(stack_trace, layer="layers.0", gates="f")
gs.compare_traces(trace, other, labels=("a", "b"), left=0.1, right=0.9)
gs.compare_traces(stack_trace, stack_trace, layer="layers.0")
gs.from_decays(-np.abs(inputs), gates={"i": np.abs(inputs) / 9}, lengths=lengths, cell="mamba", batch_first=False,
    growing=False)
decays.gradient_flow(source_step=-1, max_lag=10, lags=[1, 2, 5], norm="unit", unit=0, seed=0)
decays.half_life(seed=0)
gs.compare({"a": params}, inputs, lengths=lengths, left=0.1, right=0.9, timing_runs=1, seed=0, device="cpu",
    threads=1, progress=False)
gs.estimate_memory("gradient_flow", params, steps=100, batch=2, hidden_size=64, input_size=1, dtype="float64",
    threads=1)
gs.estimate_memory("run", "lstm", steps=100, batch=2, hidden_size=5, input_size=1, dtype="float64", threads=1)
gs.load("params.npz")
gs.save("saved.npz", params)
gs.load_weights(entries, layers=0, prefix=None, reverse=False, nonlinearity=None, reset_after=None, batch_first=False,
    dtype="float64", verify=False)
gs.list_weights(entries)
gs.save_weights("saved.safetensors", params)
gs.to_torch(stack)
gs.to_keras(stack)
gs.to_flax(stack)
gs.read_series("series.csv", dtype="float64", columns=["a"], skip_columns="b", header=True, batch_first=False,
    vocabulary=None, encoding="utf-8")
gs.to_device(params)
gs.train(stack, batch, optimizer="adam", clamp={"layers.0.f": 1.0}, lr=0.01, schedule="cosine", clip_norm=1.0,
    clip_tensor_norm=1.0,
    clip_value=1.0, epochs=2, batch_size=2, updates_per_epoch=1, at="last", bptt_steps=10, stateful=True,
    dropout=gs.Dropout(inputs=0.1), weight_noise=0.01, validation=batch, validate_every=1, patience=3,
    target_loss=0.001, probe_every=1, snapshot_every=1, checkpoint="training.state", checkpoint_seconds=60.0,
    seed=0, threads=1, progress=False)
gs.train(params, functools.partial(gs.tasks.adding, steps=10, sequences=3, dtype="float64"), epochs=1,
    updates_per_epoch=2, threads=1)
gs.predict(stack, inputs, lengths=lengths, threads=1)
gs.evaluate(stack, batch, at="last", threads=1)
gs.train(two_way.layers[0], batch, lr=0.01, epochs=1, probe_every=1, threads=1)
gs.predict(two_way, inputs, lengths=lengths, threads=1)
gs.majority_accuracy(batch, heads=[gs.Head("y", 1)], at="last")
gs.Dropout(inputs=0.1, between=0.1, outputs=0.1, recurrent=0.1)
gs.Batch(inputs=inputs, targets=inputs, mask=np.ones((20, 3), bool), lengths=lengths, name="echo",
    heads=[gs.Head("y", 1)], baseline=1.0, baseline_of="zero")
gs.Stack(layers=(params,), readout_weight=np.ones((1, 5)), readout_bias=np.ones(1), heads=(gs.Head("y", 1),))
gs.run(gs.Params(cell="lstm", weight_ih=params.weight_ih, weight_hh=params.weight_hh, bias_ih=params.bias_ih,
    bias_hh=params.bias_hh, reverse=False, batch_first=False), inputs)
flow.decay_rate((2, 10))
flow.half_life((2, 10))
flow.sequence(1)
jacobian.sequence(1)
spectrum.sequence(1)
life.sequence(1)
pairs.row(5)
paths.path("direct")
trace.gate("f")
trace.state("c")
trace.bounds("f")
closed.gate("f")
params.gate("f")
params.astype("float64")
stack.with_flat(stack.flat())
trained.at(2)
diagnosis.number("steps")
diagnosis.apply(params)
gs.cells.get("lstm")
gs.tasks.adding(steps=10, sequences=3, largest=0.5, seed=0, dtype="float64")
gs.tasks.copying(steps=10, sequences=3, symbols=4, memory=2, seed=0, dtype="float64")
gs.tasks.counting(steps=21, sequences=3, n_min=1, n_max=4, letters=2, seed=0, dtype="float64")
gs.tasks.counting_of([1, 2, 3], letters=2, steps=21, dtype="float64")
gs.tasks.counting_accepted(np.zeros((21, 3, 3)), gs.tasks.counting_of([1, 2, 3], steps=21))
gs.tasks.counting_stream(steps=20, sequences=3, n_min=2, n_max=4, seed=0, dtype="float64")
gs.tasks.delayed_xor(steps=10, sequences=3, gap=3, noise=0.1, seed=0, dtype="float64")
gs.tasks.flip_flop(steps=10, sequences=3, channels=2, pulse=0.1, seed=0, dtype="float64")
gs.tasks.teacher(cell="gru", hidden_size=3, input_size=2, gain=1.5, memory_bias=2.0, steps=20, sequences=3, teacher=0,
    seed=0, dtype="float64")
gs.tasks.temporal_order(steps=20, sequences=3, symbols=2, seed=0, dtype="float64")
gs.tasks.laser(steps=None, split="train", valid_fraction=0.1, test_fraction=0.1, length=20, dtype="float64",
    standardize=True)
gs.tasks.long_series(steps=20, sequences=3, lookback=4, gamma=0.9, seed=0, dtype="float64")
gs.tasks.long_series_prices(steps=20, sequences=3, seed=0)
gs.tasks.long_series_values(np.ones((20, 3)), gamma=0.9)
gs.tasks.next_step(inputs[:, 0], standardize=True, split="train", valid_fraction=0.2, test_fraction=0.2,
    dtype="float64")
gs.tasks.own("own.npz", loss="mse", classes=None, split="train", valid_fraction=0.1, test_fraction=0.1,
    batch_first=False, dtype="float64")
gs.tasks.characters("poem.txt", steps=20, sequences=2, split="train", valid_fraction=0.1, test_fraction=0.1,
    vocabulary=None, encoding="utf-8", dtype="float64")
gs.tasks.piano_roll("scales.mat", split="train", steps=10, min_note=40, max_note=60, dtype="float64")
gs.training.Adam(betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0, decoupled=False)
gs.training.RMSprop(alpha=0.9, eps=1e-8, momentum=0.1, centered=False, weight_decay=0.0)
gs.training.SGD(momentum=0.1, dampening=0.0, nesterov=False, weight_decay=0.0)
gs.training.Clip(value=1.0, tensor_norm=1.0, norm=1.0)
gs.training.Clip(norm=1.0).apply(np.ones(7), ((0, 3), (3, 7)))
adam.state(7, np.float64)
adam.update(vector, np.ones(7), moments, 1, 0.01)
gs.training.Constant()(0, 10)
gs.training.Step(every=2, rate=0.5)(1, 10)
gs.training.Exponential(rate=0.5)(1, 10)
gs.training.Cosine(floor=0.1)(1, 10)
gs.training.WarmUp(updates=2, then=gs.training.Cosine())(1, 10)
gs.training.Piecewise(boundaries=[2, 4], factors=[1.0, 0.5, 0.1])(3, 10)
gs.training.Engine(stack, steps=20, sequences=3, threads=1, clamp={"layers.0.f": 1.0}, dropout=None,
    weight_noise=0.0, seed=0, memory=10**6, learns=True)
engine.evaluate(data)
engine.back(data, 0, begin=0, end=10, carry=False, first=0)
engine.predict(inputs, np.array([20, 20, 20]))
gs.training.as_data(batch, stack, at="last")
gs.training.masks(0.5, (10, 3, 5), seed=0, update=1, location="inputs", layer=0, dtype="float64")
gs.experiments.run_long_series("study", cells=("lstm",), seeds=1, epochs=2, steps=20, sequences=3, lookback=4,
    hidden_size=5, lr=0.01, clamp={"i": 1.0}, data_seed=0, dtype="float64", threads=1, checkpoint_seconds=60.0,
    executor=None, part="1/2", workers=None, progress=False, log=None)
gs.plotting.new_figure(4.0, 3.0)
gs.plotting.render(figure, "svg", dpi=50)
gs.plotting.save_figure(figure, "picture", ("svg",), dpi=50)
gs.plotting.plot_gradient_flow(flow, labels=["a"], fit=True, scale="linear", ax=Figure().add_subplot())
gs.plotting.plot_gradient_paths(paths, sequence=0, scale="log", ax=Figure().add_subplot())
gs.plotting.plot_jacobian_spectrum(jacobian, sequence=0, scale="linear", ax=Figure().add_subplot())
gs.plotting.plot_lyapunov_spectrum(spectrum, labels=["a"], sequence=0, ax=Figure().add_subplot())
gs.plotting.plot_lyapunov_convergence(spectrum, ks=[1], sequence=0, scale="log", ax=Figure().add_subplot())
gs.plotting.plot_half_life(life, sequence=0, ax=Figure().add_subplot())
gs.plotting.plot_connectivity(pairs, sequence=0, decades=3.0, ax=Figure().add_subplot())
gs.plotting.plot_fixed_points(points, trace=trace, state="h", ax=Figure().add_subplot())
gs.plotting.plot_fixed_point_moduli(points, ax=Figure().add_subplot())
gs.plotting.plot_phase_diagram(phases, quantity="exponent", scheme="gaussian", fig=Figure())
gs.plotting.plot_diagnosis(diagnosis, fig=Figure())
gs.plotting.plot_effects([effect], labels=["a"], title="b", ax=Figure().add_subplot())
gs.plotting.plot_saturation(closed, ax=Figure().add_subplot())
gs.plotting.plot_saturation_before_after(closed, closed, labels=("a", "b"), fig=Figure())
gs.plotting.plot_gate_heatmap(trace, "f", sequence=0, steps=slice(0, 10), scale="full", order="f", reduce="mean",
    marks={3: "event"}, inputs=False, ax=Figure().add_subplot())
gs.plotting.plot_gate_heatmaps(trace, gates=["f"], sequence=0, steps=slice(0, 10), scale="full", order="memory",
    reduce="mean", marks={3: "event"}, inputs=False, fig=Figure())
gs.plotting.plot_gate_heatmap(stack_trace, "f", layer="layers.0")
gs.plotting.plot_gate_heatmaps(stack_trace, layer="layers.0", gates=["f"])
gs.plotting.plot_inputs(stack_trace, layer="layers.0")
gs.plotting.plot_gate_trajectories(stack_trace, layer="layers.0", gates=["f"])
gs.plotting.plot_gates_before_after(stack_trace, stack_trace, layer="layers.0", gates=["f"])
gs.plotting.animate_steps(stack_trace, layer="layers.0", gates=["f"], frames=2)
gs.plotting.animate_gates([stack_trace], [0], layer="layers.0", gates=["f"])
gs.plotting.plot_by_layer(twice, fig=figure)
gs.plotting.plot_inputs(trace, sequence=0, steps=slice(0, 10), marks={3: "event"}, ax=Figure().add_subplot())
gs.plotting.plot_gate_trajectories(trace, units=[0, 1], gates=["f"], sequence=0, steps=slice(0, 10),
    marks={3: "event"}, inputs=False, fig=Figure())
gs.plotting.plot_gates_before_after(trace, other, gates=["f"], units=[0], sequence=0, steps=slice(0, 10),
    labels=("a", "b"), marks=[3], inputs=False, fig=Figure())
gs.plotting.plot_loss_curves({"a": trained}, validation=True, band=(0.1, 0.9), scale="log", baseline=0.5,
    baseline_label="zero", ax=Figure().add_subplot())
gs.plotting.plot_training_gradients({"a": trained}, band=(0.1, 0.9), fig=Figure())
gs.plotting.plot_watch(watched, layers=["lstm"], fig=Figure())
watched.numbers(1)
swept.column("loss")
gs.plotting.plot_long_series(gs.load("LongSeriesResult.npz"), fig=Figure())
gs.plotting.animate_gates([trace, other], [0, 10], gates=["f"], losses=[1.0, 0.5], units=[0], sequence=0,
    steps=slice(0, 10), frames=2, fig=Figure())
gs.plotting.animate_steps(trace, gates=["f"], kind="lines", window=10, units=[0], sequence=0, steps=slice(0, 10),
    frames=2, fig=Figure())
gs.plotting.save_animation(gs.plotting.animate_steps(trace, frames=2, window=10), "steps.gif", fps=10, dpi=40)
"""
LINES = [ast.unparse(statement) for statement in ast.parse(_CALLS).body]

# Arguments that work grows with: no huge number that would be right is given to them.
# fmt: off
COUNTED = {
    "epochs", "iterations", "timing_runs", "updates_per_epoch", "seeds", "starts", "frames", "fps", "dpi",
    "qr_every", "width", "height", "checkpoint_seconds", "seed", "update",
}

# Arguments that may be any text, which is then no mistake: names, and files that are written.
FREE = {
    "name", "baseline_of", "baseline_label", "labels", "path", "folder", "prefix", "vocabulary", "checkpoint",
    "resume", "path_without_suffix", "baseline", "sizes", "source",
}
# fmt: on

ALWAYS = {
    "hidden_size",
    "steps",
    "sequences",
    "epochs",
    "seeds",
    "starts",
    "timing_runs",
}  # or the work is long
TIMED = {"gs.compare", "gs.train", "gs.experiments.run_long_series"}  # whose results hold times
