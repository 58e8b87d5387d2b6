"""Who ended a runner: only with evidence that names it."""

from __future__ import annotations

import pytest

from harness.death import DeathSigns, KillEvidence, classify_death
from harness.errors import ErrorClass

LINE = "lowmemorykiller: Kill 'llama-bench' (4711), uid 2000, oom_score_adj 0 to free 9kB rss"
OURS = KillEvidence("low_memory_kill", 4711, LINE)


def told(**changes: object) -> ErrorClass | None:
    given: dict[str, object] = {
        "signal": 9,
        "exit_code": None,
        "ended_by": "exit",
        "boot_before": "b1",
        "signs": DeathSigns(4711, "b1"),
    }
    death = classify_death(**(given | changes))  # type: ignore[arg-type]
    if death is not None:
        assert death.advice
        assert death.evidence
    return death.error_class if death else None


def test_a_kill_that_names_our_process() -> None:
    signs = DeathSigns(4711, "b1", kill=OURS)
    assert told(signs=signs) is ErrorClass.OUT_OF_MEMORY
    assert told(signs=signs, signal=None, exit_code=137) is ErrorClass.OUT_OF_MEMORY
    assert told(signs=signs, signal=None, ended_by="lost") is ErrorClass.OUT_OF_MEMORY
    kernel = DeathSigns(4711, kill=KillEvidence("kernel_oom", 4711, "Out of memory: Killed process 4711 (llama-bench)"))
    death = classify_death(signal=9, exit_code=None, ended_by="exit", boot_before="b1", signs=kernel)
    assert death is not None
    assert death.message.startswith("the kernel ended the runner")
    assert "4711 (llama-bench)" in death.evidence


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"signs": None},
        {"signs": DeathSigns(4712, kill=OURS)},
        {"signs": DeathSigns(None, kill=OURS)},
        {"signs": DeathSigns(4711, kill=OURS), "signal": 11},
        {"signs": DeathSigns(4711, kill=OURS), "signal": None, "exit_code": 1},
        {"signs": DeathSigns(4711, kill=OURS), "ended_by": "limit"},
        {"signs": DeathSigns(4711, kill=OURS), "ended_by": "cancel"},
        {"signs": DeathSigns(4711, "b1", other_victims=12)},
    ],
)
def test_without_evidence_the_runner_speaks_for_itself(changes: dict[str, object]) -> None:
    assert told(**changes) is None


def test_our_own_watchdog() -> None:
    assert told(watchdog="memory_available 180 MB < floor 200 MB", signal=15) is ErrorClass.MEMORY_FLOOR
    assert told(watchdog="180 < 200", signs=DeathSigns(4711, "b1", kill=OURS)) is ErrorClass.MEMORY_FLOOR


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("shutdown,thermal", ErrorClass.THERMAL_SHUTDOWN),
        ("shutdown,thermal,battery", ErrorClass.THERMAL_SHUTDOWN),
        ("Thermal_shutdown", ErrorClass.THERMAL_SHUTDOWN),
        ("reboot,adb", ErrorClass.DEVICE_REBOOTED),
        ("kernel_panic", ErrorClass.DEVICE_REBOOTED),
        ("", ErrorClass.DEVICE_REBOOTED),
    ],
)
def test_another_boot(reason: str, expected: ErrorClass) -> None:
    signs = DeathSigns(4711, "b2", boot_reason=reason, kill=OURS)
    assert told(signs=signs, ended_by="lost", signal=None) is expected
    assert told(signs=signs, boot_before="") is not expected, "an unknown boot proves no reboot"


def test_traces_are_json() -> None:
    assert DeathSigns(4711, kill=OURS, unread={"kernel": "denied"}).to_json() == {
        "pid": 4711,
        "boot_id": "",
        "boot_reason": "",
        "kill": {"kind": "low_memory_kill", "victim_pid": 4711, "text": LINE},
        "other_victims": 0,
        "tombstone": "",
        "unread": {"kernel": "denied"},
    }
