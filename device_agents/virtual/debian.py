"""Fetch Debian binary packages with their dependencies into a folder: download and unpack, nothing is installed.

apt runs with a private state directory (own lists, an empty dpkg status), so it needs no root and leaves the machine's
own package state alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_agents.virtual.errors import LabUnsupported
from harness.cache import cache_dir

SUITE = "sid"
"""adbd and llama.cpp-tools of one vintage are in unstable only."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
LISTS_MAX_AGE_S = 24 * 3600.0
_TOOLS = ("apt-get", "dpkg", "dpkg-deb")
_UPDATE_LIMIT_S = 240.0
_DOWNLOAD_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was fetched: its name, its Debian version, and its architecture."""

    name: str
    version: str
    architecture: str


def why_unavailable() -> str | None:
    """One line telling why packages cannot be fetched here, or None. Does not touch the network."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"no Debian package tools on this machine ({', '.join(missing)})"
    if not KEYRING.is_file():
        return f"no Debian archive keyring ({KEYRING}; package debian-archive-keyring)"
    return None


def mirror() -> str:
    """The Debian mirror this machine uses itself, else Debian's own."""
    etc = Path("/etc/apt")
    files = [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]
    uris = [uri for file in files if file.is_file() for uri in _uris_of_lines(_text(file))]
    for file in sorted(etc.glob("sources.list.d/*.sources")):
        uris += _uris_of_stanzas(_text(file))
    return next((uri for uri in uris if uri.rstrip("/").endswith("/debian")), DEFAULT_MIRROR)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _uris_of_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(https?://\S+)\s", line)
        if found:
            yield found[1]


def _uris_of_stanzas(text: str) -> Iterator[str]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", stanza))
        if fields.get("Enabled", "yes").strip().lower() == "no" or "deb" not in fields.get("Types", "").split():
            continue
        yield from (uri for uri in fields.get("URIs", "").split() if uri.startswith("http"))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock on `file` (made when absent): one builder at a time, also between processes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _apt(state: Path, *args: str, limit_s: float) -> str:
    """Run apt-get on the private state; its standard output.

    Raises:
        LabUnsupported: apt failed or took longer than `limit_s`.
    """
    options = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Cache::pkgcache": state / "cache" / "pkgcache.bin",
        "Dir::Cache::srcpkgcache": state / "cache" / "srcpkgcache.bin",
        "Dir::Etc::SourceList": state / "farm.sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "APT::Sandbox::User": "",
        "APT::Update::Post-Invoke-Success": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Debug::NoLocking": "true",
    }
    command = ["apt-get", "-q", "-y"]
    for key, value in options.items():
        command += ["-o", f"{key}={value}"]
    try:
        done = subprocess.run(
            [*command, *args],
            check=False,
            capture_output=True,
            text=True,
            timeout=limit_s,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except subprocess.TimeoutExpired as late:
        raise LabUnsupported(
            f"apt-get {args[0]} took longer than {limit_s:.0f} s", advice="check the network"
        ) from late
    if done.returncode != 0:
        said = [line[3:].strip() for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        # The cause stands before the summary.
        why = next(
            (line for line in said if "Failed to fetch" in line), said[-1] if said else f"exit {done.returncode}"
        )
        raise LabUnsupported(
            f"apt-get {args[0]} failed: {why}",
            advice=f"check the network and the Debian mirror {mirror()}",
        )
    return done.stdout


def _fresh_lists(state: Path) -> None:
    """Bring the package lists up to date; lists that are there are used when the mirror cannot be reached."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    source = f"Types: deb\nURIs: {mirror()}\nSuites: {SUITE}\nComponents: main\nSigned-By: {KEYRING}\n"
    sources = state / "farm.sources"
    stamp = state / "updated"
    if sources.is_file() and _text(sources) != source:
        stamp.unlink(missing_ok=True)
    sources.write_text(source, encoding="utf-8")
    if stamp.is_file() and time.time() - stamp.stat().st_mtime < LISTS_MAX_AGE_S:
        return
    try:
        _apt(state, "update", "--error-on=any", limit_s=_UPDATE_LIMIT_S)
    except LabUnsupported:
        if not stamp.is_file():
            raise
        return
    stamp.touch()


def fetch(packages: Sequence[str], into: Path) -> list[Package]:
    """Download `packages` of Debian unstable and everything they depend on, and unpack all into the folder `into`.

    The folder then holds a small file system (`usr/bin/…`, `usr/lib/…`); nothing of it is configured or run.

    Raises:
        LabUnsupported: no apt here, the mirror cannot be reached, or a package does not exist.
    """
    reason = why_unavailable()
    if reason:
        raise LabUnsupported(reason)
    state = cache_dir() / "debian"
    with locked(cache_dir() / "debian.lock"):
        _fresh_lists(state)
        with tempfile.TemporaryDirectory(prefix="archives-", dir=state) as archives:
            (Path(archives) / "partial").mkdir()
            install = (
                "install",
                "--no-install-recommends",
                "--download-only",
                "-o",
                f"Dir::Cache::archives={archives}/",
            )
            try:
                _apt(state, *install, *packages, limit_s=_DOWNLOAD_LIMIT_S)
            except LabUnsupported:
                # Lists go stale within hours in unstable: a file may be gone from the mirror. Once more with new lists.
                (state / "updated").unlink(missing_ok=True)
                _fresh_lists(state)
                _apt(state, *install, *packages, limit_s=_DOWNLOAD_LIMIT_S)
            debs = sorted(Path(archives).glob("*.deb"))
            _unpack(debs, into)
    return [_package_of(deb.name) for deb in debs]


def _unpack(debs: Iterable[Path], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        done = subprocess.run(
            ["dpkg-deb", "--extract", str(deb), str(into)], check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise LabUnsupported(f"cannot unpack {deb.name}: {done.stderr.strip()}", advice="free some disk space")


def _package_of(name: str) -> Package:
    stem = name.removesuffix(".deb").replace("%3a", ":")
    package, version, architecture = stem.rsplit("_", 2)
    return Package(package, version, architecture)
