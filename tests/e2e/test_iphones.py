"""iPhones by the whole command: the same run as on Android phones, and each way in which an iPhone fails it."""

from __future__ import annotations

import os
import plistlib
import signal
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from device_agents.virtual.lab import Lab, LabInfo, parse_wish
from harness.errors import FarmError
from harness.supply import native_recipes, virtual_ipa
from harness.supply.virtual_ipa import VirtualApp
from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, Farm, Going, base_inventory, every_metric_explains_itself
from tests.e2e.test_leases import beside
from tests.lab.conftest import RunningLab, StartLab, eventually

PHONE, OLD = "iphone-15-pro", "iphone-14"


@pytest.fixture(scope="module")
def app() -> VirtualApp:
    """farm-runner with a runtime that follows a script, as an app."""
    try:
        return virtual_ipa.build(native_recipes.CALIBRATION, jobs=os.cpu_count() or 1, say=lambda _stage: None)
    except FarmError as unavailable:
        pytest.skip(f"no runner can be built here: {unavailable}")


@pytest.fixture(scope="module")
def iphones() -> Iterator[RunningLab]:
    """Two iPhones of different iOS; tests leave them as they were."""
    lab = Lab(f"test-iphones-{os.getpid()}")
    running = RunningLab(lab, lab.up([parse_wish(PHONE), parse_wish(f"{OLD}@16")], die_with=os.getpid()))
    yield running
    lab.down()


@pytest.fixture
def farm_of(tmp_path: Path, iphones: RunningLab, app: VirtualApp) -> Iterator[Callable[[str], Farm]]:
    """A farm of one of the iPhones."""
    made: list[Farm] = []

    def make(phone: str) -> Farm:
        made.append(Farm(tmp_path, dict(iphones.env), base_inventory([])))
        with_iphones(made[-1], iphones.info, app, phone)
        made[-1].write(models=[made[-1].model()])
        return made[-1]

    yield make
    for farm in made:
        farm.end_all()


@pytest.fixture
def farm(farm_of: Callable[[str], Farm]) -> Farm:
    """A farm of the first iPhone."""
    return farm_of(PHONE)


def with_iphones(farm: Farm, info: LabInfo, app: VirtualApp, *ids: str) -> None:
    """Add iPhones of a lab, where they are reached, and their app."""
    entries = [
        {"id": phone.id, "platform": "ios", "tier": phone.tier, "match": {"serial": phone.udid}}
        for phone in info.iphones
        if phone.id in ids
    ]
    runner = {"id": "app", "runtime": "llama.cpp", "platform": "ios", "abi": app.abi, "path": str(app.file)}
    farm.write(
        lab={**farm.inventory["lab"], "usbmux": info.usbmux, "tunneld": info.tunneld},
        devices=[*farm.inventory["devices"], *entries],
        runners=[*farm.inventory["runners"], runner],
        workloads={"bench": scripted(8), "some": scripted(120), "endless": scripted(900)},
    )


def scripted(tokens: int) -> dict[str, Any]:
    """A workload of so many tokens of 25 ms."""
    script = '{"load_ms": 20, "intervals_ms": [25]}'
    return {
        "kind": "stream",
        "prompt_tokens": 8,
        "gen_tokens": tokens,
        "context": 1024,
        "threads": 1,
        "env": {"FARM_SCRIPT": script},
    }


def another_build(app: VirtualApp, path: Path) -> Path:
    """The same app as another build."""
    with zipfile.ZipFile(app.file) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith(".app/Info.plist"):
                content = plistlib.dumps({**plistlib.loads(content), "CFBundleVersion": "1000"})
            new.writestr(entry, content)
    return path


def status_of(lab: RunningLab, phone: str = PHONE) -> Mapping[str, Any]:
    udid = lab.info.iphone(phone).udid
    return next(entry for entry in lab.lab.iphones.order("status") if entry["udid"] == udid)


def at_work(going: Going, lab: RunningLab, repeat: int = 1) -> int:
    """Wait until the app of a measurement runs; returns its pid."""
    going.until(rf"{PHONE}: .*#{repeat}  run")
    eventually(lambda: status_of(lab)["processes"])
    return int(status_of(lab)["processes"][0]["pid"])


# --- one run over both ------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_one_run_and_one_report_of_both_platforms(on_phones: MakeFarm, start_lab: StartLab, app: VirtualApp) -> None:
    lab = start_lab("pixel-8-pro", PHONE)
    farm = on_phones(of=lab)
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER)])
    with_iphones(farm, lab.info, app, PHONE)
    bench = {"kind": "throughput", "prompt_tokens": 16, "gen_tokens": 8, "threads": 1}
    farm.write(workloads={"bench": bench}, suites={"standard": {"workloads": ["bench"], "repeats": 2}})

    shown = {row["id"]: row for row in farm("--json", "devices").expect(0).json()["devices"]}
    assert {(row["platform"], row["state"], row["kind"]) for row in shown.values()} == {
        ("android", "ready", "virtual"),
        ("ios", "ready", "virtual"),
    }
    done = farm("--json", "run", "--tier", "flagship").expect(0).json()
    assert done["counts"] == {"measured": 4, "skipped": 2}, "each runner is for one platform"

    rows = [row for row in farm.rows() if row["status"] == "measured"]
    for row in rows:
        every_metric_explains_itself(row)
        assert row["provenance"]["device_kind"] == "virtual"
    first, second = (row for row in rows if row["device"] == PHONE)
    metrics = first["metrics"]
    assert metrics["decode_tps"]["value"] > 0 and metrics["ms_per_token"]["value"] > 0
    assert metrics["thermal_status_max"]["value"] == 0
    assert "external power is attached" in metrics["energy_j"]["unavailable"]
    assert "no one" in metrics["temperature_peak_c"]["unavailable"]
    assert metrics["battery_level_start_pct"]["value"] > 0
    assert metrics["peak_memory_mb"]["value"] > 0
    assert first["provenance"]["load"].startswith("first") and second["provenance"]["load"] == "warm"
    assert first["provenance"]["process"].startswith("an app")

    (report,) = (farm.folder / ".farm" / "reports").glob("flagship.html")
    text = report.read_text(encoding="utf-8")
    assert all(word in text for word in (PHONE, "pixel-8-pro", "iOS 18.5", "Android 1", "virtual phone"))

    newer = another_build(app, farm.folder / "newer.ipa")
    farm.write(
        runners=[
            entry if entry["id"] != "app" else {**entry, "path": str(newer)} for entry in farm.inventory["runners"]
        ]
    )
    again = farm("--json", "run", "--tier", "flagship", "--repeats", "1").expect(0).json()
    assert PHONE in farm("compare", done["run"], again["run"]).expect(0).out
    measured = [row for row in farm.rows() if row["run"] == again["run"] and row["status"] == "measured"]
    (loaded,) = (row for row in measured if row["device"] == PHONE)
    assert loaded["provenance"]["load"] == "first after an install"
    assert loaded["metrics"]["load_first_ms"]["value"] > 0
    assert "first load after an install" in loaded["metrics"]["load_ms"]["unavailable"]
    by_hand = farm("show", first["case"], "--command").expect(0).out
    assert "pymobiledevice3 developer dvt launch" in by_hand and lab.info.iphone(PHONE).udid in by_hand


# --- deaths -----------------------------------------------------------------------------------------------------------

DEATHS: Mapping[str, tuple[str, Mapping[str, Any], str, str]] = {
    "jetsam": ("jetsam", {}, "out_of_memory", "pages of 16384 bytes"),
    "crash": ("crash", {"signal": int(signal.SIGSEGV)}, "crashed", "EXC_BAD_ACCESS"),
    "watchdog": ("watchdog", {}, "watchdog", "0x8badf00d"),
    "user": ("user_kill", {}, "user_killed", "swiped away"),
    "background": ("to_background", {}, "not_frontmost", "background"),
    "lock": ("locked", {}, "not_frontmost", "background"),
}


@pytest.mark.long
def test_each_death_has_its_class_and_evidence_and_the_phone_is_usable(farm: Farm, iphones: RunningLab) -> None:
    """That the phone is usable after each is shown by the next one."""
    farm.write(suites={"standard": {"workloads": ["endless"], "repeats": len(DEATHS)}})
    going = farm.start("-v", "run")
    for number, (order, values, _, _) in enumerate(DEATHS.values(), 1):
        at_work(going, iphones, number)
        iphones.lab.iphones.order(order, PHONE, **values)
        going.until(rf"{PHONE}.*#{number} .* in run|{PHONE}.*#{number}  clean_up")
        if order == "locked":
            iphones.lab.iphones.order(order, PHONE, on=False)
    going.end().expect(1)
    rows = {row["repeat"]: row for row in farm.rows()}
    for number, (name, (_, _, expected, evidence)) in enumerate(DEATHS.items(), 1):
        row = rows[number]
        assert (name, row["status"], row["error"]["class"]) == (name, "failed", expected), row["error"]
        assert evidence.lower() in str((row["error"], row["provenance"])).lower(), (name, row["error"])


# --- cables -----------------------------------------------------------------------------------------------------------

STEPS = ("select", "storage", "deploy", "gate", "warm_up", "run", "collect", "clean_up")


@pytest.mark.long
def test_a_cable_pulled_at_any_step_costs_no_measurement(farm: Farm, iphones: RunningLab) -> None:
    farm.write(suites={"standard": {"workloads": ["bench"], "repeats": len(STEPS)}})
    going = farm.start("-v", "run")
    for number, step in enumerate(STEPS, 1):
        going.until(rf"{PHONE}: .*#{number}  {step}")
        iphones.lab.iphones.order("unplug", PHONE)
        eventually(lambda: not status_of(iphones)["plugged"])
        iphones.lab.iphones.order("plug", PHONE)
    going.end().expect(0)
    assert [row["status"] for row in farm.rows()] == ["measured"] * len(STEPS)
    assert not status_of(iphones)["processes"]


@pytest.mark.long
def test_a_push_goes_on_where_the_cable_was_pulled(farm: Farm, iphones: RunningLab) -> None:
    size, offsets = 16_000_000, (1, 15_000_000)
    models = []
    for number, offset in enumerate(offsets):
        entry = farm.model(f"model-{number}.gguf", padding=size + 512 * number + os.getpid() % 500 * 4096)
        models.append({**entry, "id": f"cut-at-{offset}"})
    farm.write(suites={"standard": {"workloads": ["bench"], "repeats": 1}})
    for entry, offset in zip(models, offsets, strict=True):
        farm.write(models=[entry])
        iphones.lab.iphones.order("unplug", PHONE, after_bytes=offset)
        going = farm.start("-v", "run")
        eventually(lambda: not status_of(iphones)["plugged"], limit_s=30)
        iphones.lab.iphones.order("plug", PHONE)
        going.end().expect(0)
    with farm.store() as store:
        resumed = {}
        for row in store.measurements():
            assert row.status == "measured"
            deploys = [step for step in store.steps(row.planned.key) if step.step == "deploy"]
            resumed[row.planned.model.id] = deploys[-1].detail["model"]["resumed_bytes"]
    assert resumed["cut-at-15000000"] >= 10_000_000, resumed


# --- controllers ------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_two_controllers_want_one_iphone(farm: Farm, iphones: RunningLab) -> None:
    farm.write(suites={"standard": {"workloads": ["endless"], "repeats": 1}})
    other = beside(farm, "colleague")
    other.write(suites={"standard": {"workloads": ["bench"], "repeats": 1}})
    first = farm.start("-v", "run", env={"FARM_OWNER": "alice@desk"})
    pid = at_work(first, iphones)
    other("run", env={"FARM_OWNER": "bob@desk"}).expect(1, "is in use by alice@desk", "device_leased")
    assert [each["pid"] for each in status_of(iphones)["processes"]] == [pid], "the first one's app runs on"
    iphones.lab.iphones.order("user_kill", PHONE)
    first.end().expect(1)


@pytest.mark.long
def test_a_killed_controller_loses_nothing_and_measures_nothing_twice(farm: Farm, iphones: RunningLab) -> None:
    farm.write(suites={"standard": {"workloads": ["some"], "repeats": 2}})
    going = farm.start("-v", "run")
    pid = at_work(going, iphones)
    going.kill()
    assert going.end().code == -9
    assert [each["pid"] for each in status_of(iphones)["processes"]] == [pid], "the app runs on by itself"
    resumed = farm("--json", "resume").expect(0).json()
    assert resumed["counts"] == {"measured": 2}
    assert sorted((row["repeat"], row["status"]) for row in farm.rows()) == [(1, "measured"), (2, "measured")]
    assert not status_of(iphones)["processes"]


# --- what is missing --------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_what_an_iphone_lacks_is_said_and_what_can_be_cured_is(
    farm_of: Callable[[str], Farm], iphones: RunningLab
) -> None:
    farm = farm_of(OLD)
    iphones.lab.iphones.order("developer_mode_off", OLD)
    iphones.lab.iphones.order("not_paired", OLD)
    try:
        farm("run").expect(3, "what to do", "tap Trust")
        assert "Privacy & Security, Developer Mode" in farm("doctor").out
    finally:
        iphones.lab.iphones.order("developer_mode_off", OLD, on=False)
    farm("run").expect(0)
