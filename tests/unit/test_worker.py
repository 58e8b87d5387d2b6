"""What a worker stores of a device that does not come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import ErrorClass
from harness.model import CaseResult, CaseStatus, ErrorInfo, Step
from harness.worker import stayed_away

RESULT = CaseResult(CaseStatus.FAILED, 1, 10.0, 2.0, metrics={}, traces=(), itl_ms=(), provenance={})


def test_a_device_that_was_offline_and_stays_away_is_lost() -> None:
    offline = ErrorInfo(ErrorClass.DEVICE_OFFLINE.value, Step.RUN, "127.0.0.1:5555: the phone is offline", "plug it in")
    lost = stayed_away(replace(RESULT, error=offline)).error
    assert lost == replace(offline, error_class="device_lost", message=f"{offline.message}; it stays away")


@pytest.mark.parametrize("error_class", [ErrorClass.DEVICE_LOST, ErrorClass.TRANSPORT_STALLED])
def test_any_other_error_is_kept(error_class: ErrorClass) -> None:
    failed = replace(RESULT, error=ErrorInfo(error_class.value, Step.RUN, "the link was lost"))
    assert stayed_away(failed) == failed
    assert stayed_away(RESULT) == RESULT
