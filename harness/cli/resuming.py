"""What `farm resume` goes on with: the planned measurements of an unfinished run, on the phones that are here now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.cli import compose
from harness.cli.main import Context
from harness.errors import ErrorClass, FarmError, UsageError
from harness.leases import is_alive
from harness.model import (
    CaseStatus,
    ErrorInfo,
    ModelFile,
    NightRole,
    PlannedCase,
    RunnerBuild,
    RunRecord,
    RunStatus,
    Step,
)
from harness.plan import Assets, ResolvedDevice, resolve_devices, usable

if TYPE_CHECKING:
    from harness.cli.execution import Execution
    from harness.store import Store


def find(store: Store, run_id: str | None) -> RunRecord | None:
    """The named run, or the newest unfinished one; None when there is nothing to do.

    Raises UsageError when the named run does not exist or is still at work.
    """
    record = store.run(run_id) if run_id else store.newest_unfinished_run()
    if record is None:
        if run_id:
            raise UsageError(f"there is no run {run_id!r} (`farm runs` lists them)")
        return None
    if record.status is RunStatus.FINISHED:
        return None
    if record.status is RunStatus.RUNNING and is_alive(record.host, record.pid, record.pid_started):
        raise UsageError(f"run {record.id} is still at work in process {record.pid}; end that first")
    role = NightRole.of(record.options)
    if role is not None and role.compares:
        goes_on = "farm bisect" if role is NightRole.BISECT else "farm nightly"
        raise UsageError(f"run {record.id} holds pairs of two builds; `{goes_on}` measures what is missing of them")
    return record


def prepare(context: Context, store: Store, record: RunRecord) -> Execution:
    """Match the planned cases with attached phones and files of today.

    Cases of phones that are away stay planned; a model or runner that is no longer the one of the plan refuses its
    cases.
    """
    from harness.cli.execution import Execution

    loaded = compose.load_inventory(context)
    store.requeue_running(record.id)
    cases = store.cases(record.id, status=CaseStatus.PLANNED)
    attached = compose.discover_to_use(loaded.inventory)
    here = {
        device.facts.identity: device
        for device in resolve_devices(loaded.inventory, attached)
        if usable(device.attached)
    }
    models = {case.model.id: case.model for case in cases}
    runners = {case.runner.id: case.runner for case in cases}
    assets = _same_as_planned(
        compose.check_assets(models.values(), runners.values(), loaded.path.resolve().parent), cases
    )
    devices = {
        case.device_id: ResolvedDevice(case.device_id, here[case.identity].entry, here[case.identity].attached)
        for case in cases
        if case.identity in here
    }
    if cases and not devices:
        compose.require_usable(f"run {record.id}", (), attached)
    ready = tuple(case for case in cases if case.device_id in devices and _usable(case, assets, store))
    store.take_over_run(record.id, _me(record))
    return Execution(context, store, loaded, record, tuple(devices.values()), assets, ready)


def _me(record: RunRecord) -> RunRecord:
    from harness.leases import identity_of_this_process

    me = identity_of_this_process()
    return replace(record, host=me.host, pid=me.pid, pid_started=me.pid_started, status=RunStatus.RUNNING)


def _same_as_planned(assets: Assets, cases: tuple[PlannedCase, ...]) -> Assets:
    def changed(kind: str, name: str) -> ErrorInfo:
        error = FarmError(
            f"{kind} {name} is not the file that this run was planned with",
            error_class=ErrorClass.SHA256_MISMATCH,
            advice="put the old file back and resume again, or start a new run",
        )
        return error.info(Step.CHECK)

    models, runners = dict(assets.models), dict(assets.runners)
    for case in cases:
        model, runner = models[case.model.id], runners[case.runner.id]
        if isinstance(model, ModelFile) and model.artifact.sha256 != case.model_sha256:
            models[case.model.id] = changed("model", case.model.id)
        if isinstance(runner, RunnerBuild) and runner.artifact.sha256 != case.runner_sha256:
            runners[case.runner.id] = changed("runner", case.runner.id)
    return Assets(models, runners)


def _usable(case: PlannedCase, assets: Assets, store: Store) -> bool:
    for found in (assets.models[case.model.id], assets.runners[case.runner.id]):
        if isinstance(found, ErrorInfo):
            store.refuse_case(case.key, found)
            return False
    return True
