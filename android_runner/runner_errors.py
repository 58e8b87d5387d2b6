"""Why a run of the runner contract is no measurement: error class of the runner → failure class of farm."""

from __future__ import annotations

import re
from collections.abc import Mapping

from android_runner.base import Problem
from harness.errors import ErrorClass

_OTHER_WORKLOAD = "change what the message names in the workload"
_OTHER_BUILD = "build the runner that belongs to this farm: farm runners build"
_OTHER_MODEL = "get the model file again and give its sha256 in the inventory"

ERRORS: Mapping[str, tuple[ErrorClass, str]] = {
    "bad_request": (ErrorClass.WORKLOAD_UNSUPPORTED, _OTHER_WORKLOAD),
    "contract_unsupported": (ErrorClass.RUNNER_INVALID, _OTHER_BUILD),
    "option_unsupported": (ErrorClass.CONFIGURATION_UNSUPPORTED, _OTHER_WORKLOAD),
    "model_missing": (ErrorClass.MODEL_MISSING, "check the path of the model"),
    "model_invalid": (ErrorClass.MODEL_INVALID, _OTHER_MODEL),
    "model_unsupported": (ErrorClass.MODEL_UNSUPPORTED, "take a newer build of the runtime, or another export"),
    "tokenizer_mismatch": (
        ErrorClass.WORKLOAD_UNSUPPORTED,
        "give token ids of this model, or a model with a tokenizer",
    ),
    "context_too_small": (ErrorClass.WORKLOAD_UNSUPPORTED, "a larger context, or fewer tokens"),
    "memory_refused": (
        ErrorClass.ALLOCATION_FAILED,
        "take a smaller model, quantisation or context for this phone",
    ),
    "output_unwritable": (ErrorClass.RUNNER_FAILED, "see the log's end"),
    "timed_out": (ErrorClass.TIMED_OUT, "a smaller workload or model may fit this phone"),
    "not_frontmost": (
        ErrorClass.NOT_FRONTMOST,
        "leave the phone alone and unlocked while it measures: iOS takes the GPU from an app that is not in front",
    ),
    "runtime_failed": (ErrorClass.RUNNER_FAILED, "see the log's end"),
    "crashed": (ErrorClass.CRASHED, "get the model file again; take another build of the runtime"),
}
"""Class of the `error` event → what farm calls it, and what to do."""

_SAID = re.compile(r"^farm-runner: ([a-z_]{1,40}): (.{0,300})", re.MULTILINE)


def problem_of(error_class: str, message: str) -> Problem:
    """The problem of an `error` event; a class of a later version is a failure of the runner."""
    known, advice = ERRORS.get(error_class, (ErrorClass.RUNNER_FAILED, "see the log's end"))
    if error_class == "output_unwritable" and "No space left" in message:
        known, advice = ErrorClass.STORAGE_FULL, "delete files on the phone"
    return Problem(known, f"the runner ended with {error_class or 'an error of no class'}: {message}", advice)


def problem_said(stderr: bytes) -> Problem | None:
    """The problem that farm-runner names in its error output, where its events could not be written."""
    found = _SAID.search(stderr.decode("utf-8", "replace"))
    return problem_of(found[1], found[2].strip()) if found and found[1] in ERRORS else None
