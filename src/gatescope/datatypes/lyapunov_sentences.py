"""The verdict on a Lyapunov spectrum in words: its leading exponent, and whether the series was long enough to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatescope.reporting.text import counted, number, ranges, with_error

if TYPE_CHECKING:
    from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum

# Of an exponent, up to which its error is small enough to go by.
RELATIVE = 0.1
# Nats per step that rounding may put into an exponent before it is said.
ROUNDED = 1e-3
# Errors that an exponent is away from 0 where it is told from it.
_FROM_ZERO = 2.0
AT_REST = "the state never moved from where it began, a fixed point"


def not_stable(what: str) -> str:
    """Return what to say of a state that stayed at a fixed point which is not stable: whose `what` that is."""
    return (
        f"{AT_REST} that is not stable: this is its {what}, not that of where the network goes from anywhere else; "
        "give inputs, an initial_state, or initial_state='random'"
    )


_STUCK = not_stable("exponent")


def doubt_of(spectrum: LyapunovSpectrum) -> str:
    """Return why the leading exponent of the one sequence of a spectrum cannot be gone by; "" if it can."""
    return _STUCK if spectrum.stuck()[0] else _doubt(spectrum)


def sentence_of(spectrum: LyapunovSpectrum) -> str:
    """Return the verdict on the one sequence of a spectrum."""
    leading, error, rounding = (
        float(part[0]) for part in (spectrum.exponents[:, 0], spectrum.error[:, 0], spectrum.rounding)
    )
    over = counted(spectrum.steps, "step")
    if spectrum.cuts is not None and spectrum.between is not None and spectrum.cuts[0, 0]:
        stretches = counted(int(spectrum.cuts[0, 0]), "stretch")
        return (
            f"every change of the state is lost in {stretches} of {len(spectrum.running_step)} of {over}; over the "
            f"others the leading exponent is {number(spectrum.between[0, 0])} nats per step"
        )
    if np.isneginf(leading):
        return f"every change of the state is lost at once, over {over}"
    measured = f"leading exponent {with_error(leading, error)} nats per step over {over}"
    if rounding > ROUNDED and spectrum.qr_every > 1:
        return (
            f"{measured}; directions all but coincide between orthonormalizations, and rounding may have put "
            f"{number(rounding)} nats per step into the last exponents: lower qr_every={spectrum.qr_every}"
        )
    fixed = AT_REST if spectrum.at_rest()[0] else ""
    if spectrum.stuck()[0]:
        return f"{measured}; {_STUCK}"
    doubt = _doubt(spectrum)
    text = f"{measured}; {doubt or _settled(spectrum)}"
    return f"{text}; {fixed}, and this is its exponent" if fixed else text


def _settled(spectrum: LyapunovSpectrum) -> str:
    """Return how many of the exponents are converged, the leading one among them."""
    missing = np.flatnonzero(~spectrum.converged()[0]) + 1
    if not missing.size:
        return "converged"
    few = f"exponent {ranges(missing)} is" if missing.size == 1 else f"exponents {ranges(missing)} are"
    start = np.zeros(1) if spectrum.start_error is None else spectrum.start_error[0, missing - 1]
    why = ""
    if (start > spectrum.error[0, missing - 1] / 2).any():
        why = ": their directions have not settled, which takes several times 1 / gap to the next"
    return f"converged; {few} not{why}"


def _doubt(spectrum: LyapunovSpectrum) -> str:
    """Return why the leading exponent cannot be gone by; "" if it can."""
    if spectrum.converged()[0, 0]:
        return ""
    leading, error = float(spectrum.exponents[0, 0]), float(spectrum.error[0, 0])
    if not np.isfinite(error):
        return "T too short: its error is not known"
    start = 0.0 if spectrum.start_error is None else float(spectrum.start_error[0, 0])
    if abs(leading) <= _FROM_ZERO * error:
        needed = spectrum.steps * (_FROM_ZERO * error / max(abs(leading), error / 100)) ** 2
        short = "T too short: " if start > error / 2 else ""  # else it may well be 0
        took = f", which may take {_round_up(needed):,} steps" if np.isfinite(needed) else ""
        return f"{short}not told from 0{took}"
    settling = float(spectrum.settling_steps()[0])
    if not spectrum.relaxed()[0]:
        transient = _round_up(settling)
        return (
            f"T too short: state and directions take about {transient:,} steps to settle (3 / |exponent|), and the "
            f"transient had {spectrum.transient:,}; give transient={transient} and about {10 * transient:,} steps"
        )
    enough = RELATIVE * abs(leading)
    if error > enough:
        if start > enough / 2:
            return (
                f"T too short: from other directions it might differ by {number(start)}; give a transient above "
                f"{spectrum.transient:,} and more steps"
            )
        needed = spectrum.steps * (error / enough) ** 2
        return f"T too short: about {_round_up(needed):,} steps would bring the error to {number(enough)}"
    return (
        f"T too short: it still drifts, by {number(spectrum.drift()[0, 0])} from the first half of the steps to the "
        "second"
    )


def _round_up(number: float) -> int:
    """Return a number rounded up to one digit."""
    digit = 10.0 ** np.floor(np.log10(number))
    return int(np.ceil(number / digit) * digit)
