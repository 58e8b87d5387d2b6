"""Jobs that run on the device detached from the controller, one folder each under ROOT/jobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, cast

from device_agents.base import EndedBy, JobHandle, JobOutput, JobSpec, JobState, ShellResult
from device_agents.posix.link import Link, LinkShell, run_checked, shell_path, text_of
from device_agents.posix.spec import (
    FILES,
    Tools,
    check,
    ending,
    pairs,
    request_bytes,
    spec_text,
    stamps_of,
    suspended,
)
from harness.errors import ErrorClass, Permanent, Transient

OUTPUT_BYTES_MAX = 64 * 1024 * 1024
"""Most that is fetched of one file; what a job leaves beyond it is the end of a runaway log."""

_FETCHED = ("stdout", "stderr", "stream", "samples", "stamps", "clocks", "placement", "result", "pid")

_COLLECT = """cd "$1" || exit 1; shift; max=$1; shift
have=; for f; do [ ! -f "$f" ] || have="$have $f"; done
wc -c $have || exit 2; echo end
head -q -c "$max" $have || exit 2"""

_INSTALL = 'mkdir -p "${1%/*}" && cat > "$1.new" && mv "$1.new" "$1"'

_LAY = """if [ -e "$1/pid" ] || [ -e "$1/result" ]; then exit 91; fi
case $2 in */*) folder=$1/${2%/*} ;; *) folder=$1 ;; esac
mkdir -p "$folder" && cat > "$1/$2" || exit 93"""
"""Lays standard input as file $2 into the job folder $1; the codes are those of start.sh."""

_NOT_INSTALLED = 90
"""Exit code of start.sh for that."""

_LIVE = 'sh -c "$1" poll "$2" "$3" "$4"; [ ! -r "$2/samples" ] || tail -c 16384 "$2/samples"'

Live = Callable[[bytes], Mapping[str, float]]
"""From the end of the file `samples` to the newest readings."""


class PosixJobs:
    """`device_agents.base.Jobs` in the folder `root` of the device behind `link`.

    Args:
        tools: what the device has or lacks.
        sampler: text of the sampler script, None where the device cannot be sampled.
        live: reads the newest readings for `poll`.
    """

    def __init__(self, link: Link, root: str, tools: Tools, sampler: str | None, live: Live | None = None) -> None:
        self._link = link
        self._root = root
        self._jobs = shell_path(root, "jobs")
        self._tools = tools
        self._sampler = sampler
        self._live = live

    def start(self, spec: JobSpec, *, limit_s: float) -> JobHandle:
        check(spec, self._tools)
        folder = self._folder(spec.key)
        supervisor = self._script_path(text_of("supervisor.sh"), "supervisor")
        sampler = self._script_path(self._sampler, "sampler") if self._sampler and spec.sampling else ""
        self._lay_files(spec, folder, limit_s)
        text = spec_text(spec, self._tools, sampler).encode("utf-8", "surrogateescape")
        shell, words = LinkShell(self._link), (text_of("start.sh"), folder, supervisor, sampler)
        result = shell.script(*words, limit_s=limit_s, stdin=text)
        if result.exit_code == _NOT_INSTALLED:
            self._install(limit_s)
            result = shell.script(*words, limit_s=limit_s, stdin=text)
        if result.exit_code != 0:
            raise self._not_started(spec, result)
        return JobHandle(spec.key, folder, _boot_of(result.stdout))

    def _lay_files(self, spec: JobSpec, folder: str, limit_s: float) -> None:
        """What the job reads: the request of a driven server, and the files of the command."""
        contents = {f"{FILES}/{name}": content for name, content in spec.files.items()}
        if spec.http is not None:
            contents["request"] = request_bytes(spec.http)
        for name, content in contents.items():
            result = LinkShell(self._link).script(_LAY, folder, name, limit_s=limit_s, stdin=content)
            if result.exit_code != 0:
                raise self._not_started(spec, result)

    def poll(
        self, handle: JobHandle, *, limit_s: float, wait_s: float = 0.0, watch: Callable[[], None] | None = None
    ) -> JobState:
        tenths = str(round(10 * min(wait_s, limit_s / 2)))
        words = ("sh", "-c", _LIVE, "farm", text_of("poll.sh"), handle.folder, handle.boot_id, tenths)
        running = self._link.start(words)
        try:
            result = running.wait(limit_s=limit_s, watch=watch)
        finally:
            running.kill()
        first, _, rest = result.stdout.partition(b"\n")
        word, _, detail = first.decode("utf-8", "replace").partition(" ")
        if word not in ("running", "done", "lost"):
            raise Transient(
                f"{self._link.name}: asked for job {handle.key}, the device said {first[:100]!r}",
                error_class=ErrorClass.INTERNAL,
                device=self._link.name,
            )
        live = self._live(rest) if self._live is not None and word == "running" else {}
        if word != "lost":
            return JobState(cast(Literal["running", "done"], word), live=live)
        reasons = {
            "boot": ("the device restarted", ErrorClass.DEVICE_REBOOTED),
            "gone": ("all its processes are gone without a result", self._link.lost_with_processes()),
            "folder": ("its folder is gone", ErrorClass.INTERNAL),
        }
        text, error_class = reasons.get(detail, (detail, ErrorClass.INTERNAL))
        return JobState("lost", text, error_class=error_class)

    def collect(self, handle: JobHandle, into: Path, *, limit_s: float) -> JobOutput:
        output = run_checked(
            self._link,
            _COLLECT,
            handle.folder,
            str(OUTPUT_BYTES_MAX),
            *_FETCHED,
            limit_s=limit_s,
            doing=f"collecting job {handle.key}",
        )
        contents = _unpack(output)
        if "result" not in contents:
            raise Transient(
                f"{self._link.name}: job {handle.key} has no result yet",
                error_class=ErrorClass.INTERNAL,
                device=self._link.name,
            )
        into.mkdir(parents=True, exist_ok=True)
        names = ("stdout", "stderr", "stream", "samples")
        files: dict[str, Path] = {name: into / name for name in names if name in contents}
        for name, path in files.items():
            path.write_bytes(contents[name])
        texts = {name: content.decode("utf-8", "replace") for name, content in contents.items() if name not in files}
        exit_code, signal, ended_by = ending(pairs(texts["result"]))
        return JobOutput(
            exit_code=exit_code,
            signal=signal,
            ended_by=cast(EndedBy, ended_by),
            stamps=stamps_of(texts.get("stamps", "")),
            files=files,
            boot_id=_boot_of(contents.get("pid", b"")),
            placement=pairs(texts.get("placement", "")),
            suspended_s=suspended(texts.get("clocks", "")),
        )

    def end(self, handle: JobHandle, *, limit_s: float) -> None:
        self._end((handle.folder,), limit_s)

    def reap(self, *, limit_s: float) -> tuple[str, ...]:
        pattern = re.sub(r"([\[\].*^$\\])", r"\\\1", self._jobs)
        output = run_checked(
            self._link, text_of("list.sh"), self._jobs, pattern, limit_s=limit_s, doing="looking for left-over jobs"
        )
        folders = sorted(set(output.decode("utf-8", "replace").splitlines()))
        if folders:
            self._end(tuple(folders), limit_s)
        return tuple(folder.rsplit("/", 1)[1] for folder in folders)

    def find(self, key: str, *, limit_s: float) -> JobHandle | None:
        folder = self._folder(key)
        output = run_checked(
            self._link,
            'if [ -s "$1/pid" ]; then cat "$1/pid"; fi',
            folder,
            limit_s=limit_s,
            doing="looking for a job",
        )
        return JobHandle(key, folder, _boot_of(output)) if output else None

    def _folder(self, key: str) -> str:
        return shell_path(self._jobs, key)

    def _script_path(self, text: str, name: str) -> str:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return shell_path(self._root, "bin", digest, f"{name}.sh")

    def _install(self, limit_s: float) -> None:
        for text, name in ((text_of("supervisor.sh"), "supervisor"), (self._sampler, "sampler")):
            if text is not None:
                path = self._script_path(text, name)
                run_checked(
                    self._link, _INSTALL, path, limit_s=limit_s, stdin=text.encode(), doing="installing farm's scripts"
                )

    def _end(self, folders: tuple[str, ...], limit_s: float) -> None:
        result = LinkShell(self._link).script(text_of("end.sh"), *folders, limit_s=limit_s)
        if result.exit_code != 0:
            left = result.stdout.decode("utf-8", "replace").strip()
            raise Transient(
                f"{self._link.name}: processes of farm do not end: {left or 'no detail'}",
                error_class=ErrorClass.INTERNAL,
                advice="restart the phone",
                device=self._link.name,
            )

    def _not_started(self, spec: JobSpec, result: ShellResult) -> Permanent | Transient:
        name, code = self._link.name, result.exit_code
        said = result.stderr.decode("utf-8", "replace").strip()[-400:]
        if code == 91:
            return Permanent(
                f"{name}: a job {spec.key} is there already",
                error_class=ErrorClass.INTERNAL,
                advice="find or end it first",
                device=name,
            )
        if code == 94:
            return Permanent(
                f"{name}: {self._tools.taskset[0]} is absent, so the job cannot be pinned to cores",
                error_class=ErrorClass.WORKLOAD_UNSUPPORTED,
                advice="leave the cores to the system",
                device=name,
            )
        if "No space left" in said or code == 93:
            return Permanent(
                f"{name}: the job's folder cannot be written: {said or 'no message'}",
                error_class=ErrorClass.STORAGE_FULL,
                advice="delete files on the phone",
                device=name,
            )
        return Transient(
            f"{name}: the job did not start (code {code}): {said or 'no message'}",
            error_class=ErrorClass.INTERNAL,
            device=name,
        )


def _boot_of(pid_file: bytes) -> str:
    lines = pid_file.decode("utf-8", "replace").splitlines()
    return lines[1].strip() if len(lines) > 1 else ""


def _unpack(output: bytes) -> dict[str, bytes]:
    """The files in the output of the collecting script."""
    found: dict[str, bytes] = {}
    listing, _, contents = output.partition(b"end\n")
    at = 0
    for size_text, name in re.findall(rb"(?m)^ *(\d+) (\S+)$", listing):
        if name == b"total":
            continue
        size = min(int(size_text), OUTPUT_BYTES_MAX)
        found[name.decode("ascii", "replace")] = contents[at : at + size]
        at += size
    return found
