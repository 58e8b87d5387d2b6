"""`farm tune` on a virtual phone, with a runner whose rate by threads is known."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeFarm

PHONE = "pixel-8-pro"

BY_THREADS = """threads=1
while [ $# -gt 0 ]; do [ "$1" = -t ] && threads=$2; shift; done
case $threads in 1) ms=571 ;; 2) ms=285 ;; 3) ms=320 ;; 4) ms=333 ;; *) ms=1600 ;; esac
ms=$((ms + $$ % 5))
echo "{\\"n_prompt\\":8,\\"n_gen\\":0,\\"samples_ns\\":[${ms}000000]}"
echo "{\\"n_prompt\\":0,\\"n_gen\\":8,\\"samples_ns\\":[${ms}000000]}"
"""
"""A llama-bench that says 28 tok/s for two threads and less for any other count, with some noise."""


@pytest.mark.long
def test_the_fastest_setting_is_found_kept_and_shown(on_phones: MakeFarm) -> None:
    farm = on_phones(PHONE)
    workload = {"kind": "throughput", "prompt_tokens": 8, "gen_tokens": 8}
    farm.write(
        models=[farm.model()],
        runners=[farm.runner(BY_THREADS)],
        workloads={**farm.inventory["workloads"], "short": workload},
    )
    options = ("--workload", "short", "--gates", "off", "--rounds", "2")
    said = farm("--json", "tune", "--device", PHONE, "--model", "tiny", *options, limit_s=280).expect(0).json()
    assert said["best"].startswith("2t-cpu")
    assert said["beats_auto"] and said["kept"]
    measured = {row["setting"]: row["n"] for row in said["trials"]}
    assert "auto" in measured
    assert min(measured.values()) == 3, "what is slow is dropped after the first round"
    assert measured[said["best"]] == 6
    with farm.store() as store:
        (record,) = store.device_records(kind="tuned")
        assert record.key == "tiny/scripted"
        assert record.value["threads"] == 2
        assert record.value["run"] == said["run"]
    rows = farm.rows("--run", said["run"])
    assert {row["workload"] for row in rows} == {f"short@{name}" for name in measured}


def test_what_cannot_be_tuned_says_so(on_phones: MakeFarm) -> None:
    farm = on_phones(PHONE)
    farm.write(models=[farm.model()], runners=[farm.runner(BY_THREADS), farm.runner(BY_THREADS, id="other")])
    farm("tune", "--device", PHONE, "--model", "tiny").expect(2, "--runner", "scripted, other")
    farm("tune", "--device", PHONE, "--model", "nix").expect(2, "--model", "tiny")
    farm("tune", "--device", "nix", "--model", "tiny").expect(2, "--device")
    farm("tune", "--device", PHONE, "--model", "tiny", "--workload", "nix").expect(2, "--workload")
