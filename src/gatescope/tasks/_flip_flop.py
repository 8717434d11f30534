"""The 3-bit flip-flop: every channel shall hold the sign of its last pulse."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_number
from gatescope.datatypes import Batch, Head
from gatescope.tasks._synthetic import check_size
from gatescope.tasks._task import task


@task(pulse=partial(check_number, least=0, most=1))
def flip_flop(
    *,
    steps: int = 120,
    sequences: int = 32,
    channels: int = 3,
    pulse: float = 0.06,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make the flip-flop task: rare pulses of +1 and -1 a channel; outputs keep the sign of their channel's last one.

    ``target_t = input_t`` where there is a pulse, and ``target_{t-1}`` where there is none, in each of C `channels`.
    A pulse comes with the probability `pulse` at every step and channel, +1 and -1 each as likely; every channel has
    one at step 0, so that its target is always known.  With three channels there are 8 states to hold, the corners of
    a cube.

    The baseline has no memory: where there is a pulse it answers the pulse, with no error, and elsewhere 0, with the
    squared error 1, which gives a mean squared error of ``(1 - pulse) (T - 1) / T``, for there is always a pulse at
    step 0.

    Parameters
    ----------
    steps : int
        T.
    sequences : int
        B.
    channels : int
        C.
    pulse : float
        Probability of a pulse, from 0 to 1, a step and channel.
    seed : int
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, C), `targets` (T, B, C), of which every step counts; one head of C outputs, mean squared
        error.

    References
    ----------
    D. Sussillo, O. Barak, Opening the black box: low-dimensional dynamics in high-dimensional recurrent neural
    networks, Neural Computation 25(3) (2013).

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.flip_flop(steps=50, sequences=2)
    >>> batch.targets.shape, round(batch.baseline, 4)
    ((50, 2, 3), 0.9212)
    """
    check_size(steps * sequences * channels * 2, dtype, "give fewer steps, sequences or channels")
    rng = np.random.default_rng(seed)
    shape = (steps, sequences, channels)
    pulsed = rng.random(shape) < pulse
    pulsed[0] = True
    signs = rng.integers(0, 2, shape) * 2 - 1
    # The step of the last pulse so far: pulses carry their own step, and the maximum runs forward.
    last = np.maximum.accumulate(np.where(pulsed, np.arange(steps)[:, None, None], 0), axis=0)
    return Batch(
        inputs=(signs * pulsed).astype(dtype),
        targets=np.take_along_axis(signs, last, axis=0).astype(dtype),
        heads=(Head("sign", channels, "mse"),),
        baseline=(1 - pulse) * (steps - 1) / steps,
        baseline_of="no memory: the pulse where there is one, 0 elsewhere, (1 - pulse) (T - 1) / T",
    )
