"""The ports of a phone: where lockdown listens, and where the services that it started wait for their client."""

from __future__ import annotations

import itertools
import ssl
from typing import TYPE_CHECKING

from device_agents.virtual.iphone.services import Incoming, Service

if TYPE_CHECKING:
    import socket

    from device_agents.virtual.iphone.phone import Iphone

_FIRST = 49152
_COUNT = 16384


class Ports:
    """Which service waits behind which port of one phone. A started service waits for one connection only."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Service, ssl.SSLContext | None]] = {}
        self._fixed: dict[int, Service] = {}
        self._numbers = itertools.count()

    def listen(self, port: int, service: Service) -> None:
        """Serve every connection to `port`, without TLS at its beginning."""
        self._fixed[port] = service

    def open(self, service: Service, tls: ssl.SSLContext | None) -> int:
        """A port where the service waits."""
        port = next(
            candidate for number in self._numbers if (candidate := _FIRST + number % _COUNT) not in self._waiting
        )
        self._waiting[port] = (service, tls)
        # What nobody ever connected to is forgotten in the end.
        if len(self._waiting) > _COUNT // 2:
            del self._waiting[next(iter(self._waiting))]
        return port

    def close_all(self) -> None:
        """The phone was restarted or unplugged: nobody waits any more."""
        self._waiting.clear()

    def has(self, port: int) -> bool:
        return port in self._fixed or port in self._waiting

    async def connected(self, phone: Iphone, port: int, connected: socket.socket) -> None:
        """Let the service behind `port` speak on this connection, to its end."""
        service = self._fixed.get(port)
        if service is not None:
            await service.serve(phone, Incoming(connected))
            return
        waiting, tls = self._waiting.pop(port, (None, None))
        if waiting is None:
            # Somebody else was faster.
            connected.close()
            return
        await waiting.serve(phone, Incoming(connected, tls, handshake_only=waiting.tls == "handshake"))
