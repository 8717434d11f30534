"""The adding problem: two marked numbers of a long series shall be summed at its end."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_count, check_number
from gatescope.datatypes import Batch, Head
from gatescope.tasks._synthetic import at_the_last_step, check_size
from gatescope.tasks._task import task


@task(steps=partial(check_count, least=2), largest=partial(check_number, least=1e-3, most=1e3))
def adding(
    *,
    steps: int = 100,
    sequences: int = 50,
    largest: float = 1.0,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make the adding problem: the sum of two marked numbers, asked for at the last step.

    Input 0 is a number ``u_t ~ U[0, largest)`` at every step, U[0, 1) by default; input 1 is 1 at two steps and 0
    elsewhere: at p, uniform in the first half, steps 0..T//2-1, and at q, uniform in the second, steps T//2..T-1.  The
    target is ``u_p + u_q``, at the last step alone.

    The baseline always answers `largest`, the mean of the sum.  Its mean squared error is the variance of the sum of
    two independent numbers, of U[0, 1) 2 * 1/12 = 1/6 = 0.1667.  The 0.1767 that is printed in some papers for the same
    scaling is not that variance, whatever it came from; a mean over a few hundred sequences can be so far off.

    Parameters
    ----------
    steps : int
        T, at least 2.
    sequences : int
        B.
    largest : float
        Bound of the numbers, from 0.001 to 1,000.  Trained below 1, a model has seen a biased sample of what the
        default asks for.
    seed : int
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, 2), `targets` (T, B, 1), of which `mask` (T, B) counts the last step; one head of 1 output,
        mean squared error.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9(8) (1997), experiment 4, where the
    numbers are from [-1, 1] and lengths vary; this form, with one number in each half, is that of M. Arjovsky,
    A. Shah, Y. Bengio, Unitary evolution recurrent neural networks, ICML (2016).

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.adding(steps=100, sequences=3, seed=1)
    >>> batch.inputs.shape, round(batch.baseline, 4)
    ((100, 3, 2), 0.1667)
    >>> marked = (batch.inputs[..., 0] * batch.inputs[..., 1]).sum(axis=0)
    >>> bool(abs(marked - batch.targets[-1, :, 0]).max() < 1e-6)
    True
    """
    check_size(steps * sequences * 3, dtype)
    rng = np.random.default_rng(seed)
    numbers = rng.random((steps, sequences)) * largest
    first = rng.integers(0, steps // 2, sequences)
    second = rng.integers(steps // 2, steps, sequences)
    each = np.arange(sequences)
    inputs = np.zeros((steps, sequences, 2), dtype)
    inputs[..., 0] = numbers
    inputs[first, each, 1] = inputs[second, each, 1] = 1
    targets, mask = at_the_last_step(numbers[first, each] + numbers[second, each], steps, dtype)
    square = "" if largest == 1 else f"{largest:g}^2 * "
    return Batch(
        inputs=inputs,
        targets=targets,
        mask=mask,
        heads=(Head("sum", 1, "mse"),),
        baseline=largest**2 / 6,
        baseline_of=f"always answering {largest:g}, the mean of the sum: its variance, {square}1/6",
    )
