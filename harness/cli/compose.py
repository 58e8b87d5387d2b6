"""Where the parts are put together: the only place that knows every package."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from android_runner.adapters import FORMATS, adapter_for
from android_runner.base import RunnerAdapter
from device_agents.base import DeviceAgent
from harness import artifacts
from harness.cli.main import Context
from harness.errors import ErrorClass, FarmError, NoDeviceError, UsageError
from harness.inventory import LoadedInventory, load
from harness.model import (
    Attached,
    ErrorInfo,
    Inventory,
    Lab,
    Model,
    ModelFile,
    PlannedCase,
    Platform,
    Runner,
    RunnerBuild,
    Step,
    UsbPort,
    Workload,
)
from harness.plan import Assets, ResolvedDevice, resolve_devices, usable

_LOOK_S = 1.0
"""Between two looks for a phone whose power was just given back."""


def load_inventory(context: Context) -> LoadedInventory:
    return load(context.inventory)


def inventory_if_any(context: Context) -> LoadedInventory | None:
    """For commands that need no inventory; a broken one is still an error."""
    return load(context.inventory) if context.inventory.is_file() else None


def discover(inventory: Inventory | None) -> tuple[Attached, ...]:
    """Every attached device: phones over adb and usbmux, and this host when the inventory has a device of platform
    local. Where the inventory has no Android phone but others, nobody asks for an adb server."""
    from device_agents import agents

    if inventory is None:
        return agents.discover(Lab())
    platforms = {device.platform for device in inventory.devices}
    if not platforms:
        return agents.discover(inventory.lab)
    if platforms == {Platform.LOCAL}:
        return agents.discover(inventory.lab, platforms)
    return agents.discover(inventory.lab, platforms | {Platform.IOS})


def discover_to_use(inventory: Inventory | None) -> tuple[Attached, ...]:
    """As `discover`, for commands that take phones: every hub port that a farm which was killed has left off is
    switched on first, since its phone is not even listed."""
    for text, advice in give_back_power(inventory):
        click.echo(f"farm: {text}" + (f"\n  what to do: {advice}" if advice else ""), err=True)
    return discover(inventory)


def give_back_power(inventory: Inventory | None) -> tuple[tuple[str, str], ...]:
    """Switch on the hub ports that a farm which was killed has left off, and those that hold a charge, and wait for the
    phones that the inventory names there; returns for each what was done, and for a failure what to do."""
    from device_agents import ports_off
    from device_agents.charging import BACK_S
    from device_agents.power import switch_on_left

    held = {entry.port for entry in ports_off.left_off() if entry.held_pct is not None}
    done = switch_on_left()
    on = {port for port, problem in done if not problem}
    waited_for = {entry.id for entry in inventory.devices if entry.usb in on} if inventory is not None else set()
    deadline = time.monotonic() + BACK_S
    while inventory is not None and waited_for and time.monotonic() < deadline:
        resolved = resolve_devices(inventory, discover(inventory))
        waited_for -= {device.entry.id for device in resolved if usable(device.attached)}
        if waited_for:
            threading.Event().wait(_LOOK_S)
    return tuple(_said(port, problem, held=port in held) for port, problem in done)


def _said(port: UsbPort, problem: str, *, held: bool) -> tuple[str, str]:
    why = "was off to hold the charge of its phone" if held else "was left off by a farm that was killed"
    text = f"USB port {port.port} of hub {port.hub} {why}"
    if problem:
        return f"{text}, and cannot be switched on: {problem}", f"uhubctl -l {port.hub} -p {port.port} -a on"
    return f"{text}: it is on again", ""


def opener(inventory: Inventory) -> Callable[[ResolvedDevice], DeviceAgent]:
    """How a worker opens the agent of its device."""

    def open_agent(device: ResolvedDevice) -> DeviceAgent:
        from device_agents import agents

        return agents.open_agent(device.attached, inventory.lab, usb=device.entry.usb)

    return open_agent


def check_assets(models: Iterable[Model], runners: Iterable[Runner], base_dir: Path, *, fetch: bool = True) -> Assets:
    """Check files once each; what is wrong with one refuses only its own cases."""

    def attempt(check: Callable[[], ModelFile | RunnerBuild]) -> ModelFile | RunnerBuild | ErrorInfo:
        try:
            return check()
        except FarmError as error:
            return error.info(Step.CHECK)

    checked_models = {
        model.id: attempt(functools.partial(artifacts.check_model, model, base_dir, fetch=fetch)) for model in models
    }
    checked_runners = {
        runner.id: attempt(functools.partial(artifacts.check_runner, runner, base_dir, fetch=fetch))
        for runner in runners
    }
    return Assets(
        {name: found for name, found in checked_models.items() if not isinstance(found, RunnerBuild)},
        {name: found for name, found in checked_runners.items() if not isinstance(found, ModelFile)},
    )


def formats(runtime: str) -> frozenset[str] | None:
    return FORMATS.get(runtime)


def refusal(
    workload: Workload, model: Model, model_file: ModelFile, runner: Runner, build: RunnerBuild
) -> ErrorInfo | None:
    """Why this build cannot do this workload, before any phone is touched."""
    del model
    adapter = adapter_for(runner.runtime, workload.kind, build.programs)
    if adapter is None:
        return ErrorInfo(
            ErrorClass.WORKLOAD_UNSUPPORTED.value,
            Step.CHECK,
            f"farm cannot drive {workload.kind.value} workloads of runtime {runner.runtime!r}",
            "runtimes it knows are listed by `farm runners list`",
        )
    problem = adapter.refusal(workload, model_file, build)
    return ErrorInfo(problem.error_class.value, Step.CHECK, problem.message, problem.advice) if problem else None


def adapter_of(case: PlannedCase, build: RunnerBuild) -> RunnerAdapter:
    """The adapter that drives the programs of this build; raises UsageError where there is none."""
    adapter = adapter_for(case.runner.runtime, case.workload.kind, build.programs)
    if adapter is None:
        raise UsageError(f"farm cannot drive {case.workload.kind.value} workloads of runtime {case.runner.runtime!r}")
    return adapter


def prompt_reader(base_dir: Path) -> Callable[[PlannedCase], str | None]:
    """Reads the prompt file of a workload, once each."""

    @functools.cache
    def read(name: str) -> str:
        try:
            return (base_dir / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"prompt_file {name!r} cannot be read as UTF-8 text: {error}") from error

    return lambda case: None if case.workload.prompt_file is None else read(case.workload.prompt_file)


def describe_attached(attached: Iterable[Attached]) -> str:
    """Lines that say what is attached and in which state."""
    lines = [
        f"  {device.serial}  {device.facts.model if device.facts else 'model unknown'}  {device.state.value}"
        + (f": {device.advice}" if device.advice else "")
        for device in attached
    ]
    return "\n".join(lines) if lines else "  nothing is attached"


def require_usable(
    what: str, chosen: Iterable[ResolvedDevice], attached: Iterable[Attached]
) -> tuple[ResolvedDevice, ...]:
    """The usable ones of `chosen`; raises NoDeviceError when there is none."""
    ready = tuple(device for device in chosen if usable(device.attached))
    if not ready:
        raise NoDeviceError(
            f"no usable device for {what}. Attached now:\n{describe_attached(attached)}\n"
            "  what to do: attach a matching phone; `farm devices` shows all, `farm init` drafts entries"
        )
    return ready
