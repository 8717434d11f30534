"""Weights of Keras: archives, HDF5 files, live layers and models."""
