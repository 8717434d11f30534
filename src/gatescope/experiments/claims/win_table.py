"""Which cell does better, task by task: statements 6a, 7, 8, 11a and 37."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from gatescope.datatypes import Effect
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study, StudyTask
from gatescope.experiments.seeds.judge import Judgement, depends_on_init, judge
from gatescope.experiments.seeds.spec import RunSpec

UPDATES, LOSS, POINTS, NATS = math.log(1.25), math.log(1.10), 0.01, 0.10  # what is too small to matter
_SEQUENCES = 20  # of an update of a quick study
_ANY: dict[str, Any] = {"cell": "lstm", "hidden_size": 32, "lr": 0.01}


def _task(
    name: str, task: str, updates: int, memory: float, target: float | None, **options: Any
) -> StudyTask:
    """Return a task; `quick` is what a quick study changes, in seconds a run."""
    metric, margin = options.pop("judged", ("updates", UPDATES))
    quick = options.pop("quick")
    spec = RunSpec(task=task, updates=updates, target_loss=target, **_ANY, **options)
    return StudyTask(name=name, spec=spec, metric=metric, margin=margin, memory=memory, quick=quick)


def _quick(updates: int, memory: float | None = None, name: str = "", **arguments: Any) -> dict[str, Any]:
    """Return what a quick study changes; where every update has new sequences, it has fewer of them."""
    if "steps" in arguments:
        arguments["sequences"] = _SEQUENCES
    own = {key: value for key, value in (("memory", memory), ("name", name)) if value}
    return {"updates": updates, "arguments": arguments, **own}


def with_arguments(task: StudyTask, name: str, **arguments: Any) -> StudyTask:
    """Return a task with other arguments of its maker, in a quick study, too, and a name of its own."""
    spec = task.spec.with_(arguments={**task.spec.arguments, **arguments})
    quick = {key: value for key, value in task.quick.items() if key != "name"}
    return dataclasses.replace(task, name=name, spec=spec, quick=quick)


ADDING_100 = _task(
    "adding, T = 100",
    "adding",
    3000,
    100,
    0.01,
    arguments={"steps": 100},
    quick=_quick(280, 20, name="adding, T = 20", steps=20),
)
ADDING_400 = _task(
    "adding, T = 400",
    "adding",
    6000,
    400,
    0.01,
    arguments={"steps": 400},
    quick=_quick(320, 40, name="adding, T = 40", steps=40),
)
ORDER_2 = _task("order of 2", "temporal_order", 3000, 100, 0.1, quick=_quick(200, 30, steps=30))
ORDER_3 = _task(
    "order of 3",
    "temporal_order",
    5000,
    100,
    0.1,
    arguments={"symbols": 3},
    quick=_quick(240, 30, steps=30),
)
# In so few updates copying is a race: it is judged by its loss.
COPYING = _task(
    "copying, T = 50",
    "copying",
    3000,
    60,
    None,
    arguments={"steps": 50},
    judged=("test_loss", LOSS),
    quick=_quick(120, 20, name="copying, T = 10", steps=10),
)
XOR = _task(
    "delayed xor",
    "delayed_xor",
    3000,
    40,
    0.1,
    arguments={"steps": 40, "gap": 10},
    quick=_quick(250, 20, steps=20, gap=5),
)
FLIP_FLOP = _task("flip-flop", "flip_flop", 2000, 120, 0.01, quick=_quick(400, 60, steps=60))
COUNTING_2 = _task("a^n b^n", "counting", 3000, 100, 0.01, quick=_quick(440, 20, steps=21))
COUNTING_3 = _task(
    "a^n b^n c^n",
    "counting",
    5000,
    90,
    0.01,
    arguments={"letters": 3, "steps": 91},
    quick=_quick(320, 30, steps=31),
)
DIGITS = _task(
    "digits by rows", "digits", 2000, 8, None, batch_size=50, judged=("points", POINTS), quick=_quick(500)
)
CHORALES = _task(
    "chorales", "chorales", 3000, 60, None, batch_size=8, judged=("nats", NATS), quick=_quick(200, count=40)
)

PIXELS = _task(
    "digits by pixels",
    "digits",
    2000,
    64,
    None,
    batch_size=50,
    arguments={"order": "pixels"},
    judged=("points", POINTS),
    quick=_quick(200, sequences=400),
)
LASER = _task(
    "laser", "laser", 2000, 30, None, arguments={"length": 100}, judged=("test_loss", LOSS), quick=_quick(120)
)

LONG = (ADDING_100, ADDING_400, ORDER_2, ORDER_3, COPYING, XOR)  # need a memory of long ago
OTHERS = (FLIP_FLOP, COUNTING_2, COUNTING_3, DIGITS, PIXELS, LASER, CHORALES)
LONG_TO_TARGET = (ADDING_100, ADDING_400, ORDER_2, ORDER_3)
BY_INIT = LONG[:5]  # which run with each scheme of initial weights, too


@statement(
    "6a",
    "an LSTM is robust on long dependencies, where a GRU may do worse",
    sources="P A",
    kind="statistical",
    criterion="Supported if the GRU needs more updates, or ends with a greater loss, on more than half of six "
    "tasks of long memory and less on none; contradicted the other way round.",
)
def long_dependencies(study: Study) -> Finding:
    return _compared(study, LONG, "higher")


@statement(
    "7a",
    "GRU and LSTM are equal on many tasks",
    sources="D Q4",
    kind="statistical",
    criterion="Equal if the 90 % interval lies inside the margin on more than half of all tasks; contradicted if "
    "on more than half they differ, by both tests, and not inside it.",
)
def equal_on_many(study: Study) -> Finding:
    return _compared(study, (*LONG, *OTHERS), "equal")


@statement(
    "7b",
    "which of the two is better depends on the task and its data",
    sources="A",
    kind="statistical",
    criterion="Supported if each of the two is better on some task, after Holm's correction; contradicted if all "
    "that differ do so one way on more than half, or more than half are equal.",
)
def depends_on_task(study: Study) -> Finding:
    says = {MIXED: SUPPORTED, UNDECIDED: UNDECIDED}
    finding = _compared(study, (*LONG, *OTHERS), "lower", read=lambda word: says.get(word, CONTRADICTED))
    return dataclasses.replace(finding, judgement=dataclasses.replace(finding.judgement, claim=""))


@statement(
    "8a",
    "its control gives the LSTM the best results",
    sources="Q4",
    kind="statistical",
    criterion="Supported if the GRU does worse on more than half of all tasks, and better on none.",
)
def lstm_is_best(study: Study) -> Finding:
    return _compared(study, (*LONG, *OTHERS), "higher")


@statement(
    "8b",
    "the GRU is better",
    sources="Q4",
    kind="statistical",
    criterion="Supported if the GRU does better on more than half of all tasks, and worse on none.",
)
def gru_is_best(study: Study) -> Finding:
    return _compared(study, (*LONG, *OTHERS), "lower")


@statement(
    "11a",
    "a GRU converges more easily",
    sources="D P",
    kind="statistical",
    criterion="Supported if it needs fewer updates to the target on more than half of the tasks that have one.",
)
def converges(study: Study) -> Finding:
    return _compared(study, [task for task in (*LONG, *OTHERS) if task.metric == "updates"], "lower")


@statement(
    "37",
    "gated cells beat a plain RNN on sequences",
    sources="D P",
    kind="statistical",
    criterion="Supported if LSTM and GRU, each of them, do better than the RNN, with its own best setting, on more "
    "than half of all tasks, and worse on none; mixed if one of them does better on some and worse on others, which "
    "was called undecided until the first full run had shown such a case.",
)
def gates_beat_none(study: Study) -> Finding:
    return _compared(study, (*LONG, *OTHERS), "lower", pairs=(("rnn", "lstm"), ("rnn", "gru")))


def _compared(
    study: Study,
    tasks: Sequence[StudyTask],
    claim: str,
    *,
    pairs: Sequence[tuple[str, str]] = (("lstm", "gru"),),
    read: Callable[[str], str] = str,
) -> Finding:
    """Return what pairs of cells on several tasks say of a claim about the second of each pair.

    `read` turns the word on that claim into the one on the statement.  Of one pair the word with each scheme of initial
    weights stands beside, on those of the tasks that run with each.
    """
    effects: list[Effect] = []
    tuned: dict[str, Any] = {}
    study.make(product(tasks, dict.fromkeys(cell for pair in pairs for cell in pair)))
    for first, second in pairs:
        for task in tasks:
            effect = study.effect(task, first, second)
            name = effect.name if len(pairs) == 1 else f"{second}, {effect.name}"
            effects.append(dataclasses.replace(effect, name=name))
            for cell in (first, second):
                best = study.tuned(task, cell)
                tuned[f"{cell}, {study.task(task).name}"] = {
                    "lr": best.lr,
                    "scheme": best.scheme,
                    "at_edge": best.at_edge,
                }
    judgement = _of_each_pair(effects, [second for _, second in pairs], claim)
    by_init = _by_init(study, tasks, pairs[0]) if len(pairs) == 1 else {}
    words = {scheme: read(judge(each, claim=claim).word) for scheme, each in by_init.items() if each}
    return Finding(
        judgement=dataclasses.replace(judgement, word=read(judgement.word)),
        effects=tuple(effects),
        tuned={**tuned, **({"by initial weights": words} if words else {})},
        depends_on_init=depends_on_init(words),
        by_init=tuple(
            dataclasses.replace(effect, name=f"{scheme}: {effect.name}")
            for scheme, each in by_init.items()
            for effect in each
        ),
    )


def _by_init(study: Study, tasks: Sequence[StudyTask], pair: tuple[str, str]) -> dict[str, list[Effect]]:
    """Return the effects on the tasks that run with each scheme of initial weights, by scheme."""
    chosen = [task for task in tasks if task in BY_INIT]
    study.make(product(chosen, pair, study.schemes))
    return {scheme: [study.effect(task, *pair, scheme) for task in chosen] for scheme in study.schemes}


def _of_each_pair(effects: Sequence[Effect], seconds: Sequence[str], claim: str) -> Judgement:
    """Return what all pairs say, each a claim of its own over all tasks: what they agree on.

    Taken together they would be so many comparisons that, after Holm's correction, ten seeds could not decide any.  It
    is mixed where two say the opposite, or one by itself is: what is better on some tasks and worse on others is known
    to be so, whatever the other is.
    """
    count = len(effects) // len(seconds)
    parts = [judge(effects[k : k + count], claim=claim) for k in range(0, len(effects), count)]
    if len(parts) == 1:
        return parts[0]
    words = {part.word for part in parts}
    split = MIXED in words or {SUPPORTED, CONTRADICTED} <= words
    word = words.pop() if len(words) == 1 else MIXED if split else UNDECIDED
    said = ", ".join(f"{each} {part.word}" for each, part in zip(seconds, parts, strict=True))
    return Judgement(
        word=word,
        reason="; ".join(
            (said, *(f"{each}: {part.reason}" for each, part in zip(seconds, parts, strict=True)))
        ),
        small=all(part.small for part in parts),
        claim=claim,
    )
