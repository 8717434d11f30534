"""Files: nothing is left half-written, what is written is read back, hostile files are refused quickly."""

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.subprocess_python import python

from gatescope.errors import FileFormatError, OutputError
from gatescope.storage import npz
from gatescope.storage.npz import decode_json, encode_json, read_npy, read_npz, write_npz


def npy_bytes(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text, version=1):
    """Return a .npy prefix that says whatever `text` says."""
    body = text.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(body)) + body


def write_zip(path, members, **kwargs):
    with zipfile.ZipFile(path, "w", **kwargs) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


ARRAYS = {
    "weights": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(20)[::3],
    "empty": np.zeros((0, 5)),
    "scalar": np.array(3.5),
    "text": np.array("i f g o µ"),
    "truth": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "with.dot": np.array([1], np.uint8),
}


def test_npz_round_trip(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, ARRAYS)
    arrays = read_npz(path)
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype, name
        assert arrays[name].flags.c_contiguous, name
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    with np.load(path, allow_pickle=False) as peer:  # NumPy reads it too
        np.testing.assert_array_equal(peer["fortran"], ARRAYS["fortran"])


def test_reads_what_numpy_writes(tmp_path):
    np.savez(tmp_path / "plain.npz", **ARRAYS)
    np.savez_compressed(tmp_path / "packed.npz", **ARRAYS)
    for file in ("plain.npz", "packed.npz"):
        np.testing.assert_array_equal(read_npz(tmp_path / file)["weights"], ARRAYS["weights"])
    np.save(tmp_path / "a.npy", ARRAYS["fortran"])
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), ARRAYS["fortran"])


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    write_npz(tmp_path / "a.npz", ARRAYS)
    write_npz(tmp_path / "b.npz", ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_other_byte_order_becomes_this_machines(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1.0, 2.5], ">f4"))
    array = read_npy(tmp_path / "a.npy")
    assert array.dtype == np.dtype("=f4")
    assert array.dtype.isnative
    assert array.tolist() == [1.0, 2.5]


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.array([None]), "object"),
        (np.zeros(2, [("a", "f4")]), "'a'"),
        (np.array(["2020-01-01"], "M8[D]"), "datetime64"),
    ],
)
def test_only_plain_arrays_are_written(tmp_path, array, kind):
    with pytest.raises(OutputError, match=rf"array 'x' holds .*{kind}.*only plain numbers and text"):
        write_npz(tmp_path / "a.npz", {"x": array})
    assert not list(tmp_path.iterdir())


def test_zeros_are_written_so_that_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_HARMLESS_BYTES", 2**16)
    zeros = np.zeros(2**18, np.uint8)
    write_npz(tmp_path / "a.npz", {"x": zeros})
    assert (tmp_path / "a.npz").stat().st_size > zeros.nbytes  # stored, not packed
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz")["x"], zeros)


def test_bombs_are_refused(tmp_path):
    """A megabyte that would unpack to more than 256 MiB; it is refused before any of that is unpacked."""
    path = tmp_path / "bomb.npz"
    mebibyte = bytes(2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({300 * 2**20},)}}"))
        for _ in range(300):
            member.write(mebibyte)
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises(
        FileFormatError, match=r"would unpack to 3145\d+, which looks like a decompression bomb"
    ):
        read_npz(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**20


def patched_sizes(path, declared):
    """Let the archive's directory claim that its only member has `declared` bytes, packed and unpacked."""
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 20 : central + 28] = struct.pack("<II", *declared)
    path.write_bytes(data)


def test_a_directory_that_lies_about_sizes(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(1000.0))
    packed = 1000 * 8 + 128
    patched_sizes(path, (packed, 2**32 - 2))
    with pytest.raises(FileFormatError, match="decompression bomb"):
        read_npz(path)
    patched_sizes(path, (2**32 - 2, packed))
    with pytest.raises(FileFormatError, match="overlap or are cut off"):
        read_npz(path)


F8 = "{'descr': '<f8', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a readable .npy file"),
        (b"\x93NUM", "not a readable .npy file"),
        (b"PK\x03\x04 nothing", "not a readable .npy file"),
        (npy_bytes(np.arange(9.0))[:-1], r"promises 72 bytes .*but holds 71.*truncated"),
        (npy_bytes(np.arange(9.0)) + b"!", r"promises 72 bytes .*but holds 73"),
        (header(F8 % "(10**15,)"), "not a readable .npy file"),
        (header(F8 % "(1000000000000000,)"), r"promises 8000000000000000 bytes .*holds 0"),
        (header(F8 % "(0, 999999999999999999999999)"), "not a readable .npy file"),
        (header(F8 % "(-1, -1)") + bytes(8), r"impossible shape \(-1, -1\)"),
        (header(F8 % "(-1,)"), r"impossible shape \(-1,\)"),
        (header(F8 % "'(1,)'"), "not a readable .npy file"),
        (header(F8.replace("<f8", "nonsense") % "(1,)"), "not a readable .npy file"),
        (header(F8.replace("<f8", "|O") % "(1,)") + b"cos\nsystem\n", "pickled Python objects.*never loaded"),
        (header(F8.replace("<f8", "<U0") % "(5,)"), r"holds <U0"),
        (header(F8.replace("<f8", "<M8[s]") % "(1,)") + bytes(8), "datetime64.*plain numbers"),
        (header("-" * 9000 + "1"), "nested too deeply"),
        (header("(" * 9000), "not a readable .npy file"),
        (header("[" * 50 + "1" * 20_000, version=2), "header of 20051 bytes"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "header of 4294967295 bytes"),
        (b"\x93NUMPY\x03\x00" + bytes(8), r"format version \(3, 0\)"),
        (header("__import__('os').system('true')"), "not a readable .npy file"),
    ],
)
def test_hostile_npy(tmp_path, data, message):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=message):
        read_npy(path)
    write_zip(tmp_path / "a.npz", [("x.npy", data)])
    with pytest.raises(FileFormatError, match=message.replace(".npy file", ".npz file")):
        read_npz(tmp_path / "a.npz")


def test_pickled_objects_are_never_loaded(tmp_path):
    touched = tmp_path / "touched"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (touched,))

    np.savez(tmp_path / "a.npz", x=np.array([Trap()], dtype=object))
    with pytest.raises(FileFormatError, match=r"x\.npy.*pickled Python objects, which are never loaded"):
        read_npz(tmp_path / "a.npz")
    assert not touched.exists()


@pytest.mark.parametrize("keep", [0, 3, 30, 0.5, 0.9, -1])
def test_truncated_npz(tmp_path, keep):
    path = tmp_path / "a.npz"
    write_npz(path, {"x": np.random.default_rng(0).normal(size=1000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(FileFormatError, match=r"not a readable \.npz file"):
        read_npz(path)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(1000.0))
    data = bytearray(path.read_bytes())
    data[4000] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="Bad CRC"):
        read_npz(path)


def test_odd_archives(tmp_path):
    good = npy_bytes(np.zeros(3))
    with pytest.raises(FileFormatError, match="holds no arrays"):
        read_npz(write_zip(tmp_path / "none.npz", [("readme.txt", b"hello")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        write_zip(tmp_path / "twice.npz", [("x.npy", good), ("x.npy", good)])
    with pytest.raises(FileFormatError, match=r"'x\.npy' twice"):
        read_npz(tmp_path / "twice.npz")
    with pytest.raises(FileFormatError, match="zip method 14"):
        read_npz(write_zip(tmp_path / "lzma.npz", [("x.npy", good)], compression=zipfile.ZIP_LZMA))


@pytest.mark.parametrize("read", [read_npz, read_npy])
def test_what_is_no_file(tmp_path, read):
    with pytest.raises(FileFormatError, match=r"missing\.npz.*no such file"):
        read(tmp_path / "missing.npz")
    with pytest.raises(FileFormatError, match="it is a folder"):
        read(tmp_path)
    with pytest.raises(FileFormatError, match="not a regular file"):
        read("/dev/zero")
    os.mkfifo(tmp_path / "pipe")  # opening it would block for ever
    with pytest.raises(FileFormatError, match="not a regular file"):
        read(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="null"):
        read("a\0b")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        10**30,
        0.1,
        float("inf"),
        "µ",
        (),
        (1, (2, [3, (4,)])),
        [1, [2]],
        {"a": (1, None), "b": {"c": [True]}},
    ],
)
def test_json_gives_back_what_it_got(value):
    decoded = decode_json(encode_json(value, "x"))
    assert decoded == value
    assert repr(decoded) == repr(value)  # tuples and lists, True and 1 are told apart


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(2**40), 2**40),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.arange(3), [0, 1, 2]),
        (np.dtype("float32"), "float32"),
        (Path("a/b"), "a/b"),
    ],
)
def test_json_of_numpy_values(value, plain):
    assert decode_json(encode_json({"v": value}, "x")) == {"v": plain}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [object()]}, r"Params\['a'\]\[0\] is an object, which is not saved"),
        ({"a": 1j}, r"Params\['a'\] is a complex"),
        ({1: 2}, r"Params has the key 1"),
        ({"__tuple__": [1]}, r"Params has the key '__tuple__'"),
        (b"x", "Params is a bytes"),
    ],
)
def test_json_refuses_what_would_come_back_changed(value, message):
    with pytest.raises(OutputError, match=message):
        encode_json(value, "Params")


@pytest.mark.parametrize(
    "text", ['{"__tuple__": [], "a": 1}', '{"__tuple__": 3}', '["\\ud800"]', "[" * 99_999]
)
def test_json_that_nothing_here_writes_is_refused(text):
    with pytest.raises(ValueError, match=r"tuple|surrogates|JSON"):
        decode_json(text)


def test_memory_for_what_a_small_file_claims_is_not_taken(tmp_path):
    """Zeros pack a thousandfold: a quarter of a megabyte took 3.2 GB."""
    path = tmp_path / "zeros.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({60 * 2**20},)}}"))
        for _ in range(60):
            member.write(bytes(2**20))
    assert path.stat().st_size < 100_000
    with pytest.raises(FileFormatError, match="decompression bomb; if it is yours, write it uncompressed"):
        read_npz(path)


ZEROS = """
import resource
from pathlib import Path
import gatescope as gs
read = [gs.read_series, gs.load_weights, gs.load, gs.tasks.own]
gs.Params  # what is imported on first use takes addresses too
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for door in read:
    try:
        door(PATH)
    except gs.FileFormatError as error:
        print("decompression bomb" in str(error), end=" ")
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) >> 10)
"""


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="addresses are counted where the system says them"
)
def test_a_packed_file_of_zeros_never_costs_gigabytes(tmp_path):
    """A file of 255 KB whose zeros, as float64, took 3.2 GB; here all doors have 256 MiB in all."""
    path = tmp_path / "zeros.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("inputs.npy", "w") as member,
    ):
        member.write(header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({250 * 2**20},)}}"))
        for _ in range(250):
            member.write(bytes(2**20))
    assert 240_000 < path.stat().st_size < 260_000
    *refused, most = python(ZEROS.replace("PATH", repr(str(path)))).split()
    assert refused == ["True"] * 4
    assert int(most) < 500  # MiB


def test_some_arrays_of_a_file_are_read_and_all_are_checked(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3), b=np.arange(2))
    assert list(read_npz(path, only=("b", "c"))) == ["b"]
    path.write_bytes(b"\x80" + path.read_bytes())  # which numpy.load takes for a pickle
    assert read_npz(path, only=("b",))["b"].tolist() == [0, 1]
