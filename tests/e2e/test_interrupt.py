"""Ctrl-C and SIGTERM: what runs on the phone is ended, the database is consistent, and how to go on is said."""

from __future__ import annotations

import re
import signal

import pytest

from harness.model import CaseStatus, RunStatus
from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, Farm, gate, gated, left_on
from tests.lab.conftest import RunningLab

PHONE = "pixel-8-pro"
GATE = "interrupt"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_while_the_runner_works(on_phones: MakeFarm, lab: RunningLab, number: signal.Signals) -> None:
    farm = on_phones(PHONE)
    farm.write(models=[farm.model()], runners=[farm.runner(gated(GATE))])
    gate(lab, PHONE, GATE, open_=False)
    going = farm.start("-v", "run", "--repeats", "2")
    going.until(r"#1  run")
    going.kill(number)
    done = going.end().expect(130, number.name, "farm resume ")
    assert left_on(lab, PHONE) == ""
    with farm.store() as store:
        (run,) = store.runs()
        assert run.status is RunStatus.INTERRUPTED
        assert {row.status for row in store.measurements(run.id)} == {CaseStatus.PLANNED}
        assert store.leases() == ()

    gate(lab, PHONE, GATE, open_=True)
    hint = re.search(r"farm (resume \S+)", done.err)
    assert hint is not None
    resumed = farm("--json", *hint[1].split()).expect(0).json()
    assert resumed["run"] == run.id and resumed["counts"] == {"measured": 2}
    farm("resume").expect(0, "nothing to resume")


@pytest.mark.long
def test_interrupted_while_a_model_is_pushed(on_phones: MakeFarm, lab: RunningLab) -> None:
    farm = on_phones(PHONE)
    farm.write(models=[farm.model(padding=24_000_000)], runners=[farm.runner(ANSWER)])
    lab.lab.link_rate(PHONE, 5e6)
    try:
        going = farm.start("-v", "run")
        going.until(r"\d/24 MB")
        going.kill(signal.SIGINT)
        going.end(limit_s=30).expect(130, "farm resume ")
    finally:
        lab.lab.link_rate(PHONE, None)
    farm("resume").expect(0)
    assert [row["status"] for row in farm.rows()] == ["measured"]


def test_interrupted_on_the_host(on_host: Farm) -> None:
    farm, held = on_host, on_host.folder / "held"
    body = f"echo $$ > '{held}'\nexec sleep 600\n"
    farm.write(models=[farm.model()], runners=[farm.runner(body, platform="local")])
    going = farm.start("-v", "run")
    going.until(r"#1  run")
    going.kill(signal.SIGINT)
    going.end(limit_s=30).expect(130, "farm resume ")
