"""Gradient flow: how far back in time the gradient of one step reaches, in the log domain."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.network import as_stack
from gatescope.checks.numbers import check_choice, check_flag
from gatescope.datatypes import Array, Batch, GradientFlow, Params
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.datatypes.stack import Bidirectional, Stack
from gatescope.errors import ValueRangeError
from gatescope.measurements import two_way_flow
from gatescope.measurements.each_layer import one_way
from gatescope.measurements.flow_record import FlowRecord
from gatescope.measurements.flow_sweep import default_lags, plan_memory, sweep
from gatescope.measurements.problem import Problem, by_length, prepare
from gatescope.measurements.selection import blocks_of, ends_of, lags_back
from gatescope.measurements.stack_ends import source_of
from gatescope.measurements.stack_flow import NORMS, default_of, join_groups, with_loss
from gatescope.measurements.stack_flow import measure as measure_stack
from gatescope.measurements.stack_problem import StackProblem, prepare_stack
from gatescope.measurements.task_loss import task_of


def gradient_flow(
    params: Params | Stack | Bidirectional,
    inputs: Any,
    *,
    source_step: int = -1,
    of: Any = None,
    wrt: str | None = None,
    side: str = "past",
    loss: Callable[[Array], Any] | None = None,
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
    unit: int = 0,
    total: bool = False,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> GradientFlow:
    """Measure the log-norm of d of(t) / d wrt(t - lag) for a source step t and every lag.

    ==============  ================================================================================
    norm            what is measured, J the Jacobian d of(t) / d wrt(t - lag)
    ==============  ================================================================================
    ``random``      || v J || for one random unit vector v, drawn with `seed`
    ``unit``        || v J || for v the unit vector of unit `unit` of `of`: the gradient of one output
    ``spectral``    the largest singular value of J; J is carried back whole, which costs as much as
                    H sweeps (2 H for a joint `of`)
    ==============  ================================================================================

    Of a `Stack` it is the gradient through all layers, in time and in depth.  Where `of` is a direction of your own,
    v is that, as long as it is; of a loss it is the norm of d loss / d wrt.

    A derivative by one state holds the other states of its step fixed: d h_t / d c_{t-1} of an LSTM is what reaches h_t
    from c_{t-1} by way of step t, and not also through h_{t-1} = o tanh(c_{t-1}).  At lag 0 it is 0.  Automatic
    differentiation by c_{t-1}, in a program that computes h_{t-1} from it, adds that; so does `total`.  Likewise h of a
    layer feeds the layer above at the same step: that counts with `total`, and else only what later steps make of it.

    The adjoint is rescaled by exact powers of two whenever it leaves 2^-32..2^32 and the exponent is carried,
    so the result is right at lags where the norm itself has long been below the smallest float.  (In float32 a
    single step that lets it grow by more than 2^94 would overflow, on a GPU also two in a row that do so together;
    float64 has no such limit in practice.)
    Where units are so near saturation that their rounded activations have lost digits of their derivatives, these are
    made from the pre-activations, for a GPU too on the CPU.  Where derivatives are too small for float32 weights, all
    is measured in float64; where they are for a GPU, on the CPU: ``provenance["recomputed"]`` says so.  What even
    float64 cannot hold is said in a warning.
    The run is recomputed from checkpoints, segment by segment, so memory grows with the square root of T (and the
    result with T); on a GPU the segments are cut to what is free there, inputs go there piece by piece, and the
    checkpoints stay on the host.  `estimate_memory` counts beforehand.

    Threads take blocks of sequences, or directions of a spectral norm.  Where there are fewer of these than threads,
    one thread carries the adjoint back while another recomputes the segment before.  The result has the same bits for
    any number of threads.

    Parameters
    ----------
    params : Params or Stack
        Layers may go both ways.  The states of a backward direction belong to the steps whose outputs they give; its
        initial state lies one step ahead of the last.  Such a run is in memory whole.
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap or iterator; or Batch
        A memory-mapped array (``numpy.load(path, mmap_mode="r")``) is read in pieces and never as a whole; a generator
        of steps (I,) or of pieces (n, I) or (n, B, I) goes to a temporary file first.
        A `Batch` brings targets and lengths: `loss` is then that of the heads of the stack, as training takes it.
    source_step : int
        t, counted in states: 1..T, or negative from the end; -1 is the state after the last step of each sequence.
        A backward direction (``params.reverse``) takes the last step of the inputs first, and steps are counted so.
    of : str or array_like, optional
        What is differentiated: a state of the cell (``"h"``, the default, is the output) or ``"joint"``, all of them
        together.  Of a stack a state of a layer, by default ``"layers.-1.h"``, the output of the uppermost;
        ``"joint"``, all states of all layers; or ``"readout.k"``, number k of the read-out.  Or a direction: as many
        numbers as there are outputs, or as the joint state has, (n,) for all sequences or (B, n).
    wrt : str, optional
        With respect to what: a state of the cell (``"h"``, the default, ``"c"``) or ``"joint"``.  Of a stack a state of
        a layer, by default ``"layers.0.h"``, the output of the lowest, or ``"joint"``.
    side : {"past", "future"}
        Where lags lead to, of a stack with layers that go both ways; ``"future"``: to states that took later steps.
    loss : callable, optional
        Is called once, with all outputs (T, B, O) of the read-out, or of the uppermost layer where there is none, and
        returns the derivatives (T, B, O) of a loss by them.  The flow is that of d loss / d wrt, its lags count from
        the last step, and what the loss takes of the output of a step counts for the state of that step.
    max_lag : int, optional
        The longest lag, at most t, which is the default.
    lags : array_like of int, optional
        Which lags to report, ascending.  Default: all from 0 to `max_lag`; for ``spectral``, if there are more than
        200, about 200 of them, spaced evenly in the logarithm.
    norm, unit
        As above.
    total : bool
        Differentiate by `wrt` as automatic differentiation does: states of the same step that are computed from it
        follow it.  Only an LSTM's c has one, its h.  The adjoint is looked at lag by lag, which takes longer.
    lengths : (B,) array_like of int, optional
        Steps of each sequence, 1..T; default: T.  A padded sequence gets exactly what it gets alone; its log-norms at
        lags beyond its first state are NaN.
    initial_state : (B, S, H) array_like or "random", optional
        Default: zeros, where a network without biases stays for ever if its inputs are 0.  ``"random"``: uniform in
        (-0.1, 0.1), drawn with `seed`.  Of a stack by layer, ``{"layers.0": (B, S, H)}``.
    clamp : mapping, optional
        Gates to clamp at values, as for `run`: ``{"f": 1.0}``, of a stack ``{"layers.1.f": 1.0}``.
    seed : int
        Of the random direction, and of a random initial state.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; default: where the weights are, so ``"cpu"`` for `Params`.  Stacks, directions and
        losses are computed on the CPU.
    threads : int, optional
        On the CPU, as for `run`.
    progress : bool
        Show a memory plan and a progress bar on stderr, if it is a terminal.
    resume : path, optional
        A file for what has been computed.  It is written every minute and when the call is interrupted with Ctrl-C;
        the same call with the same file resumes, to the bits of a call that was never interrupted, and deletes the
        file at its end.  What is measured again in float64, or on the CPU, has a file beside it, of its name and
        ``.float64`` or ``.cpu``.

    Returns
    -------
    GradientFlow

    Raises
    ------
    ValueRangeError
        If an argument is out of range, the states leave the range of floating point, or `resume` holds what another
        call left.
    FileFormatError, OutputError
        If the file `resume` is torn or something else, or it cannot be written, nor can a temporary file.

    Warns
    -----
    AccuracyWarning
        If derivatives of saturated units are below the smallest number of float64, and of how many.
    RuntimeWarning
        If another device computes than the one that was chosen.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 3.1.
    .. [2] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks",
       ICML 2013, section 2.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("rnn", input_size=1, hidden_size=16, seed=0)
    >>> flow = gs.gradient_flow(params, np.zeros((5000, 1)))
    >>> flow.log_norm.shape, bool(flow.log_norm[-1, 0] < -745)   # below the smallest float64, and still right
    ((5001, 1), True)
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=1, hidden_size=8, heads=[gs.Head("y", 1)], seed=0)
    >>> flow = gs.gradient_flow(stack, np.zeros((100, 1)), of="readout.0", wrt="layers.0.c")
    >>> flow.cell, flow.of, flow.wrt, flow.log_norm.shape
    ('gru on lstm', 'readout.0', 'layers.0.c', (101, 1))
    """
    check_flag("total", total)
    chosen: dict[str, Any] = {"norm": norm, "unit": unit, "total": total}
    chosen |= {"source_step": source_step, "max_lag": max_lag, "lags": lags}
    computing: dict[str, Any] = {
        "seed": seed,
        "device": device,
        "threads": threads,
        "progress": progress,
        "resume": resume,
    }
    of_batch = isinstance(inputs, Batch)
    if (
        isinstance(params, Stack | Bidirectional)
        or of_batch
        or loss is not None
        or not (of is None or isinstance(of, str))
    ):
        series, sizes, loss = task_of(params, inputs, lengths, loss)
        stack = None if isinstance(params, Params) else as_stack(params)
        if stack is not None and not one_way(stack):
            if resume is not None:
                raise ValueRangeError(
                    "holds no run that goes both ways",
                    argument="resume",
                    seen=os.fspath(resume),
                    advice="leave it out",
                )
            with prepare_stack(
                params, series, sizes, initial_state, clamp, two_way=True, **computing
            ) as both:
                return two_way_flow.measure(both, of=of, wrt=wrt, side=side, loss=loss, **chosen)
        check_one_way(side)
        with prepare_stack(params, series, sizes, initial_state, clamp, **computing) as stacked:
            stacked = with_loss(stacked, loss) if loss is not None else stacked
            return measure_stack(stacked, of=of, wrt=wrt, **chosen)
    check_one_way(side)
    of, wrt = "h" if of is None else of, "h" if wrt is None else wrt

    def check(cell: Cell, weights: Params) -> None:
        ends_of(cell, weights, of, wrt, NORMS, norm, unit, seed)

    with prepare(params, inputs, lengths, initial_state, clamp, check=check, **computing) as problem:
        return measure(problem, of=of, wrt=wrt, **chosen)


def check_one_way(side: str) -> None:
    """Refuse to look ahead where nothing comes back from later steps."""
    check_choice("side", side, two_way_flow.SIDES)
    if side != "past":
        raise ValueRangeError(
            "is for models with a layer that goes backward: here no state depends on later steps",
            argument="side",
            seen=side,
            advice="leave it out",
        )


def measure(
    problem: Problem,
    *,
    source_step: int = -1,
    of: str = "h",
    wrt: str = "h",
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
    unit: int = 0,
    total: bool = False,
) -> GradientFlow:
    """Do the work of `gradient_flow`, whose arguments these are."""

    def measure_group(part: Problem) -> GradientFlow:
        directions, columns = ends_of(part.cell, part.params, of, wrt, NORMS, norm, unit, part.seed)
        source, chosen = lags_back(part, source_step, max_lag, lags, partial(default_lags, norm))
        arguments = {"lags": chosen, "of": of, "wrt": wrt, "norm": norm, "direction": directions}
        arguments["total"] = total
        with part.resumable("gradient_flow", source_step=source, **arguments) as resumable:
            first = part.initial_state
            record = FlowRecord(part.cell, norm == "spectral", total, chosen, source, columns, first)
            device = part.open_device()
            carried = device.adjoints(np.broadcast_to(directions, (part.batch, *directions.shape)))
            log_norm = sweep(part, record, device, carried, len(directions), resumable)
        return GradientFlow(
            cell=part.cell.name,
            lag=chosen,
            log_norm=log_norm,
            of=of,
            wrt=wrt,
            source_step=source,
            norm=norm,
            total=bool(total),
            moved=record.moved if record.reach[0] > record.reach[1] else None,
            provenance=part.provenance(direction_seed=part.seed),
        )

    return by_length(problem, measure_group, join_groups)


def estimate(
    problem: Problem | StackProblem,
    *,
    source_step: int = -1,
    of: str | None = None,
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
) -> MemoryEstimate:
    """Estimate what a call of `gradient_flow` with these arguments takes on the CPU."""
    if isinstance(problem, StackProblem):
        size = source_of(problem, default_of(problem) if of is None else of, norm, 0, NORMS).directions.shape[
            1
        ]
    else:
        size = len(blocks_of("of", problem.cell, "h" if of is None else of)) * problem.params.hidden_size
    directions = size if check_choice("norm", norm, NORMS) == "spectral" else 1
    source, chosen = lags_back(problem, source_step, max_lag, lags, partial(default_lags, norm))
    last = source - int(chosen[-1])
    replay = problem.replay(problem.open_device(), source, last, directions=directions)
    return plan_memory(problem, replay, chosen.size, directions)
