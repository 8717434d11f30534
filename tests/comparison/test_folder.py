"""A comparison's folder, and the figures that other processes draw for it."""

import pickle
import warnings
from concurrent.futures import BrokenExecutor, Executor, Future

import numpy as np
import pytest

import gatescope as gs
from gatescope.comparison import folder
from gatescope.comparison.compare import compare
from gatescope.comparison.figures import figures_of
from gatescope.errors import AccuracyWarning
from gatescope.experiments.executors import Processes


@pytest.fixture(scope="module")
def comparison():
    cells = {
        name: gs.init(name, input_size=1, hidden_size=3, seed=0, dtype="float64") for name in ("rnn", "gru")
    }
    return compare(cells, np.random.default_rng(0).standard_normal((40, 1)), timing_runs=1)


class Beside(Executor):
    """Another process, as far as what is sent and returned goes: each goes through bytes."""

    def __init__(self):
        self.names = []

    def submit(self, fn, /, *args):
        fn, args = pickle.loads(pickle.dumps((fn, args)))
        self.names.append(args[0].name)
        done = Future()
        done.set_result(pickle.loads(pickle.dumps(fn(*args))))
        return done


def write(comparison, path, **more):
    folder.write_folder(comparison, path, source="noise", arguments={}, traces=False, **more)
    return {file.name: file.read_bytes() for file in path.glob("*.*g")}


@pytest.fixture(scope="module")
def alone(comparison, tmp_path_factory):
    return write(comparison, tmp_path_factory.mktemp("alone"))


def test_what_is_drawn_beside_is_what_this_process_draws(comparison, alone, tmp_path):
    beside = Beside()
    assert write(comparison, tmp_path, executor=beside) == alone
    assert set(beside.names) == {name.removesuffix(".png") for name in alone}


def test_what_a_process_that_died_should_have_drawn_this_one_draws(comparison, alone, tmp_path):
    class Dying(Executor):
        def submit(self, fn, /, *args):
            dead = Future()
            dead.set_exception(BrokenExecutor("killed"))
            return dead

    assert write(comparison, tmp_path, executor=Dying()) == alone


def test_large_traces_are_not_sent_anywhere(comparison, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_SENT_BYTES", 1000)
    beside = Beside()
    assert write(comparison, tmp_path, executor=beside) == alone
    assert beside.names == []


@pytest.mark.slow  # a process of its own, which imports all that draws
def test_a_process_draws_as_well(comparison, alone, tmp_path):
    with Processes(1) as executor:
        executor.prepare(folder.draw)
        assert write(comparison, tmp_path, executor=executor) == alone


def test_svg_only_if_asked_for(comparison, alone, tmp_path, monkeypatch):
    assert all(name.endswith(".png") for name in alone)
    drawn = alone["inputs.png"]
    monkeypatch.setattr(folder, "draw", lambda figure, formats: (dict.fromkeys(formats, drawn), []))
    vectors = {name.replace(".png", ".svg") for name in alone}
    assert set(write(comparison, tmp_path, svg=True)) == {*alone, *vectors}


def test_figures_come_in_order_whoever_draws_them(comparison, monkeypatch):
    """The first are given away while this process draws the last; a bar counts each once."""
    figures, here = figures_of(comparison, "noise"), []

    class Later(Executor):
        """Draws nothing until it is asked for a result."""

        def __init__(self):
            self.given = []

        def submit(self, fn, /, figure, formats):
            self.given.append(figure.name)
            drawn = Future()
            drawn.result = lambda timeout=None: ({"png": figure.name.encode()}, [])
            return drawn

    class Bar:
        count = 0

        def set_description(self, text):
            here.append(text.removeprefix("drawing "))

        def update(self, by=1):
            self.count += by

    monkeypatch.setattr(folder, "draw", lambda figure, formats: ({"png": figure.name.encode()}, []))
    bar, later = Bar(), Later()
    drawn = list(folder._drawn(figures, ("png",), later, bar))
    names = [figure.name for figure in figures]
    assert [figure.name for figure, _ in drawn] == [data["png"].decode() for _, data in drawn] == names
    assert later.given == names[:2]
    assert here == names[:1:-1]
    assert bar.count == len(names)


def test_what_another_process_warns_of_is_said_here(comparison, monkeypatch):
    figure = figures_of(comparison, "noise")[1]

    def rendered(fig, formats):
        warnings.warn("a sign that the font has not", AccuracyWarning, stacklevel=2)
        return {"png": b"drawn"}

    monkeypatch.setattr(folder, "rendered", rendered)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = pickle.loads(pickle.dumps(folder.draw(figure, ("png",))))
    assert said[0] == {"png": b"drawn"}
    monkeypatch.setattr(folder, "draw", lambda figure, formats: said)
    bar = type("Bar", (), {"update": lambda self, by=1: None, "set_description": lambda self, text: None})()
    with pytest.warns(AccuracyWarning, match="a sign that the font has not"):
        list(folder._drawn([figure], ("png",), None, bar))
