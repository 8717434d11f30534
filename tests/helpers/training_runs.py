"""Training runs made by hand, so that the plots are tested without training anything."""

import numpy as np

from gatescope.datatypes import Head, Params
from gatescope.datatypes.stack import Stack
from gatescope.datatypes.training_run import History, Status, TrainingRun

GATES = {"rnn": ("n",), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}


def make_stack(cells=("lstm",), hidden_size=2, dtype="float32"):
    """Return a model of zeros; a cell that is not known has two gates."""
    layers, width = [], 1
    for cell in cells:
        gates = GATES.get(cell, ("a", "b"))
        rows = len(gates) * hidden_size
        layers.append(
            Params(
                cell=cell,
                weight_ih=np.zeros((rows, width), dtype),
                weight_hh=np.zeros((rows, hidden_size), dtype),
                bias_ih=np.zeros(rows, dtype),
                bias_hh=np.zeros(rows, dtype),
            )
        )
        width = hidden_size
    return Stack(
        layers=tuple(layers),
        readout_weight=np.zeros((1, width), dtype),
        readout_bias=np.zeros(1, dtype),
        heads=(Head("y", 1),),
    )


def make_run(
    cells=("lstm",),
    epochs=20,
    *,
    seed=0,
    loss=None,
    status="finished",
    validate_every=None,
    probe_every=None,
    half_life=None,
    config=None,
    message="",
):
    """Return a run whose loss falls exponentially from about 1, unless one is given."""
    rng = np.random.default_rng(seed)
    cells = (cells,) if isinstance(cells, str) else tuple(cells)
    epoch = np.arange(1, epochs + 1, dtype=np.int64)
    if loss is None:
        loss = np.exp(-3 * epoch / max(epochs, 1)) * rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, epochs)
    loss = np.asarray(loss, np.float64)
    judged = epoch[validate_every - 1 :: validate_every] if validate_every else epoch[:0]
    probes = np.arange(0, epochs + 1, probe_every) if probe_every else np.zeros(0, np.int64)
    if half_life is None:
        half_life = rng.uniform(5, 50, (probes.size, len(cells)))
    half_life = np.asarray(half_life, np.float64).reshape(probes.size, len(cells))
    norm = rng.uniform(0.5, 2, epochs)
    with np.errstate(divide="ignore"):
        rate = np.log(2) / half_life
    history = History(
        epoch=epoch,
        loss=loss,
        head_loss=loss[:, None],
        accuracy=np.full(epochs, np.nan),
        gradient_norm=norm,
        largest_gradient_norm=norm * rng.uniform(1, 3, epochs),
        clipped=np.mean(rng.uniform(size=(epochs, 10)) < 0.4, axis=1),
        learning_rate=np.full(epochs, 1e-3),
        updates=epoch * 10,
        validation_epoch=judged,
        validation_loss=1.3 * loss[judged - 1],
        validation_accuracy=np.full(judged.size, np.nan),
        probe_epoch=probes,
        decay_rate=rate,
        half_life=half_life,
        saturation=np.zeros((probes.size, len(cells), 4, 2)),
        seconds=np.zeros(epochs),
    )
    stack = make_stack(cells)
    return TrainingRun(
        model=stack,
        best=stack,
        best_epoch=0,
        history=history,
        status=Status(status),
        message=message,
        config={"clip_norm": 1.0} if config is None else config,
        seed=seed,
        snapshot_epoch=np.zeros(0, np.int64),
        snapshots=np.zeros((0, stack.size), np.float32),
    )
