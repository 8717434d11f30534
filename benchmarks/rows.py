"""The rows of the benchmark table: what is run, and what ratio each row should reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FORWARD = "forward"
TRAIN = "forward+backward"

# In which pass each peer is compared: ONNX Runtime does inference alone.
PASS_OF = {"pytorch": TRAIN, "torchcompile": TRAIN, "jax": TRAIN, "onnxruntime": FORWARD}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One problem size.

    Attributes
    ----------
    cell, dtype : str
    batch, input_size, hidden_size, steps : int
        B, I, H and T.
    layers : int
        Layers of H units, one on top of another.
    targets : mapping of str to float or None
        Peers to compare with, and the ratio (peer's time / ours) that should be reached; None is no target.
    """

    cell: str
    dtype: str
    batch: int
    input_size: int
    hidden_size: int
    steps: int
    layers: int = 1
    targets: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Short name, for ``--rows`` and for the JSON."""
        units = f"{self.layers}x{self.hidden_size}" if self.layers > 1 else self.hidden_size
        return f"{self.cell}-b{self.batch}-i{self.input_size}-h{units}-t{self.steps}-{self.dtype}"

    @property
    def title(self) -> str:
        """Name in a table."""
        cell = self.cell.upper()
        units = f"{self.layers} x {self.hidden_size:,}" if self.layers > 1 else f"{self.hidden_size:,}"
        return f"{cell} B={self.batch} I={self.input_size} H={units} T={self.steps:,}"

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """I of each layer, from the lowest."""
        return (self.input_size, *(self.hidden_size,) * (self.layers - 1))

    def shortened(self, steps: int) -> Row:
        """Return the same row with fewer steps, for a smoke run."""
        return replace(self, steps=min(self.steps, steps))


def _row(
    cell: str, dtype: str, size: tuple[int, int, int, int], *, layers: int = 1, **targets: float | None
) -> Row:
    batch, input_size, hidden_size, steps = size
    return Row(
        cell=cell,
        dtype=dtype,
        batch=batch,
        input_size=input_size,
        hidden_size=hidden_size,
        steps=steps,
        layers=layers,
        targets=targets,
    )


# B, I, H, T.  T is long enough for start-up costs not to count, and short enough for the slowest peer to
# finish a run in about two seconds; over 100,000 steps PyTorch's GRU takes longer.
_FORTY = (40, 1, 16, 20_000)
_ONE = (1, 1, 16, 20_000)
_ONE_WIDE = (1, 1, 64, 20_000)
_ONE_LONG = (1, 1, 64, 100_000)
_MIDDLE = (32, 64, 128, 1_000)
_MANY = (256, 64, 128, 300)
_LARGE = (64, 256, 512, 100)
_LARGER = (64, 256, 1_024, 80)

# Peers of the rows without targets.  What torch.compile compiles is a step, so of long series it is left out.
_LONG: dict[str, float | None] = {"pytorch": None, "jax": None, "onnxruntime": None}
_ALL: dict[str, float | None] = {**_LONG, "torchcompile": None}

ROWS: tuple[Row, ...] = (
    _row("lstm", "float32", _FORTY, pytorch=15, jax=7, onnxruntime=3),
    _row("gru", "float32", _FORTY, pytorch=40, jax=7, onnxruntime=5),
    _row("rnn", "float32", _FORTY, pytorch=20, jax=5, onnxruntime=8),
    _row("lstm", "float32", _ONE, pytorch=8, jax=8, onnxruntime=2.5),
    _row("gru", "float32", _ONE, pytorch=300, jax=8, onnxruntime=2.5),
    _row("lstm", "float32", _ONE_WIDE, pytorch=3, jax=2.5, onnxruntime=1.0),
    *(_row(cell, "float32", _ONE_LONG, **_LONG) for cell in ("lstm", "gru")),
    _row("lstm", "float32", _MIDDLE, pytorch=2, torchcompile=None, jax=2, onnxruntime=1.0),
    _row("gru", "float32", _MIDDLE, pytorch=3, torchcompile=None, jax=2, onnxruntime=1.0),
    *(_row(cell, "float32", _MIDDLE, layers=2, **_ALL) for cell in ("lstm", "gru")),
    *(_row(cell, "float32", _MANY, **_ALL) for cell in ("lstm", "gru")),
    _row("lstm", "float32", _LARGE, pytorch=1.0, torchcompile=None, jax=None, onnxruntime=1.0),
    _row("gru", "float32", _LARGE, pytorch=1.0, torchcompile=None, jax=None, onnxruntime=1.0),
    *(_row(cell, "float32", _LARGER, **_ALL) for cell in ("lstm", "gru")),
    *(
        _row(cell, "float64", size, pytorch=3)
        for size in (_FORTY, _ONE, _ONE_WIDE, _MIDDLE, _LARGE)
        for cell in ("lstm", "gru")
    ),
)


def select(patterns: list[str] | None) -> list[Row]:
    """Return the rows whose key contains any of the patterns; all rows if there are none.

    Raises
    ------
    ValueError
        If a pattern fits no row.
    """
    if not patterns:
        return list(ROWS)
    for pattern in patterns:
        if not any(pattern in row.key for row in ROWS):
            raise ValueError(
                f"--rows {pattern!r} fits no row; the rows are {', '.join(row.key for row in ROWS)}"
            )
    return [row for row in ROWS if any(pattern in row.key for pattern in patterns)]
