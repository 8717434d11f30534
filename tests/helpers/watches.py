"""Histories of a watch without a model: layers of an LSTM, a GRU and an RNN in turn."""

import numpy as np

import gatescope as gs

_CELLS = {"lstm": ("i", "f", "o"), "gru": ("r", "z"), "rnn": ()}


def make_watch(layers, readings=12, failed=(), endless=()):
    """Return a history; some readings failed, and in some the first layer's gradient does not decay."""
    rng = np.random.default_rng(0)
    cells = tuple([*_CELLS][k % 3] for k in range(layers))
    gates = tuple(_CELLS[cell] for cell in cells)
    life = np.exp(1.5 + np.cumsum(rng.normal(0.15, 0.2, (readings, layers)), axis=0))
    life[list(endless), 0] = np.inf
    saturation = rng.random((readings, layers, 3, 2)) / 2
    for k, names in enumerate(gates):
        saturation[:, k, len(names) :] = np.nan
    for values in (life, saturation):
        values[list(failed)] = np.nan
    return gs.WatchHistory(
        layers=tuple(f"{cell}.{k}" for k, cell in enumerate(cells)),
        cells=cells,
        gates=gates,
        every=100,
        loop_steps=100 * readings,
        step=100 * np.arange(readings),
        decay_rate=np.log(2) / life,
        half_life=life,
        saturation=saturation,
        probe_steps=np.full(readings, 200),
        doubts=(("",) * layers,) * readings,
        failures=tuple("lstm.0 is gone" if m in failed else "" for m in range(readings)),
        seconds=np.full(readings, 0.01),
        loop_seconds=np.full(readings, 1.0),
    )
