"""A user's own series: what comes next."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gatescope.checks.dtypes import float_dtype
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.tasks._music import check_one_of
from gatescope.tasks._splits import BEST_CONSTANT, SPLITS, NoSuchSplitError, best_constant, part, shares
from gatescope.tasks._synthetic import flag, numbers_of, record, whole_length

_LEAST = 2  # steps: an input, and what comes after it


def next_step(
    series: ArrayLike,
    *,
    standardize: bool = True,
    split: str = "all",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    dtype: DTypeLike = "float32",
) -> Batch:
    """A series of your own with its next step as the target: input t is x_t, target t is x_{t+1}, all columns.

    The test split is the end of the series, the validation split comes before it, the rest is for training; no input
    and no target of one is in another.

    The baseline is the mean squared error of the best constant: the variance of the targets, averaged over the
    columns.  That of predicting the last value again is in `provenance`, as ``persistence``.

    Parameters
    ----------
    series : (N,), (N, I) or (N, B, I) array_like
        Rows are steps, columns what is measured at one; such as ``gatescope.io.read_series`` reads from a CSV.
    standardize : bool
        Subtract each column's mean and divide by its standard deviation (of the population, ddof = 0), both taken over
        the training split, whatever `split` is; a column that does not change there is not divided.
    split : {"all", "train", "valid", "test"}
    valid_fraction, test_fraction : float
        Shares of the steps that are held back, at least 0 and together less than 1.
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
    DtypeError
        If it does not hold real numbers, or `dtype` is neither float32 nor float64.
    ValueRangeError
        If a number is NaN or infinite, the split has fewer than two steps, or `standardize` is neither True nor False.
    UnknownNameError
        If there is no such split.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> batch = gs.tasks.next_step(np.sin(np.arange(100)), split="train")
    >>> batch.inputs.shape, round(batch.baseline, 1)
    ((79, 1, 1), 1.0)
    """
    wanted = float_dtype(dtype)
    check_one_of("split", split, SPLITS)
    valid, test = shares(valid_fraction, test_fraction)
    standardized = flag("standardize", standardize)
    values = _values(series)
    begin, end = part(len(values), "train", valid, test)
    training = values[begin:end]
    begin, end = part(len(values), split, valid, test)
    for name, extent in (("train", len(training)), (split, end - begin)):
        if extent < _LEAST:
            kind = ValueRangeError if name == "train" else NoSuchSplitError
            raise kind(
                f"split {name!r} has {extent} of the series' {len(values)} steps with valid_fraction={valid:g} and "
                f"test_fraction={test:g}, and needs {_LEAST}; give other fractions, or a longer series"
            )
    mean, deviation = training.mean(axis=(0, 1)), training.std(axis=(0, 1))
    here = values[begin:end]
    if standardized:
        here = (here - mean) / np.where(deviation > 0, deviation, 1)
    with np.errstate(over="ignore"):  # an overflow is reported below
        found = here.astype(wanted)
    if not np.isfinite(found).all():
        raise ValueRangeError(
            f"series holds numbers too large for {wanted}; scale it, or use dtype='float64'"
        )
    steps, count, columns = found.shape
    return Batch(
        name="next_step",
        inputs=np.ascontiguousarray(found[:-1]),
        targets=np.ascontiguousarray(found[1:]),
        lengths=whole_length(steps - 1, count),
        heads=(Head("next", columns, "mse"),),
        baseline=best_constant(here[1:].reshape(-1, columns), "mse"),
        baseline_of=BEST_CONSTANT,
        provenance=record(
            "next_step",
            wanted,
            standardized=standardized,
            mean=mean.tolist(),
            standard_deviation=deviation.tolist(),
            persistence=float(np.mean((here[1:] - here[:-1]) ** 2)),
            split=split,
            valid_fraction=valid,
            test_fraction=test,
            first_step=begin,
        ),
    )


def _values(series: ArrayLike) -> Array:
    """(N, B, I) float64, finite."""
    values = numbers_of("series", series)
    if values.ndim not in (1, 2, 3) or 0 in values.shape:
        raise ShapeError(
            f"series has the shape {values.shape}; give (N,), (N, I) or (N, B, I), none of them 0"
        )
    found: Array = values.astype(np.float64)
    if values.ndim < 3:
        found = found.reshape(len(values), 1, -1)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        at = tuple(int(k) for k in bad[0])
        raise ValueRangeError(f"series{list(at)} is {values[at]}; remove or fill it (there are {len(bad)})")
    return found
