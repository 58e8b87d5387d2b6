"""Devices as they are, and the files that go onto them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.model.words import DeviceKind, DeviceState, Platform


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
        performance_cores: how many the maker says the chip has, where the device does not tell its cores; 0: unknown.
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
    performance_cores: int = 0


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """One thing that a device was looked at for.

    Args:
        name: "pairing", "developer mode", "image", "tunnel", "battery", …
        level: "ok", "warning" (a run works), "problem" (nothing runs on it), "unknown" (it could not be told).
        text: what was seen.
        advice: what to do; "" where nothing is to be done.
    """

    name: str
    level: Literal["ok", "warning", "problem", "unknown"]
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Attached:
    """A device that is plugged in or reachable, usable or not.

    Args:
        serial: the name to address it by (the serial adb shows; for several transports the preferred one).
        transports: every serial under which the same device is seen now, the preferred one first.
        advice: what the operator should do about `state`; "" when READY.
        facts: None when the device could not be asked.
        checks: what was looked at beside that; empty for devices that need nothing of the kind.
        over_network: `serial` is reached without a cable, which would also carry power.
    """

    platform: Platform
    serial: str
    transports: tuple[str, ...]
    state: DeviceState
    advice: str
    facts: DeviceFacts | None
    checks: tuple[DeviceCheck, ...] = ()
    over_network: bool = False


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
class WeightGroup:
    """Tensors of one type: `quant` as ggml names it ("Q4_0"; "type 99" for an unknown one), bytes of all of them.

    `role`: "embedding" (looked up by row), "matrix" (multiplied, rows divisible by 8), "other" (norms, odd shapes).
    """

    quant: str
    role: Literal["embedding", "matrix", "other"]
    size: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides a model's memory, as the header says it; None where it does not.

    Args:
        weights: bytes by type and role.
        tied_output: the output layer shares the embedding's weights.
        embedding_length, feed_forward_length, head_count: of one layer (the largest, where layers differ).
        kv_head_layers: key/value heads of one layer, summed over all layers.
        key_length, value_length: numbers of one head in the KV cache.
        other_state: header key that tells of a state which is no plain KV cache (recurrent, latent attention), or "".
    """

    weights: tuple[WeightGroup, ...]
    tied_output: bool
    embedding_length: int | None
    feed_forward_length: int | None
    head_count: int | None
    kv_head_layers: int | None
    key_length: int | None
    value_length: int | None
    other_state: str = ""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checked model: the artifact and what its header says (None where the header does not).

    Args:
        backends: of an ExecuTorch program, what ExecuTorch calls the back ends it needs ("XnnpackBackend"); a runner
            without one of them cannot load it. Empty: it needs none, or is a GGUF.
        methods: of an ExecuTorch program, the names of its methods.
    """

    artifact: Artifact
    architecture: str | None
    parameter_count: int | None
    vocabulary_size: int | None
    context_length: int | None
    layer_count: int | None
    shape: ModelShape | None = None
    backends: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunnerBuild:
    """A checked runner build.

    Args:
        artifact: its files.
        abi: Android name of the machine its programs are for; "" when they are scripts only.
        programs: name of each program ("llama-bench") → its file name inside the artifact.
        options: every command line option its files mention, e.g. "--no-mmap"; None when it cannot be known
            (a script), then nothing is refused for a missing option.
        backends: every name of an ExecuTorch back end that its files mention, e.g. "XnnpackBackend"; None likewise.
    """

    artifact: Artifact
    abi: str
    programs: Mapping[str, str]
    options: frozenset[str] | None
    backends: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request that the device itself sends to a server it has just started, saving the answer as "stream".

    Sent again and again, "stream" holds, for each, the line ": requested=UPTIME", the answer, and, where it came whole,
    the line ": answered=UPTIME" (comments of an event stream; uptime of the device in seconds).

    Args:
        port: on the device's loopback; the command line of the job names the same.
        ready_path: polled with GET until it answers 200.
        ready_limit_s: how long that may take.
        path, body: of the POST (JSON).
        stop_marker: bytes that end the answer; after the last answer the server is ended.
        repeat_for_s: the request is sent again as soon as it is answered, until this time (to a second) is over since
            the first one; the last answer may come later. 0: sent once.
        shorten: script of `sed -E` that each answer goes through before it is kept, where requests are repeated: half
            an hour of events would be too much. Empty: kept as it is.
    """

    port: int
    ready_path: str
    ready_limit_s: float
    path: str
    body: bytes
    stop_marker: bytes
    repeat_for_s: float = 0.0
    shorten: str = ""
