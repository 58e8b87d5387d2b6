"""Whether this machine can run virtual phones, found out by doing what a boot does."""

from __future__ import annotations

import subprocess
import sys

from device_agents.virtual import debian
from device_agents.virtual.errors import LabUnsupported
from device_agents.virtual.rootfs import ensure_rootfs, rootfs_key
from harness.cache import cache_dir

_PROBE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.geteuid(), os.getegid()
def must(result, what):
    if result:
        print(what + ": " + os.strerror(ctypes.get_errno())); sys.stdout.flush(); os._exit(1)
must(libc.unshare(0x10000000 | 0x20000 | 0x4000000 | 0x8000000 | 0x20000000 | 0x40000000), "new user namespace")
try:
    open("/proc/self/setgroups", "w").write("deny")
    open("/proc/self/uid_map", "w").write("2000 %d 1" % uid)
    open("/proc/self/gid_map", "w").write("2000 %d 1" % gid)
except OSError as wrong:
    print("user mapping: " + str(wrong.strerror)); sys.exit(1)
child = os.fork()
if child == 0:
    must(libc.mount(b"none", b"/", None, ctypes.c_ulong(0x4000 | 1 << 18), None), "mount namespace")
    must(libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(14), None), "mount of /proc")
    must(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_ulong(2), None), "mount of a tmpfs")
    os.mkdir("/tmp/pts")
    options = b"newinstance,ptmxmode=0666"
    must(libc.mount(b"devpts", b"/tmp/pts", b"devpts", ctypes.c_ulong(10), options), "mount of devpts")
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
_LIMIT_S = 10.0


def prepare() -> str | None:
    """Like `preflight`, and gets everything that phones need (about 10 s and 25 MB the first time), so that a machine
    without a reachable Debian mirror is found out here."""
    reason = preflight()
    if reason is None:
        try:
            ensure_rootfs()
        except LabUnsupported as unsupported:
            reason = f"virtual phones cannot be built here: {unsupported.message}"
    return reason


def preflight() -> str | None:
    """One line telling why virtual phones cannot run here, or None. Touches no network and leaves nothing behind."""
    if not sys.platform.startswith("linux"):
        return "virtual phones need Linux namespaces, and this is not Linux"
    if not (cache_dir() / "rootfs" / rootfs_key()).is_dir():
        reason = debian.why_unavailable()
        if reason:
            return f"virtual phones cannot be built here: {reason}"
    try:
        probe = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROBE], check=False, capture_output=True, text=True, timeout=_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as wrong:
        return f"virtual phones cannot start here: {wrong}"
    if probe.returncode != 0:
        why = probe.stdout.strip() or (probe.stderr.strip().splitlines() or ["unknown reason"])[-1]
        return f"this machine does not allow unprivileged namespaces ({why})"
    return None
