"""What stands behind a command that a phone did not end, and what to do about phones that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping

from device_agents.android.adb import AdbServer
from harness.errors import ErrorClass, Permanent, Transient


def explain(server: AdbServer, serial: str, said: str, doing: str) -> Transient | Permanent:
    """The typed error behind a command of the adb binary that ended without its own exit code.

    Args:
        said: standard error of the binary.
        doing: what was cut, for the message.
    """
    # Lines with a star tell of a server that the binary starts by the way.
    text = " ".join(" ".join(line for line in said.splitlines() if not line.startswith("*")).split())[-300:]
    low = text.lower()
    state = server.state(serial)
    if state == "no server":
        lost = server.lost(text or "it went away")
        lost.device = serial
        return lost
    if "unauthorized" in low or state in ("unauthorized", "authorizing"):
        return Transient(
            f"{serial}: the phone does not accept this host's adb key",
            error_class=ErrorClass.DEVICE_UNAUTHORIZED,
            advice=ADVICE["unauthorized"],
            device=serial,
        )
    if "no permissions" in low or "insufficient permissions" in low or state.startswith("no permissions"):
        return Permanent(
            f"{serial}: this user may not open the phone's USB device",
            error_class=ErrorClass.DEVICE_OFFLINE,
            advice=ADVICE["no permissions"],
            device=serial,
        )
    if "more than one device" in low:
        return Permanent(
            f"{serial}: several devices have this serial",
            error_class=ErrorClass.INTERNAL,
            advice="disconnect one of them, or reach one of them over Wi-Fi",
            device=serial,
        )
    # The state is the newer word: a phone that is gone by now was offline only on its way out.
    if ("offline" in low and state != "absent") or state in ("offline", "connecting", "authorizing"):
        return Transient(
            f"{serial}: the phone is offline ({doing})",
            error_class=ErrorClass.DEVICE_OFFLINE,
            advice=ADVICE["offline"],
            device=serial,
        )
    if state in ("recovery", "sideload", "bootloader", "rescue"):
        return Permanent(
            f"{serial}: the phone is in {state} mode",
            error_class=ErrorClass.DEVICE_OFFLINE,
            advice=ADVICE["recovery"],
            device=serial,
        )
    back = " (it is back now)" if state == "device" else ""
    return Transient(
        f"{serial}: the link was lost{back} while {doing}{f': {text}' if text else ''}",
        error_class=ErrorClass.DEVICE_LOST,
        advice="check cable, hub and USB port",
        device=serial,
    )


ADVICE: Mapping[str, str] = {
    "unauthorized": "unlock the phone, tick Always allow and tap Allow in its USB debugging dialog (no dialog: revoke "
    "USB debugging authorizations in Developer options, plug it in again); keys that rest for 7 days are forgotten "
    "unless Disable adb authorization timeout is on",
    "offline": "unplug it and plug it in again; if it stays offline, switch USB debugging off and on",
    "no permissions": "install adb's udev rules (package android-sdk-platform-tools-common), add this user to group "
    "plugdev, and plug the phone in again",
    "recovery": "restart the phone into Android (adb reboot, or its menu)",
    "unresponsive": "its shell does not answer: unplug it and plug it in again, or restart it",
    "locked_since_boot": "unlock it once with its PIN: it was restarted and its storage is still locked",
}
"""What to do about a device that cannot be used, for a lab operator."""
