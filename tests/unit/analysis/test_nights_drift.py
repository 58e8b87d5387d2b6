"""Phones that drift on their own reference values, and the step of a single line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.nights import drift_of
from harness.analysis.nights.steps import locate, split
from tests.unit.analysis.nights import RATE, SERIES, night_of, series


def test_drifting_phone_is_named_and_the_others_are_not() -> None:
    rows = series(60, both=lambda phone, night: 0.12 * night / 60 if phone == 2 else 0.0)
    found = {one.device_id: one for one in drift_of({SERIES: rows})}
    assert [name for name, one in found.items() if one.drifted] == ["phone2"]
    assert found["phone2"].delta == pytest.approx(0.105, abs=0.03)
    assert found["phone2"].low <= 0.105 <= found["phone2"].high
    assert (found["phone2"].nights, found["phone2"].metric) == (60, "ms_per_token")


def test_candidate_alone_is_no_drift() -> None:
    rows = series(60, lambda _phone, night: 0.3 if night > 30 else 0.0)
    assert not any(one.drifted for one in drift_of({SERIES: rows}))


@pytest.mark.parametrize("change", [{"os": "os2"}, {"reference_build": "other"}, {"contract": 2}])
def test_new_epoch_is_no_drift(change: dict[str, object]) -> None:
    rows = series(60, both=lambda _phone, night: 0.2 if night >= 30 else 0.0)
    assert all(one.drifted for one in drift_of({SERIES: rows}))
    later = [replace(row, **change) if row.night >= night_of(30) else row for row in rows]  # type: ignore[arg-type]
    assert not any(one.drifted for one in drift_of({SERIES: later}))


def test_too_few_nights_or_no_reference_say_nothing() -> None:
    assert drift_of({SERIES: series(13)}) == ()
    assert drift_of({SERIES: [replace(row, reference=None, reference_build="") for row in series(40)]}) == ()
    assert drift_of({replace(SERIES, metric="temperature_start_c"): series(40)}) == ()
    assert drift_of({}) == ()


def test_metric_that_moved_most_is_told_and_a_rate_is_turned() -> None:
    slower = series(60, both=lambda _phone, night: 0.1 * (night > 30), phones=2)
    rates = [replace(row, value=1 / row.value, reference=1 / (row.reference or 1.0)) for row in slower]
    found = drift_of({replace(SERIES, metric="peak_memory_mb"): series(60, phones=2), RATE: rates})
    assert {(one.metric, one.drifted) for one in found} == {("decode_tps", True)}
    assert all(one.delta > 0.05 for one in found)


def test_limit_is_the_inventory_s() -> None:
    rows = series(60, both=lambda _phone, night: 0.1 * (night > 30))
    assert not any(one.drifted for one in drift_of({SERIES: rows}, limit=0.2))


def test_step_of_a_line_is_found_with_its_interval() -> None:
    source = np.random.default_rng(2)
    held = []
    for _ in range(60):
        line = 0.01 * source.standard_normal(50)
        line[44:] += 0.04
        found = split(line, 35)
        assert abs(found.at - 44) <= 1
        assert found.earliest <= found.at <= found.latest
        held.append(found.low <= 0.04 <= found.high)
    assert np.mean(held) >= 0.85


def test_step_is_not_moved_by_one_wild_night() -> None:
    line = 0.001 * np.random.default_rng(2).standard_normal(50)
    line[44:] += 0.04
    line[40] = 1.0
    assert split(line, 35).at == 44
    assert split(-line, 35).delta == pytest.approx(-split(line, 35).delta)


def test_a_split_leaves_the_least_deviations_from_the_two_medians() -> None:
    source = np.random.default_rng(8)
    for length in (2, 3, 10, 61):
        line = source.standard_normal(length)

        def left(at: int, line: np.ndarray = line) -> float:
            return sum(float(np.abs(side - np.median(side)).sum()) for side in (line[:at], line[at:]))

        at, delta = locate(line)
        assert left(at) == pytest.approx(min(map(left, range(1, length))))
        assert delta == pytest.approx(np.median(line[at:]) - np.median(line[:at]))
        assert (split(line).at, split(line).delta) == (at, delta)


def test_shortest_lines_have_a_split() -> None:
    for values in ([0.0, 1.0], [0.0, 0.0], [1.0, 2.0, 3.0]):
        assert 1 <= split(np.array(values), -5).at < len(values)
