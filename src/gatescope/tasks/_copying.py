"""The copying problem: a few symbols shall be given back after a long blank."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Batch, Head
from gatescope.tasks._synthetic import check_size, one_hot
from gatescope.tasks._task import task


@task(symbols=partial(check_count, least=2))
def copying(
    *,
    steps: int = 100,
    sequences: int = 128,
    symbols: int = 8,
    memory: int = 10,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make the copying problem: a few symbols are shown, and asked for again after `steps` blank steps.

    With K `symbols` and M of them to remember, symbol K is the blank and K + 1 the delimiter, which asks for the
    answer; T is `steps` as the papers count it, so **the batch is T + 2 M steps long** (T + 20 by default):

    ======= =========================== ======= ========= =========
    steps   M                           T - 1   1         M
    ======= =========================== ======= ========= =========
    input   M of 0..K-1, each likely    blank   delimiter blank
    target  blank                       blank   blank     the M
    ======= =========================== ======= ========= =========

    The baseline has no memory of the symbols: it answers blank for T + M steps and then gives each of the K symbols
    the same probability, so that its cross-entropy, over all steps, is ``M ln K / (T + 2 M)`` nats.  With K = 8 and
    M = 10 that is 0.1733, 0.0945, 0.0400, 0.0204 and 0.0103 at T = 100, 200, 500, 1000 and 2000.

    Parameters
    ----------
    steps : int
        T; a symbol and its copy are T + M steps apart.
    sequences : int
        B.
    symbols : int
        K, at least 2.
    memory : int
        M, at least 1.
    seed : int
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T + 2 M, B, K + 2) one-hot, `targets` (T + 2 M, B, 1), of which every step counts; one head of
        K + 1 outputs, cross-entropy: the K symbols and the blank, for the delimiter is never an answer.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9(8) (1997), for its origin;
    M. Arjovsky, A. Shah, Y. Bengio, Unitary evolution recurrent neural networks, ICML (2016), for the
    lengths, the alphabet and the baseline.

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.copying(steps=100, sequences=4)
    >>> batch.inputs.shape, round(batch.baseline, 4)
    ((120, 4, 10), 0.1733)
    """
    total = steps + 2 * memory
    check_size(total * sequences * (symbols + 3), dtype, "give fewer steps, sequences, symbols or memory")
    blank, delimiter = symbols, symbols + 1
    shown = np.random.default_rng(seed).integers(0, symbols, (memory, sequences))
    coded = np.full((total, sequences), blank)
    coded[:memory] = shown
    coded[memory + steps - 1] = delimiter
    targets = np.full((total, sequences, 1), blank, dtype)
    targets[-memory:, :, 0] = shown
    return Batch(
        inputs=one_hot(coded, symbols + 2, dtype),
        targets=targets,
        heads=(Head("symbol", symbols + 1, "cross_entropy"),),
        baseline=memory * math.log(symbols) / total,
        baseline_of="no memory: blank until the delimiter, then every symbol as likely, M ln K / (T + 2 M)",
    )
