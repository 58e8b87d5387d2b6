"""What a program file is: the machine it is for, from the first bytes, and the command line options it mentions."""

from __future__ import annotations

import json
import platform
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.artifacts.hashing import remember

_ELF_ABIS = {
    (183, 2): "arm64-v8a",
    (40, 1): "armeabi-v7a",
    (62, 2): "x86_64",
    (3, 1): "x86",
    (243, 2): "riscv64",
}
"""(e_machine, EI_CLASS) → Android's name of the ABI (elf.h)."""

_MACHO_ABIS = {0x0100000C: "arm64-v8a", 0x01000007: "x86_64"}
"""cputype → ABI (mach/machine.h)."""

_ELF_RUNNABLE = (2, 3)
"""ET_EXEC and ET_DYN."""

_HOST_ABIS = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "arm64-v8a",
    "arm64": "arm64-v8a",
    "i686": "x86",
    "armv7l": "armeabi-v7a",
    "riscv64": "riscv64",
}

_OPTION = re.compile(rb"(?<=[\x00\s,(\[`'\"|/])(--?[A-Za-z][A-Za-z0-9-]{0,40})(?=[\x00\s,=)\]`'\"|<.:/])")
_BACKEND = re.compile(rb"[A-Z][A-Za-z0-9]{1,40}Backend(?=\x00)")
"""How the back ends of ExecuTorch are called: a text constant of the code that registers one."""
_SCAN_VERSION = 2


@dataclass(frozen=True, slots=True)
class Binary:
    """A file's kind ("elf", "macho", "script", "other") and, for a program of one machine, its ABI."""

    kind: str
    abi: str = ""
    detail: str = ""


def read_binary(file: Path) -> Binary:
    """Look at the first bytes of `file`.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"#!"):
        return Binary("script")
    if start.startswith(b"\x7fELF"):
        return _read_elf(start)
    if start[:4] in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe") and len(start) >= 8:
        cpu = struct.unpack_from("<I", start, 4)[0]
        return Binary("macho", _MACHO_ABIS.get(cpu, f"cpu type {cpu:#x}"))
    return Binary("other", detail="it is empty" if not start else f"it starts with {start[:8]!r}")


def _read_elf(start: bytes) -> Binary:
    if len(start) < 20 or start[5] not in (1, 2):
        return Binary("other", detail="its ELF header is cut")
    kind, machine = struct.unpack_from("<HH" if start[5] == 1 else ">HH", start, 16)
    if kind not in _ELF_RUNNABLE:
        return Binary("other", detail=f"it is an ELF file of type {kind}, not a program")
    known = _ELF_ABIS.get((machine, start[4])) if start[5] == 1 else None
    return Binary("elf", known or f"ELF machine {machine}")


def host_abi() -> str:
    """Android's name of this host's machine type."""
    return normal_abi(platform.machine())


def normal_abi(name: str) -> str:
    """One name for a machine type, whatever it is called ("aarch64", "arm64", "arm64-v8a")."""
    return _HOST_ABIS.get(name.lower(), name)


def host_kind() -> str:
    """The kind of program this host runs."""
    return "macho" if platform.system() == "Darwin" else "elf"


@dataclass(frozen=True, slots=True)
class Words:
    """What stands as text in program files: every option ("-p", "--no-mmap") and every name of an ExecuTorch back end
    ("XnnpackBackend")."""

    options: frozenset[str]
    backends: frozenset[str]


def words_of(files: Iterable[tuple[Path, str]], cache: Path) -> Words:
    """The words of the files, given with their SHA-256 (for the cache)."""
    options: set[str] = set()
    backends: set[str] = set()
    for file, sha256 in files:
        for word in _words_of_one(file, cache / "options" / f"{sha256}-{_SCAN_VERSION}.json"):
            (options if word.startswith("-") else backends).add(word)
    return Words(frozenset(options), frozenset(backends))


def _words_of_one(file: Path, entry: Path) -> set[str]:
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
        if isinstance(known, list):
            return {str(word) for word in known}
    except (OSError, ValueError):
        pass
    content = file.read_bytes()
    found = {match.decode("ascii") for pattern in (_OPTION, _BACKEND) for match in pattern.findall(content)}
    remember(entry, sorted(found))
    return found
