"""Initial weights."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from gatescope._dtypes import float_dtype
from gatescope.cells.registry import Cell, get
from gatescope.datatypes import Array, Params
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.provenance import provenance
from gatescope.validation import check_count, check_number

SCHEMES = ("pytorch", "keras", "orthogonal", "chrono", "gaussian")


def init(
    cell: str,
    *,
    input_size: int,
    hidden_size: int,
    seed: int = 0,
    scheme: str = "pytorch",
    dtype: str = "float32",
    gain: float = 1.0,
    t_max: float = 1000.0,
    nonlinearity: str = "tanh",
) -> Params:
    """Draw the initial weights of a cell.

    ============== ====================================================================================
    scheme         weights and biases
    ============== ====================================================================================
    ``pytorch``    all uniform in +-1/sqrt(H)
    ``keras``      weight_ih Glorot-uniform, weight_hh orthogonal (over all gates), biases 0, forget bias 1
    ``orthogonal`` weight_ih Glorot-uniform, weight_hh orthogonal gate by gate times `gain`, biases 0
    ``chrono``     as ``orthogonal``; forget (or update) bias ln u with u uniform in [1, t_max - 1] a unit,
                   and the LSTM's input bias its negative [1]_
    ``gaussian``   weight_hh normal with variance gain^2/H, weight_ih with variance 1/I, biases 0
    ============== ====================================================================================

    Biases that a scheme sets go to bias_ih; bias_hh is 0 then.

    Parameters
    ----------
    cell : str
        One of ``gatescope.cells.names()``.
    input_size, hidden_size : int
        I and H, at least 1.
    seed : int
        Of ``numpy.random.default_rng``.  Weights are drawn in float64 and then rounded to `dtype`.
    scheme : str
        As above; a number in brackets sets the scheme's constant: ``"gaussian(1.5)"`` is gain 1.5 and
        ``"chrono(500)"`` t_max 500.
    dtype : str
        ``"float32"`` or ``"float64"``.
    gain : float
        Of ``gaussian`` and ``orthogonal``.
    t_max : float
        Of ``chrono``: the longest time scale in steps, at least 2.
    nonlinearity : str
        ``"tanh"``, or ``"relu"`` for the cell ``"rnn"``.

    Returns
    -------
    Params

    Raises
    ------
    UnknownNameError
        If there is no such cell, scheme or nonlinearity.
    ValueRangeError, DtypeError
        If a size is below 1, a constant is out of range, or the dtype is not supported.

    References
    ----------
    .. [1] C. Tallec and Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, section 3.

    Examples
    --------
    >>> import gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=64, seed=0)
    >>> params.weight_hh.shape, params.count()
    ((256, 64), 17152)
    """
    if nonlinearity not in ("tanh", "relu"):
        raise UnknownNameError(f"nonlinearity={nonlinearity!r} is not known; choose 'tanh' or 'relu'")
    if nonlinearity == "relu":
        if cell not in ("rnn", "rnn_relu"):
            raise ValueRangeError(
                f"nonlinearity='relu' goes with the cell 'rnn'; {cell!r} has its own functions"
            )
        cell = "rnn_relu"
    found = get(cell)
    inputs, units = check_count("input_size", input_size), check_count("hidden_size", hidden_size)
    kind = float_dtype(dtype)
    seed = check_count("seed", seed, least=0)
    name, gain, t_max = _scheme(scheme, gain, t_max)
    rng = np.random.default_rng(seed)
    weights = _draw(found, inputs, units, rng, name, gain, t_max)
    return Params(
        cell=cell,
        gates=found.gates,
        **{key: np.ascontiguousarray(value, dtype=kind) for key, value in weights.items()},
        provenance=provenance(seed=seed, scheme=scheme, dtype=kind.name),
    )


def _scheme(scheme: Any, gain: float, t_max: float) -> tuple[str, float, float]:
    match = re.fullmatch(r"(\w+)(?:\(([^)]+)\))?", scheme) if isinstance(scheme, str) else None
    if match is None or match[1] not in SCHEMES:
        raise UnknownNameError(f"scheme={scheme!r} is not known; choose one of {', '.join(SCHEMES)}")
    name = match[1]
    if match[2] is not None:
        try:
            number = float(match[2])
        except ValueError:
            raise ValueRangeError(f"scheme={scheme!r}: {match[2]!r} is not a number") from None
        if name == "chrono":
            t_max = number
        elif name in ("gaussian", "orthogonal"):
            gain = number
        else:
            raise ValueRangeError(f"scheme={scheme!r}: {name} has no constant to set")
    return name, check_number("gain", gain, least=0), check_number("t_max", t_max, least=2)


def _draw(
    cell: Cell, inputs: int, units: int, rng: np.random.Generator, scheme: str, gain: float, t_max: float
) -> dict[str, Array]:
    gates = len(cell.gates)
    rows = gates * units
    if scheme == "pytorch":
        bound = 1 / np.sqrt(units)
        shapes = {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, units),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        return {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}
    bias = np.zeros((gates, units))
    if scheme == "gaussian":
        weight_ih = rng.normal(0, 1 / np.sqrt(inputs), (rows, inputs))
        weight_hh = rng.normal(0, gain / np.sqrt(units), (rows, units))
    else:
        limit = np.sqrt(6 / (inputs + rows)) if scheme == "keras" else np.sqrt(6 / (inputs + units))
        weight_ih = rng.uniform(-limit, limit, (rows, inputs))
        if scheme == "keras":
            weight_hh = _orthogonal(rng, rows, units)
        else:
            weight_hh = gain * np.concatenate([_orthogonal(rng, units, units) for _ in range(gates)])
    if scheme == "keras" and "f" in cell.gates:
        bias[cell.gates.index("f")] = 1
    if scheme == "chrono":
        scale = np.log(rng.uniform(1, t_max - 1, units))
        if "f" in cell.gates:
            bias[cell.gates.index("f")] = scale
            if "i" in cell.gates:
                bias[cell.gates.index("i")] = -scale
        elif "z" in cell.gates:
            bias[cell.gates.index("z")] = scale
        else:
            raise ValueRangeError(
                f"scheme='chrono' needs a forget gate f or an update gate z; {cell.name!r} has neither"
            )
    return {
        "weight_ih": weight_ih,
        "weight_hh": weight_hh,
        "bias_ih": bias.reshape(rows),
        "bias_hh": np.zeros(rows),
    }


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """A (rows, columns) matrix with orthonormal columns, or rows if they are fewer, uniformly distributed."""
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    # The sign makes the distribution uniform (Mezzadri 2007).
    q = q * np.sign(np.diag(r))
    return np.ascontiguousarray(q if rows >= columns else q.T)
