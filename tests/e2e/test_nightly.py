"""`farm nightly` as a timer runs it: builds appear in a folder, nights go by, one of them is bad."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.model import CaseResult, CaseStatus, Measured, NightRole, Reading, RunStatus
from harness.store import Store
from tests.e2e.conftest import MakeFarm
from tests.e2e.support import Farm, gate, gated, left_on, phones_of
from tests.lab.conftest import RunningLab

RUNNER = "scripted"
NIGHTS = 16
"""Nights of history before those that are run here; 14 have to be known."""


def bench(slower: float = 1.0) -> str:
    """Body of a llama-bench: 100 tok/s of prefill and 50 of decode on a good day."""
    prefill, decode = round(160_000_000 * slower), round(160_000_000 * slower)
    return (
        f"""echo '{{"n_prompt": 16, "n_gen": 0, "samples_ns": [{prefill}]}}'\n"""
        f"""echo '{{"n_prompt": 0, "n_gen": 8, "samples_ns": [{decode}]}}'\n"""
    )


def build(farm: Farm, name: str, body: str, *, days_ago: float) -> None:
    """A build in the folder that nights look into, as old as it says."""
    folder = farm.folder / "builds" / name
    folder.mkdir(parents=True)
    program = folder / "llama-bench"
    program.write_text(f"#!/bin/sh\n# {name}\n{body}", encoding="utf-8")
    program.chmod(0o755)
    at = time.time() - days_ago * 86_400
    for path in (program, folder):
        os.utime(path, (at, at))


def prepare(farm: Farm, devices: list[dict[str, Any]], body: str, **nightly: Any) -> None:
    farm.write(
        devices=[{**device, "tier": "flagship"} for device in devices],
        models=[farm.model() | {"owner": "team <b>one</b>"}],
        runners=[farm.runner(body)],
        nightly={
            "metrics": ["decode_tps", "prefill_tps"],
            "builds": [{"folder": "builds", "runner": RUNNER}],
            "pairs": 6,
            **nightly,
        },
    )


def history(store: Store, nights: list[str]) -> None:
    """Repeat what the only night so far measured, a little off each time."""
    (first,) = [run for run in store.runs() if NightRole.of(run.options) is NightRole.MEASURE]
    rows = list(store.measurements(first.id))
    chance = random.Random(7)
    for number, night in enumerate(nights):
        run = f"history-{number:02}"
        options = {**first.options, "nightly": {**first.options["nightly"], "night": night}}
        cases = [
            replace(row.planned, run=run, case=f"{run}-{row.planned.case}", status=CaseStatus.PLANNED, reason=None)
            for row in rows
        ]
        store.begin_run(replace(first, id=run, options=options), cases)
        for row, case in zip(rows, cases, strict=True):
            metrics: dict[str, Reading] = {
                name: replace(reading, value=reading.value * chance.uniform(0.995, 1.005))
                if isinstance(reading, Measured)
                else reading
                for name, reading in row.metrics.items()
            }
            store.finish_case(
                case.key, CaseResult(CaseStatus.MEASURED, 1, first.started_at, 1.0, metrics, (), (), row.provenance)
            )
        store.set_run_status(run, RunStatus.FINISHED, first.started_at + 1)


@pytest.mark.long
def test_a_slower_build_is_confirmed_named_and_told_to_everybody(on_phones: MakeFarm, lab: RunningLab) -> None:
    phones = phones_of(lab)
    farm = on_phones()
    prepare(farm, phones, bench())
    build(farm, "b1", bench(), days_ago=30)
    first = farm("--json", "nightly", "--night", "2026-10-01").expect(0).json()
    assert (first["measured"], first["due"], first["builds"]) == (4, 4, {RUNNER: "b1"})
    assert "b1 is pinned now as what scripted is compared with" in first["notes"]
    with farm.store() as store:
        history(store, [f"2026-10-{day:02}" for day in range(2, 2 + NIGHTS)])
    build(farm, "b2", bench(1.01), days_ago=3)
    build(farm, "b3", bench(1.4), days_ago=2)
    told: dict[str, Any] = {}
    for day in range(2 + NIGHTS, 7 + NIGHTS):
        done = farm("--json", "nightly", "--night", f"2026-10-{day:02}", "--junit", "j.xml", "--markdown", "s.md")
        told = done.json()
        if done.code == 5:
            break
        assert (done.code, told["exit_code"]) == (0, 0)
    assert told["exit_code"] == 5, told
    regressed = {change["series"]: change for change in told["changes"] if change["regressed"]}
    key = "flagship/tiny/scripted/bench/decode_tps"
    assert regressed[key]["since"] == f"2026-10-{2 + NIGHTS:02}"
    assert told["names"][regressed[key]["bad_build"]] == "b3"
    assert regressed[key]["ab"]["outcome"] == "confirmed" and regressed[key]["ab"]["phones"] == 2
    found = {one["series"]: one for one in told["bisections"]}
    assert (found[key]["first_bad"], found[key]["last_good"]) == ("b3", "b2")
    # Whoever reads it.
    failures = ElementTree.parse(farm.folder / "j.xml").getroot().iter("failure")
    assert any("decode_tps" in "".join(failure.itertext()) + str(failure.attrib) for failure in failures)
    assert "b3" in (farm.folder / "s.md").read_text("utf-8")
    page = (farm.folder / ".farm/reports/flagship.html").read_text("utf-8")
    index = (farm.folder / ".farm/reports/index.html").read_text("utf-8")
    assert "What changed" in page and "confirmed" in page and "b3" in page
    assert "regression" in index and "<b>one</b>" not in page + index
    assert (farm.folder / ".farm/reports/fleet.html").is_file()
    # A person says that it is known.
    for series in regressed:
        farm("ack", series, "--reason", "the new sampler").expect(0)
    again = farm("--json", "nightly", "--night", f"2026-10-{7 + NIGHTS:02}")
    assert again.code == 0 and not any(change["regressed"] for change in again.json()["changes"])
    for phone in phones:
        assert left_on(lab, phone["id"]) == ""


@pytest.mark.long
def test_a_killed_night_goes_on_and_measures_nothing_twice(on_phones: MakeFarm, lab: RunningLab) -> None:
    phone = phones_of(lab)[0]
    farm = on_phones(phone["id"])
    prepare(farm, [phone], gated("night"))
    farm.write(suites={"standard": {"workloads": ["bench"], "repeats": 2}})
    gate(lab, phone["id"], "night", open_=True)
    build(farm, "b1", gated("night"), days_ago=3)
    farm("nightly", "--night", "2026-10-01").expect(0)
    gate(lab, phone["id"], "night", open_=False)
    going = farm.start("-v", "nightly", "--night", "2026-10-02")
    going.until(r"#1  run$")
    other = farm("nightly", "--night", "2026-10-02")
    assert other.code == 2 and re.search(r"another farm nightly works here \(process \d+\)", other.err)
    going.kill(signal.SIGKILL)
    going.end()
    gate(lab, phone["id"], "night", open_=True)
    told = farm("--json", "nightly", "--night", "2026-10-02").expect(0).json()
    assert (told["measured"], told["due"], told["left"]) == (4, 4, 0)
    with farm.store() as store:
        records = {night.night: night.status for night in store.nights.all()}
        suites = [run for run in store.runs() if run.options["nightly"]["night"] == "2026-10-02"]
        (run,) = suites
        keys = [row.planned.key for row in store.measurements(run.id) if row.status is CaseStatus.MEASURED]
    assert records == {"2026-10-01": RunStatus.FINISHED, "2026-10-02": RunStatus.FINISHED}
    assert len(keys) == len(set(keys)) == 4
    assert left_on(lab, phone["id"]) == ""


def test_a_night_without_phones_says_so_and_is_told(on_phones: MakeFarm, lab: RunningLab) -> None:
    phone = phones_of(lab)[0]
    farm = on_phones(phone["id"])
    prepare(farm, [phone], bench())
    farm("nightly", "--night", "2026-10-01").expect(0)
    lab.lab.unplug(phone["id"])
    try:
        done = farm("--json", "nightly", "--night", "2026-10-02")
    finally:
        lab.lab.replug(phone["id"])
    told = done.json()
    assert (done.code, told["phones"], told["measured"]) == (3, 0, 0)
    (hand,) = told["hands"]
    assert hand["devices"] == [phone["id"]] and hand["advice"]
    assert "no phone took part" in told["headline"] and "no phone took part" in (
        farm.folder / ".farm/reports/index.html"
    ).read_text("utf-8")


def test_what_is_wrong_is_said_before_anything_runs(on_phones: MakeFarm, lab: RunningLab) -> None:
    farm = on_phones()
    prepare(farm, phones_of(lab)[:1], bench())
    farm("nightly", "--until", "25:00").expect(2, "is no time of day")
    farm("nightly", "--night", "yesterday").expect(2, "is no night")
    farm("nightly", "--suite", "nightly").expect(2, "no suite 'nightly'")
    farm("nightly", "--junit", "nowhere/j.xml").expect(2, "its folder does not exist")
    assert not (farm.folder / ".farm/farm.db").exists()
    assert json.loads(farm("--json", "baseline", "show").expect(0).out) == []
