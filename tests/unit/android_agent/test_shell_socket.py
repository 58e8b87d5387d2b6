"""The shell protocol: packets in any pieces, refusals, and ends that never came."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from device_agents.android.shell_socket import Ending, Reply, ShellSocket, framed


def packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


ANSWER = b"OKAY" + packet(1, b"out ") + packet(2, b"err") + packet(1, b"put") + packet(3, b"\x07")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_an_answer_is_the_same_in_pieces_of_any_size(size: int) -> None:
    reply = Reply()
    for start in range(0, len(ANSWER), size):
        assert not reply.ended
        reply.feed(ANSWER[start : start + size])
    assert reply.ended
    assert reply.ending() == Ending(7, b"out put", b"err")


def test_a_refusal_is_told_in_the_servers_words() -> None:
    reply = Reply()
    reply.feed(b"FAIL000edevice")
    reply.feed(b" offline")
    assert not reply.ended
    assert reply.ending() == Ending(None, b"", b"error: device offline")


def test_a_connection_that_ends_early_gives_no_exit_code() -> None:
    reply = Reply()
    reply.feed(ANSWER[:-1])
    assert reply.ending() == Ending(None, b"out put", b"err")


def test_standard_input_is_cut_into_packets_and_closed() -> None:
    data = bytes(range(256)) * 40
    packets, rest = [], framed(data)
    while rest:
        kind, length = struct.unpack_from("<BI", rest)
        packets.append((kind, rest[5 : 5 + length]))
        rest = rest[5 + length :]
    assert packets[-1] == (4, b"")
    assert {kind for kind, _ in packets[:-1]} == {0}
    assert b"".join(part for _, part in packets) == data
    assert max(len(part) for _, part in packets) <= 4096


def test_a_command_reads_its_input_and_ends() -> None:
    ours, theirs = socket.socketpair()
    data = b"x" * 300_000
    got = bytearray()

    def phone() -> None:
        theirs.sendall(b"OKAY")
        while len(got) < len(framed(data)):
            got.extend(theirs.recv(1 << 16))
        theirs.sendall(packet(1, b"done") + packet(3, b"\0"))

    thread = threading.Thread(target=phone)
    thread.start()
    call = ShellSocket(ours, data)
    assert call.runs
    assert call.finish(20.0, lambda: None) == Ending(0, b"done", b"")
    assert not call.runs
    thread.join()
    theirs.close()
    assert bytes(got) == framed(data)


def test_a_command_that_outlives_its_limit_goes_on() -> None:
    ours, theirs = socket.socketpair()
    call = ShellSocket(ours, b"")
    with pytest.raises(TimeoutError):
        call.finish(0.01, None)
    assert call.runs
    call.drop()
    theirs.close()


def test_what_watches_ends_the_wait() -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    ours, theirs = socket.socketpair()
    call = ShellSocket(ours, b"")
    with pytest.raises(Stop):
        call.finish(20.0, stop)
    call.drop()
    theirs.close()
