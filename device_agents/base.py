"""What the controller needs of a device, as small protocols; `DeviceAgent` joins them.

Every method that talks to a device takes a wall-clock limit in seconds and raises `harness.errors.Transient` (link
lost, stalled, device gone) or `Permanent`; none returns a half-result. Every agent passes the same contract test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from harness.analysis.timebase import ClockReading
from harness.death import DeathSigns
from harness.errors import ErrorClass
from harness.gates import Conditions
from harness.model import Artifact, Attached, DeviceFacts, HttpRequest, LeaseInfo, PhoneSettings, Reading

DAY_S = 86_400.0

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) while something is transferred."""


@dataclass(frozen=True, slots=True)
class ShellResult:
    """End of a command on the device; `exit_code` is the command's own, never the transport's."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Shell(Protocol):
    def run(self, argv: Sequence[str], *, limit_s: float, stdin: bytes | None = None) -> ShellResult:
        """Run a command; every element of `argv` arrives as it is (quoted as data)."""

    def script(self, text: str, *args: str, limit_s: float, stdin: bytes | None = None) -> ShellResult:
        """Run `text` with the device's sh; `args` are $1, $2, …"""


@dataclass(frozen=True, slots=True)
class Deployed:
    """Where an artifact is on the device and what bringing it there cost.

    `pushed_bytes` is 0 when it was there already; `resumed_bytes` were there from a cut push; `removed` names (sha256)
    artifacts that made room.
    """

    path: str
    pushed_bytes: int
    resumed_bytes: int
    duration_s: float
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What a deploy would do now.

    Args:
        missing_bytes: what it would push, by sha256 of the artifact.
        paths: where on the device the artifacts are that are there already, by sha256.
        free_bytes: of the store, None when nothing is missing.
    """

    missing_bytes: Mapping[str, int]
    paths: Mapping[str, str]
    free_bytes: int | None


class Files(Protocol):
    """Where models and runners lie.

    `in_apps`: a runner is an app that is installed, models lie in its folder, and a new app compiles its shaders at its
    first load.
    """

    in_apps: bool

    def survey(self, artifacts: Sequence[Artifact], *, limit_s: float) -> Survey:
        """What a deploy would push now, and the free space."""

    def ensure(
        self, artifact: Artifact, *, keep: frozenset[str], limit_s: float, progress: Progress | None = None
    ) -> Deployed:
        """Bring `artifact` to the device, checked by hash there.

        Artifacts in `keep` (sha256) are never removed to make room.

        The result's `path` is the model file itself, or the runner's folder (of an app: its identifier).
        """

    def read_through(self, path: str, *, limit_s: float) -> None:
        """Read a file of a deployed artifact once, so that the device has it in its page cache as far as it fits.

        Nothing is read where only the app can read its files: its next load then does it.
        """

    def prune(self, keep: frozenset[str], unused_days: float, *, limit_s: float) -> tuple[str, ...]:
        """Remove artifacts that are not in `keep` (sha256) and were not used for `unused_days`; returns their sha256.

        What a job on the device uses stays, and so does an app, whose removal would take every model with it. Only the
        holder of the device's lease may call it.
        """


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampler that runs beside a job.

    Args:
        memory_s, files_s, services_s: periods in seconds of the runner's memory, of cheap files, of dumpsys services.
        memory_calm_s: period of the runner's memory while it does not change; `memory_s` where that is longer.
        memory_floor_mb: the runner is ended on the device when less memory is available there; 0: never.
    """

    memory_s: float = 0.1
    files_s: float = 1.0
    services_s: float = 5.0
    memory_floor_mb: float = 0.0
    memory_calm_s: float = 0.25


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A command that runs on the device detached from any cable.

    Args:
        key: unique; letters, digits, ".", "_" and "-" only.
        argv: program (absolute on the device, or found on PATH) and arguments.
        env: added to the environment.
        cwd: working directory on the device; None: a folder of the job's own that holds `files`.
        limit_s: the device itself ends the command after this time.
        http: set when the command is a server to be driven on the device.
        sampling: None: no sampler.
        cpus: cores it may use, set from outside; None leaves it alone.
        owner: lease owner on whose behalf it runs (for reaping).
        files: name → content of small files (an input of the command) that are laid into the job's own folder.
        unplugged_within_s: the command is started only when the device itself says that it has no external power, and
            not at all when it does not say so within this time; 0: at once.
    """

    key: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    limit_s: float
    http: HttpRequest | None = None
    sampling: Sampling | None = field(default_factory=Sampling)
    cpus: tuple[int, ...] | None = None
    owner: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    unplugged_within_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JobHandle:
    """A started job: its folder on the device and the boot it belongs to."""

    key: str
    folder: str
    boot_id: str


@dataclass(frozen=True, slots=True)
class JobState:
    """`phase`: "running", "done" (collect it), or "lost" (gone without a result; `detail` says why).

    `error_class` names the cause of a loss (DEVICE_REBOOTED, ADBD_RESTART, …). `live` holds the newest cheap readings
    for a progress line ("temperature_c", …).
    """

    phase: Literal["running", "done", "lost"]
    detail: str = ""
    error_class: ErrorClass | None = None
    live: Mapping[str, float] = field(default_factory=dict)


EndedBy = Literal["exit", "limit", "server_done", "not_ready", "cancel", "watchdog", "stayed_powered"]
"""How a job ended, see `JobOutput`."""


@dataclass(frozen=True, slots=True)
class JobOutput:
    """What a job left, fetched to this host.

    Args:
        exit_code: of the command; None when it was ended by a signal, or never started.
        signal: number, or None.
        ended_by: "exit" (by itself), "limit", "server_done" (a driven server ended after its answer), "not_ready"
            (a driven server never answered), "cancel", "watchdog" (memory fell below the floor), "stayed_powered" (the
            device did not report the loss of its external power in time; the command was not started).
        stamps: device uptime in seconds: "started", and where it applies "unplugged" (the device reported no external
            power), "ready", "requested", "answered", "closing" (a server has done its work; the sampler then looks at
            it a last time), "ended".
        files: "stdout", "stderr", and where present "stream", "samples" → local paths.
        boot_id: boot in which it ran.
        placement: what the device says of the process: "cpus_allowed", "cpuset", "cgroup" ("" where not readable).
        suspended_s: seconds the device slept while it ran, or the reason why that is unknown.
    """

    exit_code: int | None
    signal: int | None
    ended_by: EndedBy
    stamps: Mapping[str, float]
    files: Mapping[str, Path]
    boot_id: str
    placement: Mapping[str, str] = field(default_factory=dict)
    suspended_s: Reading | None = None


class Jobs(Protocol):
    def start(self, spec: JobSpec, *, limit_s: float) -> JobHandle: ...

    def poll(
        self, handle: JobHandle, *, limit_s: float, wait_s: float = 0.0, watch: Callable[[], None] | None = None
    ) -> JobState:
        """Ask once; a job that runs is watched on the device for up to `wait_s`, and its end told when it comes.

        `watch` is called several times a second meanwhile; what it raises ends the wait and passes through.

        Raises Transient when the device cannot be asked.
        """

    def collect(self, handle: JobHandle, into: Path, *, limit_s: float) -> JobOutput:
        """Fetch what the job left into the folder `into`; may be repeated."""

    def end(self, handle: JobHandle, *, limit_s: float) -> None:
        """Stop whatever of it still runs and remove its folder; fine when there is nothing."""

    def reap(self, *, limit_s: float) -> tuple[str, ...]:
        """End every process that any farm job left on the device, remove the folders; returns their keys.

        Only the holder of the device's lease may call it.
        """

    def find(self, key: str, *, limit_s: float) -> JobHandle | None:
        """A job that is still on the device (running or done), e.g. after the controller died."""


class Telemetry(Protocol):
    def snapshot(self, *, limit_s: float) -> Mapping[str, Reading]:
        """battery_level_pct, battery_temperature_c, battery_status, battery_current_a, thermal_status,
        skin_temperature_c, cpu_temperature_c, memory_available_mb, power_state_external (1 or 0); and how worn the
        battery is: battery_health (BatteryManager code), cycle_count, charge_full_mah, charge_full_design_mah. Each
        read, or unavailable with the reason."""

    def design_capacity(self, *, limit_s: float) -> Reading:
        """Of the battery when it was new, mAh; unavailable with the reason."""


class PhoneConditions(Protocol):
    """What the gates ask of a device before a measurement."""

    def read(self, *, limit_s: float, quiet_pct: float = 0.0) -> Conditions:
        """One look, with the load of the last moment; a phone already seen to be at most `quiet_pct` busy, farm's own
        calls included, need not be watched for it."""


class SettingChange(Protocol):
    """One setting after farm wanted to change it, or to put it back."""

    @property
    def name(self) -> str: ...

    @property
    def outcome(self) -> str:
        """set, already, restored, left, denied, ignored, impossible."""

    @property
    def detail(self) -> str: ...

    @property
    def advice(self) -> str: ...

    @property
    def failed(self) -> bool: ...


class Settings(Protocol):
    """Settings of a phone that farm changes for the time of a run."""

    def apply(
        self,
        wanted: PhoneSettings,
        *,
        wifi: bool,
        limit_s: float,
        on_undo: Callable[[str], None] | None = None,
        loses_power: bool = False,
    ) -> Sequence[SettingChange]:
        """Set what is wanted, verified by its effect; `on_undo` gets what to undo before anything is changed.

        `loses_power`: the phone is about to be unplugged, and what keeps it awake has to hold then, too.
        """

    def restore(self, *, limit_s: float, undo: str = "") -> Sequence[SettingChange]:
        """Put back what the phone's own note says, or `undo` when it has none."""


class DeathEvidence(Protocol):
    """What a device shows after a runner has died."""

    def ask(self, folder: str, program: str, *, pid: int | None = None, limit_s: float) -> DeathSigns:
        """To be asked before the job in `folder` is removed."""


class PhoneLease(Protocol):
    """The lease that is kept on the device itself, so that every database and host sees it."""

    def read(self, *, limit_s: float) -> LeaseInfo | None:
        """The holder, or None; an expired one is returned too (compare `expires_at` with the host's clock: the agent
        converts from the device's own)."""

    def acquire(self, lease: LeaseInfo, *, limit_s: float) -> LeaseInfo:
        """Take it atomically; returns the holder afterwards: `lease` itself, or whoever has it.

        A lease that expired, or whose process on this same host is dead, is taken over.
        """

    def renew(self, lease: LeaseInfo, *, limit_s: float) -> None: ...

    def release(self, lease: LeaseInfo, *, limit_s: float) -> None:
        """Give it back if it is still ours."""


class Recovery(Protocol):
    def rungs(self) -> tuple[str, ...]:
        """Names of the steps that may bring the device back, mildest first."""

    def climb(self, rung: str, *, limit_s: float, alone: bool) -> bool:
        """Try one; `alone`: no other device suffers when the server restarts. True when a shell answers afterwards."""


class DeviceAgent(Protocol):
    """One device. Attributes are the protocols above; `attached` is what discovery saw."""

    attached: Attached
    shell: Shell
    files: Files
    jobs: Jobs
    telemetry: Telemetry
    conditions: PhoneConditions
    evidence: DeathEvidence
    settings: Settings
    lease: PhoneLease
    recovery: Recovery

    def facts(self, *, limit_s: float, known: DeviceFacts | None = None) -> DeviceFacts:
        """Ask the device again; only whether it is still the same one with the same system, where facts are `known`."""

    def clock(self, *, limit_s: float) -> tuple[ClockReading, ...]:
        """A few readings of the device's uptime, each between two of the host's clock."""

    def alive(self, *, limit_s: float) -> bool:
        """A shell round trip that can be killed: the only proof that a device answers."""

    def by_hand(self, spec: JobSpec) -> tuple[str, ...]:
        """Plain commands with which an operator repeats the job without farm."""

    def close(self) -> None: ...
