"""The formats below the instruments server, against the client's own reading and writing of them."""

from __future__ import annotations

import asyncio
import plistlib
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bpylist2 import archiver
from hypothesis import given
from hypothesis import strategies as st
from pymobiledevice3.dtx.message_aux import MessageAux
from pymobiledevice3.dtx.ns_types import NSDate, NSError
from pymobiledevice3.dtx.primitives import PInt32, PInt64
from pymobiledevice3.remote.xpc_message import XpcFlags, XpcWrapper, create_xpc_wrapper, decode_xpc_object

from device_agents.virtual.iphone import dtx_wire, xpc
from device_agents.virtual.iphone.keyed import Coded, KeyedError, archive, ns_date, ns_error, unarchive
from device_agents.virtual.iphone.tunnel import Tunnel
from device_agents.virtual.iphone.tunnel_packets import (
    ACK,
    FIN,
    HEADER_BYTES,
    RST,
    SYN,
    PacketError,
    Segment,
    pack,
    parse,
    payload_bytes,
)

_PLAIN = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
_VALUES = st.recursive(
    st.none() | _PLAIN,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(_VALUES)
def test_archives_are_read_by_the_client_and_the_clients_are_read_here(value: Any) -> None:
    assert archiver.unarchive(archive(value)) == value
    assert unarchive(archiver.archive(value) if value is not None else archive(value)) == value


def test_objects_of_a_class_keep_it() -> None:
    error = archiver.unarchive(archive(ns_error("d", 7, NSLocalizedDescription="no")))
    assert isinstance(error, NSError)
    assert (error.domain, error.code, error.user_info) == ("d", 7, {"NSLocalizedDescription": "no"})
    date = archiver.unarchive(archive([ns_date(1_700_000_000.5)]))[0]
    assert isinstance(date, NSDate)
    assert date.utc.timestamp() == 1_700_000_000.5
    tap = Coded(("DTSysmonTapMessage", "DTTapMessage", "NSObject"), {"DTTapMessagePlist": {"k": 0}})
    assert archiver.unarchive(archive(tap)) == {"k": 0}
    assert unarchive(archive(tap)) == tap


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"bplist00",
        plistlib.dumps([1]),
        plistlib.dumps({"$archiver": "other"}),
        plistlib.dumps(
            {"$archiver": "NSKeyedArchiver", "$objects": ["$null"], "$top": {"root": plistlib.UID(9)}},
            fmt=plistlib.FMT_BINARY,
        ),
        plistlib.dumps(
            {
                "$archiver": "NSKeyedArchiver",
                "$top": {"root": plistlib.UID(1)},
                "$objects": [
                    "$null",
                    {"$class": plistlib.UID(2), "NS.objects": [plistlib.UID(1)]},
                    {"$classname": "NSArray"},
                ],
            },
            fmt=plistlib.FMT_BINARY,
        ),
    ],
)
def test_what_is_no_archive_is_told(data: bytes) -> None:
    with pytest.raises(KeyedError):
        unarchive(data)


@given(st.lists(_PLAIN | st.none()))
def test_argument_lists(values: list[Any]) -> None:
    assert MessageAux.parse(dtx_wire.arguments(*values)) == values
    assert dtx_wire.parse_arguments(MessageAux.build([*values, PInt32(-5), PInt64(2**40)])) == [*values, -5, 2**40]


def test_numbers_that_are_not_archived() -> None:
    assert MessageAux.parse(dtx_wire.arguments(dtx_wire.Int32(-1), dtx_wire.Int64(2**50))) == [-1, 2**50]


@given(st.binary(max_size=200))
def test_argument_lists_that_are_none(data: bytes) -> None:
    try:
        found = dtx_wire.parse_arguments(data)
    except dtx_wire.WireError:
        return
    # A value takes its tag and that of its name.
    assert len(found) <= len(data) // 8


@pytest.mark.parametrize("size", [0, 1, 131_000, 131_073, 700_000])
def test_a_message_arrives_in_as_many_parts_as_it_needs(size: int) -> None:
    message = dtx_wire.Message(dtx_wire.Kind.OBJECT, 9, 1, 4, payload=random.Random(1).randbytes(size))
    assembly, arrived = dtx_wire.Assembly(), None
    parts = list(dtx_wire.fragments(message))
    for part in parts:
        assert arrived is None
        header = dtx_wire.parse_header(part[: dtx_wire.HEADER_BYTES])
        arrived = assembly.add(header, part[dtx_wire.HEADER_BYTES :])
    assert arrived == message
    assert len(parts) == (1 if size < 131_000 + 60 else 1 + -(-(size + 16) // dtx_wire.MAX_FRAGMENT_BYTES))


@pytest.mark.parametrize("at", [0, 4, 8, 10, 12])
def test_a_header_that_cannot_be(at: int) -> None:
    part = bytearray(next(iter(dtx_wire.fragments(dtx_wire.Message(dtx_wire.Kind.OK, 1, 1, 0)))))
    part[at : at + 2] = b"\xff\xff" if at in (0, 8, 12) else b"\0\0"
    part[at + 2 : at + 4] = b"\xff\xff" if at in (0, 12) else part[at + 2 : at + 4]
    with pytest.raises(dtx_wire.WireError):
        dtx_wire.parse_header(bytes(part[: dtx_wire.HEADER_BYTES]))


_XPC = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    | st.binary(max_size=20)
    | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["a", "bc", "Services", "ä"]), _XPC))
def test_xpc_is_read_by_the_client_and_here(value: dict[str, Any]) -> None:
    data = xpc.pack(xpc.Wrapper(xpc.Flags.ALWAYS | xpc.Flags.DATA, 3, value))
    theirs = XpcWrapper.parse(data)
    assert theirs.payload is not None
    assert (theirs.message_id, decode_xpc_object(theirs.payload)) == (3, value)
    assert xpc.unpack(data + b"more") == (xpc.Wrapper(xpc.Flags.ALWAYS | xpc.Flags.DATA, 3, value), len(data))
    assert all(xpc.unpack(data[:size]) is None for size in range(0, len(data), 7))


def test_what_the_client_says_over_xpc() -> None:
    who = uuid.uuid4()
    data = create_xpc_wrapper({"MessageType": "Handshake", "UUID": who, "Services": {}}, message_id=1)
    found = xpc.unpack(data)
    assert found is not None
    assert found[0].value == {"MessageType": "Handshake", "UUID": who, "Services": {}}
    empty = XpcWrapper(flags=XpcFlags.ALWAYS_SET | XpcFlags.INIT_HANDSHAKE).build()
    assert xpc.unpack(empty) == (xpc.Wrapper(xpc.Flags.ALWAYS | xpc.Flags.HANDSHAKE), len(empty))


@given(st.binary(min_size=24, max_size=80))
def test_what_is_no_xpc_is_told(data: bytes) -> None:
    size = len(data) - 24
    head = xpc.pack(xpc.Wrapper(1))[:8] + size.to_bytes(8, "little") + bytes(8)
    for bad in (data, head + data[24:], head + b"\x42\x37\x13\x42\x05\0\0\0" + data[32:]):
        try:
            found = xpc.unpack(bad)
        except xpc.XpcError:
            continue
        assert found is None or 24 <= found[1] <= len(bad)


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.sampled_from([0, 1220, 15940]))
def test_segments_through_a_tunnel(data: bytes, number: int, mss: int) -> None:
    segment = Segment(
        bytes(range(16)), bytes(range(16, 32)), 50_000, 58_783, number, 7, ACK, 1000, mss, 7 if mss else None, data
    )
    packet = pack(segment)
    assert payload_bytes(packet) == len(packet) - HEADER_BYTES
    assert parse(packet) == segment
    damaged = bytearray(packet)
    damaged[HEADER_BYTES + 4] ^= 1
    assert parse(bytes(damaged)) is None


def test_packets_that_are_no_segments() -> None:
    packet = pack(Segment(bytes(16), bytes(16), 1, 2, 3, 4, ACK, 5))
    assert parse(packet[:6] + b"\x11" + packet[7:]) is None
    assert parse(packet[:HEADER_BYTES]) is None
    with pytest.raises(PacketError):
        payload_bytes(b"\x45" + packet[1:])


class Link:
    """A client's bare TCP at the other end of a tunnel, which can lose packets."""

    def __init__(self, tunnel_of: Callable[[Callable[[bytes], None]], Tunnel]) -> None:
        self.arrived: asyncio.Queue[Segment] = asyncio.Queue()
        self.lose = 0
        self.tunnel = tunnel_of(self._from_phone)
        self.position, self.expected = 1000, 0

    def _from_phone(self, packet: bytes) -> None:
        segment = parse(packet)
        assert segment is not None
        if self.lose and segment.data:
            self.lose -= 1
        else:
            self.arrived.put_nowait(segment)

    def say(
        self,
        flags: int,
        data: bytes = b"",
        *,
        port: int = 700,
        window: int = 0xFFFF,
        mss: int = 0,
        scale: int | None = None,
    ) -> None:
        self.tunnel.take(
            pack(Segment(b"c" * 16, b"p" * 16, 5, port, self.position, self.expected, flags, window, mss, scale, data))
        )
        self.position += len(data) + bool(flags & (SYN | FIN))

    async def open(self, *, mss: int = 1000, scale: int | None = None) -> None:
        self.say(SYN, mss=mss, scale=scale)
        answer = await self.arrived.get()
        assert (answer.scale is None) == (scale is None)
        assert answer.flags == SYN | ACK
        assert answer.acknowledged == self.position
        self.expected = answer.sequence + 1
        self.say(ACK)

    async def hear(self, count: int) -> bytes:
        """So many bytes, each part acknowledged."""
        heard = b""
        while len(heard) < count:
            segment = await self.arrived.get()
            assert len(segment.data) <= 1000
            if segment.data and segment.sequence == self.expected:
                heard += segment.data
                self.expected += len(segment.data)
            if segment.data:
                self.say(ACK)
        return heard


def linked(check: Callable[[Link], Awaitable[None]]) -> None:
    """With a service that answers with what it is told, in upper case, behind port 700."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data.upper())
            await writer.drain()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        link = Link(lambda write: Tunnel(write, b"p" * 16, {700: port}.get, 1280))
        try:
            await check(link)
        finally:
            await link.tunnel.close()
            server.close()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_connection_through_the_tunnel_from_its_opening_to_its_end() -> None:
    async def check(link: Link) -> None:
        await link.open()
        link.say(ACK, b"abc" * 1000)
        assert await link.hear(3000) == b"ABC" * 1000
        link.say(ACK | FIN)
        while not (last := await link.arrived.get()).flags & FIN:
            pass
        link.expected = last.sequence + 1
        link.say(ACK)
        link.say(ACK, b"too late")
        while not (answer := await link.arrived.get()).flags & RST:
            pass
        assert answer.flags & RST

    linked(check)


def test_what_was_lost_on_the_way_is_sent_again() -> None:
    async def check(link: Link) -> None:
        await link.open()
        link.lose = 3
        link.say(ACK, bytes(range(97, 110)) * 400)
        assert await link.hear(5200) == bytes(range(65, 78)) * 400
        # The client repeats itself as well.
        link.position -= 200
        link.say(ACK, b"x" * 300)
        assert await link.hear(100) == b"X" * 100

    linked(check)


def test_a_closed_window_is_respected_and_knocked_at() -> None:
    async def check(link: Link) -> None:
        await link.open()
        link.say(ACK, b"y" * 500, window=0)
        while not (knock := await link.arrived.get()).data:
            pass
        assert knock.data == b"Y"
        link.say(ACK)
        assert await link.hear(500) == b"Y" * 500

    linked(check)


def test_a_window_is_as_large_as_its_scale_says() -> None:
    async def check(link: Link) -> None:
        await link.open(scale=3)
        link.say(ACK, b"z" * 5000, window=63)
        sent = 0
        while sent < 63 << 3:
            sent += len((await link.arrived.get()).data)
        assert sent == 63 << 3
        assert link.arrived.empty()

    linked(check)


def test_where_nothing_listens_a_connection_is_refused() -> None:
    async def check(link: Link) -> None:
        link.say(SYN, port=701)
        answer = await link.arrived.get()
        assert answer.flags & RST
        assert answer.acknowledged == link.position

    linked(check)
