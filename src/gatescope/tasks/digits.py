"""Handwritten digits, read row by row or pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from gatescope._dtypes import float_dtype
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import ValueRangeError
from gatescope.tasks._making import at_the_last_step, generator, real, record, whole, whole_length
from gatescope.tasks._real_data import check_one_of, need

ORDERS = ("rows", "pixels", "permuted")
_CLASSES, _SIDE, _BRIGHTEST = 10, 8, 16
_PERMUTATION_SEED = 0


def digits(
    *,
    split: str = "train",
    order: str = "rows",
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
    split : {"train", "test"}
    order : {"rows", "pixels", "permuted"}
    test_fraction : float
        Share of every digit's images that is kept for the test, between 0 and 1.
    sequences : int, optional
        Only so many images; of two such numbers the smaller gives a part of the larger.  Default: all of the split.
    seed : int
        Of the split and of the images' order in it.
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
        If a number is not allowed, or `test_fraction` leaves one of the splits without a digit.
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
    (64, 1438, 1)
    """
    wanted = float_dtype(dtype)
    check_one_of("split", split, ("train", "test"))
    check_one_of("order", order, ORDERS)
    fraction = real("test_fraction", test_fraction, least=0, most=1)
    rng = generator(seed)
    data = need("sklearn.datasets", "scikit-learn", "digits").load_digits()
    images = np.asarray(data.images, np.float64) / _BRIGHTEST  # (N, 8, 8)
    classes = np.asarray(data.target, np.int64)
    chosen = _split(classes, fraction, rng)[split]
    limit = len(chosen) if sequences is None else whole("sequences", sequences, most=len(chosen))
    chosen = chosen[:limit]
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
            test_fraction=fraction,
            sequences=limit,
            seed=int(seed),
            permutation=permutation.tolist() if order == "permuted" else None,
        ),
    )


def _split(classes: Array, fraction: float, rng: np.random.Generator) -> dict[str, Array]:
    """Indices of the test and the training images: of every class the same share, in a random order."""
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
