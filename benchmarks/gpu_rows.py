"""The rows of the GPU table, in the order in which they are measured: those with a target first."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Row

PEER = "cudnn"

# Microseconds a step, forward and backward, float32, by hidden size: what the chain of dependent operations of an
# LSTM step needs on an H200, by a count of instructions made before anything was measured there.
FLOORS: dict[int, tuple[float, float]] = {
    16: (0.18, 0.14),
    64: (0.29, 0.25),
    128: (0.53, 0.49),
    256: (0.53, 0.50),
}


def _row(cell: str, hidden: int, batch: int, target: float | None, dtype: str = "float32") -> Row:
    return Row(
        cell=cell,
        dtype=dtype,
        batch=batch,
        input_size=1 if hidden == 16 else 16,
        hidden_size=hidden,
        # At most: a row is as long as makes a call take a measurable time.
        steps=20_000 if hidden == 16 else 100_000,
        targets={PEER: target},
    )


ROWS: tuple[Row, ...] = (
    _row("lstm", 16, 40, 3),
    _row("gru", 16, 40, 3),
    *(_row("lstm", 64, batch, 1.5) for batch in (1, 40, 256)),
    *(_row("lstm", 256, batch, 3) for batch in (1, 40)),
    *(_row("lstm", hidden, 40, 8, "float64") for hidden in (64, 128)),
    *(_row("lstm", hidden, 40, 1) for hidden in (512, 1024)),
    *(_row("gru", 64, batch, 1.5) for batch in (1, 40, 256)),
    *(_row("gru", 256, batch, 3) for batch in (1, 40)),
    *(_row("gru", hidden, 40, 8, "float64") for hidden in (64, 128)),
    *(_row("gru", hidden, 40, 1) for hidden in (512, 1024)),
    _row("lstm", 128, 40, None),
    _row("gru", 128, 40, None),
    _row("rnn", 16, 40, None),
    _row("rnn", 64, 40, None),
)

QUICK = (
    "lstm-b40-i1-h16-t20000-float32",
    "lstm-b40-i16-h64-t100000-float64",
    "gru-b40-i16-h256-t100000-float32",
)

# By what part of its largest value an array may differ from the CPU's.  Weight gradients in float32 are sums of some
# thousands of terms, which the GPU adds in another order.
AGREES = {"float32": 1e-4, "float64": 1e-12}
# cuDNN has algorithms and activations of its own; TF32, which rounds to ten bits, would be beyond this.
PEER_AGREES = {"float32": 1e-4, "float64": 1e-10}


def check_steps(row: Row) -> int:
    """Return steps of the comparison with the CPU: enough for an error to grow, few enough for the CPU."""
    return 200 if row.hidden_size <= 128 and row.batch <= 40 else 50


def select(patterns: Sequence[str] | None, quick: bool = False) -> list[Row]:
    """Return the rows whose key contains one of the patterns; without patterns all, or a few for a quick run.

    Raises
    ------
    ValueError
        If a pattern fits no row.
    """
    if not patterns:
        return [row for row in ROWS if not quick or row.key in QUICK]
    for pattern in patterns:
        if not any(pattern in row.key for row in ROWS):
            keys = ", ".join(row.key for row in ROWS)
            raise ValueError(f"--rows {pattern!r} fits no row; the rows are {keys}")
    return [row for row in ROWS if any(pattern in row.key for pattern in patterns)]


def by_key(key: str) -> Row:
    """Return the row of that key."""
    return next(row for row in ROWS if row.key == key)
