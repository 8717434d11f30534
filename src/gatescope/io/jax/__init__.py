"""Weights of Flax, Haiku and Equinox: trees of arrays, live or in files."""
