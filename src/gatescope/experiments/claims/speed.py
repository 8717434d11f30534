"""Which cell is faster, and why: statement 10."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.numbers import default_threads
from gatescope.datatypes import Array, Effect
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import beside
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.long_series import spec as experiment
from gatescope.experiments.long_series.timing import epoch_times
from gatescope.experiments.machine import DISTURBED, load_average, others_share
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.experiments.seeds.statistics import median_effect, paired
from gatescope.experiments.turns import interleaved
from gatescope.recurrence.initialization import init, init_stack
from gatescope.recurrence.run import backprop, run
from gatescope.reporting.text import listing, number, percent
from gatescope.tasks import long_series
from gatescope.training.optimizers import Adam

CELLS = ("lstm", "gru", "rnn", "lstm_coupled")
SECONDS, FREE = math.log(1.25), math.log(1.05)  # what is too small to matter; as fast as, for a reason
PUBLISHED = math.log(1 - 0.0384)  # the 40 x 20,000-step experiment's time of a GRU over that of an LSTM
_BUDGET = 60.0  # seconds for the rounds of a case, on a machine that is slow


class Size(NamedTuple):
    """T, B, I and H; T is large enough for the costs of a call not to count."""

    steps: int
    sequences: int
    inputs: int
    units: int


class Sizes(NamedTuple):
    """What is timed, and how often each cell takes its turn."""

    cases: Sequence[Size]
    dtypes: Sequence[str]
    rounds: int
    experiment_steps: int


FULL = Sizes(
    (Size(2000, 1, 1, 16), Size(500, 40, 8, 16), Size(200, 50, 2, 32), Size(100, 32, 64, 128), Size(20, 64, 256, 512)),
    ("float32", "float64"),
    15,
    20_000,
)  # fmt: skip
# Of one width, that of a quick study: each takes kernels of its own, which compile for longer than they run.
FAST = Sizes((Size(250, 40, 8, 16), Size(200, 50, 2, 16)), ("float32",), 11, 1_000)


class Timed(NamedTuple):
    """Seconds of calls, an array (rounds,) a cell, by case; the most that others took of the machine, and the load."""

    cases: Mapping[str, Mapping[str, Array]]
    others: float
    load: float


@lru_cache(maxsize=2)
def timed(scale: Scale) -> Timed:
    """Measure a forward and a backward pass of the cells in turns, in every case of the scale."""
    sizes, load, others = FAST if scale.preliminary else FULL, load_average(), 0.0
    cases: dict[str, dict[str, Array]] = {}
    for size in sizes.cases:
        for dtype in sizes.dtypes:
            calls = {cell: _both_ways(cell, size, dtype) for cell in CELLS}
            for threads in range(1, min(2, default_threads()) + 1):
                turns = {cell: partial(call, threads) for cell, call in calls.items()}
                for turn in turns.values():
                    turn()  # compiles, and takes its memory
                with others_share() as share:
                    seconds = interleaved(turns, sizes.rounds, _BUDGET)
                others = max(others, share[0])
                name = (
                    f"{size.sequences} x {size.steps}, I {size.inputs}, H {size.units}, {dtype}, "
                    f"{threads} thread{'s' if threads > 1 else ''}"
                )
                cases[name] = {cell: np.array(values) for cell, values in seconds.items()}
    return Timed(cases, others, load)


def _both_ways(cell: str, size: Size, dtype: str) -> Callable[[int], Any]:
    params = init(cell, input_size=size.inputs, hidden_size=size.units, seed=0, dtype=dtype)
    rng = np.random.default_rng(0)
    shape = size.steps, size.sequences
    x, adjoint = (rng.standard_normal((*shape, width)).astype(dtype) for width in (size.inputs, size.units))
    lengths = np.full(size.sequences, size.steps)

    def call(threads: int) -> Any:
        trace = run(params, x, lengths=lengths, threads=threads)
        return trace, backprop(params, trace, output_adjoint=adjoint, threads=threads)

    return call


def compare(times: Timed, first: str, second: str, margin: float = SECONDS) -> tuple[Effect, ...]:
    """Return how the times of the second cell differ from the first's in each case, turn by turn."""
    effects = (
        median_effect(np.log(seconds[second] / seconds[first]), margin=margin, name=case)
        for case, seconds in times.cases.items()
    )
    return tuple(dataclasses.replace(effect, arms=(first, second)) for effect in effects)


def judge_faster(times: Timed, first: str, second: str, claim: str) -> Finding:
    """Return what the times say of a claim about those of the second cell against the first's."""
    effects = compare(times, first, second)
    middle = math.exp(float(np.median([effect.mean for effect in effects])))
    judgement = judge(effects, claim=claim)
    said = f"{second} takes {number(middle)} of the time of {first} in the middle case; {judgement.reason}"
    return marked(
        Finding(judgement=dataclasses.replace(judgement, reason=said), effects=effects),
        times.others,
        times.load,
    )


def judge_reason(times: Timed) -> Finding:
    """Return whether it is the cell state that makes an LSTM slower: three blocks with one against three without."""
    effects, gains = compare(times, "gru", "lstm_coupled", FREE), compare(times, "lstm", "gru")
    most = len(effects) // 2 + 1
    free = [effect for effect in effects if effect.high_90 < FREE]
    costs = [effect for effect in effects if effect.low_90 > FREE]
    faster = judge(gains, claim="lower").word
    if faster != SUPPORTED:
        word, said = UNDECIDED, f"that a GRU is faster, for any reason, is {faster}; "
    else:
        either = MIXED if free and costs else UNDECIDED
        word = CONTRADICTED if len(free) >= most else SUPPORTED if len(costs) >= most else either
        said = ""
    lstm, gru, coupled = (
        np.array([np.median(seconds[cell]) for seconds in times.cases.values()])
        for cell in ("lstm", "gru", "lstm_coupled")
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # where a GRU saves nothing
        shares = (lstm - coupled) / (lstm - gru)
    reason = (
        f"{said}with three blocks and a cell state an LSTM takes at most 5 % longer than a GRU in {len(free)} of "
        f"{len(effects)} cases, and more in {len(costs)}; its fourth block makes {number(np.median(shares))} of the "
        f"time between LSTM and GRU; {listing((f'{e.name} {e.text()}' for e in effects), most=4)}"
    )
    return marked(
        Finding(judgement=Judgement(word=word, reason=reason), effects=effects), times.others, times.load
    )


def judge_published(seconds: Array, threads: Sequence[int], others: float, load: float) -> Finding:
    """Return whether the published ratio is that of epochs (threads, 2, seeds) of LSTM and GRU."""
    effects, words = [], []
    for of_threads, count in zip(np.log(seconds), threads, strict=True):
        name = f"an epoch, {count} thread{'s' if count > 1 else ''}"
        effect = paired(of_threads[1] - of_threads[0], margin=SECONDS, name=name)
        effects.append(dataclasses.replace(effect, arms=("lstm", "gru")))
        inside, decided = effect.low <= PUBLISHED <= effect.high, effect.high < 0 or effect.low > 0
        # An interval that holds 1, too, is too wide to know 3.84 % by.
        known = math.isfinite(effect.low) and (decided or not inside)
        words.append((SUPPORTED if inside else CONTRADICTED) if known else UNDECIDED)
    word = words[0] if len({*words}) == 1 else UNDECIDED if UNDECIDED in words else MIXED
    said = listing(f"{e.name} {e.text()}" for e in effects)
    reason = f"time of a GRU over that of an LSTM: {said}; published {number(math.exp(PUBLISHED))}"
    published = tuple(
        beside(e, math.exp(PUBLISHED), source="M, one run of each", why="another library, another machine")
        for e in effects
    )
    whole = Finding(
        judgement=Judgement(word=word, reason=reason), effects=tuple(effects), published=published
    )
    return marked(whole, others, load)


def marked(finding: Finding, others: float, load: float) -> Finding:
    """Return the finding, which says so where other processes took more of the machine than a measurement bears."""
    before = "" if math.isnan(load) else f", load average before {load:.2f}"
    note = f"{'disturbed: ' if others > DISTURBED else ''}others took up to {percent(others)} of the machine{before}"
    judgement = dataclasses.replace(finding.judgement, reason=f"{finding.judgement.reason}; {note}")
    return dataclasses.replace(
        finding, judgement=judgement, preliminary=finding.preliminary or others > DISTURBED
    )


@statement(
    "10a",
    "a GRU is faster than an LSTM",
    sources="P Q4 A",
    kind="measured",
    suite="R",
    timed=True,
    criterion="Forward and back, five sizes, one thread and two, float32 and float64, cells in turns.  Supported if "
    "the median of the ratios, turn by turn, is below 1 in most cases, and above in none.",
)
def gru_is_faster(scale: Scale) -> Finding:
    return judge_faster(timed(scale), "lstm", "gru", "lower")


@statement(
    "10b",
    "a GRU trains 3.84 % faster",
    sources="M",
    kind="measured",
    suite="R",
    timed=True,
    criterion="Epochs of the 40 x 20,000-step experiment, the cells in turns, one thread and two.  Supported if "
    "both intervals over the seeds hold the published ratio, 0.9616, and not 1; contradicted if neither holds it.",
)
def by_the_published_share(scale: Scale) -> Finding:
    steps = (FAST if scale.preliminary else FULL).experiment_steps
    batch, cells, load = long_series(steps=steps), ("lstm", "gru"), load_average()
    models = {
        (cell, seed): init_stack(
            cell, hidden_size=experiment.HIDDEN_SIZE, heads=batch, seed=seed, scheme=experiment.SCHEME
        )
        for cell in cells
        for seed in range(scale.seeds)
    }
    threads = tuple(range(1, min(2, default_threads()) + 1))
    options: dict[str, Any] = {"lr": experiment.LEARNING_RATE, "clip_norm": experiment.CLIP_NORM}
    adam = Adam(eps=experiment.EPSILON)
    epoch_times(models, batch, cells, range(1), optimizer=adam, threads=threads, **options)  # compiles
    with others_share() as share:
        seconds = epoch_times(
            models, batch, cells, range(scale.seeds), optimizer=adam, threads=threads, **options
        )
    return judge_published(seconds, threads, share[0], load)


@statement(
    "10c",
    "a GRU is faster because it needs no memory unit",
    sources="Q4",
    kind="measured",
    suite="R",
    timed=True,
    criterion="An LSTM with coupled gates has three blocks, as a GRU, and a cell state.  Contradicted if in most cases "
    "it takes at most 5 % longer than the GRU, by the 90 % interval of the median; supported if it takes more in most.",
)
def for_lack_of_a_cell(scale: Scale) -> Finding:
    return judge_reason(timed(scale))


@statement(
    "10d",
    "an LSTM costs more than an RNN",
    sources="A Q4",
    kind="measured",
    suite="R",
    timed=True,
    criterion="As 10a: supported if the median of the ratios is above 1 in most cases, and below in none.",
)
def lstm_costs_more(scale: Scale) -> Finding:
    return judge_faster(timed(scale), "rnn", "lstm", "higher")
