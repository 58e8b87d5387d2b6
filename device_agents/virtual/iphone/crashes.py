"""Reports that iOS writes when it ends an app: two JSON documents in one .ips file."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agents.virtual.iphone import process
from device_agents.virtual.iphone.darwin import darwin_signal

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone
    from device_agents.virtual.iphone.process import Process

PAGE_BYTES = 16384
_NAME_LIMIT = 31
_EXCEPTIONS = {
    signal.SIGSEGV: ("EXC_BAD_ACCESS", "KERN_INVALID_ADDRESS at 0x0000000000000010"),
    signal.SIGBUS: ("EXC_BAD_ACCESS", "KERN_PROTECTION_FAILURE at 0x0000000000000010"),
    signal.SIGILL: ("EXC_BAD_INSTRUCTION", ""),
    signal.SIGTRAP: ("EXC_BREAKPOINT", ""),
    signal.SIGABRT: ("EXC_CRASH", ""),
}


def _stamp(at: float, digits: int = 2) -> str:
    fraction = f"{at % 1:.{digits}f}"[1:]
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + fraction + time.strftime(" %z", time.localtime(at))


def _system(phone: Iphone) -> str:
    return f"iPhone OS {phone.profile.ios_version} ({phone.profile.build_version})"


def _file(phone: Iphone, name: str, at: float) -> Path:
    """A file name that is not taken, as iOS numbers them."""
    stamp = time.strftime("%Y-%m-%d-%H%M%S", time.localtime(at))
    candidates = (f"{name}-{stamp}{suffix}.ips" for suffix in ("", *(f".{count:03d}" for count in range(1, 1000))))
    return next(path for path in (phone.storage.crashes / each for each in candidates) if not path.exists())


def _write(phone: Iphone, path: Path, head: dict[str, Any], body: dict[str, Any], at: float) -> Path:
    text = json.dumps(head, separators=(",", ":")) + "\n" + json.dumps(body, indent=2)
    temporary = phone.storage.crashes / f".{path.name}"
    temporary.write_text(text, encoding="utf-8")
    os.utime(temporary, (at, at))
    temporary.replace(path)
    phone.storage.take(len(text))
    phone.log.write(
        "osanalyticshelper",
        f"Saved type '{head['bug_type']}(<private>)' report (1 of max 25) at /var/mobile/Library/Logs/CrashReporter/"
        f"{path.name}",
        image="OSAnalytics",
    )
    return path


def _entry(known: Process, footprint: int, *, frontmost: bool) -> dict[str, Any]:
    pages = -(-footprint // PAGE_BYTES)
    return {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, known.bundle)),
        "states": ["frontmost"] if frontmost else ["suspended"],
        "lifetimeMax": pages,
        "age": int((time.time() - known.started) * 1e9),
        "purgeable": 0,
        "fds": 50,
        "coalition": 1000 + known.pid % 1000,
        "rpages": pages,
        "priority": 100 if frontmost else 0,
        "physicalPages": {"internal": [pages, 0]},
        "pid": known.pid,
        "cpuTime": round(known.cpu_s, 6),
        "name": known.name[:_NAME_LIMIT],
    }


def write_jetsam(phone: Iphone, victim: Process, reason: str) -> Path:
    """The report of a kill for memory: a table of all processes, the victim's entry with the reason."""
    now, incident = time.time(), str(uuid.uuid4()).upper()
    entries = [_daemon(pid, name, pages) for pid, name, pages in ((1, "launchd", 1200), (34, "SpringBoard", 9100))]
    for known in phone.running():
        try:
            footprint = process.usage(known.pid)[1]
        except ProcessLookupError:
            continue
        entry = _entry(known, footprint, frontmost=known.frontmost)
        if known is victim:
            entry |= {"reason": reason, "killDelta": 4012, "genCount": 0}
        entries.append(entry)
    head = {"bug_type": "298", "timestamp": _stamp(now), "os_version": _system(phone), "incident_id": incident}
    pages = phone.profile.ram_bytes // PAGE_BYTES
    used = sum(int(entry["rpages"]) for entry in entries)
    body = {
        "crashReporterKey": phone.udid,
        "kernel": f"Darwin Kernel Version: RELEASE_ARM64_{phone.profile.hardware_platform.upper()}",
        "product": phone.profile.product_type,
        "incident": incident,
        "date": _stamp(now),
        "build": _system(phone),
        "timeDelta": 4,
        "memoryStatus": {
            "compressorSize": 61000,
            "pageSize": PAGE_BYTES,
            "uncompressed": 180000,
            "memoryPages": {"active": used, "wired": pages // 6, "free": max(4000, pages - used - pages // 2)},
        },
        "largestProcess": max(entries, key=lambda entry: int(entry["rpages"]))["name"],
        "genCounter": 0,
        "processes": entries,
    }
    return _write(phone, _file(phone, "JetsamEvent", now), head, body, now)


def _daemon(pid: int, name: str, pages: int) -> dict[str, Any]:
    return {"pid": pid, "name": name, "states": ["daemon"], "rpages": pages, "lifetimeMax": pages, "priority": 180}


def write_crash(phone: Iphone, victim: Process, signum: int) -> Path:
    """The report of an app that a signal ended."""
    kind, subtype = _EXCEPTIONS.get(signal.Signals(signum), ("EXC_CRASH", ""))
    name, number = signal.Signals(signum).name, darwin_signal(signum)
    return _write_app(
        phone,
        victim,
        {"type": kind, "signal": name, "codes": "0x0000000000000001, 0x0000000000000010"}
        | ({"subtype": subtype} if subtype else {}),
        {
            "namespace": "SIGNAL",
            "code": number,
            "indicator": f"{signal.strsignal(signum)}: {number}",
            "flags": 0,
            "byProc": "exc handler",
            "byPid": victim.pid,
        },
    )


def write_watchdog(phone: Iphone, victim: Process) -> Path:
    """The report of an app that hung: 0x8badf00d."""
    return _write_app(
        phone,
        victim,
        {"type": "EXC_CRASH", "signal": "SIGKILL", "codes": "0x0000000000000000, 0x0000000000000000"},
        {
            "namespace": "FRONTBOARD",
            "code": 0x8BADF00D,
            "flags": 6,
            "details": [
                f"[application<{victim.bundle}>:{victim.pid}] failed to terminate gracefully after 5.0s",
                "<RBSTerminateContext| domain:10 code:0x8BADF00D explanation:scene-update watchdog transgression: "
                f"application<{victim.bundle}>:{victim.pid} exhausted real (wall clock) time allowance of "
                "10.00 seconds>",
            ],
        },
    )


def _write_app(phone: Iphone, victim: Process, exception: dict[str, Any], termination: dict[str, Any]) -> Path:
    now, incident = time.time(), str(uuid.uuid4()).upper()
    app = phone.apps[victim.bundle]
    head = {
        "app_name": victim.name,
        "timestamp": _stamp(now),
        "app_version": str(app.info.get("CFBundleShortVersionString", "")),
        "build_version": app.version,
        "bundleID": victim.bundle,
        "platform": 2,
        "share_with_app_devs": 0,
        "is_first_party": 0,
        "bug_type": "309",
        "os_version": _system(phone),
        "roots_installed": 0,
        "incident_id": incident,
        "name": victim.name,
    }
    body = {
        "uptime": phone.uptime_ns() // 10**9,
        "procRole": "Foreground" if victim.frontmost else "Background",
        "version": 2,
        "userID": 501,
        "modelCode": phone.profile.product_type,
        "osVersion": {
            "isEmbedded": True,
            "train": f"iPhone OS {phone.profile.ios_version}",
            "releaseType": "User",
            "build": phone.profile.build_version,
        },
        "captureTime": _stamp(now, 4),
        "incident": incident,
        "pid": victim.pid,
        "cpuType": "ARM-64",
        "procLaunch": _stamp(victim.started, 4),
        "procName": victim.name,
        "procPath": f"/private/var/containers/Bundle/Application/{app.folder.name}/{victim.name}",
        "bundleInfo": {"CFBundleVersion": app.version, "CFBundleIdentifier": victim.bundle},
        "crashReporterKey": phone.udid,
        "exception": exception,
        "termination": termination,
        "faultingThread": 0,
        "threads": [{"triggered": True, "id": victim.pid, "queue": "com.apple.main-thread", "frames": []}],
        "usedImages": [],
    }
    return _write(phone, _file(phone, victim.name, now), head, body, now)
