"""Benchmarks: gatescope beside its peers, on the rows of one table."""
