"""A user's own series: what comes next."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gatescope.checks.arrays import check_array
from gatescope.datatypes import Array, Batch, Head
from gatescope.datatypes.batch import best_constant
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.tasks._splits import BEST_CONSTANT, HELD_BACK, check_part, part
from gatescope.tasks._task import task

_LEAST = 2  # steps: an input, and what comes after it


@task(**HELD_BACK)
def next_step(
    series: ArrayLike,
    *,
    standardize: bool = True,
    split: str = "all",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make a series of your own and its next step as the target: input t is x_t, target t is x_{t+1}, all columns.

    The test split is the end of the series, the validation split comes before it, the rest is for training; no input
    and no target of one is in another.

    The baseline is the mean squared error of the best constant: the variance of the targets, averaged over the
    columns.  That of predicting the last value again is in `provenance`, as ``persistence``.

    Parameters
    ----------
    series : (N,), (N, I) or (N, B, I) array_like
        Rows are steps, columns what is measured at one; such as `gatescope.read_series` reads from a CSV.
    standardize : bool
        Subtract each column's mean and divide by its standard deviation (of the population, ddof = 0), both taken over
        the training split, whatever `split` is; a column that does not change there is not divided.
    split : {"all", "train", "valid", "test"}
    valid_fraction, test_fraction : float
        Fractions of the steps that are held back, at least 0 and together less than 1.  Of `split` ``"all"`` they say
        which steps mean and standard deviation are taken over.
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` and `targets` (T, B, I), T one less than the steps of the split; one head of I outputs, mean squared
        error.  `provenance` has the means and the standard deviations.

    Raises
    ------
    ShapeError
        If `series` has more axes, or none.
    ValueRangeError
        If a number is NaN or infinite, or the split has fewer than two steps.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> batch = gs.tasks.next_step(np.sin(np.arange(100)), split="train")
    >>> batch.inputs.shape, round(batch.baseline, 1)
    ((79, 1, 1), 1.0)
    """
    values = _values(series)
    fractions = {"valid": valid_fraction, "test": test_fraction}
    begin, end = part(len(values), "train", **fractions)
    training = values[begin:end]
    begin, end = part(len(values), split, **fractions)
    for name, length in (("train", len(training)), (split, end - begin)):
        check_part(name, length, len(values), "steps of the series", **fractions, least=_LEAST)
    mean, deviation = training.mean(axis=(0, 1)), training.std(axis=(0, 1))
    deviation[np.ptp(training, axis=(0, 1)) == 0] = 0  # rounding may leave some of a constant
    chosen = values[begin:end]
    if standardize:
        chosen = (chosen - mean) / np.where(deviation > 0, deviation, 1)
    with np.errstate(over="ignore"):  # an overflow is reported below
        rounded = chosen.astype(dtype)
    if not np.isfinite(rounded).all():
        raise ValueRangeError(
            f"holds numbers too large for {dtype}",
            argument="series",
            advice="scale it, or use `dtype`='float64'",
        )
    columns = rounded.shape[2]
    return Batch(
        inputs=rounded[:-1],
        targets=rounded[1:],
        heads=(Head("next", columns, "mse"),),
        baseline=best_constant(chosen[1:].reshape(-1, columns), "mse"),
        baseline_of=BEST_CONSTANT,
        provenance={
            "mean": mean.tolist(),
            "standard_deviation": deviation.tolist(),
            "persistence": float(np.mean((chosen[1:] - chosen[:-1]) ** 2)),
            "first_step": begin,
        },
    )


def _values(series: ArrayLike) -> Array:
    """Return the series as (N, B, I) float64, finite."""
    values = check_array("series", series, np.dtype(np.float64))
    if values.ndim not in (1, 2, 3) or 0 in values.shape:
        raise ShapeError(
            "should have (N,), (N, I) or (N, B, I), none of them 0", argument="series", seen=values.shape
        )
    return values if values.ndim == 3 else values.reshape(len(values), 1, -1)
