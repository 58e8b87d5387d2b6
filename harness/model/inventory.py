"""The lab as data.

Plain dataclasses; pydantic validates YAML into them at the edge (`harness.inventory`), which is why each carries
`__pydantic_config__`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MinLen

from harness.model.words import Platform, WorkloadKind

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
    """Where the phones are.

    Args:
        adb: server of the Android phones.
        usbmux: muxer of the iPhones, "HOST:PORT" or the path of its socket; None: the system's own.
        tunneld: "HOST:PORT" of a running tunneld for iPhones with iOS 17.4 or later; None: a tunnel of farm's own.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    name: Identifier = "lab"
    adb: AdbEndpoint = field(default_factory=AdbEndpoint)
    usbmux: Identifier | None = None
    tunneld: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Gates:
    """What has to hold before a measurement begins, for a room of 20–25 °C.

    Args:
        mode: strict (wait, then refuse), record (wait, then run and mark), off (look and mark, never wait).
        max_wait_s: how long a measurement may wait for the phone to cool and to become quiet.
        poll_s: between two looks; looking warms the phone.
        thermal_status_max: effective thermal status (0 none … 6 shutdown).
        skin_max_c: skin temperature, °C.
        above_idle_max_c: hottest true CPU zone above the phone's own idle, K.
        cpu_max_c: the same, °C, for a phone whose idle is not known yet.
        battery_level_min_pct: below it the phone is parked: it charges, its cases move to the end.
        battery_level_resume_pct: from here on a parked phone works again.
        other_load_max_pct: CPU time of other processes, % of all cores.
        power_saver: whether power saver may be on.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    mode: Literal["strict", "record", "off"] = "strict"
    max_wait_s: Annotated[float, Ge(0)] = 900.0
    poll_s: Annotated[float, Gt(0)] = 5.0
    thermal_status_max: Annotated[int, Ge(0), Le(6)] = 0
    skin_max_c: Annotated[float, Gt(0)] = 36.0
    above_idle_max_c: Annotated[float, Gt(0)] = 6.0
    cpu_max_c: Annotated[float, Gt(0)] = 45.0
    battery_level_min_pct: Annotated[float, Ge(0), Le(100)] = 25.0
    battery_level_resume_pct: Annotated[float, Ge(0), Le(100)] = 40.0
    other_load_max_pct: Annotated[float, Gt(0)] = 10.0
    power_saver: bool = False


@dataclass(frozen=True, slots=True)
class PhoneSettings:
    """What farm sets on a phone for the time of a run, and puts back.

    Args:
        stay_awake: keep the phone from sleeping.
        screen: "keep" it as it is, or "on" or "off".
        airplane_mode: "keep", or "on" (Wi-Fi stays when the phone is reached over it).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    stay_awake: bool = True
    screen: Literal["keep", "on", "off"] = "keep"
    airplane_mode: Literal["keep", "on"] = "keep"


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
        kind: throughput, stream, sustained or battery (see WorkloadKind).
        prompt_tokens, gen_tokens: counts of tokens.
        context: size of the KV cache in tokens; None: what the tokens need.
        threads: count, "auto" (the big cores), or "tuned" (what `farm tune` found best for this phone and model).
        cores: cores it is bound to; None: the big ones with `threads: auto`, else left to the system.
        minutes: length of sustained (10 unless given) and battery (30) workloads.
        backend: "cpu", or the name of a GPU/NPU back end of the build.
        gpu_layers: layers to offload.
        kv_type: type of the KV cache, e.g. "f16", "q8_0".
        flash_attn: None leaves it to the runtime.
        load_mode: "mmap", "read" or "mlock"; None leaves it to the runtime.
        page_cache: "keep", or "evict": the model's pages are taken out of the page cache first, so that the load is a
            cold one.
        batch: logical batch size in tokens.
        prompt_file: text used as the prompt in place of token ids (relative to the inventory; stream only).
        args, env: passed to the runner as they are.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    kind: WorkloadKind
    prompt_tokens: Positive = 512
    gen_tokens: Positive = 128
    context: Positive | None = None
    threads: Positive | Literal["auto", "tuned"] = "auto"
    cores: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] | None = None
    minutes: Annotated[float, Gt(0)] | None = None
    backend: Identifier = "cpu"
    gpu_layers: Annotated[int, Ge(0)] = 0
    kv_type: str | None = None
    flash_attn: bool | None = None
    load_mode: Literal["mmap", "read", "mlock"] | None = None
    page_cache: Literal["keep", "evict"] = "keep"
    batch: Positive | None = None
    prompt_file: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


def ids_meant(pattern: str, ids: Iterable[str]) -> tuple[str, ...]:
    """Those of `ids` that an id, or a pattern of ids with * and ?, means."""
    return tuple(name for name in ids if fnmatchcase(name, pattern.replace("[", "[[]")))


@dataclass(frozen=True, slots=True)
class Suite:
    """What a run measures.

    Args:
        workloads: names of workloads.
        repeats: exact count, or "auto": 5 to 15, until the interval of the median is within 2 % of it.
        models: ids, or patterns of ids, that the suite is limited to; empty: every model of the inventory.
        warm_up: whether the first repetition of a case is shown but does not count.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    workloads: Annotated[tuple[str, ...], MinLen(1)]
    repeats: Positive | Literal["auto"] = 5
    models: tuple[str, ...] = ()
    warm_up: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """A figure that somebody else published: shown for reference, never counted with what was measured here.

    Args:
        device: the phone's model as it names itself ("iPhone 15 Pro"), or the id of a device entry.
        family, quant: the model, as under `models`.
        metric: a name of METRICS, in whose `unit` the figure stands.
        source: who published it: a title or a URL.
        low, high: the range that is given, or
        value: the single figure that is given.
        runtime: of the runner; None: not told.
        note: what else a reader has to know.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    device: Identifier
    family: Identifier
    quant: Identifier
    metric: Identifier
    unit: str
    source: Identifier
    low: Annotated[float, Ge(0)] | None = None
    high: Annotated[float, Ge(0)] | None = None
    value: Annotated[float, Ge(0)] | None = None
    runtime: Identifier | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """Where new builds of a runner appear.

    Args:
        folder: relative to the inventory; each folder, .tar.gz, .zip or .ipa in it is a build, the newest is measured.
        runner: id of the runner entry whose files it takes the place of.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    folder: Identifier
    runner: Identifier


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """Where new models appear. Args: folder: relative to the inventory; each .gguf and .pte in it is a model. owner: of
    them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    folder: Identifier
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """Level in percent between which the battery of a phone at a switched hub port is held outside runs."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    low_pct: Annotated[float, Ge(5), Le(95)] = 40.0
    high_pct: Annotated[float, Ge(5), Le(100)] = 80.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the summary of a night is posted. Args: secret_env: variable of the environment that holds the secret the
    post is signed with."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    url: Identifier
    secret_env: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Nightly:
    """What `farm nightly` does.

    Args:
        suite: that is measured. tiers: limited to these; empty: all.
        until: "HH:MM" of the lab's own time, by which it has to be over; None: no limit.
        metrics: names of METRICS that are judged over the nights.
        builds, models: folders in which new builds and models appear.
        pairs: per phone, that decide a suspicion. pairs_minutes: spent on pairs in one night.
        keep_telemetry_days: samples of older measurements are dropped, their figures stay; None: kept.
        keep_on_phone_days: models and runners that no plan wanted for so long are removed from phones; None: kept.
        drift_limit_pct: of a phone's own reference values, from which on it is quarantined.
        charge: how the battery of phones at switched hub ports is held outside runs; None: not held.
        ping_url: asked at the end of a night, so that a watcher notices one that does not end.
        webhook: where `farm notify` posts; None: nowhere.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    suite: Identifier = "standard"
    tiers: tuple[Identifier, ...] = ()
    until: str | None = None
    metrics: Annotated[tuple[Identifier, ...], MinLen(1)] = (
        "decode_tps",
        "prefill_tps",
        "ttft_ms",
        "load_ms",
        "peak_memory_mb",
    )
    builds: tuple[BuildFolder, ...] = ()
    models: tuple[ModelFolder, ...] = ()
    pairs: Annotated[int, Ge(6)] = 12
    pairs_minutes: Annotated[float, Gt(0)] = 60.0
    keep_telemetry_days: Positive | None = 90
    keep_on_phone_days: Positive | None = 30
    drift_limit_pct: Annotated[float, Gt(0)] = 5.0
    charge: Charge | None = None
    ping_url: str | None = None
    webhook: Webhook | None = None

    @property
    def drift_limit(self) -> float:
        """`drift_limit_pct` as a logarithm."""
        return math.log1p(self.drift_limit_pct / 100)


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
    gates: Gates = field(default_factory=Gates)
    phone_settings: PhoneSettings = field(default_factory=PhoneSettings)
    nightly: Nightly = field(default_factory=Nightly)
    published: tuple[Published, ...] = ()
