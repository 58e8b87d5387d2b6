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
LIBRARY_PACKAGE = "libllama-dev"
PROGRAMS = ("llama-bench", "llama-server")

_C_LIBRARY = ("libc.so.", "libm.so.", "libpthread.so.", "libdl.so.", "librt.so.", "libresolv.so.", "ld-linux")
"""Libraries that belong to the phone's own root file system (package libc6)."""

_TOOL_LIMIT_S = 3600.0
_BUILD_ADVICE = "build llama.cpp from its source: farm runners build --stock"
_VERSIONS = "packages.json"


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
        raise Permanent(reason, error_class=ErrorClass.RUNNER_MISSING, advice=_BUILD_ADVICE)
    return _MACHINES[platform.machine()]


def _root() -> Path:
    return cache_dir() / f"debian-{PACKAGE}"


def version(package: str) -> str:
    """Version of an unpacked package, "" for one that is not there."""
    try:
        found = json.loads((_root() / _VERSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(found.get(package, "")) if isinstance(found, dict) else ""


def is_unpacked(*, headers: bool = False) -> bool:
    """Whether Debian's programs are in the cache already (`headers`: and what compiles against their libraries)."""
    versions = _root() / _VERSIONS
    return versions.is_file() and (not headers or f'"{LIBRARY_PACKAGE}"' in versions.read_text(encoding="utf-8"))


def unpacked(*, refresh: bool = False, headers: bool = False) -> Path:
    """The folder with Debian's llama.cpp programs and all they need, fetched when it is not there.

    Args:
        headers: with headers and link names of the libraries, always of the same version as the programs.

    Raises:
        device_agents.virtual.errors.LabUnsupported: the packages cannot be fetched.
    """
    machine()
    root = _root()
    with told(str(root)), locked(cache_dir() / "debian-tools.lock"):
        if refresh or not is_unpacked(headers=headers):
            with new_folder(root) as part:
                packages = debian.fetch([PACKAGE, LIBRARY_PACKAGE], part)
                versions = {package.name: package.version for package in packages}
                (part / _VERSIONS).write_text(json.dumps(versions, indent=1, sort_keys=True), encoding="utf-8")
    return root


def _library_dirs(root: Path, host: Machine) -> tuple[Path, Path]:
    base = root / "usr" / "lib" / host.multiarch
    return base / "llama", base


def host_command(program: str, *, refresh: bool = False) -> tuple[str, ...]:
    """The words that start Debian's `program` on this host, whatever its C library."""
    root = unpacked(refresh=refresh)
    return (*loader_command(), str(root / "usr" / "bin" / program))


def loader_command() -> tuple[str, ...]:
    """The words before a program that start it with the unpacked libraries, which must be there."""
    host = machine()
    llama, base = _library_dirs(_root(), host)
    return (str(base / host.loader), "--library-path", f"{llama}:{base}")


def runner_folder(*, refresh: bool = False) -> Path:
    """The runner build of the virtual phones, `llama.cpp-ABI` in the cache: programs, libraries, CPU back ends, flat.

    Everything but the C library is in it, so that it runs on a phone that has nothing but that.

    Raises:
        Permanent: Debian's packages cannot be had, or are not laid out as expected.
    """
    host = machine()
    target = runners_dir() / f"llama.cpp-{host.abi}"
    if refresh or not target.is_dir() or _is_older(target):
        with told(str(target)):
            root = unpacked(refresh=refresh)
            with locked(cache_dir() / "runner-folder.lock"), new_folder(target) as part:
                assemble([root / "usr" / "bin" / name for name in PROGRAMS], part)
    return target


def _is_older(target: Path) -> bool:
    """Whether the folder was made of other packages than those that are unpacked now."""
    made, now = target / _VERSIONS, _root() / _VERSIONS
    return now.is_file() and (not made.is_file() or _libraries_in(made) != _libraries_in(now))


def _libraries_in(versions: Path) -> dict[str, str]:
    """The versions of what is not there for compiling only."""
    listed = json.loads(versions.read_text(encoding="utf-8"))
    return {name: version for name, version in listed.items() if not name.endswith("-dev")}


def assemble(programs: Sequence[Path], folder: Path) -> None:
    """Put programs that use the unpacked libraries into `folder`, flat, with all they need but the C library.

    Raises:
        Permanent: a program or the CPU back ends are missing, or the loader finds a library nowhere.
    """
    host = machine()
    root = _root()
    plugins = sorted((root / "usr" / "lib" / host.multiarch / "ggml").glob("backends*/libggml-*.so"))
    missing = [file.name for file in programs if not file.is_file()] or ([] if plugins else ["libggml-cpu-*.so"])
    if missing:
        raise Permanent(
            f"Debian's {PACKAGE} has no {', '.join(missing)}",
            error_class=ErrorClass.RUNNER_INVALID,
            advice=_BUILD_ADVICE,
        )
    for file in [*programs, *plugins]:
        shutil.copy2(file, folder / file.name)
    for name, library in _needed([*programs, *plugins], root, host).items():
        shutil.copy2(library, folder / name)
    shutil.copy2(root / _VERSIONS, folder / _VERSIONS)


def c_library(files: Sequence[Path]) -> dict[str, Path]:
    """Name → file of the C library that programs and libraries of the unpacked packages need, with its loader: for a
    place that has none or an older one.

    Raises:
        Permanent: the loader finds a library nowhere.
    """
    host = machine()
    root = _root()
    _, base = _library_dirs(root, host)
    found = {name: file for name, file in _listed(files, root, host).items() if name.startswith(_C_LIBRARY)}
    return {**found, host.loader: base / host.loader}


def _needed(files: Sequence[Path], root: Path, host: Machine) -> dict[str, Path]:
    """Soname → file of every library that the loader finds for `files`, but for the C library."""
    return {name: file for name, file in _listed(files, root, host).items() if not name.startswith(_C_LIBRARY)}


def _listed(files: Sequence[Path], root: Path, host: Machine) -> dict[str, Path]:
    """Soname → file of every library that the loader finds for `files`."""
    llama, base = _library_dirs(root, host)
    found: dict[str, Path] = {}
    for file in files:
        listed = run_tool((str(base / host.loader), "--library-path", f"{llama}:{base}", "--list", str(file)))
        for line in listed.splitlines():
            name, arrow, rest = line.strip().partition(" => ")
            if arrow and not name.startswith("/"):
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
