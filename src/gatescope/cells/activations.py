"""The functions that equations are made of, in NumPy; real and complex.

The bodies here are the reference.  Each compiled machine gives its own implementation with
`numba.extending.overload`: SIMD vectors and scalars on the CPU in `gatescope.kernels.simd.activations`, whose text
`gatescope.kernels.cuda.activations` registers for the GPU.
Complex arguments work, so that a cell can be differentiated by the complex step.
No literal in an equation may change its dtype, which is why ``1 - y`` is written ``complement(y)``.
"""

import numpy as np


def sigmoid(x):
    """1 / (1 + e^-x)."""
    # e^-|x| cannot overflow; the real part decides the branch, so that a complex step stays on it.
    e = np.exp(np.where(np.real(x) < 0, x, -x))
    return np.where(np.real(x) < 0, e, np.ones_like(e)) / (np.ones_like(e) + e)


def tanh(x):
    """Hyperbolic tangent."""
    return np.tanh(x)


def relu(x):
    """max(0, x); NaN stays NaN."""
    return np.where(np.real(x) <= 0, np.zeros_like(x), x)


def positive(x):
    """1 where x > 0, else 0: the derivative of `relu`."""
    return np.where(np.real(x) > 0, np.ones_like(x), np.zeros_like(x))


def complement(x):
    """1 - x, in x's own dtype."""
    return np.ones_like(x) - x


def zero(x):
    """0, in x's own dtype and shape."""
    return np.zeros_like(x)
