"""The runs over training sets: their sizes, what they share, and which cell a statement is true of."""

import pytest

from gatescope.experiments.claims import amounts
from gatescope.experiments.claims.amounts import (
    BIASED,
    BY_SIZE,
    DROPOUT,
    MIDDLE,
    NOISY,
    SMALL,
    by_size,
    noisy_of,
)
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import distinguished
from gatescope.experiments.seeds.judge import Judgement

TASKS = [
    *(task for tasks in BY_SIZE.values() for task in tasks.values()),
    *(task for tasks in (*NOISY.values(), *DROPOUT.values()) for task in tasks),
    *BIASED.values(),
]


@pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])
def test_all_are_tuned_once_and_have_as_many_updates(task):
    middle = MIDDLE[task.spec.task]
    assert task.tuned_on == (None if task is middle else middle)
    assert task.spec.updates == middle.spec.updates
    assert task.spec.target_loss is None  # nothing ends early
    passed = -(-task.spec.examples // task.spec.batch_size)
    assert task.spec.updates % passed == 0  # whole passes, so that no set gets more updates
    quick = task.shortened().spec
    assert quick.updates < task.spec.updates
    assert quick.examples == task.spec.examples


def test_names_tell_them_apart():
    assert len({task.name for task in TASKS}) == len(TASKS) == 12 + 8 + 4 + 2
    assert len({task.spec for task in TASKS}) == len(TASKS)


def test_a_quick_study_has_fewer_sizes():
    every, some = (by_size(Study(folder="nowhere", quick=quick)) for quick in (False, True))
    assert every == BY_SIZE
    for kind, tasks in some.items():
        sizes = [*every[kind]]
        assert tasks.items() <= every[kind].items()
        assert [*tasks][:2] == sizes[:2]  # the two smallest, of 12a
        assert [*tasks][-1] == sizes[-1]  # the greatest, of 11c
        assert {MIDDLE[kind].spec.examples, SMALL[kind].spec.examples} <= tasks.keys()
        assert len(tasks) == 4
        assert all(
            task.shortened().spec.updates >= -(-n // 50) for n, task in tasks.items()
        )  # a pass, at least


def test_a_quick_study_has_the_stronger_noise_alone():
    every, some = (noisy_of(Study(folder="nowhere", quick=quick)) for quick in (False, True))
    assert every == NOISY
    for tasks in some.values():
        assert [(t.spec.label_noise, t.spec.input_noise) for t in tasks] == [(0.4, 0), (0, 0.6)]


def test_what_differs_is_what_is_said():
    for kind, middle in MIDDLE.items():
        assert [(t.spec.label_noise, t.spec.input_noise) for t in NOISY[kind]] == [
            (0.2, 0),
            (0.4, 0),
            (0, 0.3),
            (0, 0.6),
        ]
        assert all(t.spec.with_(label_noise=0, input_noise=0) == middle.spec for t in NOISY[kind])
        assert [dict(t.spec.dropout) for t in DROPOUT[kind]] == [{"outputs": 0.5}, {"recurrent": 0.3}]
        assert all(t.spec.with_(dropout={}) == SMALL[kind].spec for t in DROPOUT[kind])
        assert BIASED[kind].spec.with_(training_arguments={}) == middle.spec
    assert BIASED["digits"].spec.training_arguments == {"rare": 0.1}
    assert BIASED["adding"].spec.training_arguments == {"largest": 0.5}
    assert amounts.NO_RESET.clamp == {"r": 1.0}


@pytest.mark.parametrize(
    ("own", "others", "more", "expected"),
    [
        ("supported", ["supported", "supported"], None, "all cells alike"),
        ("supported", ["supported", "supported"], "equal", "all cells alike"),
        ("supported", ["supported", "supported"], "undecided", "all cells alike"),
        ("supported", ["supported", "equal"], "supported", "the other cell more"),
        (
            "supported",
            ["supported", "supported"],
            "contradicted",
            "",
        ),  # this one more, for which there is no word
        ("supported", ["supported", "equal"], None, ""),
        ("supported", ["equal", "contradicted"], None, "only this cell"),
        ("supported", ["equal", "undecided"], None, ""),
        ("contradicted", ["supported", "equal"], None, "the other cell more"),
        ("contradicted", ["contradicted"], None, ""),
        ("undecided", ["supported"], None, ""),
    ],
)
def test_which_cell_it_is_true_of(own, others, more, expected):
    judged = None if more is None else Judgement(word=more, reason="")
    assert distinguished(own, others, more=judged) == expected
