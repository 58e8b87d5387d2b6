"""Jobs on a virtual iPhone: launched, followed, fetched, and every death told by what proves it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from device_agents.base import JobHandle, JobOutput, JobState
from device_agents.ios.agent import IosAgent
from device_agents.samples import parse_samples
from harness.death import Death, classify_death
from harness.errors import ErrorClass, FarmError, Permanent
from harness.model import HttpRequest, Lab, Measured
from tests.contract.helpers import wait_until
from tests.contract.iphones import BUNDLE, SAMPLED, spec
from tests.lab.iphone_lab import Running


def wait_done(agent: IosAgent, handle: JobHandle, *, limit_s: float = 30.0) -> JobState:
    states: list[JobState] = []

    def ended() -> bool:
        states.append(agent.jobs.poll(handle, limit_s=20, wait_s=2))
        return states[-1].phase != "running"

    assert wait_until(ended, limit_s=limit_s), "the job still runs"
    return states[-1]


def collected(agent: IosAgent, handle: JobHandle, into: Path) -> JobOutput:
    assert wait_done(agent, handle).phase == "done"
    output = agent.jobs.collect(handle, into, limit_s=30)
    agent.jobs.end(handle, limit_s=30)
    return output


def events_of(output: JobOutput) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.files["stdout"].read_bytes().splitlines()]


def death_of(agent: IosAgent, handle: JobHandle, into: Path) -> tuple[Death | None, JobOutput]:
    """What the agent finds out about a job that has died, as the session asks for it."""
    assert wait_done(agent, handle).phase == "done"
    output = agent.jobs.collect(handle, into, limit_s=30)
    signs = agent.evidence.ask(handle.folder, "FarmRunner", limit_s=30)
    agent.jobs.end(handle, limit_s=30)
    return (
        classify_death(
            signal=output.signal,
            exit_code=output.exit_code,
            ended_by=output.ended_by,
            boot_before=handle.boot_id,
            signs=signs,
        ),
        output,
    )


def test_events_code_stamps_and_output_come_back(ios_agent: IosAgent, tmp_path: Path) -> None:
    job = spec("case.1_a-b", {"print": "größer"})
    output = collected(ios_agent, ios_agent.jobs.start(job, limit_s=30), tmp_path / "out")
    events = events_of(output)
    assert [event["event"] for event in events if event["event"] != "step"] == ["start", "device", "end"]
    assert (output.exit_code, output.signal, output.ended_by) == (0, None, "exit")
    assert 0 < output.stamps["started"] <= output.stamps["ended"]
    assert output.boot_id
    assert output.files["stderr"].read_text("utf-8") == "größer\n"


def test_what_no_iphone_can_do_is_refused(ios_agent: IosAgent) -> None:
    http = HttpRequest(20000, "/health", 1.0, "/completion", b"{}", b"stop")
    for job in (
        spec("server", http=http),
        spec("dark", unplugged_within_s=5.0),
        spec("shell", argv=("sh", "request.json")),
        spec("cores", cpus=(0,)),
    ):
        with pytest.raises(Permanent) as raised:
            ios_agent.jobs.start(job, limit_s=30)
        assert raised.value.error_class in (ErrorClass.NOT_APPLICABLE, ErrorClass.WORKLOAD_UNSUPPORTED)
    with pytest.raises(Permanent) as raised:
        ios_agent.shell.run(("true",), limit_s=5)
    assert raised.value.error_class is ErrorClass.NOT_APPLICABLE


def test_job_outlives_its_controller(ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path) -> None:
    """Another agent finds it, follows it and fetches what it left."""
    handle = ios_agent.jobs.start(spec("outlives", {"sleep": 2}, limit_s=60), limit_s=30)
    ios_agent.close()
    other = IosAgent(ios_agent.attached, lab_of(iphone_lab))
    try:
        found = other.jobs.find("outlives", limit_s=30)
        assert found == handle
        output = collected(other, found, tmp_path / "out")
        assert output.exit_code == 0
        assert events_of(output)[-1]["event"] == "end"
    finally:
        other.close()


def test_end_that_nobody_saw_is_told_by_the_last_event(ios_agent: IosAgent, tmp_path: Path) -> None:
    handle = ios_agent.jobs.start(spec("unseen", {"sleep": 0.5}, limit_s=60), limit_s=30)
    ios_agent._phone.worker.restart()
    assert wait_until(lambda: not ios_agent._phone.ask("pid_of", bundle=BUNDLE, limit_s=20))
    output = collected(ios_agent, handle, tmp_path / "out")
    assert (output.exit_code, output.signal) == (0, None)


def test_worker_killed_in_mid_run(ios_agent: IosAgent, tmp_path: Path) -> None:
    handle = ios_agent.jobs.start(spec("killed", {"sleep": 2}, limit_s=60), limit_s=30)
    pid = ios_agent._phone.worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    output = collected_through_outages(ios_agent, handle, tmp_path / "out")
    assert output.exit_code == 0


def collected_through_outages(agent: IosAgent, handle: JobHandle, into: Path) -> JobOutput:
    def ended() -> bool:
        try:
            return agent.jobs.poll(handle, limit_s=20, wait_s=1).phase == "done"
        except FarmError:
            return False

    assert wait_until(ended, limit_s=30)
    output = agent.jobs.collect(handle, into, limit_s=30)
    agent.jobs.end(handle, limit_s=30)
    return output


@pytest.mark.parametrize("harm", ["unplug", "dvt_drop", "muxer_restart"])
def test_run_goes_on_through_a_cut(ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path, harm: str) -> None:
    handle = ios_agent.jobs.start(spec(f"cut-{harm}", {"sleep": 3}, limit_s=60), limit_s=30)
    if harm == "muxer_restart":
        iphone_lab.lab.order(harm)
    else:
        iphone_lab.order(harm)
    if harm == "unplug":
        classes: list[ErrorClass] = []

        def is_away() -> bool:
            try:
                ios_agent.jobs.poll(handle, limit_s=10, wait_s=1)
            except FarmError as error:
                classes.append(error.error_class)
            return bool(classes)

        assert wait_until(is_away, limit_s=30)
        assert classes == [ErrorClass.DEVICE_LOST]
        iphone_lab.order("plug")
    output = collected_through_outages(ios_agent, handle, tmp_path / "out")
    assert (output.exit_code, output.signal) == (0, None)
    assert events_of(output)[-1]["event"] == "end"


def test_samples_lie_on_the_phones_axis(ios_agent: IosAgent, tmp_path: Path) -> None:
    job = spec("sampled", {"hold": 64 << 20}, {"sleep": 3.5}, limit_s=60, sampling=SAMPLED)
    handle = ios_agent.jobs.start(job, limit_s=30)
    live: list[object] = []

    def seen() -> bool:
        state = ios_agent.jobs.poll(handle, limit_s=20, wait_s=0.5)
        live.append(state.live)
        return state.phase == "done"

    assert wait_until(seen, limit_s=40)
    output = ios_agent.jobs.collect(handle, tmp_path / "out", limit_s=30)
    ios_agent.jobs.end(handle, limit_s=30)
    traces = {trace.channel.name: trace for trace in parse_samples(output.files["samples"].read_bytes())}
    footprint = traces["runner.phys_footprint"]
    assert len(footprint.values) >= 2 and max(footprint.values) > 60
    start, end = output.stamps["started"], output.stamps["ended"]
    assert all(start - 1.5 < at < end + 1.5 for at in footprint.uptime_s)
    assert len(traces["battery.level"].values) == 1, "an unchanged UpdateTime is no new sample"
    assert traces["thermal.status"].values == (0.0,)
    assert any(live)


# --- deaths -----------------------------------------------------------------------------------------------------------


DEATHS = pytest.mark.parametrize(
    ("order", "expected", "words"),
    [
        ("jetsam", ErrorClass.OUT_OF_MEMORY, "pages of 16384 bytes"),
        ("watchdog", ErrorClass.WATCHDOG, "0x8badf00d"),
        ("user_kill", ErrorClass.USER_KILLED, "swiped away"),
    ],
)


def dying(agent: IosAgent, order: str) -> JobHandle:
    job = spec(f"dies-{order}", {"hold": 32 << 20}, {"sleep": 60}, limit_s=90)
    return agent.jobs.start(job, limit_s=30)


@DEATHS
def test_death_and_its_evidence(
    ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path, order: str, expected: ErrorClass, words: str
) -> None:
    handle = dying(ios_agent, order)
    iphone_lab.order(order)
    death, output = death_of(ios_agent, handle, tmp_path / "out")
    assert death is not None and death.error_class is expected
    assert words in death.evidence.lower()
    assert output.signal == signal.SIGKILL


@DEATHS
def test_death_that_nobody_saw(
    ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path, order: str, expected: ErrorClass, words: str
) -> None:
    handle = dying(ios_agent, order)
    ios_agent._phone.worker.restart()
    iphone_lab.order(order)
    if order == "user_kill":
        state = wait_done(ios_agent, handle)
        assert (state.phase, state.error_class) == ("lost", ErrorClass.KILLED), "a SIGKILL was not seen"
        ios_agent.jobs.end(handle, limit_s=30)
        return
    death, _ = death_of(ios_agent, handle, tmp_path / "out")
    assert death is not None and death.error_class is expected
    assert words in death.evidence.lower()


def test_crash_is_told_by_its_report(ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path) -> None:
    handle = ios_agent.jobs.start(spec("crash", {"sleep": 60}, limit_s=90), limit_s=30)
    iphone_lab.order("crash", signal=int(signal.SIGSEGV))
    assert wait_done(ios_agent, handle).phase == "done"
    signs = ios_agent.evidence.ask(handle.folder, "FarmRunner", limit_s=30)
    assert "EXC_BAD_ACCESS" in signs.tombstone
    output = ios_agent.jobs.collect(handle, tmp_path / "out", limit_s=30)
    assert output.signal == signal.SIGSEGV
    ios_agent.jobs.end(handle, limit_s=30)


def test_background_ends_the_run(ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path) -> None:
    handle = ios_agent.jobs.start(spec("background", {"sleep": 60}, limit_s=90), limit_s=30)
    assert wait_until(
        lambda: b'"device"' in ios_agent._phone.fetch(f"{handle.folder}/events.jsonl", most=10000, limit_s=20)
    )
    iphone_lab.order("to_background")
    output = collected(ios_agent, handle, tmp_path / "out")
    assert output.exit_code == 1
    assert events_of(output)[-1]["class"] == "not_frontmost"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("locked", ErrorClass.DEVICE_LOCKED),
        ("developer_mode_off", ErrorClass.DEVELOPER_MODE),
        ("no_image", ErrorClass.IMAGE_MISSING),
    ],
)
def test_launch_that_the_phone_does_not_allow(
    ios_agent: IosAgent, iphone_lab: Running, fault: str, expected: ErrorClass
) -> None:
    ios_agent._phone.worker.restart()
    iphone_lab.order(fault)
    try:
        with pytest.raises(FarmError) as raised:
            ios_agent.jobs.start(spec("refused"), limit_s=30)
    finally:
        iphone_lab.order(fault, on=False)
    assert raised.value.error_class is expected and raised.value.advice
    ios_agent.jobs.reap(limit_s=30)
    handle = ios_agent.jobs.start(spec("allowed"), limit_s=30)
    assert wait_done(ios_agent, handle).phase == "done"
    ios_agent.jobs.end(handle, limit_s=30)


def test_conditions_and_snapshot(ios_agent: IosAgent, iphone_lab: Running) -> None:
    seen = ios_agent.conditions.read(limit_s=30)
    for name in ("battery_level_pct", "thermal_status", "storage_free_mb", "uptime_s", "other_load_pct", "power_saver"):
        assert isinstance(seen.readings[name], Measured), (name, seen.readings[name])
    snapshot = ios_agent.telemetry.snapshot(limit_s=30)
    assert isinstance(snapshot["memory_available_mb"], Measured)
    assert isinstance(ios_agent.telemetry.design_capacity(limit_s=20), Measured)
    handle = ios_agent.jobs.start(spec("busy", {"sleep": 60}), limit_s=30)
    ios_agent.telemetry._look._at = -100.0  # type: ignore[attr-defined]
    assert "at work" in str(ios_agent.telemetry.snapshot(limit_s=30)["thermal_status"])
    assert ios_agent.jobs.poll(handle, limit_s=20).phase == "running", "looking ends no job"
    ios_agent.jobs.end(handle, limit_s=30)


def lab_of(running: Running) -> Lab:
    return Lab(usbmux=running.info.usbmux, tunneld=running.info.tunneld or None)
