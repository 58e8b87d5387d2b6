"""The report of a large lab after a year: its size, the time to write it, the time until a reader sees something.

One tier of 12 phones × 8 models, five measured repetitions of each, a year of earlier nights with their summaries, 16
changes drawn over that year, every phone in the fleet, and 8 runs of half an hour with 5 channels of 18 000 samples
each (40 traces); written into a real SQLite database through the store, reported by `reports.write`, and opened in
headless Chromium. All values are made up: 2 % of noise, samples in steps of a sensor.

Asked (the project's own limit): the file at most 3 MB, written within 5 s, first paint within 1 s, a drill-down within
200 ms.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from common import Finding, finding, main, say, timed

import reports
from harness.errors import StoreError
from harness.model import (
    METRICS,
    CaseResult,
    CaseStatus,
    Change,
    ChangeState,
    Channel,
    DeviceKind,
    LevelStep,
    Measured,
    Model,
    NightRecord,
    NightSummary,
    NightValue,
    PlannedCase,
    Platform,
    Reading,
    Runner,
    RunRecord,
    RunStatus,
    SeriesId,
    Targets,
    Tier,
    Trace,
    Unavailable,
    Workload,
    WorkloadKind,
)
from harness.store import Store
from reports.from_store import read_nights
from reports.inputs import FleetRow, NightInput
from reports.series import drawn_series

PHONES, MODELS, REPEATS = 12, 8, 5
LONG, SAMPLES = 8, 18_000
METRICS_JUDGED = ("decode_tps", "ttft_ms", "prefill_tps", "ms_per_token", "peak_memory_mb")
CHANGED = 16
"""Series of those that changed, as after a bad build for every model."""
DAY = 86_400.0
NOW = 1_795_000_000.0
RUNNER = Runner("llama", "llama.cpp", Platform.ANDROID, "arm64-v8a", path="x")
CHAT = Workload(WorkloadKind.STREAM, prompt_tokens=128, gen_tokens=256)
HALF_HOUR = Workload(WorkloadKind.SUSTAINED, prompt_tokens=8, gen_tokens=64, minutes=30)
QUANTS = ("F16", "Q8_0", "Q6_K", "Q4_K_M")
_LIMIT_MB, _LIMIT_WRITE_S, _LIMIT_PAINT_S, _LIMIT_DRILL_MS = 3.0, 5.0, 1.0, 200.0
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


def models() -> list[Model]:
    return [
        Model(f"m{number}-{QUANTS[number % 4].lower()}", f"Family-{number // 4}", QUANTS[number % 4], "gguf", path="x")
        for number in range(MODELS)
    ]


def run_record(night: int) -> RunRecord:
    """`night`: counted back from tonight, which is 0."""
    at = NOW - night * DAY
    return RunRecord(
        id=f"night-{365 - night:04d}",
        started_at=at,
        ended_at=at + 7 * 3600,
        status=RunStatus.FINISHED,
        tiers={"flagship": Tier("Flagship", Targets(ms_per_token_max=50, peak_memory_mb_max=1000))},
        suite="nightly",
        inventory_name="inventory.yaml",
        inventory_sha256="c3" * 32,
        harness_version="0.1.0",
        lab="bench",
    )


def plan(run: str, phone: int, model: Model, workload: str, repeat: int) -> PlannedCase:
    name = f"phone-{phone:02d}"
    return PlannedCase(
        run=run,
        case=f"{run}-{name}-{model.id}-{workload}",
        repeat=repeat,
        series_key=f"{name}-{model.id}-{workload}",
        device_id=name,
        serial=name,
        identity=name,
        platform=Platform.ANDROID,
        kind=DeviceKind.PHONE,
        tier="flagship",
        model=model,
        runner=RUNNER,
        workload_id=workload,
        workload=CHAT if workload == "chat" else HALF_HOUR,
        model_sha256="a1" * 32,
        runner_sha256="b2" * 32,
    )


def result(planned: PlannedCase, at: float, random: Random, *, whole: bool) -> CaseResult:
    """Five measured metrics; `whole`: every other one is there too, with the reason why it was not measured, as after a
    real measurement."""
    phone, model = int(planned.device_id[-2:]), int(planned.model.id[1])
    ms = (18 + 2 * phone) * (1 + 0.3 * (3 - model % 4)) * random.gauss(1, 0.02)
    size = 105.0 * (1 + model % 4)
    values = {
        "decode_tps": 1000 / ms,
        "ms_per_token": ms,
        "ttft_ms": 14 * ms,
        "prefill_tps": 9000 / ms,
        "peak_memory_mb": size * 1.8,
        "model_mb": size,
    }
    found: dict[str, Reading] = {
        name: Measured(values[name], spec.unit, "made up")
        if name in values
        else Unavailable("not part of this measurement")
        for name, spec in METRICS.items()
        if whole or name in values
    }
    length = 1800.0
    long = planned.workload is HALF_HOUR
    heat = {"verdict": "none", "reason": "the rate held", "start_uptime_s": 1000.0, "duration_s": length, "curve": []}
    return CaseResult(
        status=CaseStatus.MEASURED,
        attempt=1,
        started_at=at,
        duration_s=40.0,
        metrics=found,
        traces=traces(random) if long else (),
        itl_ms=tuple(random.gauss(ms, ms / 12) for _ in range(255)) if whole else (),
        provenance={"os_fingerprint": "maker/phone:16", "harness_version": "0.1.0"} | ({"heat": heat} if long else {}),
        commands=("adb -s SERIAL shell /data/local/tmp/farm/llama-server -m model.gguf",) if whole else (),
    )


def traces(random: Random) -> tuple[Trace, ...]:
    """Five channels of a run of half an hour at 10 Hz, in the steps of their sensors, times as uneven as a shell's."""
    noise = np.random.default_rng(random.randrange(2**31))
    at = 1000.0 + np.cumsum(noise.normal(0.1, 0.002, SAMPLES))
    walk = np.cumsum(noise.normal(0, 0.02, SAMPLES))
    channels = (
        (Channel("cpu.temperature", "°C", "thermal_zone0", 0.1), 60 + walk),
        (Channel("battery.temperature", "°C", "dumpsys battery", 0.1), 32 + walk / 20),
        (Channel("policy4.cur_freq", "MHz", "cpufreq", 1.0), noise.choice([1800.0, 2400.0, 2850.0], SAMPLES)),
        (Channel("battery.current", "A", "current_now", 0.001), noise.normal(-1.2, 0.05, SAMPLES)),
        (Channel("runner.vm_rss", "MB", "/proc/PID/status", 0.004096), 700 + np.cumsum(noise.random(SAMPLES) < 0.01)),
    )
    return tuple(
        Trace(channel, at.tolist(), (np.rint(values / (channel.resolution or 1)) * (channel.resolution or 1)).tolist())
        for channel, values in channels
    )


def night_name(night: int) -> str:
    return datetime.fromtimestamp(NOW - night * DAY, UTC).date().isoformat()


def night_record(night: int) -> NightRecord:
    """`night`: counted back from tonight, which is 0."""
    run = run_record(night)
    summary = NightSummary(
        night=night_name(night),
        lab=run.lab,
        started_at=run.started_at,
        ended_at=run.ended_at or run.started_at,
        measured=PHONES * len(models()) * REPEATS,
        failed=night % 3,
        refused=0,
        left=0,
        changes=changes(night) if night < 60 else (),
        runs=(run.id,),
        phones=PHONES,
        tiers=("flagship",),
    )
    return NightRecord(
        summary.night, run.lab, run.started_at, RunStatus.FINISHED, ended_at=summary.ended_at, summary=summary
    )


def judged_series() -> list[SeriesId]:
    return [
        SeriesId("flagship", model.id, RUNNER.id, "chat", metric) for metric in METRICS_JUDGED for model in models()
    ]


def changes(night: int, steady: bool = False) -> tuple[Change, ...]:
    """Half of CHANGED are confirmed, half acknowledged; `steady`: the other series too."""
    at = night_name(60)
    step = LevelStep(at, 0, 0.05, 0.04, 0.06, night_name(61), night_name(59))
    phones = tuple(f"phone-{number:02d}" for number in range(PHONES))
    found = [
        Change(
            series,
            ChangeState.REGRESSION if place % 2 else ChangeState.ACKNOWLEDGED,
            365 - night,
            phones,
            step,
            at,
            "aa" * 32,
            "bb" * 32,
            "bb" * 32,
            regressed=bool(place % 2),
            events=(f"{at}: hot on 3 phones",),
            reason="worse by 5.1 %",
        )
        for place, series in enumerate(judged_series()[:CHANGED])
    ]
    rest = judged_series()[CHANGED:] if steady else []
    return (*found, *(Change(series, ChangeState.STEADY, 365 - night, phones) for series in rest))


def nights_of(series: SeriesId, nights: int) -> Iterator[NightValue]:
    """A year of one series: a value of each phone, with a step 60 nights ago."""
    random = Random(series.key)
    for night in range(nights, -1, -1):
        for phone in range(PHONES):
            if random.random() < 0.05:
                continue
            name = f"phone-{phone:02d}"
            value = 40.0 * random.gauss(1, 0.02) * (0.95 if night <= 60 else 1.0)
            yield NightValue(night_name(night), name, name, value, 40.0, 5, "bb" * 32, "cc" * 32, "a1" * 32, "16", 1)


def fleet(nights: int) -> tuple[FleetRow, ...]:
    random = Random(2)
    names = [night_name(night) for night in range(nights, -1, -1)]
    return tuple(
        FleetRow(
            identity=f"phone-{phone:02d}",
            device_id=f"phone-{phone:02d}",
            kind=DeviceKind.PHONE,
            tier="flagship",
            model="Maker Phone",
            state="ready",
            ready=True,
            battery_health="good",
            cycles=200.0 + phone,
            capacity_pct=95.0,
            level_pct=80.0,
            free_mb=60_000.0,
            qualified_at=NOW,
            reference_metric="decode_tps",
            reference=tuple((name, random.gauss(40, 0.5)) for name in names),
            failures=tuple((name, int(random.random() < 0.1)) for name in names),
        )
        for phone in range(PHONES)
    )


def night_input(store: Store, values: dict[SeriesId, list[NightValue]], nights: int) -> NightInput:
    """What `farm report` hands to the report: the nights as stored, what was judged, and the fleet."""
    found = read_nights(store, run_record(0).lab)
    assert found is not None
    judged = changes(0, steady=True)
    return replace(found, judged=judged, series=drawn_series(judged, values), fleet=fleet(nights))


def fill(store: Store, nights: int) -> None:
    """A year of nights, the last one whole."""
    random = Random(1)
    for night in range(nights, -1, -1):
        record, whole = run_record(night), night == 0
        plans = [
            plan(record.id, phone, model, "chat", repeat)
            for phone in range(PHONES)
            for model in models()
            # A year of every repetition takes minutes to write; one a night gives the same series.
            for repeat in range(REPEATS if night <= 1 else 1)
        ]
        if whole:
            plans += [plan(record.id, phone, models()[0], "half-hour", 0) for phone in range(LONG)]
        store.begin_run(replace(record, status=RunStatus.RUNNING, ended_at=None), plans)
        for number, planned in enumerate(plans):
            at = record.started_at + 40 * number
            store.finish_case(planned.key, result(planned, at, random, whole=whole))
        store.set_run_status(record.id, RunStatus.FINISHED, record.ended_at)
        told = night_record(night)
        store.nights.begin(replace(told, status=RunStatus.RUNNING, ended_at=None, summary=None))
        store.nights.end(told.lab, told.night, RunStatus.FINISHED, told.ended_at or 0.0, told.summary)


@contextmanager
def chromium() -> Iterator[Any]:
    """A driver of headless Chromium.

    Raises StoreError in place of a failure of its own: what cannot be measured is said.
    """
    binary = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    driver_binary = shutil.which("chromedriver")
    if binary is None or driver_binary is None:
        raise StoreError("there is no Chromium with its chromedriver on this machine")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(driver_binary))
        try:
            yield driver
        finally:
            driver.quit()


def browse(page: Path, rounds: int) -> tuple[list[float], list[float], list[str]]:
    """(seconds to the first paint, milliseconds from a click to all samples drawn, what each drill-down says)."""
    paints, drills, said = [], [], list[str]()
    paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    drawn = "return performance.getEntriesByName('farm-samples')[arguments[0]]?.duration"
    told = "return figures[arguments[0]].querySelector('.samples p').textContent"
    with chromium() as driver:
        from selenium.webdriver.support.ui import WebDriverWait

        for _ in range(rounds):
            driver.get("about:blank")
            driver.get(page.as_uri())
            paints.append(WebDriverWait(driver, 30, 0.05).until(lambda one: one.execute_script(paint)) / 1000)
            count = driver.execute_script(
                "document.querySelectorAll('details.case:has(figure.drill)').forEach(box => box.open = true);"
                "window.figures = document.querySelectorAll('figure.drill'); return figures.length"
            )
            for number in range(count):
                driver.execute_script("figures[arguments[0]].querySelector('button').click()", number)
                drills.append(
                    WebDriverWait(driver, 30, 0.02).until(lambda one, at=number: one.execute_script(drawn, at))
                )
                said.append(str(driver.execute_script(told, number)))
    return paints, drills, said


def program(chosen: argparse.Namespace) -> list[Finding]:
    with tempfile.TemporaryDirectory(prefix="bench-report-") as folder:
        url = f"sqlite:///{Path(folder) / 'farm.db'}"
        with Store.open(url) as store:
            say(f"  writing {chosen.nights} nights")
            fill(store, chosen.nights)
            out = Path(folder) / "report"
            values = {series: list(nights_of(series, chosen.nights)) for series in judged_series()[:CHANGED]}
            taken = [
                timed(lambda: reports.write(store, out=out, nights=night_input(store, values, chosen.nights)))
                for _ in range(chosen.rounds)
            ]
        page = out / "flagship.html"
        size, index = page.stat().st_size / 1e6, (out / "index.html").stat().st_size / 1e6
        if chosen.keep:
            shutil.copytree(out, chosen.keep, dirs_exist_ok=True)
        paints, drills, said = browse(page, chosen.rounds)
    thinned = sum(not text.startswith("All ") for text in said)
    samples = f"{LONG * chosen.rounds} drill-downs of 5 x {SAMPLES} samples, {thinned} of them thinned"
    if not drills:
        raise StoreError("the page has no drill-down")
    return [
        finding("report, size of the tier's file", [size], "MB", limit=_LIMIT_MB, detail=f"{len(paints)} rounds"),
        finding("report, size of the index", [index], "MB", limit=_LIMIT_MB),
        finding("report, written", taken, "s", limit=_LIMIT_WRITE_S, detail=f"{chosen.nights} nights in the database"),
        finding("report, first contentful paint", paints, "s", limit=_LIMIT_PAINT_S),
        finding("report, drill-down", drills, "ms", limit=_LIMIT_DRILL_MS, detail=samples),
        finding("report, slowest drill-down", [max(drills)], "ms", detail=f"median {statistics.median(drills):.0f} ms"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nights", type=int, default=365, help="of history (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of writing and of opening (%(default)s)")
    parser.add_argument("--keep", type=Path, help="copy the report into this folder")


if __name__ == "__main__":
    main(program, __doc__ or "", options)
