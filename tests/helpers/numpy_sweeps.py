"""The sweeps in NumPy, by a cell's own Python: any cell, slowly, and with nothing to compile."""

import numpy as np

from helpers import cases


class NumpySweeps:
    """Run a cell forward and back; arrays have the shapes of `run` and `backprop`."""

    def __init__(self, cell, params, dtype=np.float64):
        self.cell, self.dtype = cell, np.dtype(dtype)
        self.first = cell.prepared or len(
            cell.gates
        )  # gates whose recurrent weights multiply the first state
        weights = (np.asarray(params.arrays()[name], self.dtype) for name in cases.PARAMS)
        self.W, self.R, self.b, self.d = (np.split(value, len(cell.gates)) for value in weights)

    def _recurrent(self, vector, gates):
        return [vector @ self.R[g].T + self.d[g] for g in gates]

    def _step(self, x, states):
        cell, count = self.cell, len(self.cell.gates)
        wx = [x @ W.T + b for W, b in zip(self.W, self.b, strict=True)]
        rh = self._recurrent(states[0], range(self.first))
        if not cell.prepared:
            return cell.step(wx, rh, states)
        prepared = cell.prepare(wx[: self.first], rh, states)
        rh = self._recurrent(cell.operand(prepared, states), range(self.first, count))
        return cell.step(wx[self.first :], rh, states, prepared)

    def forward(self, inputs, initial_state, lengths=None):
        """Return states and gates; past the end of a sequence its state stays, and its gates are 0."""
        T, B, _ = inputs.shape
        _, S, H = initial_state.shape
        states, gates = (
            np.empty((T + 1, B, S, H), self.dtype),
            np.zeros((T, B, len(self.cell.saved), H), self.dtype),
        )
        states[0] = initial_state
        for t in range(T):
            new, saved = self._step(inputs[t], tuple(states[t].swapaxes(0, 1)))
            running = np.full(B, True) if lengths is None else t < np.asarray(lengths)
            states[t + 1] = np.where(running[:, None, None], np.stack(new, axis=1), states[t])
            if saved:
                gates[t] = np.where(running[:, None, None], np.stack(saved, axis=1), 0)
        return states, gates

    def step_back(self, old, new, gates, adjoint):
        """Carry adjoints (B, M, S, H) one step back, over states (B, S, H) and gates (B, K, H).

        Returns the adjoints of the old states, and those of the two sets of pre-activations, [gate] (B, M, H).
        """
        cell = self.cell

        def one_for_all_rows(array):
            return tuple(np.asarray(array, self.dtype).swapaxes(0, 1)[:, :, None])

        saved, before = one_for_all_rows(gates), one_for_all_rows(old)
        d_wx, d_rh, back, *d_prepared = cell.step_vjp(
            saved, before, one_for_all_rows(new), tuple(np.moveaxis(adjoint, 2, 0))
        )
        if cell.prepared:
            d_operand = sum(d @ R for d, R in zip(d_rh, self.R[self.first :], strict=True))
            wx, rh, more = cell.prepare_vjp(saved, before, d_operand, *d_prepared)
            d_wx, d_rh = (*wx, *d_wx), (*rh, *d_rh)
            back = tuple(a + b for a, b in zip(back, more, strict=True))
        direct = back[0] + sum(d @ R for d, R in zip(d_rh[: self.first], self.R[: self.first], strict=True))
        return np.stack([direct, *back[1:]], axis=2), d_wx, d_rh

    def backward(self, inputs, states, gates, output_adjoint, final_adjoint, lengths=None):
        """Return gradients by the names of `naive.backward`; without adjoints of outputs or of the end: None."""
        T, B, _ = inputs.shape
        cell, G = self.cell, len(self.cell.gates)
        adjoint, d_inputs = np.zeros(states.shape, self.dtype), np.zeros(inputs.shape, self.dtype)
        dW, dR = np.zeros_like(np.stack(self.W)), np.zeros_like(np.stack(self.R))
        db, dd = np.zeros_like(np.stack(self.b)), np.zeros_like(np.stack(self.d))
        if final_adjoint is not None:
            adjoint[:] = final_adjoint
        for t in reversed(range(T)):
            if output_adjoint is not None:
                running = np.full(B, True) if lengths is None else t < np.asarray(lengths)
                adjoint[t + 1, running, 0] += output_adjoint[t, running]
            back, d_wx, d_rh = self.step_back(states[t], states[t + 1], gates[t], adjoint[t + 1][:, None])
            ended = np.zeros(B, bool) if lengths is None else t >= np.asarray(lengths)
            adjoint[t] = np.where(ended[:, None, None], adjoint[t + 1], back[:, 0])
            before = tuple(np.asarray(states[t], self.dtype).swapaxes(0, 1))
            vectors = [before[0]] * G
            if cell.prepared:
                prepared = tuple(np.asarray(gates[t], self.dtype).swapaxes(0, 1)[: cell.prepared])
                vectors[self.first :] = [cell.operand(prepared, before)] * (G - self.first)
            for g in range(G):
                at_wx, at_rh = (np.where(ended[:, None], 0, d[g][:, 0]) for d in (d_wx, d_rh))
                d_inputs[t] += at_wx @ self.W[g]
                dW[g] += at_wx.T @ inputs[t]
                dR[g] += at_rh.T @ vectors[g]
                db[g] += at_wx.sum(0)
                dd[g] += at_rh.sum(0)
        sums = (np.concatenate(array) for array in (dW, dR, db, dd))
        return {
            **dict(zip(cases.PARAMS, sums, strict=True)),
            "inputs": d_inputs,
            "initial_state": adjoint[0],
            "adjoint": adjoint,
        }


class NumpyAdjoints:
    """What the kernels' `Adjoints` do, with directions (B, M, S, H) that are rescaled at every step."""

    def __init__(self, sweeps, directions):
        self.sweeps, self.current = sweeps, np.asarray(directions, np.float64)
        self.powers = np.zeros(self.current.shape[:2], np.int64)

    def back(self, states, gates, start, stop, *, record=True):
        """Return log-norms (stop - start, B, M, S), the step before `stop` first; None if not asked for."""
        norms = []
        for t in reversed(range(start, stop)):
            self.current, _, _ = self.sweeps.step_back(states[t], states[t + 1], gates[t], self.current)
            change = np.frexp(np.abs(self.current).max(axis=(2, 3)))[1]
            self.current = np.ldexp(self.current, -change[:, :, None, None])
            self.powers += change
            with np.errstate(divide="ignore"):
                norms.append(np.log(np.linalg.norm(self.current, axis=3)))
            norms[-1] += self.powers[:, :, None] * np.log(2.0)
        return np.stack(norms) if record else None

    def matrices(self):
        """Return the adjoints, and one power of two (B,) to multiply all of a sequence's by."""
        alive = self.current.any(axis=(2, 3))
        whole = np.where(alive, self.powers, self.powers.min()).max(axis=1)
        shift = np.where(alive, self.powers - whole[:, None], 0)
        return np.ldexp(self.current, shift[:, :, None, None]), whole
