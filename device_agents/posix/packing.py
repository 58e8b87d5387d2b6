"""An artifact's files as they come to a device: their names there, and the archive that carries several at once."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from harness.errors import ErrorClass, Permanent
from harness.model import Artifact, ArtifactFile


def device_name(name: str) -> str:
    """Name of a model file on the device: as on the host, without what would break a line or a path."""
    plain = re.sub(r"[\x00-\x1f\x7f/]", "_", PurePosixPath(name).name)
    while len(plain.encode("utf-8", "replace")) > 200:
        plain = plain[1:]
    return plain if plain.strip(".") else f"model{plain}"


def by_device_name(artifact: Artifact) -> dict[str, ArtifactFile]:
    """The files of an artifact by the name that each has on the device.

    Raises:
        Permanent: RUNNER_INVALID: a runner's file has a name that leaves its folder, or breaks a line.
    """
    if artifact.kind == "model":
        (file,) = artifact.files
        return {device_name(file.name): file}
    for file in artifact.files:
        path = PurePosixPath(file.name)
        if path.is_absolute() or ".." in path.parts or re.search(r"[\x00-\x1f\x7f]", file.name):
            raise Permanent(
                f"the runner holds a file with the name {file.name!r}, which cannot be deployed",
                error_class=ErrorClass.RUNNER_INVALID,
                advice="rename the file or pack the runner again",
            )
    return {file.name: file for file in artifact.files}


def write_tar(path: Path, files: Mapping[str, ArtifactFile]) -> int:
    """Pack files by their names on the device; returns the size of the archive in bytes. Raises OSError."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, file in files.items():
            member = tarfile.TarInfo(name)
            member.size = file.size
            member.mode = 0o755 if file.executable else 0o644
            with Path(file.path).open("rb") as content:
                archive.addfile(member, content)
    return path.stat().st_size
