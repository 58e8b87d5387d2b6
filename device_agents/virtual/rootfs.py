"""The file system that all virtual phones share, built once into the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from device_agents.virtual import debian
from device_agents.virtual.errors import LabUnsupported
from harness.cache import cache_dir

ROOTFS_VERSION = 1
"""Raised when the packages or the layout below change; the shims and the preloaded library are hashed anyway."""

PACKAGES = ("adbd", "toybox", "mksh", "coreutils", "libssl3t64", "libstdc++6", "libgomp1", "libcurl4t64")
"""adbd and a phone's shell; coreutils for what Debian's toybox lacks and for a sha256sum as fast as a phone's; the
libraries that a pushed llama.cpp needs from the system."""

FROM_COREUTILS = (
    "sha256sum",
    "dd",
    "tr",
    "stty",
    "tee",
    "timeout",
    "stdbuf",
    "sort",
    "cut",
    "head",
    "truncate",
    "nohup",
)
"""Commands that Android's toybox has and Debian's lacks, or has in a slow or different form."""

NOT_ON_A_PHONE = frozenset(
    [
        "blkdiscard",
        "dumpe2fs",
        "ftpget",
        "ftpput",
        "httpd",
        "init",
        "login",
        "mdev",
        "mkpasswd",
        "nbd-client",
        "nbd-server",
        "oneit",
        "openvt",
        "passwd",
        "sntp",
        "su",
        "reboot",
        "halt",
        "poweroff",
        "df",
    ]
)

MOUNT_POINTS = ("proc", "sys", "dev", "mnt/virtual", "data/local/tmp", "apex", "vendor", "odm", "product", "storage")
_PACKAGE = Path(__file__).parent
_KEEP_S = 30 * 24 * 3600.0
_LIBRARY = "usr/lib/farm/libphone.so"


def rootfs_key() -> str:
    """Names one build: version, the shims' and the library's content."""
    digest = hashlib.sha256(f"{ROOTFS_VERSION} {PACKAGES} {FROM_COREUTILS}".encode())
    for file in sorted([*(_PACKAGE / "shims").rglob("*.sh"), *(_PACKAGE / "native").glob("*.c")]):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def ensure_rootfs() -> Path:
    """The root file system, built now when it is not in the cache yet (about 10 s and 25 MB of download).

    Raises:
        LabUnsupported: it is not there and cannot be built here.
    """
    parent = cache_dir() / "rootfs"
    root = parent / rootfs_key()
    if root.is_dir():
        os.utime(root)
        return root
    with debian.locked(cache_dir() / "rootfs.lock"):
        if root.is_dir():
            return root
        parent.mkdir(parents=True, exist_ok=True)
        for leftover in parent.glob(".building-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
        try:
            debian.fetch(PACKAGES, building)
            _finish(building)
            building.chmod(0o755)
            building.rename(root)
            _forget_old(parent, root)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    return root


def _forget_old(parent: Path, current: Path) -> None:
    """Remove builds of other versions that no lab has started from for a month."""
    for build in parent.iterdir():
        if build != current and time.time() - build.stat().st_mtime > _KEEP_S:
            shutil.rmtree(build, ignore_errors=True)


def _finish(root: Path) -> None:
    """Turn the unpacked packages into a phone's layout."""
    for unused in ("usr/share", "usr/lib/systemd", "usr/include"):
        shutil.rmtree(root / unused, ignore_errors=True)
    for folder in ("lib", "lib64"):
        if (root / "usr" / folder).is_dir() and not (root / folder).exists():
            (root / folder).symlink_to(f"usr/{folder}")
    for point in MOUNT_POINTS:
        (root / point).mkdir(parents=True, exist_ok=True)
    _commands(root)
    (root / "bin").symlink_to("system/bin")
    (root / "sdcard").symlink_to("/storage/emulated/0")
    (root / "system/etc").mkdir()
    shutil.copyfile(_PACKAGE / "shims/lib/common.sh", root / "system/etc/common.sh")
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root::0:0:root:/:/system/bin/sh\nshell::2000:2000:shell:/:/system/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nshell:x:2000:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    _library(root / _LIBRARY)
    if (root / _LIBRARY).is_file():
        (root / "etc/ld.so.preload").write_text(f"/{_LIBRARY}\n")
    # A phone's shell may pass through /data but not list it.
    (root / "data").chmod(0o111)


def _commands(root: Path) -> None:
    """/system/bin: toybox's commands, some of coreutils, mksh as sh, and the shims over all of them."""
    bin_dir = root / "system/bin"
    bin_dir.mkdir(parents=True)
    for name in _toybox_commands(root):
        (bin_dir / name).symlink_to("/usr/bin/toybox")
    (bin_dir / "toybox").symlink_to("/usr/bin/toybox")
    for name in FROM_COREUTILS:
        (bin_dir / name).unlink(missing_ok=True)
        (bin_dir / name).symlink_to(f"/usr/bin/{name}")
    for name in ("sh", "mksh"):
        (bin_dir / name).symlink_to("/usr/bin/mksh")
    for shim in sorted((_PACKAGE / "shims").glob("*.sh")):
        target = bin_dir / shim.stem
        target.unlink(missing_ok=True)
        shutil.copyfile(shim, target)
        target.chmod(0o755)


def _toybox_commands(root: Path) -> list[str]:
    loader = next((root / "usr").glob("lib*/ld-linux-*.so.*"), None)
    if loader is None:
        raise LabUnsupported(
            "the fetched packages hold no dynamic loader", advice="report it; the package layout changed"
        )
    libraries = ":".join(str(folder) for folder in sorted((root / "usr/lib").glob("*-linux-gnu")))
    done = subprocess.run(
        [str(loader), "--library-path", libraries, str(root / "usr/bin/toybox")],
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in done.stdout.split() if name not in NOT_ON_A_PHONE]


def _library(target: Path) -> None:
    """Compile the preloaded library with the machine's C compiler, else with ziglang; left out without either."""
    compiler = _compiler()
    if compiler is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = _PACKAGE / "native/phone.c"
    subprocess.run(
        [*compiler, "-O2", "-shared", "-fPIC", "-o", str(target), str(source)],
        check=False,
        capture_output=True,
        env={
            **os.environ,
            "ZIG_GLOBAL_CACHE_DIR": str(cache_dir() / "zig"),
            "ZIG_LOCAL_CACHE_DIR": str(cache_dir() / "zig"),
        },
    )


def _compiler() -> list[str] | None:
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    return None
