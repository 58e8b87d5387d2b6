"""The tunnels of a lab's iPhones and the tunneld that tells where they are."""

from __future__ import annotations

from collections.abc import Iterable

from device_agents.virtual.iphone import dvt, tunnel
from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.rsd import Rsd
from device_agents.virtual.iphone.services import Incoming, Registry, Service
from device_agents.virtual.iphone.tunneld import Tunneld


class Tunnels:
    """A tunnel for each phone whose iOS has them, and one tunneld."""

    def __init__(self) -> None:
        self._rsds: dict[str, Rsd] = {}
        self._tunneld: Tunneld | None = None
        self._port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def start(self, phones: Iterable[tuple[Iphone, Service]], registry: Registry) -> None:
        """Open all tunnels. `phones`: each with its lockdownd.

        Raises:
            OSError: no ports are left.
        """
        for phone, lockdown in phones:
            if phone.profile.version >= tunnel.SINCE:
                rsd = Rsd(phone, registry, lockdown=lockdown, native=dvt.tunnel_services())
                await rsd.start()
                self._rsds[phone.udid] = rsd
        # Only now: a tunnel is not offered inside a tunnel.
        registry.add(Service(tunnel.NAME, self._serve, since=tunnel.SINCE))
        await self.show()

    async def _serve(self, phone: Iphone, incoming: Incoming) -> None:
        rsd = self._rsds[phone.udid]

        def find(port: int) -> int | None:
            if port == tunnel.DISCOVERY_PORT:
                return rsd.address[1]
            return port if rsd.has(port) else None

        await tunnel.serve(phone, incoming, find)

    async def show(self) -> None:
        """Start tunneld, on the port that it had."""
        if self._tunneld is None:
            self._tunneld = Tunneld(list(self._rsds.values()))
            await self._tunneld.start(self._port)
            self._port = self._tunneld.address[1]

    async def hide(self) -> None:
        """End tunneld and with it what goes through its tunnels."""
        if self._tunneld is not None:
            await self._tunneld.close()
            self._tunneld = None

    async def stop(self) -> None:
        await self.hide()
        for rsd in self._rsds.values():
            await rsd.close()
        self._rsds.clear()
