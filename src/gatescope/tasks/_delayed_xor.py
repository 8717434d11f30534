"""Delayed XOR: two bits that come far apart, and whether they differ."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_count, check_number
from gatescope.datatypes import Batch, Head
from gatescope.tasks._synthetic import at_the_last_step, check_size
from gatescope.tasks._task import task


@task(steps=partial(check_count, least=2), gap=None, noise=partial(check_number, least=0))
def delayed_xor(
    *,
    steps: int = 50,
    sequences: int = 50,
    gap: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make sequences of two bits `gap` steps apart; at the last step, whether they differ.

    The one input is -1 or +1 (bit 0 or 1, each as likely) at step 0 and again at step `gap`, and 0 at the others;
    Gaussian noise of standard deviation `noise` is added at all of them.  The target, at the last step alone, is
    ``bit_1 XOR bit_2``.  Neither bit says anything of it, so a network must keep the first for `gap` steps, join it
    with the second in a way that no linear map can, and keep the result to the end.

    The baseline answers p = 1/2, since XOR of fair bits is fair and independent of either: ln 2 = 0.6931 nats.

    Parameters
    ----------
    steps : int
        T, at least 2.
    sequences : int
        B.
    gap : int, optional
        Steps from the first bit to the second, 1..T-1; default T // 2.
    noise : float
        Standard deviation, at least 0.
    seed : int
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, 1), `targets` (T, B, 1), of which `mask` (T, B) counts the last step; one head of 1 output,
        Bernoulli.

    References
    ----------
    Y. Bengio, P. Simard, P. Frasconi, Learning long-term dependencies with gradient descent is difficult, IEEE
    Transactions on Neural Networks 5(2) (1994), for the parity and latching problems of this kind.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.delayed_xor(steps=20, gap=15, sequences=2)
    >>> bool(((batch.inputs[0] != batch.inputs[15]) == batch.targets[-1]).all())
    True
    """
    gap = check_count("gap", steps // 2 if gap is None else gap, most=steps - 1)
    check_size(steps * sequences * 2, dtype)
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 2, (2, sequences))
    inputs = np.zeros((steps, sequences, 1))
    inputs[0, :, 0], inputs[gap, :, 0] = 2 * first - 1, 2 * second - 1
    if noise:
        inputs += noise * rng.standard_normal(inputs.shape)
    targets, mask = at_the_last_step(first ^ second, steps, dtype)
    return Batch(
        inputs=inputs.astype(dtype),
        targets=targets,
        mask=mask,
        heads=(Head("xor", 1, "bernoulli"),),
        baseline=math.log(2),
        baseline_of="both answers as likely, ln 2",
        provenance={"gap": gap},
    )
