"""Files of torch.save without PyTorch: what is in them, one tensor at a time, and files that lie."""

import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers.torch_zip import Instructions, Made, Name, Tensor, instructions, module, tensors, write_torch
from helpers.weights import load_torch

from gatescope.errors import FileFormatError, WeightFormatError
from gatescope.io.pytorch.torch_files import TorchFile

RNG = np.random.default_rng(0)
SHAPES = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}


def entries(prefix="", dtype="float32"):
    return {prefix + name: RNG.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_values_are_those_of_the_file(tmp_path, dtype, order):
    arrays = entries(dtype=dtype)
    stored = {
        name: array.astype(array.dtype.newbyteorder(order[0].upper())) for name, array in arrays.items()
    }
    file = TorchFile(write_torch(tmp_path / "a.pt", tensors(stored), order=order))
    assert [*file] == [*arrays]
    assert len(file) == 4
    assert "bias_ih_l1" not in file
    for name, array in arrays.items():
        assert file.describe(name) == (array.shape, dtype)
        np.testing.assert_array_equal(file[name], array)
        assert file[name].dtype == np.dtype(dtype)
        assert file[name].dtype.isnative


def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path):
    bits = np.array([[0x3F80, 0xC049]], np.uint16)  # 1.0 and -3.140625
    file = TorchFile(write_torch(tmp_path / "a.pt", tensors({"a": bits})))
    assert file.describe("a") == ((1, 2), "bfloat16")
    np.testing.assert_array_equal(file["a"], np.array([[1.0, -3.140625]], np.float32))


def test_views_of_one_storage(tmp_path):
    """As of a module on a GPU, whose weights lie in one piece, and of transposed tensors."""
    numbers = np.arange(24.0)
    says = {
        "a": {"offset": 4, "shape": (2, 3), "strides": (3, 1)},
        "b": {"offset": 10, "shape": (3, 2), "strides": (1, 3)},
        "c": {"offset": 0, "shape": (), "strides": ()},
        "d": {"offset": 24, "shape": (0, 5), "strides": (5, 1)},
    }
    file = TorchFile(
        write_torch(tmp_path / "a.pt", {name: Tensor(numbers, "0", said) for name, said in says.items()})
    )
    np.testing.assert_array_equal(file["a"], numbers[4:10].reshape(2, 3))
    np.testing.assert_array_equal(file["b"], numbers[10:16].reshape(2, 3).T)
    assert file["b"].flags.c_contiguous
    assert file["c"] == 0.0
    assert file["d"].shape == (0, 5)


def test_names_lead_through_dicts_lists_and_modules(tmp_path):
    rnn = module("torch.nn.modules.rnn RNN", tensors(entries()), mode="RNN_RELU", batch_first=True)
    net = module("__main__ Net", {}, {"rnn": rnn})
    optimizer = {"state": {0: {"exp_avg": Tensor(np.ones(3), "9")}}, "param_groups": [{"lr": 0.1}]}
    file = TorchFile(
        write_torch(tmp_path / "a.pt", {"epoch": 3, "net": net, "optimizers": [optimizer], "none": None})
    )
    names = [f"net.rnn.{name}" for name in SHAPES]
    assert [*file] == [*names, "optimizers.0.state.0.exp_avg"]
    assert {file.containers[name] for name in names} == {"net."}
    assert file.containers["optimizers.0.state.0.exp_avg"] == "optimizers.0.state.0."
    assert file.modules["net.rnn."].kind == "torch.nn.modules.rnn.RNN"
    assert file.modules["net.rnn."].attributes["batch_first"] is True
    assert file.format == "PyTorch checkpoint (zip)"


def test_two_entries_of_one_name(tmp_path):
    one, other = (Tensor(np.full(1, value), key) for value, key in ((1.0, "0"), (2.0, "1")))
    path = write_torch(tmp_path / "a.pt", {"lstm.bias": one, "lstm": {"bias": other}})
    with pytest.raises(FileFormatError, match=r"two of its entries are named 'lstm\.bias'"):
        TorchFile(path)
    with pytest.raises(WeightFormatError, match=r"source names two entries 'lstm\.weight_hh_l0'"):
        load_torch({"lstm.weight_hh_l0": np.ones((4, 1)), "lstm": {"weight_hh_l0": np.ones((4, 1))}})


def test_parameters_and_subclasses(tmp_path):
    inner = instructions(Tensor(np.ones((2, 2)), "0"))
    made = instructions(Name("torch._utils _rebuild_parameter")) + b"(" + inner + b"\x88Nt" + b"R"
    file = TorchFile(write_torch(tmp_path / "a.pt", {"a": Tensor(np.ones((2, 2)), "0", {"made": made})}))
    np.testing.assert_array_equal(file["a"], np.ones((2, 2)))
    made = instructions(Name("torch._utils _rebuild_qtensor")) + b")R"
    file = TorchFile(write_torch(tmp_path / "b.pt", {"a": Instructions(made)}))
    with pytest.raises(WeightFormatError, match=r"holds 'a' as '_rebuild_qtensor' makes it.*plain tensor"):
        file.describe("a")


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attack = Instructions(pickle.dumps(Attack(), 2)[2:-1])
    write_torch(tmp_path / "a.pt", tensors(entries()) | {"attack": attack})
    assert load_torch("a.pt").cell == "lstm"
    write_torch(tmp_path / "b.pt", attack)
    with pytest.raises(WeightFormatError, match="has no recurrent layer"):
        load_torch("b.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt"]


HUGE = 2**40


@pytest.mark.parametrize(
    "says",
    [
        {"shape": (4 * HUGE, HUGE), "strides": (0, 0)},  # 2^82 numbers out of one
        {"shape": (HUGE, 1), "strides": (0, 1)},
        {"shape": (20, 6), "strides": (5, 1)},
        {"shape": (20, 5), "strides": (6, 1)},
        {"offset": 1},
        {"offset": -1},
        {"strides": (-5, 1)},
        {"shape": (-20, -5)},
        {"shape": (20,)},
        {"shape": (1,) * 17, "strides": (1,) * 17},
        {"shape": (2**63, 1)},
        {"shape": (20.0, 5)},
        {"shape": [20, 5]},
        {"shape": (True, 5)},
        {"shape": (0, 2**62), "strides": (1, 1)},
        {"numbers": HUGE, "shape": (HUGE // 5, 5)},
        {"numbers": 99},
        {"numbers": "100"},
        {"kind": "Double"},
        {"made": instructions(Name("torch._utils _rebuild_tensor_v2")) + b")R"},
        {"made": instructions(Name("torch._utils _rebuild_tensor_v2")) + b"(K\x01K\x01)))t" + b"R"},
    ],
    ids=repr,
)
def test_tensors_that_claim_what_the_file_lacks(tmp_path, says):
    path = write_torch(tmp_path / "a.pt", tensors(entries(), weight_hh_l0=says))
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=r"weight_hh_l0'"):
            load_torch(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert [*TorchFile(path)] == [*SHAPES]  # it can be listed all the same


def test_dtypes_that_are_no_weights(tmp_path):
    path = write_torch(tmp_path / "a.pt", tensors(entries(), weight_hh_l0={"kind": "ComplexFloat"}))
    with pytest.raises(
        WeightFormatError, match="holds 'weight_hh_l0' of dtype ComplexFloat; save it as float32"
    ):
        load_torch(path)
    path = write_torch(tmp_path / "b.pt", tensors(entries(dtype="int64")))
    with pytest.raises(WeightFormatError, match="of dtype int64, not floating-point weights"):
        load_torch(path)


def test_members_that_are_missing_twice_or_packed(tmp_path):
    weights = tensors(entries())
    write_torch(tmp_path / "z.pt", weights, more=[("archive/code/net.py", "x" * 100)])
    lost = weights | {"weight_hh_l0": Instructions(instructions(Tensor(np.ones((20, 5), "f4"), "lost")))}
    with pytest.raises(FileFormatError, match="'weight_hh_l0' lies in 'archive/data/lost', which it lacks"):
        load_torch(write_torch(tmp_path / "a.pt", lost))
    outside = weights | {
        "weight_hh_l0": Instructions(instructions(Tensor(np.ones((20, 5), "f4"), "../../x")))
    }
    with pytest.raises(FileFormatError, match="which it lacks"):
        load_torch(write_torch(tmp_path / "b.pt", outside))
    with pytest.warns(UserWarning, match="Duplicate"):
        write_torch(tmp_path / "c.pt", weights, more=[("archive/data/0", b"")])
    with pytest.raises(FileFormatError, match="holds 'archive/data/0' twice"):
        load_torch(tmp_path / "c.pt")
    with pytest.raises(FileFormatError, match=r"packs 'archive/data\.pkl', which torch\.save never does"):
        load_torch(write_torch(tmp_path / "d.pt", weights, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(FileFormatError, match=r"has 2 members named data\.pkl"):
        load_torch(write_torch(tmp_path / "e.pt", weights, more=[("other/data.pkl", b"N.")]))


def test_a_member_that_claims_more_than_the_file_has(tmp_path):
    path = write_torch(tmp_path / "a.pt", tensors(entries()))
    whole = path.read_bytes()
    data = bytearray(whole)
    at = data.rindex(b"archive/data/1") - 46  # its entry in the directory
    data[at + 20 : at + 28] = (2**31).to_bytes(4, "little") * 2
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="'archive/data/1' claims 2147483648 bytes that the file lacks"):
        load_torch(path)
    path.write_bytes(whole[:100] + whole[150:])  # the offsets of all members are below where they are by 50
    with pytest.raises(FileFormatError, match="bytes that the file lacks"):
        load_torch(path)


def test_numbers_that_were_changed(tmp_path):
    weights = entries()
    path = write_torch(tmp_path / "a.pt", tensors(weights))
    data = path.read_bytes()
    where = data.index(weights["weight_hh_l0"].tobytes())
    path.write_bytes(data[:where] + b"\xff" + data[where + 1 :])
    with pytest.raises(FileFormatError, match="Bad CRC-32"):
        load_torch(path)


@pytest.mark.parametrize("keep", [4, 40, 500, -1, -30])
@pytest.mark.parametrize("name", ["a.pt", "a", "a.weights"])
def test_truncated_files(tmp_path, keep, name):
    path = write_torch(tmp_path / name, tensors(entries()))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match=r"not a readable file of torch\.save.*torch\.save"):
        load_torch(path)


def shared(count):
    """Return lists in each other, each of which holds the one below twice: 2^count leaves in a few bytes."""
    return Instructions(b"](Ne" + b"q\x00](h\x00h\x00e" * count)


def test_shared_containers_are_walked_once(tmp_path):
    path = write_torch(tmp_path / "a.pt", {"bomb": shared(40), **tensors(entries())})
    assert load_torch(path).cell == "lstm"
    names = tensors({f"w{k}": np.ones(1) for k in range(3)})
    one = Instructions(instructions(names) + b"q\x07")
    path = write_torch(tmp_path / "b.pt", {"a": one, "b": Instructions(b"h\x07"), "keys": [*names.values()]})
    assert [*TorchFile(path)] == ["a.w0", "a.w1", "a.w2", "keys.0", "keys.1", "keys.2"]
    modules = Instructions(
        b"](" + b"".join(b"cmodel\nNet\n)\x81}X\x01\x00\x00\x00ah\x07sb" for _ in range(1000)) + b"e"
    )
    path = write_torch(tmp_path / "c.pt", {"a": one, "modules": modules})
    assert len(TorchFile(path)) == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (shared(100), "lie in each other more than 64 deep"),
        (Instructions(b"X" + (2**25).to_bytes(4, "little") + bytes(2**25)), "more than 33554432 bytes"),
        (
            Instructions(b"](" + instructions(Tensor(np.ones(1), "0")) + b"q\x00" + b"h\x00" * 30_001 + b"e"),
            "more than 30000 entries",
        ),
        (
            {"a" * 2**20: [Instructions(instructions(Tensor(np.ones(1), "0")))] * 9},
            "names of 8388608 characters",
        ),
        (Instructions(b"h\x00"), "never remembered"),
        (Instructions(b"cos\nsystem\no"), "instruction OBJ"),
    ],
    ids=range(6),
)
def test_files_that_are_made_to_take_long(tmp_path, value, message):
    path = write_torch(tmp_path / "a.pt", value)
    with pytest.raises(FileFormatError, match=message):
        TorchFile(path)


def test_only_what_is_asked_for_is_read(tmp_path):
    large = np.zeros(2**23)
    path = write_torch(tmp_path / "a.pt", tensors(entries() | {"large": large}))
    tracemalloc.start()
    try:
        assert load_torch(path).cell == "lstm"
        assert tracemalloc.get_traced_memory()[1] < large.nbytes / 16
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("start", [b"\x80\x02", b""])
@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "last.ckpt"])
def test_pickles_are_never_opened(tmp_path, start, name):
    (tmp_path / name).write_bytes(start + b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(WeightFormatError, match=r"pickle, which can run any code.*torch\.save"):
        load_torch(tmp_path / name)


def test_the_format_of_old_versions_is_named(tmp_path):
    legacy = bytes.fromhex("80028a0a6cfc9c46f9206aa85019 2e80024de9032e")
    (tmp_path / "b.whatever").write_bytes(legacy)
    with pytest.raises(
        WeightFormatError, match=r"before version 1\.6.*torch\.load\(path, weights_only=True\)"
    ):
        load_torch(tmp_path / "b.whatever")


def test_made_objects_with_slots_are_searched(tmp_path):
    state = (None, {"weights": tensors(entries())})
    file = TorchFile(write_torch(tmp_path / "a.pt", Made("model.Holder x", (), state)))
    assert [*file] == [f"weights.{name}" for name in SHAPES]


def test_what_torch_writes_in_every_protocol_and_dtype(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(60.0).reshape(3, 4, 5)
    saved = {
        "transposed": base.transpose(0, 2),
        "sliced": base[1:, ::2, 1:],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "half": base.half() / 7,
        "bfloat16": base.bfloat16() / 7,
        "double": base.double() / 7,
        "integers": base.long(),
        "flags": base > 7,
        "parameter": torch.nn.Parameter(base.clone()),
    }
    for protocol in (2, 3, 4, 5):
        torch.save(saved, tmp_path / "a.pt", pickle_protocol=protocol)
        file = TorchFile(tmp_path / "a.pt")
        assert [*file] == [*saved]
        for name, tensor in saved.items():
            exact = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
            np.testing.assert_array_equal(file[name], exact.numpy())
            assert file.describe(name) == (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
    torch.save({"all": torch.zeros(1).expand(2**20, 2**20)}, tmp_path / "b.pt")
    with pytest.raises(
        FileFormatError, match=r"'all' of shape \(1048576, 1048576\) claims more than 1 numbers"
    ):
        TorchFile(tmp_path / "b.pt").describe("all")
