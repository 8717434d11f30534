"""What every loop is compiled with.  Numba's disk cache does not look at these, so there is one set for all."""

OPTIONS = {"nogil": True, "error_model": "numpy", "cache": True, "boundscheck": False}


def absent(*_):
    """Stands for the functions of a first phase that a cell does not have; never called."""
