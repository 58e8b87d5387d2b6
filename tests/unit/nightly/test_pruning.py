"""Which runs lose their telemetry, what stays of them, and which files go from phones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from device_agents.base import DeviceAgent
from harness.errors import ErrorClass, Transient
from harness.lease_keeper import LeaseKeeper
from harness.leases import identity_of_this_process
from harness.model import (
    Artifact,
    Baseline,
    Change,
    ChangeState,
    ErrorInfo,
    Inventory,
    LeaseInfo,
    Model,
    ModelFile,
    NightRecord,
    RunnerBuild,
    RunRecord,
    RunStatus,
    Step,
)
from harness.nightly import pruning
from harness.nightly.pruning import PhonePruned, old_runs, prune_phone, prune_telemetry, wanted_files
from harness.plan import Assets, ResolvedDevice
from harness.store import Store
from harness.store.check import check
from tests.unit.nightly.summaries import change, series, summary
from tests.unit.store import samples

DAY = 86_400.0
NOW = 1000 * DAY


def run(name: str, age: float, *, night: str = "", role: str = "measure", **more: Any) -> RunRecord:
    """A finished run that began `age` days ago."""
    options = {"nightly": {"night": night, "role": role}} if night else {}
    record = samples.run_record(name, started_at=NOW - age * DAY)
    return replace(record, **{"status": RunStatus.FINISHED, "options": options, **more})


def night(date: str, *changes: Change, lab: str = "example-lab") -> NightRecord:
    told = summary(night=date, changes=changes)
    return NightRecord(date, lab, 0.0, RunStatus.FINISHED, summary=told)


def old(runs: list[RunRecord], *nights: NightRecord, days: float = 90) -> list[str]:
    return list(old_runs(runs, nights, now=NOW, days=days))


# --- which runs -------------------------------------------------------------------------------------------------------


def test_only_what_is_older_goes_oldest_first() -> None:
    runs = [run("new", 1), run("b", 91), run("a", 200), run("c", 89)]
    assert old(runs) == ["a", "b"]
    assert old(runs, days=30) == ["a", "b", "c"]


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.INTERRUPTED])
def test_an_unfinished_run_stays(status: RunStatus) -> None:
    assert old([run("a", 200, status=status), run("new", 1)]) == []


def test_the_newest_run_of_a_suite_stays_in_every_lab_and_for_every_purpose() -> None:
    runs = [
        run("a", 300),
        run("b", 200),
        run("other suite", 250, suite="battery"),
        run("other lab", 260, lab="other"),
        run("night", 280, night="2026-01-01"),
        run("pairs", 270, night="2026-01-01", role="pairs"),
    ]
    assert old(runs) == ["a"]


CONFIRMED = change(since="2026-01-05")
NIGHTS = [run(f"2026-01-{day:02}", 300 - day, night=f"2026-01-{day:02}") for day in (4, 5, 6)]
PAIRS = [run(f"pairs {day}", 300 - day, night=f"2026-01-{day:02}", role="pairs") for day in (4, 6)]
NEW = [run("new", 1, night="2026-10-01"), run("new pairs", 1, night="2026-10-01", role="pairs")]


def test_the_first_bad_night_of_an_open_change_stays_and_every_comparison_since() -> None:
    runs = [*NIGHTS, *PAIRS, *NEW]
    assert old(runs) == ["2026-01-04", "pairs 4", "2026-01-05", "2026-01-06", "pairs 6"]
    assert old(runs, night("2026-10-01", CONFIRMED)) == ["2026-01-04", "pairs 4", "2026-01-06"]
    better = change(ChangeState.IMPROVEMENT, since="2026-01-05")
    assert old(runs, night("2026-10-01", better)) == ["2026-01-04", "pairs 4", "2026-01-06"]


@pytest.mark.parametrize(
    "now",
    [
        [],
        [change(ChangeState.SUSPECT, since="2026-01-05")],
        [change(ChangeState.ACKNOWLEDGED, since="2026-01-05")],
        [change(series=series("other"), since="2026-09-01")],
    ],
)
def test_a_change_that_is_over_or_was_never_confirmed_keeps_nothing(now: list[Change]) -> None:
    assert len(old([*NIGHTS, *PAIRS, *NEW], night("2026-06-01", CONFIRMED), night("2026-10-01", *now))) == 5


def test_a_further_suspicion_does_not_hide_where_the_open_change_began() -> None:
    further = change(ChangeState.SUSPECT, regressed=True, since="2026-09-30")
    found = old([*NIGHTS, *PAIRS, *NEW], night("2026-06-01", CONFIRMED), night("2026-10-01", further))
    assert found == ["2026-01-04", "pairs 4", "2026-01-06"]


def test_a_change_of_another_lab_keeps_nothing_here() -> None:
    assert len(old([*NIGHTS, *PAIRS, *NEW], night("2026-10-01", CONFIRMED, lab="other"))) == 5


def test_nights_without_a_summary_are_passed_over() -> None:
    untold = replace(night("2026-10-02"), summary=None)
    assert "2026-01-05" not in old([*NIGHTS, *PAIRS, *NEW], night("2026-10-01", CONFIRMED), untold)


# --- what stays of them -----------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An old run of five measurements, three of which ran, and a new one."""
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        for record, case in ((run("old", 200), "aaaa"), (run("new", 1), "bbbb")):
            cases = [samples.planned_case(record.id, case, repeat) for repeat in range(1, 6)]
            opened.begin_run(record, cases)
            for planned in cases[:3]:
                opened.finish_case(planned.key, samples.result(started_at=record.started_at))
        yield opened


def test_samples_go_and_figures_stay(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    before = store.measurement("aaaa.1")
    would = prune_telemetry(store, now=NOW, days=90, dry_run=True)
    assert store.itl("aaaa.1") and would.measurements == 3 and would.size_bytes > 100
    assert prune_telemetry(store, now=NOW, days=90) == would
    assert would.runs == ("old",)
    after = store.measurement("aaaa.1")
    assert before is not None and after is not None
    assert (after.dropped, after.telemetry_dropped_at) == ("dropped on 1972-09-27 by policy", NOW)
    assert replace(after, telemetry_dropped_at=None) == before
    zone, current = store.traces("aaaa.1")
    assert (zone.values, zone.channel.absent) == ((), after.dropped)
    assert current.channel.absent == "Permission denied", "what was never measured still says why"
    assert store.itl("aaaa.1") == () and store.output("aaaa.1") == (after.dropped, samples.result().commands)
    kept = store.measurement("bbbb.1")
    assert kept is not None and kept.dropped == "" and store.itl("bbbb.1") == samples.result().itl_ms
    assert not any(each.damage for each in check(f"sqlite:///{tmp_path / 'farm.db'}"))
    assert prune_telemetry(store, now=NOW + DAY, days=90).measurements == 0, "once"


def test_only_the_lab_that_is_meant(store: Store) -> None:
    assert prune_telemetry(store, now=NOW, days=90, lab="other").runs == ()
    assert prune_telemetry(store, now=NOW, days=90, lab="example-lab").runs == ("old",)


def test_space_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    chance = random.Random(1)
    trace = samples.result().traces[0]
    noise = replace(trace, uptime_s=range(50_000), values=[chance.random() for _ in range(50_000)])

    def size_with(*ages: float) -> int:
        """Of the file, closed, with one more run of each age."""
        with Store.open(f"sqlite:///{path}") as store:
            for age in ages:
                planned = samples.planned_case(f"{age} days", f"{age}")
                store.begin_run(run(planned.run, age), [planned])
                store.finish_case(planned.key, replace(samples.result(), traces=(noise,)))
        return path.stat().st_size

    before = size_with(200, 100)
    with Store.open(f"sqlite:///{path}") as store:
        assert prune_telemetry(store, now=NOW, days=90).size_bytes > 100_000
    assert size_with(1) < before + 20_000


# --- phones -----------------------------------------------------------------------------------------------------------


def artifact(letter: str) -> Artifact:
    return Artifact("model", letter * 64, ())


def test_what_a_plan_may_want() -> None:
    model = ModelFile(artifact("a"), None, None, None, None, None)
    build = RunnerBuild(artifact("b"), "arm64-v8a", {}, None)
    broken = ErrorInfo("model_missing", Step.CHECK, "gone")
    assets = Assets({"m": model, "gone": broken}, {"r": build})
    named = Model("x", "F", "Q", "gguf", url="https://h/x", sha256="C" * 64)
    pinned = Baseline("r", "d" * 64, "b1", "p", "alice", "", 1.0)
    found = wanted_files(Inventory(1, models=(named,)), assets, [pinned])
    assert found == {letter * 64 for letter in "abcd"}


class Leases:
    """A keeper of leases, in whose place somebody else may hold the phone."""

    def __init__(self, holder: LeaseInfo | None = None) -> None:
        self.holder = holder
        self.held = False

    def acquire(self, device: object, agent: object) -> LeaseInfo | None:
        self.held = self.holder is None
        return self.holder

    def release(self, device: object, agent: object) -> None:
        assert self.held
        self.held = False


class Phone:
    """An agent that only prunes."""

    def __init__(self, leases: Leases, *, lost: bool = False) -> None:
        self.files = self
        self.asked: list[tuple[frozenset[str], float]] = []
        self.closed = False
        self._leases = leases
        self._lost = lost

    def prune(self, keep: frozenset[str], unused_days: float, *, limit_s: float) -> tuple[str, ...]:
        assert self._leases.held, "only under the lease"
        if self._lost:
            raise Transient("the cable is out", error_class=ErrorClass.DEVICE_LOST)
        self.asked.append((keep, unused_days))
        return ("e" * 64,)

    def close(self) -> None:
        self.closed = True


DEVICE = cast(ResolvedDevice, SimpleNamespace(id="pixel"))


def tidied(leases: Leases, phone: Phone) -> PhonePruned:
    def open_agent(_device: ResolvedDevice) -> DeviceAgent:
        return cast(DeviceAgent, phone)

    done = prune_phone(DEVICE, open_agent, cast(LeaseKeeper, leases), frozenset({"a"}), 30)
    assert phone.closed and not leases.held
    return done


def test_a_phone_is_tidied_up_under_its_lease() -> None:
    leases = Leases()
    phone = Phone(leases)
    assert tidied(leases, phone) == PhonePruned("pixel", ("e" * 64,))
    assert phone.asked == [(frozenset({"a"}), 30)]


def test_a_phone_that_somebody_works_with_is_left_alone() -> None:
    leases = Leases(replace(identity_of_this_process(), owner="bob@desk"))
    phone = Phone(leases)
    assert tidied(leases, phone).note == "pixel was not tidied up: it is in use by bob@desk"
    assert not phone.asked


def test_a_phone_that_is_lost_meanwhile_is_a_note() -> None:
    leases = Leases()
    assert tidied(leases, Phone(leases, lost=True)).note == "pixel was not tidied up: the cable is out"
