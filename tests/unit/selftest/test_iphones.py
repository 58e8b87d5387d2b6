"""What the self-test asks of iPhones, and how it judges what they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from harness.errors import ErrorClass
from harness.model import Attached, Channel, DeviceFacts, DeviceKind, DeviceState, Platform, Trace
from harness.plan import ResolvedDevice
from harness.selftest import iphones, native, suite
from harness.selftest.checks import was_run
from harness.selftest.runs import Bench, Seen, entry_for
from harness.selftest.task import Task
from harness.selftest.truth import Truth, TruthMissing
from harness.selftest.virtual import Handle, Phones
from tests.unit.selftest.test_native import deaths, died, seen

ANY_HANDLE = cast(Handle, None)


def device(platform: Platform, kind: DeviceKind) -> ResolvedDevice:
    facts = DeviceFacts("id", kind, "", "", "", "", "", "", "", ("x86_64",), None, None, None)
    name = f"{kind.value}-{platform.value}"
    attached = Attached(platform, name, (name,), DeviceState.READY, "", facts)
    return ResolvedDevice(name, entry_for(name, platform), attached)


ANDROID = device(Platform.ANDROID, DeviceKind.VIRTUAL)
IPHONE = device(Platform.IOS, DeviceKind.VIRTUAL)
REAL_IPHONE = device(Platform.IOS, DeviceKind.PHONE)


def test_each_platform_has_the_groups_whose_truth_it_has() -> None:
    of_android, of_iphone = (set(suite.default_groups([each])) for each in (ANDROID, IPHONE))
    assert of_iphone == {"clock_map", "native", "ios_deaths", "charging", "energy", "gate", "throttle"}
    assert of_android == suite.GROUPS.keys() - {"ios_deaths"}
    assert set(suite.default_groups([ANDROID, IPHONE])) == suite.GROUPS.keys()
    assert suite.default_groups([REAL_IPHONE]) == ("clock_map",), "its app with a known truth is not built here"


def test_a_group_that_applies_to_no_device_is_not_run_and_says_why() -> None:
    task = Task((IPHONE,), ("sampler", "other_load"), Phones(()), 3.0)
    found = suite.run(cast(Bench, None), task, say=lambda _: None)
    assert [check.check for check in found] == ["sampler", "other_load"]
    assert not any(was_run(check) for check in found) and all("iPhone" in check.note for check in found)


# --- memory and deaths ------------------------------------------------------------------------------------------------


def app_run(footprint_mb: float) -> Seen:
    """A run of the app that measured everything rightly, but for perhaps its footprint."""
    trace = Trace(Channel("runner.phys_footprint", "MB", "sysmontap", 0.016), (1.0, 2.0), (0.4, footprint_mb))
    return replace(seen(), traces={trace.channel.name: trace})


def failing(**changed: Seen) -> set[str]:
    died_so = {**deaths(), "native_death_kill": died(ErrorClass.USER_KILLED, "no report of iOS names it")}
    runs = {"timing": seen(), "memory": app_run(120.5), **died_so, **changed}
    found = native.judge("iphone", runs, native.APP_PARTS, iphones.DEATHS)
    return {check.check for check in found if not check.ok}


def test_what_the_app_and_sysmontap_tell_rightly_holds() -> None:
    assert failing() == set()


@pytest.mark.parametrize("footprint", [154.0, 0.5])
def test_a_footprint_with_the_pages_of_the_model_or_without_its_peak_does_not_hold(footprint: float) -> None:
    assert failing(memory=app_run(footprint)) == {"native_footprint_mb"}


def test_a_footprint_that_was_never_sampled_does_not_hold() -> None:
    assert failing(memory=seen()) == {"native_footprint_mb"}


def test_a_kill_without_a_report_is_a_users() -> None:
    wrong = died(ErrorClass.OUT_OF_MEMORY, "the kernel ended it")
    assert failing(native_death_kill=wrong) == {"native_death_kill"}


# --- thermal state ----------------------------------------------------------------------------------------------------


def truth(*states: tuple[float, str]) -> Truth:
    lines: list[Mapping[str, Any]] = [{"uptime_s": moment, "thermal_state": state} for moment, state in states]
    return Truth(tuple(lines))


def heated(told_s: float) -> Seen:
    """A run in which the app told at that uptime that the phone is no longer cool."""
    run = seen()
    started, _ = run.window
    trace = Trace(Channel("thermal.status", "", "app", 1.0), (started + 0.1, told_s), (0.0, 1.0))
    return replace(run, traces={trace.channel.name: trace})


def judged(told_s: float, truth_of: Truth) -> bool:
    (check,) = iphones.judge_state(IPHONE, ANY_HANDLE, {"throttle": heated(told_s)}, truth_of)
    return check.ok


def test_the_thermal_state_is_told_when_it_changes() -> None:
    started, ended = seen().window
    middle = (started + ended) / 2
    known = truth((started + 0.05, "nominal"), (middle, "fair"))
    assert judged(middle + 1.0, known)
    assert not judged(middle + 3.0, known) and not judged(middle - 3.0, known)
    with pytest.raises(TruthMissing):
        judged(middle, truth((started + 0.05, "nominal")))
