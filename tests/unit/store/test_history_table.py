"""What a page asks of many runs at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.model import CaseStatus
from harness.store import Store
from harness.store.history_table import Figure
from tests.unit.store import samples


def test_figures_of_a_tier_are_those_measured_in_the_runs_asked_for(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        for number, run in enumerate(("one", "two", "three")):
            cases = [samples.planned_case(run, f"case of {run}", repeat) for repeat in (1, 2)]
            stray = replace(samples.planned_case(run, f"stray of {run}", 1), tier="another")
            store.begin_run(samples.run_record(run), [*cases, stray])
            store.finish_case(cases[0].key, samples.result(decode_tps=10.0 + number))
            if run == "three":
                store.finish_case(cases[1].key, replace(samples.result(), status=CaseStatus.FAILED))
        tier = cases[0].tier
        found = store.figures(["one", "three"], tier, "decode_tps")
        expected = {Figure(run, f"series-case of {run}", 1, value) for run, value in (("one", 10.0), ("three", 12.0))}
        assert set(found) == expected
        assert store.figures([], tier, "decode_tps") == ()
        assert store.figures(["one"], tier, "no such metric") == ()
        assert store.runs_of_tier(tier) == {"one", "two", "three"}
        assert store.runs_of_tier("another") == frozenset(), "planned there, never measured"
