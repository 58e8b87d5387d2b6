"""Which cases a run has, in which order, and why others are refused or skipped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import ErrorClass, UsageError
from harness.model import (
    Artifact,
    ArtifactFile,
    Attached,
    CaseStatus,
    CpuCore,
    Device,
    DeviceFacts,
    DeviceKind,
    DeviceState,
    ErrorInfo,
    Inventory,
    Match,
    Model,
    ModelFile,
    Platform,
    Runner,
    RunnerBuild,
    Step,
    Suite,
    Tier,
    Workload,
    WorkloadKind,
)
from harness.plan import (
    Assets,
    ResolvedDevice,
    Selection,
    big_cores,
    build,
    canonical_parameters,
    check_selection,
    placement,
    resolve_devices,
    select_devices,
    series_key,
)

BENCH = Workload(kind=WorkloadKind.THROUGHPUT)
CHAT = Workload(kind=WorkloadKind.STREAM)


def facts(identity: str, model: str = "Pixel 8 Pro", **changes: object) -> DeviceFacts:
    base = DeviceFacts(
        identity=identity,
        kind=DeviceKind.PHONE,
        manufacturer="Google",
        model=model,
        product="husky",
        device="husky",
        soc="Tensor G3",
        os_version="15",
        os_fingerprint="google/husky",
        abis=("arm64-v8a",),
        ram_bytes=12 << 30,
        storage_free_bytes=None,
        storage_total_bytes=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def phone(serial: str, model: str = "Pixel 8 Pro", **changes: object) -> Attached:
    return Attached(Platform.ANDROID, serial, (serial,), DeviceState.READY, "", facts(serial, model, **changes))


def artifact(kind: str, sha: str) -> Artifact:
    return Artifact(kind, sha, (ArtifactFile("f", "/f", 10, sha),))  # type: ignore[arg-type]


MODEL = Model("m1", "F", "Q4_0", "gguf", path="m1.gguf")
OTHER_MODEL = Model("m2", "F", "Q8_0", "gguf", path="m2.gguf")
RUNNER = Runner("r1", "llama.cpp", Platform.ANDROID, "arm64-v8a", path="r1")
MODEL_FILE = ModelFile(artifact("model", "a" * 64), "llama", 1, 1, 1, 1)
BUILD = RunnerBuild(artifact("runner", "b" * 64), "arm64-v8a", {"llama-bench": "llama-bench"}, None)


def inventory(*devices: Device) -> Inventory:
    return Inventory(
        version=1,
        tiers={"flagship": Tier("Flagship"), "budget": Tier("Budget")},
        devices=devices or (Device("p", Platform.ANDROID, "flagship", Match(model="Pixel 8 Pro")),),
        models=(MODEL, OTHER_MODEL),
        runners=(RUNNER,),
        workloads={"bench": BENCH, "chat": CHAT},
        suites={"standard": Suite(("bench", "chat"), 2)},
    )


def assets(**changes: object) -> Assets:
    models: dict[str, ModelFile | ErrorInfo] = {"m1": MODEL_FILE, "m2": MODEL_FILE}
    runners: dict[str, RunnerBuild | ErrorInfo] = {"r1": BUILD}
    models.update({k: v for k, v in changes.items() if k.startswith("m")})  # type: ignore[misc]
    runners.update({k: v for k, v in changes.items() if k.startswith("r")})  # type: ignore[misc]
    return Assets(models, runners)


def cases(inv: Inventory, *attached: Attached, selection: Selection | None = None, given: Assets | None = None):
    chosen = selection or Selection("standard")
    devices = select_devices(inv, chosen, resolve_devices(inv, attached))
    return build(
        "run",
        inv,
        chosen,
        devices,
        given or assets(),
        formats=lambda runtime: frozenset({"gguf"}) if runtime == "llama.cpp" else None,
        refusal=lambda *_: None,
    ).cases


def test_a_model_is_finished_before_the_next_and_repetitions_go_round_the_workloads() -> None:
    order = [(case.model.id, case.repeat, case.workload_id) for case in cases(inventory(), phone("S1"))]
    assert order[:4] == [("m1", 1, "bench"), ("m1", 1, "chat"), ("m1", 2, "bench"), ("m1", 2, "chat")]
    assert [model for model, _, _ in order] == ["m1"] * 4 + ["m2"] * 4


def test_repetitions_share_their_case_and_have_keys_of_their_own() -> None:
    found = cases(inventory(), phone("S1"))
    assert len({case.key for case in found}) == len(found) == 8
    assert len({case.case for case in found}) == 4


def test_workloads_with_the_same_parameters_are_still_two_cases() -> None:
    inv = replace(inventory(), workloads={"bench": BENCH, "chat": BENCH})
    assert len({case.case for case in cases(inv, phone("S1"))}) == 4


def test_two_phones_of_one_entry_are_told_apart_whatever_the_order_of_plugging_in() -> None:
    one = [device.id for device in resolve_devices(inventory(), (phone("A"), phone("B")))]
    other = [device.id for device in resolve_devices(inventory(), (phone("B"), phone("A")))]
    assert one == other
    assert len(set(one)) == 2
    assert all(name.startswith("p-") for name in one)


def test_an_entry_with_a_serial_wins_over_one_with_a_model() -> None:
    inv = inventory(
        Device("any", Platform.ANDROID, "flagship", Match(model="Pixel 8 Pro")),
        Device("mine", Platform.ANDROID, "budget", Match(serial="S2")),
    )
    found = {device.id: device.attached.serial for device in resolve_devices(inv, (phone("S1"), phone("S2")))}
    assert found == {"any": "S1", "mine": "S2"}


def test_a_serial_matches_the_transport_and_the_phones_own_serial() -> None:
    inv = inventory(Device("mine", Platform.ANDROID, "budget", Match(serial="OWN")))
    wifi = Attached(Platform.ANDROID, "127.0.0.1:7000", ("127.0.0.1:7000",), DeviceState.READY, "", facts("OWN"))
    assert [device.id for device in resolve_devices(inv, (wifi,))] == ["mine"]


def test_a_runner_of_another_abi_is_skipped_with_both_names() -> None:
    found = cases(inventory(), phone("S1", abis=("x86_64",)))
    assert {case.status for case in found} == {CaseStatus.SKIPPED}
    assert found[0].reason is not None
    assert "arm64-v8a" in found[0].reason.message and "x86_64" in found[0].reason.message


def test_a_broken_model_refuses_its_own_cases_only() -> None:
    broken = ErrorInfo(ErrorClass.MODEL_TRUNCATED.value, Step.CHECK, "cut")
    found = cases(inventory(), phone("S1"), given=assets(m1=broken))
    assert {(case.model.id, case.status) for case in found} == {
        ("m1", CaseStatus.REFUSED),
        ("m2", CaseStatus.PLANNED),
    }
    assert all(case.reason == broken for case in found if case.model.id == "m1")


def test_the_series_goes_on_when_only_the_files_change() -> None:
    assert series_key("S1", "m1", "r1", BENCH) == series_key("S1", "m1", "r1", BENCH)
    assert series_key("S1", "m1", "r1", BENCH) != series_key("S1", "m1", "r1", replace(BENCH, threads=4))
    assert series_key("S1", "m1", "r1", BENCH) != series_key("S2", "m1", "r1", BENCH)
    assert series_key("S1", "m1", "r1", BENCH) != series_key("S1", "m1", "r1", replace(BENCH, page_cache="evict"))
    assert "page_cache" not in canonical_parameters(BENCH), "the series of before goes on"


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'flagship'"):
        check_selection(inventory(), Selection("standard", tiers=("flagshp",)))
    with pytest.raises(UsageError, match="--device"):
        select_devices(inventory(), Selection("standard", devices=("nobody",)), ())


def test_threads_auto_is_the_cores_above_the_slowest_cluster() -> None:
    cores = tuple(CpuCore(i, 250 if i < 4 else 1024, None) for i in range(8))
    assert big_cores(facts("S", cores=cores)) == (4, 5, 6, 7)
    assert placement(BENCH, facts("S", cores=cores)).threads == 4
    assert big_cores(facts("S", cores=cores, cpus_allowed=(0, 1, 4))) == (4,)
    assert big_cores(facts("S", cores=tuple(CpuCore(i, None, None) for i in range(8)))) == ()
    assert placement(replace(BENCH, threads=3), facts("S", cores=cores)).threads == 3


def test_devices_of_other_tiers_are_left_out() -> None:
    inv = inventory()
    chosen = select_devices(inv, Selection("standard", tiers=("budget",)), resolve_devices(inv, (phone("S1"),)))
    assert chosen == ()


def test_resolved_device_without_facts_says_so() -> None:
    away = Attached(Platform.ANDROID, "S", ("S",), DeviceState.UNAUTHORIZED, "tap", None)
    with pytest.raises(ValueError, match="has not been asked"):
        _ = ResolvedDevice("p", inventory().devices[0], away).facts
