"""Artifacts come to the device once, checked there, and survive a cut."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from device_agents.base import DeviceAgent
from device_agents.posix.files import RESERVE_BYTES, PosixFiles, device_name
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import Artifact
from tests.contract.helpers import model, run_job, runner, spec, wait_until

NAMES = [
    "plain.gguf",
    "two words.gguf",
    "q'uo\"te.gguf",
    "$(touch pwned).gguf",
    "a;b.gguf",
    "ünï 中.gguf",
    "-n.gguf",
    "<script>.gguf",
]


def missing_bytes(agent: DeviceAgent, artifact: Artifact) -> int:
    return agent.files.survey((artifact,), limit_s=20).missing_bytes[artifact.sha256]


def content_on(agent: DeviceAgent, path: str) -> bytes:
    return agent.shell.run(("cat", path), limit_s=30).stdout


@pytest.mark.parametrize("name", NAMES)
def test_model_is_deployed_under_its_name(agent: DeviceAgent, tmp_path: Path, name: str) -> None:
    artifact = model(tmp_path / name)
    assert missing_bytes(agent, artifact) == artifact.size
    seen: list[tuple[int, int]] = []
    deployed = agent.files.ensure(
        artifact, keep=frozenset(), limit_s=60, progress=lambda done, total: seen.append((done, total))
    )
    assert deployed.pushed_bytes == artifact.size
    assert seen[-1] == (artifact.size, artifact.size)
    assert deployed.path.endswith(f"/{name}")
    assert content_on(agent, deployed.path) == (tmp_path / name).read_bytes()
    again = agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert (again.path, again.pushed_bytes, again.resumed_bytes) == (deployed.path, 0, 0)
    assert missing_bytes(agent, artifact) == 0


def test_same_content_under_another_name_is_not_pushed(agent: DeviceAgent, tmp_path: Path) -> None:
    first = agent.files.ensure(model(tmp_path / "a.gguf"), keep=frozenset(), limit_s=60)
    second = agent.files.ensure(model(tmp_path / "b.gguf"), keep=frozenset(), limit_s=60)
    assert second.pushed_bytes == 0
    assert content_on(agent, second.path) == (tmp_path / "b.gguf").read_bytes()
    assert first.path == second.path


def test_empty_model_is_deployed(agent: DeviceAgent, tmp_path: Path) -> None:
    deployed = agent.files.ensure(model(tmp_path / "empty.gguf", 0), keep=frozenset(), limit_s=30)
    assert content_on(agent, deployed.path) == b""


def test_runner_folder_keeps_names_and_modes(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = runner(
        tmp_path / "r",
        {"bin/tool": b"#!/bin/sh\necho ran\n", "lib/a b's.so": b"x" * 70_000, "empty": b"", "$(id).txt": b"t"},
        executable=("bin/tool",),
    )
    deployed = agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert deployed.pushed_bytes == artifact.size
    assert agent.shell.run((f"{deployed.path}/bin/tool",), limit_s=10).stdout == b"ran\n"
    assert content_on(agent, f"{deployed.path}/lib/a b's.so") == b"x" * 70_000
    assert content_on(agent, f"{deployed.path}/$(id).txt") == b"t"
    assert agent.files.ensure(artifact, keep=frozenset(), limit_s=60).pushed_bytes == 0


def test_cut_folder_goes_on_where_it_stopped(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = runner(tmp_path / "r", {f"f{index}": bytes([index]) * 1000 for index in range(5)})
    wrong = Artifact("runner", artifact.sha256, (*artifact.files[:-1], _with_hash(artifact, "0" * 64)))
    with pytest.raises(Transient) as raised:
        agent.files.ensure(wrong, keep=frozenset(), limit_s=60)
    assert raised.value.error_class is ErrorClass.HASH_MISMATCH
    assert agent.files.ensure(artifact, keep=frozenset(), limit_s=60).resumed_bytes == 5000


def _with_hash(artifact: Artifact, digest: str):  # type: ignore[no-untyped-def]
    last = artifact.files[-1]
    return type(last)(last.name, last.path, last.size, digest, last.executable)


def test_cut_model_goes_on_where_it_stopped(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 3_000_000)
    (tmp_path / "cut").mkdir()
    cut = tmp_path / "cut" / "m.gguf"
    cut.write_bytes((tmp_path / "m.gguf").read_bytes()[:1_000_001])
    half = dataclasses.replace(artifact.files[0], path=str(cut))
    with pytest.raises(FarmError) as raised:
        agent.files.ensure(Artifact("model", artifact.sha256, (half,)), keep=frozenset(), limit_s=60)
    assert raised.value.error_class is ErrorClass.PUSH_FAILED
    assert wait_until(lambda: missing_bytes(agent, artifact) == 1_999_999)
    deployed = agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert (deployed.resumed_bytes, deployed.pushed_bytes) == (1_000_001, 1_999_999)
    assert content_on(agent, deployed.path) == (tmp_path / "m.gguf").read_bytes()


def test_interrupted_push_leaves_no_caller_waiting(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 20_000_000)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.files.ensure(artifact, keep=frozenset(), limit_s=60, progress=interrupt)
    assert agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path


def test_corrupt_part_is_found_and_pushed_anew(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 200_000)
    other = model(tmp_path / "n.gguf", 200_000, seed=2)
    lying = Artifact("model", artifact.sha256, other.files)
    with pytest.raises(Transient) as raised:
        agent.files.ensure(lying, keep=frozenset(), limit_s=60)
    assert raised.value.error_class is ErrorClass.HASH_MISMATCH
    assert other.sha256 in raised.value.message
    deployed = agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert deployed.resumed_bytes == 0
    assert content_on(agent, deployed.path) == (tmp_path / "m.gguf").read_bytes()


def test_truncated_on_the_device_is_pushed_anew(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 200_000)
    path = agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path
    agent.shell.script('head -c 5 "$1" > "$1.x" && mv "$1.x" "$1"', path, limit_s=10)
    assert agent.files.ensure(artifact, keep=frozenset(), limit_s=60).pushed_bytes == artifact.size


def test_no_space_is_said_with_numbers(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 1000)
    kept = agent.files.ensure(model(tmp_path / "k.gguf", 5000, seed=3), keep=frozenset(), limit_s=60)
    free = agent.files.survey((artifact,), limit_s=20).free_bytes
    assert free is not None
    huge = type(artifact.files[0])("m.gguf", artifact.files[0].path, free * 2, artifact.sha256)
    with pytest.raises(Permanent) as raised:
        agent.files.ensure(Artifact("model", artifact.sha256, (huge,)), keep=frozenset(), limit_s=60)
    assert raised.value.error_class is ErrorClass.STORAGE_FULL
    assert " MB needed" in raised.value.message
    assert " MB free" in raised.value.message
    assert content_on(agent, kept.path), "nothing is removed when it would not help"


def test_least_recently_used_makes_room(agent: DeviceAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1_000_000
    artifacts = [model(tmp_path / f"{index}.gguf", size, seed=index) for index in range(4)]
    paths = {}
    for index, artifact in enumerate(artifacts[:3]):
        paths[index] = agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path
        # Folder times of one second's resolution must tell the order.
        agent.shell.script('touch -d "2026-01-01 00:00:0$2" "${1%/*}"', paths[index], str(index), limit_s=10)
    used = run_job_using(agent, paths[0])
    tight = RESERVE_BYTES + size // 2
    ask = PosixFiles._space
    monkeypatch.setattr(
        PosixFiles, "_space", lambda files, **limit: dataclasses.replace(ask(files, **limit), free=tight)
    )
    monkeypatch.setattr("device_agents.posix.files._free_bytes", lambda _text: tight)
    deployed = agent.files.ensure(artifacts[3], keep=frozenset({artifacts[1].sha256}), limit_s=60)
    agent.jobs.end(used, limit_s=20)
    assert deployed.removed == (artifacts[2].sha256,), "0 is in use by a job, 1 is kept"
    there = [missing_bytes(agent, artifact) == 0 for artifact in artifacts]
    assert there == [True, True, False, True]


def run_job_using(agent: DeviceAgent, path: str):  # type: ignore[no-untyped-def]
    return agent.jobs.start(spec("uses-a-model", "sleep 30", path), limit_s=20)


def test_file_that_shrinks_while_it_is_sent(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 200_000)
    (tmp_path / "m.gguf").write_bytes(b"short")
    with pytest.raises(FarmError) as raised:
        agent.files.ensure(artifact, keep=frozenset(), limit_s=30)
    assert raised.value.error_class is ErrorClass.PUSH_FAILED


def test_runner_with_a_hostile_name_is_refused(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = runner(tmp_path / "r", {"x": b"1"})
    bad = Artifact("runner", artifact.sha256, (type(artifact.files[0])("../x", artifact.files[0].path, 1, "0" * 64),))
    with pytest.raises(Permanent) as raised:
        agent.files.ensure(bad, keep=frozenset(), limit_s=30)
    assert raised.value.error_class is ErrorClass.RUNNER_INVALID


def test_deployed_program_runs_as_a_job(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = runner(tmp_path / "r", {"tool": b'#!/bin/sh\necho "$1"\n'}, executable=("tool",))
    folder = agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path
    job = spec("program", "", cwd=folder)
    output = run_job(
        agent, type(job)(job.key, (f"{folder}/tool", "a b"), {}, folder, 20.0, sampling=None), tmp_path / "o"
    )
    assert output.files["stdout"].read_bytes() == b"a b\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b.gguf", "b.gguf"), ("x\ny.gguf", "x_y.gguf"), ("..", "model.."), ("é" * 150, "é" * 100)],
)
def test_device_name(name: str, expected: str) -> None:
    assert device_name(name) == expected


def test_device_without_tar_gets_one_file_after_the_other(
    local_agent: DeviceAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in (
        "sh",
        "mkdir",
        "cat",
        "chmod",
        "mv",
        "rm",
        "find",
        "wc",
        "df",
        "du",
        "ls",
        "touch",
        "grep",
        "sha256sum",
    ):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    artifact = runner(tmp_path / "r", {"bin/a b": b"1" * 5000, "c": b""}, executable=("bin/a b",))
    seen: list[int] = []
    deployed = local_agent.files.ensure(
        artifact, keep=frozenset(), limit_s=30, progress=lambda done, _total: seen.append(done)
    )
    assert Path(deployed.path, "bin", "a b").read_bytes() == b"1" * 5000
    assert os.access(Path(deployed.path, "bin", "a b"), os.X_OK)
    assert seen[-1] == 5000
