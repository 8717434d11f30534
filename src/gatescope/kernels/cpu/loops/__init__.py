"""The loops over time on the CPU: forward, backward, adjoint.  They know a cell's functions and counts.

Each factory closes over the cell's own functions, over integers, and over a fingerprint of the sources: then
Numba's disk cache is hit by the next process, and missed when the equations change.  One kernel call handles a block of
sequences over a span of steps and releases the GIL, so threads take a block each.
"""
