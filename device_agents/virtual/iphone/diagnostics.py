"""diagnostics_relay (battery, restart), heartbeat and amfi (developer mode)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from device_agents.virtual.iphone.services import Incoming, Service
from device_agents.virtual.iphone.wire import pack, talk

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

_BATTERY_CLASSES = ("IOPMPowerSource", "AppleSmartBattery")
_HEARTBEAT_S = 10
_DEPRECATED_FROM = (17, 4)


def _registry(phone: Iphone, request: dict[str, Any]) -> dict[str, Any]:
    """An entry of the I/O registry; an empty one is a success too."""
    battery = request.get("EntryClass") in _BATTERY_CLASSES or request.get("EntryName") == "AppleSmartBattery"
    return {"IORegistry": phone.battery() if battery else {}}


def _gas_gauge(phone: Iphone) -> dict[str, Any]:
    shown = phone.battery()
    return {
        "CycleCount": shown["CycleCount"],
        "DesignCapacity": shown["DesignCapacity"],
        "FullChargeCapacity": shown["AppleRawMaxCapacity"],
        "Status": "Success",
    }


def _gestalt(phone: Iphone, request: dict[str, Any]) -> dict[str, Any]:
    if phone.profile.version >= _DEPRECATED_FROM:
        return {"MobileGestalt": {"Status": "MobileGestaltDeprecated"}}
    profile = phone.profile
    known = {
        "ProductType": profile.product_type,
        "ProductVersion": profile.ios_version,
        "BuildVersion": profile.build_version,
        "HWModelStr": profile.hardware_model,
        "UniqueDeviceID": phone.udid,
        "DeviceName": profile.name,
    }
    keys = request.get("MobileGestaltKeys")
    chosen = {key: known[key] for key in keys if key in known} if isinstance(keys, list) else known
    return {"MobileGestalt": {**chosen, "Status": "Success"}}


async def serve(phone: Iphone, incoming: Incoming) -> None:
    """com.apple.mobile.diagnostics_relay."""
    async with talk(phone, incoming, "diagnostics") as conversation:
        while (request := await conversation.receive()) is not None:
            verb = request.get("Request")
            match verb:
                case "IORegistry":
                    answer: dict[str, Any] = {"Status": "Success", "Diagnostics": _registry(phone, request)}
                case "MobileGestalt":
                    answer = {"Status": "Success", "Diagnostics": _gestalt(phone, request)}
                case "All" | "GasGauge":
                    answer = {"Status": "Success", "Diagnostics": {"GasGauge": _gas_gauge(phone)}}
                case "Restart" | "Shutdown" | "Sleep" | "Goodbye":
                    answer = {"Status": "Success"}
                case _:
                    answer = {"Status": "UnknownRequest"}
            await conversation.send(answer)
            if verb == "Restart":
                phone.restart_asked()
            if verb in ("Goodbye", "Restart"):
                return


async def serve_heartbeat(phone: Iphone, incoming: Incoming) -> None:
    """com.apple.mobile.heartbeat: the phone says Marco, and hangs up on a client that does not say Polo."""
    async with talk(phone, incoming, "heartbeat") as conversation:
        while True:
            await conversation.send({"Command": "Marco", "Interval": _HEARTBEAT_S})
            try:
                if await asyncio.wait_for(conversation.receive(), 2.0 * _HEARTBEAT_S) is None:
                    return
            except TimeoutError:
                conversation.writer.write(pack({"Command": "SleepyTime"}))
                return
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(conversation.receive(), _HEARTBEAT_S) is None:
                    return


async def serve_amfi(phone: Iphone, incoming: Incoming) -> None:
    """com.apple.amfi.lockdown: reveal, enable and confirm developer mode."""
    async with talk(phone, incoming, "amfi") as conversation:
        while (request := await conversation.receive()) is not None:
            match request.get("action"):
                case 0:
                    answer: dict[str, Any] = {"success": True}
                case 1 if phone.locked:
                    answer = {"Error": "Device has a passcode set"}
                case 1:
                    answer = {"success": True}
                case 2:
                    phone.faults.discard("developer_mode_off")
                    answer = {"success": True}
                case _:
                    answer = {"Error": "unknown action"}
            await conversation.send(answer)
            if request.get("action") == 1 and "success" in answer:
                phone.restart_asked()
                return


SERVICES = (
    Service("com.apple.mobile.diagnostics_relay", serve, before_unlock=True),
    Service("com.apple.mobile.heartbeat", serve_heartbeat, before_unlock=True),
    Service("com.apple.amfi.lockdown", serve_amfi, majors=(16, 99)),
)
