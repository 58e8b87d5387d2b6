"""Every kind of device behind one door: find what is attached, open an agent for it."""

from __future__ import annotations

from collections.abc import Set

from device_agents.android.agent import AndroidAgent, sampler_text
from device_agents.android.discovery import discover as discover_android
from device_agents.base import DeviceAgent
from device_agents.ios.agent import IosAgent
from device_agents.ios.discovery import discover as discover_iphones
from device_agents.local.agent import LocalAgent, discover_local
from harness.errors import ErrorClass, Permanent
from harness.model import Attached, Lab, Platform, UsbPort

PHONES: Set[Platform] = frozenset({Platform.ANDROID, Platform.IOS})


def discover(lab: Lab, platforms: Set[Platform] = PHONES) -> tuple[Attached, ...]:
    """Everything of these platforms that is attached: phones of the adb server, iPhones of the muxer, this machine.

    Raises:
        FarmError: there is no usable adb server, or the muxer that is named does not answer.
    """
    found: list[Attached] = []
    if Platform.ANDROID in platforms:
        found += discover_android(lab.adb)
    if Platform.IOS in platforms:
        found += discover_iphones(lab)
    if Platform.LOCAL in platforms:
        found.append(discover_local())
    return tuple(found)


def open_agent(attached: Attached, lab: Lab, *, usb: UsbPort | None = None) -> DeviceAgent:
    """An agent for one attached device; `usb` is the hub port that the inventory names for it.

    Raises:
        Permanent: no agent speaks to this platform.
    """
    if attached.platform is Platform.ANDROID:
        return AndroidAgent(attached, lab.adb, usb=usb)
    if attached.platform is Platform.IOS:
        return IosAgent(attached, lab, usb=usb)
    if attached.platform is Platform.LOCAL:
        return LocalAgent(attached, sampler_text())
    raise Permanent(
        f"{attached.serial}: devices of platform {attached.platform.value} cannot be driven yet",
        error_class=ErrorClass.NOT_APPLICABLE,
        advice="leave them out of the selection",
        device=attached.serial,
    )
