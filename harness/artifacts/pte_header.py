"""Read what an ExecuTorch program (PTE) says of itself, without ExecuTorch: back ends, methods, constants.

A PTE is a flatbuffer with the identifier "ET12" (tables of ExecuTorch's `schema/program.fbs`), where wanted an extended
header behind the identifier (`schema/extended_header.h`), and segments of data after it. Only the tables on the way to
what is asked for are read, each within the file: a hostile or cut file gives a typed error, quickly and in little
memory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.artifacts.gguf_header import HeaderBroken, HeaderCut

IDENTIFIER = b"ET12"
_EXTENDED = b"eh00"
_HEAD = 40
"""Root offset, identifier, and the extended header with the size of its segments."""

_MAX_ENTRIES = 100_000
_MAX_TEXT = 1000

# Field numbers of the tables in program.fbs; a union takes two, its type first.
_PROGRAM_PLANS, _PROGRAM_SEGMENTS = 1, 4
_SEGMENT_OFFSET, _SEGMENT_SIZE = 0, 1
_PLAN_NAME, _PLAN_VALUES, _PLAN_OUTPUTS, _PLAN_DELEGATES = 0, 2, 4, 7
_DELEGATE_ID = 0
_VALUE_TYPE, _VALUE = 0, 1
_KIND_INT, _KIND_BOOL = 2, 3

RECIPES: Mapping[str, tuple[str, ...]] = {
    "xnnpack": ("XnnpackBackend",),
    "vulkan": ("VulkanBackend",),
    "qnn": ("QnnBackend",),
    "metal": ("MetalBackend", "MPSBackend"),
    "coreml": ("CoreMLBackend",),
}
"""Label of a PTE model → what ExecuTorch calls the back ends such a program hands its work to."""


class NoProgram(HeaderBroken):
    """The file is something else."""


@dataclass(frozen=True, slots=True)
class PteHeader:
    """What a program says of itself.

    Args:
        backends: what ExecuTorch calls the back ends that parts of it are made for, each once, in order of appearance;
            a runner without one of them cannot load it.
        methods: names of its methods.
        constants: methods that only return a whole number or a truth value, e.g. "get_vocab_size" → 49152.
    """

    backends: tuple[str, ...]
    methods: tuple[str, ...]
    constants: Mapping[str, int]


def recipes(backends: Iterable[str]) -> tuple[str, ...]:
    """Back ends as `RECIPES` names them, each once; one that has no name there keeps its own."""
    names = {backend: recipe for recipe, known in RECIPES.items() for backend in known}
    return tuple(dict.fromkeys(names.get(backend, backend) for backend in backends))


def read_header(file: Path) -> PteHeader:
    """Read the header and the tables of a program.

    Raises:
        HeaderCut: the file ends before what it says it holds.
        NoProgram: it is something else.
        HeaderBroken: its tables cannot be.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(_HEAD)
        if head[4:8] != IDENTIFIER:
            raise NoProgram("no ET12 in its first bytes")
        program, base = _extents(head, size)
        return _parse(_Bytes(stream.fileno(), program, whole=base is not None), size, base)


def _extents(head: bytes, size: int) -> tuple[int, int | None]:
    """Bytes of the flatbuffer, and where its segments begin (None without an extended header)."""
    if head[8:12] != _EXTENDED:
        return size, None
    if len(head) < 32:
        raise HeaderCut(f"it ends at byte {size}, inside its header")
    length, program, base = struct.unpack_from("<IQQ", head, 12)
    if length >= 32 and len(head) < _HEAD:
        raise HeaderCut(f"it ends at byte {size}, inside its header")
    data = struct.unpack_from("<Q", head, 32)[0] if length >= 32 else 0
    needed = max(program, base + data)
    if needed > size:
        raise HeaderCut(f"its header asks for {needed} bytes, the file has {size}")
    if program < 32:
        raise HeaderBroken(f"its header gives the program {program} bytes")
    return program, base


class _Bytes:
    """The flatbuffer in the first `size` bytes of a file, read piece by piece where it is asked for."""

    def __init__(self, descriptor: int, size: int, *, whole: bool) -> None:
        self.size = size
        self._descriptor = descriptor
        self._outside = HeaderBroken if whole else HeaderCut

    def take(self, at: int, count: int) -> bytes:
        if at < 0:
            raise HeaderBroken("its tables point before its beginning")
        data = os.pread(self._descriptor, count, at) if at + count <= self.size else b""
        if len(data) < count:
            raise self._outside(f"its tables point to byte {at + count}, it has {self.size}")
        return data

    def number(self, layout: str, at: int) -> int:
        return int(struct.unpack(layout, self.take(at, struct.calcsize(layout)))[0])

    def follow(self, at: int) -> int:
        """Where the offset at `at` leads."""
        return at + self.number("<I", at)

    def field(self, table: int, index: int) -> int | None:
        """Where field `index` of a table is, or None where the table does not have it."""
        layout = table - self.number("<i", table)
        entry = 4 + 2 * index
        if entry + 2 > self.number("<H", layout):
            return None
        offset = self.number("<H", layout + entry)
        return table + offset if offset else None

    def text(self, table: int, index: int) -> str:
        at = self.field(table, index)
        if at is None:
            return ""
        begin = self.follow(at)
        length = self.number("<I", begin)
        if length > _MAX_TEXT:
            raise HeaderBroken(f"it has a name of {length} bytes")
        return self.take(begin + 4, length).decode("utf-8", "replace")

    def elements(self, table: int, index: int, what: str) -> range:
        """Where the elements (of 4 bytes) of a vector are."""
        at = self.field(table, index)
        if at is None:
            return range(0)
        begin = self.follow(at)
        count = self.number("<I", begin)
        if count > _MAX_ENTRIES:
            raise HeaderBroken(f"it says it has {count} {what}")
        if count:
            self.take(begin + 4 * count, 4)
        return range(begin + 4, begin + 4 + 4 * count, 4)

    def tables(self, table: int, index: int, what: str) -> Iterator[int]:
        return (self.follow(at) for at in self.elements(table, index, what))


def _parse(data: _Bytes, size: int, base: int | None) -> PteHeader:
    root = data.follow(0)
    methods: list[str] = []
    backends: dict[str, None] = {}
    constants: dict[str, int] = {}
    for plan in data.tables(root, _PROGRAM_PLANS, "methods"):
        name = data.text(plan, _PLAN_NAME)
        methods.append(name)
        for delegate in data.tables(plan, _PLAN_DELEGATES, "delegates"):
            backends[data.text(delegate, _DELEGATE_ID)] = None
        constant = _constant(data, plan)
        if constant is not None:
            constants[name] = constant
    if not methods:
        raise HeaderBroken("it has no method")
    if "" in backends:
        raise HeaderBroken("it has a part for a back end without a name")
    _check_segments(data, root, size, base)
    return PteHeader(tuple(backends), tuple(methods), constants)


def _constant(data: _Bytes, plan: int) -> int | None:
    """The only output of a method, where that is a whole number or a truth value and nothing is computed for it."""
    outputs = data.elements(plan, _PLAN_OUTPUTS, "outputs")
    values = data.elements(plan, _PLAN_VALUES, "values")
    if len(outputs) != 1:
        return None
    index = data.number("<i", outputs[0])
    if not 0 <= index < len(values):
        raise HeaderBroken(f"output {index} of a method is none of its {len(values)} values")
    value = data.follow(values[index])
    kind_at, at = data.field(value, _VALUE_TYPE), data.field(value, _VALUE)
    if kind_at is None or at is None:
        return None
    kind = data.number("<B", kind_at)
    if kind not in (_KIND_INT, _KIND_BOOL):
        return None
    held = data.field(data.follow(at), 0)
    return 0 if held is None else data.number("<q" if kind == _KIND_INT else "<B", held)


def _check_segments(data: _Bytes, root: int, size: int, base: int | None) -> None:
    for segment in data.tables(root, _PROGRAM_SEGMENTS, "segments"):
        if base is None:
            raise HeaderBroken("it has segments, but no extended header to say where")
        begin, length = data.field(segment, _SEGMENT_OFFSET), data.field(segment, _SEGMENT_SIZE)
        end = base + (data.number("<Q", begin) if begin else 0) + (data.number("<Q", length) if length else 0)
        if end > size:
            raise HeaderCut(f"one of its segments ends at byte {end}, the file has {size}")
