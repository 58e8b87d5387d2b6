"""How long a plan takes, measuring and cooling apart, and how `farm plan` shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from android_runner.base import DEFAULT_MINUTES
from device_agents.android.adb import is_tcp_serial
from harness.cli import plan_view
from harness.cli.main import Context
from harness.estimate import MINUTES, OVERHEAD_S, PUSH_BYTES_PER_S, Estimate, case_seconds, estimate
from harness.model import (
    Attached,
    Device,
    DeviceFacts,
    DeviceKind,
    DeviceState,
    Gates,
    PlannedCase,
    Platform,
    Targets,
    Tier,
    UsbPort,
    Workload,
    WorkloadKind,
)
from harness.plan import Plan, ResolvedDevice
from tests.unit.store import samples

TIERS = {"flagship": Tier("Flagship", Targets(ms_per_token_max=50.0))}


def case(
    name: str = "c", repeat: int = 1, *, device: str = "pixel", kind: DeviceKind = DeviceKind.PHONE
) -> PlannedCase:
    return samples.planned_case("now", name, repeat, device=device, kind=kind)


def repeated(count: int, device: str = "pixel", kind: DeviceKind = DeviceKind.PHONE) -> tuple[PlannedCase, ...]:
    return tuple(case("c", repeat, device=device, kind=kind) for repeat in range(1, count + 1))


KNOWN = {"series-c": 30.0}


def test_a_case_takes_what_it_took_else_its_budget() -> None:
    assert case_seconds(case(), TIERS["flagship"], KNOWN) == 30.0
    # 32 generated and 64 / 8 prompt tokens at 50 ms, and a warm-up of the same length.
    assert case_seconds(case(), TIERS["flagship"], {}) == pytest.approx(OVERHEAD_S + 4.0)
    assert case_seconds(case(), None, {}) == pytest.approx(OVERHEAD_S + 8.0)


def test_a_workload_by_time_takes_its_time() -> None:
    def seconds(workload: Workload) -> float:
        return case_seconds(replace(case(), workload=workload), None, {})

    assert seconds(Workload(WorkloadKind.SUSTAINED)) == OVERHEAD_S + 600
    assert seconds(Workload(WorkloadKind.SUSTAINED, minutes=2)) == OVERHEAD_S + 120
    assert seconds(Workload(WorkloadKind.BATTERY)) == OVERHEAD_S + 3600, "the idle baseline is as long"
    assert MINUTES == DEFAULT_MINUTES


def test_a_phone_that_waited_before_waits_again() -> None:
    (device,) = estimate(repeated(5), TIERS, {"pixel": 60_000_000}, KNOWN, waits={"serial of pixel": 120.0}).devices
    assert (device.measured_s, device.cooling_s) == (150.0, 600.0)
    assert device.push_s == pytest.approx(60_000_000 / PUSH_BYTES_PER_S)
    assert device.cooling_from == "waits"
    assert device.total_s == pytest.approx(752.0)


def test_a_phone_of_which_no_wait_is_known_cools_as_published() -> None:
    found = estimate(repeated(5), TIERS, {}, KNOWN)
    # 92 % of the time: 11.5 s for each second of the four measurements that another follows.
    assert found.cooling_minutes == pytest.approx(4 * 30 * 11.5 / 60)
    share = found.cooling_minutes / (found.cooling_minutes + 2.0)
    assert share == pytest.approx(0.92)
    limited = estimate(repeated(5), TIERS, {}, KNOWN, gates=Gates(max_wait_s=60.0))
    assert limited.cooling_minutes == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("kind", "gates"),
    [(DeviceKind.VIRTUAL, Gates()), (DeviceKind.HOST, Gates()), (DeviceKind.PHONE, Gates(mode="off"))],
)
def test_no_cooling_is_made_up(kind: DeviceKind, gates: Gates) -> None:
    assert estimate(repeated(5, kind=kind), TIERS, {}, KNOWN, gates=gates).cooling_minutes == 0


def test_devices_work_in_parallel_and_the_slowest_decides() -> None:
    plan = (*repeated(2, "pixel", DeviceKind.VIRTUAL), *repeated(6, "galaxy", DeviceKind.VIRTUAL))
    found = estimate(plan, TIERS, {"pixel": 30 * PUSH_BYTES_PER_S}, KNOWN)
    assert [(device.device_id, device.total_s) for device in found.devices] == [("pixel", 90.0), ("galaxy", 180.0)]
    assert (found.minutes, found.measured_minutes, found.cases, found.from_history) == (3.0, 4.0, 8, 8)
    assert estimate((), TIERS, {}, {}) == Estimate(())


def shown(capsys: pytest.CaptureFixture[str], *, as_json: bool, **changes: object) -> str:
    plan = Plan("now", (*repeated(5), *repeated(5, "galaxy", DeviceKind.VIRTUAL)))
    context = Context(Path("inventory.yaml"), "sqlite://", as_json, 0)
    plan_view.show(context, plan, TIERS, {"pixel": 5_000_000}, KNOWN, **changes)  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_a_plan_shows_measuring_and_cooling(capsys: pytest.CaptureFixture[str]) -> None:
    why = "the cable feeds it and the hub port is not proven"
    text = shown(capsys, as_json=False, auto=True, no_energy={("pixel", "chat"): why, ("galaxy", "chat"): why})
    assert "in all: measuring 5 min, cooling 23 min" in text
    assert "cooling: as published, 92 % of the time on 1 of 2, none known on 1 of 2" in text
    assert "up to 3 times as long" in text
    assert f"no energy figures of chat on pixel, galaxy:\n  {why}" in text
    assert "galaxy (virtual phone)" in text
    times = text[text.index("Time") :]
    assert max(map(len, times.splitlines())) <= 80


def test_a_plan_for_machines_keeps_them_apart(capsys: pytest.CaptureFixture[str]) -> None:
    no_energy = {("pixel", "chat"): "charging"}
    found = json.loads(shown(capsys, as_json=True, waits={"serial of pixel": 60.0}, no_energy=no_energy))
    assert (found["measured_minutes"], found["cooling_minutes"]) == (5.0, 5.0)
    assert found["minutes_at_most"] == found["minutes"] == pytest.approx(7.5, abs=0.01)
    assert found["cooling_basis"] == "from earlier waits on 1 of 2, none known on 1 of 2"
    pixel, galaxy = found["devices"]
    assert (pixel["cooling_minutes"], pixel["no_energy"]) == (5.0, {"chat": "charging"})
    assert (galaxy["cooling_minutes"], galaxy["no_energy"]) == (0.0, {})


def phone_on(serial: str, usb: UsbPort | None = None) -> ResolvedDevice:
    facts = DeviceFacts(
        "pixel", DeviceKind.PHONE, "Google", "Pixel", "husky", "husky", "", "15", "f", ("arm64-v8a",), None, None, None
    )
    attached = Attached(
        Platform.ANDROID, serial, (serial,), DeviceState.READY, "", facts, over_network=is_tcp_serial(serial)
    )
    return ResolvedDevice("pixel", Device("pixel", Platform.ANDROID, "flagship", usb=usb), attached)


def test_a_plan_knows_which_cells_will_have_no_energy() -> None:
    drain = replace(case("d"), workload_id="drain", workload=Workload(WorkloadKind.BATTERY))
    plan = Plan("now", (case(), drain))

    def absent(serial: str, usb: UsbPort | None = None, proven: bool | None = None) -> dict[tuple[str, str], str]:
        return plan_view.absent_energy(plan, [phone_on(serial, usb)], lambda _: (proven, None))

    cable = absent("0A1B2C")
    assert set(cable) == {("pixel", "chat"), ("pixel", "drain")}
    assert "too short" in cable["pixel", "chat"]
    assert "cable" in cable["pixel", "drain"]
    assert set(absent("192.168.1.7:5555")) == {("pixel", "chat")}
    assert ("pixel", "drain") in absent("0A1B2C", UsbPort("1-2", 3), proven=False)
