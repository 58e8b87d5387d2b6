"""Boots one virtual phone: runs as its own process, becomes the parent of the phone's init, and ends with it.

Started as `python -I -S`, with START and the number of a control socket, so it and what it imports here use
the standard library only; what to boot is the first message on the socket. It moves into new user, mount, UTS, IPC,
network, time and PID namespaces, builds the phone's file tree with mounts, gives every capability away, and stays as
the phone's init, which starts adbd and obeys the supervisor over the socket.

Threads cannot be started after `unshare(CLONE_NEWPID)`, therefore init is a plain poll loop.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from device_agents.virtual.duty import DutyCycle
from device_agents.virtual.hog import NAME as HOG_NAME
from device_agents.virtual.hog import become_hog, shares

START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from device_agents.virtual.boot import main; sys.exit(main())"
"""Program text; its first argument is the folder that holds this package, the second one the control socket."""

_libc = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWTIME = 0x00000080
_CLONE_NEWNS = 0x00020000
_CLONE_NEWCGROUP = 0x02000000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_CLONE_ALL = _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_MS_RELATIME = 1 << 21
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 15, 4, 24, 38
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x1 | 0x40
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

SHELL_UID = 2000
"""Android's AID_SHELL: the only user of the phone."""

ADBD_PORT = 5555
ADBD = "/usr/lib/android-sdk/platform-tools/adbd"
REBOOT_EXIT = 77
"""Exit code of this process after the phone asked for a reboot."""

_ADBD_RESTART_S = 0.3
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    done = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None)
    _check(done, f"mount {kind or source} on {target}")


def _bind(source: str, target: str, *, read_only: bool) -> None:
    _mount(source, target, flags=_MS_BIND | _MS_REC)
    if read_only:
        _read_only(target)


def _read_only(target: str) -> None:
    """Make one mount read-only; flags it has already are kept, since a user namespace may not clear them."""
    kept = os.statvfs(target).f_flag
    flags = kept & (_MS_NOSUID | _MS_NODEV | _MS_NOEXEC | 1024 | 2048)
    flags |= _MS_RELATIME if kept & 4096 else 0
    _mount("none", target, flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY | flags)


def _die_with_parent(parent: int) -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def _enter_namespaces(booted_at: float) -> None:
    """Unshare everything and map this user to the phone's shell; its uptime is 0 at `booted_at` of this machine's
    monotonic clock."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        # Root of a container may not, and has no groups worth giving up.
        with contextlib.suppress(PermissionError):
            os.setgroups([])
    _check(_libc.unshare(_CLONE_ALL), "unshare")
    # Hides where in the machine's control groups the phone runs; kernels without them have nothing to hide.
    _libc.unshare(_CLONE_NEWCGROUP)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{SHELL_UID} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{SHELL_UID} {gid} 1", encoding="ascii")
    # Kernels without time namespaces: the phone then shows the host's uptime.
    with contextlib.suppress(OSError):
        _check(_libc.unshare(_CLONE_NEWTIME), "unshare time")
        lines = []
        for name, clock in (("monotonic", time.CLOCK_MONOTONIC), ("boottime", time.CLOCK_BOOTTIME)):
            ahead = time.clock_gettime(clock) - time.monotonic()
            shift = round(-(booted_at + ahead) * 1e9)
            lines.append(f"{name} {shift // 10**9} {shift % 10**9}")
        Path("/proc/self/timens_offsets").write_text("\n".join(lines), encoding="ascii")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP_RUNNING))


def _be_called(name: bytes) -> None:
    """Show by that name in ps: the command line of this machine is none of the phone's business."""
    _libc.prctl(_PR_SET_NAME, name, 0, 0, 0)
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    first, last = int(fields[45]), int(fields[46])
    ctypes.memset(first, 0, last - first)
    ctypes.memmove(first, name, min(len(name), last - first - 1))


def _build_tree(spec: dict[str, Any]) -> int:
    """Mount the phone's file tree and make it the root; returns a descriptor of its /proc.

    Args:
        spec: `root` (the shared read-only file system), `state` (folder the simulator writes: sys/, proc/, phone/,
            settings/), `storage` (folder for /data/local/tmp), `storage_bytes` (None, or the size of a real small file
            system instead).
    """
    root, state = spec["root"], spec["state"]
    _mount("none", "/", flags=_MS_REC | _MS_PRIVATE)
    _mount(root, root, flags=_MS_BIND | _MS_REC)
    os.chdir(root)
    _mount("proc", "proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for entry in sorted(Path(state, "proc").iterdir()):
        target = Path("proc", entry.name.replace("+", "/"))
        if target.exists():
            _bind(str(entry), str(target), read_only=True)
    _bind(f"{state}/sys", "sys", read_only=True)
    _bind(f"{state}/phone", "mnt/virtual", read_only=True)
    _bind(f"{state}/settings", "mnt/virtual/settings", read_only=False)
    _bind(f"{state}/affinity", "mnt/virtual/affinity", read_only=False)
    if spec["storage_bytes"] is None:
        _bind(spec["storage"], "data/local/tmp", read_only=False)
    else:
        _mount("tmpfs", "data/local/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={spec['storage_bytes']},mode=0771")
    _build_dev()
    _read_only(".")
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount old root")
    os.chdir("/")
    return os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)


def _build_dev() -> None:
    _mount("tmpfs", "dev", "tmpfs", _MS_NOSUID, "mode=0755,size=64k")
    for name in _DEVICES:
        Path("dev", name).touch()
        _mount(f"/dev/{name}", f"dev/{name}", flags=_MS_BIND)
    for folder in ("pts", "shm"):
        Path("dev", folder).mkdir()
    _mount("devpts", "dev/pts", "devpts", _MS_NOSUID | _MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    _mount("tmpfs", "dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777,size=64m")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0")):
        Path("dev", name).symlink_to(target)
    for number, name in ((1, "stdout"), (2, "stderr")):
        Path("dev", name).symlink_to(f"/proc/self/fd/{number}")
    _read_only("dev")


def _drop_capabilities() -> None:
    """Give away every capability, also for programs started later; what init does needs none."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    header = struct.pack("Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)), "capset")
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


class _Init:
    """The phone's process 1: starts adbd again when it ends, reaps orphans, and does what the supervisor asks."""

    def __init__(self, control: socket.socket, environment: dict[str, str], restart_kills: bool) -> None:
        self._control = control
        self._environment = environment
        self._restart_kills = restart_kills
        self._adbd = 0
        self._adbd_due = 0.0
        self._wanted = True
        self._duty = DutyCycle()
        self._awake_at = 0.0
        self._hogs: list[int] = []
        self._reboot = False
        self._wake_out, wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGUSR2, self._on_reboot)

    def _on_reboot(self, *_: object) -> None:
        self._reboot = True

    def run(self) -> NoReturn:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wake_out, select.POLLIN)
        while not self._reboot:
            now = time.monotonic()
            if self._adbd == 0 and self._wanted and now >= self._adbd_due:
                self._start_adbd()
            wait = self._duty.step(now)
            if self._awake_at:
                wait = min(wait, max(0.0, self._awake_at - now))
                if now >= self._awake_at:
                    self._wake_up(now)
            if self._adbd == 0 and self._wanted:
                wait = min(wait, max(0.0, self._adbd_due - now))
            for fd, _ in poller.poll(None if wait == float("inf") else wait * 1000):
                if fd == self._wake_out:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_out, 512)
                else:
                    self._obey()
            self._reap()
        self._tell({"event": "reboot"})
        os._exit(REBOOT_EXIT)

    def _start_adbd(self) -> None:
        self._adbd = os.fork()
        if self._adbd == 0:
            os.setsid()
            for signum in (signal.SIGCHLD, signal.SIGUSR2, signal.SIGPIPE):
                signal.signal(signum, signal.SIG_DFL)
            os.execve(ADBD, ["adbd"], self._environment)
        self._tell({"event": "adbd", "pid": self._adbd})

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._adbd:
                    self._adbd = 0
                    self._adbd_due = time.monotonic() + _ADBD_RESTART_S
                    if self._restart_kills:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(-1, signal.SIGKILL)

    def _suspend(self, seconds: float) -> None:
        """Hold everything still, adbd too; uptime goes on."""
        now = time.monotonic()
        self._awake_at = max(self._awake_at, now + seconds)
        self._duty.pause(now)
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGSTOP)

    def _wake_up(self, now: float) -> None:
        self._awake_at = 0.0
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGCONT)
        self._duty.resume(now)

    def _be_busy(self, cpus: float) -> None:
        """Replace the system's own load by one that takes `cpus` CPUs of this machine."""
        for pid in self._hogs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._hogs = []
        for share in shares(cpus) if cpus > 0 else ():
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for signum in (signal.SIGCHLD, signal.SIGUSR2):
                    signal.signal(signum, signal.SIG_DFL)
                os.setsid()
                _be_called(HOG_NAME)
                become_hog(share)
            self._hogs.append(pid)
        self._tell({"event": "hogs", "pids": self._hogs})

    def _obey(self) -> None:
        raw = self._control.recv(65536)
        if not raw:
            os._exit(0)
        order = json.loads(raw)
        match order["op"]:
            case "connect":
                self._connect(order["id"])
            case "duty":
                held = {int(pid): run for pid, run in order["shares"].items()}
                self._duty.set({pid: run for pid, run in held.items() if pid not in (1, self._adbd)}, time.monotonic())
            case "hog":
                self._be_busy(order["cpus"])
            case "suspend":
                self._suspend(order["seconds"])
            case "kill":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(order["pid"], signal.SIGKILL)
            case "kill_adbd":
                if self._adbd:
                    os.kill(self._adbd, signal.SIGKILL)
            case "reboot":
                self._reboot = True

    def _connect(self, request: int) -> None:
        """Open a connection to adbd and hand it to the supervisor, which is in another network namespace."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as link:
            try:
                link.connect(("127.0.0.1", ADBD_PORT))
            except OSError:
                self._tell({"event": "refused", "id": request})
                return
            self._tell({"event": "connected", "id": request}, link.fileno())

    def _tell(self, event: dict[str, Any], *descriptors: int) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._control, [json.dumps(event).encode()], list(descriptors))


def _be_init(spec: dict[str, Any], control: socket.socket) -> NoReturn:
    try:
        _be_called(b"init")
        proc = _build_tree(spec)
        _check(_libc.sethostname(b"localhost", 9), "sethostname")
        log = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(log, number)
        _drop_capabilities()
    except OSError as wrong:
        control.send(json.dumps({"event": "failed", "message": str(wrong)}).encode())
        os._exit(1)
    socket.send_fds(control, [json.dumps({"event": "booted"}).encode()], [proc])
    os.close(proc)
    _Init(control, spec["environment"], spec["restart_kills"]).run()


def main() -> int:
    """Boot the phone that argv describes and wait for its end; returns the exit code of its init."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    spec = json.loads(control.recv(65536))
    _die_with_parent(spec["parent"])
    try:
        _enter_namespaces(spec["booted_at"])
        _loopback_up()
    except OSError as wrong:
        control.send(json.dumps({"event": "failed", "message": str(wrong)}).encode())
        return 1
    _die_with_parent(spec["parent"])
    me = os.getpid()
    child = os.fork()
    if child == 0:
        # Inside the new PID namespace the parent is not visible: getppid() is 0 while it lives.
        _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
        _be_init(spec, control)
    assert me == os.getpid()
    control.close()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1


if __name__ == "__main__":
    sys.exit(main())
