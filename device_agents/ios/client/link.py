"""Lockdown of one iPhone and the services that are started by it: values, pairing, battery, apps, developer image."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pymobiledevice3 import exceptions as library
from pymobiledevice3 import lockdown as lockdowns
from pymobiledevice3.services.diagnostics import DiagnosticsService
from pymobiledevice3.services.installation_proxy import InstallationProxyService

from device_agents.ios.client.instruments import Instruments
from device_agents.ios.failures import Refused
from device_agents.ios.versions import REFUSED, developer_way, has_developer_mode
from device_agents.ios.worker import Tell


class Link:
    """Connections to one iPhone, opened when they are needed and opened again when they were lost.

    Args:
        udid: of the phone. tunneld: "HOST:PORT" of a running one, "" for a tunnel of our own.
        records: folder for pairing records that the muxer does not keep.
    """

    def __init__(self, udid: str, *, tunneld: str, records: Path) -> None:
        self.udid = udid
        self.instruments = Instruments(udid, tunneld)
        self._records = records
        self._lockdown: Any = None
        self._battery: Any = None
        self._opening = asyncio.Lock()
        self._asking = asyncio.Lock()

    # --- lockdown -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lockdown(self, *, paired: bool = True) -> AsyncIterator[Any]:
        """The phone's lockdown client; raises not_paired when it has to be paired and is not.

        It is dropped when what is done with it ends badly, for its connection may be broken.
        """
        try:
            yield await self._opened(paired)
        except library.NotPairedError:
            raise
        except BaseException:
            await self._forget()
            raise

    async def _opened(self, paired: bool) -> Any:
        async with self._opening:
            if self._lockdown is not None and paired and not self._lockdown.paired:
                await self._forget()
            if self._lockdown is None:
                self._lockdown = await lockdowns.create_using_usbmux(
                    serial=self.udid, autopair=False, pairing_records_cache_folder=self._records
                )
            if paired and not self._lockdown.paired:
                raise library.NotPairedError()
            return self._lockdown

    async def _forget(self) -> None:
        lockdown, self._lockdown = self._lockdown, None
        if lockdown is not None:
            with suppress(Exception):
                await lockdown.close()

    async def values(self, *, paired: bool = True) -> dict[str, Any]:
        """What lockdown tells without a domain; fresh."""
        async with self.lockdown(paired=paired) as lockdown:
            found = await lockdown.get_value()
            return dict(found) if isinstance(found, dict) else {}

    async def value(self, domain: str | None, key: str | None) -> Any:
        """A value, None where there is none."""
        async with self.lockdown() as lockdown:
            try:
                return await lockdown.get_value(domain=domain, key=key)
            except (library.MissingValueError, library.GetProhibitedError):
                return None

    async def is_paired(self) -> bool:
        async with self.lockdown(paired=False) as lockdown:
            return bool(lockdown.paired)

    async def pair(self) -> None:
        """Ask for trust; raises trust_pending while the phone's dialog stands."""
        async with self.lockdown(paired=False) as lockdown:
            if not lockdown.paired:
                await lockdown.pair(timeout=0)
        # The session of a paired client begins anew.
        await self._forget()

    async def restart_phone(self) -> None:
        async with self.lockdown() as lockdown, DiagnosticsService(lockdown) as service:
            restart: Any = service.restart
            await restart()

    async def battery(self) -> dict[str, Any]:
        """The power source as the I/O registry shows it."""
        async with self._asking:
            if self._battery is not None:
                # A connection that was lost meanwhile is opened again below.
                with suppress(library.ConnectionTerminatedError):
                    return await self._ask_battery()
            async with self.lockdown() as lockdown:
                self._battery = await DiagnosticsService(lockdown).__aenter__()
            return await self._ask_battery()

    async def _ask_battery(self) -> dict[str, Any]:
        try:
            return dict(await self._battery.get_battery() or {})
        except BaseException:
            battery, self._battery = self._battery, None
            with suppress(Exception):
                await battery.close()
            raise

    # --- developer services -------------------------------------------------------------------------------------------

    async def developer_mode(self) -> bool | None:
        """Whether it is on; None where iOS has no such switch."""
        values = await self.values()
        if not has_developer_mode(str(values.get("ProductVersion", ""))):
            return None
        return bool(await self.value("com.apple.security.mac.amfi", "DeveloperModeStatus"))

    async def image_mounted(self) -> bool:
        from pymobiledevice3.services.mobile_image_mounter import MobileImageMounterService, image_type_for_device

        async with self.lockdown() as lockdown, MobileImageMounterService(lockdown) as mounter:
            return bool(await mounter.is_image_mounted(image_type_for_device(lockdown)))

    async def mount_image(self) -> None:
        """Mount the developer image. The first time it is fetched, and signed by Apple for this phone."""
        from pymobiledevice3.services.mobile_image_mounter import auto_mount

        async with self.lockdown() as lockdown:
            with suppress(library.AlreadyMountedError):
                try:
                    await auto_mount(lockdown)
                except library.RSDRequiredError:
                    await auto_mount(await self.instruments.tunnel())
                except OSError as unreachable:
                    if isinstance(unreachable, library.PyMobileDevice3Exception):
                        raise
                    raise Refused("image_network", str(unreachable)) from unreachable

    async def developer_services(self) -> Instruments:
        """The developer services, opened; says what is missing when they cannot be had."""
        if self.instruments.is_open:
            return self.instruments
        async with self.lockdown() as lockdown:
            version = str(lockdown.product_version)
            way = developer_way(version)
            if way == "none":
                raise Refused("old_os", f"{REFUSED} (it has {version})")
            try:
                await self.instruments.open(lockdown, tunnel=way == "tunnel")
            except (library.InvalidServiceError, library.StartServiceError):
                if await self.developer_mode() is False:
                    raise Refused("developer_mode", "") from None
                if not await self.image_mounted():
                    raise Refused("image", "") from None
                raise
        return self.instruments

    # --- apps ---------------------------------------------------------------------------------------------------------

    async def apps(self) -> dict[str, dict[str, Any]]:
        """Installed apps of the user, by bundle: what their Info.plist and the phone say of them."""
        async with self.lockdown() as lockdown, InstallationProxyService(lockdown) as service:
            found = await service.get_apps("User")
            return {str(bundle): dict(info) for bundle, info in found.items()}

    async def install(self, package: str, tell: Tell) -> None:
        """Install an .ipa of this host; an app that is there is replaced and keeps its Documents."""
        async with self.lockdown() as lockdown, InstallationProxyService(lockdown) as service:
            await service.install_from_local(
                Path(package), handler=lambda percent: tell(int(percent), 100), developer=True
            )
