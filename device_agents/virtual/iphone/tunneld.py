"""The HTTP interface of a tunneld (as pymobiledevice3 runs one) that has a tunnel to every phone of the lab."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from device_agents.virtual.iphone.rsd import Rsd

_LOG = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_REQUEST_S = 10.0
_HEAD_BYTES = 16_384
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 501: "Not Implemented"}

Answer = tuple[int, Any]


class Tunneld:
    """Tells clients where the phones' discovery is. `rsds`: of the phones that have tunnels."""

    def __init__(self, rsds: Sequence[Rsd]) -> None:
        self._rsds = {rsd.phone.udid: rsd for rsd in rsds}
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens.

        Raises:
            RuntimeError: it does not.
        """
        if self._server is None:
            raise RuntimeError("tunneld was not started")
        return _HOST, int(self._server.sockets[0].getsockname()[1])

    async def start(self, port: int = 0) -> None:
        """Listen on a port, or one that the kernel chooses.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._serve, _HOST, port, limit=_HEAD_BYTES)

    async def close(self) -> None:
        """Stop listening; the tunnels stay, as those of a tunneld that was killed do not."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()
        for rsd in self._rsds.values():
            rsd.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_S)
            status, content = self.answer(head.split(b"\r\n", 1)[0].decode("latin-1"))
            body = json.dumps(content).encode()
            lines = [
                f"HTTP/1.1 {status} {_REASONS[status]}",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                "Connection: close",
            ]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
            _LOG.info("a request to tunneld broke: %r", error)
        finally:
            writer.close()

    def answer(self, request_line: str) -> Answer:
        """Status and content for the first line of a request."""
        words = request_line.split(" ")
        if len(words) != 3:
            return 400, {"error": "not a request"}
        if words[0] != "GET":
            return 405, {"detail": "Method Not Allowed"}
        url = urlsplit(words[1])
        udid = parse_qs(url.query).get("udid", [""])[0]
        match url.path:
            case "/":
                return 200, {udid: [self._tunnel(rsd)] for udid, rsd in self._there().items()}
            case "/hello":
                return 200, {"message": "Hello, I'm alive"}
            case "/start-tunnel":
                return self._start(udid)
            case "/cancel":
                if udid in self._rsds:
                    self._rsds[udid].cut()
                return 200, {
                    "operation": "cancel",
                    "udid": udid,
                    "data": True,
                    "message": f"tunnel {udid} Canceled ...",
                }
            case "/clear_tunnels":
                for rsd in self._rsds.values():
                    rsd.cut()
                return 200, {"operation": "clear_tunnels", "data": True, "message": "Cleared tunnels..."}
        return 404, {"detail": "Not Found"}

    def _there(self) -> dict[str, Rsd]:
        return {udid: rsd for udid, rsd in self._rsds.items() if rsd.open}

    @staticmethod
    def _tunnel(rsd: Rsd) -> dict[str, Any]:
        host, port = rsd.address
        return {
            "tunnel-address": host,
            "tunnel-port": port,
            "interface": f"usbmux-{rsd.phone.udid}-{rsd.phone.connection}",
            "auxiliary-metadata": {},
            "origin": None,
        }

    def _start(self, udid: str) -> Answer:
        rsd = self._there().get(udid)
        if rsd is None:
            return 501, {"error": "task not created"}
        host, port = rsd.address
        return 200, {"interface": f"usbmux-{udid}", "port": port, "address": host, "auxiliary-metadata": {}}
