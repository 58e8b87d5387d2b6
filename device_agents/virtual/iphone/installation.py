"""installation_proxy: apps are zips with a Payload folder; what is installed can be launched."""

from __future__ import annotations

import asyncio
import plistlib
import shutil
import signal
import stat
import uuid
import zipfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from device_agents.virtual.iphone.afc_files import AfcError, Root
from device_agents.virtual.iphone.services import Incoming, Service
from device_agents.virtual.iphone.storage import size_of
from device_agents.virtual.iphone.wire import Talk, talk

if TYPE_CHECKING:
    from device_agents.virtual.iphone.apps import InstalledApp
    from device_agents.virtual.iphone.phone import Iphone

_PROVISION = "embedded.mobileprovision"
_NOT_FOUND = "0xe8008015 (A valid provisioning profile for this executable was not found.)"
_BROKEN = (OSError, zipfile.BadZipFile, plistlib.InvalidFileException, ExpatError, ValueError, KeyError, RuntimeError)
Progress = Callable[[str, int], Awaitable[None]]


class InstallRefused(Exception):
    """The phone does not install it. Args: error: its name, as the service says it; text: the description."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(text)
        self.error = error
        self.text = text


def _bundle_name(archive: zipfile.ZipFile) -> str:
    """Name of the one .app folder."""
    found = {parts[1] for name in archive.namelist() if len(parts := name.split("/")) > 2 and parts[0] == "Payload"}
    apps = sorted(name for name in found if name.endswith(".app"))
    if len(apps) != 1:
        raise InstallRefused("PackageInspectionFailed", f"Payload holds {len(apps)} .app folders instead of one")
    return apps[0]


def _info(archive: zipfile.ZipFile, app: str) -> dict[str, Any]:
    info = plistlib.loads(archive.read(f"Payload/{app}/Info.plist"))
    for key in ("CFBundleIdentifier", "CFBundleExecutable"):
        if not isinstance(info.get(key), str) or not info[key] or "/" in info[key]:
            raise InstallRefused("PackageInspectionFailed", f"Info.plist has no {key}")
    return dict(info)


def provision(data: bytes) -> dict[str, Any]:
    """The property list inside a signed provisioning profile; empty when there is none."""
    begin, end = data.find(b"<?xml"), data.rfind(b"</plist>")
    if begin < 0 or end < begin:
        return {}
    try:
        found = plistlib.loads(data[begin : end + 8])
    except (plistlib.InvalidFileException, ExpatError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _verify(phone: Iphone, info: dict[str, Any], profile: dict[str, Any] | None) -> None:
    """Raises:
    InstallRefused: made for a newer iOS, or its signature does not hold on this phone today.
    """
    needed = str(info.get("MinimumOSVersion", "1"))
    if tuple(int(part) for part in needed.split(".") if part.isdecimal()) > phone.profile.version:
        raise InstallRefused("DeviceOSVersionTooLow", f"the app needs iOS {needed}")
    if profile is None:
        return
    expires, devices = profile.get("ExpirationDate"), profile.get("ProvisionedDevices")
    now = datetime.now(UTC).replace(tzinfo=None)
    expired = isinstance(expires, datetime) and expires < now
    if expired or (isinstance(devices, list) and phone.udid not in devices):
        bundle = info["CFBundleIdentifier"]
        raise InstallRefused(
            "ApplicationVerificationFailed", f"Failed to verify code signature of {bundle}: {_NOT_FOUND}"
        )


def unpack(package: Path, folder: Path) -> Path:
    """Unpack the .app folder of a package below `folder`, with its executable bits.

    Raises:
        InstallRefused: it is none; OSError: it cannot be written.
    """
    with zipfile.ZipFile(package) as archive:
        app = _bundle_name(archive)
        info = _info(archive, app)
        prefix = f"Payload/{app}/"
        for entry in archive.infolist():
            if not entry.filename.startswith(prefix) or entry.is_dir():
                continue
            relative = Path(entry.filename.removeprefix("Payload/"))
            if relative.is_absolute() or ".." in relative.parts:
                raise InstallRefused("PackageInspectionFailed", f"a file leaves the package: {entry.filename!r}")
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            mode = entry.external_attr >> 16
            target.chmod(0o755 if mode & stat.S_IXUSR or relative.name == info["CFBundleExecutable"] else 0o644)
    return folder / app


async def install(phone: Iphone, package: Path, progress: Progress | None = None) -> InstalledApp:
    """Install a package; an app of the same bundle is replaced and keeps its data.

    Raises:
        InstallRefused: the phone does not take it.
    """

    async def say(stage: str, percent: int) -> None:
        if progress is not None:
            await progress(stage, percent)

    await say("CreatingStagingDirectory", 5)
    folder = phone.storage.bundles / str(uuid.uuid4()).upper()
    try:
        with zipfile.ZipFile(package) as archive:
            name = _bundle_name(archive)
            info = _info(archive, name)
            held = f"Payload/{name}/{_PROVISION}"
            profile = provision(archive.read(held)) if held in archive.namelist() else None
            size = sum(entry.file_size for entry in archive.infolist())
        await say("VerifyingApplication", 40)
        _verify(phone, info, profile)
        if size > phone.storage.free:
            raise InstallRefused("PackageExtractionFailed", f"no space left for {size} bytes")
        await say("InstallingApplication", 60)
        unpacked = await asyncio.to_thread(unpack, package, folder)
        bundle = str(info["CFBundleIdentifier"])
        replaced = phone.apps.get(bundle)
        for running in phone.running(bundle):
            running.send(signal.SIGKILL)
            await running.wait()
        app = phone.register(unpacked)
    except _BROKEN as wrong:
        shutil.rmtree(folder, ignore_errors=True)
        raise InstallRefused("PackageInspectionFailed", f"the package cannot be read: {wrong}") from wrong
    except InstallRefused:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if replaced is not None:
        shutil.rmtree(replaced.folder.parent, ignore_errors=True)
    phone.storage.recount()
    phone.log.write("installd", f"installed {bundle} {app.version}")
    phone.body.note("install", bundle=bundle)
    await say("GeneratingApplicationMap", 90)
    return app


def describe(app: InstalledApp, wanted: object) -> dict[str, Any]:
    """What the phone says of an app; of the attributes asked for only, when some were."""
    found: dict[str, Any] = {
        **app.info,
        "ApplicationType": "User",
        "Path": f"/private/var/containers/Bundle/Application/{app.folder.parent.name}/{app.folder.name}",
        "Container": f"/private/var/mobile/Containers/Data/Application/{app.container.name}",
        "IsUpgradeable": True,
        "ProfileValidated": True,
        "SignerIdentity": "Apple Development",
        "Entitlements": {"get-task-allow": app.developer, "application-identifier": f"FARM.{app.bundle}"},
    }
    if not isinstance(wanted, list):
        return found
    if "StaticDiskUsage" in wanted:
        found["StaticDiskUsage"] = size_of(app.folder)
    if "DynamicDiskUsage" in wanted:
        found["DynamicDiskUsage"] = size_of(app.container)
    return {key: value for key, value in found.items() if key in wanted}


def _chosen(phone: Iphone, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if options.get("ApplicationType", "Any") not in ("Any", "User"):
        return {}
    bundles = options.get("BundleIDs")
    return {
        bundle: describe(app, options.get("ReturnAttributes"))
        for bundle, app in sorted(phone.apps.items())
        if not isinstance(bundles, list) or bundle in bundles
    }


async def serve(phone: Iphone, incoming: Incoming) -> None:
    """com.apple.mobile.installation_proxy."""
    async with talk(phone, incoming, "installation") as conversation:
        while (request := await conversation.receive()) is not None:
            await _answer(phone, conversation, request)


async def _answer(phone: Iphone, conversation: Talk, request: dict[str, Any]) -> None:
    given = request.get("ClientOptions")
    options = given if isinstance(given, dict) else {}
    match request.get("Command"):
        case "Install" | "Upgrade":
            await _install(phone, conversation, request)
        case "Uninstall":
            phone.uninstall(str(request.get("ApplicationIdentifier", "")))
            await conversation.send({"Status": "RemovingApplication", "PercentComplete": 50})
            await conversation.send({"Status": "Complete"})
        case "Lookup":
            await conversation.send({"Status": "Complete", "LookupResult": _chosen(phone, options)})
        case "Browse":
            found = list(_chosen(phone, options).values())
            await conversation.send(
                {"Status": "BrowsingApplications", "CurrentIndex": 0, "CurrentAmount": len(found), "CurrentList": found}
            )
            await conversation.send({"Status": "Complete"})
        case "CheckCapabilitiesMatch":
            await conversation.send({"Status": "Complete", "LookupResult": {"CapabilitiesMatch": True}})
        case _:
            await conversation.send({"Error": "InvalidArgument", "ErrorDescription": "unknown command"})


async def _install(phone: Iphone, conversation: Talk, request: dict[str, Any]) -> None:
    async def progress(stage: str, percent: int) -> None:
        await conversation.send({"Status": stage, "PercentComplete": percent})

    try:
        media = Root(phone.storage.media, phone.storage)
        path = media.resolve(str(request.get("PackagePath", "")).encode("utf-8", "surrogateescape"), follow=True)
        await install(phone, Path(path), progress)
    except AfcError as wrong:
        await conversation.send({"Error": "PackageInspectionFailed", "ErrorDescription": str(wrong)})
    except InstallRefused as wrong:
        phone.log.write("installd", f"{wrong.error}: {wrong.text}", level="Error")
        await conversation.send({"Error": wrong.error, "ErrorDescription": wrong.text})
    else:
        await conversation.send({"Status": "Complete"})


SERVICES = (Service("com.apple.mobile.installation_proxy", serve),)
