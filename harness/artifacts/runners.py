"""Check a runner build: its programs are there, for the right machine, executable; and what it understands.

Of a folder only what runs is taken: the programs that farm's adapters know, and the shared libraries (`.so`, `.so.N`,
`.dylib`, and `.metallib` shaders) beside them or in a `lib` folder next to them. Headers, static libraries, scripts,
documentation and other programs stay behind. On the device all files lie in one folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from android_runner.adapters import PROGRAMS
from harness.artifacts.binaries import Binary, Words, host_abi, host_kind, normal_abi, read_binary, words_of
from harness.artifacts.hashing import sha256_of
from harness.artifacts.ipa import expired, is_ipa, read_ipa
from harness.artifacts.locate import find
from harness.errors import ErrorClass, Permanent
from harness.model import Artifact, ArtifactFile, Platform, Runner, RunnerBuild
from harness.supply.folders import cache_dir
from harness.supply.unpack import MAX_ENTRIES, is_archive, unpacked

_LIBRARY = re.compile(r"\.so(\.\d+)*$|\.dylib$|\.metallib$")
_LIBRARY_FOLDERS = ("", "lib", "../lib")

APP_PROGRAM = "farm-runner"
"""What an iPhone's app does is the contract of this program, whatever its executable is called."""


def check_runner(runner: Runner, base_dir: Path, cache: Path | None = None, *, fetch: bool = True) -> RunnerBuild:
    """Check one runner build of the inventory; arguments as for `check_model`.

    Raises:
        Permanent: RUNNER_MISSING, RUNNER_INVALID, RUNNER_ABI, RUNNER_NOT_EXECUTABLE or SHA256_MISMATCH.
    """
    cache = cache or cache_dir()
    source = find(runner, base_dir, cache, ErrorClass.RUNNER_MISSING, fetch=fetch)
    label = f"runner {runner.id}: {source}"
    try:
        if runner.platform is Platform.IOS:
            return _check_app(runner, source, label, cache)
        folder = _folder_of(source, runner, label, cache)
        programs = _programs(folder, runner, label)
        abi = _checked_abi(programs, runner, label)
        files = {**_libraries(programs.values(), cache), **programs}
        artifact = _artifact(files, frozenset(programs), cache)
        words = _words(programs, artifact, cache)
    except OSError as wrong:
        raise Permanent(
            f"{label} cannot be read: {wrong.strerror} ({wrong.filename})",
            error_class=ErrorClass.RUNNER_MISSING,
            advice="check permissions and free space",
        ) from wrong
    if source.is_dir():
        _compare(artifact.sha256, runner, label)
    names = {name: name for name in programs}
    if words is None:
        return RunnerBuild(artifact, abi, names, options=None)
    return RunnerBuild(artifact, abi, names, words.options, words.backends)


def _check_app(runner: Runner, source: Path, label: str, cache: Path) -> RunnerBuild:
    """An iPhone's runner is an .ipa, which goes onto the phone as it is.

    Raises:
        Permanent: as for `check_runner`; SIGNATURE_EXPIRED.
    """
    if not is_ipa(source):
        raise Permanent(
            f"{label} is no .ipa", error_class=ErrorClass.RUNNER_INVALID, advice="name the .ipa itself: docs/ios.md"
        )
    package = read_ipa(source)
    if ended := expired(package, time.time()):
        raise Permanent(
            f"{label}: {ended}",
            error_class=ErrorClass.SIGNATURE_EXPIRED,
            advice="sign it again: make ipa (docs/ios.md)",
        )
    digest = sha256_of(source, cache)
    _compare(digest, runner, label)
    app = unpacked(source, digest, cache) / "Payload" / package.folder
    program = read_binary(app / package.executable)
    if program.kind not in ("macho", "elf"):
        raise Permanent(
            f"{label}: {package.executable} is no program: {program.detail}",
            error_class=ErrorClass.RUNNER_NOT_EXECUTABLE,
            advice="build the app again: docs/ios.md",
        )
    if program.abi != normal_abi(runner.abi):
        built = f"{label}: {package.executable} is built for {program.abi}"
        raise _other_abi(built, f"the inventory says {runner.abi}")
    binaries = [(file, sha256_of(file, cache)) for file in _walk(app) if read_binary(file).kind in ("macho", "elf")]
    words = words_of(binaries, cache)
    file = ArtifactFile(source.name, str(source.absolute()), source.stat().st_size, digest)
    programs = {APP_PROGRAM: package.executable}
    return RunnerBuild(Artifact("runner", digest, (file,)), program.abi, programs, words.options, words.backends)


def _compare(digest: str, runner: Runner, label: str) -> None:
    if runner.sha256 and runner.sha256.lower() != digest:
        raise Permanent(
            f"{label} has sha256 {digest}, the inventory says {runner.sha256.lower()}",
            error_class=ErrorClass.SHA256_MISMATCH,
            advice="get the build again, or correct sha256 in the inventory",
        )


def _folder_of(source: Path, runner: Runner, label: str, cache: Path) -> Path:
    """The folder itself, or the unpacked archive (its own hash compared first)."""
    if source.is_dir():
        return source
    if not source.is_file() or not is_archive(source):
        raise Permanent(
            f"{label} is neither a folder nor a .tar.gz or .zip archive",
            error_class=ErrorClass.RUNNER_INVALID,
            advice="name the folder with the programs, or the archive as it was downloaded",
        )
    digest = sha256_of(source, cache)
    _compare(digest, runner, label)
    return unpacked(source, digest, cache)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below `folder`, shallow ones first, each folder sorted; bounded like an archive."""
    count = 0
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > MAX_ENTRIES:
                return
            yield Path(here, name)


def _programs(folder: Path, runner: Runner, label: str) -> dict[str, Path]:
    """Name → file of each known program; of several, the one for the right machine, then the one least deep."""
    candidates: dict[str, list[Path]] = {}
    for file in _walk(folder):
        if file.name in PROGRAMS and file.is_file():
            candidates.setdefault(file.name, []).append(file)
    if not candidates:
        raise Permanent(
            f"{label} holds none of the programs farm knows ({', '.join(sorted(PROGRAMS))})",
            error_class=ErrorClass.RUNNER_INVALID,
            advice="name the folder or archive that holds the programs themselves",
        )

    def rank(file: Path) -> tuple[bool, int]:
        return (read_binary(file).abi != normal_abi(runner.abi), len(file.parts))

    return {name: min(files, key=rank) for name, files in candidates.items()}


def _checked_abi(programs: Mapping[str, Path], runner: Runner, label: str) -> str:
    """The ABI of the programs, "" when all are scripts.

    Raises:
        Permanent: RUNNER_NOT_EXECUTABLE or RUNNER_ABI.
    """
    local = runner.platform is Platform.LOCAL
    kind = host_kind() if local else "elf"
    wanted = normal_abi(runner.abi)
    abi = ""
    for name, file in programs.items():
        binary = read_binary(file)
        if binary.kind == "other":
            raise Permanent(
                f"{label}: {name} is neither a program nor a script: {binary.detail}",
                error_class=ErrorClass.RUNNER_NOT_EXECUTABLE,
                advice="get the build again; was it unpacked completely?",
            )
        if binary.kind == "script":
            continue
        if binary.kind != kind or binary.abi != wanted:
            raise _other_abi(f"{label}: {name} is built for {_named(binary)}", f"the inventory says {runner.abi}")
        if local and binary.abi != host_abi():
            raise _other_abi(f"{label}: {name} is built for {binary.abi}", f"this host is {host_abi()}")
        abi = binary.abi
    return abi


def _named(binary: Binary) -> str:
    return f"macOS {binary.abi}" if binary.kind == "macho" else binary.abi


def _other_abi(built: str, wanted: str) -> Permanent:
    return Permanent(
        f"{built}, {wanted}", error_class=ErrorClass.RUNNER_ABI, advice="take the build for that ABI, or correct abi"
    )


def _libraries(programs: Collection[Path], cache: Path) -> dict[str, Path]:
    """Name → file of the shared libraries beside the programs.

    Of several names of one content (libx.so → libx.so.1 → libx.so.1.2) those are kept that another file asks for.
    """
    found: dict[str, Path] = {}
    for folder in sorted({program.parent for program in programs}):
        for sub in _LIBRARY_FOLDERS:
            place = folder / sub
            for file in sorted(place.iterdir()) if place.is_dir() else ():
                if _LIBRARY.search(file.name) and file.is_file():
                    found.setdefault(file.name, file)
    names_of: dict[str, list[str]] = {}
    for name, file in found.items():
        names_of.setdefault(sha256_of(file, cache), []).append(name)
    if all(len(names) == 1 for names in names_of.values()):
        return found
    unique = [found[names[0]] for names in names_of.values()]
    asked = b"\0".join(file.read_bytes() for file in (*programs, *unique))
    kept: dict[str, Path] = {}
    for names in names_of.values():
        wanted = [name for name in names if b"\0" + os.fsencode(name) + b"\0" in asked] or names[:1]
        kept.update({name: found[name] for name in wanted})
    return kept


def _artifact(files: Mapping[str, Path], programs: frozenset[str], cache: Path) -> Artifact:
    entries = tuple(
        ArtifactFile(name, str(file.absolute()), file.stat().st_size, sha256_of(file, cache), name in programs)
        for name, file in sorted(files.items())
    )
    listed = json.dumps([[entry.name, entry.sha256, entry.executable] for entry in entries])
    return Artifact("runner", hashlib.sha256(listed.encode()).hexdigest(), entries)


def _words(programs: Mapping[str, Path], artifact: Artifact, cache: Path) -> Words | None:
    """What the files mention; None when a program is a script, which may do anything with its arguments."""
    if any(read_binary(file).kind == "script" for file in programs.values()):
        return None
    return words_of(((Path(entry.path), entry.sha256) for entry in artifact.files), cache)
