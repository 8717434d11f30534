"""A study asks for the runs it says: of its tasks, small and whole, and of its cells; nothing is trained."""

import dataclasses
import itertools

import numpy as np
import pytest
from helpers.arms import SPEC, made_run
from helpers.studies import arm_on, fake_study

import gatescope as gs
from gatescope.errors import GatescopeError, ValueRangeError
from gatescope.experiments.claims import study as module_of_study
from gatescope.experiments.claims.study import Study, StudyCell, StudyTask
from gatescope.experiments.claims.win_table import COPYING
from gatescope.experiments.seeds import runs, tuning
from gatescope.experiments.seeds.data import run_data

TASK = StudyTask(
    name="short adding",
    spec=SPEC,
    metric="updates",
    margin=0.2,
    memory=6,
    quick={"arguments": {"steps": 4}, "updates": 20, "memory": 4},
)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Make runs that reach the target the sooner the greater the learning rate; list what was asked for."""
    specs = []

    def make_runs(some, _folder, **_options):
        some = list(some)
        specs.extend(some)
        return tuple(made_run(spec, updates=round(0.1 / spec.lr) + spec.seed % 5) for spec in some)

    for module in (tuning, runs, module_of_study):
        monkeypatch.setattr(module, "make_runs", make_runs)
    monkeypatch.chdir(tmp_path)  # where tuning looks for runs that are there
    return specs


def points(specs):
    return {(spec.lr, spec.scheme) for spec in specs if spec.seed == 1000}


def test_a_full_study_tries_all(asked):
    arm = Study(folder="nowhere", seeds=3).arm(TASK, "gru")
    rates = (1e-3, 3e-3, 1e-2, 3e-2)
    grid = {(lr, scheme) for lr in rates for scheme in ("pytorch", "keras", "chrono(6)")}
    assert points(asked) == {*grid, (0.1, "pytorch")}  # the best is at the edge
    assert arm.name == "gru on short adding"
    assert [run.seed for run in arm.runs] == [0, 1, 2]
    last = asked[-1]
    assert (last.cell, last.hidden_size, last.lr, last.arguments["steps"]) == ("gru", 32, 0.1, 6)


def test_a_setting_that_is_said_is_not_tuned(asked):
    study = Study(folder="nowhere", seeds=2)
    arm = study.fixed(TASK, "gru", lr=0.3, optimizer="sgd", scheme="gaussian(2)")
    assert arm.name == "gru on short adding"
    setting = {"cell": "gru", "hidden_size": 32, "lr": 0.3, "optimizer": "sgd", "scheme": "gaussian(2)"}
    assert asked == [SPEC.with_(**setting, seed=seed) for seed in (0, 1)]
    assert [*study.used] == asked
    assert study.fixed(TASK, "gru", lr=0.1).runs[0].spec["lr"] == 0.1  # another arm of the same name


def test_a_quick_study_is_smaller(asked):
    study = Study(folder="nowhere", quick=True)
    study.arm(TASK, "lstm")
    assert study.preliminary
    assert study.arm(TASK, "lstm").name == "lstm on short adding (smaller)"
    assert study.effect(TASK, "lstm", "gru").name == "short adding (smaller)"
    named = dataclasses.replace(TASK, quick={**TASK.quick, "name": "shorter adding"})
    assert study.task(named).name == "shorter adding"
    assert study.task(dataclasses.replace(TASK, quick={})).name == "short adding"
    assert points(asked) == {(1e-2, "pytorch"), (1e-2, "chrono(4)")}
    assert sum(s.seed >= 1000 for s in asked) == 4  # a seed for each cell and scheme, of two cells
    assert {(s.hidden_size, s.updates, s.arguments["steps"], s.arguments["sequences"]) for s in asked} == {
        (16, 20, 4, 3)
    }
    assert study.schemes == ("pytorch", "chrono")
    asked.clear()
    study.tuned(TASK, "rnn")
    assert points(asked) == {(1e-2, "pytorch")}
    given = Study(folder="nowhere", quick=True, units=7, lr=(0.02, 0.03))
    assert (given.units, given.lr) == (7, (0.02, 0.03))


def test_chrono_alone_is_that_of_the_task(asked):
    for quick, scheme in ((False, "chrono(6)"), (True, "chrono(4)")):
        assert Study(folder="nowhere", quick=quick).tuned(TASK, "gru", "chrono").scheme == scheme
    assert Study(folder="nowhere").tuned(TASK, "gru", "chrono(50)").scheme == "chrono(50)"
    assert Study(folder="nowhere").tuned(TASK, "rnn_relu").scheme == "identity"


def test_a_cell_is_tried_with_what_it_says(asked):
    cell = StudyCell(
        "no input gate",
        "lstm",
        units=9,
        layers=2,
        clamp={"i": 1.0},
        biases=({}, {"f": 3.0}),
        schemes=("keras", "chrono"),
    )
    study = Study(folder="nowhere", lr=(0.01,))
    arm = study.arm(TASK, cell)
    assert {(s.scheme, tuple(s.biases)) for s in asked if s.seed == 1000} == {
        (scheme, biases) for scheme in ("keras", "chrono(6)") for biases in ((), ("f",))
    }
    assert {(s.cell, s.hidden_size, s.layers, s.clamp["i"]) for s in asked} == {("lstm", 9, 2, 1.0)}
    assert arm.name == "no input gate on short adding"
    assert study.effect(TASK, "lstm", cell).arms == ("lstm", "no input gate")


def test_settings_of_another_task(asked):
    study = Study(folder="nowhere", seeds=2, lr=(0.01,))
    noisy = dataclasses.replace(TASK, name="noisy", spec=SPEC.with_(label_noise=0.3), tuned_on=TASK)
    arm = study.arm(noisy, "gru")
    assert {s.label_noise for s in asked if s.seed >= 1000} == {0.0}
    assert {s.label_noise for s in asked if s.seed < 1000} == {0.3}
    assert arm.name == "gru on noisy"
    asked.clear()
    study.arm(TASK, "gru")
    assert {s.seed for s in asked} == {0, 1}  # tuned already


def test_an_arm_is_read_once(asked):
    study = Study(folder="nowhere", seeds=2, lr=(0.01,))
    first = study.arm(TASK, "gru")
    count = len(asked)
    assert study.arm(TASK, "gru") is first
    assert study.arm(TASK, StudyCell("gru", "gru")) is first
    assert len(asked) == count
    study.used.clear()  # as a statement does before it begins
    study.arm(TASK, "gru")
    assert [run.seed for run in study.used.values()] == [0, 1]


def test_many_arms_are_made_in_few_rounds(asked, monkeypatch):
    noisy = dataclasses.replace(TASK, name="noisy", spec=SPEC.with_(label_noise=0.3), tuned_on=TASK)
    copying = dataclasses.replace(
        TASK, name="copying", spec=SPEC.with_(task="copying", arguments={"steps": 6})
    )
    study = Study(folder="nowhere", seeds=2)
    arms = [*itertools.product((TASK, noisy, copying), ("lstm", "gru", "rnn")), (TASK, "gru", "keras")]
    rounds = []
    made = module_of_study.make_runs

    def counted(specs, folder, **options):
        rounds.append(len(specs := list(specs)))
        return made(specs, folder, **options)

    for module in (tuning, module_of_study):
        monkeypatch.setattr(module, "make_runs", counted)
    study.make(iter(arms))
    # Of two tasks 12 points of two cells and 8 of the RNN, and 4 of one scheme, two of which need a second round; all
    # are best at the edge.
    assert rounds == [2 * (12 + 12 + 8) + 4, 6 + 2, 3 * 6 + 1, 3, 2 * len(arms)]
    before = set(asked)
    asked.clear()
    alone = Study(folder="nowhere", seeds=2)
    for task, cell, *scheme in arms:
        assert study.arm(task, cell, *scheme) == alone.arm(task, cell, *scheme)
    assert set(asked) == before  # nothing else was made, and nothing left out


def test_what_lacks_a_package_holds_up_no_other(asked, monkeypatch):
    digits = dataclasses.replace(TASK, spec=SPEC.with_(task="digits", arguments={}), quick={})
    monkeypatch.setattr(module_of_study, "packages_missing", lambda task: ("x",) if task == "digits" else ())
    Study(folder="nowhere", seeds=2, lr=(0.01,)).make([(digits, "lstm"), (TASK, "lstm")])
    assert {spec.task for spec in asked} == {"adding"}


def test_sizes_of_equally_many_parameters():
    study = Study(folder="nowhere", units=24)
    cells = ["lstm", "gru", StudyCell("open", "lstm", clamp={"f": 1.0}), StudyCell("deep", "rnn", layers=3)]
    sizes = study.sizes(TASK, cells)
    assert list(sizes) == ["lstm", "gru", "open", "deep"]
    assert sizes["gru"] == 24 > sizes["lstm"]
    assert abs(sizes["open"] - 24) <= 1
    assert sizes["deep"] < Study(folder="nowhere", units=24).sizes(TASK, ["rnn"])["rnn"]
    many = [*cells, "rnn", "gru_uncoupled", "lstm_coupled", StudyCell("deep gru", "gru", layers=4)]
    with pytest.raises(ValueRangeError, match="give more units"):
        Study(folder="nowhere", units=16).sizes(TASK, many)
    quick = Study(folder="nowhere", quick=True)
    data = run_data(SPEC).test
    counts = {
        cell: gs.init_stack(cell, hidden_size=quick.sizes(TASK, many)[cell], heads=data).count()
        for cell in ("lstm", "gru", "rnn")
    }
    assert max(counts.values()) / min(counts.values()) < 1.1 / 0.9


def test_counting_has_the_whole_budget(asked, monkeypatch):
    spec = SPEC.with_(task="counting", arguments={}, target_loss=None)
    task = StudyTask(name="a^n b^n", spec=spec, metric="counted", margin=0.2, memory=100)
    study = Study(folder="nowhere", seeds=3, lr=(0.01,))

    def counted(some, _folder, **_options):
        reach = {"lstm": 300, "gru": 50}
        return tuple(made_run(s, counted_to=reach[s.cell] + s.seed % 5) for s in some)

    monkeypatch.setattr(runs, "make_runs", counted)
    effect = study.effect(task, "lstm", "gru")
    np.testing.assert_allclose(effect.differences, np.log((50.5 + np.arange(3)) / (300.5 + np.arange(3))))
    assert {s.target_loss for s in asked} == {None}


@pytest.mark.parametrize(("loss", "equal"), [(0.2, True), (0.295, False)])
def test_two_that_learned_nothing_are_not_equal_on_a_task(loss, equal):
    losses = loss * np.linspace(0.999, 1.001, 10)

    def arms(task, cell, scheme):
        return arm_on(task, cell, n=10, test_loss=losses if cell == "gru" else losses[::-1])

    compared = fake_study(arms, floor=0.297).effect(COPYING, "lstm", "gru")
    assert compared.inside_margin == equal
    assert compared.name == COPYING.name + ("" if equal else ", which is hardly learned")


def test_the_baseline_is_that_of_the_task_as_the_study_runs_it():
    study = Study(folder="nowhere", quick=True)
    assert study.baseline(COPYING) == gs.tasks.copying(steps=10, sequences=1).baseline


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("folder", 3, "folder is an int; give a name"),
        ("lr", (), r"lr is empty; give learning rates, as in \(0.003, 0.01\)"),
        ("lr", 0.01, "lr is a float; give learning rates"),
        ("lr", (0.01, -1), r"lr\[1\]=-1 must be a finite number above 0"),
        ("executor", 3, "executor is an int; give one of concurrent.futures"),
        ("progress", 1, "progress=1 must be True or False"),
    ],
)
def test_a_study_that_cannot_be_made(field, value, message):
    with pytest.raises(GatescopeError, match=message):
        Study(**{"folder": "nowhere", field: value})
