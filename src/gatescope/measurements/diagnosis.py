"""Diagnosis of a cell that forgets: a verdict, the gate that is responsible, and a change that was tried out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gatescope.checks.network import as_stack
from gatescope.checks.numbers import check_count, check_number
from gatescope.datatypes import Bidirectional, Params, Stack
from gatescope.datatypes.diagnosis import Diagnosis
from gatescope.datatypes.diagnosis_by_layer import DiagnosisByLayer
from gatescope.errors import ShapeError
from gatescope.measurements.diagnosed_cell import DiagnosedCell
from gatescope.measurements.each_layer import OfStacksToo, problems
from gatescope.measurements.problem import RANDOM, Problem

_LEAST = 20  # steps: fewer say nothing
_LONGEST_TARGET = 1000.0  # steps, by default: four of them are looked at
_LEAST_WINDOW = 2000
_SEQUENCES = 4
_MEASUREMENTS = 30  # about so many sweeps over the window, for the progress bar


@OfStacksToo(Diagnosis, DiagnosisByLayer)
def diagnose(
    params: Params | Stack | Bidirectional,
    inputs: Any,
    *,
    target_half_life: float | None = None,
    window: int | None = None,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> Diagnosis | DiagnosisByLayer:
    r"""Say whether gradients vanish or explode on a series, which gate is responsible, and what would change it.

    With :math:`\lambda` the leading Lyapunov exponent, :math:`\sigma` its standard error and
    :math:`b = \ln 2 / \mathrm{target\_half\_life}`:

    ===============  ========================================================================================
    verdict          rule
    ===============  ========================================================================================
    near-critical    :math:`|\lambda| \le b`
    undecided        otherwise, :math:`|\lambda| \le 3 \sigma`: not told from 0, and nothing is said of what to change
    vanishing        otherwise, :math:`\lambda < 0`
    chaotic          otherwise, :math:`\lambda > 0`: states stay bounded, and small changes of them grow
    exploding        :math:`\lambda > 0`, and the norm of the states grows at more than :math:`\lambda / 2`: an
                     unbounded cell that has not left the range of floating point yet
    ===============  ========================================================================================

    The gate responsible is the one that, clamped open (at 1) or with each unit at its own mean, brings :math:`\lambda`
    nearest to 0, if that is nearer by more than 3 :math:`\sigma`; each is tried.  The suggestion is a shift of that
    gate's bias (or of the bias of the gate that holds the memory), or else a factor on weight_hh, found as a root of
    :math:`\lambda + b` measured again and again on the same steps, and once more from the states that the changed
    network has before them; then the half-life is measured with it.  Above :math:`b`, the factor alone is searched.  If
    none of them reaches the root, the diagnosis says so.  Where one step cuts the memory, all this is of the steps
    before and after it.

    Of a stack each layer and direction is diagnosed on what it really receives, with the others as they are.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
    inputs
        As for `gradient_flow`, at least 20 steps.  The run goes over all of them; its last `window` steps and the first
        four sequences are looked at.
    target_half_life : float, optional
        The half-life that is wanted, in steps: how far back the task needs to look.  Default: a tenth of T, at most
        1,000, and the result says that this is assumed, and up to which lag the inputs correlate with themselves beyond
        chance.
    window : int, optional
        How many steps are looked at, at least 20; a tenth of them at their beginning do not count.  Default: four times
        `target_half_life`, at least 2,000, at most T.  It takes some thirty sweeps over them.
    lengths : (B,) array_like of int, optional
        Steps of each sequence; default: T.  The last steps of each sequence are looked at; the T of the defaults is
        that of the shortest of the first four.
    initial_state : (B, S, H) array_like or "random", optional
        Default: ``"random"``, small random states drawn with `seed`, from which a run leaves a fixed point at 0 that is
        not stable.
    clamp, seed, threads, progress
        As for `gradient_flow`; gates are clamped all along, and the seed is that of all directions that are followed.

    Returns
    -------
    Diagnosis or DiagnosisByLayer
        ``print(diagnosis)`` says it in words; `gatescope.plotting.plot_diagnosis` draws it.  Of a stack a
        `DiagnosisByLayer`, which names the layer that forgets first.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks",
       ICML 2013.
    .. [2] F. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12 (2000): the forget
       gate's bias.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    >>> diagnosis = gs.diagnose(params, np.random.default_rng(0).standard_normal((400, 1)))
    >>> diagnosis.verdict, diagnosis.gate, diagnosis.suggestion, diagnosis.suggested_gate, diagnosis.reached
    ('vanishing', 'f', 'bias', 'f', True)
    """
    if target_half_life is not None:
        check_number("target_half_life", target_half_life, least=1.0, most=1e15)
    if window is not None:
        window = check_count("window", window, least=_LEAST)
    start = RANDOM if initial_state is None else initial_state
    parts = problems(
        params,
        inputs,
        lengths,
        start,
        clamp,
        lambda problem: measure(problem, target_half_life, window),
        seed=seed,
        threads=threads,
        progress=progress,
        scale=False,
    )
    if isinstance(params, Params):
        return parts["layers.0"]
    stack = as_stack(params)
    layers = {name: k for k in range(len(stack.layers)) for name in stack.prefixes(k).values()}
    results = tuple(dataclasses.replace(part, layer=layers[name]) for name, part in parts.items())
    return DiagnosisByLayer(names=tuple(parts), results=results, provenance=results[0].provenance)


def measure(problem: Problem, target_half_life: float | None, window: int | None) -> Diagnosis:
    """Do the work of `diagnose`, whose arguments these are."""
    lengths = problem.lengths[:_SEQUENCES]
    steps = int(lengths.min())
    if steps < _LEAST:
        raise ShapeError(
            f"should have at least {_LEAST} steps",
            argument="inputs",
            seen=(steps, problem.batch, problem.series.input_size),
        )
    goal = float(target_half_life or max(1.0, min(steps / 10, _LONGEST_TARGET)))
    length = window or min(steps, max(_LEAST_WINDOW, int(np.ceil(4 * goal))))
    check_count("window", length, least=_LEAST, most=steps, advice=f"`inputs` have {steps} steps")
    sweeps = _MEASUREMENTS if length < steps else _MEASUREMENTS - 1
    with problem.bar(int(lengths.max()) - length + sweeps * length, "diagnosis") as bar:
        cell = DiagnosedCell(problem, _SEQUENCES, length, goal, bar)
        diagnosis = cell.diagnose(assumed=target_half_life is None)
        bar.total = bar.n  # the number of counterfactuals is not known before
        bar.refresh()
    return diagnosis
