"""Schedules against PyTorch's and against their formulas; names, functions and what is refused."""

import functools
import math
import warnings

import pytest

from gatescope.errors import DtypeError, GatescopeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.training import schedules
from gatescope.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    Piecewise,
    Step,
    WarmUp,
    by_name,
    factor,
)

UPDATES = 40
TWINS = [
    (Step(7, 0.3), lambda lr, o: lr.StepLR(o, 7, 0.3)),
    (Exponential(0.93), lambda lr, o: lr.ExponentialLR(o, 0.93)),
    (Cosine(), lambda lr, o: lr.CosineAnnealingLR(o, UPDATES)),
    (Cosine(0.1), lambda lr, o: lr.CosineAnnealingLR(o, UPDATES, eta_min=0.1)),
    (WarmUp(5), lambda lr, o: lr.LinearLR(o, 1 / 5, total_iters=4)),
    (Piecewise([3, 10, 11], [1, 0.1, 0.01, 0.001]), lambda lr, o: lr.MultiStepLR(o, [3, 10, 11], 0.1)),
    (
        WarmUp(5, then=Exponential(0.9)),
        lambda lr, o: lr.SequentialLR(
            o, [lr.LinearLR(o, 1 / 5, total_iters=4), lr.ExponentialLR(o, 0.9)], [5]
        ),
    ),
    (Constant(), lambda lr, o: lr.ConstantLR(o, 1.0)),
]
ALL = [*(mine for mine, _ in TWINS), WarmUp(3, then=WarmUp(2, then=Cosine(0.5)))]


@pytest.mark.parametrize(
    ("mine", "twin"), TWINS, ids=lambda value: repr(value) if not callable(value) else ""
)
def test_follows_pytorch(mine, twin):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR's, of its own way to step
        theirs = twin(torch.optim.lr_scheduler, optimizer)
        for update in range(UPDATES):
            # PyTorch multiplies from step to step, and so rounds at each.
            assert mine(update, UPDATES) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12), update
            optimizer.step()
            theirs.step()


def test_formulas():
    for update in range(UPDATES):
        done = update / UPDATES
        assert Constant()(update, UPDATES) == 1
        assert Step(6, 0.5)(update, UPDATES) == 0.5 ** (update // 6)
        assert Exponential(0.5)(update, UPDATES) == 0.5**update
        cosine = 0.2 + 0.8 * math.cos(math.pi * done / 2) ** 2
        assert Cosine(0.2)(update, UPDATES) == pytest.approx(cosine, rel=1e-14)


def test_cosine_ends_at_its_floor_and_stays():
    assert Cosine()(0, 10) == 1
    for update in (10, 11, 25):
        assert Cosine(0.25)(update, 10) == 0.25
    assert Cosine(0.25)(0, 0) == 0.25


def test_warm_up_never_has_a_rate_of_zero_and_hands_over_what_is_left():
    seen = []

    def record(update, updates):
        seen.append((update, updates))
        return 0.5

    schedule = WarmUp(4, then=record)
    assert [schedule(update, 6) for update in range(6)] == [0.25, 0.5, 0.75, 1.0, 0.5, 0.5]
    assert seen == [(0, 2), (1, 2)]
    # A warm-up that is longer than the training.
    assert WarmUp(10, then=Cosine())(4, 5) == 0.5


def test_pieces_begin_at_their_boundaries():
    schedule = Piecewise((2, 4), (1.0, 0.5, 0.0))
    assert [schedule(update, 6) for update in range(6)] == [1, 1, 0.5, 0.5, 0, 0]
    assert Piecewise((), (0.3,))(9, 10) == 0.3


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_factors_are_floats_and_reprs_descriptions(schedule):
    assert all(isinstance(schedule(update, UPDATES), float) for update in range(UPDATES))
    assert by_name(schedule) is schedule
    assert eval(repr(schedule), vars(schedules)) == schedule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, Constant()),
        ("constant", Constant()),
        ("step(1000, 0.5)", Step(1000, 0.5)),
        ("exponential(0.999)", Exponential(0.999)),
        ("cosine", Cosine()),
        ("cosine(0.1)", Cosine(0.1)),
        ("warmup(100)", WarmUp(100)),
        ("warmup(100, cosine)", WarmUp(100, Cosine())),
        ("warmup(100,warmup(10, step(5, 0.1)))", WarmUp(100, WarmUp(10, Step(5, 0.1)))),
    ],
)
def test_by_name(text, expected):
    assert by_name(text) == expected


def falling(update, updates, rate=1.0):
    return 1 - rate * update / updates


def test_functions():
    assert by_name(falling) is falling
    assert by_name(functools.partial(falling, rate=0.5))(10, 40) == 0.875
    for wrong in (float("nan"), -0.1, None, "1"):
        with pytest.raises(
            ValueRangeError, match=r"schedule\(3, 9\)=.* must be a finite number of at least 0"
        ):
            factor(lambda update, updates, wrong=wrong: wrong, 3, 9)


def test_functions_that_do_not_take_an_update_and_how_many_there_are():
    for wrong in (lambda update: 1.0, lambda: 1.0, lambda update, updates, rate: rate):
        with pytest.raises(
            DtypeError, match=r"^schedule is a function that cannot be called with \(update, updates\)"
        ):
            by_name(wrong)
    with pytest.raises(DtypeError, match=r"then is a function that cannot .*too many positional arguments"):
        WarmUp(3, then=lambda update: 1.0)
    assert by_name(max)(2, 1) == 2  # of no signature that can be seen
    assert by_name(lambda *both, rate=0.5: rate)(2, 1) == 0.5


def test_errors_inside_of_a_function_are_its_own():
    def broken(update, updates):
        return update + "s"

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        by_name(broken)(1, 2)
    assert not isinstance(caught.value, GatescopeError)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Step(0, 0.5), ValueRangeError, "every=0"),
        (lambda: Step(2, 0), ValueRangeError, "rate=0 must be a finite number above 0"),
        (lambda: Exponential(-0.9), ValueRangeError, "rate=-0.9"),
        (lambda: Exponential(10.0)(1000, 2000), ValueRangeError, "schedule has a factor of 10.0\\^1000"),
        (lambda: Cosine(1.5), ValueRangeError, "floor=1.5"),
        (lambda: WarmUp(0), ValueRangeError, "updates=0"),
        (lambda: WarmUp(5, then=3), UnknownNameError, "then=3"),
        (lambda: Piecewise([2], [1.0]), ShapeError, "factors has 1 numbers, but 1 `boundaries` need 2"),
        (lambda: Piecewise([2, 2], [1, 2, 3]), ValueRangeError, "must rise"),
        (lambda: Piecewise([0], [1, 2]), ValueRangeError, r"boundaries\[0\]=0"),
        (lambda: Piecewise([2], [1, -1]), ValueRangeError, r"factors\[1\]=-1"),
        (lambda: Piecewise(2, [1, 1]), ShapeError, "boundaries=2 must be a sequence"),
        (lambda: by_name("linear"), UnknownNameError, "schedule='linear' .*cosine"),
        (lambda: by_name(""), UnknownNameError, "schedule=''"),
        (lambda: by_name(Cosine), UnknownNameError, "schedule=<class"),
        (
            lambda: by_name("exponential"),
            ValueRangeError,
            "does not have the constants that exponential takes",
        ),
        (lambda: by_name("step(2)"), ValueRangeError, r"step\(2\)"),
        (lambda: by_name("step(2, 3, 4)"), ValueRangeError, "does not have the constants"),
        (lambda: by_name("constant(2)"), ValueRangeError, "does not have the constants"),
        (lambda: by_name("cosine(x)"), ValueRangeError, r"schedule='cosine\(x\)'"),
        (
            lambda: by_name("cosine(2)"),
            ValueRangeError,
            r"schedule='cosine\(2\)' has floor = 2.0, which must be",
        ),
        (lambda: by_name("warmup"), ValueRangeError, "that warmup takes"),
        (lambda: by_name("warmup(5, never)"), UnknownNameError, "never"),
        (lambda: by_name("warmup(5, cosine(2))"), ValueRangeError, "floor = 2"),
    ],
)
def test_what_is_wrong_is_named(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert isinstance(caught.value, GatescopeError)
