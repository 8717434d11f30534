"""What holds for every synthetic task: shapes, dtypes, seeds, records, and refusals."""

from functools import partial

import numpy as np
import pytest
from helpers.judging import same

from gatescope.datatypes import Batch
from gatescope.errors import DtypeError, ValueRangeError
from gatescope.tasks._adding import adding
from gatescope.tasks._copying import copying
from gatescope.tasks._counting import counting, counting_of
from gatescope.tasks._counting_stream import counting_stream
from gatescope.tasks._delayed_xor import delayed_xor
from gatescope.tasks._flip_flop import flip_flop
from gatescope.tasks._long_series import long_series, long_series_prices
from gatescope.tasks._teacher import teacher
from gatescope.tasks._temporal_order import temporal_order

MAKERS = [
    adding,
    copying,
    counting,
    counting_stream,
    delayed_xor,
    flip_flop,
    long_series,
    teacher,
    temporal_order,
]
every_task = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


@every_task
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtypes(make, dtype):
    batch = make(steps=41, sequences=6, dtype=dtype)
    steps = 61 if make is copying else 41
    columns = sum(head.columns for head in batch.heads)
    assert batch.inputs.shape[:2] == (steps, 6)
    assert batch.targets.shape == (steps, 6, columns)
    assert batch.inputs.dtype == batch.targets.dtype == dtype
    assert (batch.mask.shape, batch.mask.dtype) == ((steps, 6), bool)
    assert (batch.lengths.shape, batch.lengths.dtype) == ((6,), np.int64)
    assert all(array.flags.c_contiguous for array in batch.arrays().values())
    assert batch.name == make.__name__ == batch.provenance["task"]
    assert batch.baseline > 0
    assert batch.baseline_of
    np.testing.assert_array_equal(batch.mask.any(axis=0), True)
    assert not batch.mask[np.arange(steps)[:, None] >= batch.lengths].any()
    for head, column in zip(
        batch.heads, np.cumsum([0, *(head.columns for head in batch.heads)]), strict=False
    ):
        if head.loss == "cross_entropy":
            classes = batch.targets[..., column]
            assert np.isin(classes, np.arange(head.size)).all()


@every_task
def test_a_seed_gives_the_same_bytes_and_another_seed_others(make):
    maker = partial(make, steps=41, sequences=6)
    assert same(maker(seed=3), maker(seed=3))
    assert same(maker(seed=3), maker(seed=np.int64(3)))
    assert not np.array_equal(maker(seed=3).inputs, maker(seed=4).inputs)


@every_task
def test_the_global_random_state_is_left_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002  the legacy state is what is looked at
    make(steps=41, sequences=6)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@every_task
def test_both_precisions_are_the_same_data(make):
    single, double = (make(steps=41, sequences=6, dtype=dtype) for dtype in ("float32", "float64"))
    np.testing.assert_array_equal(single.inputs, double.inputs.astype(np.float32))
    np.testing.assert_array_equal(single.targets, double.targets.astype(np.float32))
    assert single.baseline == double.baseline


@every_task
def test_it_is_saved_and_loaded_with_its_arguments(make, tmp_path):
    batch = make(steps=41, sequences=6, seed=5)
    batch.save(tmp_path / "batch.npz")
    loaded = Batch.load(tmp_path / "batch.npz")
    assert loaded == batch
    assert loaded.provenance == batch.provenance
    assert (loaded.provenance["steps"], loaded.provenance["sequences"], loaded.provenance["seed"]) == (
        41,
        6,
        5,
    )


@every_task
def test_every_argument_is_checked(make):
    """What is refused is tested once, with the decorator; here, that no maker goes without."""
    for name, value in (("steps", 0), ("sequences", 2.5), ("seed", -1)):
        with pytest.raises(ValueRangeError, match=rf"^{name}={value!r} must be a whole number of at least"):
            make(**{name: value})
    with pytest.raises(DtypeError, match="dtype='int32' is not one the cells compute in"):
        make(dtype="int32")
    with pytest.raises(TypeError):
        make(41, 6)


@every_task
@pytest.mark.parametrize(("steps", "sequences"), [(10**13, 10**6), (10**400, 1)])
def test_sizes_that_nobody_means(make, steps, sequences):
    """Refused before anything is allocated: of the last, no array could be made at all."""
    with pytest.raises(
        ValueRangeError, match=r"would take .* GiB in float32, more than the 4 GiB that are allowed; g"
    ):
        make(steps=steps, sequences=sequences)


@pytest.mark.parametrize(
    ("make", "sizes", "advice"),
    [
        (copying, {"memory": 10**12}, "give fewer steps, sequences, symbols or memory"),
        (copying, {"symbols": 10**12}, "give fewer steps, sequences, symbols or memory"),
        (flip_flop, {"channels": 10**12}, "give fewer steps, sequences or channels"),
        (long_series, {"lookback": 10**12}, "give fewer steps or sequences, or a shorter lookback"),
        (
            teacher,
            {"hidden_size": 10**5},
            "a teacher's weights would take .* in float64, .*fewer units or inputs",
        ),
        (partial(counting_of, [1, 2**62]), {}, "give fewer or smaller numbers, or fewer steps"),
        (partial(counting_of, [1, 2]), {"steps": 10**12}, "give fewer or smaller numbers, or fewer steps"),
        (
            long_series_prices,
            {"sequences": 10**12},
            "prices would take .* in float64, .*give fewer steps or sequences",
        ),
    ],
)
def test_other_sizes_that_nobody_means(make, sizes, advice):
    with pytest.raises(ValueRangeError, match=advice):
        make(**sizes)


@pytest.mark.parametrize(
    ("make", "name", "value", "allowed"),
    [
        (adding, "steps", 1, "of at least 2"),
        (copying, "symbols", 1, "of at least 2"),
        (copying, "memory", 0, "of at least 1"),
        (temporal_order, "steps", 9, "of at least 10"),
        (temporal_order, "symbols", 4, "from 2 to 3"),
        (temporal_order, "symbols", 1, "from 2 to 3"),
        (delayed_xor, "gap", 0, "from 1 to 49"),
        (delayed_xor, "gap", 50, "from 1 to 49"),
        (delayed_xor, "noise", -0.1, "of at least 0"),
        (flip_flop, "channels", 0, "of at least 1"),
        (flip_flop, "pulse", 1.01, "from 0 to 1"),
        (counting, "letters", 4, "from 2 to 3"),
        (counting, "n_max", 51, "from 1 to 50"),
        (counting, "n_min", 51, "from 1 to 50"),
        (counting, "steps", 2, "of at least 3"),
        (counting_stream, "n_min", 11, "from 1 to 10"),
        (counting_stream, "steps", 1, "of at least 2"),
        (teacher, "gain", -0.1, "of at least 0"),
        (teacher, "teacher", -1, "of at least 0"),
        (long_series, "lookback", 0, "of at least 1"),
        (long_series, "steps", 2, "of at least 3"),
        (long_series, "gamma", 1.1, "from 0 to 1"),
        (long_series, "gamma", -0.1, "from 0 to 1"),
    ],
)
def test_constants_out_of_range(make, name, value, allowed):
    with pytest.raises(ValueRangeError, match=rf"^{name}={value!r} must be a .* number {allowed}$"):
        make(**{name: value})
