"""`farm bisect` on a virtual phone: builds that print other figures, one that does not run, and a kill on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.model import NightRole, RunStatus
from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, left_on
from tests.lab.conftest import RunningLab

PHONE = "pixel-8-pro"
SLOW = ANSWER.replace('"n_gen": 8, "samples_ns": [160000000]', '"n_gen": 8, "samples_ns": [200000000]')
BUILDS = {
    "b1": f"# first\n{ANSWER}",
    "b2": "echo broken >&2; exit 3\n",
    "b3 $(id) 'x'": f"# third\n{SLOW}",
    "b4": f"# fourth\n{SLOW}",
    "b5": f"# fifth\n{SLOW}",
}
ENDS = ("--metric", "decode_tps", "--good", "b1", "--bad", "b5")


def shelve(folder: Path) -> None:
    for number, (name, body) in enumerate(BUILDS.items()):
        program = folder / name / "llama-bench"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n" + body, encoding="utf-8")
        program.chmod(0o755)
        for path in (program, program.parent):
            os.utime(path, (1e9 + number, 1e9 + number))


@pytest.mark.long
def test_a_killed_search_goes_on_and_finds_the_first_bad_build(on_phones: MakeFarm, lab: RunningLab) -> None:
    farm = on_phones(PHONE)
    shelve(farm.folder / "builds")
    farm.write(
        models=[farm.model()],
        runners=[farm.runner(ANSWER)],
        nightly={"builds": [{"folder": "builds", "runner": "scripted"}]},
    )
    going = farm.start("bisect", *ENDS)
    going.until(r"scripted@\w{12}  bench #3  decode")
    going.kill()
    assert going.end().code == -9
    with farm.store() as store:
        before = {row.planned.key: row.started_at for row in store.measurements() if row.status == "measured"}
    assert before

    found = farm("--json", "bisect", *ENDS).expect(0).json()
    assert (found["result"], found["first_bad"], found["last_good"]) == ("found", "b3 $(id) 'x'", "b1")
    assert found["untried"] == ["b2"]
    assert round(found["delta"], 3) == 0.223, "log(50 / 40)"
    assert found["confidence"] > 0.98
    assert found["devices"] == [{"id": PHONE, "kind": "virtual"}]
    pairs = {one["name"]: one["pairs"] for one in found["builds"]}
    assert pairs == {"b1": 0, "b2": 0, "b3 $(id) 'x'": 8, "b4": 0, "b5": 8}

    with farm.store() as store:
        rows = tuple(store.measurements())
        after = {row.planned.key: row.started_at for row in rows}
        assert {key: after[key] for key in before} == before, "nothing was measured again"
        records = store.runs()
        assert {record.status for record in records} == {RunStatus.FINISHED}
        assert {NightRole.of(record.options) for record in records} == {NightRole.BISECT}
        assert store.leases() == ()
        assert store.newest_unfinished_run() is None
    measured = sum(row.status == "measured" for row in rows)
    # The half of a pair at the moment of the kill counts as not there; b2 costs two measurements of b1.
    assert 2 * 16 + 2 <= measured <= 2 * 16 + 3
    assert not (farm.folder / ".farm" / "reports").exists(), "pairs have no report"
    assert left_on(lab, PHONE) == ""

    farm("quarantine", "set", PHONE, "--reason", "it drifts").expect(0)
    refused = farm("bisect", *ENDS).expect(3)
    assert f"{PHONE} is left out, it is in quarantine: it drifts" in refused.err
    assert "--device" in refused.err
    named = farm("--json", "bisect", *ENDS, "--device", PHONE).expect(0).json()
    assert named["first_bad"] == found["first_bad"]
