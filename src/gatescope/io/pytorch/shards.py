"""Weights that lie in several files beside a list of them: ``model.safetensors.index.json`` and its shards."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gatescope.errors import FileFormatError, WeightFormatError
from gatescope.io.pytorch.safetensors import SafetensorsFile
from gatescope.io.pytorch.torch_files import TorchFile
from gatescope.storage.atomic import open_file

WEIGHT_MAP = b'"weight_map"'
HEAD = 1 << 12  # bytes of a list of files in which it says that it is one
_LONGEST_NAME = 255  # bytes, of a file
_MOST = 1 << 20  # bytes of a list: some 10,000 entries as libraries write them
_SHARD = re.compile(r"(?P<name>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.\w+)", re.DOTALL)
_AGAIN = "write it again with save_pretrained"


class Shards(Mapping[str, NDArray[Any]]):
    """The tensors of several files by name; a file is opened when one of its tensors is asked for.

    Parameters
    ----------
    path : str or path-like
        The list: JSON with a ``weight_map`` from names to files of safetensors or torch.save in the same folder.

    Raises
    ------
    FileFormatError
        If it is no such list, or names a file that does not lie beside it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.fspath(path))
        with open_file(path) as (stream, size):
            if size > _MOST:
                raise self._wrong(f"has {size:,} bytes, more than any list of files needs")
            data = stream.read()
        try:
            entries = json.loads(data)["weight_map"]
            self._files: dict[str, str] = {str(name): file for name, file in entries.items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._wrong(f"is no readable list of files of weights ({error})") from error
        for file in self._files.values():
            if not isinstance(file, str) or file.endswith(".h5"):
                raise WeightFormatError(
                    "lists weights that Keras saved in several files",
                    seen=path,
                    advice="save them in one: model.save_weights('model.weights.h5')",
                )
            no_name = file in ("", ".", "..") or Path(file).name != file or "\\" in file or "\0" in file
            if no_name or len(file.encode(errors="replace")) > _LONGEST_NAME:
                raise self._wrong(f"names {file[:100]!r}, which is no file beside it")
        self._opened: dict[str, SafetensorsFile | TorchFile] = {}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that there are, in their order."""
        return tuple(self.path.with_name(file) for file in dict.fromkeys(self._files.values()))

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._file_of(name)[name]

    def describe(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return shape and dtype of an entry, as the file that it lies in does; none is read."""
        return self._file_of(name).describe(name)

    def _file_of(self, name: str) -> SafetensorsFile | TorchFile:
        file = self._files[name]
        if file not in self._opened:
            path = self.path.with_name(file)
            if not path.exists():
                raise self._wrong(f"says that {name[:100]!r} lies in {file[:100]!r}, which is not beside it")
            with open_file(path) as (stream, _):
                zipped = stream.read(4) == b"PK\x03\x04"
            self._opened[file] = TorchFile(path) if zipped else SafetensorsFile(path)
        opened = self._opened[file]
        if name not in opened:
            raise self._wrong(f"says that {name[:100]!r} lies in {file[:100]!r}, which has no such entry")
        return opened

    def _wrong(self, problem: str) -> FileFormatError:
        return FileFormatError(problem, seen=self.path, advice=_AGAIN)


def check_whole(path: Path) -> None:
    """Refuse one of several files alone: what lies in the others, such as biases, would be taken for missing."""
    match = _SHARD.fullmatch(path.name)
    if match is None or int(match["count"]) < 2:
        return
    index = f"{match['name']}{match['suffix']}.index.json"
    raise WeightFormatError(
        f"is one of the {int(match['count'])} files that its weights lie in",
        seen=path,
        advice=f"give the list of them that lies beside it, {index!r}",
    )
