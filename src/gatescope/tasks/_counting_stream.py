"""Counting without end: strings a^n b^n one after another, with nothing that says where one begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, Batch, Head
from gatescope.tasks._synthetic import check_size, one_hot
from gatescope.tasks._task import task

_A, _B = 0, 1


@task(steps=None, n_min=None)
def counting_stream(
    *,
    steps: int = 1000,
    sequences: int = 10,
    n_min: int = 1,
    n_max: int = 10,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make streams of strings a^n b^n, each n drawn at random; at every step, which symbols may come next.

    n is uniform in `n_min`..`n_max`.  A string follows the one before at once: there is no start, no end, and the state
    is not set back.  The last string is cut where the stream ends.  What may come next is a set, which the string so
    far determines:

    ============================ ====
    after                        next
    ============================ ====
    any a                        a, b
    b, fewer than there were a   b
    b, as many as there were a   a
    ============================ ====

    A network must count up and down as for `counting`, and begin anew with every string: what it has kept of earlier
    ones is in its way.  `counting` is the task whose strings come one by one.

    The baseline knows only the current symbol: a b is the last of its string with the frequency q, one in the mean n of
    the b of the batch, and costs ``-q ln q - (1-q) ln(1-q)`` for each of the two outputs; after a it never errs.

    Parameters
    ----------
    steps : int
        T, at least 2 `n_min`: a whole string.
    sequences : int
        B.
    n_min, n_max : int
        The shortest and the longest n.
    seed : int
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, 2) one-hot: a, b.  `targets` (T, B, 2): a, b; every step counts.  One head of 2 outputs,
        Bernoulli.

    References
    ----------
    F. A. Gers, J. Schmidhuber, F. Cummins, Learning to forget: continual prediction with LSTM, Neural Computation
    12(10) (2000), for streams without resets, on which an LSTM without a forget gate fails.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.counting_stream(steps=8, sequences=1, n_max=2, seed=2)
    >>> "".join("ab"[k] for k in batch.inputs[:, 0].argmax(-1))
    'aabbabab'
    >>> batch.targets[:4, 0].astype(int).tolist()  # a or b; a or b; b; a
    [[1, 1], [1, 1], [0, 1], [1, 0]]
    """
    n_min = check_count("n_min", n_min, most=n_max)
    steps = check_count("steps", steps, least=2 * n_min)
    check_size(4 * steps * sequences, dtype)
    strings = -(-steps // (2 * n_min))  # enough, if all are of the shortest
    numbers = np.random.default_rng(seed).integers(n_min, n_max + 1, (strings, sequences))
    numbers = np.minimum(
        numbers, steps
    )  # of a longer string there is no more to be seen, and its end may overflow
    n, place = _strings(numbers, steps)
    symbol = np.where(place < n, _A, _B)
    last = place == 2 * n - 1
    targets = np.empty((steps, sequences, 2), dtype)
    targets[..., _A] = (symbol == _A) | last
    targets[..., _B] = ~last
    return Batch(
        inputs=one_hot(symbol, 2, dtype),
        targets=targets,
        heads=(Head("next", 2, "bernoulli"),),
        baseline=_baseline(symbol == _B, last),
        baseline_of="the current symbol alone: the end of a run of b gets its frequency",
    )


def _strings(numbers: Array, steps: int) -> tuple[Array, Array]:
    """Return for every step (T, B) the n of its string and how many steps of it came before, of numbers (S, B)."""
    ends = np.cumsum(2 * numbers, axis=0)
    begins = np.zeros((steps, numbers.shape[1]), np.int64)
    string, sequence = np.nonzero(ends < steps)
    begins[ends[string, sequence], sequence] = 1
    of = np.cumsum(begins, axis=0)
    n = np.take_along_axis(numbers, of, axis=0)
    begin = np.take_along_axis(ends, of, axis=0) - 2 * n
    return n, np.arange(steps)[:, None] - begin


def _baseline(b: Array, last: Array) -> float:
    """Return the loss of the best answer that knows the current symbol, a mean over steps."""
    if not b.any():
        return 0.0
    q = float(last.sum() / b.sum())
    entropy = 0.0 if q in (0.0, 1.0) else -q * np.log(q) - (1 - q) * np.log1p(-q)
    return float(2 * entropy * b.mean())
