"""The same weights in two runtimes, measured by one program of ours: one run, one table."""

from __future__ import annotations

import itertools
import json
import random
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.errors import FarmError
from harness.supply import models, native_build
from tests.e2e.support import SCRATCH, Farm, base_inventory, every_metric_explains_itself, phones_of
from tests.lab.conftest import RunningLab

PHONE = "pixel-8-pro"
PTE = Path(__file__).parents[1] / "data" / "farm-tiny-fp32-xnnpack.pte"
VOCABULARY, CONTEXT = 512, 256
RUNTIMES = ("llama.cpp", "executorch")


def quiet(text: str) -> None:
    del text


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Path, Path]]:
    """Runtime → folder of its runner, and the same weights in 32-bit floats for it."""
    try:
        folders = {runtime: native_build.build("host", runtime, jobs=2, say=quiet).folder for runtime in RUNTIMES}
        gguf = models.make("farm-tiny", "F32", out=tmp_path_factory.mktemp("tiny")).path
    except FarmError as unavailable:
        pytest.skip(f"a runner cannot be built here: {unavailable}")
    return {runtime: (folders[runtime], model) for runtime, model in zip(RUNTIMES, (gguf, PTE), strict=True)}


@pytest.fixture(scope="module")
def on_phone(lab: RunningLab, files: Mapping[str, tuple[Path, Path]]) -> Mapping[str, tuple[str, str]]:
    """The same on the phone."""
    lab.says(PHONE, f"rm -rf {SCRATCH}; mkdir -p {SCRATCH}; head -c 100000 /dev/urandom > {SCRATCH}/garbage")
    found = {}
    for runtime, (folder, model) in files.items():
        for file in (folder, model):
            pushed = lab.adb(
                "-s", lab.info.phone(PHONE).adb_serial, "push", str(file), f"{SCRATCH}/{file.name}", limit_s=60
            )
            assert pushed.returncode == 0, pushed.stderr
        found[runtime] = (f"{SCRATCH}/{folder.name}", f"{SCRATCH}/{model.name}")
    return found


def ask(lab: RunningLab, where: tuple[str, str], workload: Mapping[str, Any], **more: Any) -> list[dict[str, Any]]:
    """Events of one run on the phone."""
    folder, model = where
    request = {"contract": "1.0", "model": {"path": model}, "workload": workload, "threads": 1, **more}
    script = f"cd {folder}; cat > request.json; LD_LIBRARY_PATH=. ./farm-runner request.json"
    serial = lab.info.phone(PHONE).adb_serial
    done = lab.adb("-s", serial, "shell", script, stdin=json.dumps(request).encode(), limit_s=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def chosen(events: Sequence[Mapping[str, Any]]) -> list[int]:
    assert events[-1]["event"] == "end", events[-1]
    return [event["id"] for event in events if event["event"] == "token"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_choose_the_same_tokens_after_the_same_prefix(
    lab: RunningLab, on_phone: Mapping[str, tuple[str, str]], seed: int
) -> None:
    numbers = random.Random(seed)
    prompt = [numbers.randrange(VOCABULARY) for _ in range(40)]
    forced = [numbers.randrange(VOCABULARY) for _ in range(200)]
    workload = {"kind": "stream", "prompt": prompt, "gen_tokens": 201, "forced": forced}
    # Not llama.cpp's own choice of a 16-bit cache: the other one has 32.
    llama, executorch = (
        chosen(ask(lab, on_phone[runtime], workload, **more))
        for runtime, more in (("llama.cpp", {"kv_type": "f32", "flash_attn": "off"}), ("executorch", {}))
    )
    assert len(llama) == len(executorch) == 201
    # Weights that mean nothing still tell prefixes apart: hardly a token comes twice.
    assert len(set(llama)) > 60
    assert sum(a == b for a, b in zip(llama, executorch, strict=True)) >= 0.99 * 201


def test_a_prompt_at_once_and_token_by_token_are_one(lab: RunningLab, on_phone: Mapping[str, tuple[str, str]]) -> None:
    numbers = random.Random(7)
    tokens = [numbers.randrange(VOCABULARY) for _ in range(60)]
    for runtime, where in on_phone.items():
        (whole,) = chosen(ask(lab, where, {"kind": "stream", "prompt": tokens, "gen_tokens": 1}))
        one_by_one = {"kind": "stream", "prompt": tokens[:1], "gen_tokens": 60, "forced": tokens[1:]}
        assert chosen(ask(lab, where, one_by_one))[-1] == whole, runtime


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("change", "klass"),
    [
        ({"model": {"path": f"{SCRATCH}/missing"}}, "model_missing"),
        ({"model": {"path": f"{SCRATCH}/garbage"}}, "model_invalid"),
        ({"workload": {"kind": "stream", "prompt": [VOCABULARY], "gen_tokens": 1}}, "tokenizer_mismatch"),
        (
            {"workload": {"kind": "stream", "prompt": [1], "gen_tokens": CONTEXT}, "context": CONTEXT},
            "context_too_small",
        ),
        ({"kv_type": "q9_9"}, "option_unsupported"),
        ({"gpu_layers": 3}, "option_unsupported"),
        ({"output": "/system/events"}, "output_unwritable"),
    ],
    ids=["missing", "broken", "tokenizer", "context", "kv", "gpu", "output"],
)
def test_bad_input_has_one_class_in_both(
    lab: RunningLab, on_phone: Mapping[str, tuple[str, str]], runtime: str, change: Mapping[str, Any], klass: str
) -> None:
    workload = {"kind": "stream", "prompt": [1, 2, 3], "gen_tokens": 2}
    more = {"workload": workload, **change}
    last = ask(lab, on_phone[runtime], more.pop("workload"), **more)[-1]
    assert (last["event"], last.get("class")) == ("error", klass), last


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_model_that_was_cut_is_refused_with_a_word(
    lab: RunningLab, on_phone: Mapping[str, tuple[str, str]], runtime: str, share: float
) -> None:
    folder, model = on_phone[runtime]
    size = int(lab.says(PHONE, f"stat -c %s {model}"))
    cut = f"{SCRATCH}/cut{Path(model).suffix}"
    lab.says(PHONE, f"head -c {int(size * share)} {model} > {cut}")
    last = ask(lab, (folder, cut), {"kind": "stream", "prompt": [1], "gen_tokens": 1})[-1]
    assert (last["event"], last.get("class")) == ("error", "model_invalid"), last


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_crash_leaves_its_event(lab: RunningLab, on_phone: Mapping[str, tuple[str, str]], runtime: str) -> None:
    folder, model = on_phone[runtime]
    workload = {"kind": "sustained", "prompt": [1, 2], "gen_tokens": 8, "seconds": 60}
    request = {"contract": "1.0", "model": {"path": model}, "workload": workload, "threads": 1}
    script = (
        f"cd {folder}; cat > request.json; LD_LIBRARY_PATH=. ./farm-runner request.json > events & pid=$!;"
        ' while [ "$(wc -l < events)" -lt 20 ]; do sleep 0.01; done; kill -SEGV $pid; wait $pid; echo $?;'
        " tail -n 1 events"
    )
    serial = lab.info.phone(PHONE).adb_serial
    done = lab.adb("-s", serial, "shell", script, stdin=json.dumps(request).encode(), limit_s=60)
    code, last = done.stdout.splitlines()[-2:]
    assert (int(code), json.loads(last)["class"], json.loads(last)["message"]) == (139, "crashed", "signal 11")


def test_one_run_measures_both_and_one_table_holds_them(
    tmp_path: Path, lab: RunningLab, files: Mapping[str, tuple[Path, Path]]
) -> None:
    farm = Farm(tmp_path, dict(lab.env), base_inventory(phones_of(lab, PHONE)))
    forms = {"llama.cpp": ("gguf", "F32"), "executorch": ("pte", "fp32")}
    work = {"prompt_tokens": 32, "gen_tokens": 24, "context": CONTEXT, "threads": 1}
    farm.write(
        models=[
            {
                "id": f"tiny-{form}",
                "family": "farm-tiny",
                "quant": quant,
                "format": form,
                "path": str(files[runtime][1]),
            }
            for runtime, (form, quant) in forms.items()
        ],
        runners=[
            {"id": runtime, "runtime": runtime, "platform": "android", "abi": "x86_64", "path": str(files[runtime][0])}
            for runtime in RUNTIMES
        ],
        workloads={
            "bench": {"kind": "throughput", **work},
            "chat": {"kind": "stream", **work},
            "cold": {"kind": "stream", "page_cache": "evict", **work},
        },
        suites={"standard": {"workloads": ["bench", "chat", "cold"], "repeats": 1}},
    )
    farm("--json", "run", "--report", "report").expect(0)
    rows = [row for row in farm.rows() if row["status"] != "skipped"]
    assert {row["status"] for row in rows} == {"measured"}
    assert {(row["runtime"], row["workload"]) for row in rows} == {
        (runtime, workload) for runtime in RUNTIMES for workload in ("bench", "chat", "cold")
    }
    for row in rows:
        every_metric_explains_itself(row)
        metrics = row["metrics"]
        needed = {
            "bench": ("prefill_tps", "decode_tps", "ms_per_token"),
            "chat": ("load_ms", "ttft_ms", "ms_per_token"),
        }
        for name in (*needed.get(row["workload"], ("ttft_ms",)), "peak_memory_mb", "model_mb"):
            assert "value" in metrics[name], (row["runtime"], row["workload"], name, metrics[name])
        overhead = row["provenance"]["reported"]["framework_overhead"]
        assert overhead, row["provenance"]["reported"]
        phases = ("started", "ready", *(() if row["workload"] == "bench" else ("requested", "answered")), "ended")
        at = [row["provenance"]["stamps"][name] for name in phases]
        # Those of the phone come in steps of 10 ms.
        assert all(later >= earlier - 0.02 for earlier, later in itertools.pairwise(at)), row["provenance"]["stamps"]
    page = (tmp_path / "report" / "flagship.html").read_text(encoding="utf-8")
    assert "tiny-gguf" in page and "tiny-pte" in page


MOMENTS = (1, 2, 3, 5, 7, 10, 30, 60, 120, 250)
"""Lines of events after which the runner is killed: before and in the load, in a prompt, between tokens, much later."""

LONG = {"kind": "sustained", "prompt_tokens": 8, "gen_tokens": 16, "context": CONTEXT, "threads": 1}

_KILLER = r"""last=
for lines in "$@"; do
  tries=0
  while [ $tries -lt 3000 ]; do
    tries=$((tries + 1))
    pid=$(pidof farm-runner)
    [ -n "$pid" ] && [ "$pid" != "$last" ] && [ "$(wc -l < /proc/$pid/cwd/../stdout)" -ge $lines ] && break
    sleep 0.01
  done
  kill -KILL $pid && last=$pid
done"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_killed_runner_is_a_typed_case_with_what_it_had_done(
    tmp_path: Path, lab: RunningLab, files: Mapping[str, tuple[Path, Path]], runtime: str
) -> None:
    folder, model = files[runtime]
    form = {"llama.cpp": "gguf", "executorch": "pte"}[runtime]
    farm = Farm(tmp_path, dict(lab.env), base_inventory(phones_of(lab, PHONE)))
    farm.write(
        models=[{"id": "tiny", "family": "farm-tiny", "quant": "fp32", "format": form, "path": str(model)}],
        runners=[{"id": "own", "runtime": runtime, "platform": "android", "abi": "x86_64", "path": str(folder)}],
        workloads={"long": {**LONG, "minutes": 5}},
        suites={"standard": {"workloads": ["long"], "repeats": len(MOMENTS)}},
    )
    serial = lab.info.phone(PHONE).adb_serial
    words = ["sh", "-c", _KILLER, "killer", *map(str, MOMENTS)]
    with ThreadPoolExecutor(1) as background:
        killer = background.submit(lab.adb, "-s", serial, "shell", shlex.join(words), limit_s=170)
        farm("run", "--report", "report").expect(1)
        assert killer.result().returncode == 0, killer.result().stderr
    rows = sorted(farm.rows(), key=lambda row: int(row["repeat"]))
    assert len(rows) == len(MOMENTS)
    for row, lines in zip(rows, MOMENTS, strict=True):
        assert (row["status"], row["error"]["class"], row["error"]["step"]) == ("failed", "killed", "run"), row["error"]
        reported = row["provenance"]["reported"]
        assert reported["runtime"] == runtime
        if lines >= 30:
            assert reported["generated_tokens"] > 0
        assert "events stop" in row["error"]["message"] or "no event" in row["error"]["message"]
