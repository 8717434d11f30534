"""The temporal order problem: in which order did a few symbols come, long ago?"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Batch, Head
from gatescope.tasks._synthetic import at_the_last_step, check_size, one_hot
from gatescope.tasks._task import task

# Inputs 0..7: start, end, four distractors, and the two symbols whose order matters.
_START, _END, _DISTRACTORS, _SYMBOLS = 0, 1, (2, 6), 6
_INPUTS = 8
# Where the symbols may come, in hundredths of the length, both ends included, by their number.
_WINDOWS = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}


@task(
    steps=partial(check_count, least=10),
    symbols=partial(check_count, least=min(_WINDOWS), most=max(_WINDOWS)),
)
def temporal_order(
    *,
    steps: int = 100,
    sequences: int = 50,
    symbols: int = 2,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make the temporal order problem: tell by the order of a few far-off symbols which class a series belongs to.

    A series is the start symbol, distractors (four kinds, each as likely), and the end symbol at its last step, with
    X or Y, each as likely, instead of 2 or 3 of the distractors.  Their steps are uniform in windows which, for
    T = 100, are steps 10..20 and 50..60 (two), or 10..20, 33..43 and 66..76 (three), and which scale with T.  The
    class is the number whose binary digits are the symbols, X = 0 and Y = 1, the first one weighing most:
    XX = 0, XY = 1, YX = 2, YY = 3.  It is asked for at the last step.

    The baseline gives every class the same probability: its cross-entropy is ln 4 = 1.3863 or ln 8 = 2.0794 nats,
    for nothing at the last step shows the class.

    Parameters
    ----------
    steps : int
        T, at least 10.
    sequences : int
        B.
    symbols : {2, 3}
        How many symbols matter: 2 (four classes, problem 6a) or 3 (eight classes, problem 6b).
    seed : int
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, 8) one-hot: start, end, four distractors, X, Y.  `targets` (T, B, 1), of which `mask` (T, B)
        counts the last step; one head of 4 or 8 outputs, cross-entropy.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9(8) (1997), experiments 6a and 6b;
    there the length of each series is drawn from 100 to 110, here all have T steps.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.temporal_order(steps=200, sequences=5, symbols=3)
    >>> batch.inputs.shape, batch.heads[0].size, round(batch.baseline, 4)
    ((200, 5, 8), 8, 2.0794)
    """
    check_size(steps * sequences * (_INPUTS + 1), dtype)
    rng = np.random.default_rng(seed)
    coded = rng.integers(*_DISTRACTORS, (steps, sequences))
    coded[0], coded[-1] = _START, _END
    classes = np.zeros(sequences, np.int64)
    for begin, end in _WINDOWS[symbols]:
        step = rng.integers(begin * steps // 100, end * steps // 100 + 1, sequences)
        symbol = rng.integers(0, 2, sequences)
        coded[step, np.arange(sequences)] = _SYMBOLS + symbol
        classes = 2 * classes + symbol
    targets, mask = at_the_last_step(classes, steps, dtype)
    return Batch(
        inputs=one_hot(coded, _INPUTS, dtype),
        targets=targets,
        mask=mask,
        heads=(Head("order", 2**symbols, "cross_entropy"),),
        baseline=symbols * math.log(2),
        baseline_of=f"every class as likely, ln {2**symbols}",
    )
