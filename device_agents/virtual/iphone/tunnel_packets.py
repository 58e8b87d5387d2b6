"""TCP segments in IPv6 packets, as they travel through a tunnel: no extension headers, no fragments."""

from __future__ import annotations

import struct
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
HEADER_BYTES = 40
OVERHEAD_BYTES = 60
"""Of an IPv6 and a TCP header without options."""

_TCP = 6
_HOPS = 64
_IP = struct.Struct(">IHBB16s16s")
_HEAD = struct.Struct(">HHIIHHHH")
_END_OPTION, _NO_OPTION, _MSS_OPTION, _SCALE_OPTION = 0, 1, 2, 3
_DEFAULT_MSS = 1220
_LARGEST_SCALE = 14


class PacketError(ValueError):
    """Bytes that are not an IPv6 packet; the tunnel cannot go on."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment. `mss`, `scale`: the options of those names (RFC 9293, RFC 7323), 0 and None without one."""

    source: bytes
    target: bytes
    source_port: int
    target_port: int
    sequence: int
    acknowledged: int
    flags: int
    window: int
    mss: int = 0
    scale: int | None = None
    data: bytes = b""

    @property
    def largest(self) -> int:
        """How many bytes its sender takes in one segment."""
        return self.mss or _DEFAULT_MSS


def payload_bytes(header: bytes) -> int:
    """How long the packet is behind its 40 bytes of header.

    Raises:
        PacketError: it is no IPv6.
    """
    if header[0] >> 4 != 6:
        raise PacketError(f"not IPv6: {header.hex()}")
    return int.from_bytes(header[4:6], "big")


def checksum(source: bytes, target: bytes, body: bytes) -> int:
    """Of a TCP segment between two addresses; 0 when the one in it is right."""
    pseudo = source + target + struct.pack(">II", len(body), _TCP)
    # A number is, modulo 0xFFFF, the sum of its 16-bit digits.
    total = int.from_bytes(pseudo + body + b"\0" * (len(body) % 2), "big") % 0xFFFF
    return 0xFFFF - total if total else 0


def pack(segment: Segment) -> bytes:
    options = struct.pack(">BBH", _MSS_OPTION, 4, segment.mss) if segment.mss else b""
    if segment.scale is not None:
        options += struct.pack(">BBBB", _NO_OPTION, _SCALE_OPTION, 3, segment.scale)
    head = _HEAD.pack(
        segment.source_port,
        segment.target_port,
        segment.sequence,
        segment.acknowledged,
        (_HEAD.size + len(options)) // 4 << 12 | segment.flags,
        segment.window,
        0,
        0,
    )
    body = head + options + segment.data
    found = checksum(segment.source, segment.target, body)
    body = body[:16] + struct.pack(">H", found) + body[18:]
    return _IP.pack(6 << 28, len(body), _TCP, _HOPS, segment.source, segment.target) + body


def parse(packet: bytes) -> Segment | None:
    """The segment of a whole packet; None when it carries something else, or a damaged one."""
    _, _, following, _, source, target = _IP.unpack_from(packet)
    body = packet[HEADER_BYTES:]
    if following != _TCP or len(body) < _HEAD.size or checksum(source, target, body) not in (0, 0xFFFF):
        return None
    source_port, target_port, sequence, acknowledged, bits, window, _, _ = _HEAD.unpack_from(body)
    head_bytes = (bits >> 12) * 4
    if not _HEAD.size <= head_bytes <= len(body):
        return None
    options = _options(body[_HEAD.size : head_bytes])
    mss, scale = options.get(_MSS_OPTION, b""), options.get(_SCALE_OPTION)
    return Segment(
        source,
        target,
        source_port,
        target_port,
        sequence,
        acknowledged,
        bits & 0x3F,
        window,
        int.from_bytes(mss, "big") if len(mss) == 2 else 0,
        min(scale[0], _LARGEST_SCALE) if scale else None,
        body[head_bytes:],
    )


def _options(data: bytes) -> dict[int, bytes]:
    """The options by kind, up to the first that cannot be."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != _END_OPTION:
        if data[at] == _NO_OPTION:
            at += 1
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 2 or at + length > len(data):
            break
        found[data[at]] = data[at + 2 : at + length]
        at += length
    return found
