"""The cells on a CUDA GPU, or in Numba's simulator of one.  `import gatescope` imports nothing of it."""
