"""Text files under /proc: the runner's status, memory and CPU time of the phone, its cores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from device_agents.android.telemetry.text import KIB_IN_MB, Ignored, Words, first_values, lines, listed, missing, whole
from harness.model import Measured, Reading, Unavailable

MAX_MEMORY_MB = 1_048_576.0
"""A process or phone with a TiB is a misreading."""

STATUS_KEYS: Mapping[str, str] = {
    "vm_hwm_mb": "VmHWM",
    "vm_rss_mb": "VmRSS",
    "rss_anon_mb": "RssAnon",
    "rss_file_mb": "RssFile",
    "rss_shmem_mb": "RssShmem",
    "vm_swap_mb": "VmSwap",
}
"""Reading → key of /proc/PID/status."""


def kib_reading(text: str | None, source: str, key: str) -> Reading:
    """A value printed as "N kB" (or plain N), in MB."""
    if text is None:
        return missing(source, key)
    value = whole(text.removesuffix("kB"))
    if value is None:
        return Unavailable(f"{source} {key} is not a number: {text[:40]!r}")
    if not 0 <= value * KIB_IN_MB <= MAX_MEMORY_MB:
        return Unavailable(f"{source} {key} gives {value} kB, which cannot be true")
    return Measured(value * 1024 / 1_000_000, "MB", f"{source} {key}", KIB_IN_MB)


def parse_proc_status(data: bytes) -> dict[str, Reading]:
    """Read /proc/PID/status.

    Returns: vm_hwm_mb, vm_rss_mb, rss_anon_mb, rss_file_mb, rss_shmem_mb, vm_swap_mb (a process that has ended has none
    of them), pid and threads.
    """
    values, source = first_values(data, ":"), "/proc/PID/status"
    readings = {name: kib_reading(values.get(key), source, key) for name, key in STATUS_KEYS.items()}
    for name, key in (("pid", "Pid"), ("threads", "Threads")):
        count = whole(values.get(key))
        valid = count is not None and 0 < count < 1 << 31
        readings[name] = Measured(float(count or 0), "", f"{source} {key}", 1) if valid else missing(source, key)
    return readings


def ignored_proc_status(data: bytes) -> tuple[Ignored, ...]:
    """Lines of /proc/PID/status that no reading uses, with the reason."""
    used = {*STATUS_KEYS.values(), "Pid", "Threads"}
    return listed(_unused_lines(data, used))


def ignored_cpuinfo(data: bytes) -> tuple[Ignored, ...]:
    """Keys of /proc/cpuinfo that no reading uses, each once, with the reason."""
    used = {"processor", "Hardware", "CPU implementer", "CPU part", "Features"}
    return listed(_unused_lines(data, used))


def _unused_lines(data: bytes, used: set[str]) -> Iterator[Ignored]:
    seen: set[str] = set()
    for line in lines(data):
        key, found, _ = line.partition(":")
        name = key.strip()
        if not line.strip() or (found and (name in used or name in seen)):
            continue
        seen.add(name)
        yield Ignored(line, "no reading is taken from it" if found else "it has no key")


def parse_proc_meminfo(data: bytes) -> dict[str, Reading]:
    """Read /proc/meminfo.

    Returns: memory_total_mb, memory_free_mb, memory_available_mb, swap_total_mb, swap_free_mb.
    """
    values = first_values(data, ":")
    keys = {
        "memory_total_mb": "MemTotal",
        "memory_free_mb": "MemFree",
        "memory_available_mb": "MemAvailable",
        "swap_total_mb": "SwapTotal",
        "swap_free_mb": "SwapFree",
    }
    return {name: kib_reading(values.get(key), "/proc/meminfo", key) for name, key in keys.items()}


@dataclass(frozen=True, slots=True)
class CpuTicks:
    """CPU time since boot over all cores, in clock ticks: `busy` of `total`."""

    busy: int
    total: int


def cpu_ticks(line: str) -> CpuTicks | None:
    """The first line of /proc/stat ("cpu  user nice system idle iowait …"); guest time is already in user and nice."""
    words = line.split()
    if len(words) < 5 or words[0] != "cpu":
        return None
    ticks = [whole(word) for word in words[1:9]]
    known = [tick for tick in ticks if tick is not None and tick >= 0]
    if len(known) != len(ticks):
        return None
    idle = sum(known[3:5])
    return CpuTicks(sum(known) - idle, sum(known))


def parse_proc_stat(data: bytes) -> dict[str, Reading]:
    """Read /proc/stat.

    Returns: cpu_busy_since_boot_pct (share of CPU time not idle; the busy share of an interval needs two readings) and
    cpu_count (cores online).
    """
    text = lines(data)
    source = "/proc/stat"
    ticks = next((found for line in text if (found := cpu_ticks(line))), None)
    cores = {line.split(None, 1)[0] for line in text if line.startswith("cpu") and line[3:4].isdigit()}
    return {
        "cpu_busy_since_boot_pct": missing(source, "cpu line")
        if ticks is None or ticks.total == 0
        else Measured(100 * ticks.busy / ticks.total, "%", source),
        "cpu_count": Measured(float(len(cores)), "", source, 1) if cores else missing(source, "cpuN line"),
    }


@dataclass(frozen=True, slots=True)
class Processor:
    """One block of /proc/cpuinfo; texts are as printed ("0x41", "0xd46"), "" where missing."""

    index: int
    implementer: str
    part: str
    features: frozenset[str]


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """`hardware` is the SoC as the kernel names it, "" on newer kernels, which leave it out."""

    hardware: str
    processors: tuple[Processor, ...]


def parse_cpuinfo(data: bytes) -> CpuInfo:
    """Read /proc/cpuinfo; 32-bit kernels print implementer and features once for all cores, after the list."""
    hardware = ""
    blocks: list[dict[str, str]] = []
    common: dict[str, str] = {}
    current = common
    for line in lines(data):
        key, found, value = line.partition(":")
        name, text = key.strip(), value.strip()
        if not found:
            if not line.strip():
                current = common
        elif name == "processor" and whole(text) is not None:
            current = {"processor": str(whole(text))}
            blocks.append(current)
        elif name == "Hardware":
            hardware = text
        else:
            current.setdefault(name, text)
    return CpuInfo(hardware, tuple(_processor(block, common) for block in blocks))


def _processor(block: Mapping[str, str], common: Mapping[str, str]) -> Processor:
    def of(key: str) -> str:
        return block.get(key) or common.get(key, "")

    features = frozenset(of("Features").split())
    return Processor(int(block["processor"]), of("CPU implementer"), of("CPU part"), features)


def cpuinfo_readings(data: bytes) -> dict[str, Reading | Words]:
    """/proc/cpuinfo as readings.

    Returns: cpu_count (cores listed: those online), soc_name, core_kinds ("4×0x41:0xd05 2×0x41:0xd44", in the order of
    the cores: implementer and part), and how many cores have dotprod, i8mm, bf16 and sve.
    """
    info, source = parse_cpuinfo(data), "/proc/cpuinfo"
    cores = info.processors
    if not cores:
        none = Unavailable(f"{source} lists no processor")
        names = ("cpu_count", "soc_name", "core_kinds", *_CORES_WITH)
        return dict.fromkeys(names, none)
    kinds = [f"{core.implementer}:{core.part}" for core in cores if core.implementer and core.part]
    counted = " ".join(f"{len(list(group))}×{kind}" for kind, group in groupby(kinds))
    described = any(core.features for core in cores)
    return {
        "cpu_count": Measured(float(len(cores)), "", f"{source} processor", 1),
        "soc_name": Words(info.hardware, f"{source} Hardware")
        if info.hardware
        else Unavailable(f"{source} has no Hardware line: newer kernels leave it out"),
        "core_kinds": Words(counted, f"{source} CPU implementer, CPU part")
        if len(kinds) == len(cores)
        else Unavailable(f"{source} does not give implementer and part of every core"),
        **{
            name: Measured(float(sum(flag in core.features for core in cores)), "", f"{source} Features {flag}", 1)
            if described
            else missing(source, "Features")
            for name, flag in _CORES_WITH.items()
        },
    }


_CORES_WITH = {
    "cores_with_dotprod": "asimddp",
    "cores_with_i8mm": "i8mm",
    "cores_with_bf16": "bf16",
    "cores_with_sve": "sve",
}
