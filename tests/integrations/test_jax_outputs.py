"""Trees of Flax, Haiku and Equinox, live and in files, in their frameworks' own cells."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import random_params
from helpers.jax_trees import dense, lstm, normal, simple

import gatescope as gs
from gatescope.errors import MissingPackageError, WeightFormatError
from gatescope.io.jax import cells, leaves

FOLDER = Path(__file__).parents[1] / "golden" / "weights"
FILES = sorted(path for path in FOLDER.glob("jax_*") if path.suffix != ".npz" or ".tree" in path.name)
PACKAGES = {"linen": "flax", "nnx": "flax", "haiku": "haiku", "equinox": "equinox"}
# What they compute in float32 has some 1e-7 of rounding, at outputs below 1; the RNN of Haiku is a ReLU, and larger.
ALIKE = {"float32": 1e-6, "float64": 1e-12}


def haiku_lstm(inputs=3, units=5):
    linear = {"w": normal(inputs + units, 4 * units), "b": normal(4 * units)}
    return {"lstm/linear": linear}


def haiku_gru(inputs=3, units=5):
    return {
        "gru": {"w_i": normal(inputs, 3 * units), "w_h": normal(units, 3 * units), "b": normal(3 * units)}
    }


@dataclasses.dataclass
class Equinox:
    """Arrays as the modules of Equinox have them; a mapping with these names is PyTorch's."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias: np.ndarray | None = None


def flax_lstm():
    return gs.to_flax(random_params("lstm", input_size=3, hidden_size=5, dtype="float32"))


def verified(source, **options):
    return gs.load_weights(source, verify=True, **options).provenance["verified"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removeprefix("jax_"))
def test_files_of_every_layout(path, capsys):
    package = PACKAGES[path.name.split("_")[1]]
    version = pytest.importorskip(package).__version__
    with np.load(FOLDER / f"{path.name.partition('.')[0]}.npz") as made:
        kinds = [str(kind) for kind in made["cells"]]
        both = "both" in path.name
    seen = verified(path, **({"nonlinearity": "tanh"} if "rnn" in kinds else {}))
    assert seen["difference"] <= ALIKE[seen["dtype"]] * max(1, seen["largest"])
    assert seen["outputs"] == 20 * 3 * 5 * (2 if both else 1)
    assert seen["by"] == f"{package.capitalize()} {version}"
    assert f"differ from those of {package.capitalize()} {version} by " in capsys.readouterr().out


def test_live_trees_of_flax():
    linen = pytest.importorskip("flax.linen")
    nnx = pytest.importorskip("flax.nnx")
    import jax

    inputs = jax.numpy.zeros((2, 3))
    cell = linen.OptimizedLSTMCell(5)
    carry = cell.initialize_carry(jax.random.key(0), inputs.shape)
    assert verified(jax.jit(cell.init)(jax.random.key(1), carry, inputs))["difference"] < 1e-6

    @nnx.jit  # which compiles it whole, and takes a third of the time
    def made():
        rnns = [nnx.RNN(nnx.GRUCell(3, 5, rngs=nnx.Rngs(seed))) for seed in (0, 1)]
        return nnx.Bidirectional(*rnns, time_major=True)

    seen = verified(nnx.state(made(), nnx.Param))
    assert (seen["difference"] < 1e-6, seen["outputs"]) == (True, 20 * 3 * 10)


def test_live_modules_of_equinox_and_half_precision():
    equinox = pytest.importorskip("equinox")
    import jax

    cell = equinox.nn.GRUCell(3, 5, use_bias=False, key=jax.random.key(0))
    assert verified(cell)["difference"] < 1e-6
    assert verified(cell, dtype="float64")["difference"] < 1e-12
    half = jax.tree.map(lambda a: a.astype("bfloat16"), equinox.filter(cell, equinox.is_array))
    assert verified(half)["difference"] < 1e-6


def test_flax_reads_its_file_itself(tmp_path, monkeypatch):
    serialization = pytest.importorskip("flax.serialization")
    import jax

    half = jax.tree.map(lambda a: jax.numpy.asarray(a, "bfloat16"), flax_lstm())
    (tmp_path / "model.msgpack").write_bytes(serialization.to_bytes(half))
    assert verified(tmp_path / "model.msgpack")["difference"] < 1e-6
    numbers = leaves._numbers
    monkeypatch.setattr(leaves, "_numbers", lambda data, dtype: 2 * numbers(data, dtype))
    with pytest.warns(gs.AccuracyWarning, match="more than rounding"):
        verified(tmp_path / "model.msgpack")


def test_a_backward_direction_alone():
    pytest.importorskip("flax")
    seen = verified({"backward_rnn": {"cell": lstm()}})
    assert seen["difference"] < 1e-6


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_nonlinearity_is_that_which_was_asked_for(nonlinearity):
    pytest.importorskip("flax")
    tree = simple()
    tree["h"]["kernel"] /= 5
    seen = verified(tree, nonlinearity=nonlinearity)
    assert seen["difference"] < 1e-6 * max(1, seen["largest"])
    assert (seen["largest"] > 1) == (nonlinearity == "relu")


def test_nothing_of_jax_is_left_changed():
    pytest.importorskip("flax")
    import jax

    before = jax.config.values.copy()
    assert verified(lstm(dtype="float64"))["dtype"] == "float64"
    assert jax.config.values == before
    assert jax.numpy.zeros(1).dtype == np.float32


@pytest.mark.parametrize(
    ("package", "tree", "name", "wrong"),
    [
        ("haiku", haiku_lstm, "_HAIKU_FORGET_BIAS", 0.0),
        ("haiku", haiku_lstm, "_HAIKU_LSTM", (0, 1, 2, 3)),
        ("haiku", haiku_gru, "_HAIKU_GRU", (0, 1, 2)),
        (
            "flax",
            flax_lstm,
            "_SEPARATE",
            {"lstm": (("ii", "ig", "if", "io"), ("hi", "hg", "hf", "ho"))},
        ),
    ],
    ids=["no forget bias", "gates of an LSTM", "gates of a GRU", "matrices of an LSTM"],
)
def test_a_reader_that_takes_a_tree_for_another_is_warned_of(package, tree, name, wrong, monkeypatch):
    pytest.importorskip(package)
    assert verified(tree())["difference"] < 1e-6
    monkeypatch.setattr(cells, name, wrong)
    with pytest.warns(gs.AccuracyWarning, match="more than rounding: what was read computes something else"):
        assert verified(tree())["difference"] > 1e-2


@pytest.mark.parametrize(
    ("package", "tree", "apart"),
    [
        ("flax", lambda: lstm() | {"ii": dense(3, 5)}, "'ii/bias'"),
        ("flax", lambda: {"dense_i": dense(3, 15), "dense_h": dense(5, 15)}, "'bias'"),
        (
            "equinox",
            lambda: Equinox(normal(15, 3), normal(15, 5), normal(15)),
            "'bias_n'",
        ),
    ],
)
def test_a_tree_that_no_cell_of_the_framework_takes_says_so(package, tree, apart):
    pytest.importorskip(package)
    with pytest.raises(
        WeightFormatError, match=rf"does not run it \(the arrays .*{apart.strip(chr(39))}.* are not"
    ):
        verified(tree())


@pytest.mark.parametrize(
    ("tree", "missing", "advice"),
    [
        (gs.to_flax(random_params("gru", input_size=3, hidden_size=5)), "flax", "pip install flax"),
        ({"dense_i": dense(3, 20, bias=False), "dense_h": dense(5, 20)}, "flax", "pip install flax"),
        (haiku_lstm(), "haiku", "pip install dm-haiku"),
        (Equinox(normal(20, 3), normal(20, 5)), "equinox", "pip install equinox"),
    ],
)
def test_a_framework_that_is_missing(tree, missing, advice, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingPackageError, match=f"cannot be imported .*; {advice}, or leave `verify` out"):
        verified(tree)


def test_the_command(monkeypatch):
    pytest.importorskip("equinox")
    from typer.testing import CliRunner

    from gatescope.cli import main

    done = CliRunner().invoke(main.app, ["weights", str(FOLDER / "jax_equinox_gru.eqx"), "--verify"])
    assert done.exit_code == 0, done.output
    assert "in float64 differ from those of Equinox " in done.stdout
