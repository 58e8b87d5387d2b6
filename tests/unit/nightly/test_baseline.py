"""Pinned builds: copied whole or not at all."""

from __future__ import annotations

import plistlib
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.artifacts import check_runner
from harness.errors import ErrorClass, Permanent
from harness.model import Baseline, Platform, Runner
from harness.nightly import baseline
from harness.nightly.baseline import pin
from harness.store import Store
from tests.unit.artifacts import files

LAB = "lab"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def build(folder: Path, content: bytes = b"\0--prompt\0") -> Path:
    """A build with a library in a folder beside its program."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "bin" / "llama-bench").write_bytes(files.elf(content=content))
    (folder / "lib" / "libllama.so").write_bytes(files.elf(content=b"library"))
    (folder / "README").write_text("not part of what runs")
    return folder


def pinned(store: Store, tmp_path: Path, path: Path, *, runner: Runner | None = None, at: float = 5.0) -> Baseline:
    entry = runner or files.runner("elsewhere", sha256="0" * 64)
    return pin(store, LAB, entry, path, path.name, "ann", "stable", tmp_path / ".farm", tmp_path, at)


def test_a_pinned_build_outlives_its_folder(store: Store, tmp_path: Path) -> None:
    folder = build(tmp_path / "builds" / "b9001; $(x)")
    sha256 = check_runner(files.runner(folder), tmp_path).artifact.sha256
    found = pinned(store, tmp_path, folder)
    assert found == Baseline("r", sha256, folder.name, f".farm/baseline/{sha256[:16]}", "ann", "stable", 5.0)
    assert store.nights.baselines(LAB) == {"r": found}
    shutil.rmtree(folder)
    copy = check_runner(files.runner(found.path), tmp_path)
    assert copy.artifact.sha256 == sha256
    assert sorted(file.name for file in (tmp_path / found.path).iterdir()) == ["libllama.so", "llama-bench"]
    assert (tmp_path / found.path / "llama-bench").stat().st_mode & 0o777 == 0o755


def test_an_archive_is_pinned_as_what_is_in_it(store: Store, tmp_path: Path) -> None:
    folder = build(tmp_path / "b9001")
    with tarfile.open(tmp_path / "b9001.tar.gz", "w:gz") as tar:
        tar.add(folder, "b9001")
    found = pinned(store, tmp_path, Path("b9001.tar.gz"))
    assert found.sha256 == check_runner(files.runner(folder), tmp_path).artifact.sha256
    assert found.name == "b9001.tar.gz"


def test_what_is_pinned_again_is_not_copied_again(store: Store, tmp_path: Path) -> None:
    folder = build(tmp_path / "b9001")
    first = pinned(store, tmp_path, folder)
    program = tmp_path / first.path / "llama-bench"
    before = program.stat().st_ino
    second = pinned(store, tmp_path, folder, at=6.0)
    assert (second.path, program.stat().st_ino) == (first.path, before)
    assert store.nights.baseline_history(LAB) == (first, second)
    program.write_bytes(b"damaged")
    third = pinned(store, tmp_path, folder, at=7.0)
    assert check_runner(files.runner(third.path), tmp_path).artifact.sha256 == first.sha256


def test_a_build_that_is_none_pins_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Permanent) as caught:
        pinned(store, tmp_path, tmp_path / "empty")
    assert caught.value.error_class is ErrorClass.RUNNER_INVALID
    with pytest.raises(Permanent) as caught:
        pinned(store, tmp_path, build(tmp_path / "b"), runner=files.runner("x", abi="arm64-v8a"))
    assert caught.value.error_class is ErrorClass.RUNNER_ABI
    assert store.nights.baselines(LAB) == {}
    assert not (tmp_path / ".farm").exists()


def test_a_copy_that_fails_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "b9001")
    copied: list[str] = []

    def full(source: str, target: Path) -> None:
        copied.append(source)
        if len(copied) == 2:
            raise OSError(28, "No space left on device")
        target.write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(baseline.shutil, "copyfile", full)
    with pytest.raises(Permanent, match="No space left") as caught:
        pinned(store, tmp_path, folder)
    assert caught.value.error_class is ErrorClass.STORAGE_FULL
    assert list((tmp_path / ".farm" / "baseline").iterdir()) == []
    assert store.nights.baselines(LAB) == {}


def test_a_build_that_changes_while_it_is_copied_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(tmp_path / "b9001")
    monkeypatch.setattr(
        baseline.shutil, "copyfile", lambda source, target: target.write_bytes(files.elf(content=b"newer"))
    )
    with pytest.raises(Permanent, match="changed while it was copied"):
        pinned(store, tmp_path, folder)
    assert list((tmp_path / ".farm" / "baseline").iterdir()) == []
    assert store.nights.baselines(LAB) == {}


def test_an_app_is_pinned_as_its_file(store: Store, tmp_path: Path) -> None:
    info = {"CFBundleIdentifier": "org.example.runner", "CFBundleExecutable": "Runner", "CFBundleVersion": "1"}
    app = tmp_path / "runner b9001.ipa"
    with zipfile.ZipFile(app, "w") as archive:
        archive.writestr("Payload/Runner.app/Info.plist", plistlib.dumps(info))
        archive.writestr("Payload/Runner.app/Runner", files.elf("arm64-v8a"))
    whole = app.read_bytes()
    entry = files.runner(app, platform=Platform.IOS, abi="arm64-v8a")
    found = pinned(store, tmp_path, app, runner=entry)
    app.unlink()
    assert found.path == f".farm/baseline/{found.sha256[:16]}/runner b9001.ipa"
    assert (tmp_path / found.path).read_bytes() == whole
    kept = files.runner(found.path, platform=Platform.IOS, abi="arm64-v8a")
    assert check_runner(kept, tmp_path).artifact.sha256 == found.sha256
