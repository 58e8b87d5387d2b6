"""Every kind of device behind one door: find what is attached, open an agent for it."""

from __future__ import annotations

from device_agents.android.agent import AndroidAgent, sampler_text
from device_agents.android.discovery import discover as discover_android
from device_agents.base import DeviceAgent
from device_agents.local.agent import LocalAgent, discover_local
from harness.errors import ErrorClass, Permanent
from harness.model import AdbEndpoint, Attached, Platform, UsbPort


def discover(endpoint: AdbEndpoint, *, local: bool = False) -> tuple[Attached, ...]:
    """Everything attached: the phones of the adb server, and this machine too when `local`.

    Raises:
        FarmError: there is no usable adb server.
    """
    phones = discover_android(endpoint)
    return (*phones, discover_local()) if local else phones


def open_agent(attached: Attached, endpoint: AdbEndpoint, *, usb: UsbPort | None = None) -> DeviceAgent:
    """An agent for one attached device; `usb` is the hub port that the inventory names for it.

    Raises:
        Permanent: no agent speaks to this platform.
    """
    if attached.platform is Platform.ANDROID:
        return AndroidAgent(attached, endpoint, usb=usb)
    if attached.platform is Platform.LOCAL:
        return LocalAgent(attached, sampler_text())
    raise Permanent(
        f"{attached.serial}: devices of platform {attached.platform.value} cannot be driven yet",
        error_class=ErrorClass.NOT_APPLICABLE,
        advice="leave them out of the selection",
        device=attached.serial,
    )
