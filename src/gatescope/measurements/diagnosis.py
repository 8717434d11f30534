"""Diagnosis of a cell that forgets: a verdict, the gate that is responsible, and a change that was tried out."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import Cell
from gatescope.checks.network import check_initial_state, check_params
from gatescope.checks.numbers import check_count, check_number, check_threads
from gatescope.datatypes import Array, GradientFlow, Params, Trace
from gatescope.datatypes.diagnosis import QUANTILES, Diagnosis, changed
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.datatypes.half_life import HalfLife, half_life_of
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.measurements import diagnosis_text as say
from gatescope.measurements.counterfactuals import (
    DOUBLINGS,
    SHIFTS,
    Suggestion,
    Trials,
    leading,
    opens,
    qr_interval,
    spectral_radius,
)
from gatescope.measurements.diagnosis_text import Sentences, key
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.measurements.gradient_paths import gradient_paths
from gatescope.measurements.half_life import half_life
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
from gatescope.measurements.saturation import count_saturated
from gatescope.recurrence.clamping import clamp as clamp_params
from gatescope.recurrence.clamping import clamp_metadata, clamp_values
from gatescope.recurrence.input_stream import Series, open_series
from gatescope.recurrence.run import run
from gatescope.storage.provenance import provenance

_LEAST = 20  # steps: fewer tell nothing
_LONGEST_TARGET = 1000.0  # steps, by default: four of them are looked at
_LEAST_WINDOW = 2000
_SEQUENCES = 4
_EXPONENTS = 5
_GATE_STEPS = 2000  # whose gates are kept
_PIECE = 4096  # steps of the run up to the window, at a time
_LAGS = 2000
_DEEP = 120.0  # nats that the gradient's norm falls in the picture
_FEW_LAGS = 100
_PATH_HALF_LIVES = 3  # at which the paths are told: an eighth of the gradient is left
_PATH_REACH = 20  # half-lives, up to which the paths are followed
_MEASUREMENTS = 30  # about so many sweeps over the window, for the progress bar
_NEAR = 1.25  # of the wanted rate, up to which it counts as reached


def diagnose(
    params: Params,
    inputs: Any,
    *,
    target_half_life: float | None = None,
    window: int | None = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> Diagnosis:
    r"""Whether a cell's gradients vanish or explode on a series, which gate is responsible, and what would change it.

    With :math:`\lambda` the leading Lyapunov exponent, :math:`\sigma` its standard error and
    :math:`b = \ln 2 / \mathrm{target\_half\_life}`:

    ===============  ========================================================================================
    verdict          rule
    ===============  ========================================================================================
    near-critical    :math:`|\lambda| \le b`, or :math:`|\lambda| \le 3 \sigma`
    vanishing        otherwise, :math:`\lambda < 0`
    chaotic          otherwise, :math:`\lambda > 0`: states stay bounded, and small changes of them grow
    exploding        :math:`\lambda > 0`, and the norm of the states grows at more than :math:`\lambda / 2`: an
                     unbounded cell that has not left the range of floating point yet
    ===============  ========================================================================================

    The gate responsible is the one that, held open (at 1) or with each unit at its own mean, brings :math:`\lambda`
    nearest to 0, if that is nearer by more than 3 :math:`\sigma`; each is tried.  The suggestion is a shift of that
    gate's bias (or of the bias of the gate that holds the memory), or else a factor on weight_hh, found as a root of
    :math:`\lambda + b` measured again and again on the same steps; then the half-life is measured with it.  Above
    :math:`b`, the factor alone is searched.  If none of them reaches the root, the diagnosis says so.

    Parameters
    ----------
    params : Params
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap or iterator
        At least 20 steps.  The run goes over all of them; its last `window` steps and the first four sequences are
        looked at.
    target_half_life : float, optional
        The half-life that is wanted, in steps.  Default: a tenth of T, at most 1,000.
    window : int, optional
        How many steps are looked at, at least 20; a tenth of them at their beginning do not count.  Default: four times
        `target_half_life`, at least 2,000, at most T.  It takes some thirty sweeps over them.
    initial_state : (B, S, H) array_like, optional
    clamp : mapping, optional
        Gates to hold at values all along, as for `run`.
    seed : int
        Of the directions that are followed.
    threads : int, optional
        As for `run`.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Diagnosis
        ``print(diagnosis)`` says it in words; `gatescope.plotting.plot_diagnosis` draws it.

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit, or the states leave the range of floating point.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks",
       ICML 2013.
    .. [2] F. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12 (2000): the forget
       gate's bias.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.diagnosis import diagnose
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    >>> found = diagnose(params, np.random.default_rng(0).standard_normal((400, 1)))
    >>> found.verdict, found.gate, found.suggestion, found.suggested_gate, found.reached
    ('vanishing', 'f', 'bias', 'f', True)
    """
    values = None if clamp is None else clamp_values(params, clamp) if isinstance(params, Params) else None
    params = clamp_params(params, clamp)
    cell = check_params(params)
    seed = check_count("seed", seed, least=0)
    workers = check_threads(threads)
    free = tuple(
        gate
        for k, gate in enumerate(cell.gates)
        if gate in cell.saved and (values is None or np.isnan(values[k]).all())
    )
    with open_series(inputs, params) as series:
        steps = series.steps
        if steps < _LEAST:
            raise ShapeError(f"inputs have {steps} steps; a diagnosis needs at least {_LEAST}")
        goal = _goal(target_half_life, steps)
        length = _window(window, goal, steps)
        begin = check_initial_state(initial_state, cell, params, series.batch)
        sequences = min(series.batch, _SEQUENCES)
        sweeps = _MEASUREMENTS if length < steps else _MEASUREMENTS - 1
        with tqdm(
            total=steps - length + sweeps * length,
            unit="step",
            unit_scale=True,
            desc=f"diagnosis ({cell.name})",
            disable=None if progress else True,
        ) as bar:
            start = _arrive(params, series, begin, sequences, length, bar)
            x = np.ascontiguousarray(series.read(steps - length, steps)[:, :sequences])
            patient = _Patient(cell, params, x, start, seed, workers, bar, steps, goal)
            if steps >= 2 * length:
                patient.earlier = np.ascontiguousarray(
                    series.read(steps - 2 * length, steps - length)[:, :sequences]
                )
            found = patient.diagnose(free)
            bar.total = bar.n  # the number of trials is not known before
            bar.refresh()
    return Diagnosis(
        **found,
        provenance=provenance(
            device="cpu",
            dtype=params.dtype.name,
            seed=params.provenance.get("seed"),
            direction_seed=seed,
            **clamp_metadata(params, clamp),
        ),
    )


class _Patient:
    """The cell over the steps that are looked at, and what is measured of it."""

    def __init__(
        self,
        cell: Cell,
        params: Params,
        x: Array,
        start: Array,
        seed: int,
        threads: int,
        bar: Any,
        steps: int,
        goal: float,
    ) -> None:
        self.cell, self.params, self.x, self.start = cell, params, x, start
        self.seed, self.threads, self.steps, self.goal = seed, threads, steps, goal
        self.length, self.transient = len(x), len(x) // 10
        self._bar = bar
        self.common: dict[str, Any] = {"initial_state": start, "seed": seed, "threads": threads}
        self.numbers: dict[str, float] = {}
        self.earlier: Array | None = None  # as many steps, before those

    def done(self) -> None:
        """One sweep over the steps more."""
        self._bar.update(self.length)

    def diagnose(self, free: tuple[str, ...]) -> dict[str, Any]:
        """All fields of the result; `free` are the gates that are not held all along."""
        cell, params, x = self.cell, self.params, self.x
        count = min(_EXPONENTS, len(cell.states) * params.hidden_size)
        every = qr_interval(self.length - self.transient)
        spectrum = lyapunov_spectrum(
            params, x, k=count, transient=self.transient, qr_every=every, checks=False, **self.common
        )
        self.done()
        life = self._life(params)
        exponent, error = leading(spectrum)
        bound = float(np.log(2) / self.goal)
        self._put(exponent=exponent, exponent_error=error, bound=bound, target_half_life=self.goal)
        self._put(steps=self.steps, window=self.length, transient=self.transient, sequences=x.shape[1])
        self._lives(life, "")
        flow, paths = self._flow(exponent), self._paths(exponent)
        tail = min(self.length, _GATE_STEPS)
        trace = run(params, x[-tail:], initial_state=self._state_before(tail), threads=self.threads)
        self.done()
        verdict = self._verdict(exponent, error, bound, trace)
        statistics, means = self._gates(trace)
        trials = Trials(x, self.start, self.transient, self.seed, self.threads, self.done)
        rows = list(trials.clamped(params, {gate: means[gate] for gate in free}))
        for gate, at, value, _ in rows:
            self._put(**{key("held", gate, at): value})
        gate, at, rival = (
            _responsible(rows, exponent, error) if verdict != "near-critical" else ("", "", ("", ""))
        )
        if not rows:
            self._put(spectral_radius=spectral_radius(params))
        suggestion, treated, reached = self._suggest(trials, verdict, gate, free, exponent, bound)
        holder = memory_gate(cell).name
        words = Sentences(self.numbers)
        say.verdict_sentences(words, verdict)
        kind = params.dtype.name
        say.memory_sentences(words, verdict, life.gate, kind, bool(life.disagree.any()))
        say.gate_sentences(words, verdict, gate, at, gate or holder, rival)
        say.path_sentence(words, paths.paths)
        say.suggestion_sentences(words, suggestion, reached)
        which = "the last {window:steps} of {steps}" if self.length < self.steps else "all {window:steps}"
        several = " and the first {sequences} of the sequences" if x.shape[1] > 1 else ""
        words.say(f"Measured over {which}{several}; the first {{transient:steps}} of these do not count.")
        return {
            "cell": cell.name,
            "verdict": verdict,
            "sentences": tuple(words.texts),
            "names": tuple(words.names),
            "numbers": self.numbers,
            "steps": self.steps,
            "window": self.length,
            "transient": self.transient,
            "sequences": x.shape[1],
            "target_half_life": self.goal,
            "flow": flow,
            "spectrum": spectrum,
            "half_life": life,
            "paths": paths,
            "gates": tuple(means),
            **statistics,
            "held_gate": tuple(row[0] for row in rows),
            "held_at": tuple(row[1] for row in rows),
            "held_exponent": np.array([row[2] for row in rows]),
            "held_error": np.array([row[3] for row in rows]),
            "gate": gate,
            "suggestion": suggestion.kind if suggestion else "",
            "suggested_gate": suggestion.gate if suggestion and suggestion.kind else "",
            "suggested_value": suggestion.value if suggestion else 0.0,
            "reached": reached,
            "suggested_half_life": treated,
        }

    def _put(self, **values: float) -> None:
        """Numbers for the sentences; what is not known is left out."""
        self.numbers |= {name: float(value) for name, value in values.items() if not np.isnan(value)}

    def _life(self, params: Params) -> HalfLife:
        life = half_life(params, self.x, transient=self.transient, **self.common)
        self.done()
        self.done()
        return life

    def _lives(self, life: HalfLife, prefix: str) -> None:
        """The half-lives of the mean rates over the sequences."""
        exponent = float(-life.exponent_rate.mean())
        if exponent > 0:
            self._put(**{f"{prefix}doubling": np.log(2) / exponent})
        rates = {"exponent": life.exponent_rate.mean(), "adjoint": life.adjoint_rate.mean()}
        if not prefix:
            units = life.gate_rate.mean(axis=0)
            if not np.isnan(units).all():
                rates["gate"], rates["gate_median"] = units.min(), np.sort(units)[units.size // 2]
            self._put(r_squared=life.r_squared.mean(), decay_rate=rates["adjoint"])
        for name, rate in rates.items():
            self._put(**{f"{prefix}half_life_{name}": float(half_life_of(rate))})

    def _flow(self, exponent: float) -> GradientFlow:
        """The gradient of the output against the lag, as far as it is of use; and where it is too small to matter."""
        horizon = self.length
        if exponent < 0:
            horizon = int(np.clip(np.ceil(_DEEP / -exponent), min(_FEW_LAGS, self.length), self.length))
        lags = np.unique(np.linspace(0, horizon, min(horizon, _LAGS) + 1).round().astype(np.int64))
        flow = gradient_flow(self.params, self.x, wrt="joint", lags=lags, **self.common)
        self.done()
        resolution = float(np.finfo(self.params.dtype).eps)
        fallen = flow.log_norm.max(axis=1) - flow.log_norm[0].max() < np.log(resolution)
        above = np.flatnonzero(~fallen)
        self._put(resolution=resolution, longest_lag=horizon)
        if above.size and above[-1] + 1 < lags.size:
            self._put(reach=lags[above[-1] + 1])
        return flow

    def _paths(self, exponent: float) -> GradientPaths:
        life = np.log(2) / -exponent if exponent < 0 else self.goal
        horizon = int(np.clip(np.ceil(_PATH_REACH * life), min(_FEW_LAGS, self.length), self.length))
        lags = np.unique(np.geomspace(1, horizon, 400).round().astype(np.int64))
        paths = gradient_paths(self.params, self.x, lags=lags, **self.common)
        self.done()
        row = int(np.argmin(np.abs(lags - max(1.0, min(_PATH_HALF_LIVES * life, horizon)))))
        shares = paths.norm_fractions()[row].mean(axis=1)
        self._put(
            share_lag=lags[row], **{key("share", n): v for n, v in zip(paths.paths, shares, strict=True)}
        )
        return paths

    def _state_before(self, tail: int) -> Array:
        """The state `tail` steps before the end."""
        state = self.start
        for at in range(0, self.length - tail, _PIECE):
            end = min(at + _PIECE, self.length - tail)
            state = run(self.params, self.x[at:end], initial_state=state, threads=self.threads).final_state
        return state

    def _verdict(self, exponent: float, error: float, bound: float, trace: Trace) -> str:
        if abs(exponent) <= max(bound, 3 * np.nan_to_num(error)):
            return "near-critical"
        if exponent < 0:
            return "vanishing"
        states = np.asarray(trace.states[len(trace.states) // 10 :], np.float64)
        with np.errstate(divide="ignore", over="ignore"):
            size = np.log(np.abs(states).max(axis=(1, 2, 3)))
        good = np.isfinite(size)
        growth = float(np.polyfit(np.flatnonzero(good), size[good], 1)[0]) if good.sum() > 1 else 0.0
        self._put(state_growth=growth)
        return "exploding" if growth > exponent / 2 else "chaotic"

    def _gates(self, trace: Trace) -> tuple[dict[str, Array], dict[str, Array]]:
        """Statistics of the gates (K, ...), and by gate the units' means (H,)."""
        names = [gate for gate in self.cell.gates if gate in trace.gate_names]
        mean, shut, opened = np.full((3, len(names)), np.nan)
        quantiles = np.full((len(names), len(QUANTILES)), np.nan)
        means: dict[str, Array] = {}
        counted = count_saturated(trace)
        for k, gate in enumerate(names):
            kept = np.asarray(trace.gate(gate), np.float64)
            means[gate] = kept.mean(axis=(0, 1))
            mean[k], quantiles[k] = kept.mean(), np.quantile(kept, QUANTILES)
            self._put(**{key("mean", gate): mean[k]})
            if gate in counted.gates:
                shut[k], opened[k] = np.mean(counted.gate(gate), axis=1)
                self._put(**{key("shut", gate): shut[k], key("open", gate): opened[k]})
        return {"mean": mean, "shut": shut, "open": opened, "quantiles": quantiles}, means

    def _suggest(
        self, trials: Trials, verdict: str, gate: str, free: tuple[str, ...], exponent: float, bound: float
    ) -> tuple[Suggestion | None, HalfLife | None, bool]:
        if verdict == "near-critical":
            return None, None, False
        # A gate that holds what is kept has a bias that opens it, also where holding another one open does more.
        wanted = dict.fromkeys([gate, memory_gate(self.cell).name])
        gates = [name for name in wanted if name in free and opens(self.params, name)]
        found = trials.suggest(self.params, gates, -bound, exponent)
        if not found.kind:
            self._put(
                tried_bias=SHIFTS[-1], tried_gain=2.0 ** (DOUBLINGS[-1] if exponent < 0 else -DOUBLINGS[-1])
            )
            return found, None, False
        treated = changed(self.params, found.kind, found.gate, found.value)
        self._put(suggested_value=found.value)
        try:
            life = self._life(treated)
        except ValueRangeError:  # the states leave the range of floating point
            return found, None, False
        after, error = float(-life.exponent_rate.mean()), float(life.exponent_error.mean())
        self._put(suggested_exponent=after, suggested_error=error)
        self._lives(life, "suggested_")
        if self.earlier is not None:
            begin = np.zeros_like(self.start)
            earlier = Trials(self.earlier, begin, self.transient, self.seed, self.threads, self.done)
            value, off = earlier.exponent(treated)
            self._put(earlier_exponent=value, earlier_error=off)
            if value < 0:
                self._put(earlier_half_life=float(half_life_of(-value)))
        return found, life, -_NEAR * bound <= after <= max(bound, 3 * float(np.nan_to_num(error)))


def _responsible(
    rows: list[tuple[str, str, float, float]], exponent: float, error: float
) -> tuple[str, str, tuple[str, str]]:
    """The gate which, held, brings the exponent nearest to 0, how it is held, and the next gate and how."""
    better = sorted(
        (abs(value), gate, at)
        for gate, at, value, off in rows
        if abs(value) < abs(exponent) - 3 * np.hypot(np.nan_to_num(off), np.nan_to_num(error))
    )
    if not better:
        return "", "", ("", "")
    _, gate, at = better[0]
    others = [(name, how) for _, name, how in better if name != gate]
    return gate, at, others[0] if others else ("", "")


def _goal(target: Any, steps: int) -> float:
    if target is None:
        return max(1.0, min(steps / 10, _LONGEST_TARGET))
    return check_number("target_half_life", target, least=1.0)


def _window(window: Any, goal: float, steps: int) -> int:
    if window is None:
        return min(steps, max(_LEAST_WINDOW, int(np.ceil(4 * goal))))
    length = check_count("window", window, least=_LEAST)
    if length > steps:
        raise ValueRangeError(f"window={window!r} is longer than inputs, which have {steps} steps")
    return length


def _arrive(
    params: Params, series: Series, begin: Array | None, sequences: int, length: int, bar: Any
) -> Array:
    """The state (B, S, H) at the beginning of the last `length` steps."""
    shape = (sequences, len(check_params(params).states), params.hidden_size)
    state = np.zeros(shape, params.dtype) if begin is None else begin[:sequences]
    before = series.steps - length
    for at in range(0, before, _PIECE):
        end = min(at + _PIECE, before)
        state = run(params, series.read(at, end)[:, :sequences], initial_state=state).final_state
        if not np.isfinite(state).all():
            raise ValueRangeError(
                f"the states are not finite from a step between {at + 1} and {end} on; use smaller weights or inputs"
            )
        bar.update(end - at)
    return np.ascontiguousarray(state)
