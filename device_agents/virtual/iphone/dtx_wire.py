"""The bytes of DTX: fragments, messages and the argument list of a method call.

A message is a 16-byte head, the arguments (a "primitive dictionary" of unnamed values) and a payload; it travels in one
fragment, or, when it is large, in a first one that has only a header and tells the size, and in others that carry it.
All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from device_agents.virtual.iphone.keyed import KeyedError, archive, unarchive

MAGIC = 0x1F3D5B79
MAX_FRAGMENT_BYTES = 128 * 1024
MAX_MESSAGE_BYTES = 32 << 20
"""Far above what a client of these services has to say."""

_EXPECTS_REPLY = 1
_HEADER = struct.Struct("<IIHHIIIiI")
HEADER_BYTES = _HEADER.size
_HEAD = struct.Struct("<BBBBIII")
_DICTIONARY = struct.Struct("<IIQ")
_DICTIONARY_TAG = 0x1F0


class WireError(ValueError):
    """Bytes that are not DTX; the connection cannot go on."""


class Kind(IntEnum):
    """Types of messages, by their number on the wire."""

    OK = 0
    DATA = 1
    CALL = 2
    OBJECT = 3
    ERROR = 4
    BARRIER = 5


class _Tag(IntEnum):
    STRING = 1
    BUFFER = 2
    INT32 = 3
    INT64 = 6
    DOUBLE = 9
    NULL = 10


@dataclass(frozen=True, slots=True)
class Int32:
    """A number that a call carries as it is, not archived."""

    value: int


@dataclass(frozen=True, slots=True)
class Int64:
    """A number that a call carries as it is, not archived."""

    value: int


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before every fragment. `round`: 0 in a request, one more in its answer."""

    size: int
    index: int
    count: int
    data_bytes: int
    number: int
    round: int
    channel: int
    expects_reply: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message. `channel`: its code as the sender writes it."""

    kind: int
    number: int
    round: int
    channel: int
    expects_reply: bool = False
    arguments: bytes = b""
    payload: bytes = b""


def parse_header(data: bytes) -> Header:
    """The 32 bytes before a fragment.

    Raises:
        WireError: they are something else, or announce more than a message may have.
    """
    magic, size, index, count, data_bytes, number, turn, channel, flags = _HEADER.unpack(data)
    if magic != MAGIC or size < HEADER_BYTES or not index < count:
        raise WireError(f"not a fragment: {data.hex()}")
    if not 0 < data_bytes <= MAX_MESSAGE_BYTES:
        raise WireError(f"a fragment of {data_bytes} bytes")
    return Header(size, index, count, data_bytes, number, turn, channel, bool(flags & _EXPECTS_REPLY))


def fragments(message: Message) -> Iterable[bytes]:
    """A message as the fragments that carry it."""
    head = _HEAD.pack(message.kind, 0, 0, 0, len(message.arguments), len(message.arguments) + len(message.payload), 0)
    body = head + message.arguments + message.payload
    if len(body) <= MAX_FRAGMENT_BYTES:
        yield _header(message, 0, 1, len(body)) + body
        return
    count = -(-len(body) // MAX_FRAGMENT_BYTES) + 1
    yield _header(message, 0, count, len(body))
    for index in range(1, count):
        part = body[(index - 1) * MAX_FRAGMENT_BYTES : index * MAX_FRAGMENT_BYTES]
        yield _header(message, index, count, len(part)) + part


def _header(message: Message, index: int, count: int, data_bytes: int) -> bytes:
    flags = _EXPECTS_REPLY if message.expects_reply else 0
    return _HEADER.pack(
        MAGIC, HEADER_BYTES, index, count, data_bytes, message.number, message.round, message.channel, flags
    )


def parse_message(header: Header, body: bytes) -> Message:
    """A message from the header of its first fragment and all of its bytes.

    Raises:
        WireError: sizes that do not fit each other.
    """
    if len(body) < _HEAD.size:
        raise WireError(f"a message of {len(body)} bytes")
    kind, _, _, _, argument_bytes, total, _ = _HEAD.unpack_from(body)
    if total != len(body) - _HEAD.size or argument_bytes > total:
        raise WireError(f"a message of {len(body)} bytes that claims {total} with {argument_bytes} of arguments")
    split = _HEAD.size + argument_bytes
    return Message(
        kind, header.number, header.round, header.channel, header.expects_reply, body[_HEAD.size : split], body[split:]
    )


@dataclass(slots=True)
class Assembly:
    """Messages that arrive in parts."""

    _parts: dict[int, tuple[Header, bytearray]] = field(default_factory=dict)

    def add(self, header: Header, data: bytes) -> Message | None:
        """Take a fragment; returns the message that it completes.

        Raises:
            WireError: a part of nothing, or more parts than were announced.
        """
        if header.count == 1:
            return parse_message(header, data)
        if header.index == 0:
            self._parts[header.number] = (header, bytearray())
            if sum(first.data_bytes for first, _ in self._parts.values()) > MAX_MESSAGE_BYTES:
                raise WireError("too many large messages at once")
            return None
        if header.number not in self._parts:
            raise WireError(f"part {header.index} of a message that never began")
        first, body = self._parts[header.number]
        body += data
        if len(body) > first.data_bytes:
            raise WireError(f"{len(body)} bytes of a message of {first.data_bytes}")
        if header.index < first.count - 1:
            return None
        del self._parts[header.number]
        if len(body) != first.data_bytes:
            raise WireError(f"{len(body)} bytes of a message of {first.data_bytes}")
        return parse_message(first, bytes(body))


def arguments(*values: Any) -> bytes:
    """The argument list of a call: `Int32` and `Int64` as they are, everything else archived."""
    if not values:
        return b""
    body = b"".join(struct.pack("<I", _Tag.NULL) + _primitive(value) for value in values)
    return _DICTIONARY.pack(_DICTIONARY_TAG, 0, len(body)) + body


def _primitive(value: Any) -> bytes:
    if isinstance(value, Int32):
        return struct.pack("<Ii", _Tag.INT32, value.value)
    if isinstance(value, Int64):
        return struct.pack("<Iq", _Tag.INT64, value.value)
    data = b"" if value is None else archive(value)
    return struct.pack("<II", _Tag.BUFFER, len(data)) + data


def parse_arguments(data: bytes) -> list[Any]:
    """The values of an argument list, in order.

    Raises:
        WireError: it is none, or one of its values is no archive.
    """
    if not data:
        return []
    try:
        _, _, length = _DICTIONARY.unpack_from(data)
        if length != len(data) - _DICTIONARY.size:
            raise WireError(f"an argument list of {len(data)} bytes that claims {length}")
        at, values = _DICTIONARY.size, []
        while at < len(data):
            _, at = _read(data, at)  # the name: unnamed, or of no interest
            value, at = _read(data, at)
            values.append(value)
        return values
    except (struct.error, KeyedError, UnicodeDecodeError) as error:
        raise WireError(f"an argument list that cannot be read: {error}") from error


def _read(data: bytes, at: int) -> tuple[Any, int]:
    tag = struct.unpack_from("<I", data, at)[0] & 0xFF
    at += 4
    if tag == _Tag.NULL:
        return None, at
    if tag in (_Tag.STRING, _Tag.BUFFER):
        length = struct.unpack_from("<I", data, at)[0]
        part = data[at + 4 : at + 4 + length]
        if len(part) < length:
            raise WireError(f"{len(part)} bytes of a value of {length}")
        if tag == _Tag.STRING:
            return part.decode(), at + 4 + length
        return unarchive(part) if part else None, at + 4 + length
    formats = {_Tag.INT32: "<i", _Tag.INT64: "<q", _Tag.DOUBLE: "<d"}
    if tag not in formats:
        raise WireError(f"a value of unknown type {tag}")
    return struct.unpack_from(formats[_Tag(tag)], data, at)[0], at + struct.calcsize(formats[_Tag(tag)])
