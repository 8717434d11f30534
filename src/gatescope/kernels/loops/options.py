"""What every loop is compiled with.  Numba's disk cache does not look at these, so there is one set for all."""

OPTIONS = {"nogil": True, "error_model": "numpy", "cache": True, "boundscheck": False}

# Recurrent weights of at most so many numbers stay in the first-level cache while sequences take turns.
INTERLEAVED = 1 << 12


def absent(*_):
    """Stands for the functions of a first phase that a cell does not have; never called."""
