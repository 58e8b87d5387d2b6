"""Phones that never let anyone in: they speak just enough of the adb protocol to be listed as such."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

_HEADER = struct.Struct("<6I")
_CONNECT, _AUTH = b"CNXN", b"AUTH"
_TOKEN, _SIGNATURE = 1, 2
_TOKEN_BYTES = 20
_PAYLOAD_MAX = 1 << 20


def _packet(command: bytes, first: int, second: int, payload: bytes) -> bytes:
    number = int.from_bytes(command, "little")
    return _HEADER.pack(number, first, second, len(payload), sum(payload), number ^ 0xFFFFFFFF) + payload


async def _read_packet(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    number, first, _, size, _, _ = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    if size > _PAYLOAD_MAX:
        raise asyncio.IncompleteReadError(b"", size)
    await reader.readexactly(size)
    return number.to_bytes(4, "little"), first


async def ask_for_authorization(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every key with the wish for another, as a phone whose dialog nobody has touched."""
    try:
        while True:
            command, kind = await _read_packet(reader)
            if command == _CONNECT or (command == _AUTH and kind == _SIGNATURE):
                writer.write(_packet(_AUTH, _TOKEN, 0, os.urandom(_TOKEN_BYTES)))
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the connection and stay silent, as a phone that hangs in its boot."""
    try:
        while await reader.read(1 << 16):
            pass
    except ConnectionError:
        pass
    writer.close()


async def serve(listener: socket.socket, behaviour: str) -> asyncio.Server:
    """Serve `behaviour` ("unauthorized" or "offline") on a listening socket."""
    answer = ask_for_authorization if behaviour == "unauthorized" else never_answer
    return await asyncio.start_server(answer, sock=listener)
