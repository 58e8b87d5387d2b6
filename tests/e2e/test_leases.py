"""Two who want one phone: the second is told by name who has it; the lease of the dead is nobody's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, Farm, gate, gated, left_on
from tests.lab.conftest import RunningLab, eventually

PHONE = "pixel-8-pro"
GATE = "lease"


def beside(farm: Farm, name: str) -> Farm:
    """The same inventory in another folder, so with another database."""
    folder = farm.folder / name
    folder.mkdir()
    other = Farm(folder, dict(farm.env), farm.inventory)
    other.model()
    return other


def test_two_runs_with_two_databases(on_phones: MakeFarm, lab: RunningLab) -> None:
    farm = on_phones(PHONE)
    farm.write(models=[farm.model()], runners=[farm.runner(gated(GATE))])
    other = beside(farm, "colleague")
    other.write(runners=[other.runner(ANSWER)])
    gate(lab, PHONE, GATE, open_=False)
    first = farm.start("-v", "run", env={"FARM_OWNER": "alice@desk"})
    try:
        first.until(r"#1  run")
        other("run", env={"FARM_OWNER": "bob@desk"}).expect(1, "is in use by alice@desk", "device_leased")
        (row,) = other.rows()
        assert (row["status"], row["error"]["class"]) == ("refused", "device_leased")
        assert "alice@desk" in row["error"]["message"]
        # The same database: the store's own lease says the same.
        farm("run", env={"FARM_OWNER": "bob@desk"}).expect(1, "is in use by alice@desk")
    finally:
        gate(lab, PHONE, GATE, open_=True)
    first.end().expect(0)
    other("run", env={"FARM_OWNER": "bob@desk"}).expect(0)


@pytest.mark.long
def test_a_reservation_keeps_others_out_and_its_owner_in(on_phones: MakeFarm) -> None:
    farm = on_phones(PHONE)
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER)])
    other = beside(farm, "colleague")
    other.write(runners=[other.runner(ANSWER)])
    alice, bob = {"FARM_OWNER": "alice@desk"}, {"FARM_OWNER": "bob@desk"}

    reserved = farm("--json", "reserve", PHONE, "--for", "2h", env=alice).expect(0).json()
    assert (reserved["device"], reserved["owner"]) == (PHONE, "alice@desk")
    try:
        other("run", env=bob).expect(1, "in use by alice@desk")
        other("reserve", PHONE, env=bob).expect(1, "reserved by alice@desk")
        other("release", PHONE, env=bob).expect(2, "reserved by alice@desk")
        other("run", env=alice).expect(0)
        farm("run", env=alice).expect(0)
    finally:
        released = farm("--json", "release", PHONE, env=alice).expect(0).json()
    assert released == {"device": PHONE, "released": True}
    other("run", env=bob).expect(0)


def test_reserving_what_is_not_there(on_phones: MakeFarm) -> None:
    farm = on_phones(PHONE)
    farm.write()
    farm("reserve", "pixel-8-pr").expect(2, "did you mean 'pixel-8-pro'")
    farm("reserve", PHONE, "--for", "soon").expect(2, "no length of time")


def test_the_lease_of_a_killed_process_is_taken_over_by_another_database(
    on_phones: MakeFarm, lab: RunningLab, tmp_path: Path
) -> None:
    farm = on_phones(PHONE)
    farm.write(models=[farm.model()], runners=[farm.runner(gated(GATE))])
    other = beside(farm, "colleague")
    other.write(runners=[other.runner(ANSWER)])
    gate(lab, PHONE, GATE, open_=False)
    first = farm.start("-v", "run", env={"FARM_OWNER": "alice@desk"})
    first.until(r"#1  run")
    eventually(lambda: left_on(lab, PHONE))
    first.kill()
    first.end()
    assert left_on(lab, PHONE), "the job of the killed run goes on by itself"
    other("run", env={"FARM_OWNER": f"bob{os.getpid()}@desk"}).expect(0)
    assert left_on(lab, PHONE) == ""
