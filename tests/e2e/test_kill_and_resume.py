"""kill -9 of `farm run` at ten moments: `farm resume` does every measurement that is left, and none twice."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeFarm
from tests.e2e.support import gate, gated, left_on
from tests.lab.conftest import RunningLab

PHONE = "pixel-8-pro"
GATE = "kill"

MOMENTS = {
    "before the first step": (r"", False),
    "select": (r"#1  select", False),
    "storage": (r"#1  storage", False),
    "deploy": (r"#1  deploy", False),
    "warm_up": (r"#1  warm_up", False),
    "run": (r"#1  run", False),
    "collect": (r"#1  collect", True),
    "clean_up": (r"#1  clean_up", True),
    "between two": (r"#1  decode_tps", True),
    "second run": (r"#2  run", True),
}
"""When the process is killed: a line of its progress, and whether the runners may end before."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_every_measurement_once(on_phones: MakeFarm, lab: RunningLab, moment: str) -> None:
    pattern, open_ = MOMENTS[moment]
    farm = on_phones(PHONE)
    farm.write(
        models=[farm.model()],
        runners=[farm.runner(gated(GATE))],
        suites={"standard": {"workloads": ["bench"], "repeats": 2}},
    )
    gate(lab, PHONE, GATE, open_=open_)
    going = farm.start("-v", "run")
    going.until(pattern or r"select")
    going.kill()
    assert going.end().code == -9

    with farm.store() as store:
        before = {row.planned.key: row.started_at for row in store.measurements() if row.status == "measured"}
        unfinished = store.newest_unfinished_run()
    assert unfinished is not None
    gate(lab, PHONE, GATE, open_=True)
    resumed = farm("--json", "resume").expect(0).json()
    assert (resumed["run"], resumed["status"], resumed["counts"]) == (unfinished.id, "finished", {"measured": 2})

    rows = farm.rows()
    assert [row["status"] for row in rows] == ["measured"] * 2
    assert sorted(row["repeat"] for row in rows) == [1, 2]
    with farm.store() as store:
        after = {row.planned.key: row.started_at for row in store.measurements()}
        assert store.leases() == ()
    assert {key: after[key] for key in before} == before, "a measured case was measured again"
    assert left_on(lab, PHONE) == ""
