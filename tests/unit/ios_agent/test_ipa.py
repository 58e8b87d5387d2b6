"""What a package says of itself, and every way in which it may be none."""

from __future__ import annotations

import plistlib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.artifacts import check_runner
from harness.artifacts.ipa import expired, is_ipa, read_ipa
from harness.errors import ErrorClass, Permanent
from harness.model import Platform, Runner, RunnerBuild

INFO = {
    "CFBundleIdentifier": "org.farmbench.runner",
    "CFBundleExecutable": "FarmRunner",
    "CFBundleVersion": "42",
    "CFBundleShortVersionString": "1.2",
    "MinimumOSVersion": "16.0",
}
MACHO_ARM64 = b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01" + b"\0" * 56 + b"XnnpackBackend\0"


def profile(**more: Any) -> bytes:
    """A profile as a signature wraps it: bytes around a property list."""
    return b"\x30\x82\x01\x00garbage" + plistlib.dumps({"TeamName": "x", **more}) + b"\x00\x01signature"


def ipa(
    path: Path, *, info: object = INFO, app: str = "FarmRunner", program: bytes = MACHO_ARM64, **files: bytes
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        if info is not None:
            content = info if isinstance(info, bytes) else plistlib.dumps(info)
            archive.writestr(f"Payload/{app}.app/Info.plist", content)
        archive.writestr(f"Payload/{app}.app/FarmRunner", program)
        for name, data in files.items():
            archive.writestr(f"Payload/{app}.app/{name.replace('__', '.')}", data)
    return path


def test_what_it_says(tmp_path: Path) -> None:
    ends = datetime(2031, 5, 1, 12, 0)
    signed = profile(ExpirationDate=ends, ProvisionedDevices=["00008130-1", "00008130-2"])
    found = read_ipa(ipa(tmp_path / "a.ipa", embedded__mobileprovision=signed))
    assert (found.bundle, found.executable, found.version, found.build) == (
        "org.farmbench.runner",
        "FarmRunner",
        "1.2",
        "42",
    )
    assert found.minimum_os == "16.0" and found.folder == "FarmRunner.app"
    assert found.expires_at == ends.replace(tzinfo=UTC).timestamp()
    assert found.devices == {"00008130-1", "00008130-2"}
    assert expired(found, found.expires_at - 1) == ""
    assert "2031-05-01 12:00 UTC" in expired(found, found.expires_at + 1)


def test_without_a_profile_nothing_expires(tmp_path: Path) -> None:
    found = read_ipa(ipa(tmp_path / "a.ipa"))
    assert (found.expires_at, found.devices) == (None, None)
    assert expired(found, 1e12) == ""


@pytest.mark.parametrize(
    "info",
    [
        None,
        b"no property list",
        plistlib.dumps([1]),
        {**INFO, "CFBundleIdentifier": "../x"},
        {**INFO, "CFBundleIdentifier": ""},
        {**INFO, "CFBundleExecutable": "a/b"},
        {"CFBundleIdentifier": "org.x"},
    ],
)
def test_package_that_names_no_app_is_refused(tmp_path: Path, info: object) -> None:
    with pytest.raises(Permanent) as raised:
        read_ipa(ipa(tmp_path / "a.ipa", info=info))
    assert raised.value.error_class is ErrorClass.RUNNER_INVALID and raised.value.advice


def test_what_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "text.ipa").write_text("text")
    (tmp_path / "cut.ipa").write_bytes(ipa(tmp_path / "a.ipa").read_bytes()[:-30])
    with zipfile.ZipFile(tmp_path / "other.ipa", "w") as archive:
        archive.writestr("bin/tool", b"x")
    for name in ("text", "cut", "other"):
        assert not is_ipa(tmp_path / f"{name}.ipa")
        with pytest.raises(Permanent):
            read_ipa(tmp_path / f"{name}.ipa")
    with pytest.raises(Permanent) as raised:
        read_ipa(tmp_path / "absent.ipa")
    assert raised.value.error_class is ErrorClass.RUNNER_MISSING
    two = ipa(tmp_path / "two.ipa")
    with zipfile.ZipFile(two, "a") as archive:
        archive.writestr("Payload/Other.app/Info.plist", plistlib.dumps(INFO))
    with pytest.raises(Permanent, match="2 apps"):
        read_ipa(two)


def test_torn_package_never_gives_another_error(tmp_path: Path) -> None:
    whole = ipa(
        tmp_path / "a.ipa", embedded__mobileprovision=profile(ExpirationDate="odd", ProvisionedDevices=5)
    ).read_bytes()
    for at in range(0, len(whole), 37):
        torn = tmp_path / "torn.ipa"
        torn.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read_ipa(torn)
        except Permanent:
            continue


def runner(path: Path, **more: Any) -> Runner:
    return Runner("app", "llama.cpp", Platform.IOS, more.pop("abi", "arm64"), path=str(path), **more)


def build(tmp_path: Path, entry: Runner) -> RunnerBuild:
    return check_runner(entry, tmp_path, tmp_path / "cache")


def test_inventory_takes_a_package_as_it_is(tmp_path: Path) -> None:
    found = build(tmp_path, runner(ipa(tmp_path / "FarmRunner.ipa")))
    (file,) = found.artifact.files
    assert (file.name, found.artifact.sha256, found.abi) == ("FarmRunner.ipa", file.sha256, "arm64-v8a")
    assert found.programs == {"farm-runner": "FarmRunner"}
    assert found.backends == {"XnnpackBackend"}


def test_package_that_cannot_run_is_refused(tmp_path: Path) -> None:
    over = profile(ExpirationDate=datetime(2020, 1, 1))
    cases = {
        ErrorClass.SIGNATURE_EXPIRED: runner(ipa(tmp_path / "old.ipa", embedded__mobileprovision=over)),
        ErrorClass.RUNNER_ABI: runner(ipa(tmp_path / "abi.ipa"), abi="x86_64"),
        ErrorClass.RUNNER_NOT_EXECUTABLE: runner(ipa(tmp_path / "text.ipa", program=b"text")),
        ErrorClass.SHA256_MISMATCH: runner(ipa(tmp_path / "sha.ipa"), sha256="0" * 64),
    }
    for error_class, entry in cases.items():
        with pytest.raises(Permanent) as raised:
            build(tmp_path, entry)
        assert raised.value.error_class is error_class
    (tmp_path / "folder").mkdir()
    with pytest.raises(Permanent, match="is no "):
        build(tmp_path, runner(tmp_path / "folder"))
