"""Optimizer updates of the weights, and the clipping of their gradient, on flat vectors (N,).

Constants come as float64 and are rounded to the vectors' dtype once, since a float64 scalar would promote every
element.  Each loop is one pass over memory, and nothing is allocated.
"""

from functools import cache
from math import sqrt

import numpy as np

from gatescope.kernels.cpu.loops.compiling import compiled

# Squares of float64 numbers overflow above this norm, and lose digits below its inverse.
_SAFE = 1e145


@compiled
def adam(theta, gradient, mean, square, rates, constants):
    # rates: lr / (1 - beta1^step), sqrt(1 - beta2^step)
    # constants: 1 - beta1, beta2, 1 - beta2, eps, L2 decay, what decoupled decay leaves of a weight
    kind = theta.dtype.type
    rate, root = kind(rates[0]), kind(rates[1])
    fresh, keep_square, fresh_square = kind(constants[0]), kind(constants[1]), kind(constants[2])
    eps, decay, keep = kind(constants[3]), kind(constants[4]), kind(constants[5])
    for i in range(theta.size):
        g = gradient[i] + decay * theta[i]
        m = mean[i] + fresh * (g - mean[i])
        s = keep_square * square[i] + fresh_square * g * g
        mean[i], square[i] = m, s
        theta[i] = keep * theta[i] - rate * m / (sqrt(s) / root + eps)


@cache
def make_rmsprop(centered, momentum):
    """Make the kernel of RMSprop; `mean` is read only if it is centered, `velocity` only if there is momentum."""
    CENTERED, MOMENTUM = centered, momentum

    @compiled
    def rmsprop(theta, gradient, square, mean, velocity, lr, constants):
        # constants: alpha, 1 - alpha, eps, momentum, decay
        kind = theta.dtype.type
        rate, zero = kind(lr), kind(0)
        keep_square, fresh, eps = kind(constants[0]), kind(constants[1]), kind(constants[2])
        carried, decay = kind(constants[3]), kind(constants[4])
        for i in range(theta.size):
            g = gradient[i] + decay * theta[i]
            s = keep_square * square[i] + fresh * g * g
            square[i] = s
            if CENTERED:
                m = mean[i] + fresh * (g - mean[i])
                mean[i] = m
                s -= m * m
                if s < zero:  # by rounding only: a variance is none
                    s = zero
            scale = sqrt(s) + eps
            if MOMENTUM:
                v = carried * velocity[i] + g / scale
                velocity[i] = v
                theta[i] -= rate * v
            else:
                theta[i] -= rate * g / scale

    return rmsprop


@cache
def make_sgd(momentum, nesterov):
    """Make the kernel of gradient descent; `velocity` is read only if there is momentum."""
    MOMENTUM, NESTEROV = momentum, nesterov

    @compiled
    def sgd(theta, gradient, velocity, lr, constants):
        # constants: momentum, fraction of the gradient that the velocity takes in, decay
        kind = theta.dtype.type
        rate = kind(lr)
        carried, fresh, decay = kind(constants[0]), kind(constants[1]), kind(constants[2])
        for i in range(theta.size):
            g = gradient[i] + decay * theta[i]
            if MOMENTUM:
                v = carried * velocity[i] + fresh * g
                velocity[i] = v
                if NESTEROV:
                    g += carried * v
                else:
                    g = v
            theta[i] -= rate * g

    return sgd


@compiled
def norm(vector, begin, end):
    """Return the Euclidean norm of vector[begin:end]: infinite or NaN if an element is."""
    # In float64 whatever the vector is: squares of float32 numbers neither overflow nor vanish in it.  Eight sums, so
    # that additions need not wait for each other; their order is in the code, so it is the same on all machines.
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    i = begin
    while i + 8 <= end:
        x0, x1 = np.float64(vector[i]), np.float64(vector[i + 1])
        x2, x3 = np.float64(vector[i + 2]), np.float64(vector[i + 3])
        x4, x5 = np.float64(vector[i + 4]), np.float64(vector[i + 5])
        x6, x7 = np.float64(vector[i + 6]), np.float64(vector[i + 7])
        s0 += x0 * x0
        s1 += x1 * x1
        s2 += x2 * x2
        s3 += x3 * x3
        s4 += x4 * x4
        s5 += x5 * x5
        s6 += x6 * x6
        s7 += x7 * x7
        i += 8
    while i < end:
        x0 = np.float64(vector[i])
        s0 += x0 * x0
        i += 1
    length = sqrt(((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)))
    if np.isnan(length) or 1 / _SAFE < length < _SAFE:
        return length
    largest = 0.0
    for i in range(begin, end):
        largest = max(largest, abs(np.float64(vector[i])))
    if largest == 0 or np.isinf(largest):
        return largest
    total = 0.0
    for i in range(begin, end):
        x0 = np.float64(vector[i]) / largest
        total += x0 * x0
    return largest * sqrt(total)


@compiled
def scale(vector, begin, end, coefficient):
    """Multiply vector[begin:end] by a float64."""
    # The product is taken in float64: for a norm near the largest float32, the coefficient has no float32.
    kind = vector.dtype.type
    for i in range(begin, end):
        vector[i] = kind(np.float64(vector[i]) * coefficient)


@compiled
def clamp(vector, limit):
    """Cut the elements to -limit..limit; return how many were beyond."""
    most = vector.dtype.type(limit)
    count = 0
    for i in range(vector.size):
        x = vector[i]
        count += int(x > most) + int(x < -most)
        vector[i] = min(max(x, -most), most)
    return count
