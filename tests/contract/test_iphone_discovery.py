"""What `farm devices` and `farm doctor` are told of virtual iPhones, and what each missing thing needs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from device_agents.ios.agent import IosAgent
from device_agents.ios.discovery import can_prepare, discover, prepare
from device_agents.ios.muxer import listed
from device_agents.virtual.iphone.lab import IphoneWish
from harness.errors import ErrorClass, FarmError
from harness.model import Attached, DeviceKind, DeviceState, Lab, Platform
from tests.contract.helpers import run_job, wait_until
from tests.contract.iphones import app, spec
from tests.contract.test_iphone_jobs import lab_of
from tests.lab.iphone_lab import Running, iphones


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "cache"))


def the_one(running: Running) -> Attached:
    udid = running.phone().udid
    return next(each for each in discover(lab_of(running)) if each.serial == udid)


def level_of(attached: Attached, name: str) -> str:
    return next(check.level for check in attached.checks if check.name == name)


def test_ready_phone(iphone_lab: Running) -> None:
    found = the_one(iphone_lab)
    assert (found.platform, found.state, found.advice) == (Platform.IOS, DeviceState.READY, "")
    facts = found.facts
    assert facts is not None
    assert (facts.kind, facts.manufacturer, facts.model) == (DeviceKind.VIRTUAL, "Apple", "iPhone 15 Pro")
    assert facts.product == "iPhone16,1" and facts.soc == "A17 Pro" and facts.performance_cores == 2
    assert facts.identity == iphone_lab.phone().udid and facts.os_version == iphone_lab.phone().ios
    assert facts.storage_free_bytes and facts.ram_bytes and facts.abis
    assert {check.name: check.level for check in found.checks} == dict.fromkeys(
        ("link", "pairing", "battery", "developer mode", "image", "app", "tunnel"), "ok"
    )


@pytest.mark.parametrize(
    ("fault", "name", "state"),
    [
        ("developer_mode_off", "developer mode", DeviceState.NOT_PREPARED),
        ("no_image", "image", DeviceState.NOT_PREPARED),
    ],
)
def test_each_missing_thing_has_advice(iphone_lab: Running, fault: str, name: str, state: DeviceState) -> None:
    iphone_lab.order(fault)
    try:
        found = the_one(iphone_lab)
    finally:
        iphone_lab.order(fault, on=False)
    assert found.state is state
    problem = next(check for check in found.checks if check.level == "problem")
    assert (problem.name, bool(problem.advice)) == (name, True)
    assert problem.advice in found.advice
    assert the_one(iphone_lab).state is DeviceState.READY


def test_locked_phone_is_warned_of(iphone_lab: Running) -> None:
    iphone_lab.order("locked")
    try:
        found = the_one(iphone_lab)
    finally:
        iphone_lab.order("locked", on=False)
    lock = next(check for check in found.checks if check.name == "lock")
    assert lock.level == "warning" and "unlock" in lock.advice
    assert "lock" not in [check.name for check in the_one(iphone_lab).checks]


def test_phone_that_nobody_has_unlocked_since_its_start(iphone_lab: Running) -> None:
    iphone_lab.order("locked_since_boot")
    try:
        assert wait_until(lambda: the_one(iphone_lab).state is DeviceState.LOCKED_SINCE_BOOT, limit_s=40)
        assert not can_prepare(the_one(iphone_lab)), "only a person can unlock it, and the image needs that"
    finally:
        iphone_lab.order("locked_since_boot", on=False)
        # A restart unmounts it.
        iphone_lab.order("no_image", on=False)
    assert wait_until(lambda: the_one(iphone_lab).state is DeviceState.READY, limit_s=40)


def test_tunnel_that_is_missing(iphone_lab: Running) -> None:
    iphone_lab.lab.order("tunneld", on=False)
    try:
        found = the_one(iphone_lab)
    finally:
        iphone_lab.lab.order("tunneld", on=True)
    assert (found.state, level_of(found, "tunnel")) == (DeviceState.NOT_PREPARED, "problem")
    assert "lab.tunneld" in found.advice


def test_unpaired_phone_is_paired_by_preparing_it(iphone_lab: Running) -> None:
    iphone_lab.order("not_paired")
    found = the_one(iphone_lab)
    assert found.state is DeviceState.UNAUTHORIZED and "Trust" in found.advice and can_prepare(found)
    for fault, error_class in (("trust_pending", "asks whether"), ("trust_refused", "refused")):
        iphone_lab.order(fault)
        told = prepare(found, lab_of(iphone_lab))
        iphone_lab.order(fault, on=False)
        assert told.state is DeviceState.UNAUTHORIZED
        assert error_class in next(check.text for check in told.checks if check.level == "problem")
    assert prepare(found, lab_of(iphone_lab)).state is DeviceState.READY
    assert not can_prepare(the_one(iphone_lab))


def test_hot_plug_is_followed(iphone_lab: Running) -> None:
    udid = iphone_lab.phone().udid
    iphone_lab.order("unplug")
    assert udid not in [each.serial for each in discover(lab_of(iphone_lab))]
    iphone_lab.order("plug")
    assert wait_until(lambda: udid in [each.udid for each in listed(iphone_lab.info.usbmux, limit_s=5)])
    assert the_one(iphone_lab).state is DeviceState.READY


def test_muxer_that_is_gone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USBMUXD_SOCKET_ADDRESS", raising=False)
    with pytest.raises(FarmError) as raised:
        discover(Lab(usbmux="127.0.0.1:9"))
    assert raised.value.error_class is ErrorClass.MUXER_LOST and "usbmuxd" in raised.value.advice


def test_phone_of_an_odd_udid_is_used_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names folders of this host, stands in commands for people, and never leaves its place."""
    odd = "00008130-Ünï; touch pwned $(id)'\"<x>.."
    monkeypatch.chdir(tmp_path)
    with iphones(tmp_path / "phones", IphoneWish("iphone-14@16", udid=odd)) as running:
        (found,) = discover(lab_of(running))
        assert (found.serial, found.state) == (odd, DeviceState.UNAUTHORIZED)
        ready = prepare(found, lab_of(running))
        assert ready.state is DeviceState.READY
        agent = IosAgent(ready, lab_of(running))
        try:
            agent.files.ensure(app(tmp_path / "app" / "FarmRunner.ipa"), keep=frozenset(), limit_s=60)
            job = spec("odd", {"print": "ran"})
            output = run_job(agent, job, tmp_path / "out")
            assert output.exit_code == 0 and output.files["stderr"].read_text() == "ran\n"
            words = [word for line in agent.by_hand(job) for word in shlex.split(line)]
            assert odd in words, "quoted as data"
        finally:
            agent.close()
    assert not (tmp_path / "pwned").exists() and not list(tmp_path.rglob("<x>"))


def test_phone_whose_udid_leads_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    with iphones(tmp_path / "phones", IphoneWish("iphone-14@16", udid="00008130-/../../x")) as running:
        (found,) = discover(lab_of(running))
    assert found.state is DeviceState.UNRESPONSIVE
    assert "not a valid single file name" in found.checks[-1].text
    assert not list(tmp_path.rglob("x"))
