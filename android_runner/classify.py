"""Why a runner ended badly: exit code, signal and what it said → one error class with advice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from android_runner.base import Problem, RunOutput
from harness.errors import ErrorClass

_SIGNALS_OF_CRASHES = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV"}
_SIGKILL = 9
_SHELL_SIGNAL_BASE = 128
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class _Text:
    """A text in the runner's error output that names the cause."""

    pattern: re.Pattern[str]
    error_class: ErrorClass
    meaning: str
    advice: str
    transient: bool = False


_TEXTS = (
    _Text(
        re.compile(r"CANNOT LINK EXECUTABLE|error while loading shared libraries|library \S+ not found"),
        ErrorClass.LIBRARY_MISSING,
        "a shared library is missing",
        "add the library to the runner's folder, or take the complete release archive",
    ),
    _Text(
        re.compile(r"[Ee]xec format error|not executable: .*ELF"),
        ErrorClass.RUNNER_ABI,
        "its programs are for another machine",
        "take a build for the phone's ABI",
    ),
    _Text(
        re.compile(r"couldn't bind|[Aa]ddress already in use"),
        ErrorClass.PORT_IN_USE,
        "the server's port is taken",
        "another server runs on the phone; farm takes another port on the next attempt",
        transient=True,
    ),
    _Text(
        re.compile(r"not within the file bounds"),
        ErrorClass.MODEL_TRUNCATED,
        "the model file ends too early",
        "get the model file again and give its sha256 in the inventory",
    ),
    _Text(
        re.compile(r"unknown model architecture"),
        ErrorClass.MODEL_UNSUPPORTED,
        "the build does not know the model's architecture",
        "take a newer build of the runtime",
    ),
    _Text(
        re.compile(
            r"[Cc]annot allocate memory|failed to allocate (?:\S+ )?buffers?|unable to allocate \S+ buffer|bad_alloc"
        ),
        ErrorClass.ALLOCATION_FAILED,
        "memory could not be allocated",
        "take a smaller model, quantisation or context for this phone",
    ),
    _Text(
        re.compile(r"failed to create (?:llama_)?context|failed to initialize the context"),
        ErrorClass.CONFIGURATION_UNSUPPORTED,
        "the runtime cannot do this configuration",
        "change kv_type, flash_attn or context of the workload",
    ),
    _Text(
        re.compile(r"invalid argument|invalid parameter for argument|unknown argument|unrecognized option"),
        ErrorClass.OPTION_UNKNOWN,
        "the build does not take the command line",
        "take another build, or remove the option from the workload's args",
    ),
    _Text(
        re.compile(r"(?i:error)\D{0,40}0x0*22\b"),
        ErrorClass.MODEL_MISSING,
        "the model file could not be opened",
        "check the path of the model",
    ),
    _Text(
        re.compile(r"(?i:error)\D{0,40}0x0*23\b"),
        ErrorClass.MODEL_INVALID,
        "the model file is truncated or of another kind",
        "get the model file again and give its sha256 in the inventory",
    ),
    _Text(
        re.compile(r"failed to load model|error loading model"),
        ErrorClass.MODEL_INVALID,
        "the model could not be loaded, without a reason given",
        "check that the file is a whole GGUF: farm models list",
    ),
)
"""In order of precedence: what names a cause closely stands before what only says that loading failed."""

_QUOTED = 200


def classify(exit_code: int | None, signal: int | None, stderr: bytes, *, kill_evidence: str = "") -> Problem:
    """The class of a bad end.

    Args:
        exit_code: of the command; a shell reports a signal S as 128 + S.
        signal: number, or None.
        stderr: what the runner said; any bytes.
        kill_evidence: the line of the kernel's or lmkd's log that names our process; without it a SIGKILL is no proof
            of a lack of memory.
    """
    if signal is None and exit_code is not None and _SHELL_SIGNAL_BASE < exit_code <= _SHELL_SIGNAL_BASE + 64:
        signal = exit_code - _SHELL_SIGNAL_BASE
    text = stderr.decode("utf-8", "replace")
    if signal is not None:
        return _of_signal(signal, text, kill_evidence)
    for known in _TEXTS:
        found = known.pattern.search(text)
        if found:
            said = _line_around(text, found.start())
            return Problem(known.error_class, f"{known.meaning}: {said}", known.advice, known.transient)
    if exit_code == _NOT_EXECUTABLE:
        return Problem(
            ErrorClass.RUNNER_NOT_EXECUTABLE,
            f"the program cannot be executed on the device{_last_words(text)}",
            "check the build's ABI and that the folder on the phone is not mounted noexec",
        )
    if exit_code == _NOT_FOUND:
        return Problem(
            ErrorClass.RUNNER_MISSING,
            f"the program, or the loader it asks for, is not on the device{_last_words(text)}",
            "take a build made for Android (its loader is /system/bin/linker64)",
        )
    return Problem(
        ErrorClass.RUNNER_FAILED, f"the runner ended with exit code {exit_code}{_last_words(text)}", "see the log's end"
    )


def _of_signal(signal: int, text: str, kill_evidence: str) -> Problem:
    if signal == _SIGKILL:
        if kill_evidence:
            return Problem(
                ErrorClass.OUT_OF_MEMORY,
                f"the system killed the runner for lack of memory: {kill_evidence[:_QUOTED]}",
                "take a smaller model, quantisation or context for this phone",
            )
        return Problem(
            ErrorClass.KILLED,
            "the runner was killed (SIGKILL); no log says by whom",
            "if it happens again, suspect memory: compare the model's size with the phone's free memory",
        )
    if signal == 4:
        return Problem(
            ErrorClass.ILLEGAL_INSTRUCTION,
            "the runner used an instruction that this processor does not have (SIGILL)",
            "take a build for a lower instruction set level, or one that chooses at start (GGML_CPU_ALL_VARIANTS)",
        )
    if signal in _SIGNALS_OF_CRASHES:
        name = _SIGNALS_OF_CRASHES[signal]
        return Problem(ErrorClass.CRASHED, f"the runner crashed ({name}){_last_words(text)}", "see the log's end")
    return Problem(
        ErrorClass.KILLED, f"the runner was ended by signal {signal}{_last_words(text)}", "was it ended by hand?"
    )


def _line_around(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    return text[start : end if end >= 0 else len(text)].strip()[:_QUOTED]


def _last_words(text: str) -> str:
    """The last line said, as ": LINE", or "" when nothing was said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1][:_QUOTED]}" if lines else ""


def bad_end(output: RunOutput, *, server: bool = False) -> Problem | None:
    """Why a run did not end as it should, or None.

    Args:
        server: the command is a driven server: it ends by our signal after its answer, by itself only when it
            fails.
    """
    if output.ended_by == "limit":
        return Problem(
            ErrorClass.TIMED_OUT,
            "the runner did not end within its limit",
            "a smaller workload, or --max-hours and limits that fit this phone",
        )
    if output.ended_by == "cancel":
        return Problem(ErrorClass.INTERRUPTED, "the run was cancelled", "farm resume goes on", transient=True)
    if server and output.ended_by == "server_done":
        return None
    if output.ended_by == "not_ready" and output.exit_code is None:
        return Problem(
            ErrorClass.TIMED_OUT,
            f"the server never became ready{_last_words(output.stderr.decode('utf-8', 'replace'))}",
            "see the log's end; loading may be too slow for the limit",
        )
    if not server and output.exit_code == 0 and output.signal is None:
        return None
    return classify(output.exit_code, output.signal, output.stderr)
