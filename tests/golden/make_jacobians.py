"""Make jacobians/*.npz: what PyTorch's autograd gives in float64 for d s_T / d s_{T-50}, for the tests to compare with.

    python tests/golden/make_jacobians.py

Each file holds what goes in, rounded to float16, which float64 holds exactly: weights, inputs (T, I) and initial_state
(S, H); and `jacobian` (n, n), n = S*H, of the state after the last step with respect to the state LAG steps before,
h first, from torch.autograd.functional.jacobian.  `made_with` states the versions.
"""

import platform
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent / "jacobians"
STEPS, LAG, I, H = 60, 50, 2, 5
GATES = {"lstm": 4, "gru": 3}
STATES = {"lstm": 2, "gru": 1}
PARAMS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def problem_of(cell):
    """Random arrays that go in; gates that stay open, so that the product over 50 steps is not all rounding."""
    rng = np.random.default_rng(7)
    G, scale = GATES[cell], 1.5 / np.sqrt(H)
    arrays = {
        "weight_ih": scale * rng.uniform(-1, 1, (G * H, I)),
        "weight_hh": scale * rng.uniform(-1, 1, (G * H, H)),
        "bias_ih": scale * rng.uniform(-1, 1, G * H),
        "bias_hh": scale * rng.uniform(-1, 1, G * H),
        "inputs": rng.standard_normal((STEPS, I)),
        "initial_state": rng.standard_normal((STATES[cell], H)) / 2,
    }
    arrays["bias_ih"][H : 2 * H] += 3.0  # f of the LSTM, z of the GRU
    return {name: value.astype(np.float16) for name, value in arrays.items()}


def by_torch(cell, arrays):
    """Return the Jacobian (n, n), by autograd."""
    t = {name: torch.tensor(value.astype(np.float64)) for name, value in arrays.items()}
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](I, H).double()
    with torch.no_grad():
        for name in PARAMS:
            getattr(layer, f"{name}_l0").copy_(t[name])

    def advance(inputs, flat):
        state = flat.reshape(STATES[cell], 1, H)
        _, final = layer(inputs[:, None], (state[:1], state[1:]) if cell == "lstm" else state)
        return (torch.cat(final) if cell == "lstm" else final).reshape(-1)

    with torch.no_grad():
        before = advance(t["inputs"][: STEPS - LAG], t["initial_state"].reshape(-1))
    return torch.autograd.functional.jacobian(
        lambda s: advance(t["inputs"][STEPS - LAG :], s), before
    ).numpy()


def main():
    HERE.mkdir(exist_ok=True)
    made_with = f"torch.autograd.functional.jacobian, float64; Python {platform.python_version()}, "
    made_with += f"numpy {np.__version__}, torch {torch.__version__}"
    for cell in GATES:
        arrays = problem_of(cell)
        jacobian = by_torch(cell, arrays)
        path = HERE / f"{cell}.npz"
        np.savez_compressed(path, made_with=made_with, lag=LAG, **arrays, jacobian=jacobian)
        print(f"{path.name}: {path.stat().st_size:,} bytes, singular values {np.linalg.svd(jacobian)[1]}")


if __name__ == "__main__":
    main()
