"""The Santa Fe laser series: a real recording that is almost chaotic, 10,093 steps long."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_count, or_none
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import FileFormatError
from gatescope.tasks._splits import HELD_BACK, check_part, part
from gatescope.tasks._task import task

_FILE = "santafe_laser.txt"


@task(**HELD_BACK, steps=None, length=or_none(check_count))
def laser(
    *,
    steps: int | None = None,
    split: str = "all",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    length: int | None = None,
    dtype: DTypeLike = "float32",
    standardize: bool = True,
) -> Batch:
    """Return the Santa Fe laser series with its next value as the target.

    Input t is x_t and target t is x_{t+1}.  Of the whole series every measured value is an input; the target of the
    last one was never measured, so there `mask` is False and the target 0.  The test split is the end of the series,
    the validation split comes before it; no input and no target of one is in another.

    The baseline is the mean squared error of the best constant, which is the variance of the targets that count.
    That of predicting the last value again is in `provenance`, as ``persistence``: the series oscillates so fast that
    it is hardly better, 0.94 against 1.00 over the whole standardized series.

    Parameters
    ----------
    steps : int, optional
        How many steps from the first; default all 10,093.
    split : {"all", "train", "valid", "test"}
    valid_fraction, test_fraction : float
        Fractions of the steps that are held back, at least 0 and together less than 1.
    length : int, optional
        Cut the split into pieces of so many steps, one after another, each a sequence of its own; what is left over at
        the end is left out.  Default: one sequence.
    dtype : {"float32", "float64"}
    standardize : bool
        Subtract the mean and divide by the standard deviation (that of the population, ddof = 0) of the whole
        series, whatever `steps` and `split` are.  Otherwise the values are intensities, whole numbers from 0 to 255.

    Returns
    -------
    Batch
        `inputs` and `targets` (T, B, 1), `mask` (T, B), `lengths` (B,), B = 1 but for pieces; one head of 1 output,
        mean squared error.
        `provenance` holds the mean and the standard deviation of the intensities and the SHA-256 of the file.

    References
    ----------
    U. Huebner, N. B. Abraham, C. O. Weiss, Phys. Rev. A 40, 6354 (1989), for the measurement; A. S. Weigend
    and N. A. Gershenfeld (eds.), Time Series Prediction: Forecasting the Future and Understanding the Past,
    Addison-Wesley (1994), data set A.

    Examples
    --------
    >>> import gatescope as gs
    >>> gs.tasks.laser().inputs.shape
    (10093, 1, 1)
    """
    raw = (resources.files(__package__) / "data" / _FILE).read_bytes()
    try:
        intensities = np.array(raw.split(), dtype=np.float64)
    except ValueError as error:
        raise FileFormatError(
            f"the packaged {_FILE!r} is damaged ({error})", advice="reinstall gatescope"
        ) from error
    mean, deviation = float(intensities.mean()), float(intensities.std())
    steps = len(intensities) if steps is None else check_count("steps", steps, most=len(intensities))
    values = (intensities - mean) / deviation if standardize else intensities
    fractions = {"valid": valid_fraction, "test": test_fraction}
    for name in ("train", split):
        begin, end = part(steps, name, **fractions)
        check_part(
            name, end - begin, steps, "steps of the series", **fractions, least=1 if split == "all" else 2
        )
    # What comes after the last step of the whole is its target; what comes after that of a split is another's.
    known = values[begin + 1 : end + 1 if split == "all" else end]
    inputs = values[begin : end if split == "all" else end - 1]
    length = len(inputs) if length is None else check_count("length", length, most=len(inputs))
    targets = np.zeros(len(inputs))
    targets[: len(known)] = known

    def pieces(column: Array, kind: DTypeLike) -> Array:
        count = len(column) // length
        return np.ascontiguousarray(column[: count * length].reshape(count, length).T.astype(kind))

    mask = pieces(np.arange(len(inputs)) < len(known), np.bool_)
    return Batch(
        inputs=pieces(inputs, dtype)[..., None],
        targets=pieces(targets, dtype)[..., None],
        mask=mask,
        heads=(Head("intensity", 1, "mse"),),
        baseline=float(known.var()),
        baseline_of="the best constant: the variance of the targets",
        provenance={
            "source": "Santa Fe time series competition, data set A (NH3 laser)",
            "sha256": hashlib.sha256(raw).hexdigest(),
            "mean": mean,
            "standard_deviation": deviation,
            "steps": steps,
            "persistence": float(np.mean((known - inputs[: len(known)]) ** 2)),
        },
    )
