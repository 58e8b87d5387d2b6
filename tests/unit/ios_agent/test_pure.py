"""What an iPhone's agent reads: versions, leases, events, samples, reports. No phone is needed."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.ios import failures
from device_agents.ios.deaths import report_of
from device_agents.ios.discovery import attached_of, facts_of
from device_agents.ios.events import told_by
from device_agents.ios.evidence import signs_of
from device_agents.ios.lease_rules import decide
from device_agents.ios.muxer import muxer_address
from device_agents.ios.products import PRODUCTS, product_of
from device_agents.ios.samples import is_ios, lines_of_events, parse_samples
from device_agents.ios.versions import developer_way, has_developer_mode, version_of
from device_agents.samples import parse_samples as parse_any
from harness.death import classify_death
from harness.errors import ErrorClass, UsageError
from harness.model import DeviceKind, DeviceState, Trace


@pytest.mark.parametrize(
    ("version", "way"),
    [
        ("15.8", "lockdown"),
        ("16.7.10", "lockdown"),
        ("17.0", "none"),
        ("17.3.1", "none"),
        ("17.4", "tunnel"),
        ("18.5", "tunnel"),
        ("26.0", "tunnel"),
        ("", "lockdown"),
    ],
)
def test_developer_services_by_version(version: str, way: str) -> None:
    assert developer_way(version) == way


def test_versions() -> None:
    assert version_of("17.4.1") == (17, 4, 1) and version_of("beta") == () and version_of("1" * 40) == ()
    assert has_developer_mode("16.0") and not has_developer_mode("15.9")


def test_products() -> None:
    found = product_of("iPhone16,1")
    assert found is not None and (found.name, found.chip, found.performance_cores) == ("iPhone 15 Pro", "A17 Pro", 2)
    assert product_of("iPhone99,1") is None
    assert {"iPhone14,7", "iPhone14,6", "iPhone14,5"} <= set(PRODUCTS)


def test_every_kind_of_failure_has_words() -> None:
    for kind in failures.KINDS:
        error = failures.typed("phone", kind, "said\nso", "doing")
        assert error.message.startswith("phone: ") and "said so" in error.message


@pytest.mark.parametrize(
    ("said", "expected"),
    [("127.0.0.1:27015", "127.0.0.1:27015"), ("UNIX:/run/x", "/run/x"), ("/run/y", "/run/y"), ("", "lab:1")],
)
def test_muxer_of_the_environment_wins(monkeypatch: pytest.MonkeyPatch, said: str, expected: str) -> None:
    monkeypatch.setenv("USBMUXD_SOCKET_ADDRESS", said)
    assert muxer_address("lab:1") == expected


@pytest.mark.parametrize("said", ["[::1]:5", "host", "host:port", ":5", "a:b:1"])
def test_muxer_address_that_is_none(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("USBMUXD_SOCKET_ADDRESS", said)
    with pytest.raises(UsageError, match="USBMUXD_SOCKET_ADDRESS"):
        muxer_address(None)


# --- lease ------------------------------------------------------------------------------------------------------------


def held(until: int, token: str = "other") -> str:
    return f"{until}\n{token}\n{{}}\n"


@pytest.mark.parametrize(
    ("verb", "found", "mine"),
    [
        ("acquire", "", True),
        ("acquire", held(200), False),
        ("acquire", held(100), True),
        ("acquire", held(200, "me"), True),
        ("acquire", held(200, "dead"), True),
        ("acquire", "garbage", True),
        ("acquire", "x\ny\nz\n", True),
        ("renew", held(50, "me"), True),
        ("renew", held(50), False),
        ("renew", "", False),
        ("read", held(50, "me"), False),
    ],
)
def test_who_gets_the_lease(verb: str, found: str, mine: bool) -> None:
    after = decide(verb, "me", "dead", 30, "{}", now=100.9, found=found)
    assert after == ("130\nme\n{}\n" if mine else found)


def test_only_the_holder_gives_it_back() -> None:
    assert decide("release", "me", "", 0, "", now=1, found=held(9, "me")) == ""
    assert decide("release", "me", "", 0, "", now=1, found=held(9)) == held(9)


# --- events and samples -----------------------------------------------------------------------------------------------

EVENTS = [
    {"event": "start", "t": 5_000_000_000, "contract": "1.1", "pid": 7},
    {
        "event": "device",
        "t": 5_100_000_000,
        "thermal_state": "fair",
        "low_power": True,
        "available_bytes": 3_000_000_000,
    },
    {"event": "memory", "t": 5_200_000_000, "vm_hwm_bytes": 1},
    {"event": "device", "t": 9_000_000_000, "thermal_state": "serious"},
    {"event": "error", "t": 9_500_000_000, "class": "not_frontmost", "message": "m"},
]
LINES = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)


def test_what_an_app_told() -> None:
    told = told_by(b"noise\n" + LINES + b'{"event": "cut')
    assert told.start is not None and told.start["pid"] == 7
    assert told.error == ("not_frontmost", "m")
    assert len(told.devices) == 2 and told.last_t == 9_500_000_000


SAMPLES = [
    {"farm_samples": "ios", "version": 1, "pid": 7},
    {"k": "clock", "before": 1000.0, "uptime": 5.0, "after": 1000.2},
    {"k": "clock", "before": 1002.0, "uptime": 7.005, "after": 1002.01},
    {"k": "process", "at": 1003.0, "footprint": 300_000_000, "cpu": 98.5},
    {"k": "process", "at": 1004.0, "footprint": 310_000_000},
    {
        "k": "battery",
        "at": 1004.5,
        "of": {
            "UpdateTime": 1700000000,
            "InstantAmperage": -500,
            "Voltage": 3900,
            "Temperature": 3010,
            "CurrentCapacity": 80,
            "MaxCapacity": 100,
            "ExternalConnected": 0,
            "IsCharging": 0,
        },
    },
]


def channels(data: bytes) -> dict[str, Trace]:
    return {trace.channel.name: trace for trace in parse_any(data)}


def samples(lines: list[dict[str, object]] = SAMPLES) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_samples_lie_on_the_phones_axis() -> None:
    found = channels(samples() + lines_of_events(told_by(LINES)))
    footprint = found["runner.phys_footprint"]
    assert footprint.values == (300.0, 310.0)
    assert footprint.uptime_s == pytest.approx((8.0, 9.0)), "by the shorter bracket"
    assert found["runner.cpu"].values == (98.5,)
    assert found["battery.level"].values == (80.0,) and found["battery.current"].values == (-0.5,)
    assert found["battery.external"].values == (0.0,)
    assert found["thermal.status"].values == (1.0, 3.0) and found["thermal.status"].uptime_s == pytest.approx(
        (5.1, 9.0)
    )
    assert found["power.saver"].values == (1.0,) and found["runner.available"].values == (3000.0,)


def test_samples_without_a_clock_are_absent_with_the_reason() -> None:
    found = channels(samples([line for line in SAMPLES if line.get("k") != "clock"]))
    assert found["runner.phys_footprint"].values == ()
    assert "clock was never read" in found["runner.phys_footprint"].channel.absent
    assert "never sampled" in found["thermal.status"].channel.absent


def test_samples_are_told_apart() -> None:
    assert is_ios(samples()) and not is_ios(b"farm-samples 1\n") and not is_ios(b"")
    assert "runner.vm_rss" in channels(b"farm-samples 1\n")


def test_torn_samples_never_raise() -> None:
    chance = random.Random(5)
    whole = samples() + lines_of_events(told_by(LINES))
    for _ in range(300):
        text = bytearray(whole)
        for _ in range(10):
            at = chance.randrange(len(text))
            text[at : at + chance.randrange(30)] = chance.randbytes(chance.randrange(6))
        names = [trace.channel.name for trace in parse_samples(bytes(text))]
        assert names == sorted(names) and "battery.level" in names


@given(st.binary(max_size=400))
def test_any_bytes_are_read(data: bytes) -> None:
    parse_samples(data)
    told_by(data)
    report_of({"JetsamEvent-1.ips": data, "FarmRunner-1.ips": data}, 7)


# --- reports ----------------------------------------------------------------------------------------------------------


def jetsam(pid: int = 7, **more: object) -> bytes:
    head = {"bug_type": "298", "timestamp": "2026-01-01 00:00:00.00 +0000"}
    body = {
        "memoryStatus": {"pageSize": 16384, "memoryPages": {"free": 4000}},
        "largestProcess": "SpringBoard",
        "processes": [
            {"pid": 1, "name": "SpringBoard", "rpages": 400000},
            {"pid": 3, "name": "Other", "rpages": 10, "reason": "vm-pageshortage"},
            {"pid": pid, "name": "FarmRunner", "rpages": 131072, "reason": "per-process-limit", **more},
        ],
    }
    return json.dumps(head).encode() + b"\n" + json.dumps(body, indent=2).encode()


def crash(pid: int = 7, code: int = 11, namespace: str = "SIGNAL", name: str = "SIGSEGV") -> bytes:
    body = {
        "pid": pid,
        "procName": "FarmRunner",
        "exception": {"type": "EXC_BAD_ACCESS", "signal": name, "subtype": "KERN_INVALID_ADDRESS"},
        "termination": {"namespace": namespace, "code": code, "details": ["scene-update"]},
    }
    return b'{"bug_type":"309","name":"FarmRunner"}\n' + json.dumps(body).encode()


def class_of(reports: dict[str, bytes], *, killed: bool = True) -> ErrorClass | None:
    signs = signs_of(report_of(reports, 7), 7, "B", killed=killed)
    death = classify_death(signal=9, exit_code=None, ended_by="exit", boot_before="B", signs=signs)
    return death.error_class if death else None


def test_jetsam_of_ours_says_how_much_it_held() -> None:
    found = report_of({"JetsamEvent-2026-01-01-000000.ips": jetsam()}, 7)
    assert found is not None and found.kind == "jetsam" and found.others == 1
    assert "2147 MB (131072 pages of 16384 bytes)" in found.text and "per-process-limit" in found.text
    assert class_of({"JetsamEvent-1.ips": jetsam()}) is ErrorClass.OUT_OF_MEMORY


def test_jetsam_of_others_is_not_ours() -> None:
    assert report_of({"JetsamEvent-1.ips": jetsam(pid=8)}, 7) is None
    assert report_of({"JetsamEvent-1.ips": jetsam(reason=None)}, 7) is None


def test_other_deaths() -> None:
    watchdog = crash(code=0x8BADF00D, namespace="FRONTBOARD", name="SIGKILL")
    assert class_of({"FarmRunner-1.ips": watchdog}) is ErrorClass.WATCHDOG
    assert class_of({"FarmRunner-1.ips": crash(code=0xDEADFA11, name="SIGKILL")}) is ErrorClass.USER_KILLED
    assert class_of({}) is ErrorClass.USER_KILLED
    assert class_of({}, killed=False) is None, "nobody saw a SIGKILL"
    found = report_of({"FarmRunner-1.ips": crash()}, 7)
    assert found is not None and (found.kind, found.signal) == ("crash", 11)
    assert signs_of(found, 7, "B", killed=False).tombstone == found.text


# --- discovery --------------------------------------------------------------------------------------------------------

VALUES = {
    "UniqueDeviceID": "00008130-1",
    "ProductType": "iPhone16,1",
    "ProductVersion": "18.5",
    "BuildVersion": "22F76",
    "HardwareModel": "D83AP",
    "CPUArchitecture": "arm64e",
}


def test_facts_of_a_phone() -> None:
    facts = facts_of(VALUES, {"AmountDataAvailable": 5, "TotalDataCapacity": 9}, "x")
    assert (facts.identity, facts.kind, facts.abis) == ("00008130-1", DeviceKind.PHONE, ("arm64-v8a",))
    assert (facts.storage_free_bytes, facts.storage_total_bytes) == (5, 9)
    odd = facts_of({}, None, "odd $(x)")
    assert (odd.identity, odd.model, odd.ram_bytes) == ("odd $(x)", "", None)


def test_everything_that_could_not_be_seen_is_said() -> None:
    cut = {"kind": "cut", "text": "gone away"}
    found = attached_of(
        "u", ("usb",), {"paired": True, "values": VALUES, "disk": cut, "battery": cut, "image": cut}, None
    )
    levels = {check.name: check.level for check in found.checks}
    assert levels["battery"] == levels["image"] == "unknown" and found.state is DeviceState.READY
    old = attached_of("u", ("usb",), {"paired": True, "values": {**VALUES, "ProductVersion": "17.2"}}, None)
    assert old.state is DeviceState.NOT_PREPARED and "17.4" in old.advice
