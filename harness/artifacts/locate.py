"""Where a model or runner of the inventory is on this host: its path, or its URL's place in the cache."""

from __future__ import annotations

from pathlib import Path

from harness.errors import ErrorClass, Permanent
from harness.model import Model, Platform, Runner
from harness.supply.download import Progress, cached_path, fetch_url


def kind_of(entry: Model | Runner) -> str:
    """ "model" or "runner"."""
    return "model" if isinstance(entry, Model) else "runner"


def local_path(entry: Model | Runner, base_dir: Path, cache: Path) -> Path:
    """Where it is, or would be once fetched; nothing is checked."""
    if entry.path is not None:
        return base_dir / Path(entry.path).expanduser()
    return cached_path(entry.url or "", entry.sha256, cache)


def find(
    entry: Model | Runner,
    base_dir: Path,
    cache: Path,
    missing: ErrorClass,
    *,
    fetch: bool,
    progress: Progress | None = None,
) -> Path:
    """The file or folder, downloaded first where the entry has a URL and `fetch` is set.

    Raises:
        Permanent: `missing` when it is not there; what `fetch_url` raises.
    """
    kind = kind_of(entry)
    file = local_path(entry, base_dir, cache)
    try:
        there = file.exists()
    except (OSError, ValueError) as wrong:
        raise Permanent(
            f"{kind} {entry.id}: {file} is no usable path: {wrong}", error_class=missing, advice="correct the inventory"
        ) from wrong
    if there:
        return file
    if entry.path is None and fetch:
        return fetch_url(entry.url or "", entry.sha256, cache, missing=missing, progress=progress)
    if entry.path is None:
        raise Permanent(
            f"{kind} {entry.id} is not downloaded yet: {entry.url}", error_class=missing, advice=f"farm {kind}s fetch"
        )
    only = " (needed for iPhones only)" if _of_iphones(entry) else ""
    raise Permanent(
        f"{kind} {entry.id}: there is no {file}{only}",
        error_class=missing,
        advice=f"correct the path in the inventory, or get it: {_how(entry)}",
    )


def _of_iphones(entry: Model | Runner) -> bool:
    return isinstance(entry, Runner) and entry.platform is Platform.IOS


def _how(entry: Model | Runner) -> str:
    if isinstance(entry, Model):
        return "farm models make"
    if _of_iphones(entry):
        return "make ipa TEAM=… in ios_runner, on a Mac (docs/ios.md)"
    return "llama.cpp's Android release; farm runners fetch --virtual or build (host)"
