"""run and backprop of models of several layers, against the slow oracle, PyTorch, and finite changes of the loss."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import assert_close
from helpers.stack_cases import naive_run, random_stack, random_states

import gatescope as gs
from gatescope.errors import (
    AccuracyWarning,
    DtypeError,
    FileFormatError,
    ShapeError,
    UnknownNameError,
    ValueRangeError,
)

T, B = 9, 3
LENGTHS = np.array([9, 4, 0])
INPUTS = np.random.default_rng(0).standard_normal((T, B, 2))
# All of 5 units and 3 sequences, which share their kernels with other tests.
MODELS = {
    "three layers": random_stack("lstm 5", "lstm 5", "lstm 5"),
    "both ways": random_stack("lstm 5 | lstm 5", "lstm 5 | lstm 5"),
    "added": random_stack("lstm 5 | lstm 5", "lstm 5", merge="sum"),
    "backward on both": random_stack("lstm 5 | lstm 5", "| lstm 5", outputs=0),
}
SLOW = {
    "cells differ": random_stack("lstm 5 | gru 5", "rnn 5", "gru_reset_before 5 | rnn_relu 5"),
    "sizes differ": random_stack("lstm 1 | lstm 5", "lstm 1", outputs=1),
}
EVERY = [*MODELS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def model_of(name):
    return {**MODELS, **SLOW}[name]


def run_of(model, **options):
    return gs.run(model, INPUTS, initial_state=random_states(model, B), **options)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_every_state_and_gate_is_that_of_the_oracle(name, lengths):
    model = model_of(name)
    trace = run_of(model, lengths=lengths)
    sizes = np.full(B, T) if lengths is None else lengths
    runs, outputs = naive_run(model, INPUTS, random_states(model, B), sizes)
    assert trace.names == tuple(model.directions())
    for prefix, (taken, states, gates) in runs.items():
        own = trace[prefix].as_taken()
        assert_close(own.inputs, taken, 1e-13, prefix)
        assert_close(own.states, states, 1e-13, prefix)
        for gate, values in gates.items():
            assert_close(own.gate(gate), values, 1e-13, f"{prefix}.{gate}")
    assert_close(trace.outputs, outputs, 1e-13)
    assert (trace.outputs[~trace.mask] == 0).all()
    np.testing.assert_array_equal(trace.lengths, sizes)
    np.testing.assert_array_equal(trace.inputs, INPUTS)


def test_a_padded_sequence_gets_what_it_gets_alone():
    model = MODELS["both ways"]
    trace = run_of(model, lengths=LENGTHS)
    state = {name: value[1:2] for name, value in random_states(model, B).items()}
    alone = gs.run(model, INPUTS[:4, 1:2], initial_state=state)
    assert_close(trace.outputs[:4, 1], alone.outputs[:, 0], 1e-14)


def test_going_on_from_the_final_state():
    model = MODELS["three layers"]
    whole = run_of(model)
    first = gs.run(model, INPUTS[:5], initial_state=random_states(model, B))
    rest = gs.run(model, INPUTS[5:], initial_state=first.final_state)
    np.testing.assert_array_equal(whole["layers.-1"].states[6:], rest["layers.2"].states[1:])


def test_results_do_not_depend_on_threads():
    model = MODELS["both ways"]
    traces = [run_of(model, lengths=LENGTHS, threads=threads) for threads in (1, 2)]
    assert traces[0] == traces[1]
    adjoint = np.ones((T, B, 2))
    first, second = (
        gs.backprop(model, trace, output_adjoint=adjoint, threads=threads)
        for trace, threads in zip(traces, (1, 2), strict=True)
    )
    assert first == second


def test_one_layer_of_two_directions_is_a_model():
    layer = MODELS["both ways"].layers[0]
    trace = gs.run(layer, INPUTS)
    assert trace == gs.run(gs.Stack(layers=(layer,)), INPUTS)
    np.testing.assert_array_equal(
        trace.outputs,
        np.concatenate([trace["layers.0.forward"].outputs, trace["layers.0.backward"].outputs], axis=2),
    )


def test_inputs_of_a_module_that_took_the_batch_first():
    model = MODELS["both ways"]
    layer = model.layers[0]
    both = {
        way: dataclasses.replace(getattr(layer, way), batch_first=True) for way in ("forward", "backward")
    }
    first = dataclasses.replace(model, layers=(dataclasses.replace(layer, **both), *model.layers[1:]))
    trace = gs.run(first, INPUTS.swapaxes(0, 1), lengths=LENGTHS)
    np.testing.assert_array_equal(trace.outputs, gs.run(model, INPUTS, lengths=LENGTHS).outputs)


# ---- gradients ----


@pytest.mark.parametrize("name", EVERY)
def test_gradients_are_those_of_small_changes(name):
    # The complex step does not reach through the oracle's masks; central differences of float64 are right to 1e-9.
    model = model_of(name)
    rng = np.random.default_rng(2)
    states = random_states(model, B)
    weigh = rng.standard_normal((T, B, model.output_size))
    finals = random_states(model, B, seed=3)

    def loss(model, inputs, states):
        trace = gs.run(model, inputs, initial_state=states, lengths=LENGTHS)
        last = sum((finals[name] * state).sum() for name, state in trace.final_state.items())
        return (weigh * trace.outputs).sum() + last

    trace = gs.run(model, INPUTS, initial_state=states, lengths=LENGTHS)
    grads = gs.backprop(model, trace, output_adjoint=weigh, final_adjoint=finals)
    flat, step = model.flat(), 1e-5
    way, toward = rng.standard_normal(flat.size), rng.standard_normal(INPUTS.shape)
    aside = random_states(model, B, seed=4)
    expected = grads.params.flat() @ way + (grads.inputs * toward).sum()
    expected += sum((aside[name] * value).sum() for name, value in grads.initial_state.items())
    ends = [
        loss(
            model.with_flat(flat + sign * step * way),
            INPUTS + sign * step * toward,
            {name: value + sign * step * aside[name] for name, value in states.items()},
        )
        for sign in (1, -1)
    ]
    # The third derivative times step^2, and 1e-16 over step.
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(expected, rel=1e-7)
    assert not grads.inputs[4:, 1].any()


def test_an_adjoint_past_the_end_of_a_sequence_does_not_count():
    model = MODELS["both ways"]
    trace = run_of(model, lengths=LENGTHS)
    adjoint = np.ones((T, B, 2))
    noisy = np.where(trace.mask[:, :, None], adjoint, 1e9)
    assert gs.backprop(model, trace, output_adjoint=noisy) == gs.backprop(
        model, trace, output_adjoint=adjoint
    )


def test_the_final_adjoint_of_one_layer_alone():
    model = MODELS["three layers"]
    trace = run_of(model)
    grads = gs.backprop(model, trace, final_adjoint={"layers.1": np.ones((B, 2, 5))})
    assert not grads["layers.2"].adjoint.any()
    assert not grads.params.readout_weight.any()
    below = gs.backprop(
        model.layers[0], trace["layers.0"], output_adjoint=grads["layers.1"].inputs, final_adjoint=None
    )
    np.testing.assert_array_equal(grads["layers.0"].adjoint, below.adjoint)


def test_gates_that_are_clamped_have_no_gradient():
    model = MODELS["both ways"]
    clamp = {"layers.1.f": 1.0, "layers.0.backward.i": {2: 0.5}}
    trace = run_of(model, clamp=clamp)
    clamped = gs.clamp(model, clamp)
    np.testing.assert_array_equal(trace.outputs, run_of(clamped).outputs)
    assert (trace["layers.1.backward"].gate("f") == 1).all()
    assert (trace["layers.0.backward"].gate("i")[:, :, 2] == 0.5).all()
    assert not (trace["layers.0.forward"].gate("i")[:, :, 2] == 0.5).any()
    assert trace.provenance["clamp"] == {
        "layers.0.backward.i": {"2": 0.5},
        "layers.1.forward.f": 1.0,
        "layers.1.backward.f": 1.0,
    }
    grads = gs.backprop(model, trace, output_adjoint=np.ones((T, B, 2)))
    assert not grads["layers.1.backward"].params.gate("f")["weight_hh"].any()
    assert grads["layers.0.forward"].params.gate("f")["weight_hh"].any()


# ---- the peer ----


def as_torch(torch, kind, layers, bidirectional, units=5, seed=0):
    torch.manual_seed(seed)
    return getattr(torch.nn, kind)(2, units, layers, bidirectional=bidirectional).double()


@pytest.mark.parametrize(
    "kind", ["LSTM", pytest.param("GRU", marks=pytest.mark.slow), pytest.param("RNN", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("layers", "bidirectional"), [(3, False), (2, True)])
def test_pytorch_gives_the_same_of_packed_sequences(kind, layers, bidirectional):
    torch = pytest.importorskip("torch")
    module = as_torch(torch, kind, layers, bidirectional)
    model = gs.load_weights(module, batch_first=False)
    lengths = np.array([9, 4, 1])  # a packed sequence has a step
    x = torch.tensor(INPUTS, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    ways = 2 if bidirectional else 1
    h0 = torch.randn(layers * ways, B, 5, dtype=torch.float64, requires_grad=True)
    c0 = torch.randn(layers * ways, B, 5, dtype=torch.float64, requires_grad=True)
    outputs, last = module(packed, (h0, c0) if kind == "LSTM" else h0)
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, total_length=T)
    head = torch.nn.Linear(5 * ways, 2).double()
    inside = torch.tensor(np.arange(T)[:, None] < lengths)[:, :, None]
    outputs = torch.where(inside, head(outputs), 0.0)
    first = [h0, c0] if kind == "LSTM" else [h0]
    last = list(last) if kind == "LSTM" else [last]
    states = np.stack([state.detach().numpy() for state in first], axis=2)
    weights = {f"readout_{name}": value.detach().numpy() for name, value in head.named_parameters()}
    model = gs.Stack(layers=model.layers, **weights)
    names = list(model.directions())  # in PyTorch's order: forward, then backward, of each layer
    trace = gs.run(model, INPUTS, initial_state=dict(zip(names, states, strict=True)), lengths=lengths)
    assert_close(trace.outputs, outputs.detach().numpy(), 1e-12)
    for index, name in enumerate(names):
        for s, state in enumerate(last):
            assert_close(trace.final_state[name][:, s], state[index].detach().numpy(), 1e-12, name)
    weigh = np.random.default_rng(1).standard_normal(outputs.shape)
    ends = np.random.default_rng(2).standard_normal(states.shape)
    loss = (outputs * torch.tensor(weigh)).sum()
    loss = loss + sum((state * torch.tensor(ends[:, :, s])).sum() for s, state in enumerate(last))
    loss.backward()
    grads = gs.backprop(model, trace, output_adjoint=weigh, final_adjoint=dict(zip(names, ends, strict=True)))
    assert_close(grads.inputs, x.grad.numpy(), 1e-12)
    for name, value in head.named_parameters():
        assert_close(getattr(grads.params, f"readout_{name}"), value.grad.numpy(), 1e-12, name)
    for index, name in enumerate(names):
        for s, state in enumerate(first):
            assert_close(grads.initial_state[name][:, s], state.grad[index].numpy(), 1e-12, name)
        ending = f"_l{index // ways}" + ("_reverse" if index % ways else "")
        for array, value in grads[name].params.arrays().items():
            theirs = getattr(module, array + ending).grad.numpy()
            assert_close(value, theirs, 1e-12, f"{name}.{array}")


# ---- results ----


def test_it_is_saved_and_shown(tmp_path):
    model = MODELS["both ways"]
    trace = run_of(model, lengths=LENGTHS)
    grads = gs.backprop(model, trace, output_adjoint=np.ones((T, B, 2)))
    for result in (trace, grads):
        result.save(tmp_path / "a.npz")
        assert gs.load(tmp_path / "a.npz") == result
    assert trace.summary() == "run of lstm+lstm on lstm+lstm: 9 steps, 3 sequences"
    assert trace.table().header[:2] == ("layer", "")
    assert trace.table().rows[0][:2] == ("layers.0.forward", "i")
    assert grads.summary() == "gradients of a run of lstm+lstm on lstm+lstm"
    names = [row[0] for row in grads.table().rows]
    assert names[0] == "layers.0.forward.weight_ih"
    assert names[-5:] == ["inputs", *(f"{name}.initial_state" for name in trace.names)]
    for name in ("layers.0", "layers.1", "layers.0.backward", "layers.00.forward"):
        with pytest.raises(ShapeError, match=r"name the layers from 'layers.0' on"):
            dataclasses.replace(trace, names=(name, *trace.names[1:]))
    with pytest.raises(ShapeError, match=r"names 4 results with 3 names"):
        dataclasses.replace(trace, names=trace.names[1:])
    with pytest.raises(ShapeError, match=r"layers.0.forward is not a Trace over"):
        dataclasses.replace(trace, outputs=trace.outputs[1:])


def test_names_of_traces():
    trace = run_of(MODELS["backward on both"])
    assert trace["layers.-1"] is trace.results[2] is trace["layers.1.backward"]
    for name, message in (
        ("layers.1.forward", r"layers.1 goes backward alone"),
        ("layers.0", "goes both ways; name one: 'layers.0.forward' or 'layers.0.backward'"),
        ("layers.1.f", "names something in a layer; name the layer alone, 'layers.1'"),
        ("layers.2", "is not among the 2"),
        (1, "names no layer"),
    ):
        with pytest.raises(
            UnknownNameError, match=message.replace("is not among", "names a layer that is not among")
        ):
            trace[name]


def test_a_layer_that_overflows_is_named():
    model = random_stack("rnn_relu 5", "rnn_relu 5", outputs=0)
    large = dataclasses.replace(model.layers[0], weight_hh=np.full((5, 5), 1e80))
    model = dataclasses.replace(model, layers=(large, model.layers[1]))
    with pytest.warns(AccuracyWarning) as caught:
        trace = gs.run(model, np.ones((T, 1, 2)))
    assert str(caught[0].message).startswith("layers.0: the states of sequence 0 are not finite from step")
    assert not np.isfinite(trace.outputs[-1]).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"initial_state": np.zeros((B, 2, 5))},
            DtypeError,
            "initial_state is a ndarray; give values by name",
        ),
        ({"initial_state": {"layers.0.h": 1}}, UnknownNameError, "names more than a layer"),
        (
            {"initial_state": {"layers.0": 0, "layers.-2.forward": 0}},
            ValueRangeError,
            "'layers.-2.forward' names twice",
        ),
        (
            {"initial_state": {"layers.1": np.zeros((B, 2, 4))}},
            ShapeError,
            r"initial_state\['layers.1.forward'\] has",
        ),
        ({"clamp": {"q": 1.0}}, UnknownNameError, "is a gate of no layer that can be clamped"),
        ({"clamp": {"layers.0": 1.0}}, UnknownNameError, "clamp names '', which is no gate"),
        ({"clamp": {"layers.0.z": 1.0}}, UnknownNameError, "'z', which is no gate that can be clamped"),
        (
            {"clamp": {"f": 1.0, "layers.0.backward.f": 0.5}},
            ValueRangeError,
            "'layers.0.backward.f' names twice",
        ),
        ({"clamp": np.ones((4, 5))}, DtypeError, "give values by gate and layer"),
        ({"lengths": [1, 2]}, ShapeError, "lengths has shape"),
    ],
)
def test_what_a_run_refuses(options, error, message):
    with pytest.raises(error, match=message):
        gs.run(MODELS["both ways"], INPUTS, **options)


def test_a_read_out_that_is_not_finite_is_refused():
    model = MODELS["both ways"]
    model = dataclasses.replace(model, readout_bias=np.array([0.0, np.nan]))
    with pytest.raises(ValueRangeError, match=r"params.readout_bias\[1\] is nan"):
        gs.run(model, INPUTS)


def test_a_weight_that_is_not_finite_is_named_with_its_layer():
    model = MODELS["both ways"]
    layer = model.layers[0]
    weight = layer.backward.weight_hh.copy()
    weight[2, 1] = np.nan
    torn = dataclasses.replace(layer, backward=dataclasses.replace(layer.backward, weight_hh=weight))
    model = dataclasses.replace(model, layers=(torn, *model.layers[1:]))
    message = r"^weight_hh\[2, 1\] is nan, in layers\.0\.backward; remove or replace"
    for refused in (
        lambda: gs.run(model, INPUTS),
        lambda: gs.clamp(model, {"layers.0.forward.z": 0.5}),
        lambda: gs.gradient_flow(model, INPUTS),
        lambda: gs.saturation(gs.run(model, INPUTS)),
    ):
        with pytest.raises(ValueRangeError, match=message):
            refused()
    with pytest.raises(ValueRangeError, match=r"^weight_hh\[2, 1\] is nan; remove"):
        gs.run(torn.backward, INPUTS)


def test_what_gradients_refuse():
    model = MODELS["both ways"]
    trace = run_of(model)
    adjoint = np.ones((T, B, 2))
    with pytest.raises(ShapeError, match="both left out"):
        gs.backprop(model, trace)
    with pytest.raises(ShapeError, match=r"output_adjoint has shape \(9, 3, 3\).*\(T, B, O\)"):
        gs.backprop(model, trace, output_adjoint=np.ones((T, B, 3)))
    with pytest.raises(ValueRangeError, match=r"output_adjoint\[0, 0, 0\] is nan"):
        gs.backprop(model, trace, output_adjoint=np.full((T, B, 2), np.nan))
    with pytest.raises(DtypeError, match="trace is a Trace; give what run"):
        gs.backprop(model, trace["layers.0.forward"], output_adjoint=adjoint)
    with pytest.raises(ShapeError, match=r"is of layers.0.forward, layers.0.backward"):
        gs.backprop(MODELS["three layers"], trace, output_adjoint=adjoint)


def test_a_trace_that_is_tampered_with_is_no_file(tmp_path):
    trace = run_of(MODELS["three layers"])
    trace.save(tmp_path / "a.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    arrays["outputs"] = arrays["outputs"][1:]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FileFormatError, match="damaged"):
        gs.load(tmp_path / "a.npz")
