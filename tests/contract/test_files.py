"""Artifacts come to the device once, checked there, and survive a cut."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from device_agents.base import DeviceAgent
from device_agents.posix.files import RESERVE_BYTES, PosixFiles
from device_agents.posix.packing import device_name
from harness.errors import ErrorClass, Permanent, Transient
from harness.model import Artifact
from tests.contract.helpers import model, run_job, runner, spec


def missing_bytes(agent: DeviceAgent, artifact: Artifact) -> int:
    return agent.files.survey((artifact,), limit_s=20).missing_bytes[artifact.sha256]


def content_on(agent: DeviceAgent, path: str) -> bytes:
    return agent.shell.run(("cat", path), limit_s=30).stdout


@pytest.mark.parametrize("name", ["plain.gguf", "a;b 'c'.gguf", "<script>.gguf"])
def test_model_keeps_its_name(agent: DeviceAgent, tmp_path: Path, name: str) -> None:
    assert agent.files.ensure(model(tmp_path / name), keep=frozenset(), limit_s=60).path.endswith(f"/{name}")


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


def test_truncated_on_the_device_is_pushed_anew(agent: DeviceAgent, tmp_path: Path) -> None:
    artifact = model(tmp_path / "m.gguf", 200_000)
    path = agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path
    agent.shell.script('head -c 5 "$1" > "$1.x" && mv "$1.x" "$1"', path, limit_s=10)
    assert agent.files.ensure(artifact, keep=frozenset(), limit_s=60).pushed_bytes == artifact.size


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


def test_unused_goes_but_for_what_a_job_uses(agent: DeviceAgent, tmp_path: Path) -> None:
    artifacts = [model(tmp_path / f"{index}.gguf", 1000, seed=index) for index in range(4)]
    store = ""
    for artifact in artifacts[:3]:
        path = agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path
        store = path.rsplit("/", 2)[0]
        agent.shell.script('touch -d "2020-01-01 00:00:00" "${1%/*}"', path, limit_s=10)
    used = run_job_using(agent, f"{store}/{artifacts[0].sha256}/x")
    cut = artifacts[3].sha256
    leave = 'mkdir "$1/trash.$2" "$1/$2.part" "$1/notes"; touch -d "2020-01-01 00:00:00" "$1"/*"$2"* "$1/notes"'
    agent.shell.script(leave, store, cut, limit_s=10)
    removed = agent.files.prune(frozenset({artifacts[1].sha256}), 30.0, limit_s=30)
    agent.jobs.end(used, limit_s=20)
    assert removed == tuple(sorted((artifacts[2].sha256, cut)))
    left = agent.shell.script('ls "$1"', store, limit_s=10).stdout.decode().split()
    assert set(left) == {artifacts[0].sha256, artifacts[1].sha256, "notes"}, "what is not farm's stays"


def run_job_using(agent: DeviceAgent, path: str):  # type: ignore[no-untyped-def]
    return agent.jobs.start(spec("uses-a-model", "sleep 30", path), limit_s=20)


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
