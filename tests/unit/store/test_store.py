"""What is put into the store comes out again; a measured case is never overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.leases import identity_of_this_process
from harness.model import CaseStatus, DeviceKind, Measured, RunStatus, Step, Unavailable
from harness.store import Store

from . import samples


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def test_a_run_and_its_plan_come_back(store: Store) -> None:
    run = samples.run_record()
    skipped = samples.planned_case(repeat=2, status=CaseStatus.SKIPPED, reason=samples.error_info("no fit"))
    planned = (samples.planned_case(), skipped, samples.planned_case(case="beef", kind=DeviceKind.HOST))
    store.begin_run(run, planned)

    assert store.run(run.id) == run
    assert store.run("other") is None
    assert store.cases(run.id) == planned
    assert store.cases(run.id, status=CaseStatus.SKIPPED) == (skipped,)
    assert store.counts() == {run.id: {CaseStatus.PLANNED: 2, CaseStatus.SKIPPED: 1}}
    assert store.device_kinds() == {run.id: {DeviceKind.VIRTUAL: 1, DeviceKind.HOST: 1}}


def test_a_result_comes_back_whole(store: Store) -> None:
    case, result = samples.planned_case(), samples.result()
    store.begin_run(samples.run_record(), [case])
    store.start_case(case.key, 1, result.started_at)
    steps = [samples.step_record(Step.DEPLOY), samples.step_record(Step.RUN, error=samples.error_info())]
    for step in steps:
        store.add_step(case.key, step)
    store.finish_case(case.key, result)

    row = store.measurement(case.key)
    assert row is not None
    assert row.planned == replace(case, status=CaseStatus.MEASURED)
    assert row.metrics == result.metrics
    assert (row.attempt, row.started_at, row.duration_s) == (1, result.started_at, 3.5)
    assert row.provenance == result.provenance
    assert store.steps(case.key) == tuple(steps)
    assert store.traces(case.key) == result.traces
    assert store.traces(case.key, "zone.cpu.temperature") == result.traces[:1]
    assert store.itl(case.key) == result.itl_ms
    assert store.output(case.key) == (result.log_tail, result.commands)
    assert store.run_steps(case.run) == {case.key: tuple(steps)}
    assert store.run_outputs(case.run) == {case.key: (result.log_tail, result.commands)}
    assert store.run_steps("another") == store.run_outputs("another") == {}


def test_a_measured_case_is_never_overwritten(store: Store) -> None:
    case = samples.planned_case()
    store.begin_run(samples.run_record(), [case])
    store.finish_case(case.key, samples.result(decode_tps=40))
    with pytest.raises(StoreError, match="never overwritten"):
        store.finish_case(case.key, samples.result(decode_tps=1))
    with pytest.raises(StoreError, match="never overwritten"):
        store.start_case(case.key, 2, samples.START)
    row = store.measurement(case.key)
    assert row is not None
    assert row.metrics["decode_tps"] == Measured(40.0, "tok/s", "llama-server timings", 0.001)


def test_a_failed_case_may_be_measured_later(store: Store) -> None:
    case = samples.planned_case()
    store.begin_run(samples.run_record(), [case])
    store.finish_case(case.key, samples.result(CaseStatus.FAILED, error=samples.error_info()))
    failed = store.measurement(case.key)
    assert failed is not None and failed.error == samples.error_info()
    store.finish_case(case.key, samples.result(attempt=2))
    row = store.measurement(case.key)
    assert row is not None
    assert (row.status, row.error, row.attempt) == (CaseStatus.MEASURED, None, 2)


def test_an_unknown_key_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match=r"no measurement 'nothing\.1'"):
        store.finish_case("nothing.1", samples.result())


def test_values_that_are_no_numbers_are_stored_as_absent(store: Store) -> None:
    case = samples.planned_case()
    store.begin_run(samples.run_record(), [case])
    broken = replace(
        samples.result(),
        metrics={"ttft_ms": Measured(float("nan"), "ms", "clock"), "load_ms": Measured(float("inf"), "ms", "clock")},
        provenance={"odd": float("nan"), "nested": [{"x": float("-inf")}]},
    )
    store.finish_case(case.key, broken)
    row = store.measurement(case.key)
    assert row is not None
    assert all(isinstance(found, Unavailable) and "no number" in found.reason for found in row.metrics.values())
    assert row.provenance == {"odd": None, "nested": [{"x": None}]}


def test_text_that_databases_refuse_is_made_storable(store: Store) -> None:
    case = replace(samples.planned_case(), serial="$(reboot)'; DROP TABLE runs; --", device_id="<script>")
    store.begin_run(samples.run_record(), [case])
    store.finish_case(case.key, replace(samples.result(), log_tail="a\0b\ud800c", commands=("x\0",)))
    assert store.output(case.key) == ("a\ufffdb?c", ("x\ufffd",))
    assert store.cases(case.run)[0].serial == case.serial


def test_requeue_puts_back_only_what_was_running(store: Store) -> None:
    cases = [samples.planned_case(repeat=repeat) for repeat in (1, 2, 3)]
    store.begin_run(samples.run_record(), cases)
    store.finish_case(cases[0].key, samples.result())
    store.start_case(cases[2].key, 1, samples.START)
    assert store.requeue_running(cases[0].run) == (cases[2].key,)
    assert [case.status.value for case in store.cases(cases[0].run)] == ["measured", "planned", "planned"]


def test_a_planned_case_can_be_refused(store: Store) -> None:
    case = samples.planned_case()
    store.begin_run(samples.run_record(), [case])
    store.refuse_case(case.key, samples.error_info("model changed"))
    assert store.cases(case.run)[0] == replace(
        case, status=CaseStatus.REFUSED, reason=samples.error_info("model changed")
    )


def test_the_newest_unfinished_run_is_found(store: Store) -> None:
    assert store.newest_unfinished_run() is None
    for number, run in enumerate(("old", "newer", "newest")):
        store.begin_run(samples.run_record(run, started_at=samples.START + number), [])
    store.set_run_status("newest", RunStatus.FINISHED, samples.START + 9)
    store.set_run_status("newer", RunStatus.INTERRUPTED)
    found = store.newest_unfinished_run()
    assert found is not None and (found.id, found.status) == ("newer", RunStatus.INTERRUPTED)
    assert [run.id for run in store.runs()] == ["old", "newer", "newest"]


def test_of_two_that_resume_one_gets_the_run(store: Store) -> None:
    me = identity_of_this_process()
    run = replace(samples.run_record(), host=me.host, pid=me.pid, pid_started=me.pid_started)
    store.begin_run(run, [])
    with pytest.raises(StoreError, match=f"is driven by process {me.pid}"):
        store.take_over_run(run.id, replace(run, pid=me.pid + 1))
    store.set_run_status(run.id, RunStatus.INTERRUPTED)
    store.take_over_run(run.id, replace(run, pid=77, owner="bob@bench"))
    taken = store.run(run.id)
    assert taken is not None
    assert (taken.pid, taken.owner, taken.status, taken.ended_at) == (77, "bob@bench", RunStatus.RUNNING, None)


def test_a_run_of_a_dead_process_can_be_taken_over(store: Store) -> None:
    me = identity_of_this_process()
    run = replace(samples.run_record(), host=me.host, pid=me.pid, pid_started=me.pid_started - 1000)
    store.begin_run(run, [])
    store.take_over_run(run.id, replace(run, pid=me.pid, pid_started=me.pid_started))
    taken = store.run(run.id)
    assert taken is not None and taken.pid_started == me.pid_started


def test_measurements_come_by_start_and_of_what_was_asked(store: Store) -> None:
    for number, run in enumerate(("one", "two")):
        cases = [samples.planned_case(run, f"{run}-case", repeat) for repeat in (1, 2)]
        refused = samples.planned_case(run, f"{run}-no", status=CaseStatus.REFUSED, reason=samples.error_info())
        store.begin_run(samples.run_record(run, started_at=samples.START + number), [*cases, refused])
        for case in cases:
            store.finish_case(case.key, samples.result(started_at=samples.START + 100 - 10 * case.repeat + number))
    order = [row.planned.key for row in store.measurements()]
    assert order == ["one-no.1", "two-no.1", "one-case.2", "two-case.2", "one-case.1", "two-case.1"]
    assert [row.planned.key for row in store.measurements("two")] == ["two-no.1", "two-case.2", "two-case.1"]
    assert [row.planned.key for row in store.measurements(case="one-case")] == ["one-case.2", "one-case.1"]


def test_many_measurements_are_read_in_batches(store: Store) -> None:
    cases = [samples.planned_case(case=f"case-{number:04}") for number in range(1203)]
    store.begin_run(samples.run_record(), cases)
    store.finish_case(cases[1100].key, samples.result())
    rows = list(store.measurements())
    assert [row.planned.case for row in rows[:-1]] == [case.case for case in cases if case is not cases[1100]]
    assert rows[-1].metrics == samples.result().metrics


def test_median_durations_are_of_measured_cases(store: Store) -> None:
    cases = [samples.planned_case(repeat=repeat) for repeat in range(1, 5)]
    store.begin_run(samples.run_record(), cases)
    for case, seconds in zip(cases, (1.0, 5.0, 3.0, 100.0), strict=True):
        status = CaseStatus.FAILED if seconds == 100 else CaseStatus.MEASURED
        store.finish_case(case.key, replace(samples.result(status), duration_s=seconds))
    assert store.median_durations() == {cases[0].series_key: 3.0}


def test_events_come_back_in_order(store: Store) -> None:
    run = samples.run_record()
    store.begin_run(run, [])
    store.add_event(run.id, "pixel", samples.START + 2, "recovery", {"text": "usb cycle: back"})
    store.add_event(run.id, "pixel", samples.START + 1, "away", {"text": "cable"})
    assert [(event.kind, event.detail) for event in store.events(run.id)] == [
        ("away", {"text": "cable"}),
        ("recovery", {"text": "usb cycle: back"}),
    ]


def test_prefixes_are_plain_text(store: Store) -> None:
    store.begin_run(samples.run_record(), [samples.planned_case(case="a_b"), samples.planned_case(case="axb")])
    assert [key for _, _, key in store.matching_keys("a_")] == ["a_b.1"]
    assert store.matching_keys("%") == ()
