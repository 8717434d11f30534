"""Vectors as a Numba type, and what is written with them: loads and stores, the one product, activations."""
