"""llama.cpp's programs from Debian: the runner of the virtual phones, and llama-quantize for this host.

Debian unstable's programs need a newer C library than most hosts have. On a virtual phone it is there; on the host they
are started through the loader of the same unpacked packages, so that nothing is installed and no root is needed.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agents.virtual import debian
from harness.errors import ErrorClass, Permanent
from harness.supply.folders import cache_dir, locked, new_folder, runners_dir, told

PACKAGE = "llama.cpp-tools"
PROGRAMS = ("llama-bench", "llama-server")

_C_LIBRARY = ("libc.so.", "libm.so.", "libpthread.so.", "libdl.so.", "librt.so.", "libresolv.so.", "ld-linux")
"""Libraries that belong to the phone's own root file system (package libc6)."""

_TOOL_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine type: Debian's multiarch name, the name of its loader, and Android's name of the ABI."""

    multiarch: str
    loader: str
    abi: str


_MACHINES = {
    "x86_64": Machine("x86_64-linux-gnu", "ld-linux-x86-64.so.2", "x86_64"),
    "aarch64": Machine("aarch64-linux-gnu", "ld-linux-aarch64.so.1", "arm64-v8a"),
}


def why_unavailable() -> str | None:
    """One line telling why Debian's programs cannot be had here, or None. Does not touch the network."""
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        return f"Debian has no {PACKAGE} for {platform.system()} {platform.machine()}"
    return debian.why_unavailable()


def machine() -> Machine:
    """This host's machine.

    Raises:
        Permanent: there are no Debian programs for it.
    """
    reason = why_unavailable()
    if reason:
        raise Permanent(
            reason, error_class=ErrorClass.RUNNER_MISSING, advice="build llama.cpp: farm runners build --target host"
        )
    return _MACHINES[platform.machine()]


def _root() -> Path:
    return cache_dir() / f"debian-{PACKAGE}"


def is_unpacked() -> bool:
    """Whether Debian's programs are in the cache already."""
    return (_root() / "packages.json").is_file()


def unpacked(*, refresh: bool = False) -> Path:
    """The folder with Debian's llama.cpp programs and all they need, fetched when it is not there.

    Raises:
        device_agents.virtual.errors.LabUnsupported: the packages cannot be fetched.
    """
    machine()
    root = _root()
    with told(str(root)), locked(cache_dir() / "debian-tools.lock"):
        if refresh or not is_unpacked():
            with new_folder(root) as part:
                packages = debian.fetch([PACKAGE], part)
                versions = {package.name: package.version for package in packages}
                (part / "packages.json").write_text(json.dumps(versions, indent=1, sort_keys=True), encoding="utf-8")
    return root


def _library_dirs(root: Path, host: Machine) -> tuple[Path, Path]:
    base = root / "usr" / "lib" / host.multiarch
    return base / "llama", base


def host_command(program: str, *, refresh: bool = False) -> tuple[str, ...]:
    """The words that start Debian's `program` on this host, whatever its C library."""
    host = machine()
    root = unpacked(refresh=refresh)
    llama, base = _library_dirs(root, host)
    return (str(base / host.loader), "--library-path", f"{llama}:{base}", str(root / "usr" / "bin" / program))


def runner_folder(*, refresh: bool = False) -> Path:
    """The runner build of the virtual phones, `llama.cpp-ABI` in the cache: programs, libraries, CPU back ends, flat.

    Everything but the C library is in it, so that it runs on a phone that has nothing but that.

    Raises:
        Permanent: Debian's packages cannot be had, or are not laid out as expected.
    """
    host = machine()
    target = runners_dir() / f"llama.cpp-{host.abi}"
    if refresh or not target.is_dir():
        with told(str(target)):
            _assemble(target, host, refresh=refresh)
    return target


def _assemble(target: Path, host: Machine, *, refresh: bool) -> None:
    root = unpacked(refresh=refresh)
    with locked(cache_dir() / "runner-folder.lock"), new_folder(target) as part:
        plugins = sorted((root / "usr" / "lib" / host.multiarch / "ggml").glob("backends*/libggml-*.so"))
        programs = [root / "usr" / "bin" / name for name in PROGRAMS]
        missing = [file.name for file in programs if not file.is_file()] or ([] if plugins else ["libggml-cpu-*.so"])
        if missing:
            raise Permanent(
                f"Debian's {PACKAGE} has no {', '.join(missing)}",
                error_class=ErrorClass.RUNNER_INVALID,
                advice="build llama.cpp: farm runners build --target host",
            )
        for file in [*programs, *plugins]:
            shutil.copy2(file, part / file.name)
        for name, library in _needed([*programs, *plugins], root, host).items():
            shutil.copy2(library, part / name)
        shutil.copy2(root / "packages.json", part / "packages.json")


def _needed(files: Sequence[Path], root: Path, host: Machine) -> dict[str, Path]:
    """Soname → file of every library that the loader finds for `files`, but for the C library."""
    llama, base = _library_dirs(root, host)
    found: dict[str, Path] = {}
    for file in files:
        listed = run_tool((str(base / host.loader), "--library-path", f"{llama}:{base}", "--list", str(file)))
        for line in listed.splitlines():
            name, arrow, rest = line.strip().partition(" => ")
            if arrow and not name.startswith(_C_LIBRARY) and not name.startswith("/"):
                found[name] = Path(rest.rpartition(" (")[0]).resolve()
    return found


def run_tool(argv: Sequence[str], *, limit_s: float = _TOOL_LIMIT_S) -> str:
    """Run a tool of this host and return what it printed.

    Raises:
        Permanent: it failed or took longer than `limit_s`; the message holds the end of its output.
    """
    name = Path(argv[0]).name
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=limit_s,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as late:
        raise Permanent(
            f"{name} took longer than {limit_s:.0f} s", error_class=ErrorClass.TIMED_OUT, advice="is the machine busy?"
        ) from late
    except OSError as wrong:
        raise Permanent(
            f"cannot start {argv[0]}: {wrong.strerror}", error_class=ErrorClass.RUNNER_NOT_EXECUTABLE
        ) from wrong
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip().splitlines()[-3:]
        raise Permanent(
            f"{name} ended with {done.returncode}: {' | '.join(said)}", error_class=ErrorClass.RUNNER_FAILED
        )
    return done.stdout.decode("utf-8", "replace")
