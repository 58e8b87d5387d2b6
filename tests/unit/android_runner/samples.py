"""Recorded outputs and ready-made requests for the adapter tests.

`data/` holds what the real tools printed on a virtual phone: llama.cpp 0.7.0 (Debian 1:0.7.0+dfsg-2, x86_64), and a
static llama.cpp 0.5.0-dev built from source. The model is SmolLM2-135M with random weights.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterable
from pathlib import Path

from android_runner.base import RunOutput, RunRequest
from android_runner.llama_repeated import SHORTEN
from harness.model import Artifact, ArtifactFile, ModelFile, RunnerBuild, Workload, WorkloadKind

DATA = Path(__file__).parent / "data"
MODEL = ModelFile(Artifact("model", "0" * 64, ()), "llama", 134_515_008, 49_152, 8192, 30)


def read(name: str) -> bytes:
    return (DATA / name).read_bytes()


def help_options(name: str) -> frozenset[str]:
    """Options that a recorded `--help` names."""
    words = read(name).decode().replace(",", " ").replace("=", " ").split()
    return frozenset(word for word in words if (word.startswith("-") and word[1:2].isalpha()) or word.startswith("--"))


OPTIONS = help_options("llama-bench-0.7.0.help") | help_options("llama-server-0.7.0.help")


def build(
    options: frozenset[str] | None = OPTIONS,
    libraries: tuple[str, ...] = ("libggml-base.so.0", "libggml-cpu-haswell.so"),
    programs: tuple[str, ...] = ("llama-bench", "llama-server"),
) -> RunnerBuild:
    files = tuple(ArtifactFile(name, name, 1, "0" * 64) for name in libraries)
    return RunnerBuild(Artifact("runner", "1" * 64, files), "x86_64", {name: name for name in programs}, options)


def throughput(**changes: object) -> Workload:
    workload = Workload(WorkloadKind.THROUGHPUT, prompt_tokens=32, gen_tokens=16)
    return dataclasses.replace(workload, **changes)  # type: ignore[arg-type]


def stream(**changes: object) -> Workload:
    workload = Workload(WorkloadKind.STREAM, prompt_tokens=32, gen_tokens=24)
    return dataclasses.replace(workload, **changes)  # type: ignore[arg-type]


def request(workload: Workload, prompt_text: str | None = None) -> RunRequest:
    return RunRequest(workload, MODEL, "/data/local/tmp/m.gguf", "/data/local/tmp/r", 2, 18080, prompt_text, 60.0)


def ended(
    stdout: bytes = b"",
    stderr: bytes = b"",
    *,
    exit_code: int | None = 0,
    signal: int | None = None,
    ended_by: str = "exit",
    stream: bytes | None = None,
    stamps: dict[str, float] | None = None,
) -> RunOutput:
    return RunOutput(exit_code, signal, ended_by, stdout, stderr, stream, stamps or {})


def served(answer: bytes, stderr: bytes = b"", stamps: dict[str, float] | None = None) -> RunOutput:
    """A server that answered and was ended by us."""
    return ended(b"", stderr, exit_code=None, signal=15, ended_by="server_done", stream=answer, stamps=stamps)


def shortened(answer: bytes) -> bytes:
    """An answer as a device keeps it where requests are repeated, by the real sed."""
    return subprocess.run(["sed", "-E", SHORTEN], input=answer, check=True, capture_output=True).stdout


def repeated(answer: bytes, stamps: Iterable[tuple[float, float]]) -> bytes:
    """The stream of requests with these device uptimes of request and answer."""
    return b"".join(b": requested=%.2f\n%s\n: answered=%.2f\n" % (asked, answer, got) for asked, got in stamps)


# --- farm-runner ------------------------------------------------------------------------------------------------------

RUNNER_EVENTS = {
    "stream": "farm-runner-stream.jsonl",
    "throughput": "farm-runner-throughput.jsonl",
    "sustained": "farm-runner-sustained.jsonl",
    "evict": "farm-runner-evict.jsonl",
}
"""What farm-runner wrote on a virtual phone, with Debian's llama.cpp; the requests were those of `runner_request`."""


def runner_request(name: str) -> RunRequest:
    """The request whose events are recorded under this name."""
    if name == "throughput":
        return request(throughput())
    if name == "sustained":
        return request(stream(kind=WorkloadKind.SUSTAINED, minutes=0.05))
    return request(stream(page_cache="evict" if name == "evict" else "keep"))


def runner_build(
    programs: tuple[str, ...] = ("farm-runner",), backends: frozenset[str] | None = frozenset()
) -> RunnerBuild:
    return dataclasses.replace(build(frozenset(), programs=programs), backends=backends)
