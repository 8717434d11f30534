"""HDF5 files: numbers as they are, and nothing believed of what a file claims."""

import io
import os
import tracemalloc

import numpy as np
import pytest

from gatescope.errors import FileFormatError
from gatescope.io.keras import hdf5
from gatescope.io.keras.hdf5 import read_hdf5
from gatescope.io.keras.hdf5_texts import Texts

h5py = pytest.importorskip("h5py")

MOST_MEMORY = 8 * 2**20  # bytes, whatever a file claims


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


def write(path, **entries):
    """Write datasets by name, a double underscore between groups."""
    with h5py.File(path, "w") as file:
        for name, value in entries.items():
            file[name.replace("__", "/")] = value
    return path


def refused(path, reason, **options):
    """Check that a file is refused before memory is taken for it."""
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=reason) as info:
            read_hdf5(path, **options)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert len(str(info.value)) < 500


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2"])
def test_numbers_as_they_are(path, dtype):
    values = np.arange(-3, 3, dtype=dtype).reshape(2, 3) / 8
    dataset = read_hdf5(write(path, a__b=values)).groups["a"].datasets["b"]
    assert (dataset.name, dataset.shape) == ("/a/b", (2, 3))
    assert dataset.dtype == values.dtype.newbyteorder("=").name
    read = dataset.read()
    np.testing.assert_array_equal(read, values.astype(float))
    assert read.dtype == (np.float64 if values.itemsize == 8 else np.float32)
    assert read.dtype.isnative
    assert read.flags.writeable


def test_bfloat16_as_keras_writes_it(path):
    upper = np.array([0x3F80, 0xC049], "<u2").view("V2")  # 1.0 and -3.140625
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = upper, upper
        file["a"].attrs["dtype"] = "bfloat16"
    datasets = read_hdf5(path).datasets
    assert datasets["a"].dtype == "bfloat16"
    np.testing.assert_array_equal(datasets["a"].read(), np.float32([1.0, -3.140625]))
    assert datasets["b"].dtype == "opaque bytes"
    with pytest.raises(FileFormatError, match="of no floating-point dtype"):
        datasets["b"].read()


def test_a_float_of_sixteen_bits_with_eight_in_its_exponent(path):
    kind = h5py.h5t.IEEE_F16LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((2,))
        dataset = h5py.h5d.create(file.id, b"a", kind, space)
        dataset.write(space, space, np.float32([1.0, -3.140625]), mtype=h5py.h5t.IEEE_F32LE)
    dataset = read_hdf5(path).datasets["a"]
    assert dataset.dtype == "bfloat16"
    np.testing.assert_array_equal(dataset.read(), np.float32([1.0, -3.140625]))


def test_the_order_in_which_a_file_was_written(path):
    with h5py.File(path, "w") as file:
        for name in ("z", "b", "a"):
            file.create_group(f"layers/{name}/vars").attrs["name"] = name * 2
    layers = read_hdf5(path, attributes=("name",)).groups["layers"].groups
    assert list(layers) == ["z", "b", "a"]
    assert [group.groups["vars"].attributes for group in layers.values()] == [
        {"name": each * 2} for each in "zba"
    ]


def test_a_part_of_a_file(tmp_path, path):
    whole = tmp_path / "whole"
    data = write(path, a=np.arange(4.0)).read_bytes()
    whole.write_bytes(b"before" + data + b"after")
    dataset = read_hdf5(whole, begin=6, size=len(data)).datasets["a"]
    np.testing.assert_array_equal(dataset.read(), np.arange(4.0))


def test_what_is_skipped_is_not_looked_into(path):
    with h5py.File(write(path, a=np.ones(3)), "a") as file:
        file["optimizer/x"] = h5py.SoftLink("/a")
    root = read_hdf5(path, skip=("optimizer",))
    assert root.groups["optimizer"].groups == {}
    refused(path, "'/optimizer/x', a link to another place or file")


def test_empty_and_scalar_datasets(path):
    datasets = read_hdf5(write(path, a=np.zeros((0, 4)), b=np.float32(3))).datasets
    assert datasets["a"].read().shape == (0, 4)
    assert datasets["b"].read() == 3


def test_a_shape_of_chunks_that_hold_nothing(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (2**18, 2**18), "f4", chunks=(64, 64))
    assert path.stat().st_size < 20_000
    refused(path, "'/a', a dataset in chunks, compressed")


def test_a_shape_for_which_nothing_was_written(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (2**18, 2**18), "f4")
    refused(path, r"'/a', a dataset of shape \(262144, 262144\) that is not wholly in the file")


def test_links_into_other_files_and_to_themselves(tmp_path, path):
    other = write(tmp_path / "secret.h5", a=np.ones(3))
    for link in (h5py.ExternalLink(str(other), "/a"), h5py.SoftLink("/x"), h5py.SoftLink("/nowhere")):
        with h5py.File(path, "w") as file:
            file["x"] = link
        refused(path, "'/x', a link to another place or file")


def test_values_in_any_file_of_the_system(tmp_path, path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"a password, and more")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (4,), "f4", external=[(str(secret), 0, 16)])
    refused(path, "'/a', a dataset whose values lie in other files")


def test_a_virtual_dataset(tmp_path, path):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(write(tmp_path / "secret.h5", a=np.ones(3))), "a", (3,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("a", layout)
    refused(path, "'/a', a virtual dataset, whose values lie in other files")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_virtual_dataset_does_not_wait_for_a_pipe(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    layout = h5py.VirtualLayout((3,), "f8", maxshape=(None,))
    layout[:] = h5py.VirtualSource(str(tmp_path / "pipe"), "a", (3,), maxshape=(None,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("a", layout)
    refused(path, "'/a', a virtual dataset, whose values lie in other files")


def test_what_unpacks_to_a_gigabyte(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (2**20,), "f4", chunks=(2**16,), compression="gzip")[:] = 0
    refused(path, "'/a', a dataset in chunks, compressed")


def test_values_inside_a_header(path):
    with h5py.File(path, "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2,)), plan)
    refused(path, "'/a', a dataset in chunks, compressed, or inside its own header")


def test_a_thing_at_two_places(path):
    with h5py.File(write(path, a=np.ones(3)), "a") as file:
        file["b"] = file["a"]
    refused(path, "'/b', which is also at another place")
    with h5py.File(path, "w") as file:
        file.create_group("a")["b"] = file["/"]
    refused(path, "'/a/b', which is also at another place")


def test_datasets_that_share_their_bytes(path):
    values = np.arange(3000.0)
    with h5py.File(write(path, a=values), "a") as file:
        for k in range(8):
            file.create_dataset(f"b{k}", values.shape, values.dtype)  # which lies nowhere yet
    data = path.read_bytes()
    place, size = data.find(values.tobytes()).to_bytes(8, "little"), values.nbytes.to_bytes(8, "little")
    path.write_bytes(data.replace(b"\xff" * 8 + size, place + size))
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(file["b7"], values)
    refused(path, "a dataset that shares its bytes with others")


def test_groups_without_end(path):
    with h5py.File(path, "w") as file:
        file["/".join("g" * 16) + "/a"] = 1.0
    assert read_hdf5(path).groups["g"]
    with h5py.File(path, "w") as file:
        file["/".join("g" * 200) + "/a"] = 1.0
    refused(path, "which lies in more than 16 groups")


def test_too_many_things(path, monkeypatch):
    monkeypatch.setattr(hdf5, "_MOST_OBJECTS", 50)
    with h5py.File(path, "w") as file:
        for k in range(60):
            file.create_group(f"g{k}")
    refused(path, "and more than 50 others")
    with h5py.File(path, "w") as file:
        for k in range(60):
            file.create_group(f"g{k // 8}/{k}")
    refused(path, "and more than 50 others")


def test_a_named_type(path):
    with h5py.File(path, "w") as file:
        file["a"] = np.dtype("f4")
    refused(path, "'/a', a named type")


def test_texts(path):
    longer = "much longer than all that stands in one piece " * 200
    texts = {
        "name": "a name",
        "fixed": np.bytes_(b"fixed"),
        "bytes": b"as bytes",
        "empty": "",
        "words": "Größe Δ",
        "long": longer,
    }
    with h5py.File(path, "w") as file:
        for group in (file, file.create_group("a/b")):
            for key, text in texts.items():
                group.attrs[key] = text
            group.attrs["number"] = 3
            group.attrs["several"] = ["a", "b"]  # may be one text many times over
    root = read_hdf5(path, attributes=(*texts, "number", "several", "other"))
    expected = {key: text.decode() if isinstance(text, bytes) else text for key, text in texts.items()}
    assert root.attributes == expected
    assert root.groups["a"].groups["b"].attributes == expected
    assert root.groups["a"].attributes == {}


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 2**23])
def test_a_text_that_claims_gigabytes(path, length):
    text = "as long as this"
    with h5py.File(path, "w") as file:
        file.create_group("a").attrs["name"] = text
    assert read_hdf5(path, attributes=("name",)).groups["a"].attributes == {"name": text}
    data = path.read_bytes()
    reference = len(text).to_bytes(4, "little") + data.find(b"GCOL").to_bytes(8, "little")
    assert data.count(reference) == 1
    path.write_bytes(data.replace(reference, length.to_bytes(4, "little") + reference[4:]))
    tracemalloc.start()
    assert read_hdf5(path, attributes=("name",)).groups["a"].attributes == {}
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    tracemalloc.stop()


def test_texts_in_collections_that_share_their_bytes(path):
    with h5py.File(path, "w") as file:
        for k in range(9):
            file.create_group(f"{k}").attrs["name"] = "x" * 5000
    data = path.read_bytes()
    places = [k for k in range(len(data)) if data.startswith(b"GCOL", k)]
    assert len(places) > 2
    claims = (len(data) - 100).to_bytes(8, "little")  # more than one of them, and each still in the file
    for place in places:
        data = data[: place + 8] + claims + data[place + 16 :]
    path.write_bytes(data)
    refused(path, "whose texts are longer than the file", attributes=("name",))


def test_one_text_many_times_over(path):
    with h5py.File(path, "w") as file:
        for k in range(4):
            file.create_group(f"{k}").attrs["name"] = f"{k}" * 4000
    data = path.read_bytes()
    first = data.find(b"GCOL").to_bytes(8, "little")
    length = (4000).to_bytes(4, "little")
    references = [k for k in range(len(data)) if data.startswith(length, k) and data[k + 4 : k + 12] == first]
    assert len(references) == 1  # of a text that fills its collection
    for k in range(len(data)):
        if (
            data.startswith(length, k)
            and data[int.from_bytes(data[k + 4 : k + 8], "little") :][:4] == b"GCOL"
        ):
            data = data[:k] + data[references[0] : references[0] + 16] + data[k + 16 :]
    path.write_bytes(data)
    names = [group.attributes["name"] for group in read_hdf5(path, attributes=("name",)).groups.values()]
    assert names == ["0" * 4000] * 4
    texts = Texts(io.BytesIO(data), 5000, lambda: pytest.fail("refused"))
    address = next(k for k in range(len(data)) if texts.of(k, ("name",)))
    with pytest.raises(pytest.fail.Exception, match="refused"):
        texts.of(address, ("name",))


def test_texts_in_headers_of_another_version_are_not_read(path):
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["name"] = "variable"
        file.attrs["fixed"] = np.bytes_(b"fixed")
    assert read_hdf5(path, attributes=("name", "fixed")).attributes == {}


def test_damaged_files(path):
    data = write(path, a=np.arange(100.0), b__c=np.ones(3)).read_bytes()
    for length in (9, 100, 600, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        refused(path, "is not a readable HDF5 file|not wholly in the file")
    path.write_bytes(b"no HDF5")
    refused(path, "is not a readable HDF5 file")


def test_random_damage_is_refused_or_harmless(path):
    rng = np.random.default_rng(0)
    data = np.frombuffer(write(path, a__vars__0=np.arange(6.0), b=np.ones((2, 2))).read_bytes(), np.uint8)
    for _ in range(60):
        damaged = data.copy()
        places = rng.integers(0, len(data), rng.integers(1, 9))
        damaged[places] = rng.integers(0, 256, len(places))
        path.write_bytes(damaged.tobytes())
        try:
            root = read_hdf5(path, attributes=("name",))
        except FileFormatError:
            continue
        assert root.name == "/"


def test_a_file_that_changes_before_it_is_read(path):
    dataset = read_hdf5(write(path, a=np.arange(100.0))).datasets["a"]
    path.write_bytes(b"short")
    with pytest.raises(
        FileFormatError, match="has changed since it was opened: '/a' ends after 0 of 800 bytes"
    ):
        dataset.read()
