"""A sustained workload with the real llama-server on a virtual phone: one process, driven there, without the cable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import FarmError
from harness.supply import debian_tools, models
from tests.e2e.support import Farm, base_inventory, every_metric_explains_itself, left_on, phones_of
from tests.lab.conftest import RunningLab, eventually

SECONDS = 9
PHONE = "pixel-8-pro"


@pytest.fixture
def farm(tmp_path: Path, lab: RunningLab) -> Iterator[Farm]:
    try:
        build = debian_tools.runner_folder()
        model = models.make("SmolLM2-135M", "Q4_K_M", out=tmp_path / "models").path
    except FarmError as unavailable:
        pytest.skip(f"no llama.cpp or no model here: {unavailable}")
    made = Farm(tmp_path, dict(lab.env), base_inventory(phones_of(lab, PHONE)))
    tokens = {"prompt_tokens": 8, "gen_tokens": 16, "context": 256, "threads": 1}
    made.write(
        models=[{"id": "tiny", "family": "SmolLM2-135M", "quant": "Q4_K_M", "format": "gguf", "path": str(model)}],
        runners=[
            {"id": "llama.cpp", "runtime": "llama.cpp", "platform": "android", "abi": "x86_64", "path": str(build)}
        ],
        workloads={"long": {"kind": "sustained", "minutes": SECONDS / 60, **tokens}},
        suites={"standard": {"workloads": ["long"], "repeats": 1}},
    )
    yield made
    made.end_all()


def test_requests_go_on_without_the_cable_until_the_time_is_over(farm: Farm, lab: RunningLab) -> None:
    running = farm.start("run")
    answered = "grep -q '^: answered=' /data/local/tmp/farm/jobs/*/stream 2> /dev/null"
    eventually(lambda: lab.shell(PHONE, answered).returncode == 0, limit_s=90, every_s=0.2)
    lab.lab.unplug(PHONE)
    threading.Timer(2.0, lambda: lab.lab.replug(PHONE)).start()
    running.end().expect(0)
    (row,) = farm.rows()
    assert (row["status"], row["error"]) == ("measured", None)
    every_metric_explains_itself(row)
    value = {name: reading["value"] for name, reading in row["metrics"].items() if "value" in reading}
    assert {"ttft_ms", "prefill_tps", "decode_tps", "itl_ms_p50"} <= value.keys()
    assert {"load_ms", "load_first_ms"} & value.keys()
    reported, stamps = row["provenance"]["reported"], row["provenance"]["stamps"]
    requests = reported["requests"]
    assert requests >= 2
    assert reported["generated_tokens"] == 16 * requests and reported["prompt_tokens"] == 8 * requests
    assert stamps["answered"] - stamps["requested"] >= SECONDS
    assert reported["requests_last_s"] == pytest.approx(stamps["answered"] - stamps["requested"], abs=0.1)
    assert reported["token_time_error_s"] < 1.0
    heat = row["provenance"]["heat"]
    assert heat["verdict"] == "unknown" and "the verdict needs 60 s" in heat["reason"]
    assert 0 < heat["start_uptime_s"] - stamps["requested"] < 10
    assert heat["duration_s"] == pytest.approx(stamps["answered"] - heat["start_uptime_s"], abs=1.0)
    assert heat["curve"] and all(rate > 0 for _, rate in heat["curve"])
    assert "the run gave tokens for" in row["metrics"]["sustained_tps"]["unavailable"]
    assert left_on(lab, PHONE) == ""
