"""A drafted inventory proposes tiers with reasons, and is an inventory that loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.drafting import draft, propose_tier, render
from harness.inventory import load
from harness.model import Attached, DeviceFacts, DeviceKind, DeviceState, Platform

PHONE = DeviceFacts(
    identity="S1",
    kind=DeviceKind.PHONE,
    manufacturer="Google",
    model="Pixel 8 Pro",
    product="husky",
    device="husky",
    soc="Tensor G3",
    os_version="15",
    os_fingerprint="f",
    abis=("arm64-v8a",),
    ram_bytes=12 << 30,
    storage_free_bytes=None,
    storage_total_bytes=None,
)


@pytest.mark.parametrize(
    ("soc", "gib", "tier"),
    [
        ("Tensor G3", 11.2, "flagship"),
        ("SM8650", 11.0, "flagship"),
        ("SM8650", 5.5, "mid-range"),
        ("GS201", 7.3, "mid-range"),
        ("S5E8835", 7.3, "mid-range"),
        ("MT6877V/TTZA", 5.4, "budget"),
        ("", 16.0, "budget"),
    ],
)
def test_the_tier_follows_soc_and_ram(soc: str, gib: float, tier: str) -> None:
    proposed, why = propose_tier(replace(PHONE, soc=soc, ram_bytes=int(gib * (1 << 30))))
    assert proposed == tier
    assert "RAM" in why


def attached(serial: str, model: str) -> Attached:
    facts = replace(PHONE, identity=serial, model=model)
    return Attached(Platform.ANDROID, serial, (serial,), DeviceState.READY, "", facts)


@pytest.mark.parametrize("serial", ["S1", "a b'c\"d", "$(reboot); #", "<script>", "ünï: - {x}"])
def test_a_draft_loads_whatever_the_serial_and_the_model_are_called(tmp_path: Path, serial: str) -> None:
    rows = draft([attached(serial, "Odd\nModel # {x}"), attached("other", "Odd Model")])
    assert len({row.id for row in rows}) == 2
    file = tmp_path / "inventory.yaml"
    file.write_text(render(rows), encoding="utf-8")
    loaded = load(file).inventory
    assert [device.match.serial for device in loaded.devices] == [serial, "other"]
    assert "flagship" in loaded.tiers
