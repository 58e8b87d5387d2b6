"""A job as the text that its supervisor sources, and the end of a job read back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from device_agents.base import JobSpec
from harness.analysis.placement import cpu_list
from harness.errors import ErrorClass, Permanent
from harness.model import MEGABYTE, HttpRequest, Measured, Reading, Unavailable

OUTPUT_BLOCKS_MAX = 1 << 20
"""`ulimit -f` of a runner, in blocks of 512 bytes (512 MiB): a runaway log must not fill the device."""

FILES = "files"
"""Folder below the job's own for the files of the command; the others there are the supervisor's."""

BY_HAND = "by-hand"
"""Folder below farm's own on a device where an operator who repeats a job finds its files."""

_SUSPENDED_RESOLUTION_S = 0.2
"""Each of eight columns is rounded down to 10 ms, at both ends."""

_ACCOUNTING_ERROR = 0.02
"""Share of the time that kernels which count ticks lose or gain."""

_USER_HZ = 100
"""Unit of /proc/stat, the same on every Linux of today (proc(5))."""

_KEY = re.compile(r"[A-Za-z0-9._-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Tools:
    """Command lines, as argv, of what a device may lack.

    Args:
        detach: runs its arguments in a new session.
        netcat: takes host and port, copies between the connection and its standard streams.
        taskset: takes a hexadecimal mask and a command; empty where affinity cannot be set.
    """

    detach: tuple[str, ...] = ("setsid",)
    netcat: tuple[str, ...] = ("nc",)
    taskset: tuple[str, ...] = ("taskset",)


def check(spec: JobSpec, tools: Tools) -> None:
    """Raise Permanent when `spec` cannot be run as it is."""
    if not _KEY.fullmatch(spec.key) or spec.key.strip(".") == "":
        raise Permanent(f"{spec.key!r} is no key of a job", error_class=ErrorClass.INTERNAL)
    for name in spec.env:
        if not _VARIABLE.fullmatch(name):
            raise Permanent(
                f"{name!r} is no name of an environment variable",
                error_class=ErrorClass.WORKLOAD_UNSUPPORTED,
                advice="use letters, digits and underscores in `env` of the workload",
            )
    for name in spec.files:
        if not _KEY.fullmatch(name) or name.startswith("."):
            raise Permanent(f"{name!r} is no name of a job's file", error_class=ErrorClass.INTERNAL)
    if (spec.cwd is None) != bool(spec.files):
        raise Permanent("a job has files exactly where it starts among them", error_class=ErrorClass.INTERNAL)
    texts = (*spec.argv, *spec.env.values(), spec.cwd or "")
    if not spec.argv or any("\0" in text for text in texts):
        raise Permanent("a command with a NUL character, or none", error_class=ErrorClass.WORKLOAD_UNSUPPORTED)
    if spec.cpus is not None and not tools.taskset:
        raise Permanent(
            "this device cannot pin a process to cores",
            error_class=ErrorClass.WORKLOAD_UNSUPPORTED,
            advice="leave the cores to the system",
        )
    if spec.http is not None and (b"\n" in spec.http.stop_marker or b"\0" in spec.http.stop_marker):
        raise Permanent("a stop marker of several lines", error_class=ErrorClass.INTERNAL)


def spec_text(spec: JobSpec, tools: Tools, sampler: str) -> str:
    """The file `spec` of a job folder. `sampler`: path of the sampler on the device, "" for none."""
    limit = max(spec.limit_s, 0.2)
    first = min(1.0, limit / 2)
    sampling = spec.sampling if sampler else None
    variables: dict[str, str] = {
        "limit_first": _seconds(first),
        "limit_rest": _seconds(limit - first),
        "needs": tools.taskset[0] if spec.cpus is not None else "",
        "cores": cpu_list(spec.cpus) if spec.cpus is not None else "",
        "owner": spec.owner,
        "sampler": sampler if sampling is not None else "",
        "memory_s": _seconds(sampling.memory_s) if sampling else "",
        "files_s": _seconds(sampling.files_s) if sampling else "",
        "calm_s": _seconds(sampling.memory_calm_s) if sampling else "",
        "floor_kb": str(int(sampling.memory_floor_mb * MEGABYTE / 1024)) if sampling else "0",
        "services_s": _seconds(sampling.services_s) if sampling else "",
        # The limit, the grace after it, and a little: the sampler ends with the runner anyway.
        "sampler_max": str(ceil(limit) + 10),
        "unplugged_within": str(ceil(spec.unplugged_within_s)),
        "port": str(spec.http.port) if spec.http else "",
        "ready_path": spec.http.ready_path if spec.http else "",
        "ready_limit": str(ceil(spec.http.ready_limit_s)) if spec.http else "",
        "stop_marker": spec.http.stop_marker.decode("utf-8", "surrogateescape") if spec.http else "",
        "repeat_for": str(ceil(spec.http.repeat_for_s)) if spec.http else "",
        "shorten": spec.http.shorten if spec.http else "",
    }
    pinned = (*tools.taskset, _mask(spec.cpus)) if spec.cpus is not None else ()
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    lines += [
        f'detach() {{ exec {shlex.join(tools.detach)} "$@"; }}',
        f'netcat() {{ exec {shlex.join(tools.netcat)} "$@"; }}',
        "runner() {",
        f"ulimit -f {OUTPUT_BLOCKS_MAX}",
        # The supervisor sources this in the job's folder.
        f"cd {FILES if spec.cwd is None else shlex.quote(spec.cwd)} || exit 126",
        *(f"export {name}={shlex.quote(value)}" for name, value in spec.env.items()),
        f"exec {shlex.join((*pinned, *spec.argv))}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def request_bytes(http: HttpRequest) -> bytes:
    """The POST of a driven server."""
    head = (
        f"POST {http.path} HTTP/1.1\r\nHost: 127.0.0.1:{http.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(http.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + http.body


def pairs(text: str) -> dict[str, str]:
    """Lines NAME=VALUE; the last one of a name counts."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def stamps_of(text: str) -> dict[str, float]:
    """The file `stamps`: device uptimes in seconds."""
    found: dict[str, float] = {}
    for name, value in pairs(text).items():
        try:
            found[name] = float(value)
        except ValueError:
            continue
    return found


def suspended(clocks: str) -> Reading:
    """How long the device slept: uptime counts sleep, the time that a core accounts for does not.

    A core that was switched off in between accounts for less than one that was not: the busiest accountant counts.
    """
    try:
        points = {name: value.split() for name, value in pairs(clocks).items()}
        (up_start, *start), (up_end, *end) = points["started"], points["ended"]
        passed = float(up_end) - float(up_start)
        before, after = _accounted(start), _accounted(end)
        awake = max(after[core] - before[core] for core in before.keys() & after.keys())
    except (KeyError, ValueError):
        return Unavailable("the device does not show the time of its cores (/proc/stat)")
    if awake <= 0 < passed:
        return Unavailable("the device does not count the time of its cores (/proc/stat)")
    slept = passed - awake
    resolution = max(_SUSPENDED_RESOLUTION_S, _ACCOUNTING_ERROR * passed)
    return Measured(
        slept if slept > resolution else 0.0, "s", "/proc/uptime against the cores of /proc/stat", resolution
    )


def _accounted(cores: Sequence[str]) -> dict[str, float]:
    """Core → seconds, from its columns user to steal in /proc/stat."""
    split = (core.split(",") for core in cores)
    return {name: sum(map(int, columns)) / _USER_HZ for name, *columns in split}


def ending(result: Mapping[str, str]) -> tuple[int | None, int | None, str]:
    """Exit code, signal and `ended_by` of the file `result`; a shell reports signal N as 128 + N. A command that was
    never started has neither."""
    ended_by = result.get("ended_by", "exit")
    if not result["code"]:
        return None, None, ended_by
    code = int(result["code"])
    if 128 < code <= 128 + 64:
        return None, code - 128, ended_by
    return code, None, ended_by


def _mask(cpus: tuple[int, ...]) -> str:
    return f"{sum(1 << cpu for cpu in set(cpus)):x}"


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def by_hand(spec: JobSpec, prefix: Sequence[str], taskset: str, folder: str) -> tuple[str, ...]:
    """Plain commands that repeat a job; `prefix` is what brings a command to the device ("adb", "-s", SERIAL, "shell").

    A driven server takes two terminals: the first command is the server, the second one sends the request. The files of
    a job are written into `folder` on the device first, which stays there.
    """
    pinned = (taskset, _mask(spec.cpus)) if spec.cpus is not None else ()
    words = [f"{name}={shlex.quote(value)}" for name, value in spec.env.items()]
    cwd = shlex.quote(folder if spec.cwd is None else spec.cwd)
    line = f"cd {cwd} && " + " ".join([*words, shlex.join((*pinned, *spec.argv))])
    commands = [_written(name, content, prefix, folder) for name, content in spec.files.items()]
    commands.append(_on_device(prefix, line))
    if spec.http is not None:
        url = f"http://127.0.0.1:{spec.http.port}{spec.http.path}"
        body = spec.http.body.decode("utf-8", "replace")
        if prefix:
            forward = (*prefix[:-1], "forward", f"tcp:{spec.http.port}", f"tcp:{spec.http.port}")
            commands.append(shlex.join(forward))
        request = shlex.join(("curl", "-N", "-H", "Content-Type: application/json", "--data", body, url))
        again = ceil(spec.http.repeat_for_s)
        commands.append(
            f"end=$((SECONDS + {again})); while [ $SECONDS -lt $end ]; do {request}; done" if again else request
        )
    return tuple(commands)


def _written(name: str, content: bytes, prefix: Sequence[str], folder: str) -> str:
    """A command of the host that writes a file on the device; any bytes, on one line."""
    escaped = {ord("%"): "%%", ord("\\"): "\\\\"}
    text = "".join(escaped.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in content)
    line = f"mkdir -p {shlex.quote(folder)} && cat > {shlex.quote(f'{folder}/{name}')}"
    return f"printf -- {shlex.quote(text)} | {shlex.join((*prefix, line)) if prefix else f'{{ {line}; }}'}"


def _on_device(prefix: Sequence[str], line: str) -> str:
    return shlex.join((*prefix, line)) if prefix else line
