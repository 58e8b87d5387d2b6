"""An app as it lies on a virtual iPhone."""

from __future__ import annotations

import plistlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_agents.virtual.iphone.storage import Storage


@dataclass(frozen=True, slots=True)
class InstalledApp:
    """An app on the phone.

    Args:
        folder: its bundle, with the executable; info: its Info.plist; container: the folder above Documents;
            developer: signed for development, so that its whole container may be seen.
    """

    bundle: str
    version: str
    folder: Path
    executable: str
    info: dict[str, Any]
    container: Path
    developer: bool = True


def read(folder: Path, storage: Storage) -> InstalledApp:
    """An unpacked `.app` folder, with a new container unless it has one.

    Raises:
        OSError, ValueError, KeyError: it is none.
    """
    info = plistlib.loads((folder / "Info.plist").read_bytes())
    bundle = str(info["CFBundleIdentifier"])
    return InstalledApp(
        bundle=bundle,
        version=str(info.get("CFBundleVersion", "")),
        folder=folder,
        executable=str(info["CFBundleExecutable"]),
        info=info,
        container=storage.container(bundle),
    )
