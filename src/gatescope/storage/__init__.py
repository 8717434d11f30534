"""Our own files: atomic writes, npz without pickle, computations that are resumed, provenance."""
