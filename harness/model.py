"""The vocabulary of the project: frozen types that every other package shares.

This module imports nothing of ours. The inventory types (`Inventory` and what it holds) are plain dataclasses; pydantic
validates YAML into them at the edge (`harness.inventory`), which is why each carries `__pydantic_config__`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MinLen

MEGABYTE = 1_000_000
"""Bytes in one MB: decimal everywhere, in targets, code, database and report."""

MEASURING_CONTRACT_VERSION = 1
"""Raised when the way a figure is measured changes, so that series before and after are not compared."""


class Platform(StrEnum):
    ANDROID = "android"
    IOS = "ios"
    LOCAL = "local"


class DeviceKind(StrEnum):
    """What a figure was measured on; everything but PHONE is marked in every table, plot and export."""

    PHONE = "phone"
    VIRTUAL = "virtual"
    HOST = "host"


NOT_A_PHONE: Mapping[DeviceKind, str] = {
    DeviceKind.VIRTUAL: "virtual phone",
    DeviceKind.HOST: "not a phone",
}
"""The mark shown beside a device of that kind."""


class DeviceState(StrEnum):
    """What a device can be used for right now. Only READY can run a case."""

    READY = "ready"
    UNAUTHORIZED = "unauthorized"
    OFFLINE = "offline"
    NO_PERMISSIONS = "no_permissions"
    RECOVERY = "recovery"
    LOCKED_SINCE_BOOT = "locked_since_boot"
    UNRESPONSIVE = "unresponsive"
    UNKNOWN = "unknown"


class CaseStatus(StrEnum):
    """PLANNED and RUNNING exist only while a run is unfinished; the other four are final."""

    PLANNED = "planned"
    RUNNING = "running"
    MEASURED = "measured"
    FAILED = "failed"
    REFUSED = "refused"
    SKIPPED = "skipped"


class RunStatus(StrEnum):
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


class Step(StrEnum):
    """The steps of one case, in order."""

    SELECT = "select"
    CHECK = "check"
    STORAGE = "storage"
    DEPLOY = "deploy"
    WARM_UP = "warm_up"
    RUN = "run"
    COLLECT = "collect"
    CLEAN_UP = "clean_up"
    STORE = "store"


class TargetVerdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not_measured"


class WorkloadKind(StrEnum):
    THROUGHPUT = "throughput"
    STREAM = "stream"


# --- readings and metrics ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured value.

    Args:
        value: the number, in `unit`.
        unit: "ms", "tok/s", "MB", "°C", "%", "J", "" (a count or a status).
        source: what it was read from, e.g. "llama-bench samples_ns", "/proc/PID/status VmHWM".
        resolution: smallest step the source can show, in `unit`; None when the source does not say.
    """

    value: float
    unit: str
    source: str
    resolution: float | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A value that was not measured, and why, in words for a lab operator."""

    reason: str


Reading = Measured | Unavailable


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Args: name, unit, title (for tables), better ("lower", "higher" or "" where neither is)."""

    name: str
    unit: str
    title: str
    better: Literal["lower", "higher", ""]


METRICS: Mapping[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec("load_ms", "ms", "Load", "lower"),
        MetricSpec("ttft_ms", "ms", "Time to first token", "lower"),
        MetricSpec("prefill_tps", "tok/s", "Prefill", "higher"),
        MetricSpec("decode_tps", "tok/s", "Decode", "higher"),
        MetricSpec("ms_per_token", "ms", "Time per token", "lower"),
        MetricSpec("itl_ms_p50", "ms", "Inter-token latency p50", "lower"),
        MetricSpec("itl_ms_p90", "ms", "Inter-token latency p90", "lower"),
        MetricSpec("itl_ms_p99", "ms", "Inter-token latency p99", "lower"),
        MetricSpec("peak_memory_mb", "MB", "Peak memory", "lower"),
        MetricSpec("rss_anon_mb", "MB", "Anonymous memory", "lower"),
        MetricSpec("rss_file_mb", "MB", "File memory", "lower"),
        MetricSpec("model_mb", "MB", "Model size", "lower"),
        MetricSpec("temperature_start_c", "°C", "Temperature at start", ""),
        MetricSpec("temperature_peak_c", "°C", "Temperature peak", "lower"),
        MetricSpec("thermal_status_max", "", "Thermal status maximum", "lower"),
        MetricSpec("battery_level_start_pct", "%", "Battery at start", ""),
        MetricSpec("battery_level_end_pct", "%", "Battery at end", ""),
        MetricSpec("energy_j", "J", "Energy", "lower"),
        MetricSpec("energy_per_token_j", "J/token", "Energy per token", "lower"),
    )
}
"""Every metric of a case, in the order of tables. A row of results holds all of them, each a Reading."""

TARGET_METRICS: Mapping[str, str | None] = {
    "ms_per_token_max": "ms_per_token",
    "peak_memory_mb_max": "peak_memory_mb",
    "quality_retention_min": None,
}
"""Target of a tier → the metric it judges; None: nothing measures it yet, so its verdict is not_measured."""


# --- telemetry --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    """One telemetry channel: a site and a measure.

    Args:
        name: unique in a case, e.g. "zone.cpu-big.temperature", "runner.vm_hwm", "policy4.cur_freq", "battery.level".
        unit: of the values.
        source: file or service on the device.
        resolution: smallest step, in `unit`, or None.
        absent: why it could not be read (then it has no samples), or "".
    """

    name: str
    unit: str
    source: str
    resolution: float | None = None
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """Samples of one channel: `uptime_s` (device boot time in seconds, ascending) and `values` have equal length."""

    channel: Channel
    uptime_s: Sequence[float]
    values: Sequence[float]


# --- inventory --------------------------------------------------------------------------------------------------------

_STRICT: dict[str, Any] = {"extra": "forbid"}

Identifier = Annotated[str, MinLen(1)]
Positive = Annotated[int, Gt(0)]


@dataclass(frozen=True, slots=True)
class Targets:
    """What a tier asks of a model: time per token (ms), peak resident memory (MB = 10^6 B), quality kept (0–1)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    ms_per_token_max: Annotated[float, Gt(0)] | None = None
    peak_memory_mb_max: Annotated[float, Gt(0)] | None = None
    quality_retention_min: Annotated[float, Ge(0), Le(1)] | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    title: str
    targets: Targets = field(default_factory=Targets)


@dataclass(frozen=True, slots=True)
class AdbEndpoint:
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    host: str = "127.0.0.1"
    port: Annotated[int, Gt(0), Le(65535)] = 5037


@dataclass(frozen=True, slots=True)
class Lab:
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    name: Identifier = "lab"
    adb: AdbEndpoint = field(default_factory=AdbEndpoint)


@dataclass(frozen=True, slots=True)
class Match:
    """Which attached phone a device entry means; all given fields must agree. Several hits are several phones."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    serial: str | None = None
    model: str | None = None
    product: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class UsbPort:
    """A port of a hub that can switch power, as `uhubctl -l HUB -p PORT` names it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    hub: Identifier
    port: Annotated[int, Ge(1)]


@dataclass(frozen=True, slots=True)
class Device:
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    id: Identifier
    platform: Platform
    tier: Identifier
    match: Match = field(default_factory=Match)
    labels: tuple[str, ...] = ()
    usb: UsbPort | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model file. Exactly one of `path` (relative to the inventory) and `url` is given."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    id: Identifier
    family: Identifier
    quant: Identifier
    format: Literal["gguf", "pte"]
    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Runner:
    """Prebuilt binaries of a runtime: a folder, .tar.gz or .zip. Exactly one of `path` and `url` is given."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    id: Identifier
    runtime: Identifier
    platform: Platform
    abi: Identifier
    path: str | None = None
    url: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """What one process of a runner is asked to do.

    Args:
        kind: throughput (prefill and decode rates of a fixed amount of work) or stream (one request, token by token).
        prompt_tokens, gen_tokens: counts of tokens.
        context: size of the KV cache in tokens; None: what the tokens need.
        threads: count, or "auto" (the big cores).
        backend: "cpu", or the name of a GPU/NPU back end of the build.
        gpu_layers: layers to offload.
        kv_type: type of the KV cache, e.g. "f16", "q8_0".
        flash_attn: None leaves it to the runtime.
        load_mode: "mmap", "read" or "mlock"; None leaves it to the runtime.
        batch: logical batch size in tokens.
        prompt_file: text used as the prompt in place of token ids (relative to the inventory; stream only).
        args, env: passed to the runner as they are.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    kind: WorkloadKind
    prompt_tokens: Positive = 512
    gen_tokens: Positive = 128
    context: Positive | None = None
    threads: Positive | Literal["auto"] = "auto"
    backend: Identifier = "cpu"
    gpu_layers: Annotated[int, Ge(0)] = 0
    kv_type: str | None = None
    flash_attn: bool | None = None
    load_mode: Literal["mmap", "read", "mlock"] | None = None
    batch: Positive | None = None
    prompt_file: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    workloads: Annotated[tuple[str, ...], MinLen(1)]
    repeats: Positive = 5
    models: tuple[str, ...] = ()
    """Model ids the suite is limited to; empty: every model of the inventory."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The lab as data. Names of tiers, workloads and suites are the mapping's keys."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    version: Literal[1]
    lab: Lab = field(default_factory=Lab)
    tiers: Mapping[str, Tier] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    models: tuple[Model, ...] = ()
    runners: tuple[Runner, ...] = ()
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    suites: Mapping[str, Suite] = field(default_factory=dict)


# --- devices as they are ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CpuCore:
    """One core: `capacity` as in sysfs cpu_capacity (1024 = the biggest), `max_khz`; None where the phone hides it."""

    index: int
    capacity: int | None
    max_khz: int | None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a device says of itself.

    Args:
        identity: the phone's own serial (ro.serialno, UDID, host id): one phone over several transports has one.
        kind: phone, virtual or host.
        soc: "Tensor G3", "SM8650"; "" when the device does not tell.
        abis: in order of preference, Android names ("arm64-v8a", "x86_64").
        os_fingerprint: the OS build, e.g. ro.build.fingerprint.
        ram_bytes, storage_free_bytes, storage_total_bytes: None when not readable.
        cpus_allowed: cores that a process of the shell may use; empty when not readable.
    """

    identity: str
    kind: DeviceKind
    manufacturer: str
    model: str
    product: str
    device: str
    soc: str
    os_version: str
    os_fingerprint: str
    abis: tuple[str, ...]
    ram_bytes: int | None
    storage_free_bytes: int | None
    storage_total_bytes: int | None
    cores: tuple[CpuCore, ...] = ()
    cpus_allowed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Attached:
    """A device that is plugged in or reachable, usable or not.

    Args:
        serial: the name to address it by (the serial adb shows; for several transports the preferred one).
        transports: every serial under which the same device is seen now, the preferred one first.
        advice: what the operator should do about `state`; "" when READY.
        facts: None when the device could not be asked.
    """

    platform: Platform
    serial: str
    transports: tuple[str, ...]
    state: DeviceState
    advice: str
    facts: DeviceFacts | None


# --- artifacts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of an artifact: `name` is its path inside the artifact (POSIX), `path` the file on this host."""

    name: str
    path: str
    size: int
    sha256: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    """Content-addressed files to be on a device: a model (one file) or a runner (a folder).

    `sha256` is the file's own for a single-file artifact, else of the sorted list of (name, sha256, executable).
    """

    kind: Literal["model", "runner"]
    sha256: str
    files: tuple[ArtifactFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checked model: the artifact and what its header says (None where the header does not)."""

    artifact: Artifact
    architecture: str | None
    parameter_count: int | None
    vocabulary_size: int | None
    context_length: int | None
    layer_count: int | None


@dataclass(frozen=True, slots=True)
class RunnerBuild:
    """A checked runner build.

    Args:
        artifact: its files.
        abi: Android name of the machine its programs are for; "" when they are scripts only.
        programs: name of each program ("llama-bench") → its file name inside the artifact.
        options: every command line option its files mention, e.g. "--no-mmap"; None when it cannot be known
            (a script), then nothing is refused for a missing option.
    """

    artifact: Artifact
    abi: str
    programs: Mapping[str, str]
    options: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request that the device itself sends to a server it has just started, saving the answer as "stream".

    Args:
        port: on the device's loopback; the command line of the job names the same.
        ready_path: polled with GET until it answers 200.
        ready_limit_s: how long that may take.
        path, body: of the POST (JSON).
        stop_marker: bytes that end the answer; then the server is ended.
    """

    port: int
    ready_path: str
    ready_limit_s: float
    path: str
    body: bytes
    stop_marker: bytes


# --- plan and results -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as it is stored, exported and shown. `error_class` is a value of harness.errors.ErrorClass."""

    error_class: str
    step: Step
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """One measurement of a plan: one repetition of one case.

    `case` names device × model × runner × workload in one run and is shared by its repetitions; `key` is
    "CASE.REPEAT" and names the measurement; `series_key` names the line over nights. `status` is PLANNED, or SKIPPED
    or REFUSED with `reason`.
    """

    run: str
    case: str
    repeat: int
    series_key: str
    device_id: str
    serial: str
    identity: str
    platform: Platform
    kind: DeviceKind
    tier: str
    model: Model
    runner: Runner
    workload_id: str
    workload: Workload
    model_sha256: str
    runner_sha256: str
    status: CaseStatus = CaseStatus.PLANNED
    reason: ErrorInfo | None = None

    @property
    def key(self) -> str:
        """Names the measurement: `CASE.REPEAT`."""
        return f"{self.case}.{self.repeat}"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of one attempt: `started_at` in Unix seconds, `detail` what was seen (JSON-ready)."""

    step: Step
    attempt: int
    started_at: float
    duration_s: float
    limit_s: float | None
    detail: Mapping[str, Any]
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a measurement ended.

    Args:
        status: MEASURED, FAILED or REFUSED.
        attempt: number of the attempt that ended it, from 1.
        started_at: Unix seconds. duration_s: of that attempt.
        metrics: every name of METRICS.
        traces: telemetry of the run step.
        itl_ms: every inter-token latency, in order, ms; empty when the runner gives none.
        provenance: JSON-ready; model_sha256, runner_sha256, os_fingerprint, harness_version, parameters, …
        log_tail: end of the runner's log, as text.
        commands: the plain commands that repeat the case by hand, in order.
    """

    status: CaseStatus
    attempt: int
    started_at: float
    duration_s: float
    metrics: Mapping[str, Reading]
    traces: tuple[Trace, ...]
    itl_ms: tuple[float, ...]
    provenance: Mapping[str, Any]
    error: ErrorInfo | None = None
    log_tail: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """Who holds a device: `owner` is readable ("alice@bench-host, run R"), `host` and `pid`+`pid_started` tell whether
    the holder still lives, `expires_at` is Unix seconds."""

    identity: str
    owner: str
    host: str
    pid: int
    pid_started: float
    expires_at: float
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, with what is needed to resume and to report it without its inventory.

    Args:
        id: "20261121-090503-ab12" (UTC start and four hex digits).
        started_at, ended_at: Unix seconds; `ended_at` is None while unfinished.
        status: running, interrupted or finished.
        tiers: the tiers of the run as they were then, targets included.
        suite: name of the suite.
        selection: what the command line chose (JSON-ready): devices, models, runners, repeats, …
        inventory_name: name of the inventory file, without its folder.
        inventory_sha256: of the inventory file's bytes.
        harness_version, git_sha: of farm itself; `git_sha` is "" outside a checkout.
        lab: name of the lab.
        command: the command line, without the program.
        options: further settings a resume has to know (JSON-ready).
        owner, host, pid, pid_started: the process that drives it, as in LeaseInfo.
        contract: version of the measuring contract.
    """

    id: str
    started_at: float
    status: RunStatus
    tiers: Mapping[str, Tier]
    suite: str
    inventory_name: str
    inventory_sha256: str
    harness_version: str
    git_sha: str = ""
    lab: str = ""
    selection: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""
    host: str = ""
    pid: int = 0
    pid_started: float = 0.0
    ended_at: float | None = None
    contract: int = MEASURING_CONTRACT_VERSION
