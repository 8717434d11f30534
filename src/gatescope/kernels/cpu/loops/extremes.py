"""The largest and the smallest magnitudes of each column of rows."""

from gatescope.kernels.cpu.loops.compiling import compiled


@compiled
def extremes(rows, ends):
    """Raise ends[0] to the largest magnitudes of the columns of `rows`, and lower ends[1] to the smallest."""
    for n in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            size = abs(rows[n, column])
            ends[0, column] = size if size > ends[0, column] else ends[0, column]
            ends[1, column] = size if size < ends[1, column] else ends[1, column]
