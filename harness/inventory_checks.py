"""References between the parts of an inventory, and what else its types cannot say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath

from harness.inventory_types import suggest
from harness.inventory_yaml import Document, Path, Problem, Value, dotted, quoted
from harness.model import METRICS, Charge, ids_meant

_SECTIONS = ("devices", "models", "runners")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"https?://[^\s/]")


def cross_check(value: Value, document: Document, *, folder: FilePath) -> list[Problem]:
    """What types cannot say. Works on raw data, so that it also reports when types are wrong; parts of a wrong type are
    passed over here. `folder` is the inventory's."""
    if not isinstance(value, dict):
        return []
    found: list[Problem] = []
    for check in (_lab, _identifiers, _tiers, _matches, _sources, _workloads, _suites, _published, _nightly):
        found += [Problem(document.line(path), path, text) for path, text in check(value, folder)]
    return found


_Findings = Iterator[tuple[Path, str]]

_HOST_PORT = re.compile(r"[A-Za-z0-9._-]+:([0-9]{1,5})")


def _lab(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """Addresses of the iPhones' muxer and tunneld: HOST:PORT, the muxer's also a path."""
    lab = top.get("lab")
    if not isinstance(lab, dict):
        return
    for key, or_path in (("usbmux", True), ("tunneld", False)):
        address = lab.get(key)
        if not isinstance(address, str) or not address or (or_path and address.startswith("/")):
            continue
        found = _HOST_PORT.fullmatch(address)
        if found is None or not 0 < int(found[1]) <= 65535:
            expected = "HOST:PORT or the absolute path of a socket" if or_path else "HOST:PORT"
            yield ("lab", key), f"expected {expected}, found {quoted(address)}"


def _entries(top: Mapping[str, Value], section: str) -> Iterator[tuple[Path, dict[str, Value]]]:
    """(path, entry) of every mapping in a section, be it a list or a mapping by name."""
    content = top.get(section)
    pairs: Iterable[tuple[str | int, Value]] = ()
    if isinstance(content, list):
        pairs = enumerate(content)
    elif isinstance(content, dict):
        pairs = content.items()
    for key, entry in pairs:
        if isinstance(entry, dict):
            yield (section, key), entry


def _names(top: Mapping[str, Value], section: str) -> list[str]:
    """Names that a section defines: ids of a list, keys of a mapping."""
    content = top.get(section)
    if isinstance(content, dict):
        return list(content)
    return [entry["id"] for _, entry in _entries(top, section) if isinstance(entry.get("id"), str)]  # type: ignore[misc]


def _identifiers(top: Mapping[str, Value], _: FilePath) -> _Findings:
    for section in _SECTIONS:
        seen: dict[str, Path] = {}
        for path, entry in _entries(top, section):
            name = entry.get("id")
            if not isinstance(name, str):
                continue
            if name in seen:
                yield (*path, "id"), f"{quoted(name)} is already the id of {dotted(seen[name])}"
            seen.setdefault(name, path)
            yield from _name_problem((*path, "id"), name)
    for section in ("tiers", "workloads", "suites"):
        for name in _names(top, section):
            yield from _name_problem((section, name), name)


def _name_problem(path: Path, name: str) -> _Findings:
    if name and not name.strip():
        yield path, "must not be blank"
    elif any(not c.isprintable() for c in name):
        yield path, f"{quoted(name)} holds control or invisible characters"
    elif name != name.strip():
        yield path, f"{quoted(name)} begins or ends with a space"
    elif not name and path[-1] == "":
        yield path, "a name must not be empty"


def _undefined(kind: str, name: str, known: Sequence[str]) -> str:
    defined = f" Defined: {', '.join(known)}." if known else f" No {kind} is defined."
    return f"{kind} {quoted(name)} is not defined{suggest(name, known) or '.'}{defined}"


def _tiers(top: Mapping[str, Value], _: FilePath) -> _Findings:
    known = _names(top, "tiers")
    for path, entry in _entries(top, "devices"):
        tier = entry.get("tier")
        if isinstance(tier, str) and tier and tier not in known:
            yield (*path, "tier"), _undefined("tier", tier, known)


def _matches(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """A phone entry says which phones it means, and no two entries say the same, nor share a hub port."""
    seen: dict[str, Path] = {}
    ports: dict[str, Path] = {}
    for path, entry in _entries(top, "devices"):
        match, usb = entry.get("match"), entry.get("usb")
        given = {k: v for k, v in match.items() if v is not None} if isinstance(match, dict) else {}
        if entry.get("platform") in {"android", "ios"} and not given and (match is None or isinstance(match, dict)):
            yield path, "match is missing: expected at least one of serial, model, product, device"
        for key, wanted in given.items():
            if wanted == "":
                yield (*path, "match", key), "must not be empty: leave the key out to match any"
        if given:
            name = json.dumps([entry.get("platform"), given], sort_keys=True)
            if name in seen:
                yield (*path, "match"), f"matches the same phones as {dotted(seen[name])}"
            seen.setdefault(name, path)
        if isinstance(usb, dict):
            port = json.dumps(usb, sort_keys=True)
            if port in ports:
                yield (*path, "usb"), f"the same hub port as {dotted(ports[port])}"
            ports.setdefault(port, path)


def _sources(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """A model or runner comes from exactly one place, and from elsewhere only with its hash."""
    for section in ("models", "runners"):
        for path, entry in _entries(top, section):
            place, url, sha256 = entry.get("path"), entry.get("url"), entry.get("sha256")
            if (place is None) == (url is None):
                found = "found neither" if place is None else "found both"
                yield path, f"expected exactly one of path (a file here) and url (to fetch it from), {found}"
            if place == "":
                yield (*path, "path"), "must not be empty"
            if isinstance(url, str):
                yield from _url_problem((*path, "url"), url)
                if sha256 is None:
                    yield path, "url needs sha256: only a file whose hash is known is put on a phone"
            if isinstance(sha256, str) and not _SHA256.fullmatch(sha256):
                yield (*path, "sha256"), f"expected 64 hexadecimal digits, found {len(sha256)} characters"


def _url_problem(path: Path, url: str) -> _Findings:
    if not _URL.match(url):
        yield path, f"expected an https:// or http:// address, found {quoted(url)}"


def _workloads(top: Mapping[str, Value], folder: FilePath) -> _Findings:
    for path, entry in _entries(top, "workloads"):
        prompt = entry.get("prompt_file")
        if isinstance(prompt, str):
            if entry.get("kind") == "throughput":
                yield (*path, "prompt_file"), "a throughput workload takes no prompt: expected kind: stream"
            elif not _is_file(folder, prompt):
                yield (*path, "prompt_file"), f"no such file beside the inventory: {quoted(prompt)}"
        prompt_tokens, gen, context = (entry.get(name) for name in ("prompt_tokens", "gen_tokens", "context"))
        if isinstance(context, int):
            needed = sum(n for n in (prompt_tokens or 0, gen or 0) if isinstance(n, int))
            if needed > context:
                yield (*path, "context"), f"expected at least {needed} (prompt_tokens + gen_tokens), found {context}"


def _is_file(folder: FilePath, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):
        return False


def _suites(top: Mapping[str, Value], _: FilePath) -> _Findings:
    for path, entry in _entries(top, "suites"):
        yield from _listed((*path, "workloads"), entry.get("workloads"), "workload", _names(top, "workloads"))
        yield from _listed((*path, "models"), entry.get("models"), "model", _names(top, "models"), patterns=True)


def _listed(path: Path, named: Value, kind: str, known: Sequence[str], *, patterns: bool = False) -> _Findings:
    """Each name of a list is defined, and is in it once. `patterns`: one that stands for several will do."""
    if not isinstance(named, list):
        return
    for index, name in enumerate(named):
        if not isinstance(name, str):
            continue
        if name not in known and not (patterns and ids_meant(name, known)):
            yield (*path, index), _undefined(kind, name, known)
        elif name in named[:index]:
            yield (*path, index), f"{quoted(name)} is listed twice"


def _published(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """A published figure is one number or one range, of a metric that farm has, in that metric's unit, once."""
    seen: dict[str, Path] = {}
    for path, entry in _entries(top, "published"):
        for key in ("device", "family", "quant", "source"):
            if isinstance(name := entry.get(key), str):
                yield from _name_problem((*path, key), name)
        metric, unit = entry.get("metric"), entry.get("unit")
        if isinstance(metric, str) and metric:
            spec = METRICS.get(metric)
            if spec is None:
                yield (*path, "metric"), _no_metric(metric)
            elif isinstance(unit, str) and unit != spec.unit:
                yield (*path, "unit"), f"expected {quoted(spec.unit)}, the unit of {metric}, found {quoted(unit)}"
        yield from _extent(path, entry)
        figure = ("device", "family", "quant", "runtime", "metric", "source")
        name = json.dumps([entry.get(key) for key in figure], sort_keys=True)
        if name in seen:
            yield path, f"the same figure as {dotted(seen[name])}: {', '.join(figure)} are equal"
        seen.setdefault(name, path)


def _no_metric(name: str) -> str:
    hint = suggest(name, METRICS) or f". There are: {', '.join(METRICS)}."
    return f"no metric {quoted(name)}{hint}"


def _extent(path: Path, entry: Mapping[str, Value]) -> _Findings:
    low, high, value = (entry.get(key) for key in ("low", "high", "value"))
    given = [key for key in ("low", "high", "value") if entry.get(key) is not None]
    if given not in (["value"], ["low", "high"]):
        found = " and ".join(given) or "neither"
        yield path, f"expected either value, or low and high, found {found}"
    elif value is None and isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        yield (*path, "low"), f"expected a number at most {high:g} (high), found {low:g}"


_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _nightly(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """A night measures and judges what there is, and takes each folder for one thing."""
    nightly = top.get("nightly")
    if not isinstance(nightly, dict):
        return
    suites, suite = _names(top, "suites"), nightly.get("suite")
    if isinstance(suite, str) and suite and suite not in suites:
        yield ("nightly", "suite"), _undefined("suite", suite, suites)
    yield from _listed(("nightly", "tiers"), nightly.get("tiers"), "tier", _names(top, "tiers"))
    yield from _judged(nightly.get("metrics"))
    until = nightly.get("until")
    if isinstance(until, str) and not _TIME.fullmatch(until):
        yield ("nightly", "until"), f'expected a time of day like "06:00", found {quoted(until)}'
    yield from _folders(nightly, _names(top, "runners"))
    yield from _charge(nightly.get("charge"))
    yield from _addresses(nightly)


def _judged(metrics: Value) -> _Findings:
    """Metrics of which one direction is better, each once."""
    if not isinstance(metrics, list):
        return
    for index, name in enumerate(metrics):
        if not isinstance(name, str) or not name:
            continue
        spec = METRICS.get(name)
        if spec is None:
            yield ("nightly", "metrics", index), _no_metric(name)
        elif not spec.better:
            yield ("nightly", "metrics", index), f"neither direction of {name} is better, so it cannot be judged"
        elif name in metrics[:index]:
            yield ("nightly", "metrics", index), f"{quoted(name)} is listed twice"


def _folders(nightly: Mapping[str, Value], runners: Sequence[str]) -> _Findings:
    """Folders are told apart, and so are the runners that builds are for."""
    seen: dict[str, Path] = {}
    fed: dict[str, Path] = {}
    for section in ("builds", "models"):
        for inner, entry in _entries(nightly, section):
            path: Path = ("nightly", *inner)
            folder, runner = entry.get("folder"), entry.get("runner")
            if isinstance(folder, str) and folder:
                yield from _name_problem((*path, "folder"), folder)
                same = seen.setdefault(os.path.normpath(folder), path)
                if same != path:
                    yield (*path, "folder"), f"the same folder as {dotted(same)}"
            if isinstance(runner, str) and runner:
                if runner not in runners:
                    yield (*path, "runner"), _undefined("runner", runner, runners)
                elif (same := fed.setdefault(runner, path)) != path:
                    yield (*path, "runner"), f"builds of {quoted(runner)} are taken from {dotted(same)} already"


def _charge(charge: Value) -> _Findings:
    if not isinstance(charge, dict):
        return
    low, high = (charge.get(key, getattr(Charge(), key)) for key in ("low_pct", "high_pct"))
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        yield ("nightly", "charge"), f"expected low_pct below high_pct, found {low:g} and {high:g}"


def _addresses(nightly: Mapping[str, Value]) -> _Findings:
    webhook = nightly.get("webhook")
    hook = webhook if isinstance(webhook, dict) else {}
    for path, url in (
        (("nightly", "ping_url"), nightly.get("ping_url")),
        (("nightly", "webhook", "url"), hook.get("url")),
    ):
        if isinstance(url, str):
            yield from _url_problem(path, url)
    secret = hook.get("secret_env")
    if isinstance(secret, str) and secret and not _VARIABLE.fullmatch(secret):
        # Not shown: it may be the secret itself.
        yield ("nightly", "webhook", "secret_env"), "expected the name of a variable of the environment"
