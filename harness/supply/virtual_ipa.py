"""The runner app of the virtual iPhones: a package like a real one, whose program runs on this machine.

A zip with Payload/FarmRunner.app: Info.plist, a profile, farm-runner and every library that it needs. Its bytes depend
on the runner alone, so that an app that is installed already is known as the same one.
"""

from __future__ import annotations

import hashlib
import io
import plistlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.artifacts.ipa import read_ipa
from harness.errors import Permanent
from harness.supply import debian_tools, native_build, native_recipes
from harness.supply.cmake_build import Say
from harness.supply.folders import new_file, runners_dir, told
from harness.supply.native_build import Built

TARGET = "virtual-iphone"
"""As `farm runners build --target` names it."""

PLATFORM = "ios"
BUNDLE = "org.farmbench.runner"
EXECUTABLE = "FarmRunner"
CONTRACT = "1.1"
MINIMUM_OS = "16.0"

_APP = f"Payload/{EXECUTABLE}.app"
_EXPIRES = datetime(2099, 12, 31)
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE, _PROGRAM = 0o100644 << 16, 0o100755 << 16


@dataclass(frozen=True, slots=True)
class VirtualApp:
    """A package in the cache, and the words of its entry in an inventory. Args: build: its CFBundleVersion."""

    file: Path
    id: str
    abi: str
    runtime: str
    bundle: str
    build: str


def app_id(runtime: str, abi: str) -> str:
    """Name of the package and of its entry in an inventory."""
    return f"farm-runner-{runtime}-iphone-{abi}"


def build(runtime: str = "llama.cpp", *, jobs: int = 1, again: bool = False, say: Say) -> VirtualApp:
    """Build farm-runner for this machine and pack it into the cache. Arguments as for `native_build.build`.

    Raises:
        Permanent: the runner cannot be built here, or the package cannot be written.
    """
    return pack(native_build.build("host", runtime, jobs=jobs, again=again, say=say))


def pack(made: Built) -> VirtualApp:
    """A runner that was built for this machine as a package in the cache; one that is there already is kept.

    Raises:
        Permanent: it cannot be written, or a library that it needs is nowhere.
    """
    files = _files(made)
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    version = digest.hexdigest()[:12]
    bundle = BUNDLE if made.runtime == "llama.cpp" else f"{BUNDLE}.{made.runtime}"
    name = app_id(made.runtime, made.abi)
    target = runners_dir() / f"{name}.ipa"
    if not _is_there(target, bundle, version):
        with told(str(target)), new_file(target) as part:
            part.write_bytes(package(bundle, version, files))
    return VirtualApp(target, name, made.abi, made.runtime, bundle, version)


def package(bundle: str, version: str, files: Mapping[str, Path]) -> bytes:
    """The bytes of a package of these files, the same for the same ones.

    Args:
        files: name in the app's folder → file; EXECUTABLE is its program.
    """
    info = {
        "CFBundleIdentifier": bundle,
        "CFBundleName": EXECUTABLE,
        "CFBundleDisplayName": "farm",
        "CFBundleExecutable": EXECUTABLE,
        "CFBundlePackageType": "APPL",
        "CFBundleShortVersionString": CONTRACT,
        "CFBundleVersion": version,
        "MinimumOSVersion": MINIMUM_OS,
        "UIFileSharingEnabled": True,
        "LSSupportsOpeningDocumentsInPlace": True,
    }
    profile = {"Name": "farm, virtual iPhones", "ProvisionsAllDevices": True, "ExpirationDate": _EXPIRES}
    content = io.BytesIO()
    # Stored: what is pushed is unpacked at once, on this machine.
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "Info.plist", plistlib.dumps(info), _FILE)
        _add(archive, "embedded.mobileprovision", plistlib.dumps(profile), _FILE)
        for name, path in sorted(files.items()):
            starts = name == EXECUTABLE or name.startswith("ld-linux")
            _add(archive, name, path.read_bytes(), _PROGRAM if starts else _FILE)
    return content.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(f"{_APP}/{name}", _ZIP_EPOCH)
    entry.create_system, entry.external_attr = 3, mode
    archive.writestr(entry, data)


def _files(made: Built) -> dict[str, Path]:
    """Name in the app's folder → file. Debian's llama.cpp is newer than most machines' C library: it brings its own,
    and the loader by which a virtual iPhone then starts it."""
    found = {file.name: file for file in sorted(made.folder.iterdir()) if file.is_file()}
    programs = [file for name, file in found.items() if name == native_build.PROGRAM or ".so" in name]
    c_library = debian_tools.c_library(programs) if native_recipes.is_of_debian(made.runtime) else {}
    found[EXECUTABLE] = found.pop(native_build.PROGRAM)
    return {**found, **c_library}


def _is_there(target: Path, bundle: str, version: str) -> bool:
    try:
        there = read_ipa(target)
    except Permanent:
        return False
    return (there.bundle, there.build, there.version) == (bundle, version, CONTRACT)
