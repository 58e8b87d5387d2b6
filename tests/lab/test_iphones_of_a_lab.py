"""iPhones as part of a lab: by the same name, the same commands and the same end as its other phones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from device_agents.ios.discovery import discover
from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone.lab import BEHAVIOURS, IphoneWish
from device_agents.virtual.iphone.phone import FAULTS
from device_agents.virtual.lab import Lab, all_labs, parse_wish
from harness.cli.main import cli
from harness.inventory import load
from harness.model import DeviceState, Platform
from tests.lab.conftest import StartLab, eventually


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A name for a lab, taken down at the end."""
    made = Lab(f"test-mixed-{os.getpid()}")
    yield made
    made.down()


def test_wishes_for_iphones() -> None:
    assert parse_wish("iphone-14@16+locked") == IphoneWish("iphone-14@16", ("locked",))
    assert set(BEHAVIOURS) >= FAULTS, "each has its words"
    with pytest.raises(LabError, match="no iPhone profile 'iphone-9'"):
        parse_wish("iphone-9")
    with pytest.raises(LabError, match="does not run iOS 3"):
        parse_wish("iphone-14@3")
    with pytest.raises(LabError, match="no behaviour 'deny_settings' of an iPhone"):
        parse_wish("iphone-14+deny_settings")
    with pytest.raises(LabError, match="no behaviour 'locked'"):
        parse_wish("pixel-7a+locked")


def test_iphones_alone_from_the_command_line(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USBMUXD_SOCKET_ADDRESS", raising=False)
    file = tmp_path / "lab.yaml"
    wished = ("--phone", "iphone-15-pro", "--phone", "iphone-14@16+developer_mode_off")
    said = CliRunner().invoke(cli, ["--json", "lab", "up", "--name", lab.name, *wished, "--inventory-out", str(file)])
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert told["adb"] is None and told["env"] == {"USBMUXD_SOCKET_ADDRESS": told["usbmux"]}
    assert [(phone["id"], phone["platform"], phone["behaviours"]) for phone in told["phones"]] == [
        ("iphone-15-pro", "ios", []),
        ("iphone-14", "ios", ["developer_mode_off"]),
    ]

    inventory = load(file).inventory
    assert (inventory.lab.usbmux, inventory.lab.tunneld) == (told["usbmux"], told["tunneld"])
    assert [(device.platform, device.tier) for device in inventory.devices] == [
        (Platform.IOS, "flagship"),
        (Platform.IOS, "mid-range"),
    ]
    assert [runner.platform for runner in inventory.runners].count(Platform.IOS) >= 1
    states = {each.serial: each.state for each in discover(inventory.lab)}
    assert [states[str(device.match.serial)] for device in inventory.devices] == [
        DeviceState.READY,
        DeviceState.NOT_PREPARED,
    ]

    with pytest.raises(LabError, match="is up"):
        lab.up([parse_wish("iphone-se-3")])
    assert lab.name in [each.name for each in all_labs()]
    assert "iphone-14" in CliRunner().invoke(cli, ["lab", "status", "--name", lab.name]).output
    assert CliRunner().invoke(cli, ["lab", "down", "--name", lab.name]).exit_code == 0
    assert lab.status() is None and lab.name not in [each.name for each in all_labs()]
    assert lab.down() is False


def test_both_kinds_under_one_name(start_lab: StartLab) -> None:
    running = start_lab("pixel-7a", "iphone-se-3")
    info = running.info
    assert ([phone.id for phone in info.phones], [phone.id for phone in info.iphones]) == (
        ["pixel-7a"],
        ["iphone-se-3"],
    )
    assert info.adb_port and info.env["USBMUXD_SOCKET_ADDRESS"] == info.usbmux
    running.lab.iphones.order("unplug", "iphone-se-3")
    seen = running.lab.status()
    assert seen is not None and not seen.iphone("iphone-se-3").plugged and seen.phone("pixel-7a").plugged
    with pytest.raises(LabError, match="is up"):
        running.lab.up([parse_wish("iphone-14")])
    os.kill(info.pid, 9)
    eventually(lambda: not running.lab.iphones.is_up())
    assert running.lab.down() is True
    assert running.lab.status() is None
