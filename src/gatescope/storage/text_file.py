"""Text from a file: its bytes, and the characters that these are in an encoding."""

from __future__ import annotations

import codecs
import os

from gatescope.errors import FileFormatError, UnknownNameError
from gatescope.storage.atomic import open_file

_LARGEST_FILE = 2**30


def read_text_file(path: str | os.PathLike[str], encoding: str) -> tuple[bytes, str]:
    """Return the bytes and the text of a file; line ends are characters like others.

    Raises
    ------
    FileFormatError
        If the file is missing, empty, larger than 1 GiB, or is not text in `encoding`.
    UnknownNameError
        If Python does not know the encoding.
    """
    with open_file(path) as (stream, size):
        if size > _LARGEST_FILE:
            raise FileFormatError(
                f"has {size} bytes, more than the {_LARGEST_FILE} that are read",
                seen=path,
                advice="divide it",
            )
        raw = stream.read()
    return raw, _decoded(raw, encoding, str(path))


def _decoded(raw: bytes, encoding: str, name: str) -> str:
    try:
        if not codecs.lookup(encoding)._is_text_encoding:  # "zlib", "rot13": bytes to bytes, text to text
            raise LookupError
        text = raw.decode(encoding)
    except UnicodeError as error:
        at = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise FileFormatError(
            f"is not {encoding} text{at} ({getattr(error, 'reason', error)})",
            seen=name,
            advice="save it in that encoding, or give its `encoding`, such as 'latin-1'",
        ) from error
    except (LookupError, TypeError, ValueError) as error:  # ValueError: a null byte in the encoding's name
        raise UnknownNameError(
            "is no text encoding that Python knows",
            argument="encoding",
            seen=encoding,
            advice="give one such as 'utf-8' or 'latin-1'",
        ) from error
    if not text:
        raise FileFormatError("is empty", seen=name, advice="give a file with text")
    return text
