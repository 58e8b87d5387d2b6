"""Telemetry that was dropped by policy: the report says so where it would have been, and keeps the figures."""

from __future__ import annotations

from pathlib import Path

import reports
from harness.store import Store
from reports.inputs import RunInput
from tests.unit.reports.sample import Samples, run_input, sustained
from tests.unit.reports.test_html import fill

AT = 1_800_000_000.0
DROPPED = "dropped on 2027-01-15 by policy"


def page_of(tmp_path: Path, run: RunInput, samples: Samples) -> str:
    """The page of the first tier, after all telemetry of the run was dropped."""
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        fill(store, run, samples)
        store.old_telemetry.drop(store.old_telemetry.keys(run.record.id), AT)
        paths = reports.write(store, out=tmp_path / "out")
    return paths[1].read_text("utf-8")


def test_a_page_says_why_it_has_no_samples(tmp_path: Path) -> None:
    run, samples = run_input(repeats=2)
    text = page_of(tmp_path, run, samples)
    assert f"No timeline: {DROPPED}." in text
    assert f"No distribution of inter-token times: <bdi>{DROPPED}</bdi>." in text
    assert f"<bdi>{DROPPED}</bdi></td>" in text, "of each channel"
    assert f"not measured: <bdi>{DROPPED}" not in text and "was sampled" not in text
    assert "not measured: <bdi>permission denied</bdi>" in text, "what never was measured still says why"
    assert "tok/s" in text and 'class="timeline"' not in text


def test_a_run_that_lasted_keeps_its_curve(tmp_path: Path) -> None:
    run, samples = sustained()
    text = page_of(tmp_path, run, samples)
    assert 'class="timeline"' in text and "Decode rate" in text
    assert DROPPED in text and "no temperature was sampled" not in text
