"""Runner builds: folders and archives, their machine, their programs and what they understand."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from harness.artifacts import check_runner
from harness.artifacts.binaries import host_abi, host_kind, words_of
from harness.errors import ErrorClass, Permanent
from harness.model import Platform

from . import files

HELP = b"\0usage:\n  -p, --n-prompt <n>   (default: 512)\n  --no-mmap|--mlock \0x-y\0--log-prefix\0"


def write(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".").replace("_", "-")).write_bytes(content)
    return folder


def good(folder: Path, abi: str = "x86_64") -> Path:
    program = files.elf(abi, content=HELP)
    return write(
        folder, llama_bench=program, llama_server=program, libllama__so=files.elf(abi, content=b"\0--mmproj\0")
    )


def refused(path: Path, cache: Path, **changes: object) -> Permanent:
    with pytest.raises(Permanent) as caught:
        check_runner(files.runner(path, **changes), path.parent, cache)
    assert caught.value.advice
    assert "runner r" in caught.value.message or str(path) in caught.value.message
    return caught.value


def test_a_good_folder(tmp_path: Path) -> None:
    folder = good(tmp_path / "b; $(x)")
    write(folder, README__md=b"text", llama_cli=files.elf(), libllama__a=b"!<arch>", convert__py=b"#!python")
    (folder / "llama-bench").chmod(0o600)
    build = check_runner(files.runner(folder.name), tmp_path, tmp_path / "cache")
    assert build.abi == "x86_64"
    assert build.programs == {"llama-bench": "llama-bench", "llama-server": "llama-server"}
    taken = {file.name: file.executable for file in build.artifact.files}
    assert taken == {"libllama.so": False, "llama-bench": True, "llama-server": True}, "only what runs is taken"
    assert build.options == frozenset({"-p", "--n-prompt", "--no-mmap", "--mlock", "--log-prefix", "--mmproj"})


def test_the_hash_of_a_folder_is_of_what_is_taken(tmp_path: Path) -> None:
    first = check_runner(files.runner(good(tmp_path / "a")), tmp_path, tmp_path / "cache").artifact.sha256
    other = good(tmp_path / "b")
    write(other, NOTES=b"x")
    assert check_runner(files.runner(other), tmp_path, tmp_path / "cache").artifact.sha256 == first
    write(other, libllama__so=files.elf(content=b"changed"))
    assert check_runner(files.runner(other), tmp_path, tmp_path / "cache").artifact.sha256 != first
    assert refused(other, tmp_path / "cache", sha256=first).error_class is ErrorClass.SHA256_MISMATCH


@pytest.mark.parametrize(
    ("built", "wanted"),
    [("arm64-v8a", "x86_64"), ("x86_64", "arm64-v8a"), ("x86", "x86_64"), ("armeabi-v7a", "arm64-v8a")],
)
def test_another_abi_names_both(tmp_path: Path, built: str, wanted: str) -> None:
    error = refused(good(tmp_path / "b", built), tmp_path / "cache", abi=wanted)
    assert error.error_class is ErrorClass.RUNNER_ABI
    assert f"built for {built}" in error.message
    assert wanted in error.message


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "empty"), (b"hello", "starts with"), (files.elf(kind=1), "not a program"), (b"\x7fELF\x02", "cut")],
)
def test_a_program_that_is_none(tmp_path: Path, content: bytes, part: str) -> None:
    error = refused(write(tmp_path / "b", llama_bench=content), tmp_path / "cache")
    assert error.error_class is ErrorClass.RUNNER_NOT_EXECUTABLE
    assert part in error.message


def test_a_script_may_be_a_program_and_is_asked_for_no_options(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", llama_bench=b"#!/system/bin/sh\nexit 0\n")
    build = check_runner(files.runner(folder, abi="arm64-v8a"), tmp_path, tmp_path / "cache")
    assert build.abi == ""
    assert build.options is None


def test_missing_empty_and_foreign(tmp_path: Path) -> None:
    assert refused(tmp_path / "none", tmp_path / "c").error_class is ErrorClass.RUNNER_MISSING
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty", tmp_path / "c").error_class is ErrorClass.RUNNER_INVALID
    write(tmp_path, text__zip=b"not a zip")
    assert refused(tmp_path / "text.zip", tmp_path / "c").error_class is ErrorClass.RUNNER_INVALID


def test_of_several_names_of_one_library_the_asked_for_one_is_taken(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "b", llama_bench=files.elf(content=b"\0libllama.so.0\0"), libllama__so__0__7=files.elf(content=b"x")
    )
    for name in ("libllama.so.0", "libllama.so"):
        (folder / name).symlink_to("libllama.so.0.7")
    build = check_runner(files.runner(folder), tmp_path, tmp_path / "cache")
    assert [file.name for file in build.artifact.files] == ["libllama.so.0", "llama-bench"]
    packed = check_runner(files.runner(tar_of(folder, tmp_path / "a.tar.gz")), tmp_path, tmp_path / "cache")
    assert packed.artifact.sha256 == build.artifact.sha256, "links inside an archive are unpacked as what they lead to"


def test_libraries_in_a_folder_beside_the_programs(tmp_path: Path) -> None:
    write(tmp_path / "b" / "bin", llama_bench=files.elf())
    write(tmp_path / "b" / "lib", libggml__so=files.elf())
    build = check_runner(files.runner(tmp_path / "b"), tmp_path, tmp_path / "cache")
    assert [file.name for file in build.artifact.files] == ["libggml.so", "llama-bench"]


def test_of_several_machines_the_phone_s_is_taken(tmp_path: Path) -> None:
    good(tmp_path / "b" / "arm64-v8a", "arm64-v8a")
    good(tmp_path / "b" / "x86_64", "x86_64")
    for abi in ("arm64-v8a", "x86_64"):
        build = check_runner(files.runner(tmp_path / "b", abi=abi), tmp_path, tmp_path / "cache")
        assert build.abi == abi
        assert all(f"{os.sep}{abi}{os.sep}" in file.path for file in build.artifact.files)


def tar_of(folder: Path, to: Path) -> Path:
    with tarfile.open(to, "w:gz") as tar:
        tar.add(folder, "llama-b1234")
    return to


def zip_of(folder: Path, to: Path) -> Path:
    with zipfile.ZipFile(to, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"build/bin/{file.name}")
    return to


def test_archives_are_the_same_build_as_their_folder(tmp_path: Path) -> None:
    folder = good(tmp_path / "b")
    expected = check_runner(files.runner(folder), tmp_path, tmp_path / "cache").artifact.sha256
    for archive in (
        tar_of(folder, tmp_path / "a.tar.gz"),
        zip_of(folder, tmp_path / "a.zip"),
        tar_of(folder, tmp_path / "x"),
    ):
        build = check_runner(files.runner(archive), tmp_path, tmp_path / "cache")
        assert build.artifact.sha256 == expected
        assert all(file.executable == (file.name in build.programs) for file in build.artifact.files)
    assert refused(tmp_path / "a.zip", tmp_path / "cache", sha256="1" * 64).error_class is ErrorClass.SHA256_MISMATCH


def hostile_tar(to: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(to, "w:gz") as tar:
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return to


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../outside"),
        link("link", "/etc/passwd", tarfile.SYMTYPE),
        link("link", "../../outside", tarfile.SYMTYPE),
        link("link", "../outside", tarfile.LNKTYPE),
        link("device", "", tarfile.CHRTYPE),
    ],
    ids=["up", "absolute link", "link up", "hard link up", "device"],
)
def test_a_tar_that_leaves_its_folder_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = hostile_tar(tmp_path / "a.tar.gz", member, b"x" if member.isreg() else b"")
    assert refused(archive, tmp_path / "cache").error_class is ErrorClass.RUNNER_INVALID
    assert not list(tmp_path.rglob("outside"))
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "..\\outside"])
def test_a_zip_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    error = refused(tmp_path / "a.zip", tmp_path / "cache")
    assert error.error_class is ErrorClass.RUNNER_INVALID
    assert "outside" in error.message
    assert not [file for file in tmp_path.rglob("*outside*") if file.is_file()]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("llama-bench")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/bin/sh")
    assert "symbolic link" in refused(tmp_path / "a.zip", tmp_path / "cache").message


def test_an_archive_that_grows_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.supply import unpack

    monkeypatch.setattr(unpack, "MAX_BYTES", 1000)
    folder = write(tmp_path / "b", llama_bench=bytes(5000))
    for made in (tar_of(folder, tmp_path / "a.tar.gz"), zip_of(folder, tmp_path / "a.zip")):
        assert "1000 bytes" in refused(made, tmp_path / "cache").message


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    whole = tar_of(good(tmp_path / "b"), tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path / "cut.tar.gz", tmp_path / "cache").error_class is ErrorClass.RUNNER_INVALID


def test_a_build_for_this_host(tmp_path: Path) -> None:
    if host_kind() != "elf" or host_abi() not in files.MACHINES:
        pytest.skip("the host's own program format is not one made here")
    folder = good(tmp_path / "b", host_abi())
    build = check_runner(files.runner(folder, platform=Platform.LOCAL, abi=host_abi()), tmp_path, tmp_path / "cache")
    assert build.abi == host_abi()
    other = next(abi for abi in files.MACHINES if abi != host_abi())
    foreign = good(tmp_path / "c", other)
    error = refused(foreign, tmp_path / "cache", platform=Platform.LOCAL, abi=other)
    assert error.error_class is ErrorClass.RUNNER_ABI
    assert host_abi() in error.message


def test_the_options_of_a_file_are_scanned_once(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(HELP)
    first = words_of([(file, "a" * 64)], tmp_path / "cache")
    file.unlink()
    assert words_of([(file, "a" * 64)], tmp_path / "cache") == first


def test_the_back_ends_of_a_build_stand_in_its_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"\0XnnpackBackend\0Backend\0NoBackendHere\0a QnnBackend.\0 --model \0")
    second.write_bytes(b"RegisterVulkanBackend\0")
    found = words_of([(first, "a" * 64), (second, "b" * 64)], tmp_path / "cache")
    assert found.backends == {"XnnpackBackend", "RegisterVulkanBackend"}
    assert found.options == {"--model"}
    assert words_of([(first, "a" * 64), (second, "b" * 64)], tmp_path / "cache") == found
