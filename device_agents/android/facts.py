"""What a phone says of itself, asked in one round trip."""

from __future__ import annotations

import re
from collections.abc import Mapping

from device_agents.android.telemetry import parse_cpuinfo, parse_df, parse_getprop, parse_proc_meminfo
from harness.model import MEGABYTE, CpuCore, DeviceFacts, DeviceKind, Measured, Reading

DATA = "/data/local/tmp"
"""The one folder that the shell user of every phone may write to and run programs from."""

FACTS_SCRIPT = f"""exec 2> /dev/null
echo '@@ getprop'; getprop
echo '@@ meminfo'; cat /proc/meminfo
echo '@@ df'; df -k {DATA}
echo '@@ cores'
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
capacity= khz=
read -r capacity < "$cpu/cpu_capacity"; read -r khz < "$cpu/cpufreq/cpuinfo_max_freq"
echo "${{cpu##*/cpu}} ${{capacity:--}} ${{khz:--}}"
done
echo '@@ allowed'; grep Cpus_allowed_list /proc/self/status
echo '@@ cpuinfo'; cat /proc/cpuinfo
echo '@@ user'; dumpsys user
exit 0"""

# Ranks of Arm's cores by part number, from the part numbers in the kernel's arch/arm64/include/asm/cputype.h: what is
# in the same row is of the same class. Only the order matters, where a phone hides capacity and frequency.
_ARM_CLASSES: tuple[frozenset[int], ...] = (
    frozenset({0xD03, 0xD04, 0xD05, 0xD46, 0xD80, 0xD8A}),  # A53, A35, A55, A510, A520, C1-Nano
    frozenset(
        {0xD07, 0xD08, 0xD09, 0xD0A, 0xD0B, 0xD0D, 0xD41, 0xD47, 0xD4D, 0xD81, 0xD87, 0xD8B}
    ),  # A57 … A725, C1-Pro
    frozenset({0xD44, 0xD48, 0xD4E, 0xD82, 0xD85, 0xD8C, 0xD90}),  # X1 … X925, C1-Ultra, C1-Premium
)
_ARM = 0x41


def sections(output: bytes) -> dict[str, bytes]:
    """The parts of an output that are announced by lines "@@ NAME"."""
    parts = re.split(rb"(?m)^@@ (\w+)\r?\n", output)
    return {name.decode("ascii"): text for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def facts_of(output: bytes, serial: str) -> DeviceFacts:
    """Facts from the output of FACTS_SCRIPT; `serial` stands in for a phone that hides its own."""
    parts = sections(output)
    props = parse_getprop(parts.get("getprop", b""))

    def first(*names: str) -> str:
        return next((props[name] for name in names if props.get(name)), "")

    memory = parse_proc_meminfo(parts.get("meminfo", b""))
    storage = parse_df(parts.get("df", b""))
    abis = first("ro.product.cpu.abilist", "ro.product.cpu.abi")
    return DeviceFacts(
        identity=first("ro.serialno", "ro.boot.serialno") or serial,
        kind=DeviceKind.VIRTUAL if _is_virtual(props) else DeviceKind.PHONE,
        manufacturer=first("ro.product.manufacturer", "ro.product.brand"),
        model=first("ro.product.model"),
        product=first("ro.product.name"),
        device=first("ro.product.device"),
        soc=first("ro.soc.model", "ro.board.platform", "ro.hardware"),
        os_version=first("ro.build.version.release"),
        os_fingerprint=first("ro.build.fingerprint", "ro.build.display.id"),
        abis=tuple(abi.strip() for abi in abis.split(",") if abi.strip()),
        ram_bytes=_bytes(memory["memory_total_mb"]),
        storage_free_bytes=_bytes(storage["storage_free_mb"]),
        storage_total_bytes=_bytes(storage["storage_total_mb"]),
        cores=cores_of(parts.get("cores", b""), parts.get("cpuinfo", b"")),
        cpus_allowed=cpu_list(parts.get("allowed", b"").decode("ascii", "replace").partition(":")[2]),
    )


def is_locked_since_boot(output: bytes) -> bool:
    """Whether nobody has unlocked the phone since it started, from the output of FACTS_SCRIPT."""
    parts = sections(output)
    if b"RUNNING_LOCKED" in parts.get("user", b""):
        return True
    return parse_getprop(parts.get("getprop", b"")).get("sys.user.0.ce_available") == "false"


def cores_of(listing: bytes, cpuinfo: bytes) -> tuple[CpuCore, ...]:
    """Cores from lines "INDEX CAPACITY MAX_KHZ" ("-" where hidden).

    Where the phone hides both for every core, the class of the core's part number in /proc/cpuinfo takes the place of
    its capacity: it tells big from little and nothing more.
    """
    rows = re.findall(rb"(?m)^(\d+) (\d+|-) (\d+|-)\r?$", listing)
    cores = [CpuCore(int(index), _whole(capacity), _whole(khz)) for index, capacity, khz in rows]
    if any(core.capacity is not None or core.max_khz is not None for core in cores):
        return tuple(sorted(cores, key=lambda core: core.index))
    classes = {
        processor.index: _arm_class(processor.implementer, processor.part)
        for processor in parse_cpuinfo(cpuinfo).processors
    }
    indices = sorted({core.index for core in cores} | set(classes))
    return tuple(CpuCore(index, classes.get(index), None) for index in indices)


def cpu_list(text: str) -> tuple[int, ...]:
    """Numbers of a list such as "0-3,6"."""
    found: list[int] = []
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _arm_class(implementer: str, part: str) -> int | None:
    try:
        if int(implementer, 16) != _ARM:
            return None
        number = int(part, 16)
    except ValueError:
        return None
    rank = next((rank for rank, parts in enumerate(_ARM_CLASSES) if number in parts), None)
    return None if rank is None else 1024 * (rank + 1) // len(_ARM_CLASSES)


def _is_virtual(props: Mapping[str, str]) -> bool:
    return (
        props.get("ro.farm.virtual") == "1"
        or props.get("ro.kernel.qemu") == "1"
        or props.get("ro.boot.qemu") == "1"
        or props.get("ro.hardware") in ("goldfish", "ranchu", "cutf_cvm")
    )


def _bytes(reading: Reading) -> int | None:
    return round(reading.value * MEGABYTE) if isinstance(reading, Measured) else None


def _whole(text: bytes) -> int | None:
    return None if text == b"-" else int(text)
