"""The services that a phone offers by name, and what each needs before lockdown starts it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

Tls = Literal["full", "handshake", "none"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A connection that a client opened to a service, before anything was said on it.

    Args:
        socket: connected, not blocking; the service owns it and closes it.
        tls: what the service must negotiate first, as server; None over a tunnel, which is secret by itself.
        handshake_only: after the handshake the bytes are plain.
        checkin: the client begins with `RSDCheckin`, as over a tunnel.
    """

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    handshake_only: bool = False
    checkin: bool = False


Handler = Callable[["Iphone", Incoming], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its lockdown name.

    Args:
        serve: speaks with one client until it is gone; must not raise when the connection breaks.
        tls: whether lockdown says that the connection begins with TLS.
        developer: it comes with the developer image and needs developer mode; it is refused while the phone is locked.
        before_unlock: it works before the first unlock after a boot.
        majors: versions of iOS (first, last) that offer it; since: the first one in full, when the major is not enough.
    """

    name: str
    serve: Handler
    tls: Tls = "full"
    developer: bool = False
    before_unlock: bool = False
    majors: tuple[int, int] = (1, 99)
    since: tuple[int, ...] = ()


class Registry:
    """The services of a lab's phones."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    def add(self, *services: Service) -> None:
        self._services.update({service.name: service for service in services})

    def find(self, phone: Iphone, name: str) -> Service | None:
        """The service of that name, None when this phone's iOS has none."""
        service = self._services.get(name)
        if service is None or not service.majors[0] <= phone.profile.major <= service.majors[1]:
            return None
        return service if phone.profile.version >= service.since else None

    def names(self, phone: Iphone) -> tuple[str, ...]:
        return tuple(sorted(name for name in self._services if self.find(phone, name) is not None))


def why_not(phone: Iphone, service: Service) -> str:
    """lockdown's error text for a service that cannot be started now, empty when it can."""
    if "locked_since_boot" in phone.faults and not service.before_unlock:
        return "PasswordProtected"
    if not service.developer:
        return ""
    if not phone.developer_mode or not phone.image_mounted:
        return "InvalidService"
    return "PasswordProtected" if phone.locked else ""
