"""A checkpoint as its safetensors headers say it is; a tensor is read when it is asked for, one at a time."""
from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Refused

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
MAX_HEADER = 100_000_000  # the format's own limit


@dataclass(frozen=True)
class Header:
    file: Path
    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Header]:
    """Names, dtypes and shapes of one file. The length of the file is checked against the last tensor's end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER + 1
        if length > MAX_HEADER or 8 + length > size:
            raise Refused(f"{path.name} is no safetensors file", hint="fetch it again: with Git LFS a small text file stands in for the real one")
        try:
            entries = json.loads(file.read(length))
        except ValueError as error:
            raise Refused(f"the header of {path.name} cannot be read: {error}", hint="fetch the file again") from error
    entries.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if 8 + length + end != size:
        raise Refused(f"{path.name} has {size} bytes where its header says {8 + length + end}", hint="fetch the file again: it was cut off")
    return {name: Header(path, entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}


def shards(folder: Path) -> list[Path]:
    """The files that the index names, or every safetensors file of the folder."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise Refused(f"{index.name} cannot be read: {error}", hint="fetch it again") from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise Refused(f"{len(missing)} of {len(names)} weight files are missing: {', '.join(missing[:3])}", hint="fetch them; the index names them")
    return [folder / name for name in names]


class Checkpoint(Mapping[str, Any]):
    """Tensors by name. Nothing is kept: a file is mapped, and its pages are given back once the tensor is let go."""

    def __init__(self, folder: Path) -> None:
        self.headers: dict[str, Header] = {}
        for shard in shards(folder):
            self.headers.update(read_header(shard))
        if not self.headers:
            other = [p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf") for p in folder.glob(pattern)]
            found = f" (there is {other[0]}, which is not read)" if other else ""
            raise Refused(f"no *.safetensors file in {folder}{found}", hint="fetch the weights in the safetensors format")

    def __getitem__(self, name: str) -> Any:
        from safetensors import safe_open

        with safe_open(self.headers[name].file, framework="pt") as file:
            return file.get_tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self.headers

    def __iter__(self) -> Iterator[str]:
        return iter(self.headers)

    def __len__(self) -> int:
        return len(self.headers)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.headers[name].shape


class Renamed(Mapping[str, Any]):
    """The same tensors under other names; each is read when asked for."""

    def __init__(self, source: Mapping[str, Any], rename: Callable[[str], str]) -> None:
        self.source = source
        self.names = {rename(name): name for name in source}

    def __getitem__(self, name: str) -> Any:
        return self.source[self.names[name]]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def shape(self, name: str) -> tuple[int, ...]:
        return shape_of(self.source, self.names[name])


def shape_of(state: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Without reading the tensor where the mapping knows its shapes."""
    known = getattr(state, "shape", None)
    return known(name) if known is not None else tuple(state[name].shape)
