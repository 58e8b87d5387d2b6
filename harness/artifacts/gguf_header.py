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
_MAX_KEPT_NUMBERS = 4096
"""Arrays of whole numbers up to this length are kept: per layer values, never a vocabulary."""
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

_WHOLE = frozenset({_UINT8, _INT8, _UINT16, _INT16, _UINT32, _INT32, _UINT64, _INT64})

TOKEN_EMBEDDING = "token_embd.weight"

Value = int | float | bool | str


class HeaderCut(Exception):
    """The header goes on after the end of the file; the text says where it ended."""


class HeaderBroken(Exception):
    """The header cannot be right; the text says why."""


class _WindowTooSmall(Exception):
    """The header goes on after what was read of the file."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: shape in GGUF's order (columns first), type as ggml names it, bytes (0 for an unknown type)."""

    name: str
    shape: tuple[int, ...]
    quant: str
    size: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF header says.

    Args:
        values: scalar metadata by key (long texts cut short).
        lengths: length of each array by key.
        numbers: content of short arrays of whole numbers by key.
        needed_size: bytes the file must have to hold every tensor.
    """

    version: int
    values: Mapping[str, Value]
    lengths: Mapping[str, int]
    numbers: Mapping[str, tuple[int, ...]]
    tensors: tuple[TensorInfo, ...]
    needed_size: int

    @property
    def tensor_count(self) -> int:
        return len(self.tensors)

    @property
    def parameter_count(self) -> int:
        """Weights in all tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def embedding_rows(self) -> int | None:
        """Rows of the token embedding, or None."""
        found = (tensor.shape for tensor in self.tensors if tensor.name == TOKEN_EMBEDDING)
        return next((shape[1] for shape in found if len(shape) == 2), None)


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
    numbers: dict[str, tuple[int, ...]] = {}
    for _ in range(pairs):
        key = cursor.text()
        kind = cursor.number("<I")
        if kind == _ARRAY:
            lengths[key], kept = _array(cursor, 1)
            if kept:
                numbers[key] = kept
        else:
            values[key] = _value(cursor, kind)
    found, data_size = _tensors(cursor, tensors)
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise HeaderBroken(f"general.alignment is {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    return GgufHeader(version, values, lengths, numbers, found, start + data_size if tensors else cursor.at)


def _value(cursor: _Cursor, kind: int) -> Value:
    if kind == _STRING:
        return cursor.text()
    if kind not in _SCALARS:
        raise HeaderBroken(f"it has a metadata value of unknown type {kind}")
    return cursor.scalar(_SCALARS[kind])


def _array(cursor: _Cursor, depth: int) -> tuple[int, tuple[int, ...]]:
    """Pass over an array; returns its length and, where it is short and of whole numbers, its content.

    Every element takes at least a byte, so the file's size bounds the length.
    """
    kind, count = cursor.number("<I"), cursor.number("<Q")
    if depth > _MAX_DEPTH:
        raise HeaderBroken("its metadata arrays are nested too deeply")
    if count > cursor.size:
        raise HeaderCut(f"it has {cursor.size} bytes but an array of {count} elements")
    if kind in _SCALARS:
        layout = _SCALARS[kind]
        begin = cursor.take(count * struct.calcsize(layout))
        if kind in _WHOLE and count <= _MAX_KEPT_NUMBERS:
            return count, struct.unpack_from(f"<{count}{layout[1]}", cursor.data, begin)
    elif kind == _STRING:
        for _ in range(count):
            cursor.skip_text()
    elif kind == _ARRAY:
        for _ in range(count):
            _array(cursor, depth + 1)
    else:
        raise HeaderBroken(f"it has a metadata array of unknown type {kind}")
    return count, ()


def _tensors(cursor: _Cursor, count: int) -> tuple[tuple[TensorInfo, ...], int]:
    """The tensors, and the bytes of tensor data that they reach over."""
    found: list[TensorInfo] = []
    data_size = 0
    for _ in range(count):
        name = cursor.text()
        dimensions = cursor.number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise HeaderBroken(f"tensor {name[:60]!r} has {dimensions} dimensions")
        shape = tuple(cursor.number("<Q") for _ in range(dimensions))
        elements = math.prod(shape)
        if elements >= 1 << 63:
            raise HeaderBroken(f"tensor {name[:60]!r} has {elements} elements")
        kind, offset = cursor.number("<I"), cursor.number("<Q")
        quant, size = _type_of(kind, elements)
        found.append(TensorInfo(name, shape, quant, size))
        data_size = max(data_size, offset + size)
    return tuple(found), data_size


def _type_of(kind: int, elements: int) -> tuple[str, int]:
    """Name of a tensor's type and its bytes; 0 for a type newer than the `gguf` package: its extent is unknown then."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        quant = GGMLQuantizationType(kind)
        block, size = GGML_QUANT_SIZES[quant]
    except (ValueError, KeyError):
        return f"type {kind}", 0
    return quant.name, int(-(-elements // block) * size)
