"""The sweep over threads and cores: what is tried, what stays, what is concluded."""

from __future__ import annotations

import random

import pytest

from harness.analysis.compare import Decision
from harness.model import CpuCore, DeviceFacts, DeviceKind
from harness.tuning import (
    ROUNDS,
    Setting,
    Trial,
    clusters,
    conclude,
    record_of,
    setting_of,
    settings,
    survivors,
    trial_json,
)

AUTO = Setting(4, (4, 5, 6, 7), auto=True)


def facts(*capacities: int | None, allowed: tuple[int, ...] = (), khz: tuple[int | None, ...] = ()) -> DeviceFacts:
    speeds = khz or (None,) * len(capacities)
    cores = tuple(
        CpuCore(index, capacity, speed) for index, (capacity, speed) in enumerate(zip(capacities, speeds, strict=True))
    )
    return DeviceFacts(
        "id", DeviceKind.PHONE, "", "", "", "", "", "", "", ("arm64-v8a",), None, None, None, cores, allowed
    )


TENSOR = facts(250, 250, 250, 250, 610, 610, 1024, 1024)


def test_clusters_from_the_biggest_down() -> None:
    assert clusters(TENSOR) == ((6, 7), (4, 5), (0, 1, 2, 3))
    assert clusters(facts(None, None, khz=(1_800_000, 2_900_000))) == ((1,), (0,))
    assert clusters(facts(None, 1024, 1024)) == ((0, 1, 2),)
    assert clusters(facts(1024, 1024, 250, allowed=(0, 2))) == ((0,), (2,))
    assert clusters(facts(allowed=(0, 1))) == ((0, 1),)
    assert clusters(facts()) == ()


def test_every_set_of_clusters_with_the_threads_that_only_it_can_hold() -> None:
    auto = Setting(4, (4, 5, 6, 7), auto=True)
    found = [each.name for each in settings(TENSOR, auto)]
    assert found == [
        "auto",
        "1t-cpu6-7",
        "2t-cpu6-7",
        "3t-cpu4-7",
        "5t-cpu0-7",
        "6t-cpu0-7",
        "7t-cpu0-7",
        "8t-cpu0-7",
    ]
    assert [each.name for each in settings(facts(), AUTO)] == ["auto"]
    assert len({each.name for each in settings(TENSOR, auto)}) == len(settings(TENSOR, auto))


def trial(threads: int, *values: float, auto: bool = False) -> Trial:
    return Trial(Setting(threads, tuple(range(threads)), auto), values)


def test_a_round_drops_the_slower_half_and_what_is_shown_to_be_slower_but_never_auto() -> None:
    trials = [
        trial(1, 10.0, 10.1, 9.9),
        trial(2, 20.0, 20.1, 19.9),
        trial(3, 20.3, 20.2, 20.1),
        trial(4, 19.9, 20.2, 20.4),
        trial(5, 19.0, 21.0, 17.0),
        trial(6, 18.0, 22.0, 16.0),
        trial(8, 0.25, 0.26, 0.24, auto=True),
    ]
    kept = [setting.threads for setting in survivors(trials, "decode_tps")]
    assert kept == [2, 3, 4, 5, 8]
    assert survivors([Trial(AUTO, (), 3)], "decode_tps") == ()


def test_a_clear_winner() -> None:
    found = conclude(
        [trial(8, 0.25, 0.26, 0.24, auto=True), trial(3, 28.0, 28.3, 28.1), trial(4, 23.9, 24.0, 23.8)], "decode_tps"
    )
    assert found.best is not None
    assert found.best.setting.threads == 3
    assert found.beats_auto
    assert found.alike == ()
    assert "of auto (95 %" in found.reason


def test_a_best_that_is_not_distinguishable_from_auto_says_so() -> None:
    found = conclude([trial(4, 20.0, 20.6, 19.7, auto=True), trial(3, 20.2, 20.5, 19.8)], "decode_tps")
    assert found.best is not None
    assert not found.beats_auto
    assert found.against_auto is not None
    assert found.against_auto.decision in (Decision.INCONCLUSIVE, Decision.NO_DIFFERENCE_SHOWN)
    assert "not distinguishable from auto" in found.reason
    assert [setting.auto for setting in found.alike] == [True]
    best = conclude([trial(4, 20.0, 20.1, auto=True), trial(3, 10.0, 10.1)], "decode_tps")
    assert best.best is not None
    assert best.best.setting.auto
    assert not best.beats_auto


def test_less_is_better_for_a_time() -> None:
    found = conclude([trial(1, 50.0, 51.0, 50.5, auto=True), trial(2, 30.0, 30.1, 30.2)], "ttft_ms")
    assert found.best is not None
    assert found.best.setting.threads == 2
    assert found.beats_auto


def test_a_sweep_without_a_figure() -> None:
    found = conclude([Trial(AUTO, (), 3)], "decode_tps")
    assert found.best is None
    assert "3 failed" in found.reason
    with pytest.raises(ValueError, match="not kept"):
        record_of(found, [], "decode_tps", {})
    assert trial_json(Trial(AUTO, (), 3))["median"] is None


def test_the_record_gives_the_setting_back() -> None:
    trials = [trial(8, 5.0, 5.1, 5.05, auto=True), trial(2, 9.0, 9.1, 9.05)]
    record = record_of(conclude(trials, "decode_tps"), trials, "decode_tps", {"run": "r1"})
    assert (record["threads"], record["cores"], record["beats_auto"], record["run"]) == (2, [0, 1], True, "r1")
    assert [row["n"] for row in record["trials"]] == [3, 3]
    assert setting_of(record, TENSOR) == Setting(2, (0, 1))
    assert setting_of(record, facts(1, 1, allowed=(0, 2))) == "a shell process may not use cores 1 now"
    assert isinstance(setting_of({"threads": 0}, TENSOR), str)
    assert isinstance(setting_of({"threads": 2, "cores": ["a"]}, TENSOR), str)
    assert setting_of({"threads": 2, "cores": None}, TENSOR) == Setting(2, None)


@pytest.mark.parametrize("spread", [0.01, 0.03])
def test_halving_finds_the_best_of_a_simulated_phone(spread: float) -> None:
    """Rates of a phone whose little cores drag the others, with log-normal noise: the pick is within 4 %."""
    truth = dict(zip(settings(TENSOR, AUTO), (24.0, 14, 25, 26, 22, 12, 5, 0.5), strict=True))
    good = 0
    for seed in range(40):
        noise = random.Random(seed)
        trials = [Trial(setting) for setting in truth]
        for repeats in ROUNDS:
            kept = survivors(trials, "decode_tps") or tuple(truth)
            trials = [
                Trial(
                    each.setting,
                    each.values + tuple(truth[each.setting] * noise.lognormvariate(0, spread) for _ in range(repeats)),
                )
                if each.setting in kept
                else each
                for each in trials
            ]
        best = conclude(trials, "decode_tps").best
        assert best is not None
        good += truth[best.setting] >= 0.96 * max(truth.values())
    assert good >= 38
