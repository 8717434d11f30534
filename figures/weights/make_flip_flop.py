"""Train the LSTM of the 3-bit flip-flop and store its weights beside this script, as flip_flop.npz.

    python figures/weights/make_flip_flop.py

Three inputs get pulses of +1 and -1 at random steps; the read-out of each channel shall be the sign of its last pulse,
so the network has eight things to remember: the corners of a cube (Sussillo and Barak, Neural Computation 25 (2013)).
It takes about ten seconds of one core, and ends at a mean square error of 1.3e-4.  Another machine may round
differently and train other weights; what the tests say of them should hold all the same.

The file holds the weights as float32, `readout` (3, H) and `readout_bias` (3,).
"""

from pathlib import Path

import numpy as np

import gatescope as gs
from gatescope.storage.npz import write_npz

HERE = Path(__file__).parent
CHANNELS, HIDDEN_SIZE = 3, 24
STEPS, BATCH, UPDATES = 120, 32, 3000
PULSE = 0.06  # probability of a pulse, a step and channel
SEED = 0
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def pulses(rng, steps, batch):
    """Return inputs (T, B, 3), and targets (T, B, 3): the sign of the last pulse, after one at the first step."""
    inputs = rng.choice([-1.0, 0.0, 1.0], (steps, batch, CHANNELS), p=[PULSE / 2, 1 - PULSE, PULSE / 2])
    inputs[0] = rng.choice([-1.0, 1.0], (batch, CHANNELS))
    targets = inputs.copy()
    for t in range(1, steps):
        targets[t] = np.where(inputs[t] == 0, targets[t - 1], inputs[t])
    return inputs, targets


class Adam:
    """Adam (Kingma and Ba, 2015) over a dict of arrays, in place, with the gradient's norm limited to 1."""

    def __init__(self, arrays):
        self.arrays, self.count = arrays, 0
        self.mean = {name: np.zeros_like(value) for name, value in arrays.items()}
        self.square = {name: np.zeros_like(value) for name, value in arrays.items()}

    def update(self, gradients, rate):
        self.count += 1
        norm = np.sqrt(sum((value**2).sum() for value in gradients.values()))
        for name, value in gradients.items():
            gradient = value / max(norm, 1.0)
            self.mean[name] += 0.1 * (gradient - self.mean[name])
            self.square[name] += 0.001 * (gradient**2 - self.square[name])
            mean, square = (
                self.mean[name] / (1 - 0.9**self.count),
                self.square[name] / (1 - 0.999**self.count),
            )
            self.arrays[name] -= rate * mean / (np.sqrt(square) + 1e-8)


def train():
    """Weights by name, and the last mean square error."""
    rng = np.random.default_rng(SEED)
    params = gs.init("lstm", input_size=CHANNELS, hidden_size=HIDDEN_SIZE, seed=SEED, dtype="float64")
    readout = rng.standard_normal((CHANNELS, HIDDEN_SIZE)) / np.sqrt(HIDDEN_SIZE)
    arrays = {name: getattr(params, name) for name in WEIGHTS}
    arrays |= {"readout": readout, "readout_bias": np.zeros(CHANNELS)}
    adam = Adam(arrays)
    for update in range(UPDATES):
        inputs, targets = pulses(rng, STEPS, BATCH)
        trace = gs.run(params, inputs, threads=1)
        error = trace.outputs @ arrays["readout"].T + arrays["readout_bias"] - targets
        d_output = 2 * error / error.size
        grads = gs.backprop(
            params, trace, output_adjoint=np.ascontiguousarray(d_output @ arrays["readout"]), threads=1
        )
        gradients = {name: getattr(grads.params, name) for name in WEIGHTS}
        gradients["readout"] = np.einsum("tbc,tbh->ch", d_output, trace.outputs)
        gradients["readout_bias"] = d_output.sum((0, 1))
        adam.update(gradients, 1e-2 * 0.5 ** (4 * update / UPDATES))
        if update % 500 == 499:
            print(f"update {update + 1}: mean square error {(error**2).mean():.2e}", flush=True)
    return arrays


def main():
    arrays = {name: value.astype(np.float32) for name, value in train().items()}
    write_npz(HERE / "flip_flop.npz", arrays)
    print(f"{HERE / 'flip_flop.npz'}: {(HERE / 'flip_flop.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
