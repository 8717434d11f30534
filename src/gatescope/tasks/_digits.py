"""Handwritten digits, read row by row or pixel by pixel."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.numbers import check_choice, check_count, check_number
from gatescope.datatypes import Array, Batch, Head
from gatescope.errors import ValueRangeError
from gatescope.tasks._music import need
from gatescope.tasks._splits import HELD_BACK, check_part
from gatescope.tasks._synthetic import at_the_last_step
from gatescope.tasks._task import task

SPLITS = ("train", "valid", "test")
ORDERS = ("rows", "pixels", "permuted")
_CLASSES, _FIRST_RARE, _SIDE, _BRIGHTEST = 10, 5, 8, 16
_PERMUTATION_SEED = 0


@task(
    **HELD_BACK | {"split": partial(check_choice, choices=SPLITS)},
    order=partial(check_choice, choices=ORDERS),
    rare=partial(check_number, least=0, most=1),
    sequences=None,
)
def digits(
    *,
    split: str = "train",
    order: str = "rows",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.2,
    rare: float = 1.0,
    sequences: int | None = None,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Batch:
    """Make scikit-learn's 1,797 images of handwritten digits as sequences; at the last step, which digit it was.

    An image is 8 x 8 pixels of 0..16, here divided by 16.

    ============  ======================================================================================
    order         what is read
    ============  ======================================================================================
    ``rows``      T = 8 steps of 8 pixels, from the top
    ``pixels``    T = 64 steps of 1 pixel, row after row
    ``permuted``  T = 64 steps of 1 pixel in an order drawn once, the same for all images and all seeds,
                  so that neighbours in the image are far apart in time
    ============  ======================================================================================

    The baseline is that of a guess among ten digits, ln 10 = 2.3026 nats; the ten are almost equally frequent, unless
    some are made rare.

    Parameters
    ----------
    split : {"train", "valid", "test"}
    order : {"rows", "pixels", "permuted"}
    valid_fraction : float
        Fraction of the images outside the test split that are kept to choose by: at least 0 and less than 1, rounded
        down, of whatever digits.
    test_fraction : float
        Fraction of every digit's images that is kept for the test, between 0 and 1.
    rare : float
        Fraction that is kept of a split's images of the digits 5 to 9, from 0 to 1, rounded down: 0.1 makes half of
        the digits ten times rarer than the others.  Give it to the training split alone to train on a biased sample.
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
        If `test_fraction` puts all or none of a digit's images into the test split, or a split is empty.

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
    rng = np.random.default_rng(seed)
    data = need("sklearn.datasets", "scikit-learn", "digits").load_digits()
    images = np.asarray(data.images, np.float64) / _BRIGHTEST  # (N, 8, 8)
    classes = np.asarray(data.target, np.int64)
    parts = _parts(classes, valid_fraction, test_fraction, rng)
    parts[split] = _thinned(parts[split], classes, rare)
    chosen = _chosen(parts, split, valid_fraction, test_fraction, sequences)
    pixels = images[chosen]
    permutation = np.random.default_rng(_PERMUTATION_SEED).permutation(_SIDE * _SIDE)
    if order != "rows":
        pixels = pixels.reshape(len(pixels), _SIDE * _SIDE, 1)
    if order == "permuted":
        pixels = pixels[:, permutation]
    steps = pixels.shape[1]
    targets, mask = at_the_last_step(classes[chosen], steps, dtype)
    return Batch(
        inputs=np.ascontiguousarray(pixels.transpose(1, 0, 2).astype(dtype)),
        targets=targets,
        mask=mask,
        heads=(Head("digit", _CLASSES, "cross_entropy"),),
        baseline=math.log(_CLASSES),
        baseline_of="a guess among ten digits, ln 10",
        provenance={
            "source": "scikit-learn's load_digits",
            "sequences": len(chosen),
            "permutation": permutation.tolist() if order == "permuted" else None,
        },
    )


def _parts(classes: Array, valid: float, test: float, rng: np.random.Generator) -> dict[str, Array]:
    """Return the indices of each split's images: of every class the same fraction for the test, in a random order."""
    tested, others = [], []
    for digit in range(_CLASSES):
        images = rng.permutation(np.flatnonzero(classes == digit))
        held_back = round(test * len(images))
        if not 0 < held_back < len(images):
            raise ValueRangeError(
                f"puts {held_back} of the {len(images)} images of a {digit} into the test split",
                argument="test_fraction",
                seen=test,
                advice="both splits need some: give a number such as 0.2",
            )
        tested.append(images[:held_back])
        others.append(images[held_back:])
    for_test, rest = (rng.permutation(np.concatenate(images)) for images in (tested, others))
    # Those to choose by are the last ones of those not kept for the test.
    training = len(rest) - int(valid * len(rest))
    return {"train": rest[:training], "valid": rest[training:], "test": for_test}


def _thinned(images: Array, classes: Array, fraction: float) -> Array:
    """Return indices, in their order, of which of the digits that are made rare only the first few are kept."""
    rare = classes[images] >= _FIRST_RARE
    count = int(fraction * rare.sum())
    return images[~rare | (np.cumsum(rare) <= count)]


def _chosen(parts: dict[str, Array], split: str, valid: float, test: float, sequences: int | None) -> Array:
    """Return the indices of the images of a split, at most `sequences` of them."""
    for name in ("train", split):
        check_part(name, len(parts[name]), sum(map(len, parts.values())), "images", valid=valid, test=test)
    chosen = parts[split]
    # As many are asked of all splits on the command line, where the training split is the one that is meant.
    most = max(len(chosen), len(parts["train"]))
    return chosen if sequences is None else chosen[: check_count("sequences", sequences, most=most)]
