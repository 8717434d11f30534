"""A spec is one text and one name, however it is written; what it cannot be is refused."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import GatescopeError
from gatescope.experiments.seeds import code as module
from gatescope.experiments.seeds.code import (
    _closure,
    _file_of,
    _parsed,
    code_fingerprint,
    packages_missing,
    statements,
)
from gatescope.experiments.seeds.spec import RunSpec

BASE = {"task": "adding", "cell": "lstm", "hidden_size": 5, "lr": 0.01, "updates": 40}


def test_the_same_run_is_the_same_spec():
    spec = RunSpec(**BASE)
    ways = [
        RunSpec(**BASE, arguments={"steps": 100}),
        RunSpec(**BASE, arguments={"sequences": 50, "steps": 100}),
        RunSpec(**{**BASE, "hidden_size": np.int64(5), "lr": np.float64(0.01)}, dtype=np.float32),
        RunSpec(**spec.plain()),
        RunSpec(**json.loads(spec.text())),
        spec.with_(biases={}),
        spec.with_(training_arguments={"steps": 100}),
    ]
    assert len({spec, *ways}) == 1
    assert {way.key("code") for way in ways} == {spec.key("code")}
    assert RunSpec(**BASE, clip_norm=1) == spec
    assert RunSpec(**BASE, biases={"f": 1, "i": -1}) == RunSpec(**BASE, biases={"i": -1.0, "f": 1.0})


@pytest.mark.parametrize(
    "change",
    [
        {"task": "copying", "arguments": {}},
        {"arguments": {"steps": 99}},
        {"cell": "gru"},
        {"hidden_size": 6},
        {"layers": 2},
        {"scheme": "keras"},
        {"biases": {"f": 1.0}},
        {"clamp": {"f": 1.0}},
        {"training_arguments": {"steps": 50}},
        {"schedule": "cosine"},
        {"window": 5},
        {"window": 5, "stateful": True},
        {"optimizer": "sgd"},
        {"lr": 0.02},
        {"clip_norm": None},
        {"updates": 50},
        {"validate_every": 20},
        {"target_loss": 0.1},
        {"examples": 100},
        {"input_noise": 0.1},
        {"label_noise": 0.1},
        {"weight_noise": 0.1},
        {"dropout": {"outputs": 0.5}},
        {"seed": 1},
        {"dtype": "float64"},
    ],
)
def test_every_field_makes_another_run(change):
    spec = RunSpec(**BASE)
    assert spec.with_(**change).key("code") != spec.key("code")
    assert spec.key("other code") != spec.key("code")


def test_another_file_makes_another_run(tmp_path):
    path = tmp_path / "own.npz"
    spec = RunSpec(**{**BASE, "task": "own", "arguments": {"path": str(path)}})
    absent = spec.key("code")
    path.write_bytes(b"1")
    first = spec.key("code")
    path.write_bytes(b"2")
    assert len({absent, first, spec.key("code")}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "counting_of"}, "neither new data for every seed nor a split"),
        ({"task": "nothing"}, "choose from adding"),
        (
            {"task": "piano_roll", "arguments": {"steps": 8}},
            "lacks `path`, without which piano_roll has no data",
        ),
        ({"arguments": {"step": 5}}, "the arguments of adding are steps, sequences"),
        ({"arguments": {"seed": 5}}, "the arguments of adding are"),
        ({"arguments": 5}, "give a mapping"),
        ({"cell": "lstn"}, "the cells are"),
        ({"updates": 45}, "ends between two validations"),
        ({"scheme": "chrono(a)"}, "cannot be read"),
        ({"biases": {"q": 1.0}}, "choose from i, f, g, o"),
        ({"biases": {"f": "1"}}, "must be a finite number"),
        ({"clamp": {"q": 1.0}}, "choose from i, f, g, o"),
        ({"dropout": {"outputs": 1.0}}, r"must lie in \[0, 1\)"),
        ({"batch_size": 5}, "training sets that stay the same"),
        ({"optimizer": "adams"}, "adam"),
        ({"schedule": "cosines"}, "cosine"),
        ({"schedule": None}, "give a name"),
        ({"training_arguments": {"step": 5}}, "training_arguments"),
        ({"stateful": True}, "give `window` too"),
        ({"window": 0}, "at least 1"),
        ({"lr": 0.0}, "above 0"),
        ({"seed": -1}, "at least 0"),
    ],
)
def test_what_a_spec_cannot_be(change, message):
    with pytest.raises(GatescopeError, match=message):
        RunSpec(**{**BASE, **change})


def test_a_file_that_the_data_come_from_is_a_part_of_the_spec():
    one, other = (
        RunSpec(**{**BASE, "task": "piano_roll", "arguments": {"path": p}}) for p in ("a.mat", "b.mat")
    )
    assert one.arguments == {"path": "a.mat", "steps": None, "min_note": 21, "max_note": 108}
    assert one.has_splits
    assert one.key("code") != other.key("code")


def test_code_without_its_documentation():
    code = 'def f(x):\n    """Double."""\n    return 2 * x  # twice\n'
    assert statements(code) == statements('"""Module."""\n\ndef f( x ):\n    return 2*x')
    assert statements(code) != statements(code.replace("2", "3"))
    assert statements('class A:\n    """Only this."""') == statements("class A: pass")


def test_code_that_a_run_depends_on():
    paths = _closure(("experiments/seeds/training.py", "experiments/seeds/data.py", "tasks/_adding.py"))
    for path in (
        "training/loop.py",
        "training/optimizers.py",
        "kernels/cpu/loops/backward.py",
        "kernels/cpu/loops/optimizers.py",
        "kernels/simd/activations.py",
        "cells/activations.py",
        "cells/memory_gate.py",
        "recurrence/schemes.py",
        "tasks/_synthetic.py",
        "experiments/seeds/spec.py",
        "datatypes/batch.py",
        "datatypes/params.py",
        "datatypes/stack.py",
        "datatypes/stack_names.py",
    ):
        assert path in paths
    others = (
        "kernels/cuda",
        "cells/lstm",
        "cells/gru",
        "tasks/_copying",
        "measurements",
        "reporting",
        "io",
        "datatypes/tr",
    )
    assert not [path for path in paths if path.startswith(others)]
    assert code_fingerprint("lstm", "adding") != code_fingerprint("gru", "adding")
    assert code_fingerprint("lstm", "adding") != code_fingerprint("lstm", "copying")


@pytest.fixture
def read_again(monkeypatch):
    """Let a fingerprint be made anew: a process reads its sources once."""
    monkeypatch.setattr(module, "_digest", module._digest.__wrapped__)


@pytest.mark.usefixtures("read_again")
def test_a_change_of_code_is_seen(monkeypatch):
    before = code_fingerprint("lstm", "adding")
    real = _parsed("training/clipping.py")
    monkeypatch.setattr(
        "gatescope.experiments.seeds.code._parsed",
        lambda path: (f"{real[0]}\nx = 1", real[1]) if path == "training/clipping.py" else _parsed(path),
    )
    assert code_fingerprint("lstm", "adding") != before


@pytest.mark.usefixtures("read_again")
@pytest.mark.parametrize("package", ["numpy", "numba", "llvmlite"])
def test_another_version_is_seen(package, monkeypatch):
    before = code_fingerprint("lstm", "adding")
    real = module._version
    monkeypatch.setattr(module, "_version", lambda name: "0.0" if name == package else real(name))
    assert code_fingerprint("lstm", "adding") != before


def test_where_data_come_from_is_seen(monkeypatch):
    versions = {"scikit-learn": "1.0", "music21": "9.0"}
    monkeypatch.setattr(module, "_version", versions.__getitem__)
    bring = module._brought.__wrapped__
    assert bring("tasks/_digits.py") == ({"scikit-learn": "1.0"}, {})
    assert bring("tasks/_chorales.py") == ({"music21": "9.0"}, {})
    assert bring("tasks/_adding.py") == ({}, {})
    data = Path(module.__file__).parents[2] / "tasks/data/santafe_laser.txt"
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    assert bring("tasks/_laser.py") == ({}, {"santafe_laser.txt": digest})


def test_packages_that_are_missing(monkeypatch):
    assert module._version("a package that nobody has made") == ""
    monkeypatch.setattr(module, "_version", lambda _: "")
    monkeypatch.setattr(module, "_brought", module._brought.__wrapped__)
    assert packages_missing("digits") == ("scikit-learn",)
    assert packages_missing("adding") == ()
    monkeypatch.setattr(module, "_version", lambda _: "1.0")
    assert packages_missing("digits") == ()


def test_a_cell_of_ones_own_goes_by_its_fingerprint(monkeypatch):
    class Mine:
        NAME, GATES, STATES, SAVED = "seeds_mine", ("h",), ("h",), ()
        step = staticmethod(lambda wx, rh, states: ((wx[0] + rh[0],), ()))
        step_vjp = staticmethod(lambda saved, states, new, adjoint: (adjoint, adjoint, (adjoint[0] * 0,)))

    monkeypatch.setattr("gatescope.cells.registry._CELLS", dict(gs.cells.registry._CELLS))
    gs.cells.register(Mine)
    assert _file_of(Mine.step.__module__) is None
    assert code_fingerprint("seeds_mine", "adding") != code_fingerprint("rnn", "adding")
