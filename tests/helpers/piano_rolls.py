"""Archives of piano rolls as MATLAB would write them, small and made by chance."""

import numpy as np
import scipy.io

LENGTHS = {"traindata": (6, 3, 8, 5), "validdata": (4, 1), "testdata": (7, 2, 5)}


def pieces(lengths, seed=0, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    rolls = np.empty((1, len(lengths)), object)
    for k, steps in enumerate(lengths):
        rolls[0, k] = (rng.random((steps, 88)) < 0.05).astype(dtype)
    return rolls


def make_archive():
    return {name: pieces(lengths, seed) for seed, (name, lengths) in enumerate(LENGTHS.items())}


def save_archive(path, content, **how):
    """Write an archive, or the bytes of a file; return the path."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        scipy.io.savemat(path, content, **{"do_compression": True, **how})
    return path
