"""Fetch a file by URL into the cache: resumed where it was cut, checked by SHA-256, put in place in one step."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ErrorClass, Permanent
from harness.supply.folders import locked

_BLOCK = 1 << 18
_TIMEOUT_S = 60.0
_FRUITLESS_ATTEMPTS = 3
"""Attempts in a row that may bring no byte before it is given up; one that brings some does not count."""

_AGENT = "farm"

Progress = Callable[[int, int], None]
"""Called with (bytes there, bytes in all; 0 when the server does not tell)."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A download: what is asked for, the file it becomes, and the files of a cut one."""

    url: str
    sha256: str | None
    target: Path
    part: Path
    validator_file: Path
    missing: ErrorClass


class _CutError(Exception):
    """The transfer ended early; the text says how."""


def cached_path(url: str, sha256: str | None, cache: Path) -> Path:
    """Where the file of `url` is kept: a folder of its own per address and expected hash."""
    key = hashlib.sha256(f"{url}\0{(sha256 or '').lower()}".encode()).hexdigest()[:24]
    with_odd = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", with_odd).lstrip(".")[-100:]
    return cache / "downloads" / key / (name or "file")


def fetch_url(
    url: str,
    sha256: str | None,
    cache: Path,
    *,
    missing: ErrorClass = ErrorClass.MODEL_MISSING,
    progress: Progress | None = None,
) -> Path:
    """The file of `url` in the cache, downloaded when it is not there.

    Args:
        sha256: what the file must have, or None.
        missing: class of the error when it cannot be had.

    Raises:
        Permanent: no such address, the server refuses, the network fails again and again (what came is kept, the next
            call goes on there), another SHA-256 (nothing is kept), no room.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Permanent(
            f"{url} is no http or https address", error_class=missing, advice="correct url in the inventory"
        )
    target = cached_path(url, sha256, cache)
    part = target.with_name(target.name + ".part")
    job = _Job(url, sha256, target, part, target.with_name(target.name + ".part.json"), missing)
    try:
        with locked(target.with_name(target.name + ".lock")):
            if not target.is_file():
                _download(job, progress)
                _check(job)
                part.replace(target)
                job.validator_file.unlink(missing_ok=True)
    except OSError as wrong:
        raise Permanent(
            f"cannot keep {url}: {wrong.strerror or wrong} ({wrong.filename})",
            error_class=ErrorClass.STORAGE_FULL,
            advice=f"free some space in {cache}, or set FARM_CACHE to another folder",
        ) from wrong
    return target


def _download(job: _Job, progress: Progress | None) -> None:
    fruitless = 0
    while True:
        before = _size(job.part)
        try:
            _transfer(job, progress)
            return
        except _CutError as cut:
            fruitless = 0 if _size(job.part) > before else fruitless + 1
            if fruitless >= _FRUITLESS_ATTEMPTS:
                raise Permanent(
                    f"cannot download {job.url}: {cut}; {_size(job.part)} bytes are kept",
                    error_class=job.missing,
                    advice="check the network and try again: it goes on where it stopped",
                ) from None


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _request(job: _Job, have: int) -> urllib.request.Request:
    request = urllib.request.Request(job.url, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            request.add_header("If-Range", str(json.loads(job.validator_file.read_text(encoding="utf-8"))["validator"]))
    return request


def _transfer(job: _Job, progress: Progress | None) -> None:
    """One request; returns when the whole file is there.

    Raises:
        _CutError: the connection failed or the file is not whole yet.
        Permanent: the server says no.
    """
    have = _size(job.part)
    try:
        with urllib.request.urlopen(_request(job, have), timeout=_TIMEOUT_S) as answer:
            start = _start_of(answer, have)
            _remember_validator(job, answer)
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length and length.isdigit() else 0
            _save(answer, job.part, start, total, progress)
    except urllib.error.HTTPError as refused:
        if refused.code == 416 and have:
            job.part.unlink(missing_ok=True)
            raise _CutError("what was kept of an earlier download does not fit any more") from None
        if refused.code >= 500 or refused.code == 429:
            raise _CutError(f"the server answers {refused.code} {refused.reason}") from None
        raise Permanent(
            f"cannot download {job.url}: the server answers {refused.code} {refused.reason}",
            error_class=job.missing,
            advice="correct url in the inventory" if refused.code == 404 else "does the address need a login?",
        ) from None
    except urllib.error.URLError as wrong:
        raise _CutError(str(wrong.reason)) from None
    except (http.client.HTTPException, ValueError) as wrong:
        raise _CutError(f"{type(wrong).__name__}: {wrong}") from None


def _start_of(answer: http.client.HTTPResponse, have: int) -> int:
    """Where the bytes of this answer belong: at what is there already, or at 0 when the server sends the whole file."""
    if answer.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found and int(found[1]) <= have else have


def _remember_validator(job: _Job, answer: http.client.HTTPResponse) -> None:
    """Keep what tells whether the file on the server is still the same one."""
    tag = answer.headers.get("ETag")
    validator = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")
    if validator:
        job.validator_file.write_text(json.dumps({"validator": validator}), encoding="utf-8")
    else:
        job.validator_file.unlink(missing_ok=True)


def _save(answer: http.client.HTTPResponse, part: Path, start: int, total: int, progress: Progress | None) -> None:
    done = start
    with part.open("r+b" if part.is_file() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while True:
            try:
                block = answer.read(_BLOCK)
            except (OSError, http.client.HTTPException) as wrong:
                raise _CutError(f"the transfer broke off: {wrong}") from None
            if not block:
                break
            file.write(block)
            done += len(block)
            if progress:
                progress(done, total)
    if done < total:
        raise _CutError(f"the transfer broke off after {done} of {total} bytes")


def _check(job: _Job) -> None:
    if not job.sha256:
        return
    digest = hashlib.sha256()
    with job.part.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != job.sha256.lower():
        job.part.unlink()
        job.validator_file.unlink(missing_ok=True)
        raise Permanent(
            f"{job.url} has sha256 {digest.hexdigest()}, expected {job.sha256.lower()}",
            error_class=ErrorClass.SHA256_MISMATCH,
            advice="the file on the server changed: correct sha256 in the inventory if you trust it",
        )
