"""Two stored runs compared: what counts, and what the command says of many comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.compare import Decision
from harness.analysis.repeats import RepeatPolicy
from harness.cli.compare_view import as_json, compare_runs, print_runs
from harness.store import Store
from tests.unit.store import samples


def store_run(store: Store, run: str, rates: list[float], policy: RepeatPolicy) -> None:
    cases = [samples.planned_case(run, f"case of {run}", repeat) for repeat in range(1, len(rates) + 1)]
    store.begin_run(replace(samples.run_record(run), options={"repeats": policy.to_json()}), cases)
    for case, rate in zip(cases, rates, strict=True):
        store.finish_case(case.key, samples.result(decode_tps=rate))


def test_a_warm_up_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        store_run(store, "first", [20.0, 40.0, 40.1, 39.9], RepeatPolicy(warm_up=True))
        store_run(store, "second", [40.0, 40.1, 39.9], RepeatPolicy())
        store_run(store, "third", [20.0, 20.1, 19.9], RepeatPolicy())
        store_run(store, "cold", [20.0], RepeatPolicy(warm_up=True))
        same = compare_runs(store, "first", "second")
        found = {metric.name: metric for metric in same.cases[0].metrics}
        assert found["decode_tps"].before == 40.0
        assert found["decode_tps"].found.decision is Decision.NO_DIFFERENCE_SHOWN
        slower = compare_runs(store, "second", "third")
        decode = as_json(slower)["cases"][0]["metrics"]["decode_tps"]
        assert (decode["decision"], decode["in_words"]) == ("worse", "slower")
        print_runs(slower)
        text = capsys.readouterr().out
        assert "slower" in text
        assert "2 of 3 comparisons show a difference; where nothing changed about 0.15 would" in text
        assert compare_runs(store, "cold", "second").cases == (), "one warm-up is no measurement"
