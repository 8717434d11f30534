"""Whole models against files that PyTorch made (golden/make_training.py): loss, gradient, ten updates of Adam."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.model_cases import HEADS, assert_vectors_close, make_stack

import gatescope as gs
from gatescope.training.arrays import as_data
from gatescope.training.clipping import Clip
from gatescope.training.engine import Engine
from gatescope.training.optimizers import Adam

FILES = sorted((Path(__file__).parents[1] / "golden" / "training").glob("*.npz"))

# As in test_against_torch.py.
LOSS = 1e-12
GRADIENT = 1e-11
WEIGHTS = 1e-9


def read(path):
    """Return the stack, the batch, and everything in the file."""
    with np.load(path) as archive:
        file = SimpleNamespace(**{name: archive[name] for name in archive.files})
    stack = make_stack(tuple(map(str, file.cells)), tuple(map(int, file.hidden_sizes)))
    batch = gs.Batch(
        inputs=file.inputs.astype(np.float64),
        targets=file.targets.astype(np.float64),
        mask=file.mask,
        lengths=file.lengths,
        heads=HEADS,
    )
    return stack.with_flat(file.theta.astype(np.float64)), batch, file


def test_there_are_golden_files():
    assert [path.stem for path in FILES] == ["gru_reset_before_lstm", "lstm_gru_rnn"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path):
    stack, batch, file = read(path)
    steps, sequences = batch.inputs.shape[:2]
    engine, data = Engine(stack, steps=steps, sequences=sequences), as_data(batch, stack)
    adam, clip = Adam(), Clip(norm=float(file.clip))
    state = adam.state(engine.theta.size, engine.theta.dtype)
    for update in range(int(file.updates)):
        score = engine.back(data, update)
        if update == 0:
            np.testing.assert_allclose(score.loss, file.loss, rtol=LOSS)
            np.testing.assert_allclose(score.head_loss, file.head_loss, rtol=LOSS)
            assert_vectors_close(stack, engine.gradient, file.gradient, GRADIENT)
        clip.apply(engine.gradient, engine.sizes)
        adam.update(engine.theta, engine.gradient, state, update + 1, float(file.lr))
    assert_vectors_close(stack, engine.theta, file.trained, WEIGHTS)
