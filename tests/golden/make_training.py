"""Make training/*.npz: what PyTorch's autograd, Adam and clip_grad_norm_ make of whole models, in float64.

    python tests/golden/make_training.py

Each file holds what goes in, rounded to float16, which float64 holds exactly: `theta` (N,) in the order of
``Stack.flat``, inputs (T, B, I), targets (T, B, C), and mask, lengths, cells, hidden_sizes; and what comes out:
`loss`, `head_loss`, `gradient` (N,), and `trained` (N,), the weights after UPDATES updates of torch.optim.Adam (LR)
with the gradient's norm clipped to CLIP.  The model in PyTorch is tests/training/torch_model.py.  `made_with` states
the versions.
"""

import dataclasses
import platform
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent / "training"
sys.path.insert(0, str(HERE.parents[1]))

from helpers import torch_model  # noqa: E402  (found by the line above)
from helpers.model_cases import make_batch, make_stack  # noqa: E402

MODELS = {
    "lstm_gru_rnn": (("lstm", "gru", "rnn"), (5, 17, 5), "masked"),
    "gru_reset_before_lstm": (("gru_reset_before", "lstm"), (5, 5), "last"),
}
UPDATES, LR, CLIP = 10, 1e-2, 0.3


def adam(weights):
    return torch.optim.Adam(weights, lr=LR)


def main():
    HERE.mkdir(exist_ok=True)
    for name, (cells, sizes, counted) in MODELS.items():
        stack, batch = make_stack(cells, sizes), make_batch(counted)
        theta, inputs, targets = (a.astype(np.float16) for a in (stack.flat(), batch.inputs, batch.targets))
        stack = stack.with_flat(theta.astype(np.float64))
        batch = dataclasses.replace(
            batch, inputs=inputs.astype(np.float64), targets=targets.astype(np.float64)
        )
        weights = torch_model.leaves(stack)
        states = torch_model.zero_states(stack, batch.inputs.shape[1])
        y, _ = torch_model.outputs(cells, weights, batch.inputs, states)
        heads = torch_model.head_losses(stack.heads, y, batch.targets, batch.mask)
        loss = torch_model.loss(stack.heads, y, batch.targets, batch.mask)
        loss.backward()
        data = batch.inputs, batch.targets, batch.mask
        trained = torch_model.train(stack, data, adam, updates=UPDATES, clip_norm=CLIP)
        path = HERE / f"{name}.npz"
        np.savez_compressed(
            path,
            made_with=f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}",
            cells=np.array(cells),
            hidden_sizes=np.array(sizes),
            theta=theta,
            inputs=inputs,
            targets=targets,
            mask=batch.mask,
            lengths=batch.lengths,
            updates=UPDATES,
            lr=LR,
            clip=CLIP,
            loss=loss.detach().numpy(),
            head_loss=np.array([float(h.detach()) for h in heads]),
            gradient=torch_model.gradients(weights),
            trained=trained,
        )
        print(
            f"{path.name}: {path.stat().st_size:,} bytes, {theta.size} weights, loss {float(loss.detach()):.6g}"
        )


if __name__ == "__main__":
    main()
