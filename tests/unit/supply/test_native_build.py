"""Builds of farm-runner, with stand-ins for CMake, Ninja and llama.cpp's source so that they take no time."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from harness.errors import ErrorClass, Permanent
from harness.supply import cmake_build, native_build, native_recipes
from harness.supply.native_build import PROGRAM, Built, build

CMAKE = """#!/bin/sh
for last; do case $before in -B) out=$last ;; esac; before=$last; done
mkdir -p "$out"; printf '%s\\n' "$@" > "$out/options"
"""
NINJA = """#!/bin/sh
echo "[1/1] linking"
cat > "$2/farm-runner" <<'END'
#!/bin/sh
echo '{"event":"capabilities","runtime":"llama.cpp"}'
END
chmod +x "$2/farm-runner"
"""


@pytest.fixture
def prepared(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has the tools and the source already; a machine without NDK and emulator."""
    tools = own_cache / "build-tools" / "bin"
    tools.mkdir(parents=True)
    for name, script in (("cmake", CMAKE), ("ninja", NINJA), ("python", "#!/bin/sh\nexit 0\n")):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    archives = own_cache / "downloads" / "source"
    archives.mkdir(parents=True)
    stem = f"llama_cpp_python-{cmake_build.SOURCE_VERSION}"
    with tarfile.open(archives / f"{stem}.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo(f"{stem}/vendor/llama.cpp/CMakeLists.txt")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"x\n"))
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, *rest, **named: None if "qemu" in name else which(name, *rest, **named)
    )
    return own_cache


def for_host(again: bool = False) -> Built:
    return build("host", "llama.cpp", from_source=True, again=again, say=lambda _: None)


def for_arm64(isa: str | None = None) -> Built:
    return build("android-arm64", "llama.cpp", isa=isa, say=lambda _: None)


def options_of(cache: Path, name: str) -> list[str]:
    """What CMake was told for the build of this name."""
    (objects,) = (cache / "builds").glob(f"{name}-????????????")
    return (objects / "options").read_text().splitlines()


def test_a_build_that_did_not_change_is_left_as_it_is(prepared: Path) -> None:
    built = for_host()
    program = built.folder / PROGRAM
    before = program.stat()
    assert [file.name for file in built.folder.iterdir()] == [PROGRAM]
    assert for_host().folder == built.folder
    assert program.stat().st_ino == before.st_ino
    program.write_text("mine")
    for_host()
    assert program.read_text() != "mine"
    assert [file.name for file in built.folder.parent.iterdir()] == [built.folder.name], "nothing else is left"


def test_compiled_objects_are_kept_until_a_build_from_scratch(prepared: Path) -> None:
    for_host()
    (objects,) = (prepared / "builds").iterdir()
    (objects / "object").touch()
    for_host()
    assert (objects / "object").is_file()
    for_host(again=True)
    assert not (objects / "object").exists()


def test_the_words_for_the_inventory(prepared: Path) -> None:
    host, phone = for_host(), for_arm64("armv8-a")
    assert (host.platform, host.runtime, host.folder.name) == ("local", "llama.cpp", host.id)
    assert (phone.platform, phone.abi, phone.folder.name) == ("android", "arm64-v8a", phone.id)
    assert for_arm64().id != phone.id, "variants lie side by side"


def test_the_end_of_the_log_is_told(prepared: Path) -> None:
    ninja = prepared / "build-tools" / "bin" / "ninja"
    ninja.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such header'; echo 'ninja: build stopped'; exit 1\n")
    with pytest.raises(Permanent, match="no such header") as caught:
        for_host()
    assert caught.value.error_class is ErrorClass.RUNNER_MISSING
    assert caught.value.advice
    assert not list((prepared / "runners").glob("farm-runner*"))


@pytest.mark.parametrize("program", ["exit 3", 'echo \'{"runtime":"executorch"}\'', "kill -ILL $$"])
def test_a_program_that_is_no_such_runner_is_told(prepared: Path, program: str) -> None:
    ninja = prepared / "build-tools" / "bin" / "ninja"
    ninja.write_text(NINJA.replace("""echo '{"event":"capabilities","runtime":"llama.cpp"}'""", program))
    with pytest.raises(Permanent, match="does not tell its capabilities") as caught:
        for_host()
    assert caught.value.error_class is ErrorClass.RUNNER_INVALID


def test_arm64_is_built_with_zig_where_no_ndk_is(prepared: Path) -> None:
    built = for_arm64("armv8.2-a+dotprod+i8mm")
    options = options_of(prepared, built.id)
    assert "-DCMAKE_SYSTEM_PROCESSOR=aarch64" in options
    compiler = next(option for option in options if option.startswith("-DCMAKE_CXX_COMPILER="))
    script = Path(compiler.partition("=")[2]).read_text()
    assert 'c++ -target aarch64-linux-musl -mcpu=generic+v8_2a+dotprod+i8mm "$@"' in script
    archiver = next(option for option in options if option.startswith("-DCMAKE_AR="))
    assert "-target" not in Path(archiver.partition("=")[2]).read_text()


def test_the_ndk_is_taken_where_it_is(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ndk = tmp_path / "ndk"
    monkeypatch.setenv("ANDROID_NDK_HOME", str(ndk))
    with pytest.raises(Permanent, match=r"no build/cmake/android\.toolchain\.cmake"):
        for_arm64()
    toolchain = ndk / "build" / "cmake" / "android.toolchain.cmake"
    toolchain.parent.mkdir(parents=True)
    toolchain.touch()
    options = options_of(prepared, for_arm64().id)
    assert f"-DCMAKE_TOOLCHAIN_FILE={toolchain}" in options
    assert "-DANDROID_ABI=arm64-v8a" in options
    assert f"-DGGML_CPU_ARM_ARCH={native_recipes.DEFAULT_ISA}" in options
    assert not any("zig" in option for option in options)


def test_what_cannot_be_built_is_told_before_anything_is_compiled(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Permanent, match="ANDROID_NDK_HOME"):
        build("android-arm64", "executorch", say=lambda _: None)
    monkeypatch.setenv("ANDROID_NDK_HOME", str(prepared))
    with pytest.raises(Permanent, match="a build of ExecuTorch from its source") as caught:
        build("android-arm64", "executorch", say=lambda _: None)
    assert "ANDROID_NDK_HOME" not in caught.value.message
    with pytest.raises(Permanent, match="is for arm64"):
        build("host", "llama.cpp", isa="armv8-a", say=lambda _: None)
    with pytest.raises(Permanent, match=r"armv9-z is no variant") as caught:
        for_arm64("armv9-z")
    assert all(isa in caught.value.advice for isa in native_recipes.ISA_VARIANTS)
    assert not (prepared / "builds").exists()


def test_the_sources_are_where_the_build_looks_for_them() -> None:
    listed = (native_build.source() / "CMakeLists.txt").read_text()
    for name in ("main.cpp", "backend_executorch.cpp"):
        assert (native_build.source() / "src" / name).is_file()
    for name in ("cmake/llama.cmake", "cmake/executorch.cmake"):
        assert name in listed
        assert (native_build.source() / name).is_file()
