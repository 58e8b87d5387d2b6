"""Models and the app on a virtual iPhone: sent once, checked there, gone on after a cut."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from device_agents.ios import check, files
from device_agents.ios.agent import IosAgent
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import Artifact
from tests.contract.helpers import model, wait_until
from tests.contract.iphones import BUNDLE, app
from tests.lab.iphone_lab import Running


def missing_bytes(agent: IosAgent, artifact: Artifact) -> int:
    return agent.files.survey((artifact,), limit_s=30).missing_bytes[artifact.sha256]


def content_on(agent: IosAgent, path: str) -> bytes:
    return agent._phone.fetch(path, most=1 << 30, limit_s=60)


def raised_by(call: object) -> FarmError:
    with pytest.raises(FarmError) as raised:
        call()  # type: ignore[operator]
    return raised.value


def test_model_is_sent_once_and_checked_by_the_app(ios_agent: IosAgent, tmp_path: Path) -> None:
    artifact = model(tmp_path / "a 'b' $(c).gguf", 3_000_000)
    assert missing_bytes(ios_agent, artifact) == artifact.size
    seen: list[tuple[int, int]] = []
    done = ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60, progress=lambda *step: seen.append(step))
    assert (done.pushed_bytes, done.resumed_bytes) == (artifact.size, 0)
    assert done.path == f"farm/models/{artifact.sha256}.gguf"
    assert seen[-1] == (artifact.size, artifact.size)
    assert content_on(ios_agent, done.path) == Path(artifact.files[0].path).read_bytes()
    survey = ios_agent.files.survey((artifact,), limit_s=30)
    assert survey.paths == {artifact.sha256: done.path} and survey.missing_bytes == {artifact.sha256: 0}
    again = ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert (again.path, again.pushed_bytes, again.resumed_bytes) == (done.path, 0, 0)
    ios_agent.files.read_through(done.path, limit_s=30)


@pytest.mark.parametrize("at", [1, 700_000, 2_999_999])
def test_push_goes_on_where_the_cable_was_cut(
    ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path, at: int
) -> None:
    artifact = model(tmp_path / "m.gguf", 3_000_000, seed=at)
    iphone_lab.order("unplug", after_bytes=at)
    error = raised_by(lambda: ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60))
    assert error.error_class is ErrorClass.DEVICE_LOST and isinstance(error, Transient)
    assert not ios_agent.alive(limit_s=5)
    iphone_lab.order("plug")
    assert wait_until(lambda: ios_agent.alive(limit_s=5))
    left = missing_bytes(ios_agent, artifact)
    assert 0 < left <= artifact.size
    done = ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert (done.pushed_bytes, done.resumed_bytes) == (left, artifact.size - left)
    assert content_on(ios_agent, done.path) == Path(artifact.files[0].path).read_bytes()


@pytest.mark.parametrize("known", [True, False], ids=["before it is sent", "while it is sent"])
def test_full_phone_is_said_with_numbers(
    ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    artifact = model(tmp_path / "m.gguf", 2_000_000)
    if not known:
        monkeypatch.setattr(files, "RESERVE_BYTES", -(10**12))
    iphone_lab.order("storage_full", bytes=1_000_000)
    try:
        error = raised_by(lambda: ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60))
    finally:
        iphone_lab.order("storage_full", bytes=None)
    assert error.error_class is ErrorClass.STORAGE_FULL and isinstance(error, Permanent)
    assert " MB needed" in error.message and " MB free" in error.message
    assert ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path


def test_least_recently_used_makes_room(ios_agent: IosAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = [model(tmp_path / f"{index}.gguf", 1_000_000, seed=index) for index in range(4)]
    for artifact in artifacts[:3]:
        path = ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path
        ios_agent._phone.ask("touch", area=BUNDLE, path=path, limit_s=20)
    monkeypatch.setattr(files.IosFiles, "_free", lambda *_: files.RESERVE_BYTES + 500_000)
    done = ios_agent.files.ensure(artifacts[3], keep=frozenset({artifacts[0].sha256}), limit_s=60)
    assert done.removed == (artifacts[1].sha256,)
    assert [missing_bytes(ios_agent, each) == 0 for each in artifacts] == [True, False, True, True]


def test_stalled_push_is_given_up(
    ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "STALL_S", 1.0)
    artifact = model(tmp_path / "m.gguf", 30_000_000)
    iphone_lab.order("afc_stall")
    started = time.monotonic()
    try:
        error = raised_by(lambda: ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=8))
    finally:
        iphone_lab.order("afc_stall", on=False)
    assert error.error_class is ErrorClass.TRANSPORT_STALLED
    assert time.monotonic() - started < 20
    assert ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path


def test_hostile_names_beside_the_models_do_no_harm(ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path) -> None:
    folder = next(iphone_lab.phone().folder.rglob("Documents"))
    (folder / "farm" / "models").mkdir(parents=True, exist_ok=True)
    for name in ("$(touch pwned)", "a\nb", "ü中", "-rf", "'quote\"", "x" * 200):
        (folder / "farm" / "models" / name).write_bytes(b"?")
    done = ios_agent.files.ensure(model(tmp_path / "m.gguf", 1000), keep=frozenset(), limit_s=60)
    assert content_on(ios_agent, done.path)


# --- the app ----------------------------------------------------------------------------------------------------------


def test_app_is_installed_when_absent_or_another_build(
    bare_ios_agent: IosAgent, iphone_lab: Running, tmp_path: Path
) -> None:
    first, second = app(tmp_path / "1.ipa", version="1"), app(tmp_path / "2.ipa", version="2")
    agent = bare_ios_agent
    artifact = model(tmp_path / "m.gguf", 5000)
    survey = agent.files.survey((artifact, first), limit_s=30)
    assert survey.missing_bytes == {artifact.sha256: 5000, first.sha256: first.size} and survey.free_bytes
    assert raised_by(lambda: agent.files.ensure(artifact, keep=frozenset(), limit_s=30)).error_class is (
        ErrorClass.APP_MISSING
    )
    done = agent.files.ensure(first, keep=frozenset(), limit_s=60)
    assert (done.path, done.pushed_bytes) == (BUNDLE, first.size)
    path = agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path
    assert agent.files.ensure(first, keep=frozenset(), limit_s=60).pushed_bytes == 0
    assert agent.files.ensure(second, keep=frozenset(), limit_s=60).pushed_bytes == second.size
    assert agent.files.survey((first, second), limit_s=30).missing_bytes == {first.sha256: first.size, second.sha256: 0}
    assert content_on(agent, path), "the models stay when the app is replaced"
    iphone_lab.order("install", path=str(second.files[0].path))
    assert agent.files.ensure(second, keep=frozenset(), limit_s=60).pushed_bytes == second.size, "not by farm"


def test_app_of_somebody_else_is_refused(
    bare_ios_agent: IosAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "START_S", 2.0)
    other = app(tmp_path / "other.ipa", bundle="org.example.other", other=True)
    error = raised_by(lambda: bare_ios_agent.files.ensure(other, keep=frozenset(), limit_s=30))
    assert error.error_class is ErrorClass.RUNNER_INVALID


def test_old_phone_is_told_from_the_package(bare_ios_agent: IosAgent, tmp_path: Path) -> None:
    future = app(tmp_path / "future.ipa", MinimumOSVersion="99.0")
    error = raised_by(lambda: bare_ios_agent.files.ensure(future, keep=frozenset(), limit_s=30))
    assert error.error_class is ErrorClass.OS_UNSUPPORTED


def test_two_calls_at_once_do_not_disturb_each_other(ios_agent: IosAgent, tmp_path: Path) -> None:
    """A lease is renewed while a model is sent."""
    artifact = model(tmp_path / "m.gguf", 40_000_000)
    sent: list[str] = []
    thread = threading.Thread(
        target=lambda: sent.append(ios_agent.files.ensure(artifact, keep=frozenset(), limit_s=60).path)
    )
    thread.start()
    looks = 0
    while thread.is_alive():
        assert ios_agent.lease.read(limit_s=30) is None and ios_agent.alive(limit_s=30)
        looks += 1
    thread.join()
    assert sent and looks
