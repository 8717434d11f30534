"""``--standardize``: inputs on the scale that weights were trained on, or on their own, read once piece by piece."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gatescope.cli.networks import Network, note
from gatescope.errors import OutputError
from gatescope.reporting.text import listing, number

if TYPE_CHECKING:
    from gatescope.cli.inputs import Series
    from gatescope.datatypes import Array

Scale = dict[str, "list[float]"]

_PIECE = 1 << 20  # numbers that are worked on together
_SHOWN = 6  # numbers in a line
_FAR, _OFF = 3.0, 5.0  # a mean and a factor of deviations that no new data of a task have


def fed_to(
    networks: Mapping[str, Network | None], series: Series, *, standardize: bool, threads: int | None = None
) -> tuple[dict[str, Series], str]:
    """Return what each network gets of a series, by label, and the line that says how the series was read."""
    inputs, reading = dict.fromkeys(networks, series), series.reading
    if standardize:
        inputs, reading = _standardized(series, networks)
    for label, network in networks.items():
        if network is not None:
            if network.scale is not None and not standardize:
                note([_trained_on(label, network.scale)])
            inputs[label] = network.fed(label, inputs[label], threads)
    return inputs, reading


def _standardized(series: Series, networks: Mapping[str, Network | None]) -> tuple[dict[str, Series], str]:
    """Return the inputs of each network on the scale that it was trained on, else on the series' own, and the line."""
    own = _own_scale(series)
    by_scale: dict[str, Series] = {}
    inputs: dict[str, Series] = {}
    labels: dict[str, list[str]] = {}
    for label, network in networks.items():
        trained = None if network is None else network.scale
        scale = own if trained is None else trained
        if trained is not None:
            _warn_if_far(series, label, own, trained)
        key = f"{'by its own' if trained is None else f'as {label} was trained, by'} {_text(scale)}"
        if key not in by_scale:
            kept = {**series.provenance, "inputs_scale": scale}
            by_scale[key] = series._replace(values=_scaled(series, scale), provenance=kept)
        inputs[label] = by_scale[key]
        labels.setdefault(key, []).append(label)
    texts = [text if len(networks) == 1 else f"{listing(names)} {text}" for text, names in labels.items()]
    return inputs, f"{series.reading}; standardized {'; '.join(texts)}"


def _trained_on(label: str, scale: Scale) -> str:
    return (
        f"{label} was trained on standardized inputs, (x - mean) / sd with {_text(scale)}: give such, as train has "
        "written them beside it, or the file with --standardize"
    )


def _text(scale: Scale) -> str:
    mean, deviation = (
        listing(scale[key], most=_SHOWN, form=number) for key in ("mean", "standard_deviation")
    )
    return f"mean {mean} and sd {deviation}"


def _warn_if_far(series: Series, label: str, own: Scale, scale: Scale) -> None:
    """Say so where inputs are far from what the weights were trained on: standardized before, or of another unit."""
    parts = []
    for mean, deviation, centre, width in zip(*own.values(), *scale.values(), strict=True):
        far = (mean - centre) / (width or 1), deviation / (width or 1)
        if abs(far[0]) > _FAR or (width and deviation and not 1 / _OFF < far[1] < _OFF):
            parts.append(f"mean {number(far[0])} and sd {number(far[1])}")
    if parts:
        note(
            [
                f"{series.source}: on the scale that {label} was trained on, the inputs have {listing(parts, most=2)}; "
                "leave out --standardize if they are standardized already"
            ]
        )


def _pieces(series: Series) -> Iterator[tuple[slice, Array, Array | None]]:
    """Yield the steps, the values (n, B, I) in float64, and the mask (n, B) of those that belong to a sequence."""
    import numpy as np

    values = series.values if series.values.ndim == 3 else series.values[:, None, :]
    rows = max(1, _PIECE // values[0].size)
    for begin in range(0, len(values), rows):
        piece = np.asarray(values[begin : begin + rows], np.float64)
        mask = None
        if series.lengths is not None:
            mask = np.arange(begin, begin + len(piece))[:, None] < series.lengths
        yield slice(begin, begin + len(piece)), piece, mask


def _own_scale(series: Series) -> Scale:
    """Return mean and standard deviation of each input over all steps that are, in one pass.

    Pieces are put together by Chan, Golub and LeVeque's update of sums of squares, which loses no digits.
    """
    import numpy as np

    count, width = 0, series.values.shape[-1]
    mean, squares = np.zeros((2, width))
    low, high = np.full((2, width), ((np.inf,), (-np.inf,)))
    for _, piece, mask in _pieces(series):
        steps = piece.reshape(-1, piece.shape[-1]) if mask is None else piece[mask]
        if not len(steps):
            continue
        piece_mean = steps.mean(axis=0)
        apart, total = piece_mean - mean, count + len(steps)
        squares += ((steps - piece_mean) ** 2).sum(axis=0) + apart**2 * (count * len(steps) / total)
        mean += apart * (len(steps) / total)
        low, high = np.minimum(low, steps.min(axis=0)), np.maximum(high, steps.max(axis=0))
        count = total
    deviation = np.where(low < high, np.sqrt(squares / count), 0)  # rounding may leave some of a constant
    return {"mean": mean.tolist(), "standard_deviation": deviation.tolist()}


def _scaled(series: Series, scale: Scale) -> Array:
    """Return inputs (T, B, I) less the means and over the deviations, those past the end of a sequence 0.

    An input that does not change is not divided.  Of a memory-mapped series these are in a temporary file, too.
    """
    import numpy as np

    mean, deviation = np.array(scale["mean"]), np.array(scale["standard_deviation"])
    divisor = np.where(deviation > 0, deviation, 1)

    def pieces() -> Iterator[tuple[slice, Array]]:
        for where, piece, mask in _pieces(series):
            piece = (piece - mean) / divisor
            if mask is not None:
                piece[~mask] = 0
            yield where, piece

    shape = series.values.shape if series.values.ndim == 3 else (len(series.values), 1, mean.size)
    if not isinstance(series.values, np.memmap):
        values = np.empty(shape)
        for where, piece in pieces():
            values[where] = piece
        return values
    with tempfile.TemporaryFile() as stream:
        try:
            for _, piece in pieces():
                stream.write(piece.tobytes())
            stream.flush()
        except OSError as error:
            raise OutputError(
                f"the standardized inputs do not fit into the folder of temporary files ({error.strerror})",
                advice="set TMPDIR to one with more room",
            ) from error
        mapped: Array = np.memmap(stream, np.float64, "r", shape=shape)
    return mapped
