"""Content-addressed files on the device.

ROOT/store/SHA256/ holds an artifact whose hash was checked there; ROOT/store/SHA256.part/ one that is on its way. The
name itself is the marker: a folder gets it, by one rename, only after the hash was right.
"""

from __future__ import annotations

import re
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from device_agents.base import DAY_S, Deployed, Progress, Survey
from device_agents.posix.link import Link, pour, run_checked, shell_path, text_of
from device_agents.posix.packing import by_device_name, write_tar
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import MEGABYTE, Artifact, ArtifactFile

RESERVE_BYTES = 64 * MEGABYTE
"""Left free on the device for logs and samples of a job, and because Android misbehaves on a full /data."""

_SMALL_S = 30.0
"""Limit of a question about the store; a busy phone answers within a second."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

_NAMES_PER_CALL = 100

_STILL_GROWING = 5
"""Times a push begins anew because the partial file was not what it had been a moment before."""

_OTHER_SIZE = 9
"""Exit code of receive.sh for that."""

_WRITE = 'cat > "$1"'
_UNPACK = 'tar -x -f - -C "$1"'

_FINISH = """part=$1 final=$2; shift 2; cd "$part" || exit 1
for f; do chmod 755 "./$f" || exit 1; done; mv "$part" "$final" || exit 1"""

# Renamed first: a removal that is cut must not leave half an artifact under its checked name.
_REMOVE = """cd "$1" || exit 1; shift
for n; do t=trash.${n#trash.}; [ "$n" = "$t" ] || mv "$n" "$t" 2> /dev/null; rm -rf "$t" "$n"; done"""


class _StillGrowingError(Transient):
    """The partial file has another size than a moment ago."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class _Found:
    """What the store has of an artifact: its path when it is there, sizes of a cut push by name; free bytes if told."""

    path: str | None
    part: Mapping[str, int]
    free: int | None


@dataclass(frozen=True, slots=True)
class _Space:
    """Free bytes, what the store holds (least recently used first), and what jobs use (sha256)."""

    free: int
    entries: tuple[_Entry, ...]
    used: frozenset[str]


class PosixFiles:
    """`device_agents.base.Files` in the folder `root` of the device behind `link`."""

    in_apps = False

    def __init__(self, link: Link, root: str) -> None:
        self._link = link
        self._root = root
        self._store = shell_path(root, "store")

    def survey(self, artifacts: Sequence[Artifact], *, limit_s: float) -> Survey:
        found = self._look(artifacts, limit_s=limit_s)
        missing = {}
        for artifact in artifacts:
            there = found[artifact.sha256]
            expected = by_device_name(artifact)
            begun = sum(min(size, expected[name].size) for name, size in there.part.items() if name in expected)
            missing[artifact.sha256] = 0 if there.path is not None else artifact.size - begun
        paths = {sha256: each.path for sha256, each in found.items() if each.path is not None}
        free = next((each.free for each in found.values() if each.free is not None), None)
        if free is None and any(missing.values()):
            free = self._space(limit_s=limit_s).free
        return Survey(missing, paths, free)

    def ensure(
        self, artifact: Artifact, *, keep: frozenset[str], limit_s: float, progress: Progress | None = None
    ) -> Deployed:
        for _ in range(_STILL_GROWING):
            try:
                return self._ensure(artifact, keep, time.monotonic() + limit_s, progress)
            except _StillGrowingError:
                # What a cut push had left on its way was written after we looked: look again.
                continue
        return self._ensure(artifact, keep, time.monotonic() + limit_s, progress)

    def read_through(self, path: str, *, limit_s: float) -> None:
        run_checked(self._link, 'cat "$1" > /dev/null', path, limit_s=limit_s, doing="reading the model")

    def prune(self, keep: frozenset[str], unused_days: float, *, limit_s: float) -> tuple[str, ...]:
        deadline = time.monotonic() + limit_s
        script = text_of("unused.sh")
        output = run_checked(self._link, script, self._root, limit_s=limit_s, doing="looking for unused files")
        text = output.decode("utf-8", "replace")
        now = re.search(r"(?m)^now (\d+)$", text)
        if now is None:
            return ()
        before = int(now[1]) - unused_days * DAY_S
        used = keep | frozenset(re.findall(r"(?m)^uses ([0-9a-f]+)$", text))
        old = [name for at, name in re.findall(r"(?m)^used (\d+) (.+)$", text) if int(at) <= before]
        names = [name for name in old if _SHA256.fullmatch(_hash_of(name)) and _hash_of(name) not in used]
        if names:
            self._remove(names, limit_s=_left(deadline))
        return tuple(sorted({_hash_of(name) for name in names}))

    def _ensure(self, artifact: Artifact, keep: frozenset[str], deadline: float, progress: Progress | None) -> Deployed:
        started = time.monotonic()
        files = by_device_name(artifact)
        found = self._look((artifact,), limit_s=min(_left(deadline), _SMALL_S))[artifact.sha256]
        if found.path is not None:
            return Deployed(found.path, 0, 0, time.monotonic() - started)
        send = self._send_model if artifact.kind == "model" else self._send_folder
        resumed, removed = send(artifact, found, keep, deadline, progress)
        folder = shell_path(self._store, artifact.sha256)
        path = shell_path(folder, next(iter(files))) if artifact.kind == "model" else folder
        return Deployed(path, artifact.size - resumed, resumed, time.monotonic() - started, removed)

    # --- one file, hashed while it arrives ---

    def _send_model(
        self,
        artifact: Artifact,
        found: _Found,
        keep: frozenset[str],
        deadline: float,
        progress: Progress | None,
    ) -> tuple[int, tuple[str, ...]]:
        ((name, file),) = by_device_name(artifact).items()
        part = shell_path(self._store, f"{artifact.sha256}.part")
        resumed = found.part.get(name, 0)
        if resumed > file.size:
            resumed = 0
        removed = self._make_room(artifact, file.size - resumed, found.free, keep, deadline)
        shifted = None if progress is None else lambda done, _total: progress(resumed + done, file.size)
        mark = shell_path(self._root, f"mark.{uuid.uuid4().hex}")
        final = shell_path(self._store, artifact.sha256)
        script = (text_of("receive.sh"), part, name, str(resumed), mark, artifact.sha256, final)
        try:
            printed = self._pour(script, Path(file.path), resumed, file.size - resumed, deadline, shifted)
        except FarmError as error:
            raise self._explained(error, file.size - resumed, deadline) from error
        arrived = printed.decode("ascii", "replace").strip()
        if arrived != artifact.sha256:
            run_checked(self._link, 'rm -rf "$1"', part, limit_s=_left(deadline), doing="removing a wrong copy")
            raise Transient(
                f"{self._link.name}: {file.name} arrived with sha256 {arrived} in place of {artifact.sha256}; "
                "the copy was removed",
                error_class=ErrorClass.HASH_MISMATCH,
                advice="if it happens again, check the cable and the phone's storage",
                device=self._link.name,
            )
        return resumed, removed

    def _pour(
        self,
        script: tuple[str, ...],
        source: Path,
        offset: int,
        length: int,
        deadline: float,
        progress: Progress | None,
    ) -> bytes:
        """Feed a file to `script` (text and arguments), which has to succeed; returns what it printed."""
        result = pour(
            self._link,
            ("sh", "-c", script[0], "farm", *script[1:]),
            source,
            offset=offset,
            length=length,
            limit_s=_left(deadline),
            progress=progress,
        )
        if result.exit_code != 0:
            said = (result.stderr + result.stdout).decode("utf-8", "replace").strip()[-300:]
            kind = _StillGrowingError if result.exit_code == _OTHER_SIZE else Transient
            raise kind(
                f"{self._link.name}: the transfer of {source.name} ended early: {said or 'no message'}",
                error_class=ErrorClass.PUSH_FAILED,
                advice="farm goes on where it stopped when the push is repeated",
                device=self._link.name,
            )
        return result.stdout

    # --- many files, hashed when they are there ---

    def _send_folder(
        self,
        artifact: Artifact,
        found: _Found,
        keep: frozenset[str],
        deadline: float,
        progress: Progress | None,
    ) -> tuple[int, tuple[str, ...]]:
        files = by_device_name(artifact)
        part = shell_path(self._store, f"{artifact.sha256}.part")
        candidates = [name for name, size in found.part.items() if name in files and files[name].size == size]
        digests = self._digests(part, candidates, deadline)
        missing = [name for name in files if digests.get(name) != files[name].sha256]
        resumed = artifact.size - sum(files[name].size for name in missing)
        removed = self._make_room(artifact, artifact.size - resumed, found.free, keep, deadline)
        try:
            wanted = {name: files[name] for name in missing}
            self._send_missing(part, wanted, resumed, artifact.size, deadline, progress)
        except FarmError as error:
            raise self._explained(error, artifact.size - resumed, deadline) from error
        digests = self._digests(part, missing, deadline)
        wrong = [name for name in missing if digests[name] != files[name].sha256]
        if wrong:
            raise Transient(
                f"{self._link.name}: {len(wrong)} of {len(missing)} files arrived with another hash, first {wrong[0]}",
                error_class=ErrorClass.HASH_MISMATCH,
                advice="farm sends these again when the push is repeated",
                device=self._link.name,
            )
        programs = [name for name, file in files.items() if file.executable]
        final = shell_path(self._store, artifact.sha256)
        run_checked(self._link, _FINISH, part, final, *programs, limit_s=_left(deadline), doing="completing the push")
        return resumed, removed

    def _send_missing(
        self,
        part: str,
        missing: Mapping[str, ArtifactFile],
        before: int,
        total: int,
        deadline: float,
        progress: Progress | None,
    ) -> None:
        folders = sorted({str(PurePosixPath(part, name).parent) for name in missing} | {part})
        has_tar = run_checked(
            self._link,
            'mkdir -p "$@" && { command -v tar || true; }',
            *folders,
            limit_s=_left(deadline),
            doing="preparing the push",
        )
        if not missing:
            return
        if has_tar.strip():
            with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
                length = write_tar(Path(archive.name), missing)
                scaled = None if progress is None else lambda done, _all: progress(min(before + done, total), total)
                self._pour((_UNPACK, part), Path(archive.name), 0, length, deadline, scaled)
            return
        done = before
        for name, file in missing.items():
            self._pour((_WRITE, shell_path(part, name)), Path(file.path), 0, file.size, deadline, None)
            done += file.size
            if progress is not None:
                progress(done, total)

    def _digests(self, folder: str, names: list[str], deadline: float) -> dict[str, str]:
        found: dict[str, str] = {}
        for first in range(0, len(names), _NAMES_PER_CALL):
            some = names[first : first + _NAMES_PER_CALL]
            lines = run_checked(
                self._link, text_of("digests.sh"), folder, *some, limit_s=_left(deadline), doing="hashing"
            ).split(b"\n")
            hashes = [line.split(b" ")[0].decode("ascii", "replace") for line in lines]
            found.update(zip(some, hashes, strict=False))
        return found

    # --- the store ---

    def _look(self, artifacts: Sequence[Artifact], *, limit_s: float) -> dict[str, _Found]:
        """What the store has of each artifact, and the free space when something is missing."""
        words = tuple(artifact.sha256 for artifact in artifacts)
        output = run_checked(
            self._link, text_of("look.sh"), self._store, *words, limit_s=limit_s, doing="looking at the store"
        )
        text = output.decode("utf-8", "replace")
        free = _free_bytes(text)
        parts = dict(re.findall(r"(?ms)^artifact ([0-9a-f]+)\n(.*?)(?=^artifact |^free |\Z)", text))
        return {each.sha256: self._found(each, parts.get(each.sha256, ""), free, limit_s) for each in artifacts}

    def _found(self, artifact: Artifact, listing: str, free: int | None, limit_s: float) -> _Found:
        state, _, lines = listing.partition("\n")
        rows = re.findall(rf"(?m)^ *(\d+) {artifact.sha256}(?:\.part)?/(.*)$", lines)
        sizes = {name: int(size) for size, name in rows}
        folder = shell_path(self._store, artifact.sha256)
        present = sizes if state == "present" else {}
        if artifact.kind == "model":
            complete = [name for name, size in present.items() if size == artifact.size]
            if complete:
                return _Found(shell_path(folder, complete[0]), {}, free)
        elif present and present == {name: file.size for name, file in by_device_name(artifact).items()}:
            return _Found(folder, {}, free)
        if state == "present":
            # Something else changed it after it was checked: it is no longer what its name says.
            self._remove([artifact.sha256], limit_s=limit_s)
        return _Found(None, sizes if state == "part" else {}, free)

    def _space(self, *, limit_s: float) -> _Space:
        script = text_of("space.sh")
        output = run_checked(self._link, script, self._root, limit_s=limit_s, doing="asking for free space")
        text = output.decode("utf-8", "replace")
        free = _free_bytes(text)
        if free is None:
            raise Transient(
                f"{self._link.name}: df gives no free space: {text[:200]!r}",
                error_class=ErrorClass.INTERNAL,
                device=self._link.name,
            )
        entries = tuple(_Entry(name, int(size) * 1024) for size, name in re.findall(r"(?m)^keeps (\d+) (.+)$", text))
        return _Space(free, entries, frozenset(re.findall(r"(?m)^uses ([0-9a-f]+)$", text)))

    def _make_room(
        self, artifact: Artifact, needed: int, free: int | None, keep: frozenset[str], deadline: float
    ) -> tuple[str, ...]:
        """Remove the least recently used until `needed` bytes fit; nothing when they cannot.

        Args:
            free: bytes, as seen a moment before; the store is asked in full only when that is not enough or not known.
        """
        wanted = needed + RESERVE_BYTES
        if free is not None and free >= wanted:
            return ()
        space = self._space(limit_s=_left(deadline))
        if space.free >= wanted:
            return ()
        own = {artifact.sha256, f"{artifact.sha256}.part"}
        kept = keep | space.used
        removable = [entry for entry in space.entries if entry.name not in own and _hash_of(entry.name) not in kept]
        chosen: list[_Entry] = []
        for entry in removable:
            if space.free + sum(each.size for each in chosen) >= wanted:
                break
            chosen.append(entry)
        if space.free + sum(each.size for each in chosen) < wanted:
            raise self._storage_full(needed, space, sum(entry.size for entry in removable))
        self._remove([entry.name for entry in chosen], limit_s=_left(deadline))
        return tuple(_hash_of(entry.name) for entry in chosen)

    def _remove(self, names: Iterable[str], *, limit_s: float) -> None:
        run_checked(self._link, _REMOVE, self._store, *names, limit_s=limit_s, doing="removing old files")

    def _storage_full(self, needed: int, space: _Space, removable: int) -> Permanent:
        held = sum(entry.size for entry in space.entries) - removable
        return Permanent(
            f"{self._link.name}: {needed / MEGABYTE:.0f} MB needed (and {RESERVE_BYTES / MEGABYTE:.0f} MB kept free), "
            f"{space.free / MEGABYTE:.0f} MB free, {removable / MEGABYTE:.0f} MB more by removing unused models, "
            f"{held / MEGABYTE:.0f} MB of the store in use",
            error_class=ErrorClass.STORAGE_FULL,
            advice="delete files on the phone or choose a smaller model",
            device=self._link.name,
        )

    def _explained(self, error: FarmError, needed: int, deadline: float) -> FarmError:
        """`error`, or that the device ran out of space, when that is why."""
        if error.error_class is not ErrorClass.PUSH_FAILED or "space left" not in error.message:
            return error
        try:
            space = self._space(limit_s=min(_SMALL_S, _left(deadline)))
        except FarmError:
            return error
        return self._storage_full(needed, space, 0)


def _free_bytes(text: str) -> int | None:
    """Free bytes in a line "free" with the answer of `df -P -k`."""
    row = re.search(r"(?m)^free .*?(\d+) +(\d+) +(-?\d+) +\d+% ", text)
    return None if row is None else max(int(row[3]), 0) * 1024


def _hash_of(entry: str) -> str:
    return entry.removeprefix("trash.").removesuffix(".part")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Transient(
            "the deploy took longer than its limit",
            error_class=ErrorClass.TIMED_OUT,
            advice="it goes on where it stopped when it is repeated",
        )
    return left
