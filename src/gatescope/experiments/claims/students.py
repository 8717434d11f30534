"""Teachers and students, GRU and LSTM each way: statement 21, and what 17a needs of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gatescope import tasks
from gatescope.datatypes import Array, Effect, Params, SeedRun
from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.samples import make, roundings, step_by_step
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.claims.study import Study, StudyCell, StudyTask
from gatescope.experiments.claims.trained import settings
from gatescope.experiments.claims.win_table import LOSS
from gatescope.experiments.seeds.judge import Judgement, judge, judge_exact
from gatescope.experiments.seeds.runs import make_runs
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import paired
from gatescope.experiments.seeds.tuning import tuned_spec
from gatescope.reporting.text import listing, percent

SIZES, TUNED = (6, 12, 24), 12  # units of the students; all have the setting that is best with 12
QUICK_SIZES = SIZES[:2]  # of a quick study
RESTARTS, TUNING_TEACHER = 3, 1000  # a teacher whose students do not count
LEARNT = 0.5  # of the outputs' variance: a control that leaves more has not learned
OTHER = {"gru": "lstm", "lstm": "gru"}
ARTICLE = {"gru": "a GRU", "lstm": "an LSTM"}
_SHUT, _DRAWN = 1000.0, 1000  # a bias at which gates are 0 or 1; networks of random weights


def student_task(kind: str) -> StudyTask:
    """Return the task of the students of a kind of teachers, as it is tuned."""
    spec = RunSpec(
        task="teacher",
        arguments={"cell": kind, "teacher": TUNING_TEACHER},
        cell=kind,
        hidden_size=TUNED,
        lr=0.01,
        schedule="cosine",
        updates=1000,
        validate_every=20,
        examples=1000,
        batch_size=50,
    )
    quick = {"updates": 200, "examples": 200, "arguments": {"steps": 30}}
    name = f"students of {ARTICLE[kind]}"
    return StudyTask(name=name, spec=spec, metric="test_loss", margin=LOSS, memory=60, quick=quick)


@dataclass(frozen=True, kw_only=True)
class Students:
    """How well each kind of student learns what each kind of teacher does; n teachers.

    Attributes
    ----------
    of_gru, of_lstm : tuple of Effect
        ln of the loss of students of the other kind over that of students of the teacher's own, a size each.
    left : mapping of str to (n,) float64
        The fraction of the variance that students of the teacher's own kind leave, by name.
    sizes : sequence of int
        Units of the students, in the order of the effects.
    """

    of_gru: tuple[Effect, ...]
    of_lstm: tuple[Effect, ...]
    left: Mapping[str, Array]
    sizes: Sequence[int] = SIZES

    def advantage(self) -> tuple[Effect, ...]:
        """Return how much better an LSTM learns what a GRU does than the other way round: above 0 if it does."""
        return tuple(
            paired(
                gru_as_lstm.differences - lstm_as_gru.differences,
                margin=LOSS,
                name=f"gru as lstm against lstm as gru, {units} units",
            )
            for units, lstm_as_gru, gru_as_lstm in zip(self.sizes, self.of_gru, self.of_lstm, strict=True)
        )


def students(study: Study) -> Students:
    """Train students of both kinds for teachers of both kinds, one teacher a seed."""
    sizes = QUICK_SIZES if study.quick else SIZES
    specs = {
        (kind, cell, units): _specs(study, kind, cell, units)
        for kind in OTHER
        for cell in OTHER
        for units in sizes
    }
    asked = [spec for teachers in specs.values() for restarts in teachers for spec in restarts]
    runs = make_runs(asked, study.folder, executor=study.executor, part=study.part, progress=study.progress)
    made = dict(zip(asked, runs, strict=True))
    study.used.update(made)
    effects: dict[str, list[Effect]] = {kind: [] for kind in OTHER}
    left = {}
    for kind, other in OTHER.items():
        variance = np.array([_variance(kind, teacher) for teacher in range(study.seeds)])
        for units in sizes:
            own, others = (
                np.array([_loss([made[spec] for spec in restarts]) for restarts in specs[kind, cell, units]])
                for cell in (kind, other)
            )
            name = f"students of {ARTICLE[kind]}, {units} units"
            compared = paired(np.log(others / own), margin=LOSS, name=name)
            effects[kind].append(dataclasses.replace(compared, arms=(kind, other)))
            left[f"{name}: variance that {ARTICLE[kind]} leaves"] = own / variance
    return Students(of_gru=tuple(effects["gru"]), of_lstm=tuple(effects["lstm"]), left=left, sizes=sizes)


def judge_students(fits: Students, equalities: Mapping[str, float], controls: Mapping[str, float]) -> Finding:
    """Return what students, and an exact bound of what one step can give, say of statement 21."""
    exact = judge_exact(equalities, controls)
    as_gru, as_lstm = (judge(effects, claim="higher") for effects in (fits.of_gru, fits.of_lstm))
    words = as_gru.word, as_lstm.word
    failed = [name for name, left in fits.left.items() if not left.mean() < LEARNT]
    if failed or exact.word != SUPPORTED:
        word = UNDECIDED
    elif words[0] == SUPPORTED or words[1] in (CONTRADICTED, EQUAL):
        word = CONTRADICTED
    elif words[0] in (CONTRADICTED, EQUAL) and words[1] == SUPPORTED:
        word = SUPPORTED
    else:
        word = MIXED if MIXED in words else UNDECIDED
    parts = [
        f"students of a GRU, LSTM over GRU: {as_gru.reason}",
        f"students of an LSTM, GRU over LSTM: {as_lstm.reason}",
        f"exactly, one step from rest: {exact.reason}",
    ]
    if failed:
        parts.append(
            f"students of the teacher's own kind leave more than {percent(LEARNT)}: {listing(failed)}"
        )
    open_ones = [each.needed for each in (as_gru, as_lstm) if each.word == UNDECIDED]
    needed = None if None in open_ones else max((n for n in open_ones if n), default=None)
    return Finding(
        judgement=Judgement(word=word, reason="; ".join(parts), needed=needed if word == UNDECIDED else None),
        equalities=equalities,
        controls=controls,
        effects=(*fits.of_gru, *fits.of_lstm),
        measured={name: (float(left.mean()), math.nan) for name, left in fits.left.items()},
        seeds=len(next(iter(fits.left.values()))),
    )


@statement(
    "21",
    "a GRU is a strictly simplified LSTM, which can do all that a GRU can, and more",
    sources="Q5",
    kind="statistical",
    suite="S",
    criterion="Students of 6, 12 and 24 units learn what random teachers of 6 units do, the best of 3 restarts, each "
    "compared with students of the teacher's own kind. Supported if LSTMs learn GRUs as well as GRUs do (equal, or "
    "better) and GRUs learn LSTMs worse, on most sizes; contradicted if one is the other way. That no weights make "
    "them equal is exact: in one step from rest an LSTM gives at most tanh 1, whatever its weights, and a GRU more.",
)
def strictly_simplified(study: Study) -> Finding:
    finding = judge_students(students(study), *one_step(Scale()))
    arms = ((student_task(kind), _student(cell, TUNED), None) for kind in OTHER for cell in OTHER)
    return dataclasses.replace(finding, tuned=settings(study, *arms))


def one_step(scale: Scale) -> tuple[dict[str, float], dict[str, float]]:
    """Return how far from tanh 1 is the most that an LSTM gives in one step from rest, and, to compare, a GRU."""
    bound, x = math.tanh(1), np.random.default_rng(0).standard_normal((1, _DRAWN, scale.inputs))

    def largest(params: Params) -> float:
        return float(np.abs(step_by_step(params, x, lambda rh, h: rh)[1, :, 0]).max())

    lstm, gru = make("lstm", scale), make("gru", scale)
    wild = dataclasses.replace(lstm, weight_ih=_SHUT * lstm.weight_ih)
    open_ = dict.fromkeys(("i", "g", "o"), _SHUT)
    equalities = {
        "LSTM, all gates open": roundings(largest(_biased(lstm, open_)), bound),
        "LSTM, large random weights": roundings(max(largest(wild), bound), bound),
    }
    return equalities, {
        "GRU, nothing kept": roundings(largest(_biased(gru, {"z": -_SHUT, "n": _SHUT})), bound)
    }


def _biased(params: Params, biases: Mapping[str, float]) -> Params:
    rows = [np.full(params.hidden_size, biases.get(gate, 0.0)) for gate in params.gate_names]
    return dataclasses.replace(params, bias_ih=np.concatenate(rows))


def _specs(study: Study, kind: str, cell: str, units: int) -> list[list[RunSpec]]:
    """Return the runs of all restarts of the students of all teachers, a list a teacher."""
    task = student_task(kind)
    spec = tuned_spec(study.spec(task, _student(cell, units)), study.tuned(task, _student(cell, TUNED)))
    return [
        [
            spec.with_(arguments={**spec.arguments, "teacher": teacher}, seed=RESTARTS * teacher + restart)
            for restart in range(1 if study.quick else RESTARTS)
        ]
        for teacher in range(study.seeds)
    ]


def _student(cell: str, units: int) -> StudyCell:
    return StudyCell(f"{cell} of {units} units", cell, units=units)


def _loss(restarts: Sequence[SeedRun]) -> float:
    """Return the test loss of the best of the restarts, by validation."""
    return min(restarts, key=lambda run: run.best_validation_loss).test_loss


def _variance(kind: str, teacher: int) -> float:
    baseline = tasks.teacher(cell=kind, teacher=teacher, sequences=200).baseline
    return float(baseline or math.nan)
