"""The sweeps for the tests: launch plans with given numbers, NumPy arrays in and out, two cells of their own."""

from dataclasses import replace
from types import SimpleNamespace

import naive
import numpy as np
from numba.extending import register_jitable

import gatescope as gs
from gatescope.cells.activations import complement, sigmoid, tanh, zero
from gatescope.kernels.cpu import sweeps as cpu
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.kernels.cuda import adjoints as cuda_adjoints
from gatescope.kernels.cuda import launch_plan
from gatescope.kernels.cuda import sweeps as cuda
from helpers import cases
from helpers.leaky import Leaky
from helpers.numpy_sweeps import NumpyAdjoints, NumpySweeps

# Every two sweeps differ in the order of their additions.  float32: H = 33 terms of some units in the last place.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
BUILT_IN = cases.BUILT_IN


class TwoPhases:
    """Two phases, two states, both of which the first phase reads, and fewer saved values and states than gates.

    r = sigmoid(W_r x + R_r h + m), v = r h - m, n = tanh(W_n x + R_n v), l = W_l x - R_l v, m' = r m + (1 - r) n,
    h' = m' + l.
    """

    NAME = "two_phases_gpu_test"
    GATES = ("r", "n", "l")
    STATES = ("h", "m")
    SAVED = ("r", "n")
    PREPARED = 1

    @staticmethod
    @register_jitable
    def prepare(wx, rh, states):
        return (sigmoid(wx[0] + rh[0] + states[1]),)

    @staticmethod
    @register_jitable
    def operand(prepared, states):
        return prepared[0] * states[0] - states[1]

    @staticmethod
    @register_jitable
    def step(wx, rh, states, prepared):
        r, n = prepared[0], tanh(wx[0] + rh[0])
        m = r * states[1] + complement(r) * n
        return (m + (wx[1] - rh[1]), m), (r, n)

    @staticmethod
    @register_jitable
    def step_vjp(saved, states, new_states, adjoint):
        r, n = saved
        d_l = adjoint[0]
        d_m = adjoint[1] + d_l
        d_n = d_m * complement(r) * complement(n * n)
        return (d_n, d_l), (d_n, zero(d_l) - d_l), (zero(d_l), d_m * r), (d_m * (states[1] - n),)

    @staticmethod
    @register_jitable
    def prepare_vjp(saved, states, d_operand, d_prepared):
        r = saved[0]
        d_pre = ((d_prepared[0] + d_operand * states[0]) * r * complement(r),)
        return d_pre, d_pre, (d_operand * r, d_pre[0] - d_operand)


OWN = {"leaky": Leaky, "two_phases": TwoPhases}
CELLS = (*BUILT_IN, *OWN)


def cell_named(name):
    """Return a cell of `CELLS`; registered here and not on import: other tests are parametrised over the registry."""
    return gs.cells.register(OWN[name]) if name in OWN else gs.cells.get(name)


def make_launch_plan(
    cell, hidden, dtype, backward, properties, *, blocks=1, together=1, parts=4, sequences=1, registers=None,
    shared=None,
):  # fmt: skip
    """Make a launch plan with these numbers; registers, shared: at most so many of a slice's weights there."""
    dtype = np.dtype(dtype)
    first = cell.prepared or len(cell.gates)
    second = len(cell.gates) - first
    if backward:
        lengths, widths = (first * hidden, second * hidden), (1, 1 if second else 0)
    else:
        lengths, widths, together = (hidden, hidden if second else 0), (first, second), 1
    assert sequences * together <= parts, "each thread holds one unit of one sequence"
    units = -(-hidden // (blocks * together)) * together
    assert (blocks - 1) * units < hidden, "a block without units"
    threads = -(-units // together * parts // 32) * 32
    made = launch_plan._fill(
        lengths, widths, units, blocks, together, parts, threads, sequences, dtype.itemsize, properties
    )
    assert made is not None, "not even the vectors fit"

    def split(tile):
        quantum = tile.quantum
        in_registers = tile.registers if registers is None else min(registers * quantum, tile.slice)
        in_shared = tile.slice - in_registers
        if shared is not None:
            in_shared = min(shared * quantum, in_shared)
        return replace(
            tile, registers=in_registers, shared=in_shared, streamed=tile.slice - in_registers - in_shared
        )

    if registers is None and shared is None:
        return made
    return replace(made, first=split(made.first), second=split(made.second))


def force(monkeypatch, **numbers):
    """Have the host side take launch plans with these numbers, whatever is cheapest."""

    def chosen(cell, hidden, dtype, rows, backward, properties):
        return make_launch_plan(cell, hidden, dtype, backward, properties, **numbers)

    monkeypatch.setattr(cuda, "choose", chosen)


def _view(matrix):
    flat = matrix.array[matrix.offset :]
    strides = (matrix.step * flat.itemsize, flat.itemsize)
    return np.lib.stride_tricks.as_strided(flat, (matrix.rows, matrix.cols), strides)


def _put(out, value, accumulate=False):
    _view(out)[...] = _view(out) + value if accumulate else value


def _in_order(a, b):
    """Return A @ b, each element the same bits whatever the others are: BLAS does not promise that."""
    total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for k in range(a.shape[1]):
        total += a[:, k : k + 1] * b[k]
    return total


def without_products(monkeypatch):
    """Have NumPy do the dense products: emulated they take most of the time, and they have their own tests."""

    def affine(backend, x, weight, bias, out):
        _put(out, _in_order(_view(x), _view(weight).T) + _view(bias))

    def product(backend, a, b, out):
        _put(out, _in_order(_view(a), _view(b)))

    def weight_gradient(backend, a, b, out, accumulate=False):
        _put(out, _in_order(_view(a).T, _view(b)), accumulate)

    def column_sums(backend, a, out, accumulate=False):
        _put(out, _view(a).sum(0), accumulate)

    for stand_in in (affine, product, weight_gradient, column_sums):
        monkeypatch.setattr(cuda, stand_in.__name__, stand_in)


class Sweeps:
    """One case on one backend."""

    def __init__(self, gpu, cell, dtype="float64", *, T=5, B=3, I=2, H=7, seed=0, scale=1.0):
        self.gpu, self.cell = gpu, cell_named(cell)
        self.case = cases.Case(self.cell.name, T=T, B=B, I=I, H=H, seed=seed, dtype=dtype, scale=scale)
        self.dtype, self.shape = np.dtype(dtype), (T, B, I, H)
        self.params = self.case.params
        self.plan = cuda.plan_for(self.cell, H, self.dtype)

    def weights(self):
        return cuda.Weights(*(self.gpu.to_device(self.params.arrays()[name]) for name in cases.PARAMS))

    def lengths(self, lengths=None):
        T, B = self.shape[:2]
        return np.full(B, T) if lengths is None else np.array(lengths, np.int64)

    def forward(self, lengths=None, **options):
        """(states, gates)."""
        T, B, _, H = self.shape
        gpu, S, K = self.gpu, len(self.cell.states), len(self.cell.saved)
        states = np.full((T + 1, B, S, H), np.nan, self.dtype)
        states[0] = self.case.initial_state
        states = gpu.to_device(states)
        gates = gpu.empty((T, B, K, H), self.dtype)
        arrays = gpu.to_device(self.case.inputs), states, gates, gpu.to_device(self.lengths(lengths))
        cuda.forward(self.plan, self.weights(), *arrays, **options)
        return gpu.to_host(states), gpu.to_host(gates) if K else np.empty((T, B, K, H), self.dtype)

    def backward(self, trace, lengths=None, *, cotangents=True, final=True, **options):
        """Gradients by the names of `naive.backward`, from a trace of the CPU."""
        gpu = self.gpu
        T, B, I, _ = self.shape
        adjoint = np.full(trace.states.shape, np.nan, self.dtype)
        adjoint[T] = self.case.final_adjoint if final else 0
        adjoint, d_inputs = gpu.to_device(adjoint), gpu.empty((T, B, I), self.dtype)
        cotangents = gpu.to_device(self.case.output_adjoint) if cotangents else None
        arrays = tuple(gpu.to_device(np.asarray(a)) for a in (self.case.inputs, trace.states, trace.gates))
        lengths = gpu.to_device(self.lengths(lengths))
        sums = cuda.backward(
            self.plan, self.weights(), arrays, lengths, cotangents, adjoint, d_inputs, **options
        )
        gradients = {name: gpu.to_host(value) for name, value in zip(cases.PARAMS, sums, strict=True)}
        gradients |= {"inputs": gpu.to_host(d_inputs), "adjoint": gpu.to_host(adjoint)}
        return gradients | {"initial_state": gradients["adjoint"][0]}

    def traced(self, lengths=None):
        """Return the forward sweep's own trace."""
        states, gates = self.forward(lengths)
        return SimpleNamespace(states=states, gates=gates)

    def expected_trace(self, lengths=None):
        """Return the states and gates that are right: by the slow oracle, or NumPy for cells that it does not know."""
        case, saved = self.case, self.cell.saved
        if self.cell.name in naive.STATES:
            states, by_name = naive.forward(
                self.cell.name, self.params, case.inputs, case.initial_state, lengths
            )
            empty = np.empty((*self.shape[:2], 0, self.shape[3]))
            gates = np.stack([by_name[name] for name in saved], axis=2) if saved else empty
        else:
            sweeps = NumpySweeps(self.cell, self.params)
            states, gates = sweeps.forward(case.inputs, case.initial_state, lengths)
        return SimpleNamespace(states=states.astype(self.dtype), gates=gates.astype(self.dtype))

    def expected(self, lengths=None, *, cotangents=True, final=True):
        """Return the trace and the gradients that are right, as `expected_trace` does."""
        case, trace = self.case, self.expected_trace(lengths)
        adjoints = case.output_adjoint if cotangents else None, case.final_adjoint if final else None
        if self.cell.name in naive.STATES:
            arguments = self.cell.name, self.params, case.inputs, *adjoints, case.initial_state, lengths
            return trace, naive.backward(*arguments)
        sweeps = NumpySweeps(self.cell, self.params)
        return trace, sweeps.backward(case.inputs, trace.states, trace.gates, *adjoints, lengths)

    def adjoints(self, directions):
        return cuda_adjoints.Adjoints(self.plan, self.weights(), directions)

    def expected_adjoints(self, directions):
        return NumpyAdjoints(NumpySweeps(self.cell, self.params), directions)

    def on_cpu(self, lengths=None):
        """Return the trace and the gradients of the CPU's kernels, which take seconds to compile."""
        trace = self.case.run(lengths)
        return trace, cases.flat(self.case.backprop(trace))

    def adjoints_on_cpu(self, directions):
        plan = cpu.plan_for(self.cell, self.shape[3], self.dtype)
        return Adjoints(plan, self.params, np.ascontiguousarray(directions, self.dtype), 1)


# What the kernels are compiled for.  Multiprocessors and shared memory of a Tesla T4, an A100, an H100 and a B200.
CHIPS = {
    (7, 5): launch_plan.DeviceProperties(40, 65_536 - 1024),
    (8, 0): launch_plan.DeviceProperties(108, 166_912 - 1024),
    (9, 0): launch_plan.DeviceProperties(132, 232_448 - 1024),
    (10, 0): launch_plan.DeviceProperties(148, 232_448 - 1024),
}


def signature_of(kind, dtype):
    """Types that the host side gives to a kernel: "forward", "backward", "flow" or "pack"."""
    from numba import from_dtype, types

    x = from_dtype(np.dtype(dtype))[::1]
    i64, i32, u64 = types.int64, types.int32, types.uint64
    if kind == "pack":
        return types.void(x, x)
    if kind == "forward":
        return types.void(*[x] * 6, i64[::1], u64[::1], *[i64] * 4)
    return types.void(*[x] * 5, i64[::1], x, x, i32[::1], i32[::1], *[x] * 3, u64[::1], *[i64] * 8)


def make_kernel(kind, cell, hidden, dtype, chosen, fast_activations=False):
    """Return the kernel as `kernels.cuda` makes it."""
    from gatescope.kernels.cuda.backward import make_backward
    from gatescope.kernels.cuda.forward import make_forward
    from gatescope.kernels.cuda.matvec import make_pack

    dtype = np.dtype(dtype)
    if kind == "pack":
        return make_pack(chosen.first, chosen.blocks, chosen.units, chosen.together, hidden, 0, False, dtype)
    if kind == "forward":
        saved, states, gates = len(cell.saved), len(cell.states), len(cell.gates)
        row = next((count for count in (saved, states) if count >= gates), gates)
        return make_forward(cell, hidden, dtype, chosen, row, fast_activations)
    return make_backward(cell, hidden, dtype, chosen, kind == "flow", fast_activations)
