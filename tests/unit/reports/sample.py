"""A night of a lab that never was: enough of everything to fill each part of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from harness.model import (
    METRICS,
    CaseStatus,
    Channel,
    DeviceKind,
    ErrorInfo,
    Measured,
    Model,
    PlannedCase,
    Platform,
    Reading,
    Runner,
    RunRecord,
    RunStatus,
    Step,
    StepRecord,
    Targets,
    Tier,
    Trace,
    Unavailable,
    Workload,
    WorkloadKind,
)
from harness.store import MeasurementRow
from reports.inputs import DeviceInput, Past, Repetition, RunInput

START = 1_763_701_200.0
RUN = "20251121-050000-ab12"
TIERS = {
    "flagship": Tier("Flagship", Targets(ms_per_token_max=50, peak_memory_mb_max=1000, quality_retention_min=0.95)),
    "budget": Tier("Budget", Targets(ms_per_token_max=200, peak_memory_mb_max=300)),
}
MODELS = (
    Model("smollm2-135m-q4_k_m", "SmolLM2-135M", "Q4_K_M", "gguf", path="a.gguf"),
    Model("qwen2.5-0.5b-q8_0", "Qwen2.5-0.5B", "Q8_0", "gguf", path="b.gguf"),
)
RUNNER = Runner("llama.cpp-arm64", "llama.cpp", Platform.ANDROID, "arm64-v8a", path="runners/x")
WORKLOADS = {
    "bench": Workload(WorkloadKind.THROUGHPUT),
    "chat": Workload(WorkloadKind.STREAM, prompt_tokens=128, gen_tokens=256, context=2048),
}
DEVICES = (
    ("pixel-8-pro", "Pixel 8 Pro", "Tensor G3", DeviceKind.PHONE, 24.0),
    ("s24-ultra-a", "SM-S928B", "SM8650", DeviceKind.VIRTUAL, 49.6),
    ("s24-ultra-b", "SM-S928B", "SM8650", DeviceKind.VIRTUAL, 71.0),
    ("bench-host", "x86_64 host", "", DeviceKind.HOST, 14.0),
)
HOSTILE = "<script>alert('1')</script>\"'`$(id);&amp;\u202egnol\u202c javascript:alert(1) " + "x" * 200


PUBLISHED: tuple[dict[str, object], ...] = (
    {
        "device": "pixel 8 pro",
        "family": "SmolLM2-135M",
        "quant": "Q4_K_M",
        "runtime": "llama.cpp",
        "metric": "decode_tps",
        "unit": "tok/s",
        "low": 313131.0,
        "high": 424242.0,
        "value": None,
        "source": "a table of somebody else",
        "note": "given as a range",
    },
    {
        "device": "SM-S928B",
        "family": "SmolLM2-135M",
        "quant": "Q4_K_M",
        "runtime": None,
        "metric": "peak_memory_mb",
        "unit": "MB",
        "low": None,
        "high": None,
        "value": 777777.0,
        "source": "https://example.org/figures",
        "note": "",
    },
)
"""Figures of others, as a run keeps them; no number of the sample is like them."""


@dataclass(slots=True)
class Samples:
    """Telemetry held in memory."""

    held: dict[str, tuple[Trace, ...]] = field(default_factory=dict)
    latencies: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def traces(self, key: str) -> tuple[Trace, ...]:
        return self.held.get(key, ())

    def itl(self, key: str) -> tuple[float, ...]:
        return self.latencies.get(key, ())


def planned(
    *,
    device: str = "pixel-8-pro",
    kind: DeviceKind = DeviceKind.PHONE,
    model: Model = MODELS[0],
    runner: Runner = RUNNER,
    workload: str = "chat",
    repeat: int = 0,
    tier: str = "flagship",
    status: CaseStatus = CaseStatus.MEASURED,
    reason: ErrorInfo | None = None,
) -> PlannedCase:
    case = f"{abs(hash_text(device + model.id + runner.id + workload)):08x}"
    return PlannedCase(
        run=RUN,
        case=case,
        repeat=repeat,
        series_key=f"s{case}",
        device_id=device,
        serial=f"SERIAL-{device}",
        identity=device,
        platform=Platform.ANDROID,
        kind=kind,
        tier=tier,
        model=model,
        runner=runner,
        workload_id=workload,
        workload=WORKLOADS.get(workload, WORKLOADS["chat"]),
        model_sha256="a1" * 32,
        runner_sha256="b2" * 32,
        status=status,
        reason=reason,
    )


def hash_text(text: str) -> int:
    """The same in every process, unlike hash()."""
    return sum((index + 1) * ord(character) for index, character in enumerate(text)) & 0xFFFFFFFF


def metrics(ms: float, stream: bool, random: Random) -> dict[str, Reading]:
    noise = random.gauss(1, 0.02)
    ms *= noise
    values = {
        "load_ms": 812 * noise,
        "prefill_tps": 9000 / ms,
        "decode_tps": 1000 / ms,
        "ms_per_token": ms,
        "peak_memory_mb": 182.4 + random.random(),
        "rss_anon_mb": 61.2,
        "rss_file_mb": 121.0,
        "model_mb": 105.46,
        "temperature_start_c": 29.8,
        "temperature_peak_c": 36.5 + random.random(),
        "thermal_status_max": 0.0,
        "battery_level_start_pct": 100.0,
        "battery_level_end_pct": 99.0,
    }
    if stream:
        values |= {"ttft_ms": 14.2 * ms, "itl_ms_p50": ms * 0.98, "itl_ms_p90": ms * 1.1, "itl_ms_p99": ms * 1.6}
    found: dict[str, Reading] = {}
    for name, spec in METRICS.items():
        if name in values:
            found[name] = Measured(values[name], spec.unit, SOURCES.get(name, "/proc/PID/status"), 0.001)
        elif name.startswith("energy"):
            found[name] = Unavailable("the phone is powered over USB, so its battery current is not what it uses")
        else:
            found[name] = Unavailable("a throughput workload has no tokens one by one")
    return found


SOURCES = {
    "decode_tps": "llama-server timings predicted_per_second",
    "ms_per_token": "1000 / decode_tps",
    "peak_memory_mb": "/proc/PID/status VmHWM",
    "battery_level_start_pct": "dumpsys battery level",
}


def traces(ms: float, random: Random, begin: float = 5000.0) -> tuple[Trace, ...]:
    length = 30 + ms / 4
    slow = [begin + at for at in _range(length, 0.5)]
    fast = [begin + at for at in _range(length, 0.1)]
    cap = [2850.0 if t - begin < 20 else 2400.0 for t in slow]
    return (
        Trace(
            Channel("battery.temperature", "°C", "dumpsys battery", 0.1), slow, [29.8 + (t - begin) / 20 for t in slow]
        ),
        Trace(
            Channel("zone.cpu-big.temperature", "°C", "/sys/class/thermal/thermal_zone3/temp", 0.001),
            slow,
            [34 + 22 * (1 - math.exp(-(t - begin) / 6)) + random.random() for t in slow],
        ),
        Trace(Channel("zone.skin.temperature", "°C", "", None, absent="permission denied"), (), ()),
        Trace(
            Channel("policy4.cur_freq", "MHz", "/sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", 1),
            slow,
            [min(limit, random.choice((2850.0, 2850.0, 2400.0))) for limit in cap],
        ),
        Trace(
            Channel("policy4.max_freq", "MHz", "/sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq", 1), slow, cap
        ),
        Trace(
            Channel("runner.vm_rss", "MB", "/proc/PID/status VmRSS", 0.004),
            fast,
            [min(182.0, 20 + 170 * (t - begin)) + random.random() for t in fast],
        ),
        Trace(
            Channel("runner.vm_hwm", "MB", "/proc/PID/status VmHWM", 0.004),
            fast,
            [min(183.0, 20 + 171 * (t - begin)) for t in fast],
        ),
    )


def _range(length: float, step: float) -> list[float]:
    return [index * step for index in range(int(length / step))]


def provenance(device: tuple[str, str, str, DeviceKind, float], repeat: int) -> dict[str, object]:
    return {
        "harness_version": "0.1.0",
        "os_fingerprint": "google/husky/husky:14/UD1A/1:user/release-keys",
        "device": {"model": device[1], "soc": device[2], "os_version": "14", "ram_bytes": 12_000_000_000, "abis": []},
        "parameters": {"kind": "stream", "prompt_tokens": 128, "gen_tokens": 256, "flash_attn": None},
        "power_state": {"external": True, "battery_level_pct": 100},
        "placement": {"cpus_allowed": "4-8", "cpuset": "/foreground"},
        "threads": 4,
        "boot_id": "3c1f" if repeat < 2 else "77aa",
        "stamps": {"started": 5000.0, "ready": 5000.8, "requested": 5001.0, "answered": 5030.0, "ended": 5030.2},
    }


def steps(at: float, error: ErrorInfo | None = None) -> tuple[StepRecord, ...]:
    lengths = {
        Step.SELECT: 0.3,
        Step.CHECK: 0.1,
        Step.STORAGE: 0.2,
        Step.DEPLOY: 3.4,
        Step.WARM_UP: 1.0,
        Step.RUN: 31.0,
    }
    records: list[StepRecord] = []
    for step, length in lengths.items():
        failed = error if error is not None and step is error.step else None
        seen = {"value": 6333.0, "unit": "MB", "source": "/proc/meminfo"}
        detail = {"pushed_bytes": 105_000_000, "memory": seen} if step is Step.DEPLOY else {}
        records.append(StepRecord(step, 1, at, length, 120.0, detail, failed))
        at += length
        if failed:
            break
    return tuple(records)


LOST = ErrorInfo("device_lost", Step.RUN, "the phone left the bus 12 s into the run", "plug it in again; `farm resume`")


def repetition(plan: PlannedCase, at: float, found: Mapping[str, Reading], **more: object) -> Repetition:
    attempt = 0 if plan.status in (CaseStatus.SKIPPED, CaseStatus.REFUSED, CaseStatus.PLANNED) else 1
    row = MeasurementRow(
        planned=plan,
        attempt=attempt,
        started_at=at if attempt else None,
        duration_s=36.2 if attempt else None,
        metrics=found,
        provenance=more.get("provenance", {}),  # type: ignore[arg-type]
    )
    return Repetition(
        row,
        log_tail=str(more.get("log_tail", "")),
        commands=("adb -s SERIAL shell /data/local/tmp/llama-server -m model.gguf",) if attempt else (),
        steps=steps(at, plan.reason) if attempt else (),
    )


def run_input(*, repeats: int = 5, hostile: bool = False, devices: int = 4) -> tuple[RunInput, Samples]:
    """A run over two tiers with a real phone, virtual phones and the host, failures, refusals and skips.

    Args: devices: how many of DEVICES take part.
    """
    random, samples = Random(7), Samples()
    models = (replace(MODELS[0], id=HOSTILE, family=HOSTILE, quant=HOSTILE), MODELS[1]) if hostile else MODELS
    found: list[Repetition] = []
    at = START
    for device in DEVICES[:devices]:
        tier = "budget" if device[0] == "s24-ultra-b" else "flagship"
        name = f"{device[0]}{HOSTILE}" if hostile and device[0] == "s24-ultra-a" else device[0]
        for model in models:
            for workload in WORKLOADS:
                for repeat in range(repeats):
                    at += 40
                    plan = planned(
                        device=name, kind=device[3], model=model, workload=workload, repeat=repeat, tier=tier
                    )
                    if device[0] == "s24-ultra-a" and model is models[1] and workload == "chat" and repeat > 2:
                        error = replace(LOST, message=HOSTILE, advice=HOSTILE) if hostile else LOST
                        plan = replace(plan, status=CaseStatus.FAILED, reason=error)
                        gone: dict[str, Reading] = {metric: Unavailable(f"run: {error.message}") for metric in METRICS}
                        log = HOSTILE if hostile else "llama_model_load: loaded\nsystem_info: n_threads = 4\n"
                        facts = provenance(device, repeat)
                        found.append(repetition(plan, at, gone, log_tail=log, provenance=facts))
                        continue
                    ms = device[4] * (2.1 if model is models[1] else 1.0)
                    facts = provenance(device, repeat)
                    measured = metrics(ms, workload == "chat", random)
                    found.append(repetition(plan, at, measured, provenance=facts))
                    samples.held[plan.key] = traces(ms, random)
                    if workload == "chat":
                        samples.latencies[plan.key] = tuple(abs(random.gauss(100, 6)) for _ in range(256))
    small = Runner("llama.cpp-x86_64", "llama.cpp", Platform.ANDROID, "x86_64", path="runners/y")
    skip = ErrorInfo("not_applicable", Step.SELECT, "the phone runs arm64-v8a, the runner is for x86_64")
    refuse = ErrorInfo("memory_short", Step.STORAGE, "needs 9200 MB, 4100 MB are available", "choose a smaller model")
    big = Model("llama-3-8b-q8_0", "Llama-3-8B", "Q8_0", "gguf", path="c.gguf")
    for workload in WORKLOADS:
        plan = planned(runner=small, workload=workload, status=CaseStatus.SKIPPED, reason=skip)
        found.append(repetition(plan, at, {}))
        plan = planned(model=big, workload=workload, status=CaseStatus.REFUSED, reason=refuse)
        found.append(repetition(plan, at, {}))
    known = tuple(_device(*device) for device in DEVICES[:devices])
    return RunInput(record(HOSTILE if hostile else "example-lab"), known, tuple(found)), samples


FAMILY = (("F16", 271.0, 2.0, 420.0), ("Q8_0", 145.0, 1.3, 290.0), ("Q4_K_M", 105.0, 1.0, 230.0))
"""Quantisations of one model: name, size in MB, time beside the fastest, peak memory in MB."""


def family(*, slower: float = 1.0, run: str = RUN, at: float = START) -> tuple[RunInput, Samples]:
    """One model in three sizes on a phone and a virtual phone, each measured three times.

    Args: slower: factor on the times of the smallest.
    """
    random, found, samples = Random(11), list[Repetition](), Samples()
    for device in DEVICES[:2]:
        for quant, size, factor, peak in FAMILY:
            model = replace(MODELS[0], id=f"smollm2-135m-{quant.lower()}", quant=quant)
            for repeat in range(3):
                plan = replace(planned(device=device[0], kind=device[3], model=model, repeat=repeat), run=run)
                if run != RUN:
                    plan = replace(plan, case=f"{run[-4:]}{plan.case}")
                ms = device[4] * factor * (slower if quant == "Q4_K_M" else 1.0)
                values = metrics(ms, True, random)
                values |= {
                    "model_mb": Measured(size, "MB", "size of the file"),
                    "peak_memory_mb": Measured(peak, "MB", "VmHWM"),
                }
                found.append(repetition(plan, at + 40 * len(found), values, provenance=provenance(device, repeat)))
                samples.latencies[plan.key] = tuple(abs(random.gauss(ms, ms / 9)) for _ in range(256))
    known = tuple(_device(*device) for device in DEVICES[:2])
    return RunInput(replace(record(), id=run, started_at=at, ended_at=at + 7200), known, tuple(found)), samples


def past_of(run: RunInput, tier: str) -> Past:
    """A run before, in which times were a little shorter, and 12 before it, of which one has a gap."""
    random = Random(5)
    rows = []
    for one in run.repetitions:
        found = one.row.metrics.get("ms_per_token")
        if one.planned.tier == tier and isinstance(found, Measured):
            faster = replace(found, value=found.value * random.gauss(0.93, 0.02))
            rows.append(replace(one.row, metrics={**one.row.metrics, "ms_per_token": faster}))
    runs = tuple(f"earlier-{number}" for number in range(12))
    values = {
        row.planned.series_key: {
            name: random.gauss(1, 0.02) * row.metrics["ms_per_token"].value  # type: ignore[union-attr]
            for name in runs
            if name != runs[4]
        }
        for row in rows
    }
    previous = replace(run.record, id="20251120-050000-bb22", started_at=START - 86_400)
    return Past(previous, tuple(rows), runs, values)


ONSET_S = 212.0


def sustained(*, hostile: bool = False, known: bool = True) -> tuple[RunInput, Samples]:
    """A run of ten minutes on one virtual phone that throttles after ONSET_S.

    Args: known: False: written by a harness that stored neither gate nor heat.
    """
    random, samples, begin, length = Random(3), Samples(), 5000.0, 600.0
    device, word = DEVICES[1], HOSTILE if hostile else ""
    plan = replace(planned(device=device[0], kind=device[3], workload="long"), tier="flagship")
    plan = replace(plan, workload=Workload(WorkloadKind.SUSTAINED, prompt_tokens=8, gen_tokens=64, minutes=10))
    every = [begin + at for at in _range(length, 0.9)]
    throttled = [max(0.0, at - begin - ONSET_S) for at in every]

    def channel(name: str, unit: str, values: list[float]) -> Trace:
        return Trace(Channel(name, unit, "file"), every, values)

    samples.held[plan.key] = (
        channel("cpu.temperature", "°C", [35 + 45 * (1 - math.exp(-(at - begin) / 90)) for at in every]),
        channel("skin.temperature", "°C", [30 + 14 * (1 - math.exp(-(at - begin) / 240)) for at in every]),
        channel("policy4.cur_freq", "MHz", [2850.0 - (1000 if late else 0) for late in throttled]),
        channel("policy4.max_freq", "MHz", [2850.0 - (1000 if late else 0) for late in throttled]),
        channel("battery.current", "A", [-1.4 + (0.5 if late else 0) + random.gauss(0, 0.03) for late in throttled]),
        channel("battery.voltage", "V", [3.9 - (at - begin) / 6000 for at in every]),
        channel("runner.vm_rss", "MB", [182.0 + random.random() for _ in every]),
    )
    samples.latencies[plan.key] = tuple(30.0 for _ in range(900))
    curve = [[at + 2.5, (31.0 if at < ONSET_S else 20.5) + random.gauss(0, 0.3)] for at in _range(length - 3, 5)]
    reason = word or "the rate fell by 34.1 %; the cap of policy4 fell from 2850 to 1850 MHz after 212.0 s"
    check = {"name": "skin_temperature_c", "state": "pass", "seen": "29.9 °C", "wanted": "at most 36 °C", "advice": ""}
    facts: dict[str, object] = {
        **provenance(device, 0),
        "stamps": {"started": begin - 3, "ready": begin - 2, "requested": begin - 1.9, "answered": begin + length},
    }
    if known:
        facts["gate"] = {
            "mode": "record",
            "outcome": word or "recorded",
            "waited_s": 94.0,
            "checks_last": [
                {**check, "cure": "wait"},
                {
                    **check,
                    "name": "other_load_pct",
                    "state": "fail",
                    "seen": word or "31 %",
                    "advice": word or "stop it",
                },
                {**check, "name": word or "governor", "state": "unknown", "seen": "permission denied"},
            ],
            "marks": [word or "other_load: 31 % (wanted: at most 10 %)"],
        }
        facts["marks"] = [word or "other_load: 31 % (wanted: at most 10 %)", "cores unplugged"]
        facts["heat"] = {
            "verdict": "throttled",
            "onset_s": ONSET_S,
            "reason": reason,
            "start_uptime_s": begin,
            "duration_s": length,
            "curve": curve,
        }
    one = repetition(plan, START, metrics(33.0, True, random), provenance=facts)
    return RunInput(record(), (_device(*device),), (one,)), samples


def _device(name: str, model: str, soc: str, kind: DeviceKind, _: float) -> DeviceInput:
    return DeviceInput(id=name, manufacturer="", model=model, soc=soc, os_version="14", ram_bytes=12_000_000_000)


def record(lab: str = "example-lab") -> RunRecord:
    return RunRecord(
        id=RUN,
        started_at=START,
        ended_at=START + 7200,
        status=RunStatus.FINISHED,
        tiers=TIERS,
        suite="standard",
        inventory_name="inventory.yaml",
        inventory_sha256="c3" * 32,
        harness_version="0.1.0",
        git_sha="d4" * 20,
        lab=lab,
        command=("run", "--tier", "flagship"),
        options={"published": published(lab)},
    )


def published(lab: str) -> list[dict[str, object]]:
    if lab != HOSTILE:
        return [dict(each) for each in PUBLISHED]
    names = dict.fromkeys(("device", "family", "quant", "runtime", "source", "note"), HOSTILE)
    return [{**each, **names} for each in PUBLISHED]
