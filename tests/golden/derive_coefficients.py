"""Derives the constants of the compiled activations; prints `src/gatescope/kernels/coefficients.py`.

After their argument is reduced, tanh and sigmoid need tanh(r) for |r| <= ln(2)/4 and nothing else:

    tanh(r) ~ r + r * y * p(y),    y = r * r,    p a polynomial,

so that the leading term is exact.  p is the polynomial with the smallest largest relative error of tanh,
found by Remez's exchange in 40 digits, then rounded: p is multiplied by y < 0.031, so rounding its
coefficients costs nothing.
"""

import mpmath as mp
import numpy as np

# How many coefficients p has, by dtype.  The errors that this leaves are in the header of the file made.
TERMS = {"float32": 2, "float64": 6}
# Rounding to the nearest k can go a little past the half-way point.
MARGIN = mp.mpf("1.0001")

HEADER = '''"""Constants of `simd.activations`, printed by tests/golden/derive_coefficients.py: change that script.

tanh(r) = r + r * y * p(y) with y = r * r holds for |r| <= ln(2) / 4 with a relative error of at most
{errors}
"""

import numpy as np
'''


def target(y):
    """(tanh(r) / r - 1) / y at y = r * r: what p approximates."""
    if y < mp.mpf(10) ** -16:
        return -mp.mpf(1) / 3 + 2 * y / 15
    r = mp.sqrt(y)
    return (mp.tanh(r) / r - 1) / y


def weight(y):
    """Return what an error of p is multiplied by to be a relative error of tanh."""
    r = mp.sqrt(y)
    return y * r / mp.tanh(r)


def remez(terms, high, grid=600, rounds=20):
    """Minimise max |weight * (target - p)| on (0, high]: p's coefficients, lowest first, and that maximum."""
    angle = [mp.pi * (2 * i + 1) / (2 * (terms + 1)) for i in range(terms + 1)]
    points = [high * (1 - mp.cos(a)) / 2 for a in angle]
    candidates = [high * (1 - mp.cos(mp.pi * i / grid)) / 2 for i in range(1, grid + 1)]
    values = [(x, target(x), weight(x)) for x in candidates]
    for _ in range(rounds):
        rows = [[*(x**j for j in range(terms)), (-1) ** i / weight(x)] for i, x in enumerate(points)]
        *coefficients, level = mp.lu_solve(mp.matrix(rows), mp.matrix([target(x) for x in points]))
        errors = [w * (f - mp.fsum(c * x**k for k, c in enumerate(coefficients))) for x, f, w in values]
        # One extremum for each run of equal signs; an optimal p has exactly terms + 1 of them, all equal.
        extrema = [0]
        for i, error in enumerate(errors):
            if (error > 0) != (errors[extrema[-1]] > 0):
                extrema.append(i)
            elif abs(error) > abs(errors[extrema[-1]]):
                extrema[-1] = i
        if len(extrema) != terms + 1:
            raise ArithmeticError(f"{len(extrema)} extrema where {terms + 1} were expected")
        points = [candidates[i] for i in extrema]
        largest = max(abs(errors[i]) for i in extrema)
        if largest < abs(level) * (1 + mp.mpf(10) ** -4):
            return coefficients, largest
    raise ArithmeticError(f"no convergence in {rounds} rounds")


def nearest(value, dtype):
    """`value` rounded once to `dtype` (through float64 it would be twice)."""
    guess = dtype(float(value))
    around = [np.nextafter(guess, dtype(-np.inf)), guess, np.nextafter(guess, dtype(np.inf))]
    return min(around, key=lambda candidate: abs(mp.mpf(float(candidate)) - value))


def derive(name):
    """Return the constants of one dtype, by name, and the largest relative error of tanh(r)."""
    dtype = np.dtype(name).type
    with mp.workdps(40):
        half = mp.log(2) / 2
        coefficients, error = remez(TERMS[name], (half / 2 * MARGIN) ** 2)
        high = nearest(half, dtype)
        constants = {f"P{i + 1}": nearest(c, dtype) for i, c in enumerate(coefficients)}
        constants |= {
            "LOG2_E": nearest(1 / mp.log(2), dtype),
            "TWO_LOG2_E": nearest(2 / mp.log(2), dtype),
            "HALF_LN2": high,
            "HALF_LN2_REST": nearest(half - mp.mpf(float(high)), dtype),
        }
    return constants, error


def source():
    """Return the text of coefficients.py."""
    derived = {name: derive(name) for name in TERMS}
    errors = " and ".join(f"{float(error):.2g} ({name})" for name, (_, error) in derived.items())
    lines = [HEADER.format(errors=errors + ".")]
    for name, (constants, _) in derived.items():
        lines += [f"{key}_{name[-2:]} = np.{name}({value!s})" for key, value in constants.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(source(), end="")
