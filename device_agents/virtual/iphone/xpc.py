"""Messages of RemoteXPC: a wrapper and, in it, one object of nested values. All numbers are little-endian."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

WRAPPER_MAGIC = 0x29B00B92
_PAYLOAD_MAGIC = 0x42133742
_PAYLOAD_VERSION = 5
_WRAPPER = struct.Struct("<IIQQ")
_MAX_BYTES = 1 << 24
_MAX_DEPTH = 64


class XpcError(ValueError):
    """Bytes that are not a message."""


class Flags(IntFlag):
    """Of a wrapper."""

    ALWAYS = 0x1
    DATA = 0x100
    OPENED = 0x200
    WANTS_REPLY = 0x10000
    REPLY = 0x20000
    HANDSHAKE = 0x400000


class Type(IntEnum):
    """Of a value."""

    NULL = 0x1000
    BOOL = 0x2000
    INT64 = 0x3000
    UINT64 = 0x4000
    DOUBLE = 0x5000
    DATE = 0x7000
    DATA = 0x8000
    STRING = 0x9000
    UUID = 0xA000
    ARRAY = 0xE000
    DICTIONARY = 0xF000


@dataclass(frozen=True, slots=True)
class Wrapper:
    """One message. `value`: None when it carries no object."""

    flags: int
    number: int = 0
    value: Any = None


def pack(wrapper: Wrapper) -> bytes:
    """A message; whole numbers of a value are unsigned.

    Raises:
        TypeError: a value of another type than null, bool, int, float, str, bytes, UUID, list or dict.
    """
    payload = b""
    if wrapper.value is not None:
        payload = struct.pack("<II", _PAYLOAD_MAGIC, _PAYLOAD_VERSION) + _object(wrapper.value)
    return _WRAPPER.pack(WRAPPER_MAGIC, wrapper.flags, len(payload), wrapper.number) + payload


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _object(value: Any) -> bytes:
    if value is None:
        return struct.pack("<I", Type.NULL)
    if isinstance(value, bool):
        return struct.pack("<II", Type.BOOL, value)
    if isinstance(value, int):
        return struct.pack("<IQ", Type.UINT64, value)
    if isinstance(value, float):
        return struct.pack("<Id", Type.DOUBLE, value)
    if isinstance(value, str):
        text = _text(value)
        return struct.pack("<II", Type.STRING, len(text)) + _padded(text)
    if isinstance(value, bytes):
        return struct.pack("<II", Type.DATA, len(value)) + _padded(value)
    if isinstance(value, uuid.UUID):
        return struct.pack("<I", Type.UUID) + value.bytes
    if isinstance(value, list):
        return _container(Type.ARRAY, [_object(item) for item in value])
    if isinstance(value, dict):
        return _container(Type.DICTIONARY, [_padded(_text(str(key))) + _object(item) for key, item in value.items()])
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _container(kind: Type, items: list[bytes]) -> bytes:
    body = struct.pack("<I", len(items)) + b"".join(items)
    return struct.pack("<II", kind, len(body)) + body


def unpack(data: bytes) -> tuple[Wrapper, int] | None:
    """The first message of `data` and how many bytes it took; None when it has not arrived completely.

    Raises:
        XpcError: it is none.
    """
    if len(data) < _WRAPPER.size:
        return None
    magic, flags, size, number = _WRAPPER.unpack_from(data)
    if magic != WRAPPER_MAGIC or size > _MAX_BYTES:
        raise XpcError(f"not a message: {data[: _WRAPPER.size].hex()}")
    end = _WRAPPER.size + size
    if len(data) < end:
        return None
    if size == 0:
        return Wrapper(flags, number), end
    try:
        payload_magic, version = struct.unpack_from("<II", data, _WRAPPER.size)
        if (payload_magic, version) != (_PAYLOAD_MAGIC, _PAYLOAD_VERSION):
            raise XpcError("not an object of RemoteXPC")
        value, _ = _read(data[:end], _WRAPPER.size + 8, 0)
    except (struct.error, ValueError, IndexError) as error:
        raise XpcError(f"an object that cannot be read: {error}") from error
    return Wrapper(flags, number, value), end


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH:
        raise XpcError("too many objects inside one another")
    kind = struct.unpack_from("<I", data, at)[0]
    reader = _READERS.get(kind)
    if reader is None:
        raise XpcError(f"a value of unknown type {kind:#x}")
    return reader(data, at + 4, depth)


def _number(form: str) -> Callable[[bytes, int, int], tuple[Any, int]]:
    size = struct.calcsize(form)
    return lambda data, at, _: (struct.unpack_from(form, data, at)[0], at + size)


def _bool(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    return bool(struct.unpack_from("<I", data, at)[0]), at + 4


def _data(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    size = struct.unpack_from("<I", data, at)[0]
    return data[at + 4 : at + 4 + size], at + 4 + size + -size % 4


def _string(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    raw, end = _data(data, at, depth)
    return raw.split(b"\0", 1)[0].decode(), end


def _uuid(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    return uuid.UUID(bytes=data[at : at + 16]), at + 16


def _array(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    size, count = struct.unpack_from("<II", data, at)
    position, items = at + 8, []
    for _ in range(count):
        item, position = _read(data, position, depth + 1)
        items.append(item)
    return items, at + 4 + size


def _dictionary(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    size, count = struct.unpack_from("<II", data, at)
    position, items = at + 8, {}
    for _ in range(count):
        end = data.index(b"\0", position)
        name = data[position:end].decode()
        length = end + 1 - position
        items[name], position = _read(data, position + length + -length % 4, depth + 1)
    return items, at + 4 + size


_READERS: dict[int, Callable[[bytes, int, int], tuple[Any, int]]] = {
    Type.NULL: lambda _data, at, _depth: (None, at),
    Type.BOOL: _bool,
    Type.INT64: _number("<q"),
    Type.UINT64: _number("<Q"),
    Type.DOUBLE: _number("<d"),
    Type.DATE: _number("<q"),
    Type.DATA: _data,
    Type.STRING: _string,
    Type.UUID: _uuid,
    Type.ARRAY: _array,
    Type.DICTIONARY: _dictionary,
}
