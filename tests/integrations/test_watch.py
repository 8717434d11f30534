"""A watch over a model while a loop trains it: what it reads, what goes wrong, what it costs.

Where a framework is not what it is about, what the model's layers received is made by hand.
"""

import dataclasses
import sys
import warnings

import numpy as np
import pytest
from helpers.watches import make_watch

import gatescope as gs
from gatescope.integrations import watch as module
from gatescope.integrations.calls import Call, Recording

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(40, 4, 3))
WEIGHTS = {"weight_ih": RNG.normal(size=(20, 3)) / 2, "weight_hh": RNG.normal(size=(20, 5)) / 2}


class Loop:
    """A model that is captured as `weights` are, by a clock that goes on by `loop` seconds a step."""

    def __init__(self, monkeypatch, loop=10.0, reading=0.001):
        self.weights, self.error, self.seconds, self.loop = WEIGHTS, None, 0.0, loop
        self.reading = reading
        monkeypatch.setattr(module, "capture", self.capture)
        monkeypatch.setattr(module, "perf_counter", lambda: self.seconds)

    def capture(self, model, inputs):
        self.seconds += self.reading
        if self.error is not None:
            raise self.error
        calls = [Call(name="lstm", inputs=inputs)]
        record = Recording(kind="a.Model", modules={"lstm": self.weights}, refused={}, advice="", calls=calls)
        return record.captured()

    def train(self, watch, steps):
        for _ in range(steps):
            self.seconds += self.loop
            watch.step()


@pytest.fixture
def loop(monkeypatch):
    return Loop(monkeypatch)


def watched(**options):
    return gs.watch(object(), inputs=INPUTS, **options)


def test_readings_are_due_and_logged(loop):
    logged = []
    watch = watched(every=3, log=logged.append)
    assert repr(watch) == "<watch over lstm: 1 readings in 0 steps>"
    loop.train(watch, 2)
    assert watch.due
    loop.weights = {name: value * 0.9 for name, value in WEIGHTS.items()}
    loop.train(watch, 5)
    history = watch.history
    assert history.step.tolist() == [0, 3, 6]
    assert [numbers["step"] for numbers in logged] == [0, 3, 6]
    assert logged[1] == {"step": 3, **history.numbers(1)}
    assert logged[1]["lstm/half_life"] == history.half_life[1, 0] != history.half_life[0, 0]
    assert logged[1]["lstm/f/shut"] == history.saturation[1, 0, 1, 0]
    for reading in (-1, 3, 1.5, None):
        with pytest.raises(gs.errors.ValueRangeError, match="reading"):
            history.numbers(reading)
    assert history.loop_seconds.tolist() == pytest.approx([0, 30, 30])
    assert history.overhead == pytest.approx(0.002 / 60)


def test_that_it_compiles_is_shown_to_whoever_asks(loop, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    watched()
    assert capsys.readouterr() == ("", "")
    watched(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "compiling kernels of the watch: 100%" in err
    with pytest.raises(gs.errors.ValueRangeError, match="progress"):
        watched(progress="yes")


def test_readings_cost_less_than_the_loop_allows(monkeypatch):
    loop = Loop(monkeypatch, loop=0.1, reading=0.01)
    watch = watched(every=1)
    loop.train(watch, 100)
    history = watch.history
    assert history.overhead <= 0.02
    assert history.step.size == 16
    assert "85 of 100 put off" in history.summary()


def test_a_loop_too_fast_for_any_reading_is_said_so(monkeypatch):
    loop = Loop(monkeypatch, loop=0.01, reading=0.1)
    watch = watched(every=10)
    loop.train(watch, 35)
    title, _, late = watch.history.summary().splitlines()
    assert title == "1 layer, 1 reading over 35 steps"
    assert late.startswith("no reading in the loop: 3 of 3 put off")


@pytest.mark.parametrize("action", ["default", "error"])
def test_a_failing_reading_is_recorded_and_warned_of_once(loop, action):
    watch = watched(every=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always" if action == "default" else action)
        for value in (np.nan, np.inf):
            loop.weights = {name: np.full_like(array, value) for name, array in WEIGHTS.items()}
            loop.train(watch, 1)
        loop.error = KeyError("moved")
        loop.train(watch, 2)
        loop.weights, loop.error = WEIGHTS, None
        loop.train(watch, 1)
    history = watch.history
    assert [bool(failure) for failure in history.failures] == [False, True, True, True, True, False]
    assert "not finite" in history.failures[1]
    assert history.failures[3] == "KeyError: 'moved'"
    assert np.isnan(history.half_life[1:5]).all()
    assert np.isnan(history.saturation[1:5]).all()
    assert history.half_life[5] == history.half_life[0]
    assert "4 readings failed, the first after 1 step: " in history.summary()
    if action == "default":
        (warning,) = caught
        assert issubclass(warning.category, gs.AccuracyWarning)
        assert "after 1 steps" in str(warning.message)


def test_a_failing_log_does_not_stop_the_loop(loop):
    def log(numbers):
        raise ConnectionError("no network")

    with pytest.warns(gs.AccuracyWarning, match=r"log of the watch failed.*no network"):
        watch = watched(every=1, log=log)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.train(watch, 2)
    assert watch.history.failures == ("", "", "")


def test_an_interrupt_goes_through(loop):
    watch = watched(every=1)
    loop.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        loop.train(watch, 1)


def test_what_cannot_be_watched_is_refused_before_the_loop(loop):
    with pytest.raises(gs.ValueRangeError, match="every=0"):
        watched(every=0)
    with pytest.raises(gs.DtypeError, match=r"log is a function that cannot be called with log\(numbers\)"):
        watched(log=lambda: None)
    loop.error = gs.WeightFormatError("has nothing")
    with pytest.raises(gs.WeightFormatError, match="has nothing"):
        watched()


def test_the_first_half_life_is_named_before_the_last():
    history = dataclasses.replace(
        make_watch(1, readings=10, failed=[0, 9]), half_life=np.arange(10.0)[:, None]
    )
    history.half_life[[0, 9]] = np.nan
    assert "half-life 1 after 100 steps and 8 after 800 steps" in history.summary()


def test_a_history_is_saved_and_has_a_table(loop, tmp_path):
    watch = watched(every=1)
    loop.train(watch, 2)
    history = watch.history
    history.save(tmp_path / "watch.npz")
    assert gs.load(tmp_path / "watch.npz") == history
    rows = history.table().rows
    assert [row[:2] for row in rows] == [(0, "lstm"), (1, "lstm"), (2, "lstm")]
    assert rows[0][2] == history.half_life[0, 0]
    assert rows[0][4].keys() == {"i", "f", "o"}
    first, _, spent = history.summary().splitlines()
    assert first == "1 layer, 3 readings over 2 steps"
    assert spent.startswith("readings took 0.01 %")
