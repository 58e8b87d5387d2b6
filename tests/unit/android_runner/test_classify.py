"""How a runner ended → error class, over recorded messages of the real tools."""

from __future__ import annotations

import pytest

from android_runner.classify import bad_end, classify
from harness.errors import ErrorClass

from . import samples


@pytest.mark.parametrize(
    ("exit_code", "recorded", "error_class"),
    [
        (1, "llama-bench-0.7.0-truncated.stderr", ErrorClass.MODEL_TRUNCATED),
        (1, "llama-bench-0.7.0-unknown-architecture.stderr", ErrorClass.MODEL_UNSUPPORTED),
        (1, "llama-bench-0.7.0-weights-allocation.stderr", ErrorClass.ALLOCATION_FAILED),
        (1, "llama-bench-0.7.0-compute-allocation.stderr", ErrorClass.ALLOCATION_FAILED),
        (1, "llama-bench-0.7.0-flash-attn-off.stderr", ErrorClass.CONFIGURATION_UNSUPPORTED),
        (1, "llama-server-0.7.0-flash-attn-off.stderr", ErrorClass.CONFIGURATION_UNSUPPORTED),
        (1, "llama-bench-0.7.0-unknown-option.stderr", ErrorClass.OPTION_UNKNOWN),
        (1, "llama-server-0.7.0-unknown-option.stderr", ErrorClass.OPTION_UNKNOWN),
        (1, "llama-bench-0.7.0-garbage.stderr", ErrorClass.MODEL_INVALID),
        (1, "llama-bench-0.7.0-missing.stderr", ErrorClass.MODEL_INVALID),
        (127, "llama-bench-0.7.0-no-library.stderr", ErrorClass.LIBRARY_MISSING),
        (1, "llama-server-0.7.0-port-refused.stderr", ErrorClass.PORT_IN_USE),
        (126, "mksh-other-machine.stderr", ErrorClass.RUNNER_ABI),
        (126, "mksh-not-executable.stderr", ErrorClass.RUNNER_NOT_EXECUTABLE),
    ],
)
def test_recorded_messages(exit_code: int, recorded: str, error_class: ErrorClass) -> None:
    problem = classify(exit_code, None, samples.read(recorded))
    assert problem.error_class is error_class
    assert problem.message
    assert problem.advice
    assert problem.transient is (error_class is ErrorClass.PORT_IN_USE)


@pytest.mark.parametrize(
    ("exit_code", "stderr", "error_class"),
    [
        (126, b"sh: ./llama-bench: Exec format error", ErrorClass.RUNNER_ABI),
        (126, b"", ErrorClass.RUNNER_NOT_EXECUTABLE),
        (127, b'CANNOT LINK EXECUTABLE "llama-bench": library "libomp.so" not found', ErrorClass.LIBRARY_MISSING),
        (127, b"sh: llama-bench: inaccessible or not found", ErrorClass.RUNNER_MISSING),
        (1, b"mmap failed: Cannot allocate memory", ErrorClass.ALLOCATION_FAILED),
        (1, b"failed to load model", ErrorClass.MODEL_INVALID),
        (1, b"Error 0x22", ErrorClass.MODEL_MISSING),
        (1, b"load failed with error: 0x23", ErrorClass.MODEL_INVALID),
        (3, b"something else", ErrorClass.RUNNER_FAILED),
        (None, b"", ErrorClass.RUNNER_FAILED),
    ],
)
def test_other_ends(exit_code: int | None, stderr: bytes, error_class: ErrorClass) -> None:
    assert classify(exit_code, None, stderr).error_class is error_class


@pytest.mark.parametrize(
    ("number", "error_class"),
    [
        (4, ErrorClass.ILLEGAL_INSTRUCTION),
        (6, ErrorClass.CRASHED),
        (7, ErrorClass.CRASHED),
        (9, ErrorClass.KILLED),
        (11, ErrorClass.CRASHED),
        (15, ErrorClass.KILLED),
    ],
)
def test_a_signal_and_a_shell_s_report_of_it_are_the_same(number: int, error_class: ErrorClass) -> None:
    assert classify(None, number, b"").error_class is error_class
    assert classify(128 + number, None, b"").error_class is error_class


def test_a_kill_is_out_of_memory_only_with_evidence() -> None:
    said = b"Cannot allocate memory"
    assert classify(137, None, said).error_class is ErrorClass.KILLED
    evidence = "lowmemorykiller: Kill 'llama-bench' (4711)"
    problem = classify(137, None, said, kill_evidence=evidence)
    assert problem.error_class is ErrorClass.OUT_OF_MEMORY
    assert evidence in problem.message


def test_how_it_was_ended_counts_before_what_it_said() -> None:
    late = bad_end(samples.ended(b"", b"not within the file bounds", exit_code=None, signal=9, ended_by="limit"))
    assert late is not None
    assert late.error_class is ErrorClass.TIMED_OUT
    cancelled = bad_end(samples.ended(exit_code=None, signal=15, ended_by="cancel"))
    assert cancelled is not None
    assert cancelled.error_class is ErrorClass.INTERRUPTED
    assert bad_end(samples.ended()) is None
    assert bad_end(samples.ended(exit_code=None, signal=15, ended_by="server_done"), server=True) is None


def test_a_server_that_dies_before_it_is_ready_is_classified_by_what_it_said() -> None:
    output = samples.ended(b"", samples.read("llama-bench-0.7.0-truncated.stderr"), exit_code=1, ended_by="not_ready")
    problem = bad_end(output, server=True)
    assert problem is not None
    assert problem.error_class is ErrorClass.MODEL_TRUNCATED
