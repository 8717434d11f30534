"""Handwritten digits, read row by row or pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.dtypes import float_dtype
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import ValueRangeError
from gatescope.tasks._music import check_one_of, need
from gatescope.tasks._splits import NoSuchSplitError
from gatescope.tasks._synthetic import at_the_last_step, generator, real, record, whole, whole_length

SPLITS = ("train", "valid", "test")
ORDERS = ("rows", "pixels", "permuted")
_CLASSES, _SIDE, _BRIGHTEST = 10, 8, 16
_PERMUTATION_SEED = 0


def digits(
    *,
    split: str = "train",
    order: str = "rows",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.2,
    sequences: int | None = None,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """scikit-learn's 1,797 images of handwritten digits as sequences; at the last step, which digit it was.

    An image is 8 x 8 pixels of 0..16, here divided by 16.

    ============  ======================================================================================
    order         what is read
    ============  ======================================================================================
    ``rows``      T = 8 steps of 8 pixels, from the top
    ``pixels``    T = 64 steps of 1 pixel, row after row
    ``permuted``  T = 64 steps of 1 pixel in an order drawn once, the same for all images and all seeds,
                  so that neighbours in the image are far apart in time
    ============  ======================================================================================

    The baseline is that of a guess among ten digits, ln 10 = 2.3026 nats; the ten are almost equally frequent.

    Parameters
    ----------
    split : {"train", "valid", "test"}
    order : {"rows", "pixels", "permuted"}
    valid_fraction : float
        Share of the images not kept for the test that are kept to choose by: at least 0 and less than 1, rounded down,
        of whatever digits.
    test_fraction : float
        Share of every digit's images that is kept for the test, between 0 and 1.
    sequences : int, optional
        Only so many images, or all of a split that has fewer than the training split; of two such numbers the smaller
        gives a part of the larger.  Default: all of the split.
    seed : int
        Of the splits and of the images' order in them.
    dtype : {"float32", "float64"}

    Returns
    -------
    Batch
        `inputs` (T, B, 8) or (T, B, 1), `targets` (T, B, 1), of which `mask` (T, B) counts the last step; one head of
        10 outputs, cross-entropy.

    Raises
    ------
    MissingPackageError
        If scikit-learn is not installed: ``pip install "gatescope[digits]"``.
    ValueRangeError
        If a number is not allowed, `test_fraction` puts all or none of a digit's images into the test split, or a split
        is empty.
    UnknownNameError
        If there is no such split or order.
    DtypeError
        If `dtype` is neither float32 nor float64.

    References
    ----------
    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998), its
    test set; Q. V. Le, N. Jaitly, G. E. Hinton, A simple way to initialize recurrent networks of rectified linear
    units, arXiv:1504.00941 (2015), for images read pixel by pixel and permuted.

    Examples
    --------
    >>> import gatescope as gs
    >>> gs.tasks.digits(order="pixels").inputs.shape  # doctest: +SKIP
    (64, 1295, 1)
    """
    wanted = float_dtype(dtype)
    check_one_of("split", split, SPLITS)
    check_one_of("order", order, ORDERS)
    valid = real("valid_fraction", valid_fraction, least=0, most=1)
    test = real("test_fraction", test_fraction, least=0, most=1)
    rng = generator(seed)
    data = need("sklearn.datasets", "scikit-learn", "digits").load_digits()
    images = np.asarray(data.images, np.float64) / _BRIGHTEST  # (N, 8, 8)
    classes = np.asarray(data.target, np.int64)
    chosen = _chosen(_split(classes, test, rng), split, valid, sequences)
    limit = len(chosen)
    pixels = images[chosen]
    permutation = np.random.default_rng(_PERMUTATION_SEED).permutation(_SIDE * _SIDE)
    if order != "rows":
        pixels = pixels.reshape(limit, _SIDE * _SIDE, 1)
    if order == "permuted":
        pixels = pixels[:, permutation]
    steps = pixels.shape[1]
    targets, mask = at_the_last_step(classes[chosen], steps, wanted)
    return Batch(
        name="digits",
        inputs=np.ascontiguousarray(pixels.transpose(1, 0, 2).astype(wanted)),
        targets=targets,
        mask=mask,
        lengths=whole_length(steps, limit),
        heads=(Head("digit", _CLASSES, "cross_entropy"),),
        baseline=math.log(_CLASSES),
        baseline_of="a guess among ten digits, ln 10",
        provenance=record(
            "digits",
            wanted,
            source="scikit-learn's load_digits",
            split=split,
            order=order,
            valid_fraction=valid,
            test_fraction=test,
            sequences=limit,
            seed=int(seed),
            permutation=permutation.tolist() if order == "permuted" else None,
        ),
    )


def _chosen(parts: dict[str, Array], split: str, valid: float, sequences: int | None) -> Array:
    """Indices of the images of a split: those to choose by are the last ones of those not kept for the test."""
    rest = parts["train"]
    training = len(rest) - int(valid * len(rest))
    parts = {"train": rest[:training], "valid": rest[training:], "test": parts["test"]}
    for name in ("train", split):
        if not len(parts[name]):
            kind = ValueRangeError if name == "train" else NoSuchSplitError
            raise kind(
                f"valid_fraction={valid:g} keeps {len(rest) - training} of {len(rest)} images to choose by, so split "
                f"{name!r} is empty; give a number such as 0.1"
            )
    chosen = parts[split]
    # As many are asked of all splits on the command line, where the training split is the one that is meant.
    most = max(len(chosen), training)
    return chosen if sequences is None else chosen[: whole("sequences", sequences, most=most)]


def _split(classes: Array, fraction: float, rng: np.random.Generator) -> dict[str, Array]:
    """Indices of the test images and of the others: of every class the same share, in a random order."""
    parts: dict[str, list[Array]] = {"test": [], "train": []}
    for digit in range(_CLASSES):
        images = rng.permutation(np.flatnonzero(classes == digit))
        kept = round(fraction * len(images))
        if not 0 < kept < len(images):
            raise ValueRangeError(
                f"test_fraction={fraction!r} puts {kept} of the {len(images)} images of a {digit} into the test split; "
                "both splits need some: give a number such as 0.2"
            )
        parts["test"].append(images[:kept])
        parts["train"].append(images[kept:])
    return {name: rng.permutation(np.concatenate(found)) for name, found in parts.items()}
