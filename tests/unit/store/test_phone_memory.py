"""What is remembered of a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.phone_memory import IDLE_AGE_S, IDLE_FLOOR_C, IDLE_LEAST, REST_S, PhoneMemory
from harness.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def test_idle_is_known_after_a_few_looks_and_is_the_coolest(store: Store) -> None:
    memory = PhoneMemory(store, "phone", Clock())
    for celsius in (41.0, 37.0, 39.0)[: IDLE_LEAST - 1]:
        memory.saw_idle(celsius)
    assert memory.idle_cpu_c() is None
    memory.saw_idle(40.0)
    assert memory.idle_cpu_c() == 37.0
    assert PhoneMemory(store, "another phone").idle_cpu_c() is None


def test_a_cold_night_does_not_lower_idle_for_good(store: Store) -> None:
    clock = Clock()
    memory = PhoneMemory(store, "phone", clock)
    for _ in range(IDLE_LEAST):
        memory.saw_idle(14.0)
    assert memory.idle_cpu_c() == IDLE_FLOOR_C
    clock.now += IDLE_AGE_S + 1
    assert memory.idle_cpu_c() is None


def test_a_phone_rests_some_minutes_after_its_work(store: Store) -> None:
    clock = Clock()
    memory = PhoneMemory(store, "phone", clock)
    assert memory.rested()
    memory.saw_work()
    clock.now += REST_S - 1
    assert not memory.rested()
    clock.now += 2
    assert memory.rested()


def test_a_load_belongs_to_its_boot(store: Store) -> None:
    memory = PhoneMemory(store, "phone")
    assert memory.loaded_in_boot_of("a" * 64) is None
    memory.saw_load("a" * 64, 500.0)
    memory.saw_load("a" * 64, 500.0)
    assert memory.loaded_in_boot_of("a" * 64) == 500.0
    assert len(store.device_records("phone", "loaded")) == 1
    memory.saw_load("a" * 64, 900.0)
    assert memory.loaded_in_boot_of("a" * 64) == 900.0


def test_the_newest_of_a_kind_is_recalled(store: Store) -> None:
    memory = PhoneMemory(store, "phone", Clock())
    assert memory.recall("gauge") is None
    assert "never" in memory.qualification()
    memory.remember("gauge", "", {"current_sign": 1})
    memory.remember("gauge", "", {"current_sign": -1})
    memory.remember("qualification", "", {"ok": False, "held": 12})
    assert memory.recall("gauge") == {"current_sign": -1}
    assert memory.qualification().startswith("failed 1970-01-12")
