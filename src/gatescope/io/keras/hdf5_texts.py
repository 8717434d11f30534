"""Texts that an HDF5 file says of its groups and datasets, out of the headers themselves.

h5py takes as much memory for a text as the file claims that it is long, up to 4 GiB.  Here the text is looked up: a
header refers to a place in a collection of texts, and all that is read together is no longer than the file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable

# Of the first version of headers, which h5py writes unless it is asked for another.  Of others nothing is read.
_HEADER = struct.Struct("<BxHIIxxxx")  # version, messages, references, length
_MESSAGE = struct.Struct("<HHBxxx")  # kind, length, flags
_ATTRIBUTE = struct.Struct("<BxHHH")  # version, lengths of name, type and space
_REFERENCE = struct.Struct("<IQI")  # length, address of the collection, number in it
_COLLECTION = struct.Struct("<4sBxxxQ")  # signature, version, length
_MEMBER = struct.Struct("<HHxxxxQ")  # number, references, length
_ATTRIBUTE_MESSAGE, _CONTINUED, _ELSEWHERE = 12, 16, 2
_FIXED, _VARIABLE = 3, 9  # classes of types
_MOST_PIECE = 2**16 + _MESSAGE.size  # bytes of a header that are read at once; no message is longer


class Texts:
    """The texts in a file.

    Parameters
    ----------
    stream : file
    size : int
        Its length in bytes: collections together are no longer, nor are texts.
    refuse : callable
        Raises, where they are.
    """

    def __init__(self, stream: io.RawIOBase, size: int, refuse: Callable[[], None]) -> None:
        self._stream, self._refuse = stream, refuse
        self._left_in_collections = self._left_in_texts = size
        self._collections: dict[int, dict[int, bytes]] = {}

    def of(self, address: int, keys: Iterable[str]) -> dict[str, str]:
        """Return those attributes of the object at an address that are single texts."""
        names = {key.encode(): key for key in keys}
        texts = {}
        for body in self._attributes(address):
            version, *lengths = _ATTRIBUTE.unpack_from(body)
            places = [-(-length // 8) * 8 if version == 1 else length for length in lengths]
            begin = _ATTRIBUTE.size + (version == 3)
            key = names.pop(body[begin:][: lengths[0]].rstrip(b"\0"), None)
            kind, space = (
                body[begin + places[0] :][: lengths[1]],
                body[begin + sum(places[:2]) :][: lengths[2]],
            )
            if key is None or len(kind) < 8 or len(space) < 2 or space[1]:  # of several: an array of texts
                continue
            text = self._value(kind, body[begin + sum(places) :])
            if text is not None:
                self._left_in_texts -= len(text)
                if self._left_in_texts < 0:
                    self._refuse()
                texts[key] = text.decode(errors="replace")
        return texts

    def _attributes(self, address: int) -> list[bytes]:
        """Return the messages in a header that are attributes."""
        start = self._read(address, _HEADER.size)
        if len(start) < _HEADER.size or start[0] != 1:
            return []
        _, left, _, length = _HEADER.unpack(start)
        attributes, pieces = [], [(address + _HEADER.size, length)]
        while pieces and left > 0:
            begin, length = pieces.pop(0)
            data, at = self._read(begin, min(length, _MOST_PIECE)), 0
            while left > 0 and at + _MESSAGE.size <= len(data):
                kind, size, flags = _MESSAGE.unpack_from(data, at)
                body, at, left = data[at + _MESSAGE.size :][:size], at + _MESSAGE.size + size, left - 1
                if kind == _CONTINUED and len(body) >= 16:
                    pieces.append(struct.unpack_from("<QQ", body))
                elif kind == _ATTRIBUTE_MESSAGE and len(body) >= _ATTRIBUTE.size and not flags & _ELSEWHERE:
                    attributes.append(body)
        return attributes

    def _value(self, kind: bytes, data: bytes) -> bytes | None:
        """Return what an attribute holds, if its type is a text."""
        if kind[0] & 15 == _FIXED:
            (size,) = struct.unpack_from("<I", kind, 4)
            return data[:size].rstrip(b"\0") if size <= len(data) else None
        if kind[0] & 15 != _VARIABLE or kind[1] & 15 != 1 or len(data) < _REFERENCE.size:
            return None
        length, address, number = _REFERENCE.unpack_from(data)
        if address not in self._collections:
            self._collections[address] = self._collection(address)
        text = self._collections[address].get(number)
        return text if text is not None and len(text) == length else None

    def _collection(self, address: int) -> dict[int, bytes]:
        """Return the texts in a collection by their numbers."""
        start = self._read(address, _COLLECTION.size)
        if len(start) < _COLLECTION.size or not start.startswith(b"GCOL"):
            return {}
        (_, _, length) = _COLLECTION.unpack(start)
        self._left_in_collections -= length
        if self._left_in_collections < 0:
            self._refuse()
        data, at, members = self._read(address, length), _COLLECTION.size, {}
        while at + _MEMBER.size <= len(data):
            number, _, size = _MEMBER.unpack_from(data, at)
            at += _MEMBER.size
            if number == 0 or at + size > len(data):  # what is free, or torn
                break
            members[number] = data[at : at + size]
            at += -(-size // 8) * 8
        return members

    def _read(self, address: int, length: int) -> bytes:
        if address >= 2**62:
            return b""
        self._stream.seek(address)
        return self._stream.read(length) or b""
