"""Read the header of a GGUF file: a hostile or cut one gives a typed error, quickly and in little memory.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (magic, version, counts, metadata, tensor infos,
aligned tensor data).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
"""Version 1 (32-bit counts, 2023) is refused by llama.cpp too."""

_WINDOWS = (8 << 20, 256 << 20)
"""How much of the file is read for the header: the first does for nearly all, the last is the most that is accepted."""

_MAX_ENTRIES = 100_000
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 4
_MAX_KEPT_TEXT = 1000
_DEFAULT_ALIGNMENT = 32

_UINT8, _INT8, _UINT16, _INT16, _UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _UINT64, _INT64, _FLOAT64 = range(13)
_SCALARS: Mapping[int, str] = {
    _UINT8: "<B",
    _INT8: "<b",
    _UINT16: "<H",
    _INT16: "<h",
    _UINT32: "<I",
    _INT32: "<i",
    _FLOAT32: "<f",
    _BOOL: "<?",
    _UINT64: "<Q",
    _INT64: "<q",
    _FLOAT64: "<d",
}

Value = int | float | bool | str


class HeaderCut(Exception):
    """The header goes on after the end of the file; the text says where it ended."""


class HeaderBroken(Exception):
    """The header cannot be right; the text says why."""


class _WindowTooSmall(Exception):
    """The header goes on after what was read of the file."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF header says.

    Args:
        values: scalar metadata by key (long texts cut short).
        lengths: length of each array by key.
        parameter_count: weights in all tensors.
        embedding_rows: rows of the token embedding, or None.
        needed_size: bytes the file must have to hold every tensor.
    """

    version: int
    values: Mapping[str, Value]
    lengths: Mapping[str, int]
    tensor_count: int
    parameter_count: int
    embedding_rows: int | None
    needed_size: int


def read_header(file: Path) -> GgufHeader:
    """Read the header.

    Raises:
        HeaderCut: the file ends inside its header.
        HeaderBroken: no GGUF, an unknown version, or sizes that cannot be.
        OSError: the file cannot be read.
    """
    size = file.stat().st_size
    for window in _WINDOWS:
        with file.open("rb") as stream:
            data = stream.read(min(window, size))
        try:
            return _parse(_Cursor(data, size))
        except _WindowTooSmall:
            continue
    raise HeaderBroken(f"the header is longer than {_WINDOWS[-1]} bytes")


class _Cursor:
    """Reads values one after another from the first bytes of a file of `size` bytes."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size
        self.at = 0

    def take(self, count: int) -> int:
        """Skip `count` bytes and return where they begin."""
        begin = self.at
        if count > self.size - begin:
            raise HeaderCut(f"it ends at byte {self.size}, inside its header")
        if count > len(self.data) - begin:
            raise _WindowTooSmall
        self.at = begin + count
        return begin

    def scalar(self, layout: str) -> Value:
        value: Value = struct.unpack_from(layout, self.data, self.take(struct.calcsize(layout)))[0]
        return value

    def number(self, layout: str) -> int:
        return int(self.scalar(layout))

    def skip_text(self) -> None:
        self.take(self.number("<Q"))

    def text(self) -> str:
        length = self.number("<Q")
        begin = self.take(length)
        return self.data[begin : begin + min(length, _MAX_KEPT_TEXT)].decode("utf-8", "replace")

    def count(self, what: str) -> int:
        value = self.number("<Q")
        if value > _MAX_ENTRIES:
            raise HeaderBroken(f"it says it has {value} {what}")
        return value


def _parse(cursor: _Cursor) -> GgufHeader:
    begin = cursor.take(len(MAGIC))
    if cursor.data[begin : cursor.at] != MAGIC:
        raise HeaderBroken("it does not start with GGUF")
    version = cursor.number("<I")
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        raise HeaderBroken("it is a big-endian GGUF" if swapped else f"GGUF version {version} is not known")
    tensors, pairs = cursor.count("tensors"), cursor.count("metadata entries")
    values: dict[str, Value] = {}
    lengths: dict[str, int] = {}
    for _ in range(pairs):
        key = cursor.text()
        kind = cursor.number("<I")
        if kind == _ARRAY:
            lengths[key] = _skip_array(cursor, 1)
        else:
            values[key] = _value(cursor, kind)
    weights, rows, data_size = _tensors(cursor, tensors)
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise HeaderBroken(f"general.alignment is {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    return GgufHeader(version, values, lengths, tensors, weights, rows, start + data_size if tensors else cursor.at)


def _value(cursor: _Cursor, kind: int) -> Value:
    if kind == _STRING:
        return cursor.text()
    if kind not in _SCALARS:
        raise HeaderBroken(f"it has a metadata value of unknown type {kind}")
    return cursor.scalar(_SCALARS[kind])


def _skip_array(cursor: _Cursor, depth: int) -> int:
    """Pass over an array and return its length; every element takes at least a byte, so the file's size bounds it."""
    kind, count = cursor.number("<I"), cursor.number("<Q")
    if depth > _MAX_DEPTH:
        raise HeaderBroken("its metadata arrays are nested too deeply")
    if count > cursor.size:
        raise HeaderCut(f"it has {cursor.size} bytes but an array of {count} elements")
    if kind in _SCALARS:
        cursor.take(count * struct.calcsize(_SCALARS[kind]))
    elif kind == _STRING:
        for _ in range(count):
            cursor.skip_text()
    elif kind == _ARRAY:
        for _ in range(count):
            _skip_array(cursor, depth + 1)
    else:
        raise HeaderBroken(f"it has a metadata array of unknown type {kind}")
    return count


def _tensors(cursor: _Cursor, count: int) -> tuple[int, int | None, int]:
    """(weights in all, rows of the token embedding, bytes of tensor data)."""
    weights, data_size = 0, 0
    rows: int | None = None
    for _ in range(count):
        name = cursor.text()
        dimensions = cursor.number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise HeaderBroken(f"tensor {name[:60]!r} has {dimensions} dimensions")
        shape = [cursor.number("<Q") for _ in range(dimensions)]
        elements = math.prod(shape)
        if elements >= 1 << 63:
            raise HeaderBroken(f"tensor {name[:60]!r} has {elements} elements")
        kind, offset = cursor.number("<I"), cursor.number("<Q")
        weights += elements
        data_size = max(data_size, offset + _bytes_of(kind, elements))
        if name == "token_embd.weight" and len(shape) == 2:
            rows = shape[1]
    return weights, rows, data_size


def _bytes_of(kind: int, elements: int) -> int:
    """Bytes of a tensor; 0 for a type newer than the `gguf` package, whose extent cannot be checked then."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        return 0
    return int(-(-elements // block) * size)
