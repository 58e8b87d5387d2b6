"""What the library's exceptions mean."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping

import requests
from pymobiledevice3 import exceptions as library
from pymobiledevice3.dtx import DTXNsError, DTXProtocolError, QueueShutDown
from pymobiledevice3.services.afc import AfcError

from device_agents.ios.failures import Kind, Refused

_AFC: Mapping[int, Kind] = {
    AfcError.NO_SPACE_LEFT: "no_space",
    AfcError.OBJECT_NOT_FOUND: "not_found",
    AfcError.OBJECT_BUSY: "busy",
    AfcError.OP_WOULD_BLOCK: "busy",
}
_LIBRARY: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Kind], ...] = (
    (library.PairingDialogResponsePendingError, "trust_pending"),
    (library.UserDeniedPairingError, "trust_refused"),
    ((library.PasswordRequiredError, library.PasscodeRequiredError), "locked"),
    ((library.NotPairedError, library.FatalPairingError, library.NotTrustedError, library.PairingError), "not_paired"),
    ((library.DeviceNotFoundError, library.NoDeviceConnectedError, library.BadDevError), "gone"),
    (library.ConnectionFailedToUsbmuxdError, "muxer"),
    ((library.ConnectionFailedError, library.ConnectionTerminatedError, library.InvalidConnectionError), "cut"),
    (library.MuxException, "muxer"),
    (library.DeveloperModeIsNotEnabledError, "developer_mode"),
    ((library.NotMountedError, library.DeveloperDiskImageNotFoundError), "image"),
    ((library.TSSError, library.NoSuchBuildIdentityError, requests.exceptions.RequestException), "image_network"),
    ((library.TunneldConnectionError, library.UserspaceTunnelUnavailableError, library.RSDRequiredError), "tunnel"),
    (library.AppNotInstalledError, "no_app"),
    (library.AppInstallError, "install"),
    (library.AfcFileNotFoundError, "not_found"),
    ((library.InvalidServiceError, library.StartServiceError), "service"),
    ((QueueShutDown, DTXProtocolError, ConnectionError, ssl.SSLError, asyncio.IncompleteReadError), "cut"),
    (library.RemoteXPCHandshakeTimeoutError, "tunnel"),
)
_SAID: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"unlock|passcode|\blocked\b", re.IGNORECASE), "locked"),
    (re.compile(r"unknown to FrontBoard|not installed|NotFound|could not be found", re.IGNORECASE), "no_app"),
    (re.compile(r"signature|profile|entitlement|explicitly trusted|Security", re.IGNORECASE), "signature"),
)
"""What the phone's own words say of a refusal."""


def kind_of(error: BaseException) -> Kind:
    """What a failure is."""
    if isinstance(error, Refused):
        return error.kind
    if isinstance(error, DTXNsError):
        return next((kind for pattern, kind in _SAID if pattern.search(str(error))), "refused")
    if isinstance(error, library.AppInstallError) and re.search(r"[Nn]ot enough|NoSpace|storage", str(error)):
        return "no_space"
    for types, kind in _LIBRARY:
        if isinstance(error, types):
            return kind
    if isinstance(error, library.AfcException):
        return _AFC.get(error.status or 0, "files")
    if isinstance(error, library.PyMobileDevice3Exception):
        return "service"
    return "defect"
