"""Models in the app's Documents, named by their hash, and the app itself.

farm/models/SHA256.gguf holds a model whose hash the app has checked; SHA256.gguf.part one that is on its way. The name
is the marker: it is given, by one rename, only after the check. What was used last is told by the time of a file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from device_agents.base import DAY_S, Deployed, Progress, Survey
from device_agents.ios.check import check_file, probe
from device_agents.ios.failures import typed
from device_agents.ios.phone import JOBS, MODELS, ROOT, Phone
from device_agents.ios.versions import version_of
from harness.artifacts.ipa import AppPackage, expired, read_ipa
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import MEGABYTE, Artifact, ArtifactFile

RESERVE_BYTES = 200 * MEGABYTE
"""Left free on the phone: iOS begins to purge and to warn when its storage is nearly full."""

STALL_S = 30.0
"""A push that moves no byte for this long is given up."""

_SMALL_S = 30.0
_LOOK_S = 20.0
_HASH_BYTES_PER_S = 100 * MEGABYTE
_MARK = f"{ROOT}/app.json"
_SUFFIXES = (".gguf", ".pte")


class IosFiles:
    """`device_agents.base.Files` of an iPhone; a runner is an .ipa, and its path is the app's bundle."""

    in_apps = True

    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    def survey(self, artifacts: Sequence[Artifact], *, limit_s: float) -> Survey:
        packages = {each.sha256: _package(each) for each in artifacts if each.kind == "runner"}
        for package in packages.values():
            self._phone.bundle = package.bundle
        apps = self._phone.apps(limit_s=limit_s)
        app = apps.get(self._phone.bundle)
        there = self._phone.listing(MODELS, limit_s=limit_s) if app is not None else {}
        missing: dict[str, int] = {}
        paths: dict[str, str] = {}
        for artifact in artifacts:
            sha256 = artifact.sha256
            if sha256 in packages:
                present = app is not None and self._is_same(artifact, packages[sha256], app, limit_s)
                missing[sha256] = 0 if present else artifact.size
                if present:
                    paths[sha256] = packages[sha256].bundle
            elif _size(there, _name(artifact)) == artifact.size:
                missing[sha256] = 0
                paths[sha256] = f"{MODELS}/{_name(artifact)}"
            else:
                begun = _size(there, f"{_name(artifact)}.part") or 0
                missing[sha256] = artifact.size - min(begun, artifact.size)
        free = self._free(app is not None, limit_s) if any(missing.values()) else None
        return Survey(missing, paths, free)

    def ensure(
        self, artifact: Artifact, *, keep: frozenset[str], limit_s: float, progress: Progress | None = None
    ) -> Deployed:
        started = time.monotonic()
        deadline = started + limit_s
        if artifact.kind == "runner":
            pushed = self._ensure_app(artifact, deadline, progress)
            return Deployed(self._phone.bundle, pushed, 0, time.monotonic() - started)
        pushed, resumed, removed = self._ensure_model(artifact, keep, deadline, progress)
        return Deployed(f"{MODELS}/{_name(artifact)}", pushed, resumed, time.monotonic() - started, removed)

    def read_through(self, path: str, *, limit_s: float) -> None:
        """By the app, which hashes what it reads: nothing goes over the cable."""
        about = self._phone.stat(path, limit_s=limit_s)
        if about is None:
            raise typed(self._phone.udid, "not_found", path, "reading the model")
        name = PurePosixPath(path).name
        self._require(path, name, int(about["size"]), _hash_of(name), time.monotonic() + limit_s)

    def prune(self, keep: frozenset[str], unused_days: float, *, limit_s: float) -> tuple[str, ...]:
        deadline = time.monotonic() + limit_s
        # farm sets the time of a file by this host's clock when it uses it; the phone's own is set by the network.
        before = time.time() - unused_days * DAY_S
        removed: set[str] = set()
        for bundle in self._phone.bundles(limit_s=_left(deadline)):
            there = self._phone.listing(MODELS, limit_s=_left(deadline), bundle=bundle)
            used = keep | self._in_use(deadline, bundle)
            for name, about in there.items():
                sha256 = _hash_of(name)
                if sha256 and sha256 not in used and float(str(about["mtime"])) <= before:
                    self._phone.remove(f"{MODELS}/{name}", limit_s=_left(deadline), bundle=bundle)
                    removed.add(sha256)
        return tuple(sorted(removed))

    # --- the app ------------------------------------------------------------------------------------------------------

    def _ensure_app(self, artifact: Artifact, deadline: float, progress: Progress | None) -> int:
        """Install the app where it is absent or another build; returns the bytes that were sent."""
        package = _package(artifact)
        self._phone.bundle = package.bundle
        self._may_install(package, deadline)
        installed = self._phone.apps(limit_s=min(_LOOK_S, _left(deadline))).get(package.bundle)
        if installed is not None and self._is_same(artifact, package, installed, _left(deadline)):
            return 0
        total = artifact.size
        scaled = None if progress is None else lambda percent, _all: progress(total * min(percent, 99) // 100, total)
        (file,) = artifact.files
        self._phone.ask(
            "install",
            package=str(Path(file.path).absolute()),
            limit_s=_left(deadline),
            doing=f"installing {package.bundle} {package.version}",
            progress=scaled,
        )
        installed = self._phone.apps(limit_s=_left(deadline)).get(package.bundle)
        if installed is None:
            raise typed(self._phone.udid, "install", "the phone does not list it afterwards", "installing the app")
        # An app of somebody else's, or one that the phone does not let start, is found out before a model goes into it.
        probe(self._phone, limit_s=_left(deadline))
        mark = {"sha256": artifact.sha256, "path": installed["path"]}
        self._phone.write(_MARK, json.dumps(mark).encode(), limit_s=_left(deadline))
        if progress is not None:
            progress(total, total)
        return total

    def _may_install(self, package: AppPackage, deadline: float) -> None:
        udid = self._phone.udid
        if ended := expired(package, time.time()):
            raise typed(udid, "signature", ended, "installing the app")
        values = self._phone.ask("values", limit_s=min(_LOOK_S, _left(deadline)), doing="asking what it is")
        named = {values.get("UniqueDeviceID"), udid}
        if package.devices is not None and not package.devices & named:
            raise typed(udid, "install", "the profile that signs it does not name this phone", "installing the app")
        has, needs = version_of(str(values.get("ProductVersion", ""))), version_of(package.minimum_os)
        if has and needs and has < needs:
            raise Permanent(
                f"{udid}: the app needs iOS {package.minimum_os}, the phone has {values['ProductVersion']}",
                error_class=ErrorClass.OS_UNSUPPORTED,
                advice="update the phone, or build the app for that version",
                device=udid,
            )

    def _is_same(self, artifact: Artifact, package: AppPackage, app: Mapping[str, str], limit_s: float) -> bool:
        """Whether the installed app is this very .ipa: farm notes which one it installed, and every installation, by
        whom ever, gets a new folder."""
        if app.get("build") != package.build or app.get("version") != package.version:
            return False
        try:
            mark = json.loads(self._phone.fetch(_MARK, most=10_000, limit_s=limit_s, bundle=package.bundle))
        except ValueError:
            return False
        return isinstance(mark, dict) and mark.get("sha256") == artifact.sha256 and mark.get("path") == app.get("path")

    # --- a model ------------------------------------------------------------------------------------------------------

    def _ensure_model(
        self, artifact: Artifact, keep: frozenset[str], deadline: float, progress: Progress | None
    ) -> tuple[int, int, tuple[str, ...]]:
        """Returns bytes sent, bytes that were there from a cut push, and what made room."""
        phone, (file,) = self._phone, artifact.files
        final = f"{MODELS}/{_name(artifact)}"
        part = f"{final}.part"
        self._ask("make_folder", deadline, "making room for models", path=MODELS)
        there = phone.listing(MODELS, limit_s=min(_SMALL_S, _left(deadline)))
        if _size(there, _name(artifact)) == artifact.size:
            return 0, 0, ()
        resumed = _size(there, f"{_name(artifact)}.part") or 0
        if resumed > artifact.size:
            resumed = 0
        removed = self._make_room(artifact, artifact.size - resumed, there, keep, deadline)
        if not resumed:
            phone.remove(part, limit_s=_left(deadline))
        self._push(file, part, resumed, deadline, progress)
        self._require(part, file.name, file.size, file.sha256, deadline)
        self._ask("rename", deadline, "completing the push", path=part, target=final)
        return artifact.size - resumed, resumed, removed

    def _push(self, file: ArtifactFile, part: str, offset: int, deadline: float, progress: Progress | None) -> None:
        stall = _Stall(self._phone.udid, offset, file.size, progress)
        try:
            self._phone.ask(
                "push",
                area=self._phone.bundle,
                path=part,
                source=str(Path(file.path).absolute()),
                offset=offset,
                length=file.size - offset,
                limit_s=_left(deadline),
                doing=f"sending {file.name}",
                progress=stall.told,
                watch=stall.look,
            )
        except FarmError as error:
            raise self._explained(error, file.size - offset, deadline) from error
        if progress is not None:
            progress(file.size, file.size)

    def _require(self, path: str, name: str, size: int, sha256: str, deadline: float) -> None:
        """The file is what its hash says, by the app's own eyes; a wrong one is removed."""
        limit_s = min(_left(deadline), _SMALL_S + size / _HASH_BYTES_PER_S)
        checked = check_file(self._phone, path, size, sha256, limit_s=limit_s)
        if checked.matches:
            return
        self._phone.remove(path, limit_s=_left(deadline))
        raise Transient(
            f"{self._phone.udid}: {name} is not on the phone as it was sent ({checked.message[:200]}); it was removed",
            error_class=ErrorClass.HASH_MISMATCH,
            advice="if it happens again, check the cable and the phone's storage",
            device=self._phone.udid,
        )

    # --- space --------------------------------------------------------------------------------------------------------

    def _free(self, has_app: bool, limit_s: float) -> int | None:
        """Free bytes where models lie; as iOS tells it while there is no app."""
        if has_app:
            found = self._phone.ask("free_bytes", area=self._phone.bundle, limit_s=limit_s, doing="asking for space")
            if found is not None:
                return int(found)
        said = self._phone.ask(
            "value",
            domain="com.apple.disk_usage",
            key="AmountDataAvailable",
            limit_s=limit_s,
            doing="asking for free space",
        )
        return int(said) if isinstance(said, int) else None

    def _make_room(
        self,
        artifact: Artifact,
        needed: int,
        there: Mapping[str, Mapping[str, object]],
        keep: frozenset[str],
        deadline: float,
    ) -> tuple[str, ...]:
        """Remove the least recently used until `needed` bytes fit; nothing when they cannot."""
        wanted = needed + RESERVE_BYTES
        free = self._free(True, min(_LOOK_S, _left(deadline)))
        if free is None or free >= wanted:
            return ()
        own = {_name(artifact), f"{_name(artifact)}.part"}
        used = keep | self._in_use(deadline)
        removable = sorted(
            (name for name in there if name not in own and _hash_of(name) not in used and _hash_of(name)),
            key=lambda name: float(str(there[name].get("mtime", 0.0))),
        )
        chosen: list[str] = []
        for name in removable:
            if free + sum(_size(there, each) or 0 for each in chosen) >= wanted:
                break
            chosen.append(name)
        if free + sum(_size(there, each) or 0 for each in chosen) < wanted:
            raise self._full(needed, free, sum(_size(there, each) or 0 for each in removable))
        for name in chosen:
            self._phone.remove(f"{MODELS}/{name}", limit_s=_left(deadline))
        return tuple(_hash_of(name) for name in chosen)

    def _in_use(self, deadline: float, bundle: str = "") -> frozenset[str]:
        """Models that a job on the phone names in its request."""
        used: set[str] = set()
        names = self._phone.listing(MODELS, limit_s=min(_LOOK_S, _left(deadline)), bundle=bundle)
        for key in self._phone.listing(JOBS, limit_s=min(_LOOK_S, _left(deadline)), bundle=bundle):
            path = f"{JOBS}/{key}/request.json"
            request = self._phone.fetch(path, most=16 << 20, limit_s=_left(deadline), bundle=bundle)
            used |= {_hash_of(name) for name in names if _hash_of(name) and _hash_of(name).encode() in request}
        return frozenset(used)

    def _full(self, needed: int, free: int, removable: int) -> Permanent:
        return Permanent(
            f"{self._phone.udid}: {needed / MEGABYTE:.0f} MB needed (and {RESERVE_BYTES / MEGABYTE:.0f} MB kept free), "
            f"{free / MEGABYTE:.0f} MB free, {removable / MEGABYTE:.0f} MB more by removing unused models",
            error_class=ErrorClass.STORAGE_FULL,
            advice="delete files on the phone or choose a smaller model",
            device=self._phone.udid,
        )

    def _explained(self, error: FarmError, needed: int, deadline: float) -> FarmError:
        """`error`, with numbers where the phone ran out of space."""
        if error.error_class is not ErrorClass.STORAGE_FULL:
            return error
        try:
            free = self._free(True, min(_LOOK_S, _left(deadline)))
        except FarmError:
            return error
        return error if free is None else self._full(needed, free, 0)

    def _ask(self, name: str, deadline: float, doing: str, **arguments: Any) -> None:
        limit_s = min(_SMALL_S, _left(deadline))
        self._phone.ask(name, area=self._phone.bundle, limit_s=limit_s, doing=doing, **arguments)


class _Stall:
    """Notices a push that moves nothing."""

    def __init__(self, device: str, before: int, total: int, progress: Progress | None) -> None:
        self._device = device
        self._before = before
        self._total = total
        self._progress = progress
        self._moved_at = time.monotonic()

    def told(self, done: int, _length: int) -> None:
        self._moved_at = time.monotonic()
        if self._progress is not None:
            self._progress(self._before + done, self._total)

    def look(self) -> None:
        if time.monotonic() - self._moved_at > STALL_S:
            raise typed(self._device, "limit", f"no byte moved for {STALL_S:.0f} s", "sending a file")


def _package(artifact: Artifact) -> AppPackage:
    (file,) = artifact.files
    return read_ipa(Path(file.path))


def _name(artifact: Artifact) -> str:
    """Of a model on the phone: its hash, and the ending by which the app tells formats apart."""
    (file,) = artifact.files
    suffix = PurePosixPath(file.name).suffix.lower()
    return f"{artifact.sha256}{suffix if suffix in _SUFFIXES else '.gguf'}"


def _hash_of(name: str) -> str:
    """The sha256 in the name of a model or of one that is on its way; "" for what is no model of ours."""
    stem = name.removesuffix(".part").partition(".")[0]
    return stem if len(stem) == 64 and all(digit in "0123456789abcdef" for digit in stem) else ""


def _size(there: Mapping[str, Mapping[str, object]], name: str) -> int | None:
    about = there.get(name)
    return None if about is None or about.get("folder") else int(str(about["size"]))


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)
