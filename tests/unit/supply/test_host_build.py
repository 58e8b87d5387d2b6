"""The build from source, with stand-ins for CMake, Ninja and the source so that it takes no time and no network."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from harness.errors import ErrorClass, Permanent
from harness.supply import host_build

CMAKE = '#!/bin/sh\nfor last; do case $before in -B) out=$last ;; esac; before=$last; done\nmkdir -p "$out/bin"\n'
NINJA = (
    '#!/bin/sh\nout=$2; shift 3\necho "[1/2] compiling"\n'
    'for target; do echo "program $target" > "$out/bin/$target"; done\necho "[2/2] linking"\n'
)


@pytest.fixture
def prepared(own_cache: Path) -> Path:
    """A cache that has the tools and the source already."""
    tools = own_cache / "build-tools" / "bin"
    tools.mkdir(parents=True)
    for name, script in (("cmake", CMAKE), ("ninja", NINJA), ("python", "#!/bin/sh\nexit 0\n")):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    archives = own_cache / "downloads" / "source"
    archives.mkdir(parents=True)
    stem = f"llama_cpp_python-{host_build.SOURCE_VERSION}"
    with tarfile.open(archives / f"{stem}.tar.gz", "w:gz") as tar:
        for name in (f"{stem}/vendor/llama.cpp/CMakeLists.txt", f"{stem}/README.md"):
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"x\n"))
    return own_cache


def test_a_build_is_made_once_and_nothing_else_is_left(prepared: Path) -> None:
    said: list[str] = []
    folder = host_build.build(jobs=1, say=said.append)
    assert folder == host_build.folder()
    assert sorted(file.name for file in folder.iterdir()) == sorted(host_build.TARGETS)
    assert "1/2" in said
    assert not list((prepared / "work").iterdir())
    (folder / "llama-bench").write_text("mine")
    host_build.build(jobs=1, say=said.append)
    assert (folder / "llama-bench").read_text() == "mine"
    host_build.build(jobs=1, again=True, say=said.append)
    assert (folder / "llama-bench").read_text() == "program llama-bench\n"


def test_a_failed_build_says_its_last_words_and_leaves_no_folder(prepared: Path) -> None:
    (prepared / "build-tools" / "bin" / "ninja").write_text("#!/bin/sh\necho 'error: no such header'; exit 1\n")
    with pytest.raises(Permanent) as caught:
        host_build.build(jobs=1, say=lambda _: None)
    assert caught.value.error_class is ErrorClass.RUNNER_MISSING
    assert "no such header" in caught.value.message
    assert caught.value.advice
    assert not host_build.folder().exists()


def test_without_a_compiler_zig_is_taken(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, *rest, **named: None if "++" in name else which(name, *rest, **named)
    )
    said: list[str] = []
    host_build.build(jobs=1, say=said.append)
    assert any("ziglang" in line for line in said)


def test_a_source_without_llama_cpp_is_told(prepared: Path) -> None:
    archive = next((prepared / "downloads" / "source").iterdir())
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("other/file"))
    with pytest.raises(Permanent, match=r"holds no vendor/llama\.cpp"):
        host_build.build(jobs=1, say=lambda _: None)
