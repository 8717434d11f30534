"""Counting: which symbols may come next in a^n b^n, or a^n b^n c^n?"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatescope.checks.arrays import check_shape, real_array
from gatescope.checks.numbers import check_count, check_type
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.tasks._synthetic import check_size, one_hot
from gatescope.tasks._task import task

_LETTERS = "abc"
_TWO_OR_THREE = partial(check_count, least=2, most=3)


@task(letters=_TWO_OR_THREE, steps=None, n_min=None, n_max=None)
def counting(
    *,
    steps: int = 101,
    sequences: int = 50,
    n_min: int = 1,
    n_max: int | None = None,
    letters: int = 2,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make strings a^n b^n (or a^n b^n c^n) with n drawn at random; at every step, which symbols may come next.

    n is uniform in `n_min`..`n_max`.  The inputs are a start symbol and then the string, ``letters * n + 1`` steps,
    with zeros after them up to T.  What may come next is a set, whose members the prefix determines:

    ============================ ================= =================
    after                        a^n b^n           a^n b^n c^n
    ============================ ================= =================
    start                        a                 a
    any a                        a, b              a, b
    b, fewer than there were a   b                 b
    b, as many as there were a   end               c
    c, fewer than there were a                     c
    c, as many as there were a                     end
    ============================ ================= =================

    The targets are 1 for the members and 0 for the others, so the Bernoulli loss of a network that counts goes to 0,
    which that of a guess at the one symbol that did come could not: nobody can know the last a.
    `counting_accepted` says which strings were followed without a fault.

    The baseline knows only the current symbol.  After start and a that is enough; after the later letters it gives
    the end of their run its frequency q, one in the mean n of the batch, at the cost of ``-q ln q - (1-q) ln(1-q)``
    for each of the two outputs that it is unsure of, at ``(letters - 1) n`` steps of ``letters n + 1``.

    Parameters
    ----------
    steps : int
        T, at least ``letters * n_max + 1``.
    sequences : int
        B.
    n_min, n_max : int
        The shortest and the longest n; default 1, and the longest that T allows.
    letters : {2, 3}
        2: a^n b^n, which is context-free; 3: a^n b^n c^n, which is context-sensitive.
    seed : int
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, letters + 1) one-hot: start, a, b(, c).  `targets` (T, B, letters + 1): a, b(, c), end;
        `lengths` (B,) and `mask` (T, B) are those of the strings with their start.  One head of letters + 1 outputs,
        Bernoulli.  `provenance` holds the n of every sequence as ``"numbers"``.

    References
    ----------
    F. A. Gers, J. Schmidhuber, LSTM recurrent networks learn simple context-free and context-sensitive languages,
    IEEE Transactions on Neural Networks 12(6) (2001), for the sets of next symbols and for what is accepted;
    G. Weiss, Y. Goldberg, E. Yahav, On the practical computational power of finite precision RNNs for language
    recognition, ACL (2018), for which cells can count, and how far.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.counting(steps=21, sequences=4)
    >>> batch.inputs.shape, max(batch.provenance["numbers"]) <= 10
    ((21, 4, 3), True)
    """
    steps = check_count("steps", steps, least=letters + 1)
    longest = (steps - 1) // letters
    n_max = check_count("n_max", longest if n_max is None else n_max, most=longest)
    n_min = check_count("n_min", n_min, most=n_max)
    check_size(2 * steps * sequences * (letters + 1), dtype)
    numbers = np.random.default_rng(seed).integers(n_min, n_max + 1, sequences)
    return _counting(numbers, letters, steps, dtype, n_max=n_max)


@task(letters=_TWO_OR_THREE, steps=None)
def counting_of(
    numbers: Any, *, letters: int = 2, steps: int | None = None, dtype: DTypeLike = "float32"
) -> Batch:
    """Make the strings a^n b^n (or a^n b^n c^n) of given n, as `counting` makes them, to test what a network counts to.

    Parameters
    ----------
    numbers : (B,) whole numbers
        n of every sequence, at least 1.
    letters : {2, 3}
    steps : int, optional
        T; default what the longest string needs, ``letters * max(numbers) + 1``.
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch

    Raises
    ------
    ShapeError
        If `numbers` is empty or has not one axis.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.counting_of([2, 1])
    >>> batch.lengths.tolist()
    [5, 3]
    >>> batch.inputs[:, 0].argmax(-1).tolist()  # start a a b b
    [0, 1, 1, 2, 2]
    >>> batch.targets[:, 0].astype(int).tolist()  # a; a or b; a or b; b; end
    [[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]
    """
    counts = real_array("numbers", numbers)
    if counts.ndim != 1 or counts.size == 0:
        raise ShapeError(
            "should have one n for each of at least one sequence", argument="numbers", seen=counts.shape
        )
    if counts.dtype.kind not in "iu" or counts.min() < 1:
        raise ValueRangeError("must be whole numbers of at least 1", argument="numbers", seen=numbers)
    needed = letters * int(counts.max()) + 1
    steps = check_count("steps", needed if steps is None else steps, least=needed)
    check_size(
        2 * steps * counts.size * (letters + 1), dtype, "give fewer or smaller numbers, or fewer steps"
    )
    return _counting(counts.astype(np.int64), letters, steps, dtype)


def counting_accepted(outputs: Any, batch: Batch) -> NDArray[np.bool_]:
    """Return which strings were followed without a fault.

    A string is accepted if at every one of its steps every output is on the right side: above 0, which is p > 1/2, for
    the symbols that may come next, and below 0 for the others.  (An output that is exactly 0, or NaN, is on neither.)

    Parameters
    ----------
    outputs : (T, B, letters + 1)
        Of the read-out, before the sigmoid.
    batch : Batch
        That of `counting` or `counting_of` which the outputs belong to.

    Returns
    -------
    (B,) bool

    Raises
    ------
    ShapeError
        If the outputs do not have the shape of the batch's targets.
    ValueRangeError
        If the batch is of another task.
    DtypeError
        If the outputs are no numbers.

    References
    ----------
    F. A. Gers, J. Schmidhuber, IEEE Transactions on Neural Networks 12(6) (2001): a string is processed correctly if
    all its predictions are.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.counting_of([1, 2, 3])
    >>> outputs = batch.targets - 0.5
    >>> outputs[4, 1] *= -1  # the end of the second string
    >>> gs.tasks.counting_accepted(outputs, batch)
    array([ True, False,  True])
    """
    check_type("batch", batch, Batch, advice="give one of counting or counting_of")
    if batch.name != "counting":
        raise ValueRangeError(
            f"is of the task {batch.name!r}", argument="batch", advice="give one of counting or counting_of"
        )
    answers = real_array("outputs", outputs)
    check_shape("outputs", answers, batch.targets.shape, "the shape of batch.targets")
    right = np.where(batch.targets > 0, answers > 0, answers < 0).all(axis=2)
    return np.asarray((right | ~batch.mask).all(axis=0), dtype=np.bool_)


def _counting(numbers: Array, letters: int, length: int, dtype: DTypeLike, **settled: int) -> Batch:
    """Return the batch of given n; `settled` are arguments of which the defaults follow from others."""
    lengths = letters * numbers + 1
    step = np.arange(length)[:, None]
    inside = step < lengths
    # 0 at the start, and then 1, 2(, 3) for a, b(, c).
    symbol = np.where(inside, -(-step // numbers), 0)
    inputs = one_hot(symbol, letters + 1, dtype) * inside[..., None]
    # With k letters done, the (k+1)th comes next; within the first run, the second may come at any step.
    upcoming = np.where(inside, step // numbers, 0)
    targets = one_hot(upcoming, letters + 1, dtype)
    targets[symbol == 1, 0] = targets[symbol == 1, 1] = 1
    targets *= inside[..., None]
    return Batch(
        name="counting",
        inputs=inputs,
        targets=targets,
        mask=np.ascontiguousarray(inside),
        lengths=lengths,
        heads=(Head("next", letters + 1, "bernoulli"),),
        baseline=_baseline(numbers, letters),
        baseline_of="the current symbol alone: the end of a run of b (or c) gets its frequency",
        provenance={
            "language": " ".join(f"{letter}^n" for letter in _LETTERS[:letters]),
            "numbers": numbers.tolist(),
            "steps": length,
            "sequences": len(numbers),
            **settled,
        },
    )


def _baseline(numbers: Array, letters: int) -> float:
    unsure = float(numbers.sum())  # steps within one run
    q = len(numbers) / unsure  # how often such a step is the last of its run
    entropy = 0.0 if q == 1 else -q * np.log(q) - (1 - q) * np.log1p(-q)
    return float(2 * (letters - 1) * unsure * entropy / (letters * numbers + 1).sum())
