"""What appears in a watched folder: which entries are whole, and in which order they came."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from harness.inventory_yaml import quoted
from harness.supply.unpack import MAX_ENTRIES

SETTLE_S = 60.0
"""An entry that was written to more recently may still be being copied. Tools that copy write at least every few
seconds; a minute bears a slow network."""

_PARTIAL = (".part", ".tmp")
"""Endings of downloads that are not complete."""

_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder. Args: modified_at: Unix seconds of the newest change of it, or of anything in it."""

    name: str
    path: Path
    modified_at: float


@dataclass(frozen=True, slots=True)
class Listing:
    """Args: entries: in the order of `listing`. notes: what was left out and why, a sentence each."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


def listing(folder: Path, shown: str, *, now: float, settle_s: float = SETTLE_S) -> Listing:
    """What is in a folder and whole, oldest first.

    Order: by the time of the newest change, since tools that copy builds keep it or set it to when they came, and
    both tell which is newer; names of builds (commits, branches) do not. Of one time, which archives and coarse file
    systems give to many, by name, numbers in it by their value: "b9" before "b10".

    Hidden files are passed over without a word. Left out with a note: partial downloads, what changed within
    `settle_s`, what cannot be read, names that are no UTF-8 text, and a second name (link) of the same thing.

    Args:
        shown: the folder as a reader knows it. now: Unix seconds.
    """
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (OSError, ValueError) as wrong:
        return Listing((), (f"the folder {quoted(shown)} cannot be read: {_why(wrong)}",))
    entries: list[Entry] = []
    notes: list[str] = []
    for path in found:
        try:
            entry = Entry(path.name, path, _newest(path))
            problem = _problem(entry, now, settle_s)
        except OSError as wrong:
            problem = f"it cannot be read: {_why(wrong)}"
        if problem:
            notes.append(left_out(shown, path.name, problem))
        else:
            entries.append(entry)
    single, doubled = _once(sorted(entries, key=_order), shown)
    return Listing(single, (*notes, *doubled))


def left_out(shown: str, name: str, why: str) -> str:
    """The sentence that says so. Args: shown: the folder as a reader knows it."""
    return f"{quoted(name)} in {quoted(shown)} is left out: {why}"


def _problem(entry: Entry, now: float, settle_s: float) -> str:
    """Why an entry is not taken, "" when it is."""
    if any(0xD800 <= ord(character) <= 0xDFFF for character in entry.name):
        return "its name is no UTF-8 text: rename it"
    if entry.name.lower().endswith(_PARTIAL):
        return "it is a partial download"
    if abs(now - entry.modified_at) < settle_s:
        return "it is still being written, and waits for the next night"
    if entry.modified_at > now:
        return "it was written in the future, so that nobody can tell whether it is the newest: set its time (touch)"
    return ""


def _newest(path: Path) -> float:
    """When it, or anything in it, changed last. A link that is an entry is followed, those in it are not.

    Raises:
        OSError: part of it cannot be read, or it has more than MAX_ENTRIES files.
    """
    newest = path.stat().st_mtime
    if not path.is_dir():
        return newest
    count = 0
    for here, folders, names in os.walk(path, onerror=_raise):
        count += len(folders) + len(names)
        if count > MAX_ENTRIES:
            raise OSError(f"it has more than {MAX_ENTRIES} files")
        newest = max((newest, *(Path(here, name).lstat().st_mtime for name in (*folders, *names))))
    return newest


def _raise(error: OSError) -> None:
    raise error


def _once(entries: list[Entry], shown: str) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Each thing under one name: a link to another entry (a "latest") is none of its own."""
    real = {entry.path.resolve(): entry.name for entry in entries if not entry.path.is_symlink()}
    kept: list[Entry] = []
    notes: list[str] = []
    for entry in entries:
        other = real.setdefault(entry.path.resolve(), entry.name)
        if other == entry.name:
            kept.append(entry)
        else:
            notes.append(left_out(shown, entry.name, f"it is another name of {quoted(other)}"))
    return tuple(kept), tuple(notes)


def _order(entry: Entry) -> tuple[float, list[str | int], str]:
    # Text and digits take turns, so that equal places hold equal types.
    parts = _DIGITS.split(entry.name)
    return entry.modified_at, [int(part) if at % 2 else part.casefold() for at, part in enumerate(parts)], entry.name


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
