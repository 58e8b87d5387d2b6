"""Runners and models that cannot work: each has its class, and the others are measured all the same."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, Farm, every_metric_explains_itself, left_on, model_bytes
from tests.lab.conftest import RunningLab
from tests.unit.artifacts import files

PHONE = "pixel-8-pro"

BODIES = {
    "good": (ANSWER, "measured", None),
    "crash": ("kill -SEGV $$\n", "failed", "crashed"),
    "abort": ("kill -ABRT $$\n", "failed", "crashed"),
    "killed": ("kill -KILL $$\n", "failed", "killed"),
    "garbage": ("head -c 5000 /dev/urandom\n", "failed", "output_garbage"),
    "silent": ("exit 0\n", "failed", "output_garbage"),
    "cut": ('echo \'{"n_prompt": 16, "n_ge\'\n', "failed", "output_garbage"),
    "failing": ("echo 'no such thing: <b>&' >&2\nexit 3\n", "failed", "runner_failed"),
}


def check(farm: Farm, expected: dict[str, tuple[str, str | None]]) -> dict[str, Any]:
    rows = {row["runner"] + "/" + row["model"]: row for row in farm.rows()}
    for name, (status, error_class) in expected.items():
        row = rows[name]
        found = row["error"] and row["error"]["class"]
        assert (row["status"], found) == (status, error_class), (name, row["error"])
        every_metric_explains_itself(row)
        if row["error"]:
            assert row["error"]["message"] and row["error"]["step"]
    assert set(rows) == set(expected)
    return rows


@pytest.mark.long
def test_runners_that_end_badly(on_phones: MakeFarm, lab: RunningLab) -> None:
    farm = on_phones(PHONE)
    bodies = {name: body for name, (body, _, _) in BODIES.items()}
    farm.write(models=[farm.model()], runners=[farm.runner(body, id=name) for name, body in bodies.items()])
    done = farm("run").expect(1, "crashed in run", "output_garbage in run", "killed in run", "what to do")
    check(farm, {f"{name}/tiny": (BODIES[name][1], BODIES[name][2]) for name in bodies})
    assert "1/1" in done.out
    assert left_on(lab, PHONE) == ""
    failing = next(row["case"] for row in farm.rows() if row["runner"] == "failing")
    shown = farm("show", f"{failing}.1").expect(0).out
    assert "no such thing: <b>&" in shown and "runner_failed" in shown and "warm_up" in shown


def test_runners_that_end_badly_on_the_host(on_host: Farm) -> None:
    farm = on_host
    names = ("good", "crash", "killed", "garbage", "failing")
    farm.write(
        models=[farm.model()], runners=[farm.runner(BODIES[name][0], id=name, platform="local") for name in names]
    )
    done = farm("run").expect(1)
    assert "not a phone" in done.out and "not a phone" in done.err
    rows = check(farm, {f"{name}/tiny": (BODIES[name][1], BODIES[name][2]) for name in names})
    assert {row["provenance"]["device_kind"] for row in rows.values()} == {"host"}


def test_files_that_cannot_be_used(on_phones: MakeFarm) -> None:
    farm = on_phones(PHONE)
    good = model_bytes()
    models = {
        "good": (good, "measured", None),
        "missing": (None, "refused", "model_missing"),
        "truncated": (good[:-100], "refused", "model_truncated"),
        "empty": (b"", "refused", "model_invalid"),
        "other": (b"PK\3\4 this is a zip" * 20, "refused", "model_invalid"),
        "changed": (good, "refused", "sha256_mismatch"),
    }
    entries = []
    for name, (content, _, _) in models.items():
        if content is not None:
            (farm.folder / f"{name}.gguf").write_bytes(content)
        entry = {"id": name, "family": "Tiny", "quant": "F16", "format": "gguf", "path": f"{name}.gguf"}
        entries.append(entry | ({"sha256": hashlib.sha256(b"x").hexdigest()} if name == "changed" else {}))
    runners = {name: farm.runner(ANSWER, id=name) for name in ("good", "arm", "unrunnable", "missing")}
    programs = farm.folder / "runners"
    (programs / "arm" / "llama-bench").write_bytes(files.elf("arm64-v8a"))
    (programs / "unrunnable" / "llama-bench").write_bytes(b"neither a program nor a script\n")
    (programs / "missing" / "llama-bench").unlink()
    farm.write(models=entries, runners=list(runners.values()))

    planned = farm("--json", "plan").expect(0).json()
    assert {case["error_class"] for case in planned["cases"]} >= {"model_missing", "runner_abi"}
    farm("run").expect(1)
    expected = {f"good/{name}": (status, error) for name, (_, status, error) in models.items()}
    rows = {row["runner"] + "/" + row["model"]: row for row in farm.rows()}
    for name, (status, error) in expected.items():
        row = rows[name]
        assert (row["status"], row["error"] and row["error"]["class"]) == (status, error), (name, row["error"])
        every_metric_explains_itself(row)
    for runner, error in (
        ("arm", "runner_abi"),
        ("unrunnable", "runner_not_executable"),
        ("missing", "runner_invalid"),
    ):
        row = rows[f"{runner}/good"]
        assert (row["status"], row["error"]["class"]) == ("refused", error), row["error"]


def test_what_fits_no_phone_is_skipped_and_nothing_is_left_to_run(on_phones: MakeFarm) -> None:
    farm = on_phones(PHONE)
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER, abi="arm64-v8a")])
    done = farm("--json", "run").expect(1)
    assert done.json()["counts"] == {"skipped": 1}
    (row,) = farm.rows()
    assert row["status"] == "skipped" and "arm64-v8a" in row["error"]["message"]


@pytest.mark.parametrize("stubborn", [False, True], ids=["plain", "ignores SIGTERM"])
def test_a_runner_that_hangs_is_ended_on_the_phone(
    on_phones: MakeFarm, lab: RunningLab, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    from harness import limits
    from harness.cli.main import main

    farm = on_phones(PHONE)
    body = ("trap '' TERM\n" if stubborn else "") + "while :; do sleep 1; done\n"
    farm.write(models=[farm.model()], runners=[farm.runner(body)])
    for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_PORT", "ANDROID_USER_HOME", "ADB_MDNS"):
        monkeypatch.setenv(name, lab.info.env[name])
    monkeypatch.setattr(limits, "run_limit_s", lambda workload, model: 2.0)
    with pytest.raises(SystemExit) as ended:
        main(["--inventory", str(farm.folder / "inventory.yaml"), "run"])
    assert ended.value.code == 1
    (row,) = farm.rows()
    assert (row["status"], row["error"]["class"], row["error"]["step"]) == ("failed", "timed_out", "run")
    assert left_on(lab, PHONE) == ""
