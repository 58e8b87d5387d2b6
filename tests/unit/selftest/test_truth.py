"""The truth file of a virtual phone, as written by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.selftest.truth import Truth, TruthMissing, read_truth


def line(uptime_s: float, **more: Any) -> dict[str, Any]:
    return {"uptime_s": uptime_s, "boot_id": "a", "cap": 1.0, "battery_out_j": 2.0 * uptime_s, **more}


def written(folder: Path, *lines: dict[str, Any], tail: str = "") -> Path:
    path = folder / "truth.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines) + tail, encoding="utf-8")
    return path


def test_a_counter_is_interpolated_between_two_lines(tmp_path: Path) -> None:
    truth = read_truth(written(tmp_path, line(10.0), line(10.5), line(11.0)))
    assert truth.at("battery_out_j", 10.25) == pytest.approx(20.5)
    assert truth.growth("battery_out_j", 10.1, 10.9) == pytest.approx(1.6)


def test_nothing_is_told_beyond_its_ends_or_over_a_gap(tmp_path: Path) -> None:
    truth = read_truth(written(tmp_path, line(10.0), line(10.5), line(20.0)))
    for moment in (9.0, 21.0, 15.0):
        with pytest.raises(TruthMissing):
            truth.at("battery_out_j", moment)


def test_other_boots_and_torn_lines_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, line(10.0), line(10.4, boot_id="b", cap=0.1), line(10.5), tail='{"uptime_s": 10.')
    truth = read_truth(path, "a")
    assert [each["uptime_s"] for each in truth.lines] == [10.0, 10.5]


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(TruthMissing, match="cannot be read"):
        read_truth(tmp_path / "none")


def test_the_cap_fell_where_the_event_stands(tmp_path: Path) -> None:
    falls = (line(10.0), line(10.5), line(10.7, cap=0.9, event="cap"), line(11.0, cap=0.9))
    truth = read_truth(written(tmp_path, *falls))
    assert truth.cap_fell_at(10.2, 12.0) == 10.7
    assert truth.cap_fell_at(10.2, 10.6) is None
    assert truth.cap_fell_at(10.8, 12.0) is None


def test_a_cap_that_flickered_has_not_fallen_yet() -> None:
    caps = ((10.0, 1.0), (11.0, 0.9), (11.5, 1.0), (13.0, 0.9), (14.0, 0.8), (15.5, 1.0), (16.0, 0.9))
    truth = Truth(tuple(line(moment, cap=cap) for moment, cap in caps))
    assert truth.cap_fell_at(10.0, 20.0) == 11.0
    assert truth.cap_fell_at(10.0, 20.0, held_s=2.0) == 13.0
    assert truth.cap_fell_at(10.0, 12.9, held_s=2.0) is None


def test_a_cap_that_was_low_from_the_start_has_not_fallen() -> None:
    truth = Truth((line(10.0, cap=0.8), line(10.5, cap=0.8), line(11.0, cap=1.0)))
    assert truth.cap_fell_at(10.2, 12.0) is None
    with pytest.raises(TruthMissing):
        truth.cap_fell_at(9.0, 12.0)
