"""Results made by hand, so that the plots are tested without running a cell."""

import numpy as np

from gatescope.datatypes import GradientFlow, Trace
from gatescope.datatypes.connectivity import Connectivity
from gatescope.datatypes.gradient_paths import GradientPaths

SAVED = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n", "q"), "rnn": (), "leaky": ("a", "n")}
RANGES = {"q": None, "g": (-1.0, 1.0), "n": (-1.0, 1.0)}  # of the others: (0, 1)
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn": ("h",), "leaky": ("h",)}


def make_trace(cell="lstm", steps=50, batch=2, hidden_size=6, *, lengths=None, seed=0):
    """Return a trace of random values in each gate's range; past a sequence's end gates are 0, as in `run`."""
    rng = np.random.default_rng(seed)
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    saved, states = SAVED[cell], STATES[cell]
    gates = rng.uniform(0, 1, (steps, batch, len(saved), hidden_size))
    for k, name in enumerate(saved):
        if name in ("g", "n", "q"):
            gates[:, :, k] = 2 * gates[:, :, k] - 1
    gates *= (np.arange(steps)[:, None] < lengths)[:, :, None, None]
    return Trace(
        cell=cell,
        inputs=np.zeros((steps, batch, 1)),
        states=rng.uniform(-1, 1, (steps + 1, batch, len(states), hidden_size)),
        gates=gates,
        lengths=lengths.astype(np.int64),
        state_names=states,
        gate_names=saved,
        gate_ranges=tuple(RANGES.get(name, (0.0, 1.0)) for name in saved),
    )


def make_flow(cell="lstm", rate=0.1, lags=101, batch=1, *, zero_after=None, of="h", wrt="h"):
    """Return an exact exponential decay, in nats; the sequences' rates are 1, 2, ... times `rate`."""
    lag = np.arange(lags, dtype=np.int64)
    log_norm = -rate * lag[:, None] * np.arange(1.0, batch + 1)
    if zero_after is not None:
        log_norm[lag > zero_after] = -np.inf
    return GradientFlow(
        cell=cell,
        lag=lag,
        log_norm=log_norm,
        of=of,
        wrt=wrt,
        source_step=lags - 1,
        norm="spectral",
    )


def legend_lines(ax):
    """Return the lines that have an entry in a legend: data, not helping lines."""
    return [line for line in ax.lines if not line.get_label().startswith("_")]


def make_paths(cell="lstm", lags=101, batch=1, *, first=0, cancelling=True):
    """Parts: the direct path decays fastest; those of the gates are alike, and half of what they carry cancels."""
    names = ("direct", *(name for name in SAVED[cell] if name != "q"))
    lag = np.arange(first, first + lags, dtype=np.int64)
    with np.errstate(divide="ignore"):
        left = np.log(-np.expm1(-0.1 * lag))  # nothing at lag 0
    log_norm = np.stack([-0.1 * lag, *[left - 0.01 * lag] * (len(names) - 1)], axis=1)
    total = np.logaddexp.reduce(log_norm, axis=1) - (np.log(2) * (lag > 0) if cancelling else 0)
    share = np.exp(log_norm - np.logaddexp.reduce(log_norm, axis=1)[:, None])
    return GradientPaths(
        cell=cell,
        lag=lag,
        paths=names,
        log_norm=np.repeat(log_norm[:, :, None], batch, axis=2),
        fraction=np.repeat(share[:, :, None], batch, axis=2),
        total_log_norm=np.repeat(total[:, None], batch, axis=1),
        of="h",
        wrt=STATES[cell][-1],
        source_step=int(lag[-1]),
        norm="random",
    )


def make_connectivity(targets, sources, *, rate=0.5, batch=1, zero_after=None):
    """Return a decay by `rate` nats a step between outputs and inputs; of sequence b, b + 1 times as fast."""
    targets, sources = np.asarray(targets, np.int64), np.asarray(sources, np.int64)
    lag = targets[:, None] - sources
    log_norm = -rate * lag[:, :, None] * np.arange(1.0, batch + 1)
    log_norm[lag < 0] = np.nan
    if zero_after is not None:
        log_norm[lag > zero_after] = -np.inf
    return Connectivity(
        cell="gru", target_step=targets, source_step=sources, log_norm=log_norm, norm="frobenius"
    )
