"""Inventory × attached devices × suite → the cases of a run. Pure: reads no file and no device."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from harness.analysis.repeats import AUTO_LEAST
from harness.errors import ErrorClass, UsageError
from harness.model import (
    Attached,
    CaseStatus,
    Device,
    DeviceFacts,
    DeviceKind,
    DeviceState,
    ErrorInfo,
    Inventory,
    Match,
    Model,
    ModelFile,
    PlannedCase,
    Runner,
    RunnerBuild,
    Step,
    Suite,
    Workload,
    ids_meant,
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What the operator asked for; empty tuples mean "all", `repeats` None means the suite's own."""

    suite: str
    tiers: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    runners: tuple[str, ...] = ()
    repeats: int | None = None


@dataclass(frozen=True, slots=True)
class ResolvedDevice:
    """A device entry of the inventory and the attached phone it means; `id` is unique among the attached."""

    id: str
    entry: Device
    attached: Attached

    @property
    def facts(self) -> DeviceFacts:
        """Raises ValueError for a device that could not be asked (never so for a READY one)."""
        if self.attached.facts is None:
            raise ValueError(f"{self.id} has not been asked")
        return self.attached.facts


@dataclass(frozen=True, slots=True)
class Assets:
    """Checked models and runners by id: what was found, or why it was refused. What fits no device may be left out."""

    models: Mapping[str, ModelFile | ErrorInfo]
    runners: Mapping[str, RunnerBuild | ErrorInfo]


Refusal = Callable[[Workload, Model, ModelFile, Runner, RunnerBuild], ErrorInfo | None]
"""Says why a runner build cannot do a workload with a model, or None."""

Formats = Callable[[str], frozenset[str] | None]
"""Model formats that a runtime reads; None for a runtime that nobody here can drive."""


def check_selection(inventory: Inventory, selection: Selection) -> None:
    """Raises UsageError naming the first id that the inventory does not have, with the nearest one it has."""
    known: tuple[tuple[str, str, Iterable[str], Iterable[str]], ...] = (
        ("tier", "--tier", selection.tiers, inventory.tiers),
        ("suite", "--suite", (selection.suite,), inventory.suites),
        ("model", "--model", selection.models, (model.id for model in inventory.models)),
        ("runner", "--runner", selection.runners, (runner.id for runner in inventory.runners)),
    )
    for kind, option, asked, have in known:
        names = list(have)
        for name in asked:
            if name not in names and not (kind == "model" and ids_meant(name, names)):
                raise UsageError(_unknown(kind, option, name, names))


def models_of(inventory: Inventory, asked: Sequence[str], suite: Suite) -> tuple[Model, ...]:
    """Models that `asked` for names, else those of the suite, in the inventory's order."""
    ids = [model.id for model in inventory.models]
    wanted = {name for pattern in asked or suite.models or ("*",) for name in ids_meant(pattern, ids)}
    return tuple(model for model in inventory.models if model.id in wanted)


def _unknown(kind: str, option: str, name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{option}: no {kind} {name!r} in the inventory{hint} (there are: {', '.join(names) or 'none'})"


def matches(match: Match, attached: Attached) -> bool:
    """Whether every given field of `match` agrees with the device; an empty match fits any device."""
    facts = attached.facts
    checks: list[bool] = []
    if match.serial is not None:
        serials = {attached.serial, *attached.transports} | ({facts.identity} if facts else set())
        checks.append(match.serial in serials)
    for wanted, seen in (
        (match.model, facts.model if facts else None),
        (match.product, facts.product if facts else None),
        (match.device, facts.device if facts else None),
    ):
        if wanted is not None:
            checks.append(seen is not None and _same_name(wanted, seen))
    return all(checks)


def _same_name(wanted: str, seen: str) -> bool:
    # `adb devices -l` shows "Pixel 8 Pro" as "Pixel_8_Pro"; an operator may copy either.
    return wanted.replace("_", " ").casefold() == seen.replace("_", " ").casefold()


def resolve_devices(inventory: Inventory, attached: Iterable[Attached]) -> tuple[ResolvedDevice, ...]:
    """Give every attached device to at most one entry: an entry that names its serial first, then in file order.

    Several phones of one entry are told apart by a tag made from their identity, so that no order of plugging in
    changes who is who.
    """
    entries = sorted(inventory.devices, key=lambda entry: entry.match.serial is None)
    hits: dict[str, list[Attached]] = {entry.id: [] for entry in inventory.devices}
    for device in attached:
        for entry in entries:
            if entry.platform == device.platform and matches(entry.match, device):
                hits[entry.id].append(device)
                break
    resolved: list[ResolvedDevice] = []
    for entry in inventory.devices:
        found = sorted(hits[entry.id], key=_identity)
        for device in found:
            tag = "" if len(found) == 1 else "-" + hashlib.sha256(_identity(device).encode()).hexdigest()[:4]
            resolved.append(ResolvedDevice(entry.id + tag, entry, device))
    return tuple(resolved)


def _identity(attached: Attached) -> str:
    return attached.facts.identity if attached.facts else attached.serial


def select_devices(
    inventory: Inventory, selection: Selection, resolved: Iterable[ResolvedDevice]
) -> tuple[ResolvedDevice, ...]:
    """The devices of the selected tiers and ids, usable or not.

    Raises UsageError when `--device` names neither an entry nor an attached device.
    """
    devices = tuple(resolved)
    known = {device.id for device in devices} | {entry.id for entry in inventory.devices}
    for name in selection.devices:
        if name not in known:
            raise UsageError(_unknown("device", "--device", name, sorted(known)))
    return tuple(
        device
        for device in devices
        if (not selection.tiers or device.entry.tier in selection.tiers)
        and (not selection.devices or device.id in selection.devices or device.entry.id in selection.devices)
    )


def canonical_parameters(workload: Workload) -> dict[str, object]:
    """The parameters that make two measurements comparable, JSON-ready, with `None` for "left to the runtime"."""
    parameters = asdict(workload)
    parameters["kind"] = workload.kind.value
    parameters["args"] = list(workload.args)
    for name in ("cores", "minutes"):
        # Left out where they are not given, so that the series of a workload goes on.
        value = parameters.pop(name)
        if value is not None:
            parameters[name] = list(value) if name == "cores" else value
    if workload.page_cache == "keep":
        del parameters["page_cache"]
    parameters["env"] = dict(sorted(workload.env.items()))
    return parameters


def _digest(*parts: object, length: int) -> str:
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def series_key(identity: str, model_id: str, runner_id: str, workload: Workload) -> str:
    """Names a line over nights: the same phone, model id, runner id and canonical parameters."""
    return _digest(identity, model_id, runner_id, canonical_parameters(workload), length=16)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every case of a run in the order of work; cases of one device stand together."""

    run: str
    cases: tuple[PlannedCase, ...]

    def of(self, status: CaseStatus) -> tuple[PlannedCase, ...]:
        return tuple(case for case in self.cases if case.status is status)


def build(
    run: str,
    inventory: Inventory,
    selection: Selection,
    devices: Iterable[ResolvedDevice],
    assets: Assets,
    *,
    formats: Formats,
    refusal: Refusal,
) -> Plan:
    """The plan of a run over READY `devices`.

    Order on one device: model by model (so that a phone short of space holds one model at a time), inside a model
    repetition by repetition over runners and workloads (so that slow drift spreads over all of them).
    """
    suite = inventory.suites[selection.suite]
    repeats = selection.repeats or (AUTO_LEAST if suite.repeats == "auto" else suite.repeats)
    models = models_of(inventory, selection.models, suite)
    runners = [runner for runner in inventory.runners if not selection.runners or runner.id in selection.runners]
    cases: list[PlannedCase] = []
    for device in devices:
        for model in models:
            first = [
                case_of(run, device, model, runner, name, inventory.workloads[name], assets, formats, refusal)
                for runner in runners
                for name in suite.workloads
            ]
            cases += [case for case in first if case.status is not CaseStatus.PLANNED]
            planned = [case for case in first if case.status is CaseStatus.PLANNED]
            cases += [replace(case, repeat=repeat) for repeat in range(1, repeats + 1) for case in planned]
    return Plan(run, tuple(cases))


def case_of(
    run: str,
    device: ResolvedDevice,
    model: Model,
    runner: Runner,
    workload_id: str,
    workload: Workload,
    assets: Assets,
    formats: Formats,
    refusal: Refusal,
) -> PlannedCase:
    """The first repetition of a case: planned, or skipped or refused with the reason.

    Args:
        run: id of the run. device: a READY one.
        workload_id: name of `workload`.
        assets: have to hold the model and the runner where both fit the device, else ValueError is raised.
        formats, refusal: what decides whether the runner takes model and workload.
    """
    facts = device.facts
    checked_model, checked_runner = assets.models.get(model.id), assets.runners.get(runner.id)
    model_sha = checked_model.artifact.sha256 if isinstance(checked_model, ModelFile) else ""
    runner_sha = checked_runner.artifact.sha256 if isinstance(checked_runner, RunnerBuild) else ""
    series = series_key(facts.identity, model.id, runner.id, workload)
    case = PlannedCase(
        run=run,
        case=_digest(run, series, workload_id, model_sha, runner_sha, length=12),
        repeat=1,
        series_key=series,
        device_id=device.id,
        serial=device.attached.serial,
        identity=facts.identity,
        platform=device.attached.platform,
        kind=facts.kind,
        tier=device.entry.tier,
        model=model,
        runner=runner,
        workload_id=workload_id,
        workload=workload,
        model_sha256=model_sha,
        runner_sha256=runner_sha,
    )
    skip = _skip(device, model, runner, formats)
    if skip is not None:
        return replace(case, status=CaseStatus.SKIPPED, reason=skip)
    problem: ErrorInfo | None
    if checked_model is None or checked_runner is None:
        raise ValueError(f"{model.id} and {runner.id} fit {device.id} but were not checked")
    if isinstance(checked_model, ErrorInfo):
        problem = checked_model
    elif isinstance(checked_runner, ErrorInfo):
        problem = checked_runner
    else:
        problem = refusal(workload, model, checked_model, runner, checked_runner)
    return replace(case, status=CaseStatus.REFUSED, reason=problem) if problem else case


def _skip(device: ResolvedDevice, model: Model, runner: Runner, formats: Formats) -> ErrorInfo | None:
    facts = device.facts

    def reason(text: str) -> ErrorInfo:
        return ErrorInfo(ErrorClass.NOT_APPLICABLE.value, Step.SELECT, text)

    if runner.platform != device.attached.platform:
        return reason(
            f"runner {runner.id} is for {runner.platform.value}, {device.id} is {device.attached.platform.value}"
        )
    if runner.abi not in facts.abis:
        return reason(f"runner {runner.id} is for {runner.abi}, {device.id} runs {', '.join(facts.abis) or 'unknown'}")
    readable = formats(runner.runtime)
    if readable is not None and model.format not in readable:
        return reason(f"{runner.runtime} does not read {model.format.upper()}")
    return None


def big_cores(facts: DeviceFacts) -> tuple[int, ...]:
    """Indices of the cores above the slowest cluster, by cpu_capacity, else by maximum frequency.

    Empty when the device does not tell, or when all cores are alike. Cores that a shell process may not use are left
    out.
    """
    for rank in ("capacity", "max_khz"):
        values = {core.index: getattr(core, rank) for core in facts.cores}
        if values and all(isinstance(value, int) for value in values.values()):
            slowest = min(values.values())
            big = (index for index, value in sorted(values.items()) if value > slowest)
            return tuple(index for index in big if not facts.cpus_allowed or index in facts.cpus_allowed)
    return ()


def usable(device: Attached) -> bool:
    return device.state is DeviceState.READY and device.facts is not None


@dataclass(frozen=True, slots=True)
class Placement:
    """Threads of a runner and the cores they are bound to (None: left to the system), with the reason in words."""

    threads: int
    cpus: tuple[int, ...] | None
    reason: str


def placement(workload: Workload, facts: DeviceFacts) -> Placement:
    """Where a workload runs: `threads: auto` means the big cores that a shell process may use, bound to them.

    A virtual phone gets one thread, for its cores are not there; on a host nothing is bound.
    """
    if isinstance(workload.threads, int):
        return Placement(workload.threads, workload.cores, "given by the workload")
    big = big_cores(facts)
    if facts.kind is DeviceKind.VIRTUAL:
        # More threads than the host has processors wait for one another in the runner's barriers.
        return Placement(1, big or None, "one on the big cores: a virtual phone shares this host's processors")
    if big and facts.kind is DeviceKind.PHONE:
        return Placement(len(big), big, f"the big cores {', '.join(map(str, big))}")
    if facts.performance_cores:
        return Placement(
            facts.performance_cores, None, f"as many as the {facts.soc} has performance cores; iOS chooses which"
        )
    allowed = len(facts.cpus_allowed)
    if allowed:
        return Placement(allowed, None, "every core that a shell process may use")
    if facts.cores:
        return Placement(
            max(1, len(facts.cores) // 2), None, "half of the cores: the device does not tell the big ones"
        )
    return Placement(1, None, "one: the device does not tell its cores")
