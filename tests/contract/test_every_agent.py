"""What the session needs of an agent, whatever the device: this machine, an Android phone, an iPhone."""

from __future__ import annotations

import dataclasses
import itertools
import math
import signal
from pathlib import Path

import pytest

from device_agents.base import JobOutput, JobSpec, Sampling
from device_agents.samples import parse_samples
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import Artifact, Measured
from tests.contract.helpers import model, run_job, wait_done, wait_until
from tests.contract.subjects import Act, Subject

NAMES = ["plain.gguf", "two words.pte", "q'uo\"te.gguf", "$(touch pwned).gguf", "ünï 中.gguf", "-n.gguf"]
DAY_S = 86_400.0


def ran(subject: Subject, job: JobSpec, tmp_path: Path) -> JobOutput:
    return run_job(subject.agent, job, tmp_path / "out")


def missing_bytes(subject: Subject, artifact: Artifact) -> int:
    return subject.agent.files.survey((artifact,), limit_s=30).missing_bytes[artifact.sha256]


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_output_environment_code_and_stamps_come_back(subject: Subject, tmp_path: Path) -> None:
    job = subject.job("case.1_a-b", Act("größer 'x' $(id)", tells="ODD", exits=3), env={"ODD": "x;y $(z) '"})
    output = ran(subject, job, tmp_path)
    assert subject.printed(output) == ["größer 'x' $(id)", "x;y $(z) '"]
    assert (output.exit_code, output.signal, output.ended_by) == (3, None, "exit")
    assert 0 < output.stamps["started"] <= output.stamps["ended"]
    assert output.boot_id


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_exit_codes(subject: Subject, tmp_path: Path, code: int) -> None:
    output = ran(subject, subject.job("codes", Act(exits=code)), tmp_path)
    assert (output.exit_code, output.signal) == (code, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_signals_as_linux_numbers_them(subject: Subject, tmp_path: Path, number: signal.Signals) -> None:
    output = ran(subject, subject.job("signals", Act(dies=int(number))), tmp_path)
    assert (output.exit_code, output.signal, output.ended_by) == (None, int(number), "exit")


def test_limit_ends_it(subject: Subject, tmp_path: Path) -> None:
    handle = subject.agent.jobs.start(subject.job("limit", Act(lasts_s=300), limit_s=1.0), limit_s=30)
    assert wait_done(subject.agent, handle).phase == "done"
    assert not subject.runs(handle)
    output = subject.agent.jobs.collect(handle, tmp_path / "out", limit_s=30)
    subject.agent.jobs.end(handle, limit_s=30)
    assert output.ended_by == "limit" and output.signal in (signal.SIGTERM, signal.SIGKILL)


def test_running_job_is_seen_found_and_ended(subject: Subject) -> None:
    jobs = subject.agent.jobs
    handle = jobs.start(subject.job("long", Act(lasts_s=300), limit_s=600), limit_s=30)
    assert jobs.poll(handle, limit_s=20).phase == "running"
    assert jobs.find("long", limit_s=20) == handle
    assert jobs.find("other", limit_s=20) is None
    assert subject.runs(handle)
    jobs.end(handle, limit_s=30)
    assert not subject.runs(handle)
    assert jobs.find("long", limit_s=20) is None
    assert jobs.poll(handle, limit_s=20).phase == "lost"
    jobs.end(handle, limit_s=30)


def test_poll_waits_for_the_end_and_no_longer_than_it_is_told(subject: Subject) -> None:
    jobs = subject.agent.jobs
    ending = jobs.start(subject.job("ending", Act(lasts_s=0.5)), limit_s=30)
    assert jobs.poll(ending, limit_s=60, wait_s=25).phase == "done"
    jobs.end(ending, limit_s=30)
    lasting = jobs.start(subject.job("lasting", Act(lasts_s=300), limit_s=600), limit_s=30)
    assert jobs.poll(lasting, limit_s=60, wait_s=0.3).phase == "running"
    jobs.end(lasting, limit_s=30)


def test_key_in_use_is_refused(subject: Subject) -> None:
    handle = subject.agent.jobs.start(subject.job("same", Act(lasts_s=300), limit_s=600), limit_s=30)
    with pytest.raises(Permanent, match="there already"):
        subject.agent.jobs.start(subject.job("same", Act()), limit_s=30)
    assert subject.agent.jobs.poll(handle, limit_s=20).phase == "running"
    subject.agent.jobs.end(handle, limit_s=30)


@pytest.mark.parametrize("key", ["../x", "a b", "$(id)", "", ".", "a/b"])
def test_key_that_is_no_name_is_refused(subject: Subject, key: str) -> None:
    with pytest.raises(Permanent):
        subject.agent.jobs.start(subject.job(key, Act()), limit_s=30)


def test_reap_ends_what_was_left(subject: Subject) -> None:
    handle = subject.agent.jobs.start(subject.job("one", Act(lasts_s=300), limit_s=600), limit_s=30)
    assert subject.agent.jobs.reap(limit_s=30) == ("one",)
    assert not subject.runs(handle)
    assert subject.agent.jobs.reap(limit_s=30) == ()


def test_samples_show_the_memory_of_the_job_on_its_own_axis(subject: Subject, tmp_path: Path) -> None:
    job = subject.job("sampled", Act(holds=48 << 20, lasts_s=3.5), limit_s=60, sampling=Sampling())
    output = ran(subject, job, tmp_path)
    traces = {trace.channel.name: trace for trace in parse_samples(output.files["samples"].read_bytes())}
    memory = traces["runner.phys_footprint" if "runner.phys_footprint" in traces else "runner.vm_rss"]
    assert len(memory.values) >= 2 and max(memory.values) > 40
    start, end = output.stamps["started"], output.stamps["ended"]
    assert all(start - 1.5 < at < end + 1.5 for at in memory.uptime_s)
    absent = [trace for trace in traces.values() if not len(trace.values)]
    assert all(trace.channel.absent for trace in absent), "what has no sample says why"


def test_a_job_of_no_program_only_looks(subject: Subject, tmp_path: Path) -> None:
    job = JobSpec("idle", ("sleep", "1"), {}, "/", 60.0)
    output = ran(subject, job, tmp_path)
    assert (output.exit_code, output.ended_by) == (0, "exit")
    assert output.files["samples"].read_bytes()


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_model_is_sent_once(subject: Subject, tmp_path: Path, name: str) -> None:
    files, artifact = subject.agent.files, model(tmp_path / name)
    assert missing_bytes(subject, artifact) == artifact.size
    seen: list[tuple[int, int]] = []
    done = files.ensure(artifact, keep=frozenset(), limit_s=60, progress=lambda *step: seen.append(step))
    assert (done.pushed_bytes, done.resumed_bytes) == (artifact.size, 0)
    assert seen[-1] == (artifact.size, artifact.size)
    assert done.path.endswith(Path(name).suffix), "a runtime may go by the ending of the name"
    assert subject.content(done.path) == (tmp_path / name).read_bytes()
    survey = files.survey((artifact,), limit_s=30)
    assert (survey.paths, survey.missing_bytes) == ({artifact.sha256: done.path}, {artifact.sha256: 0})
    again = files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert (again.path, again.pushed_bytes, again.resumed_bytes) == (done.path, 0, 0)
    files.read_through(done.path, limit_s=30)


def test_same_content_under_another_name_is_not_sent(subject: Subject, tmp_path: Path) -> None:
    files = subject.agent.files
    first = files.ensure(model(tmp_path / "a.gguf"), keep=frozenset(), limit_s=60)
    second = files.ensure(model(tmp_path / "b.gguf"), keep=frozenset(), limit_s=60)
    assert (second.path, second.pushed_bytes) == (first.path, 0)


def test_empty_model(subject: Subject, tmp_path: Path) -> None:
    done = subject.agent.files.ensure(model(tmp_path / "empty.gguf", 0), keep=frozenset(), limit_s=60)
    assert subject.content(done.path) == b""


def test_cut_model_goes_on_where_it_stopped(subject: Subject, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 3_000_000)
    (tmp_path / "cut").mkdir()
    cut = tmp_path / "cut" / "m.gguf"
    cut.write_bytes((tmp_path / "m.gguf").read_bytes()[:1_000_001])
    half = dataclasses.replace(artifact.files[0], path=str(cut))
    with pytest.raises(FarmError) as raised:
        subject.agent.files.ensure(Artifact("model", artifact.sha256, (half,)), keep=frozenset(), limit_s=60)
    assert raised.value.error_class is ErrorClass.PUSH_FAILED
    assert wait_until(lambda: missing_bytes(subject, artifact) == 1_999_999)
    done = subject.agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert (done.resumed_bytes, done.pushed_bytes) == (1_000_001, 1_999_999)
    assert subject.content(done.path) == (tmp_path / "m.gguf").read_bytes()


def test_wrong_copy_is_found_there_and_removed(subject: Subject, tmp_path: Path) -> None:
    artifact, other = model(tmp_path / "m.gguf", 200_000), model(tmp_path / "n.gguf", 200_000, seed=2)
    lying = Artifact("model", artifact.sha256, (dataclasses.replace(other.files[0], sha256=artifact.sha256),))
    with pytest.raises(Transient) as raised:
        subject.agent.files.ensure(lying, keep=frozenset(), limit_s=60)
    assert raised.value.error_class is ErrorClass.HASH_MISMATCH and other.sha256 in raised.value.message
    done = subject.agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert done.resumed_bytes == 0
    assert subject.content(done.path) == (tmp_path / "m.gguf").read_bytes()


def test_file_that_shrinks_while_it_is_sent(subject: Subject, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 200_000)
    (tmp_path / "m.gguf").write_bytes(b"short")
    with pytest.raises(FarmError) as raised:
        subject.agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert raised.value.error_class is ErrorClass.PUSH_FAILED


def test_interrupted_push_leaves_nobody_waiting(subject: Subject, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 30_000_000)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        subject.agent.files.ensure(artifact, keep=frozenset(), limit_s=60, progress=interrupt)
    assert subject.agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path


def test_no_space_is_said_with_numbers(subject: Subject, tmp_path: Path) -> None:
    files = subject.agent.files
    kept = files.ensure(model(tmp_path / "k.gguf", 5000, seed=3), keep=frozenset(), limit_s=60)
    artifact = model(tmp_path / "m.gguf", 1000)
    free = files.survey((artifact,), limit_s=30).free_bytes
    assert free is not None
    huge = Artifact("model", artifact.sha256, (dataclasses.replace(artifact.files[0], size=free * 2),))
    with pytest.raises(Permanent) as raised:
        files.ensure(huge, keep=frozenset(), limit_s=60)
    assert raised.value.error_class is ErrorClass.STORAGE_FULL
    assert " MB needed" in raised.value.message and " MB free" in raised.value.message
    assert len(subject.content(kept.path)) == 5000, "nothing is removed when it would not help"


def test_what_no_plan_wants_goes_when_nobody_used_it_for_long(subject: Subject, tmp_path: Path) -> None:
    files = subject.agent.files
    wanted, other = model(tmp_path / "a.gguf", 3000), model(tmp_path / "b.gguf", 3000, seed=2)
    assert files.prune(frozenset(), 0.0, limit_s=30) == (), "nothing is there yet"
    for artifact in (wanted, other):
        files.ensure(artifact, keep=frozenset(), limit_s=60)
    keep = frozenset({wanted.sha256})
    assert files.prune(keep, 30.0, limit_s=30) == (), "it was used a moment ago"
    assert files.prune(keep, 0.0, limit_s=30) == (other.sha256,)
    assert [missing_bytes(subject, each) for each in (wanted, other)] == [0, 3000]
    assert files.prune(keep, 0.0, limit_s=30) == ()


# --- the device -------------------------------------------------------------------------------------------------------


def test_it_answers_and_tells_what_it_is(subject: Subject) -> None:
    assert subject.agent.alive(limit_s=20)
    facts = subject.agent.facts(limit_s=30)
    assert facts.identity and facts.model and facts.os_version and facts.abis
    assert subject.agent.facts(limit_s=30, known=facts) == facts


def test_clock_is_bracketed(subject: Subject) -> None:
    readings = subject.agent.clock(limit_s=30)
    assert readings
    for reading in readings:
        fields = dataclasses.astuple(reading)
        assert all(math.isfinite(value) for value in fields if value is not None)
    assert all(later.uptime_s >= earlier.uptime_s for earlier, later in itertools.pairwise(readings))


def test_conditions_are_readings(subject: Subject) -> None:
    readings = subject.agent.conditions.read(limit_s=30).readings
    assert {"battery_level_pct", "thermal_status", "memory_available_mb", "other_load_pct"} <= set(readings)
    assert all(reading.reason for reading in readings.values() if not isinstance(reading, Measured))


def test_nothing_is_known_of_a_death_that_was_none(subject: Subject, tmp_path: Path) -> None:
    handle = subject.agent.jobs.start(subject.job("fine", Act()), limit_s=30)
    assert wait_done(subject.agent, handle).phase == "done"
    signs = subject.agent.evidence.ask(handle.folder, "farm-runner", limit_s=30)
    subject.agent.jobs.end(handle, limit_s=30)
    assert signs.boot_id == handle.boot_id or not signs.boot_id
