"""Safetensors files: bfloat16 without PyTorch, nothing read but the layer, and headers that lie."""

import json
import tracemalloc

import numpy as np
import pytest
from helpers.weights import load_torch
from safetensors.numpy import save_file

from gatescope.errors import FileFormatError, WeightFormatError

SHAPES = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}


def write_safetensors(path, tensors, *, change=None):
    """Write (dtype code, shape, bytes) by hand, as the format says; `change` may spoil the header."""
    header, data = {}, b""
    for name, (code, shape, raw) in tensors.items():
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    if change:
        change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def as_bfloat16(values):
    """Return the upper halves of float32s."""
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2")


def test_bfloat16_without_torch(tmp_path):
    rng = np.random.default_rng(0)
    entries = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    path = write_safetensors(
        tmp_path / "a.safetensors",
        {name: ("BF16", list(value.shape), as_bfloat16(value).tobytes()) for name, value in entries.items()},
    )
    params = load_torch(path)
    assert params.dtype == np.float32
    for name, exact in entries.items():
        value = getattr(params, name.removesuffix("_l0"))
        assert not (value.view(np.uint32) & 0xFFFF).any()
        # Cutting the lower 16 of 24 significant bits off changes a number by less than 2^-7 of itself.
        np.testing.assert_allclose(value, exact, rtol=2**-7)
    known = write_safetensors(
        tmp_path / "b.safetensors",
        {
            "weight_ih_l0": ("BF16", [1, 1], bytes.fromhex("803f")),  # 1.0
            "weight_hh_l0": ("BF16", [1, 1], bytes.fromhex("49c0")),  # -3.140625
        },
    )
    params = load_torch(known)
    assert (params.weight_ih[0, 0], params.weight_hh[0, 0]) == (1.0, -3.140625)


def test_a_safetensors_dtype_that_is_not_known(tmp_path):
    path = write_safetensors(
        tmp_path / "a.safetensors",
        {"weight_ih_l0": ("F32", [1, 1], bytes(4)), "weight_hh_l0": ("F8_E4M3", [1, 1], bytes(1))},
    )
    with pytest.raises(WeightFormatError, match=r"holds 'weight_hh_l0' of dtype F8_E4M3; save it as float32"):
        load_torch(path)


def small(path, change=None):
    tensors = {"weight_ih_l0": ("F32", [4, 1], bytes(16)), "weight_hh_l0": ("F32", [4, 1], bytes(16))}
    return write_safetensors(path, tensors, change=change)


def test_the_handmade_file_is_good(tmp_path):
    assert load_torch(small(tmp_path / "a.safetensors")).cell == "lstm"


def test_metadata_is_no_tensor(tmp_path):
    save_file(
        {name: np.zeros(shape) for name, shape in SHAPES.items()},
        tmp_path / "a.safetensors",
        metadata={"format": "pt"},
    )
    assert load_torch(tmp_path / "a.safetensors").cell == "lstm"


HUGE = 2**62
LARGE = 2**26
NEIGHBOUR = {"dtype": "U8", "shape": [LARGE], "data_offsets": [32, 32 + LARGE]}


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["weight_hh_l0"].update(data_offsets=[16, HUGE]),
        lambda header: header["weight_hh_l0"].update(data_offsets=[16, 40]),
        lambda header: header["weight_hh_l0"].update(data_offsets=[0, 16]),
        lambda header: header["weight_hh_l0"].update(data_offsets=[32, 16]),
        lambda header: header["weight_hh_l0"].update(data_offsets=[-16, 0]),
        lambda header: header["weight_hh_l0"].update(data_offsets=[16]),
        lambda header: header["weight_hh_l0"].update(shape=[HUGE, HUGE]),
        lambda header: header["weight_hh_l0"].update(shape=[-4, -1]),
        lambda header: header["weight_hh_l0"].update(shape=[4.0, 1]),
        lambda header: header["weight_hh_l0"].update(shape=[8, 1]),
        lambda header: header["weight_hh_l0"].update(dtype="F64"),
        lambda header: header["weight_hh_l0"].update(dtype="OBJECT"),
        lambda header: header["weight_hh_l0"].update(dtype=3),
        lambda header: header["weight_hh_l0"].pop("shape"),
        lambda header: header.update(weight_hh_l0=[1, 2]),
        lambda header: header.pop("weight_hh_l0"),
    ],
)
def test_headers_that_lie(tmp_path, change):
    with pytest.raises(FileFormatError, match=r"not a readable safetensors file: .*write it again"):
        load_torch(small(tmp_path / "a.safetensors", change))


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 40, -1, -16])
def test_truncated_safetensors(tmp_path, keep):
    path = small(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match="not a readable safetensors file"):
        load_torch(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 8 + b"{}",
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
        (2).to_bytes(8, "little") + b"{\xff",
        (9000).to_bytes(8, "little") + b'{"a":' + b"[" * 8995,
        b"PK\x03\x04" + bytes(100),
        bytes(1000),
    ],
)
def test_files_that_are_no_safetensors(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(FileFormatError, match="not a readable safetensors file"):
        load_torch(tmp_path / "a.safetensors")


def test_only_the_layer_is_read(tmp_path):
    """A large neighbour takes no memory; the file is sparse, so it takes no disk either."""
    path = small(tmp_path / "a.safetensors", lambda header: header.update(neighbour=NEIGHBOUR))
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + LARGE)
    tracemalloc.start()
    try:
        assert load_torch(path).cell == "lstm"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LARGE / 16
