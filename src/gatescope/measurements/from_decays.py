"""Gated linear models taken by the logarithms of their decays, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gatescope.cells.registry import names as registered_cells
from gatescope.checks.arrays import check_array, check_host, check_shape, real_array, rectangular
from gatescope.checks.network import check_lengths
from gatescope.checks.numbers import check_flag, check_text, check_type
from gatescope.datatypes import Array
from gatescope.datatypes.batch import if_batch_first
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.measurements.decays import DECAY, Decays


def from_decays(
    log_decay: Any,
    *,
    gates: Mapping[str, Any] | None = None,
    lengths: Any = None,
    cell: str = "decays",
    batch_first: bool = False,
    growing: bool = False,
) -> Decays:
    """Take a gated linear model by the logarithms of its decays, to measure and plot what the gates of cells are.

    Mamba, RWKV, GLA, HGRN, LRU and the like keep of each channel of their state a fraction exp(log_decay) a step, which
    no state enters: what a channel's gradient loses over a lag is the sum of its log decays, exactly.

    Parameters
    ----------
    log_decay : (T, B, H) or (T, H) array_like
        Natural logarithms of the factors, 0 or below, nats per step; ``-inf`` resets a channel.  Further axes of a
        state are channels, too: give ``x.reshape(T, B, -1)``.  Decays that do not depend on the step, such as those of
        RWKV-4 or an LRU, are given as ``numpy.broadcast_to(log_decay, (T, 1, H))``, which takes no memory.
    gates : mapping of name to (T, B, H) array_like, optional
        Other gates, such as those of the input, for the plots and `saturation`.  Those with all values in [0, 1] are
        taken as gates that shut and open.
    lengths : (B,) array_like of int, optional
        Steps of each sequence, 1..T; default: T.
    cell : str
        What the model is called in titles and legends.
    batch_first : bool
        Whether all arrays are (B, T, H).
    growing : bool
        Whether factors above 1, logarithms above 0, are meant.

    Returns
    -------
    Decays
        ``.trace`` has the factors exp(log_decay) as gate ``"decay"``, and the other gates, for `gatescope.saturation`
        and the plots of gates; ``.gradient_flow()`` and ``.half_life()`` are measured from the logarithms.

    Raises
    ------
    DtypeError
        If the decays are complex, or no numbers.
    ValueRangeError
        If a logarithm is above 0 without `growing`, or NaN; or a gate is not finite.
    ShapeError
        If the axes are others.

    Notes
    -----
    What the channels are multiplied by beside it (a readout, a delta rule, a rotation) is not in the decays.  An LRU's
    eigenvalues are complex: their modulus decays, and their phase turns the state, which changes no norm.

    References
    ----------
    .. [1] A. Gu and T. Dao, "Mamba: linear-time sequence modeling with selective state spaces", 2023: A = -exp(A_log),
       and the decay is exp(dt A).
    .. [2] A. Orvieto et al., "Resurrecting recurrent neural networks for long sequences", ICML 2023: abs(lambda) =
       exp(-exp(nu)).
    .. [3] S. Yang et al., "Gated linear attention transformers with hardware-efficient training", ICML 2024: log decay
       log sigmoid(x W) / 16.

    Examples
    --------
    Mamba, of dt (B, T, D) after its softplus and A_log (D, N):

    >>> import numpy as np, gatescope as gs
    >>> rng = np.random.default_rng(0)
    >>> dt, A_log = rng.uniform(0.001, 0.1, (2, 500, 4)), np.log(np.tile(np.arange(1.0, 17), (4, 1)))
    >>> log_decay = -dt[..., None] * np.exp(A_log)
    >>> decays = gs.from_decays(log_decay.reshape(2, 500, -1), batch_first=True, cell="mamba")
    >>> decays
    Decays('mamba': 500 steps, 2 sequences, 64 channels)
    >>> decays.half_life().by_gate.shape, decays.gradient_flow(norm="spectral").log_norm.shape
    ((2, 64), (501, 2))

    An LRU, whose decays are those of every step: abs(lambda) = exp(-exp(nu)).

    >>> nu = np.log(-np.log(np.array([0.9, 0.99, 0.999])))
    >>> lru = gs.from_decays(np.broadcast_to(-np.exp(nu), (1000, 1, 3)), cell="lru")
    >>> lru.half_life().by_gate.round(1).tolist()
    [[6.6, 69.0, 692.8]]
    """
    check_flag("growing", growing)
    check_flag("batch_first", batch_first)
    name = check_text("cell", cell)
    if name in registered_cells():
        raise ValueRangeError(
            "is a cell of this package", argument="cell", seen=name, advice="choose another name"
        )
    logs = _time_major("log_decay", _logs_of(log_decay, growing), batch_first)
    steps, batch = logs.shape[:2]
    if not logs.size:
        raise ShapeError(
            "at least one step, sequence and channel are needed", argument="log_decay", seen=logs.shape
        )
    others: dict[str, Array] = {}
    check_type("gates", {} if gates is None else gates, Mapping, advice="give a dict of arrays by name")
    for gate, value in (gates or {}).items():
        label = f"gates[{check_text('gates', gate)!r}]"
        if gate == DECAY:
            raise ValueRangeError(
                "is the name of the decays themselves", argument=label, advice="choose another"
            )
        array = _time_major(label, check_array(label, value, np.dtype(np.float64)), batch_first)
        check_shape(
            label, array, logs.shape, f"(T, B, H) of `log_decay`{if_batch_first(len(array), batch, steps)}"
        )
        others[gate] = array
    sizes = check_lengths(lengths, steps, batch)
    if sizes.min() < 1:
        raise ValueRangeError(
            "is 0", argument=f"lengths[{np.argmin(sizes)}]", advice="leave that sequence out"
        )
    return Decays(cell=name, log_decay=logs, gates=others, lengths=sizes)


def _logs_of(log_decay: Any, growing: bool) -> Array:
    """Return logarithms of decays in float64: real, not NaN, and none above 0 unless these are meant."""
    array = rectangular("log_decay", check_host("log_decay", log_decay))
    if array.dtype.kind == "c":
        raise DtypeError(
            argument="log_decay",
            seen=array.dtype,
            advice="a complex factor decays by its modulus, and its phase only turns: give "
            "numpy.log(numpy.abs(eigenvalues)) of eigenvalues, or the .real of their logarithms",
        )
    logs = np.asarray(real_array("log_decay", array), np.float64)
    most = logs.max(initial=-np.inf)  # NaN if there is one
    if np.isnan(most) or most == np.inf or (most > 0 and not growing):
        at = [int(i) for i in np.argwhere(~(logs <= 0))[0]]
        if np.isfinite(most):
            advice = "a decay of 1 has the logarithm 0: give growing=True if factors above 1 are meant"
            if (logs > 0).all():
                advice = "give numpy.log(x) if these are factors, and -x if they are rates; growing=True if they grow"
        else:
            advice = "remove or replace such values; -inf is a reset"
        argument = f"log_decay{at}"
        raise ValueRangeError(
            "is above 0" if most > 0 else "is no number",
            argument=argument,
            seen=float(logs[tuple(at)]),
            advice=advice,
        )
    return logs


def _time_major(name: str, array: Array, batch_first: bool) -> Array:
    """Return (T, B, H) of an array of these axes, of (B, T, H), or of one sequence (T, H)."""
    if array.ndim == 2:
        return array[:, None]
    if array.ndim != 3:
        axes = "(B, T, H)" if batch_first else "(T, B, H)"
        advice = "further axes of a state are channels: give x.reshape(*x.shape[:2], -1)"
        if array.ndim < 2:
            advice = "decays of every step alike are numpy.broadcast_to(x, (T, 1, H))"
        raise ShapeError(
            f"should have {axes}, or (T, H) for one sequence", argument=name, seen=array.shape, advice=advice
        )
    return array.swapaxes(0, 1) if batch_first else array
