"""The package of the virtual iPhones: what it says of itself, and that its bytes depend on the runner alone."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

import pytest

from harness.artifacts import check_runner
from harness.artifacts.ipa import expired, read_ipa
from harness.model import Platform, Runner
from harness.supply import native_recipes, virtual_ipa
from harness.supply.native_build import PROGRAM, Built
from tests.unit.artifacts import files


@pytest.fixture
def made(tmp_path: Path, own_cache: Path) -> Built:
    """A build of a runtime that needs no library of the system."""
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / PROGRAM).write_bytes(files.elf(content=b"--capabilities\0"))
    (folder / "libmore.so.1").write_bytes(files.elf(content=b"more"))
    return Built(folder, "farm-runner-x", "android", "x86_64", native_recipes.CALIBRATION)


def test_it_is_a_runner_of_an_inventory(made: Built) -> None:
    app = virtual_ipa.pack(made)
    package = read_ipa(app.file)
    assert (package.bundle, package.executable) == ("org.farmbench.runner.calibration", "FarmRunner")
    assert (package.build, package.minimum_os) == (app.build, "16.0")
    assert package.expires_at is not None and not expired(package, time.time())
    entry = Runner(app.id, app.runtime, Platform.IOS, app.abi, path=str(app.file))
    found = check_runner(entry, app.file.parent)
    assert dict(found.programs) == {"farm-runner": "FarmRunner"}
    assert found.abi == "x86_64"


def test_same_runner_same_bytes(made: Built) -> None:
    first = virtual_ipa.pack(made)
    content, written = first.file.read_bytes(), first.file.stat().st_mtime_ns
    os.utime(made.folder / PROGRAM)
    again = virtual_ipa.pack(made)
    assert (again, again.file.stat().st_mtime_ns) == (first, written), "it was left alone"
    again.file.unlink()
    assert virtual_ipa.pack(made).file.read_bytes() == content


def test_another_runner_is_another_build(made: Built) -> None:
    first = virtual_ipa.pack(made)
    (made.folder / "libmore.so.1").write_bytes(files.elf(content=b"other"))
    other = virtual_ipa.pack(made)
    assert other.file == first.file and other.build != first.build
    assert read_ipa(other.file).build == other.build


def test_only_programs_may_be_started(made: Built) -> None:
    with zipfile.ZipFile(virtual_ipa.pack(made).file) as archive:
        modes = {entry.filename.rpartition("/")[2]: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes.pop("FarmRunner") == 0o755
    assert set(modes.values()) == {0o644}
