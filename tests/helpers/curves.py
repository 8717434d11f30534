"""Results of the 20,000-step experiment that are made up, so that what they show is known."""

import numpy as np

from gatescope.datatypes.long_series import LongSeriesResult

SETTINGS = {"lr": 1e-3, "clip_norm": 1.0, "epsilon": 1e-7}


def made(curves, *, cells=("lstm", "gru"), seconds=None, **fields):
    """Return a result with these (C, S, E) curves, of the full size but for seeds and epochs."""
    loss = np.asarray(curves, np.float64)
    shape = loss.shape[:2]
    defaults = {
        "cells": cells,
        "seeds": np.arange(shape[1]),
        "loss": loss,
        "gradient_norm": np.ones_like(loss),
        "clipped": np.zeros_like(loss),
        "status": tuple(("finished",) * shape[1] for _ in cells),
        "steps": 20_000,
        "sequences": 40,
        "lookback": 8,
        "hidden_size": 16,
        "data_seed": 0,
        "baseline": 3.0,
        "settings": SETTINGS,
        "seconds": np.ones(shape) if seconds is None else np.asarray(seconds, np.float64),
    }
    return LongSeriesResult(**{**defaults, **fields})


def as_published(seeds=10, epochs=1000):
    """Curves with the shape that was published: the LSTM lower until 470, then the GRU; spikes of the LSTM from 590."""
    rng = np.random.default_rng(0)
    epoch = np.arange(1, epochs + 1)
    start = 2 + 2.5 * np.exp(-epoch / 12)
    lstm = start - 0.05 - 0.73 * np.clip((epoch - 90) / 910, 0, 1)
    gru = np.where(epoch < 470, start, np.maximum(1.06, lstm - 0.01 * (epoch - 469)))
    curves = np.array([[lstm] * seeds, [gru] * seeds])
    curves *= np.exp(0.05 * rng.standard_normal((1, seeds, 1)) + 0.002 * rng.standard_normal(curves.shape))
    for s in range(seeds):
        for at in range(590 + 10 * s, epochs - 20, 60):
            curves[0, s, at : at + 8] += 0.35 * 0.7 ** np.arange(8)
    return curves
