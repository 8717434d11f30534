"""Mutations of files: of their bytes, of the members of a zip, of arrays, of JSON, of the cells of a table."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Random = np.random.Generator
Members = list[tuple[str, bytes]]

# fmt: off
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 2**64 - 1)
_JSON = (
    "null", "true", "-1", "0", "1", "0.5", "1e999", "-1e999", "NaN", '""', "[]", "{}", "[[]]", '["", ""]',
    "9223372036854775808", "1" + "0" * 400, "9" * 5000, '"\\u0000"', '"\\ud800"', '"\\u001b[31m"', '"x"',
    '{"__tuple__": 3}', '{"__tuple__": []}', '{"__tuple__": {"__tuple__": [1]}}', '{"a": 1, "__tuple__": []}',
    "[" * 300 + "]" * 300, "[" * 99_999 + "]" * 99_999, '"' + "y" * 5000 + '"', '"lstm"', '"gru"', "1e-320",
)
_SHAPES = (
    "(-1,)", "(0,)", "()", "(1,)", "(2, 3)", "(99999999999,)", "(9" + "9" * 30 + ",)", "(1, 1, 1, 1, 1, 1)",
    "(True,)", "('a',)", "[3]", "None", "(1.5,)", "(" * 200 + ")" * 200,
)
_DTYPES = (
    "f4", "f8", "f2", ">f8", "c8", "c16", "i1", "i8", "u8", ">i4", "?", "U4", "S3",  # what arrays become, and
    "U0", "V8", "O", "M8[s]", "m8", "g", "f4,i4", "U99999999", "x",  # what only a header says
)
_CELLS = (
    "", "NaN", "inf", "1e999", "-0", "1,5", "1.234,5", "0x10", "1_000", "=1+1", '"', '"a', "'", "é", "\x00", "\r",
    "\ufeff", "2020-01-01", "12:30", "TRUE", "1 000", "९", "x" * 3000, "9" * 400, ";", "\t", "#", "|", "\u202e",
    "9" * 5000, "1, 5",
)
_NAMES = ("", "x.npy", "../x.npy", "a\x1b[31m.npy", "inputs.npy", "gatescope_meta.npy", "gatescope_state.npy", "x")
_INSTRUCTIONS = (  # of a pickle
    b"Q", b"t", b"b", b"u", b"}", b"]", b"(", b"e", b"R", b"0", b"h\x00", b"q\x00", b"\x85", b"\x86", b"\x87", b"N",
    b"\x88", b"K\x00", b"J\xff\xff\xff\xff",
    b"\x8a\x09" + b"\xff" * 8 + b"\x00", b"X\xff\xff\xff\x7f", b"cos\nsystem\n", b".",
)
# fmt: on
_PIECE = 1 << 20
_PACKED = (
    *[zipfile.ZIP_STORED] * 8,
    *[zipfile.ZIP_DEFLATED] * 7,
    zipfile.ZIP_BZIP2,
)  # the last takes milliseconds


def mutate(data: bytes, suffix: str, rng: Random, others: Sequence[bytes]) -> bytes:
    """Return a file with one to four things changed."""
    for _ in range(int(rng.choice((1, 1, 1, 2, 2, 3, 4)))):
        inside = _INSIDE.get(suffix, _table)
        anywhere = suffix in (".mat", ".parquet") or rng.random() < 0.3
        data = _bytes(data, rng, others) if anywhere else inside(data, rng)
    return data


def _pick(rng: Random, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _bytes(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """Change bytes, whatever they mean."""
    size = len(data)
    at, to = sorted(int(k) for k in rng.integers(0, size + 1, 2))
    way = int(rng.integers(8))
    if way == 0 and size:  # bits
        changed = bytearray(data)
        for k in rng.integers(0, size, int(rng.integers(1, 9))):
            changed[k] ^= 1 << int(rng.integers(8))
        return bytes(changed)
    if way == 1:
        return data[:at]
    if way == 2:  # a piece out
        return data[:at] + data[min(to, at + int(rng.integers(1, 64))) :]
    if way == 3:  # a piece twice
        return data[:to] + data[max(at, to - 4096) :]
    if way == 4:  # a number
        width = _pick(rng, (1, 2, 4, 8))
        number = (_pick(rng, _NUMBERS) & (256**width - 1)).to_bytes(width, _pick(rng, ("little", "big")))
        return data[:at] + number + data[at + width :]
    if way == 5:
        return data[:at] + rng.bytes(int(rng.integers(1, 32))) + data[at:]
    if way == 6:  # another file's end
        other = _pick(rng, others)
        return data[:at] + other[int(rng.integers(len(other) + 1)) :]
    return data[:at] + bytes(min(to - at, 256)) + data[min(to, at + 256) :]


def _zip(data: bytes, rng: Random) -> bytes:
    """Change the members of a zip, whose checksums are right again then."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _PIECE:
                return data
            members: Members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # an earlier mutation has torn it
        return data
    if not members:
        return data
    at, other = (int(k) for k in rng.integers(0, len(members), 2))
    name, content = members[at]
    way = int(rng.integers(12))
    if way == 0:
        members.pop(at)
    elif way == 1:
        members[at] = (members[other][0], content)
    elif way == 2:
        members[at], members[other] = (name, members[other][1]), (members[other][0], content)
    elif way == 3:
        members[at] = (_pick(rng, _NAMES), content)
    elif way == 4:
        members.append((_pick(rng, _NAMES), content))
    elif way == 5:
        members.append((name.replace(".npy", "2.npy") if rng.random() < 0.5 else f"layers.9.{name}", content))
    else:
        members[at] = (name, _npy(content, rng))
    stream = io.BytesIO()
    packed = _pick(rng, _PACKED)
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", packed) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, packed)
    return stream.getvalue()


def _torch(data: bytes, rng: Random) -> bytes:
    """Change a file of torch.save: the pickle that says what is in it, or the numbers of a tensor."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except Exception:  # an earlier mutation has torn it
        return data
    pickles = [name for name in members if name.endswith("data.pkl")]
    name = _pick(rng, pickles if pickles and rng.random() < 0.9 else [*members, ""])
    content = members.get(name, b"")
    at, to = sorted(int(k) for k in rng.integers(0, len(content) + 1, 2))
    way = int(rng.integers(5))
    if way == 0:
        content = content[:at] + content[min(to, at + 9) :]
    elif way == 1:
        content = content[:at] + content[at : min(to, at + 40)] * int(rng.integers(2, 9)) + content[at:]
    elif way == 2:
        content = content[:at] + _pick(rng, _INSTRUCTIONS) + content[at:]
    elif way == 3:
        content = content[:at] + bytes(rng.integers(0, 256, 1, np.uint8)) + content[at + 1 :]
    else:
        content = content[:at]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for each, inside in (members | {name: content}).items():
            archive.writestr(zipfile.ZipInfo(each), inside)
    return stream.getvalue()


def _npy(data: bytes, rng: Random) -> bytes:
    """Change an array: its header, its dtype, its shape, its numbers, or the JSON that it is."""
    if rng.random() < 0.15:
        return _header(data, rng)
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception:
        return data
    if array.dtype.kind == "U" and array.ndim == 0:
        array = np.array(_json(str(array), rng))
    else:
        ways: list[Callable[[Any, Random], Any]] = [_numbers, _numbers, _shape, _dtype]
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                array = _pick(rng, ways)(array, rng)
        except (TypeError, ValueError, OverflowError, MemoryError):
            return data
    stream = io.BytesIO()
    try:
        np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)
    except (ValueError, UnicodeError):
        return data
    return stream.getvalue()


def _header(data: bytes, rng: Random) -> bytes:
    """Change the header of an array, which says what it does not hold."""
    shape, dtype = _pick(rng, _SHAPES), _pick(rng, _DTYPES)
    fields = {
        "descr": f"'{dtype}'",
        "fortran_order": _pick(rng, ("True", "False", "1", "None")),
        "shape": shape,
    }
    if rng.random() < 0.2:
        del fields[_pick(rng, list(fields))]
    text = "{" + ", ".join(f"'{name}': {value}" for name, value in fields.items()) + "}\n"
    version = _pick(rng, (1, 1, 1, 2, 3, 9))
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + data[128:]


def _numbers(array: Any, rng: Random) -> Any:
    changed = np.array(array)
    if changed.size:
        kinds = (
            np.nan,
            np.inf,
            -np.inf,
            -1,
            0,
            1,
            2,
            1e308,
            -1e308,
            5e-324,
            2**31,
            -(2**63),
            2**53,
            0.5,
            -0.0,
        )
        where = rng.integers(0, changed.size, int(rng.integers(1, 4)))
        changed.reshape(-1)[where] = _pick(rng, kinds) if changed.dtype.kind != "U" else "\ud7ff"
        if rng.random() < 0.1:
            changed[...] = _pick(rng, kinds)
    return changed


def _shape(array: Any, rng: Random) -> Any:
    ways: list[Callable[[Any], Any]] = [
        *(
            lambda a: a[None],
            lambda a: a[..., None],
            lambda a: a.reshape(-1),
            lambda a: a.T,
            np.asfortranarray,
        ),
        *(lambda a: a[:0], lambda a: a[:-1], lambda a: a[..., :-1], lambda a: a[..., :0], lambda a: a[0]),
        *(lambda a: np.concatenate([a, a]), lambda a: np.concatenate([a, a], axis=-1), lambda a: a[::-1]),
        *(lambda a: a[:1], lambda a: a.reshape(a.shape[::-1]), lambda a: np.zeros((0,) * a.ndim, a.dtype)),
    ]
    try:
        return _pick(rng, ways)(np.asarray(array))
    except (IndexError, ValueError):
        return array


def _dtype(array: Any, rng: Random) -> Any:
    try:
        return np.asarray(array).astype(_pick(rng, _DTYPES[:13]))
    except RuntimeError:  # NumPy's, of dates in texts too short for them
        return array


def _json(text: str, rng: Random) -> str:
    """Change something in a JSON text: a value, a key, or signs."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # an earlier mutation has made it so
        return text
    places = list(_places(value))
    if not places or rng.random() < 0.05:
        at = int(rng.integers(len(text) + 1))
        return text[:at] + _pick(rng, _JSON) + text[at + int(rng.integers(3)) :]
    holder, key = _pick(rng, places)
    way = int(rng.integers(5))
    if way == 0:
        holder.pop(key)
        return json.dumps(value)
    if way == 1 and isinstance(holder, dict):
        holder[_pick(rng, ("", "x", "kind", "nested", "__tuple__", "provenance", "a\x1b[31m"))] = holder.pop(
            key
        )
        return json.dumps(value)
    if way == 2:
        other, name = _pick(rng, places)
        holder[key] = other[name]
        try:
            return json.dumps(value)
        except ValueError:  # it is in itself now
            return text
    marker = "@ odd @"
    holder[key] = marker
    return json.dumps(value).replace(json.dumps(marker), _pick(rng, _JSON))


def _places(value: Any) -> Any:
    """Yield where a JSON value holds others: a list or a mapping, and the index or the key."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _json_bytes(data: bytes, rng: Random) -> bytes:
    try:
        return _json(data.decode(), rng).encode()
    except UnicodeError:
        return data


def _safetensors(data: bytes, rng: Random) -> bytes:
    """Change the header of a safetensors file, which says where the tensors lie."""
    size = int.from_bytes(data[:8], "little")
    if size > len(data):
        return data
    text = _json_bytes(data[8 : 8 + size], rng)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def _table(data: bytes, rng: Random) -> bytes:
    """Change cells and lines of a text."""
    lines = data.split(b"\n")
    at, other = (int(k) for k in rng.integers(0, len(lines), 2))
    mark = next((m for m in (b";", b"\t", b",", b" ") if m in lines[at]), b",")
    cells = lines[at].split(mark)
    cell = int(rng.integers(len(cells)))
    way = int(rng.integers(8))
    if way == 0:
        lines.pop(at)
    elif way == 1:
        lines.insert(at, lines[other])
    elif way == 2:
        cells.pop(cell)
        lines[at] = mark.join(cells)
    elif way == 3:  # a column
        odd = _pick(rng, _CELLS).encode()
        rows = [line.split(mark) for line in lines]
        lines = [mark.join([*row[:cell], odd, *row[cell + 1 :]]) for row in rows]
    elif way == 4:
        lines = [
            line.replace(mark, _pick(rng, (b";", b",", b"\t", b" ", b"|", b"  ", b""))) for line in lines
        ]
    else:
        cells[cell] = _pick(rng, _CELLS).encode()
        lines[at] = mark.join(cells)
    return b"\n".join(lines)


_INSIDE = {".npz": _zip, ".npy": _npy, ".json": _json_bytes, ".safetensors": _safetensors, ".pt": _torch}
