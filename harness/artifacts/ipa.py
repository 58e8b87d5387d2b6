"""What an .ipa says of itself before any phone is touched: which app, which build, for whom and until when signed."""

from __future__ import annotations

import plistlib
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import ErrorClass, Permanent

_APP = re.compile(r"Payload/[^/]+\.app/")
_LIST_BYTES_MAX = 4 * 1024 * 1024
"""Largest property list or profile that is read; real ones have some kB."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9.-]{1,155}")
_XML_LIST = re.compile(rb"<\?xml.*?</plist>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AppPackage:
    """An app as its package describes it.

    Args:
        bundle: identifier, e.g. "org.farmbench.runner".
        executable: file name of its program, which is also the name of its process and of its crash reports.
        version, build: CFBundleShortVersionString and CFBundleVersion.
        minimum_os: oldest iOS it runs on, "" when it does not say.
        expires_at: Unix seconds at which the profile that signs it ends; None without a profile.
        devices: UDIDs that the profile names; None: it names none, or allows all.
        folder: name of the app's folder below Payload.
    """

    bundle: str
    executable: str
    version: str
    build: str
    minimum_os: str
    expires_at: float | None
    devices: frozenset[str] | None
    folder: str


def is_ipa(file: Path) -> bool:
    """Whether the file is an archive that holds an app."""
    if not file.is_file() or not zipfile.is_zipfile(file):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return any(_APP.match(name) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def read_ipa(file: Path) -> AppPackage:
    """Read an .ipa.

    Raises:
        Permanent: RUNNER_MISSING: it is not there. RUNNER_INVALID: it is no .ipa, holds several apps, or its
            Info.plist lacks what names an app.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            apps = {found[0] for name in archive.namelist() if (found := _APP.match(name))}
            if len(apps) != 1:
                raise _invalid(file, f"holds {len(apps)} apps in its Payload folder, expected one")
            (app,) = apps
            info = _dictionary(file, f"{app}Info.plist", _member(archive, f"{app}Info.plist"))
            profile = _member(archive, f"{app}embedded.mobileprovision")
    except FileNotFoundError:
        raise Permanent(
            f"there is no {file}", error_class=ErrorClass.RUNNER_MISSING, advice="build it: docs/ios.md"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as bad:
        raise _invalid(file, f"cannot be read as an .ipa: {bad}") from bad
    signed = _profile(file, profile)
    return AppPackage(
        bundle=_name(file, info, "CFBundleIdentifier"),
        executable=_name(file, info, "CFBundleExecutable"),
        version=_text(info, "CFBundleShortVersionString"),
        build=_text(info, "CFBundleVersion"),
        minimum_os=_text(info, "MinimumOSVersion"),
        expires_at=_expiry(signed),
        devices=_devices(signed),
        folder=app.removeprefix("Payload/").rstrip("/"),
    )


def expired(package: AppPackage, now: float) -> str:
    """Why the signature is no longer good at `now` (Unix seconds), or ""."""
    if package.expires_at is None or now < package.expires_at:
        return ""
    ended = datetime.fromtimestamp(package.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"the profile that signs {package.bundle} {package.version} ended on {ended}"


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A small member, b"" when it is absent."""
    try:
        with archive.open(name) as content:
            return content.read(_LIST_BYTES_MAX)
    except KeyError:
        return b""


def _dictionary(file: Path, name: str, data: bytes) -> Mapping[str, Any]:
    try:
        value = plistlib.loads(data)
    except Exception as bad:
        raise _invalid(file, f"has no readable {name}: {bad}") from bad
    if not isinstance(value, dict):
        raise _invalid(file, f"has a {name} that is no dictionary")
    return value


def _profile(file: Path, data: bytes) -> Mapping[str, Any]:
    """The property list inside the signed profile; empty without one (an app for a virtual phone has none)."""
    found = _XML_LIST.search(data)
    return _dictionary(file, "embedded.mobileprovision", found[0]) if found else {}


def _name(file: Path, info: Mapping[str, Any], key: str) -> str:
    value = info.get(key)
    if not isinstance(value, str) or not value:
        raise _invalid(file, f"has an Info.plist without {key}")
    if key == "CFBundleIdentifier" and not _IDENTIFIER.fullmatch(value):
        raise _invalid(file, f"has the bundle identifier {value!r}: only letters, digits, '.' and '-' may stand there")
    if "/" in value or not value.isprintable():
        raise _invalid(file, f"has an unusable {key}: {value!r}")
    return value


def _text(info: Mapping[str, Any], key: str) -> str:
    value = info.get(key)
    return value if isinstance(value, str) else ""


def _expiry(profile: Mapping[str, Any]) -> float | None:
    """plistlib gives dates without a zone, and they are UTC."""
    value = profile.get("ExpirationDate")
    return value.replace(tzinfo=UTC).timestamp() if isinstance(value, datetime) else None


def _devices(profile: Mapping[str, Any]) -> frozenset[str] | None:
    value = profile.get("ProvisionedDevices")
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else None


def _invalid(file: Path, why: str) -> Permanent:
    return Permanent(f"{file} {why}", error_class=ErrorClass.RUNNER_INVALID, advice="build the app again: docs/ios.md")
