"""What can go wrong between this host and an iPhone, as words that travel from the process which speaks to it.

`Kind` is told where the client library's exceptions are known; `typed` makes an error of ours of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from harness.errors import ErrorClass, FarmError, Permanent, Transient

Kind = Literal[
    "gone",
    "cut",
    "muxer",
    "not_paired",
    "trust_pending",
    "trust_refused",
    "locked",
    "locked_since_boot",
    "developer_mode",
    "image",
    "image_network",
    "tunnel",
    "old_os",
    "no_app",
    "install",
    "signature",
    "no_space",
    "not_found",
    "busy",
    "files",
    "refused",
    "service",
    "changed",
    "limit",
    "defect",
]
KINDS: frozenset[str] = frozenset(get_args(Kind))


class Refused(Exception):
    """Raised in the process that speaks to the phone, where the library has no exception of its own."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind: Kind = kind


@dataclass(frozen=True, slots=True)
class _Meaning:
    error_class: ErrorClass
    transient: bool
    words: str
    advice: str


_MEANINGS: Mapping[str, _Meaning] = {
    "gone": _Meaning(ErrorClass.DEVICE_LOST, True, "the phone is not there", "check cable, hub and USB port"),
    "cut": _Meaning(ErrorClass.DEVICE_LOST, True, "the link was lost", "check cable, hub and USB port"),
    "muxer": _Meaning(
        ErrorClass.MUXER_LOST,
        True,
        "the muxer of the iPhones does not answer",
        "start usbmuxd (Debian: apt install usbmuxd; it starts when an iPhone is plugged in), or name it: lab.usbmux",
    ),
    "not_paired": _Meaning(
        ErrorClass.PAIRING,
        False,
        "the phone is not paired with this host",
        "unlock it, run farm doctor, and tap Trust on the phone",
    ),
    "trust_pending": _Meaning(
        ErrorClass.PAIRING,
        False,
        "the phone asks whether to trust this host",
        "unlock it, tap Trust and enter its passcode, then run farm doctor again",
    ),
    "trust_refused": _Meaning(
        ErrorClass.PAIRING,
        False,
        "somebody refused to trust this host on the phone",
        "unplug it and plug it in again, tap Trust (if it no longer asks: Settings, General, Transfer or Reset, "
        "Reset Location & Privacy)",
    ),
    "locked": _Meaning(
        ErrorClass.DEVICE_LOCKED,
        False,
        "the phone is locked",
        "unlock it, and set Settings, Display & Brightness, Auto-Lock to Never",
    ),
    "locked_since_boot": _Meaning(
        ErrorClass.DEVICE_LOCKED,
        False,
        "the phone was restarted and nobody has unlocked it since",
        "unlock it once with its passcode",
    ),
    "developer_mode": _Meaning(
        ErrorClass.DEVELOPER_MODE,
        False,
        "developer mode is off",
        "switch it on: Settings, Privacy & Security, Developer Mode; the phone restarts",
    ),
    "image": _Meaning(
        ErrorClass.IMAGE_MISSING,
        False,
        "the developer disk image is not mounted",
        "run farm doctor, which mounts it (the first time it needs the internet)",
    ),
    "image_network": _Meaning(
        ErrorClass.IMAGE_MISSING,
        False,
        "the developer disk image could not be fetched or signed",
        "run farm doctor while this host reaches the internet: Apple signs the image for each phone once",
    ),
    "tunnel": _Meaning(
        ErrorClass.TUNNEL_MISSING,
        False,
        "there is no tunnel to the phone's developer services",
        "unplug the phone and plug it in again; or run a tunneld (sudo pymobiledevice3 remote tunneld) and name it: "
        "lab.tunneld",
    ),
    "old_os": _Meaning(
        ErrorClass.OS_UNSUPPORTED,
        False,
        "this version of iOS cannot be driven",
        "update the phone to iOS 17.4 or later",
    ),
    "no_app": _Meaning(
        ErrorClass.APP_MISSING,
        False,
        "the runner app is not installed",
        "name its .ipa as a runner of platform ios in the inventory: docs/ios.md",
    ),
    "install": _Meaning(
        ErrorClass.APP_INSTALL,
        False,
        "the app could not be installed",
        "sign it for this phone (its UDID has to be in the profile): make ipa, docs/ios.md",
    ),
    "signature": _Meaning(
        ErrorClass.SIGNATURE_EXPIRED,
        False,
        "the phone does not accept the app's signature",
        "sign it again (make ipa, docs/ios.md), and trust its developer: Settings, General, VPN & Device Management",
    ),
    "no_space": _Meaning(ErrorClass.STORAGE_FULL, False, "no space is left on the phone", "delete files on the phone"),
    "not_found": _Meaning(ErrorClass.INTERNAL, True, "a file is not there", ""),
    "busy": _Meaning(ErrorClass.INTERNAL, True, "a file is in use", "does another host drive this phone?"),
    "files": _Meaning(ErrorClass.PUSH_FAILED, True, "the phone refused a file operation", ""),
    "refused": _Meaning(ErrorClass.RUNNER_FAILED, True, "the phone refused", "restart the phone if it happens again"),
    "service": _Meaning(
        ErrorClass.DEVICE_OFFLINE, True, "a service of the phone does not start", "restart the phone if it stays so"
    ),
    "changed": _Meaning(ErrorClass.PUSH_FAILED, False, "a file changed", "leave the file alone while it is deployed"),
    "limit": _Meaning(
        ErrorClass.TRANSPORT_STALLED, True, "the phone did not answer in time", "check cable and hub; farm tries again"
    ),
    "defect": _Meaning(
        ErrorClass.INTERNAL, True, "the process that speaks to the phone failed", "report it with what it said"
    ),
}

_QUOTED = 300


def typed(device: str, kind: str, text: str, doing: str) -> FarmError:
    """The error behind a failure.

    Args:
        device: name in the message. kind: see `Kind`; an unknown one is a defect. text: the library's own words.
        doing: what was asked, e.g. "launching the app".
    """
    meaning = _MEANINGS.get(kind, _MEANINGS["defect"])
    said = " ".join(text.split())[:_QUOTED]
    message = f"{device}: {meaning.words} ({doing}){f': {said}' if said else ''}"
    make = Transient if meaning.transient else Permanent
    return make(message, error_class=meaning.error_class, advice=meaning.advice, device=device)


def advice_of(kind: Kind) -> str:
    """What to do about it, for a lab operator."""
    return _MEANINGS[kind].advice


def words_of(kind: Kind) -> str:
    """What it is, in words."""
    return _MEANINGS[kind].words
