"""gradient_flow of a stack: through all layers, against explicit products of Jacobians and against torch."""

import dataclasses

import numpy as np
import pytest
from helpers import high_precision
from helpers.stacks import chained, joint_run, offsets, random_stack

import gatescope as gs
from gatescope.errors import DeviceError, DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.measurements.stack_flow import StackFlowRecord
from gatescope.measurements.task_loss import d_loss
from gatescope.training import Engine, as_data

# Roundings of some hundred products of a few terms each, in the log of the norm.
EXACT = {"rtol": 0, "atol": 1e-12}

PAIR = ("lstm", "lstm"), (5, 3)
MIXED = ("gru_reset_before", "rnn", "gru", "lstm"), (5, 3, 7, 4)
STACKS = [
    pytest.param(*PAIR, id="lstm-lstm"),
    pytest.param(*MIXED, marks=pytest.mark.slow, id="four cells"),
]


def inputs_of(steps, batch=None, size=2, seed=0):
    shape = (steps, size) if batch is None else (steps, batch, size)
    return np.random.default_rng(seed).standard_normal(shape)


def log_norms(rows):
    """Return the logs of the largest singular values of matrices (L, M, n), each on a scale of its own."""
    peaks = np.abs(rows).max(axis=(1, 2), keepdims=True)
    with np.errstate(divide="ignore"):
        largest = np.linalg.norm(rows / np.where(peaks > 0, peaks, 1), 2, axis=(1, 2))
        return np.log(largest) + np.log(peaks[:, 0, 0])


@pytest.mark.parametrize(("cells", "sizes"), STACKS)
def test_a_stack_against_products_of_joint_jacobians(cells, sizes):
    """The states of a step are independent: what a change of one makes of later steps, through all layers."""
    stack, x = random_stack(cells, sizes), inputs_of(210)
    (where, size), (_, jacobians) = offsets(stack), joint_run(stack, x)
    of = f"layers.{len(cells) - 1}.h"
    for wrt, columns in [*where.items(), ("joint", slice(0, size))]:
        spectral = [("spectral", range(sizes[-1]))] if wrt == "joint" else []
        for norm, rows in (("unit", [1]), *spectral):
            direction = np.eye(size)[where[of]][list(rows)]
            expected = log_norms(chained(jacobians, direction)[:201, :, columns])
            unit = {"unit": 1} if norm == "unit" else {}
            flow = gs.gradient_flow(stack, x, wrt=wrt, norm=norm, max_lag=200, lags=None, **unit)
            assert (flow.of, flow.wrt) == (of, wrt)
            np.testing.assert_allclose(flow.log_norm[:, 0], expected[flow.lag], **EXACT)
    below = gs.gradient_flow(stack, x, of="layers.0.h", wrt=of, max_lag=20)
    assert (below.log_norm == -np.inf).all()  # nothing goes down


@pytest.mark.parametrize(("cells", "sizes"), STACKS)
def test_total_derivatives_are_those_of_autograd(cells, sizes):
    """`total` lets what is computed from a state at its step follow it: c moves h, and h the layers above."""
    torch = pytest.importorskip("torch")
    from helpers.torch_model import states_over_time

    stack, x = random_stack(cells, sizes, outputs=3), inputs_of(201)
    states, outputs = states_over_time(stack, x[:, None])
    logit = torch.tensor(stack.readout_weight)[2] @ outputs[-1, 0]
    for of, scalar in ((None, outputs[-1, 0, 1]), ("readout.-1", logit)):
        for k, params in enumerate(stack.layers):
            for s, state in enumerate(gs.cells.get(params.cell).states):
                leaves = [states[f"layers.{k}"][t][s] for t in range(1, len(x) + 1)]
                gradients = torch.autograd.grad(scalar, leaves, retain_graph=True, allow_unused=True)
                rows = np.array(
                    [np.zeros(params.hidden_size) if g is None else g.numpy()[0] for g in gradients]
                )
                own = {} if of else {"norm": "unit", "unit": 1}
                flow = gs.gradient_flow(
                    stack, x, of=of, wrt=f"layers.{k}.{state}", total=True, max_lag=200, **own
                )
                np.testing.assert_allclose(flow.log_norm[:, 0], log_norms(rows[::-1, None]), **EXACT)


def test_one_layer_is_as_its_params():
    stack, x = random_stack(("lstm",), (5,)), inputs_of(60)
    (params,) = stack.layers
    for more in ({}, {"total": True}, {"norm": "unit", "unit": 3}):
        flow = gs.gradient_flow(stack, x, wrt="layers.0.c", **more)
        alone = gs.gradient_flow(params, x, wrt="c", **more)
        np.testing.assert_allclose(flow.log_norm, alone.log_norm, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("sequences", [3, pytest.param(37, marks=pytest.mark.slow)])
def test_neither_threads_nor_batch_nor_pieces_change_a_bit(sequences, monkeypatch):
    stack, x = random_stack(*PAIR, outputs=2), inputs_of(90, sequences)
    spectral = [{"norm": "spectral", "lags": [0, 3, 50]}] if sequences > 3 else []
    for more in ({}, *spectral, {"of": "readout.0", "wrt": "joint"}):
        flow = gs.gradient_flow(stack, x, threads=1, **more)
        with monkeypatch.context() as changed:
            changed.setattr(CpuDevice, "piece", lambda *_: 7)
            several = gs.gradient_flow(stack, x, threads=3, **more)
        np.testing.assert_array_equal(several.log_norm, flow.log_norm)
        np.testing.assert_array_equal(several.moved, flow.moved)
    for b in (0, sequences - 1):
        alone = gs.gradient_flow(stack, x[:, b], of="readout.0", wrt="joint")
        np.testing.assert_array_equal(alone.log_norm[:, 0], flow.log_norm[:, b])


def test_padded_sequences_get_what_they_get_alone():
    stack, x, lengths = random_stack(*PAIR, outputs=2), inputs_of(40, 3), [40, 7, 40]
    weights = np.random.default_rng(1).standard_normal((40, 3, 2))
    own = np.random.default_rng(2).standard_normal((3, 3))
    cases = [
        ({}, {}),
        ({"of": own}, {"of": own[1]}),
        ({"loss": lambda y: weights * y}, {"loss": lambda y: weights[:7, 1:2] * y}),
    ]
    for of_all, of_one in cases:
        flow = gs.gradient_flow(stack, x, lengths=lengths, wrt="layers.0.c", **of_all)
        alone = gs.gradient_flow(stack, x[:7, 1], wrt="layers.0.c", **of_one)
        assert flow.source_steps.tolist() == lengths
        np.testing.assert_array_equal(flow.log_norm[:8, 1], alone.log_norm[:, 0])
        assert np.isnan(flow.log_norm[8:, 1]).all()


def test_a_direction_of_ones_own():
    """Over the outputs, over the joint state, one for all sequences or one each; of a cell too."""
    stack, x = random_stack(*PAIR), inputs_of(30, 2)
    (where, size), rng = offsets(stack), np.random.default_rng(3)
    outputs, joint = rng.standard_normal((2, 3)), rng.standard_normal((2, size))
    whole = np.zeros((2, size))
    whole[:, where["layers.1.h"]] = outputs
    for own, directions in ((outputs, whole), (joint, joint), (outputs[0], whole[[0, 0]])):
        flow = gs.gradient_flow(stack, x, of=own, wrt="layers.0.h")
        for b in range(2):
            _, jacobians = joint_run(stack, x[:, b])
            rows = chained(jacobians, directions[b][None])[:, :, where["layers.0.h"]]
            np.testing.assert_allclose(flow.log_norm[:, b], log_norms(rows), **EXACT)
    assert flow.norm == "direction"
    assert flow.table().title.startswith("gradient of a direction of layers.1.h by an earlier layers.0.h")
    params = stack.layers[0]
    own = rng.standard_normal(5)
    flow = gs.gradient_flow(params, x, of=own / np.linalg.norm(own))
    assert flow.cell == "lstm"
    assert flow.of == "a direction of h"
    one = gs.gradient_flow(params, x, of=np.eye(5)[2], wrt="c")
    named = gs.gradient_flow(params, x, norm="unit", unit=2, wrt="c")
    np.testing.assert_allclose(one.log_norm, named.log_norm, rtol=1e-14, atol=1e-14)


def test_the_gradient_of_a_loss():
    """Its lag counts from the last step; what the loss takes of the outputs of a step counts for that step's state."""
    stack, x, T = random_stack(*PAIR, outputs=2), inputs_of(50), 50
    where, size = offsets(stack)
    states, jacobians = joint_run(stack, x)
    weights = np.random.default_rng(4).standard_normal((T, 2)) * np.logspace(0, -30, T)[::-1, None]
    outputs = []

    def loss(y):
        outputs.append(y)
        return weights[:, None]

    flows = {wrt: gs.gradient_flow(stack, x, loss=loss, wrt=wrt) for wrt in (*where, "joint")}
    expected = states[1:, where["layers.1.h"]] @ stack.readout_weight.T + stack.readout_bias
    np.testing.assert_allclose(outputs[0][:, 0], expected, rtol=1e-12)
    direct = np.zeros((T + 1, size))
    direct[1:, where["layers.1.h"]] = weights @ stack.readout_weight
    rows = [direct[T]]
    for t in range(T - 1, -1, -1):
        rows.append(rows[-1] @ jacobians[t] + direct[t])
    for wrt, flow in flows.items():
        columns = slice(0, size) if wrt == "joint" else where[wrt]
        np.testing.assert_allclose(flow.log_norm[:, 0], log_norms(np.array(rows)[:, None, columns]), **EXACT)
        assert (flow.of, flow.source_step, flow.norm) == ("the loss", T, "direction")
        assert "vanishing" not in flow.summary()  # each step adds to it: it has no tail that halves
        assert not [row for row in flow.table().rows if "half" in row[0]]


def test_a_batch_brings_its_loss():
    """The mean of squares over the targets that count, here one a sequence, at its last step."""
    stack = random_stack(*PAIR, outputs=2)
    model = dataclasses.replace(stack, heads=(gs.Head("y", 2),))
    targets, lengths = np.random.default_rng(7).standard_normal((3, 2)), np.array([9, 4, 9])
    batch = gs.Batch(inputs=inputs_of(9, 3), targets=targets, lengths=lengths)

    def loss(y):
        slopes = np.zeros_like(y)
        for b, length in enumerate(lengths):
            slopes[length - 1, b] = 2 * (y[length - 1, b] - targets[b]) / targets.size
        return slopes

    flow = gs.gradient_flow(model, batch, wrt="layers.0.c")
    own = gs.gradient_flow(stack, batch.inputs, lengths=lengths, wrt="layers.0.c", loss=loss)
    np.testing.assert_allclose(flow.log_norm, own.log_norm, rtol=1e-13)
    assert "what all later ones add up to" in flow.summary()
    with pytest.raises(ValueRangeError, match="with a Batch"):
        gs.gradient_flow(model, batch, loss=loss)


@pytest.mark.slow
def test_the_loss_of_a_task():
    """It is the one that training makes small, of each kind of head."""
    heads = [gs.Head("class", 3, "cross_entropy", 0.5), gs.Head("y", 2), gs.Head("p", 2, "bernoulli")]
    sizes = {"input_size": 2, "hidden_size": [5, 3]}
    stack = gs.init_stack(["lstm", "lstm"], **sizes, heads=heads, seed=0, dtype="float64")
    batch = task(heads)
    flow = gs.gradient_flow(stack, batch, wrt="layers.0.c")
    seen = []

    def loss(outputs):
        # What the engine adds up for the read-out's bias and weights is this, over all steps that count.
        data = as_data(batch, stack)
        slopes = d_loss(outputs, heads=heads, targets=data.targets, mask=data.mask)
        engine = Engine(stack, steps=12, sequences=3)
        engine.back(data, update=0)
        np.testing.assert_allclose(engine.gradient[-7:], slopes.sum(axis=(0, 1)), rtol=1e-12)
        seen.append(slopes)
        return slopes

    own = gs.gradient_flow(stack, batch.inputs, lengths=batch.lengths, wrt="layers.0.c", loss=loss)
    assert seen
    np.testing.assert_array_equal(flow.log_norm, own.log_norm)


def task(heads):
    rng = np.random.default_rng(5)
    parts = [
        rng.integers(0, 3, (12, 3, 1)),
        rng.standard_normal((12, 3, 2)),
        rng.integers(0, 2, (12, 3, 2)),
    ]
    more = {"lengths": np.array([12, 5, 12]), "mask": rng.random((12, 3)) < 0.6, "heads": heads}
    return gs.Batch(inputs=inputs_of(12, 3), targets=np.concatenate(parts, axis=2), **more)


def test_clamped_gates_and_states_to_begin_with():
    stack, x = random_stack(*PAIR), inputs_of(40, 2)
    first = np.random.default_rng(6).standard_normal((2, 2, 3))
    flow = gs.gradient_flow(stack, x, clamp={"layers.-1.f": 1.0}, initial_state={"layers.1": first})
    layers = stack.layers[0], gs.clamp(stack.layers[1], {"f": 1.0})
    clamped = dataclasses.replace(stack, layers=layers)
    same = gs.gradient_flow(clamped, x, initial_state={"layers.1": first})
    np.testing.assert_array_equal(flow.log_norm, same.log_norm)
    assert flow.provenance["clamp"] == {"layers.1.f": 1.0}
    assert flow.provenance["layers"] == ["lstm", "lstm"]
    assert not np.array_equal(flow.log_norm, gs.gradient_flow(stack, x).log_norm)
    assert gs.gradient_flow(stack, np.zeros((9, 2)), initial_state="random").moved.all()


def test_an_interrupted_flow_resumes_to_the_same_bits(tmp_path, monkeypatch):
    stack, x = random_stack(*PAIR, outputs=1), inputs_of(60)
    more = {"of": "readout.0", "wrt": "layers.0.h", "resume": tmp_path / "state.npz"}
    monkeypatch.setattr(CpuDevice, "piece", lambda *_: 8)
    flow = gs.gradient_flow(stack, x, **more)
    np.testing.assert_array_equal(
        flow.log_norm, gs.gradient_flow(stack, x, **more | {"resume": None}).log_norm
    )
    pieces, back = [], StackFlowRecord.piece

    def interrupted(record, *arguments):
        pieces.append(arguments)
        if len(pieces) == 4:
            raise KeyboardInterrupt
        back(record, *arguments)

    monkeypatch.setattr(StackFlowRecord, "piece", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gs.gradient_flow(stack, x, **more)
    pieces += [None] * 9
    with pytest.raises(ValueRangeError):
        gs.gradient_flow(stack, x + 1, **more)
    resumed = gs.gradient_flow(stack, x, **more)
    np.testing.assert_array_equal(resumed.log_norm, flow.log_norm)
    assert len(pieces) == 4 + 9 + 5  # three of eight pieces were done


@pytest.mark.slow
def test_saturated_units_of_a_layer_have_their_derivatives():
    """Where rounded activations of the upper layer have lost all digits, and float32 cannot hold its derivatives."""
    stack, x = random_stack(("gru", "lstm"), (2, 3)), inputs_of(5)
    upper = stack.layers[1]
    upper.bias_ih[:] = 0
    upper.bias_ih[3:6] = 45.0  # 1 - f is 3e-20
    upper.bias_ih[6:9] = 40.0
    flow = gs.gradient_flow(stack, x, norm="unit", unit=1, wrt="layers.0.h", of="layers.1.c")
    single, rough = stack.astype("float32"), x.astype("float32")
    fine = gs.gradient_flow(single.astype("float64"), rough.astype("float64"), norm="unit", unit=1)
    again = gs.gradient_flow(single, rough, norm="unit", unit=1)
    assert again.provenance["recomputed"] == "in float64"
    np.testing.assert_array_equal(again.log_norm, fine.log_norm)

    low = [high_precision.exact(np.zeros((1, 2)))]
    for row in x:
        low.append(high_precision.step(stack.layers[0], row, low[-1]))
    states, gradient = [high_precision.exact(np.zeros((2, 3)))], []
    for h in low[1:]:
        states.append(high_precision.step(upper, h[0], states[-1]))
    adjoint = high_precision.exact(np.eye(6)[4])  # of c's second unit, after h
    for t in range(4, -1, -1):
        gradient.append(by_inputs(upper, low[t + 1][0], states[t], adjoint))
        adjoint = adjoint.dot(high_precision.jacobian(upper, low[t + 1][0], states[t]))
    # By way of the lower layer's own recurrence: from its h of lag l to that of each later step.
    jacobians = [high_precision.jacobian(stack.layers[0], x[t], low[t]) for t in range(5)]
    for lag in range(1, 6):
        total = 0
        for later in range(lag):
            row = gradient[later]
            for t in range(4 - later, 4 - lag, -1):
                row = row.dot(jacobians[t])
            total = total + row
        expected = float(high_precision.log_norm(total))
        assert flow.log_norm[lag, 0] == pytest.approx(expected, abs=1e-9)


def by_inputs(params, x, state, adjoint):
    """Return adjoint (S*H,) of a step's new state as one of its inputs (I,), by differences of high precision."""
    small, base = high_precision.CONTEXT.mpf(10) ** -60, high_precision.step(params, x, state).reshape(-1)
    columns = []
    for unit in np.eye(len(x)):
        moved = high_precision.step(params, high_precision.exact(x) + small * unit, state).reshape(-1)
        columns.append(adjoint.dot((moved - base) / small))
    return np.array(columns, dtype=object)


@pytest.mark.parametrize(
    ("more", "error", "match"),
    [
        ({"device": "cuda"}, DeviceError, "several layers.*choose `device` 'cpu'"),
        ({"of": "layers.2.h"}, UnknownNameError, "among the 2"),
        ({"wrt": "layers.0.f"}, UnknownNameError, "layers.0.h"),
        ({"wrt": "h"}, UnknownNameError, "names no layer"),
        ({"of": "readout.5"}, UnknownNameError, "readout.1"),
        ({"of": np.ones(4)}, ShapeError, "3 numbers"),
        ({"of": np.ones((2, 3))}, ShapeError, "1 sequence"),
        ({"of": "readout.0", "norm": "spectral"}, ValueRangeError, "direction"),
        ({"of": "layers.0.h", "loss": lambda y: y}, ValueRangeError, "loss"),
        ({"loss": lambda y: y[:, :, :1]}, ShapeError, r"\(T, B, O\)"),
        ({"loss": 3}, DtypeError, "function"),
        ({"loss": lambda outputs, targets: outputs}, DtypeError, r"cannot be called with loss\(outputs\)"),
        ({"initial_state": {"layers.0.h": np.zeros((1, 2, 5))}}, UnknownNameError, "layers.0"),
        ({"clamp": {"layers.0.x": 1.0}}, UnknownNameError, "clamp"),
    ],
)
def test_what_cannot_be_is_refused(more, error, match, monkeypatch):
    monkeypatch.setattr("gatescope.kernels.device.check_device", lambda device: device)
    with pytest.raises(error, match=match):
        gs.gradient_flow(random_stack(*PAIR, outputs=2), inputs_of(8), **more)


def test_states_of_a_layer_that_stop_being_finite(monkeypatch):
    """They grow eightfold a step: beyond float64 after 342, in the lower or in the upper layer."""
    one = np.ones((1, 1))
    layers = [
        gs.Params(cell="rnn_relu", weight_ih=one, weight_hh=one * g, bias_ih=one[0] * 0, bias_hh=one[0] * 0)
        for g in (8.0, 0.5)
    ]
    x = np.zeros((400, 2, 1))
    x[19, 1] = 1
    monkeypatch.setattr(CpuDevice, "piece", lambda *_: 16)
    for stack in (gs.Stack(layers=tuple(layers)), gs.Stack(layers=tuple(layers[::-1]))):
        for threads in (1, 2):
            with pytest.raises(ValueRangeError, match="sequence 1 are not finite from step 362 on"):
                gs.gradient_flow(stack, x, threads=threads)
