"""The Santa Fe laser series: a real recording that is almost chaotic, 10,093 steps long."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Batch, Head
from gatescope.errors import FileFormatError
from gatescope.tasks._task import task

_FILE = "santafe_laser.txt"


@task(steps=None)
def laser(*, steps: int | None = None, dtype: DTypeLike = "float32", standardize: bool = True) -> Batch:
    """Return the Santa Fe laser series with its next value as the target.

    Input t is x_t and target t is x_{t+1}.  Every measured value is an input; the target of the last one was
    never measured, so there `mask` is False and the target 0.

    The baseline is the mean squared error of the best constant, which is the variance of the targets that count.
    That of predicting the last value again is in `provenance`, as ``persistence``: the series oscillates so fast that
    it is hardly better, 0.94 against 1.00 over the whole standardized series.

    Parameters
    ----------
    steps : int, optional
        T, how many steps from the first; default all 10,093.
    dtype : {"float32", "float64"}
    standardize : bool
        Subtract the mean and divide by the standard deviation (that of the population, ddof = 0) of the whole
        series, whatever `steps` is.  Otherwise the values are intensities, whole numbers from 0 to 255.

    Returns
    -------
    Batch
        `inputs` and `targets` (T, 1, 1), `mask` (T, 1), `lengths` (1,); one head of 1 output, mean squared error.
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
    targets = np.zeros(steps, dtype)
    known = values[1 : steps + 1]
    targets[: len(known)] = known
    return Batch(
        inputs=values[:steps].astype(dtype).reshape(steps, 1, 1),
        targets=targets.reshape(steps, 1, 1),
        mask=(np.arange(steps) < len(known)).reshape(steps, 1),
        heads=(Head("intensity", 1, "mse"),),
        baseline=float(known.var()),
        baseline_of="the best constant: the variance of the targets",
        provenance={
            "source": "Santa Fe time series competition, data set A (NH3 laser)",
            "sha256": hashlib.sha256(raw).hexdigest(),
            "mean": mean,
            "standard_deviation": deviation,
            "steps": steps,
            "persistence": float(np.mean((known - values[: len(known)]) ** 2)),
        },
    )
