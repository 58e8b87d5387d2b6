"""Objects in the format of NSKeyedArchiver: what method calls of DTX carry as arguments and as answers.

An archive is a binary property list: `$objects` is a flat list whose entries name each other by index (UID), index 0 is
null, `$top.root` is the object itself, and every object that is not a plain value names its class.
"""

from __future__ import annotations

import plistlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers.expat import ExpatError

_VERSION = 100_000
_MAX_DEPTH = 100
_APPLE_EPOCH_S = 978_307_200.0


class KeyedError(ValueError):
    """Not an archive, or one with a loop or a reference to nowhere."""


@dataclass(frozen=True, slots=True)
class Coded:
    """An object of a class of its own.

    Args:
        classes: its class and what that descends from, the class itself first.
        fields: what its coder writes, by key.
    """

    classes: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)


def ns_error(domain: str, code: int, **info: str) -> Coded:
    """An NSError; `info` by the names of its user info, of which NSLocalizedDescription is the one people see."""
    return Coded(("NSError", "NSObject"), {"NSDomain": domain, "NSCode": code, "NSUserInfo": dict(info)})


def ns_date(unix_s: float) -> Coded:
    """An NSDate at a time given as seconds since 1970."""
    return Coded(("NSDate", "NSObject"), {"NS.time": unix_s - _APPLE_EPOCH_S})


def archive(value: Any) -> bytes:
    """The archive of plain values, lists, dictionaries, sets and `Coded` objects, as binary property list.

    Raises:
        TypeError: a value of another type.
    """
    writer = _Writer()
    root = writer.add(value)
    plist = {"$version": _VERSION, "$archiver": "NSKeyedArchiver", "$top": {"root": root}, "$objects": writer.objects}
    return plistlib.dumps(plist, fmt=plistlib.FMT_BINARY, sort_keys=False)


class _Writer:
    def __init__(self) -> None:
        self.objects: list[Any] = ["$null"]
        self._classes: dict[str, plistlib.UID] = {}
        self._plain: dict[tuple[type, Any], plistlib.UID] = {}

    def add(self, value: Any) -> plistlib.UID:
        if value is None:
            return plistlib.UID(0)
        if isinstance(value, bool | int | float | str | bytes):
            key = (type(value), value)
            if key not in self._plain:
                self._plain[key] = self._append(value)
            return self._plain[key]
        entry: dict[str, Any] = {}
        uid = self._append(entry)
        if isinstance(value, Coded):
            entry.update({name: self._field(item) for name, item in value.fields.items()})
            entry["$class"] = self._class(value.classes)
        elif isinstance(value, Mapping):
            entry["NS.keys"] = [self.add(name) for name in value]
            entry["NS.objects"] = [self.add(item) for item in value.values()]
            entry["$class"] = self._class(("NSDictionary", "NSObject"))
        elif isinstance(value, list | tuple | set | frozenset):
            entry["NS.objects"] = [self.add(item) for item in value]
            name = "NSSet" if isinstance(value, set | frozenset) else "NSArray"
            entry["$class"] = self._class((name, "NSObject"))
        else:
            raise TypeError(f"{type(value).__name__} cannot be archived")
        return uid

    def _append(self, entry: Any) -> plistlib.UID:
        self.objects.append(entry)
        return plistlib.UID(len(self.objects) - 1)

    def _field(self, value: Any) -> Any:
        return value if isinstance(value, bool | int | float) else self.add(value)

    def _class(self, classes: tuple[str, ...]) -> plistlib.UID:
        if classes[0] not in self._classes:
            self._classes[classes[0]] = self._append({"$classname": classes[0], "$classes": list(classes)})
        return self._classes[classes[0]]


def unarchive(data: bytes) -> Any:
    """The plain values, lists, dictionaries and sets of an archive; an object of an unknown class is a `Coded`.

    Raises:
        KeyedError: it is not an archive.
    """
    try:
        plist = plistlib.loads(data)
        if plist["$archiver"] != "NSKeyedArchiver":
            raise KeyedError(f"written by {plist['$archiver']!r}")
        return _Reader(plist["$objects"]).at(plist["$top"]["root"], 0)
    except KeyedError:
        raise
    except (
        plistlib.InvalidFileException,
        ExpatError,
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise KeyedError(f"not a keyed archive: {error!r}") from error


class _Reader:
    def __init__(self, objects: list[Any]) -> None:
        self._objects = objects

    def at(self, uid: plistlib.UID, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise KeyedError("objects that contain each other, or too many inside one another")
        if uid.data == 0:
            return None
        entry = self._objects[uid.data]
        if not isinstance(entry, dict):
            return entry
        described = self._objects[entry["$class"].data]
        made = _MAKERS.get(described["$classname"])
        if made is not None:
            return made(entry, lambda item: self._value(item, depth + 1))
        fields = {name: self._value(item, depth + 1) for name, item in entry.items() if name != "$class"}
        return Coded(tuple(described.get("$classes") or (described["$classname"],)), fields)

    def _value(self, item: Any, depth: int) -> Any:
        return self.at(item, depth) if isinstance(item, plistlib.UID) else item


Value = Callable[[Any], Any]


def _dictionary(entry: dict[str, Any], value: Value) -> Any:
    return {value(name): value(item) for name, item in zip(entry["NS.keys"], entry["NS.objects"], strict=True)}


def _array(entry: dict[str, Any], value: Value) -> Any:
    return [value(item) for item in entry["NS.objects"]]


def _set(entry: dict[str, Any], value: Value) -> Any:
    return {value(item) for item in entry["NS.objects"]}


def _string(entry: dict[str, Any], value: Value) -> Any:
    return value(entry["NS.string"])


def _data(entry: dict[str, Any], value: Value) -> Any:
    return value(entry["NS.data"])


def _null(_entry: dict[str, Any], _value: Value) -> Any:
    return None


_MAKERS: dict[str, Callable[[dict[str, Any], Value], Any]] = {
    "NSDictionary": _dictionary,
    "NSMutableDictionary": _dictionary,
    "NSArray": _array,
    "NSMutableArray": _array,
    "NSSet": _set,
    "NSMutableSet": _set,
    "NSString": _string,
    "NSMutableString": _string,
    "NSData": _data,
    "NSMutableData": _data,
    "NSNull": _null,
}
