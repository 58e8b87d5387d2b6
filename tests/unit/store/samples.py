"""Made-up runs and measurements for tests of the store and of the history commands."""

from __future__ import annotations

from harness.model import (
    CaseResult,
    CaseStatus,
    Channel,
    DeviceKind,
    ErrorInfo,
    Measured,
    Model,
    PlannedCase,
    Platform,
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

START = 1_795_000_000.0


def run_record(run: str = "20261121-090503-ab12", *, started_at: float = START) -> RunRecord:
    return RunRecord(
        id=run,
        started_at=started_at,
        status=RunStatus.RUNNING,
        tiers={"flagship": Tier("Flagship", Targets(50.0, 1000.0, 0.95)), "budget": Tier("Budget")},
        suite="demo",
        inventory_name="inventory.yaml",
        inventory_sha256="e" * 64,
        harness_version="0.1.0",
        git_sha="f" * 40,
        lab="example-lab",
        selection={"tiers": ["flagship"], "repeats": None},
        command=("run", "--tier", "flagship"),
        options={"report": None},
        owner="alice@bench",
        host="0" * 16,
        pid=1,
        pid_started=2.5,
    )


def planned_case(
    run: str = "20261121-090503-ab12",
    case: str = "c0ffee000001",
    repeat: int = 1,
    *,
    device: str = "pixel",
    kind: DeviceKind = DeviceKind.VIRTUAL,
    model: str = "smollm2-135m-q4_k_m",
    status: CaseStatus = CaseStatus.PLANNED,
    reason: ErrorInfo | None = None,
) -> PlannedCase:
    return PlannedCase(
        run=run,
        case=case,
        repeat=repeat,
        series_key=f"series-{case}",
        device_id=device,
        serial="emulator-5554",
        identity=f"serial of {device}",
        platform=Platform.ANDROID,
        kind=kind,
        tier="flagship",
        model=Model(model, "SmolLM2-135M", "Q4_K_M", "gguf", path="models/m.gguf", owner="team"),
        runner=Runner("llama.cpp-x86_64", "llama.cpp", Platform.ANDROID, "x86_64", path="runners/r"),
        workload_id="chat",
        workload=Workload(WorkloadKind.STREAM, 64, 32, threads=4, args=("--flag", "x"), env={"A": "b"}),
        model_sha256="a" * 64,
        runner_sha256="b" * 64,
        status=status,
        reason=reason,
    )


def result(
    status: CaseStatus = CaseStatus.MEASURED,
    *,
    attempt: int = 1,
    started_at: float = START + 10,
    decode_tps: float = 40.0,
    error: ErrorInfo | None = None,
) -> CaseResult:
    return CaseResult(
        status=status,
        attempt=attempt,
        started_at=started_at,
        duration_s=3.5,
        metrics={
            "decode_tps": Measured(decode_tps, "tok/s", "llama-server timings", 0.001),
            "ms_per_token": Measured(1000 / decode_tps, "ms", "1000 / decode_tps"),
            "peak_memory_mb": Measured(210.5, "MB", "/proc/PID/status VmHWM", 0.001024),
            "energy_j": Unavailable("the phone is charging"),
        },
        traces=(
            Trace(Channel("zone.cpu.temperature", "°C", "thermal_zone0", 0.1), (10.0, 10.5, 75.25), (30.0, 31.5, 33.0)),
            Trace(Channel("battery.current", "mA", "current_now", absent="Permission denied"), (), ()),
        ),
        itl_ms=(10.123456789, 11.5, 9.75),
        provenance={"os_fingerprint": "google/husky:14", "harness_version": "0.1.0", "parameters": {"threads": 4}},
        error=error,
        log_tail="loaded\ndone",
        commands=("adb -s emulator-5554 shell true",),
    )


def step_record(step: Step = Step.RUN, *, attempt: int = 1, error: ErrorInfo | None = None) -> StepRecord:
    return StepRecord(step, attempt, START + 1, 0.25, 60.0, {"bytes": 12, "note": "seen"}, error)


def error_info(message: str = "the runner was killed") -> ErrorInfo:
    return ErrorInfo("killed", Step.RUN, message, "free some memory")
