"""Facts of a phone from one output."""

from __future__ import annotations

import pytest

from device_agents.android.facts import cores_of, cpu_list, facts_of, is_locked_since_boot
from device_agents.android.snapshot import snapshot_of
from harness.model import CpuCore, DeviceKind, Measured, Unavailable

OUTPUT = b"""@@ getprop
[ro.serialno]: [R58M123]
[ro.product.manufacturer]: [Example]
[ro.product.model]: [Phone <One> $(x)]
[ro.product.name]: [one]
[ro.product.device]: [onedev]
[ro.soc.model]: [SM8650]
[ro.board.platform]: [pineapple]
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a]
[ro.build.version.release]: [15]
[ro.build.fingerprint]: [example/one/onedev:15/X/1:user/release-keys]
@@ meminfo
MemTotal:       11534336 kB
MemAvailable:    6000000 kB
@@ df
Filesystem     1K-blocks     Used Available Use% Mounted on
/dev/block/dm-50 113206380 41260124 71946256 37% /data/user/0
@@ cores
0 300 1800000
4 - 2400000
7 1024 -
@@ allowed
Cpus_allowed_list:\t0-3,7
@@ cpuinfo
@@ user
    State: RUNNING_UNLOCKED
"""


def test_facts() -> None:
    facts = facts_of(OUTPUT, "transport")
    assert (facts.identity, facts.kind, facts.model, facts.soc) == (
        "R58M123",
        DeviceKind.PHONE,
        "Phone <One> $(x)",
        "SM8650",
    )
    assert facts.abis == ("arm64-v8a", "armeabi-v7a")
    assert facts.ram_bytes == 11534336 * 1024
    assert facts.storage_free_bytes == 71946256 * 1024
    assert facts.cores == (CpuCore(0, 300, 1800000), CpuCore(4, None, 2400000), CpuCore(7, 1024, None))
    assert facts.cpus_allowed == (0, 1, 2, 3, 7)
    assert not is_locked_since_boot(OUTPUT)


def test_phone_that_tells_nothing() -> None:
    facts = facts_of(b"", "transport")
    assert (facts.identity, facts.soc, facts.abis, facts.ram_bytes, facts.cores) == ("transport", "", (), None, ())


def test_older_phone_names_its_chip_by_platform() -> None:
    assert facts_of(OUTPUT.replace(b"[ro.soc.model]: [SM8650]\n", b""), "x").soc == "pineapple"


@pytest.mark.parametrize("line", [b"[ro.farm.virtual]: [1]", b"[ro.kernel.qemu]: [1]", b"[ro.hardware]: [ranchu]"])
def test_virtual(line: bytes) -> None:
    assert facts_of(OUTPUT.replace(b"[ro.serialno]", line + b"\n[ro.serialno]"), "x").kind is DeviceKind.VIRTUAL


def test_locked_since_boot() -> None:
    assert is_locked_since_boot(OUTPUT.replace(b"RUNNING_UNLOCKED", b"RUNNING_LOCKED"))
    assert is_locked_since_boot(OUTPUT.replace(b"[ro.serialno]", b"[sys.user.0.ce_available]: [false]\n[ro.serialno]"))


def test_big_cores_by_part_number_where_the_rest_is_hidden() -> None:
    cpuinfo = b"".join(
        b"processor\t: %d\nCPU implementer\t: 0x41\nCPU part\t: %s\n\n" % (index, part)
        for index, part in enumerate([b"0xd46", b"0xd46", b"0xd4d", b"0xd4e"])
    )
    cores = cores_of(b"0 - -\n1 - -\n2 - -\n3 - -\n", cpuinfo)
    capacities = [core.capacity for core in cores]
    assert capacities[0] == capacities[1]
    assert None not in capacities
    assert sorted(set(capacities)) == [capacities[0], capacities[2], capacities[3]]
    assert [core.max_khz for core in cores] == [None] * 4


def test_cores_of_an_unknown_maker_are_left_open() -> None:
    cores = cores_of(b"", b"processor : 0\nCPU implementer : 0x51\nCPU part : 0x001\n")
    assert cores == (CpuCore(0, None, None),)


@pytest.mark.parametrize(("text", "expected"), [("", ()), ("0", (0,)), ("0-2,5\n", (0, 1, 2, 5))])
def test_cpu_list(text: str, expected: tuple[int, ...]) -> None:
    assert cpu_list(text) == expected


def test_snapshot_takes_a_zone_where_the_service_has_no_cpu() -> None:
    found = snapshot_of(
        b"@@ battery\n  level: 55\n  scale: 100\n@@ thermal\n@@ meminfo\nMemAvailable: 1000 kB\n@@ zones\n"
        b"thermal_zone0 cpu-0-0 41000\nthermal_zone1 cpu-1-0 52000\nthermal_zone2 battery 30000\n"
    )
    assert found["cpu_temperature_c"] == Measured(
        52.0, "°C", found["cpu_temperature_c"].source, found["cpu_temperature_c"].resolution
    )  # type: ignore[union-attr]
    assert isinstance(found["skin_temperature_c"], Unavailable)


def test_snapshot_of_nothing_invents_nothing() -> None:
    assert all(isinstance(reading, Unavailable) for reading in snapshot_of(b"").values())
