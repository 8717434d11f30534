"""The decorator of the makers: what it refuses, what it leaves alone, what it records."""

from functools import partial

import numpy as np
import pytest

from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Batch
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
from gatescope.tasks._task import task


def make(path, *, steps, part, factor, dtype, **provenance):
    inputs = np.full((steps, 2, 1), factor, dtype)
    return Batch(inputs=inputs, targets=inputs, provenance={"part": part, **provenance})


@task(kind=partial(check_choice, choices=("a", "b")), part=None)
def toy(
    path: str,
    *,
    steps: "int" = 3,
    part: "int | None" = None,
    limit: "int | None" = None,
    factor: "float" = 1.0,
    kind: "str" = "a",
    seed: "int" = 0,
    progress: "bool" = False,
    dtype: "str" = "float32",
):
    """Say what it is."""
    return make(path, steps=steps, part=7 if part is None else part, factor=factor, dtype=dtype)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("steps", 0, ValueRangeError),
        ("steps", 2.5, ValueRangeError),
        ("steps", True, ValueRangeError),
        ("steps", None, ValueRangeError),
        ("steps", "10", ValueRangeError),
        ("limit", 0, ValueRangeError),
        ("factor", np.nan, ValueRangeError),
        ("factor", "1", ValueRangeError),
        ("seed", -1, ValueRangeError),
        ("seed", None, ValueRangeError),
        ("progress", "no", ValueRangeError),
        ("kind", "c", UnknownNameError),
        ("dtype", "int32", DtypeError),
    ],
)
def test_an_argument_that_is_wrong_is_named(name, value, error):
    with pytest.raises(error, match=f"^{name}={value!r} ") as caught:
        toy("x", **{name: value})
    assert (caught.value.argument, caught.value.seen is value) == (name, True)


def test_arguments_are_those_of_the_function():
    with pytest.raises(TypeError, match="positional"):
        toy("x", 3)
    with pytest.raises(TypeError, match="stepz"):
        toy("x", stepz=3)
    assert (toy.__name__, toy.__doc__) == ("toy", "Say what it is.")


def test_what_is_recorded():
    batch = toy("x", steps=np.int64(4), factor=2, limit=5)
    record = batch.provenance
    assert batch.name == record["task"] == "toy"
    assert {name: record[name] for name in ("steps", "part", "limit", "factor", "kind", "seed", "dtype")} == {
        "steps": 4,
        "part": 7,
        "limit": 5,
        "factor": 2.0,
        "kind": "a",
        "seed": 0,
        "dtype": "float32",
    }
    assert type(record["steps"]) is int
    assert record["numpy"] == np.__version__
    assert not {"path", "progress"} & set(record)
    assert batch.inputs.shape == (4, 2, 1)
