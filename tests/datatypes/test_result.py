"""Results: saved, loaded, refused when the file is another kind or was tampered with."""

import copy
import dataclasses
import json

import numpy as np
import pytest
from helpers.watches import make_watch

import gatescope as gs
from gatescope.datatypes import Batch, Fit, GradientFlow, Gradients, Params, Result, Trace
from gatescope.errors import DtypeError, FileFormatError, OutputError
from gatescope.storage.npz import read_npz, write_npz


def lstm(**changes):
    rng = np.random.default_rng(0)
    fields = {
        "cell": "lstm",
        "weight_ih": rng.normal(size=(8, 3)).astype(np.float32),
        "weight_hh": rng.normal(size=(8, 2)).astype(np.float32),
        "bias_ih": np.zeros(8, np.float32),
        "bias_hh": np.ones(8, np.float32),
        "provenance": {
            "seed": np.int64(3),
            "scheme": None,
            "shape": (8, (2,)),
            "gains": [1.5, np.float32(0.5)],
        },
    }
    return Params(**fields | changes)


def results():
    rng = np.random.default_rng(1)
    params = lstm()
    yield params
    yield Trace(
        cell="lstm",
        inputs=rng.normal(size=(4, 1, 3)),
        states=rng.normal(size=(5, 1, 2, 2)),
        gates=rng.normal(size=(4, 1, 4, 2)),
        lengths=np.array([4]),
        state_names=("h", "c"),
        gate_names=("i", "f", "g", "o"),
    )
    yield Gradients(
        params=params,
        inputs=np.zeros((4, 1, 3)),
        initial_state=np.zeros((1, 2, 2)),
        adjoint=np.zeros((5, 1, 2, 2)),
        provenance={"threads": 2},
    )
    yield GradientFlow(
        cell="lstm",
        lag=np.arange(3),
        log_norm=np.array([[0.0], [-1.0], [-np.inf]]),
        of="h",
        wrt="c",
        source_step=4,
        norm="unit",
    )
    yield Batch(
        inputs=np.zeros((2, 1, 1)),
        targets=np.zeros((2, 1, 1)),
        mask=np.array([[True], [False]]),
        lengths=np.array([2]),
        name="µ",
    )


def assert_same(loaded, expected):
    assert type(loaded) is type(expected)
    for name, value in vars(expected).items():
        other = getattr(loaded, name)
        if isinstance(value, Result):
            assert_same(other, value)
        elif isinstance(value, np.ndarray):
            assert other.dtype == value.dtype
            np.testing.assert_array_equal(other, value)
        else:
            # NaN is a batch without a baseline.
            assert other == value or (other != other and value != value)
            assert type(other) is type(value)


@pytest.mark.parametrize("result", list(results()), ids=lambda result: type(result).__name__)
def test_round_trip(tmp_path, result):
    path = tmp_path / "a.npz"
    result.save(path)
    assert_same(gs.load(path), result)
    assert_same(type(result).load(path), result)
    gs.save(tmp_path / "b.npz", gs.load(path))
    assert (tmp_path / "b.npz").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("result", list(results()), ids=lambda result: type(result).__name__)
def test_equal_if_all_but_provenance_is(tmp_path, result):
    result.save(tmp_path / "a.npz")
    for other in (result, copy.deepcopy(result), gs.load(tmp_path / "a.npz")):
        assert (result == other) is True
        assert (result != other) is False
    assert result == dataclasses.replace(result, provenance={"seed": 99})
    for name, value in result.arrays().items():
        changed = value.copy()
        changed.flat[-1] = not changed.flat[-1] if value.dtype == bool else 77
        others = [changed]
        if not isinstance(
            result, Batch
        ):  # which takes only arrays that fit each other, and None for a default
            others += [value[:-1], value.astype(np.float16), value[None], value.tolist(), None]
        for other in others:
            assert (result == dataclasses.replace(result, **{name: other})) is False
            assert (dataclasses.replace(result, **{name: other}) == result) is False


def test_unequal_in_what_is_no_array():
    gradients = next(r for r in results() if isinstance(r, Gradients))
    assert gradients != dataclasses.replace(gradients, params=lstm(bias_hh=np.zeros(8, np.float32)))
    assert lstm() != lstm(cell="gru")
    assert lstm() not in (None, "lstm", 1)
    assert len({type(a).__name__ for a in results() for b in results() if a == b}) == 5
    assert sum(a == b for a in results() for b in results()) == 5  # each equals its own kind only


def test_nan_is_the_same_as_nan():
    def fit(value):
        return Fit(value=np.array([value]), r_squared=np.array([np.nan]), fit_range=(0, 1), unit="steps")

    assert fit(1.0) == fit(1.0)
    assert fit(1.0) != fit(np.nan)
    assert fit(1.0) != dataclasses.replace(fit(1.0), fit_range=(0, 2))


def test_results_have_no_hash():
    fit = Fit(value=np.zeros(1), r_squared=np.zeros(1), fit_range=(0, 1), unit="steps")
    for result in (*results(), fit):
        with pytest.raises(TypeError, match=rf"unhashable type: '{type(result).__name__}'.*id\(\)"):
            hash(result)


def test_kinds_defined_elsewhere_compare_alike(monkeypatch):
    """Without eq=False in their decorator; one that brings its own __eq__ keeps it, and so do its subclasses."""
    monkeypatch.setattr(Result, "_kinds", dict(Result._kinds))

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Plain(Result):
        values: np.ndarray
        flow: GradientFlow | None = None
        shares: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Own(Plain):
        def __eq__(self, other):
            return True

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class OwnToo(Own):
        pass

    flow = next(r for r in results() if isinstance(r, GradientFlow))
    plain = Plain(values=np.zeros(3), flow=flow, shares={"f": (0.1, 0.2)})
    assert plain == copy.deepcopy(plain)
    assert plain != dataclasses.replace(plain, flow=None)
    assert plain != dataclasses.replace(plain, values=np.ones(3))
    assert plain != dataclasses.replace(plain, shares={"f": (0.1, 0.3)})
    with pytest.raises(TypeError, match="unhashable type: 'Plain'"):
        hash(plain)
    assert OwnToo(values=np.zeros(3)) == OwnToo(values=np.ones(3))


@pytest.mark.parametrize(("points", "known"), [(1, False), (2, False), (3, True)])
def test_r_squared_needs_three_points(points, known):
    log_norm = np.full((6, 1), -np.inf)
    log_norm[1 : 1 + points, 0] = -0.5 * np.arange(points)
    flow = GradientFlow(
        cell="rnn", lag=np.arange(6), log_norm=log_norm, of="h", wrt="h", source_step=6, norm="unit"
    )
    fit = flow.decay_rate((0, 5))
    np.testing.assert_allclose(fit.value, [0.5 if points > 1 else np.nan], rtol=1e-15)
    np.testing.assert_allclose(fit.r_squared, [1.0 if known else np.nan], rtol=1e-15)
    np.testing.assert_array_equal(flow.half_life((0, 5)).r_squared, fit.r_squared)


def test_provenance_comes_back_as_plain_values(tmp_path):
    lstm().save(tmp_path / "a.npz")
    loaded = Params.load(tmp_path / "a.npz").provenance
    assert loaded == {"seed": 3, "scheme": None, "shape": (8, (2,)), "gains": [1.5, 0.5]}
    assert type(loaded["seed"]) is int


def test_provenance_that_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"Params\['fields'\]\['provenance'\]\['rng'\] is a Generator"):
        lstm(provenance={"rng": np.random.default_rng(0)}).save(tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_nothing_is_pickled(tmp_path):
    with pytest.raises(OutputError, match="array 'bias_ih' holds object"):
        lstm(bias_ih=np.array([None] * 8)).save(tmp_path / "a.npz")


def test_another_kind_is_named(tmp_path):
    lstm().save(tmp_path / "a.npz")
    with pytest.raises(
        FileFormatError, match=r"a\.npz' holds a Params, not a Trace; load it with gatescope\.load"
    ):
        Trace.load(tmp_path / "a.npz")


def test_a_foreign_npz_points_to_load_weights(tmp_path):
    np.savez(tmp_path / "a.npz", weight_ih_l0=np.zeros((8, 3)))
    with pytest.raises(FileFormatError, match=r"not written by gatescope.*gatescope\.load_weights"):
        gs.load(tmp_path / "a.npz")


def tampered(path, change):
    """Save `lstm()` with its description changed by `change`."""
    lstm().save(path)
    arrays = read_npz(path)
    meta = json.loads(str(arrays["gatescope_meta"]))
    change(meta, arrays)
    arrays["gatescope_meta"] = np.array(json.dumps(meta))
    write_npz(path, arrays)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta, _: meta.update(kind="Exploit"), "holds a 'Exploit', which this version does not know"),
        (lambda meta, _: meta.update(kind=["Params"]), "damaged"),
        (lambda meta, _: meta.pop("fields"), "damaged"),
        (lambda meta, _: meta.update(nested=["params"]), "damaged.*params"),
        (lambda meta, _: meta["fields"].update(cell=7), "cell is a int, not str"),
        (lambda meta, _: meta["fields"].update(cell=None), "cell is a NoneType, not str"),
        (
            lambda meta, _: meta["fields"].update(gate_names="ifgo"),
            "whose gate_names are ifgo, but here they are",
        ),
        (lambda meta, _: meta["fields"].update(gate_names={"__tuple__": 3}), "damaged"),
        (lambda meta, _: meta["fields"].update(provenance="me"), "provenance is a str, not Mapping"),
        (lambda meta, _: meta["fields"].update(colour="red"), "damaged.*colour"),
        (lambda _, arrays: arrays.pop("bias_hh"), "damaged.*bias_hh"),
        (
            lambda meta, arrays: meta["fields"].update(bias_hh=arrays.pop("bias_hh").tolist()),
            "bias_hh is a list",
        ),
        (lambda _, arrays: arrays.update(cell=np.zeros(2)), "cell is a ndarray, not str"),
    ],
)
def test_tampered_descriptions(tmp_path, change, message):
    with pytest.raises(FileFormatError, match=message):
        gs.load(tampered(tmp_path / "a.npz", change))


@pytest.mark.parametrize("pair", [("a",), ("a", "b", "c"), ("a", 1)])
def test_pairs_are_of_two(tmp_path, pair):
    gs.datatypes.Capture(networks=(), left_out=(pair,)).save(tmp_path / "a.npz")
    with pytest.raises(FileFormatError, match="left_out is a tuple, not"):
        gs.load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 5000, "null", "[1]", '{"kind": "Params", "nested": 1, "fields": {}}']
)
def test_descriptions_that_are_no_json(tmp_path, text):
    write_npz(tmp_path / "a.npz", {"gatescope_meta": np.array([text + " "])[0]})
    with pytest.raises(FileFormatError, match="damaged, or was written by another version"):
        gs.load(tmp_path / "a.npz")
    write_npz(tmp_path / "b.npz", {"gatescope_meta": np.arange(3)})
    with pytest.raises(FileFormatError, match="damaged"):
        gs.load(tmp_path / "b.npz")


def test_params_views():
    params = lstm()
    assert (params.input_size, params.hidden_size, params.dtype) == (3, 2, np.float32)
    assert params.count() == 8 * 3 + 8 * 2 + 16
    np.testing.assert_array_equal(params.gate("f")["weight_hh"], params.weight_hh[2:4])
    with pytest.raises(
        gs.UnknownNameError, match="no 'q'; lstm has weights for the gates 'i', 'f', 'g', 'o'"
    ):
        params.gate("q")


def test_save_says_which_argument_comes_first(tmp_path):
    params = gs.init("gru", input_size=1, hidden_size=4)
    with pytest.raises(
        DtypeError, match=r"path is a Params; the path comes first: gatescope\.save\(path, result\)"
    ):
        gs.save(params, tmp_path / "a.npz")
    with pytest.raises(DtypeError, match="result is a dict; give what gatescope returned"):
        gs.save(tmp_path / "a.npz", {"a": 1})


@pytest.mark.parametrize(
    "maker", [lambda: gs.init("lstm", input_size=1, hidden_size=2), lambda: make_watch(1)]
)
def test_where_a_result_comes_from_is_a_mapping(maker):
    with pytest.raises(DtypeError, match="provenance is a NoneType; give a dict"):
        dataclasses.replace(maker(), provenance=None)
